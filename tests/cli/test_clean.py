"""A plate that is taken out of the layout: nothing speaks of it, and its results can be removed."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from i2r.pipeline.cleaning import find_obsolete
from i2r.store.experiment import open_experiment
from i2r.testing import describe_pipeline, write_plate

Cli = Callable[..., tuple[int, str]]
HERE = ("--cluster", "none", "--progress", "none", "--yes")


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """Two plates; the second has an image that can't be read."""
    plates = [write_plate(tmp_path / name, wells=2, fields=1, plate=name) for name in ("P1", "P 2")]
    next(plates[1].source.rglob("*.tif")).write_bytes(b"")
    content = describe_pipeline(plates[0], screen=False)
    for name, attribute in (("both.csv", "layout"), ("load.csv", "load_data")):
        table = pd.concat([pd.read_csv(getattr(plate, attribute)) for plate in plates])
        table.to_csv(tmp_path / name, index=False)
    content["stages"][0] |= {
        "layout": str(tmp_path / "both.csv"), "source": str(tmp_path / "load.csv"),
    }  # fmt: skip
    content["stages"] = [*content["stages"], {"stage": "report"}]
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(content))
    return path


def take_out(pipeline: Path, plate: str) -> str:
    """Take a plate out of the layout; returns what the layout was."""
    layout = pipeline.with_name("both.csv")
    before = layout.read_text()
    table = pd.read_csv(layout)
    table[table["plate"] != plate].to_csv(layout, index=False)
    return before


def test_a_plate_that_was_taken_out_is_not_spoken_of_and_can_be_removed(
    cli: Cli, pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = tmp_path / "e"
    assert cli("run", pipeline, url, *HERE)[0] == 3
    assert "P 2" in cli("errors", url)[1]
    before = take_out(pipeline, "P 2")
    code, said = cli("run", pipeline, url, *HERE)
    assert code == 0, said
    assert "KeyError" not in said
    assert cli("errors", url) == (0, "no failed units, no excluded fields\n")
    page = (url / "report.html").read_text()
    assert "P 2" not in page
    code, said = cli("status", url)
    assert "still stored: 1 plate (P%202)" in said.replace("P 2", "P%202")
    assert "not in the layout or the pipeline of the last run any more: units convert 2" in said
    # Asked first; nobody is there to answer.
    code, said = cli("clean", url)
    assert code == 2
    assert "Give --yes" in said
    assert (stored := list_of(url, "P 2")), "nothing was removed"
    keep = list_of(url, "P1")
    code, said = cli("clean", url, "--yes")
    assert code == 0
    assert f"removed 1 plate ({len(stored)} files and folders)" in said
    assert list_of(url, "P 2") == []
    assert list_of(url, "P1") == keep
    assert cli("validate", url)[0] == 0
    assert "nothing to remove" in cli("clean", url)[1]
    # It comes back: made again, not taken for done.
    pipeline.with_name("both.csv").write_text(before)
    assert cli("run", pipeline, url, *HERE)[0] == 3
    assert find_obsolete(open_experiment(str(url))).units == {}
    assert len(list_of(url, "P 2")) >= len(stored) - 1
    assert cli("validate", url)[0] in (0, 3)


def list_of(url: Path, plate: str) -> list[Path]:
    """List the topmost files and folders of a plate, however its name is written."""
    names = {plate, plate.replace(" ", "%20")}
    found = [
        p for p in url.rglob("*") if p.name.partition(".")[0] in names and "report" not in p.parts
    ]
    return sorted(p for p in found if not any(o in p.parents for o in found))


def test_a_stage_alone_makes_nothing_obsolete(cli: Cli, cropped: Path, tmp_path: Path) -> None:
    code, said = cli("quality", cropped, *HERE)
    assert code == 0, said
    found = find_obsolete(open_experiment(str(cropped)))
    assert (found.plates, found.units) == ([], {})
    assert len(open_experiment(str(cropped)).ledger.done_keys("crop")) == 8
