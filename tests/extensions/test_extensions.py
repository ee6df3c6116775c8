"""A stage, a reader, an encoder, an export and a section of the report: one file each."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from i2r.errors import InputError
from i2r.pipeline.spec import parse_pipeline
from i2r.readers import ReaderOptions, find_reader
from i2r.store.experiment import open_experiment
from i2r.testing import PlateFiles, describe_pipeline
from tests.conftest import Cli, run_here

PACKAGE = Path(__file__).parent / "package"
ROOT = Path(__file__).parents[2]
MODULES = [path.stem for path in PACKAGE.glob("ours_*.py")]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the package where Python looks: its metadata holds the entry points."""
    monkeypatch.syspath_prepend(str(PACKAGE))
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


def test_each_is_one_short_file() -> None:
    assert sorted(MODULES) == [
        "ours_encoder", "ours_export", "ours_reader", "ours_section", "ours_stage",
    ]  # fmt: skip
    for name in MODULES:
        assert len((PACKAGE / f"{name}.py").read_text().splitlines()) < 50


@pytest.mark.usefixtures("installed")
def test_a_reader(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((8, 8), np.uint16))
    (tmp_path / "ours.txt").write_text("x.tif B03 1 DNA\n")
    images = find_reader("auto", str(tmp_path))(str(tmp_path), ReaderOptions()).images
    assert images[["well", "field", "channel"]].to_numpy().tolist() == [["B03", "1", "DNA"]]


@pytest.mark.usefixtures("installed")
def test_a_stage_an_encoder_a_section_and_an_export(
    plate: PlateFiles, cropped: Path, tmp_path: Path
) -> None:
    content = describe_pipeline(plate, screen=False)
    content["stages"] += ["brightest", {"stage": "embed", "method": "ours", "umap": False}]
    content["stages"] += ["report"]
    summary = run_here(parse_pipeline(content, where="test"), cropped)
    assert summary.exit_code == 0, [unit.error for unit in summary.failed]
    experiment = open_experiment(str(cropped))
    assert (experiment.table("brightest")["brightest"] > 0).all()
    assert experiment.embeddings("embed")["embedding"].shape[1] == 2
    assert "Brightest fields" in (cropped / "report.html").read_text()
    target = tmp_path / "layout.md"
    # A process of its own: the command lists its formats when it is loaded.
    command = [sys.executable, "-m", "i2r", "export", cropped, "--format", "ours", "-o", target]
    here = os.pathsep.join([str(PACKAGE), str(ROOT)])
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": here}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(experiment.well_keys)} wells" in done.stdout
    assert target.read_text().startswith("| P1 | A01 |")


def test_without_the_package_its_names_are_unknown(cropped_original: Path, cli: Cli) -> None:
    code, said = cli("export", cropped_original, "--format", "ours", "--output", "x.md")
    assert code == 2
    assert "ours" in said
    with pytest.raises(InputError, match="unknown"):
        parse_pipeline({"stages": ["brightest"]}, where="test")
