"""A stranger adds a stage: one module, found by its path, shown in the report."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from i2r.cluster import ClusterSpec
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.spec import parse_pipeline
from i2r.stages.base import find_stage, list_verbs
from i2r.store.experiment import open_experiment
from i2r.testing import describe_pipeline, write_plate

EXAMPLE = Path(__file__).parent / "example"


def test_new_stage_takes_under_sixty_lines() -> None:
    assert len((EXAMPLE / "contrast.py").read_text().splitlines()) < 60


def test_new_stage_is_found_by_path_and_has_table_and_report_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = importlib.import_module("i2r.stages")
    monkeypatch.setattr(stages, "__path__", [*stages.__path__, str(EXAMPLE)])
    assert "contrast" in list_verbs()
    assert find_stage("contrast").__name__ == "Contrast"

    plate = write_plate(tmp_path / "plate", wells=4, fields=2)
    content = describe_pipeline(plate, screen=False)
    content["stages"] += ["contrast", "report"]
    summary = run_pipeline(
        parse_pipeline(content, where="test"),
        str(tmp_path / "e"),
        cluster=ClusterSpec(type="none"),
        style="none",
    )
    assert summary.exit_code == 0
    experiment = open_experiment(str(tmp_path / "e"))
    table = experiment.table("contrast")
    assert len(table) == 8
    assert (table["contrast"] > 0).all()
    report = (tmp_path / "e" / "report.html").read_text()
    assert "Other measurements" in report
    assert "contrast" in report


def test_new_stage_is_a_command_with_options_from_its_fields() -> None:
    code = (
        f"import i2r.stages as s; s.__path__.append({str(EXAMPLE)!r}); "
        "import sys; sys.argv = ['i2r', 'contrast', '--help']; "
        "from i2r.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--channel" in done.stdout
    assert "Channel to measure" in done.stdout
