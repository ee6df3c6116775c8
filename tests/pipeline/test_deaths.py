"""A unit that is longer than its job's walltime does not begin for ever."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from dask import delayed

from i2r.errors import I2RError
from i2r.pipeline.deaths import MOST_DEATHS, DeathNote
from i2r.pipeline.executors import InProcess
from i2r.pipeline.work import Work, run_units
from i2r.store import files
from tests.conftest import run_here
from tests.pipeline.stubs import Stub, chain, count_attempts


class Ended(BaseException):
    """What a worker that reaches its lifetime looks like from inside: nothing after it runs."""


def end_job(folder: str, step: int) -> dict[str, Any]:
    """Get on with a training, save what there is, and be cut off."""
    if step:
        files.write_bytes(f"{folder}/a.pt.0.checkpoint", b"x" * step)
    raise Ended


def begin(tmp_path: Path, note: DeathNote, *, step: int = 0) -> None:
    graph = delayed(end_job)(str(tmp_path / "models/train"), step)
    with pytest.raises(Ended):
        run_units([Work("train a", graph, 1, str(tmp_path), deaths=note)])


def test_a_unit_that_no_job_outlives_fails_with_the_reason(tmp_path: Path) -> None:
    note = DeathNote(str(tmp_path / "runs/begun/x.json"), str(tmp_path / "models/train/a.pt."))
    for _ in range(MOST_DEATHS):
        begin(tmp_path, note)
    graph = delayed(end_job)(str(tmp_path), 0)
    (outcome,) = run_units([Work("train a", graph, 1, str(tmp_path), deaths=note)])
    assert outcome.final
    assert "train a: began 3 times" in outcome.error
    assert "walltime" in outcome.error
    assert not list((tmp_path / "runs/begun").iterdir())


def test_a_training_whose_checkpoint_moves_on_may_take_many_jobs(tmp_path: Path) -> None:
    note = DeathNote(str(tmp_path / "runs/begun/x.json"), str(tmp_path / "models/train/a.pt."))
    for step in range(1, 9):
        begin(tmp_path, note, step=step)
    for _ in range(MOST_DEATHS):
        begin(tmp_path, note)  # stuck from here on
    with pytest.raises(I2RError, match="without a checkpoint that moved on"):
        note.begin("train a")


def test_units_that_end_leave_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InProcess, "hands_back", True)
    log = tmp_path / "log"
    pipeline = chain(log, Stub, stub={"behave": {"P1/A02": "fail"}})
    summary = run_here(pipeline, tmp_path / "experiment")
    assert len(summary.failed) == 1
    assert "went wrong" in summary.failed[0].error
    assert count_attempts(log) == Counter({f"source P1/A0{n}": 1 for n in range(1, 7)}) + Counter(
        {f"stub P1/A0{n}": 3 if n == 2 else 1 for n in range(1, 7)}
    )
    assert not list((tmp_path / "experiment/runs/begun").iterdir())
