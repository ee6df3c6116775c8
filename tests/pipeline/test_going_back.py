"""Back to earlier options after a run with others was stopped: nothing is missing, or stale."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from i2r.errors import I2RError
from i2r.pipeline.preview import preview_units
from i2r.pipeline.spec import Pipeline, parse_pipeline
from i2r.pipeline.status import count_states
from i2r.store.experiment import open_experiment
from i2r.store.ledger import Ledger, LedgerWriter
from i2r.store.lock import RunLock
from i2r.store.validate import find_problems
from i2r.testing import PlateFiles, describe_pipeline, digest_experiment
from tests.conftest import run_here, short_pipeline

CHANGES: dict[str, dict[str, Any]] = {
    "convert": {"pixel_size_um": 1.1},
    "segment": {"sigma_um": 1.5},
    "crop": {"min_solidity": 0.2},
}


def stop_soon(monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """Have the next run stop after the loop went round so often."""
    left = iter(range(after))

    def check(lock: RunLock) -> None:
        if next(left, None) is None:
            raise I2RError("stopped")

    monkeypatch.setattr(RunLock, "check", check)


@pytest.mark.parametrize(
    ("stage", "after"), [("convert", 1), ("convert", 3), ("segment", 1), ("crop", 1)]
)
def test_back_after_a_stopped_change(
    cropped: Path, plate: PlateFiles, monkeypatch: pytest.MonkeyPatch, stage: str, after: int
) -> None:
    before = digest_experiment(str(cropped))
    with monkeypatch.context() as patch:
        stop_soon(patch, after=after)
        stopped = run_here(short_pipeline(plate, **{stage: CHANGES[stage]}), cropped)
    assert stopped.exit_code == 2
    first = short_pipeline(plate)
    assert run_here(first, cropped).exit_code == 0
    assert digest_experiment(str(cropped)) == before
    assert find_problems(open_experiment(str(cropped))) == []
    assert not run_here(first, cropped).ran
    # Merged tables are in use again, not their parts for ever.
    ledger = open_experiment(str(cropped)).ledger
    assert all(ledger.is_merged(s.title) for s in first.stages if s.has_finish())


def test_what_lives_in_a_replaced_well_is_lost_before_it_is_deleted(
    cropped: Path, plate: PlateFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost_when_deleted: list[bool] = []
    from i2r.store import files

    remove = files.remove_tree

    def watch(base: str, *parts: str) -> None:
        key = next(f"P1/{w}" for w in wells if parts[0].endswith(f"/{w[0]}/{int(w[1:])}"))
        # Read anew from the disk, as another client would after a crash right here.
        entry = Ledger(f"{cropped}/ledger").entry("segment", key)
        lost_when_deleted.append(entry is not None and entry.event == "lost")
        remove(base, *parts)

    wells = [key.partition("/")[2] for key in open_experiment(str(cropped)).well_keys]
    monkeypatch.setattr(files, "remove_tree", watch)
    stop_soon(monkeypatch, after=1)
    run_here(short_pipeline(plate, convert=CHANGES["convert"]), cropped)
    assert lost_when_deleted
    assert all(lost_when_deleted)


def test_preview_and_status_know_what_a_unit_will_take_with_it(
    cropped: Path, plate: PlateFiles
) -> None:
    pipeline = short_pipeline(plate)
    experiment = open_experiment(str(cropped))
    first = experiment.well_keys[0]
    # As if a client had been killed while the well was converted with other options.
    writer = LedgerWriter(experiment.ledger, experiment.ledger.last_run + 1)
    writer.write("convert", first, "start", "other")
    writer.close()
    pending = preview_units(pipeline, open_experiment(str(cropped)))
    assert pending["convert"] == [first, "*"]
    assert pending["segment"] == [first, "*"]
    assert not pending["crop"]  # reads both, and lies elsewhere
    assert count_states(pipeline, open_experiment(str(cropped)))["convert"]["interrupted"] == 1


def test_labels_of_a_stage_that_the_pipeline_lacks_are_lost_too(
    cropped: Path, plate: PlateFiles, cli: Callable[..., tuple[int, str]]
) -> None:
    content = describe_pipeline(plate, screen=False)
    extra = next(s for s in content["stages"] if s["stage"] == "segment") | {"name": "other"}
    content["stages"].append(extra)
    assert run_here(parse_pipeline(content, where="test"), cropped).exit_code == 0
    changed = short_pipeline(plate, convert=CHANGES["convert"])
    assert run_here(changed, cropped).exit_code == 0
    ledger = open_experiment(str(cropped)).ledger
    assert {e.event for e in ledger.entries("other") if e.key != "*"} == {"lost"}
    assert find_problems(open_experiment(str(cropped))) == []


def test_a_stage_alone_does_not_read_what_its_input_takes_away(
    cropped: Path, plate: PlateFiles
) -> None:
    changed: Pipeline = short_pipeline(plate, convert=CHANGES["convert"])
    summary = run_here(changed, cropped, only=["convert", "crop"])
    assert {unit.stage.title for unit in summary.blocked} == {"crop"}
    assert not summary.failed
    assert run_here(changed, cropped).exit_code == 0
    assert json.loads((cropped / "experiment.json").read_text())["format"] == "i2r"
