"""The stage: when it runs, what it waits for, and what it leaves."""

import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from i2r.pipeline.spec import Pipeline, parse_pipeline
from i2r.report import page
from i2r.store.experiment import open_experiment
from i2r.testing import PlateFiles, describe_pipeline
from tests.conftest import run_here


def with_report(plate: PlateFiles, **options: Any) -> Pipeline:
    """Make the chain up to the crops, and the report of it."""
    content = describe_pipeline(plate, screen=False)
    content["stages"].append({"stage": "report", **options})
    return parse_pipeline(content, where="test")


def test_it_reads_every_earlier_stage(plate: PlateFiles) -> None:
    report = with_report(plate).stages[-1]
    assert report.needs == ("convert", "quality", "segment", "crop")


def test_it_runs_once_and_again_when_something_changed(plate: PlateFiles, cropped: Path) -> None:
    first = run_here(with_report(plate), cropped)
    assert (first.exit_code, dict(first.ran)) == (0, {"report": 1})
    content = (cropped / "report.html").read_text(encoding="utf-8")
    for section in (
        "overview",
        "plates",
        "gallery",
        "segmentation",
        "accounting",
        "timings",
        "provenance",
    ):
        assert f'<section id="{section}">' in content
    assert '<section id="ranking">' not in content
    assert "negative control" in content

    assert not run_here(with_report(plate), cropped).ran
    again = run_here(with_report(plate, heading="Plate <one>", gallery_nuclei=2), cropped)
    assert dict(again.ran) == {"report": 1}
    content = (cropped / "report.html").read_text(encoding="utf-8")
    assert "<h1>Plate &lt;one&gt;</h1>" in content
    assert "Up to 2 nuclei per condition" in content


def test_building_reads_nothing_and_travels_to_workers(plate: PlateFiles, cropped: Path) -> None:
    report = with_report(plate).stages[-1]
    experiment = open_experiment(str(cropped))
    (key,) = report.keys(experiment)
    graph = report.build(experiment, key)
    assert not (cropped / "report.html").exists()
    assert pickle.loads(pickle.dumps(graph)).key == graph.key


def test_a_section_that_fails_is_a_failed_unit_with_a_report(
    plate: PlateFiles, cropped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = ModuleType("i2r.report.sections.broken")
    vars(broken).update(TITLE="Broken", ORDER=1, draw=lambda source: 1 / 0)
    sections = [*page.find_sections(), broken]
    monkeypatch.setattr(page, "find_sections", lambda: sections)
    assert run_here(with_report(plate), cropped).exit_code == 3
    entry = open_experiment(str(cropped)).ledger.entry("report", "experiment")
    assert entry is not None
    assert "report section 'broken': ZeroDivisionError" in entry.error
    assert "1 / 0" in entry.traceback
    assert '<section id="provenance">' in (cropped / "report.html").read_text(encoding="utf-8")
