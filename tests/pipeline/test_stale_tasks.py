"""What a dead client began is never taken for what a later one wants."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dask import delayed

from i2r.errors import I2RError
from i2r.pipeline.executors import InProcess
from i2r.pipeline.work import Work, run_units
from i2r.store import files
from i2r.store.experiment import open_experiment
from i2r.store.lock import RunLock
from i2r.testing import PlateFiles
from tests.conftest import run_here, short_pipeline
from tests.pipeline.stubs import Stub, chain


def write(url: str, content: bytes) -> dict[str, Any]:
    files.write_bytes(url, content)
    return {}


def test_a_unit_of_a_run_that_is_over_writes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "models/train/a.pt"
    with RunLock(str(tmp_path), command="first") as first:
        stale = Work(
            "train a", delayed(write)(str(target), b"X"), 1, str(tmp_path), {}, first.token
        )
        (outcome,) = run_units([stale])
        assert outcome.error == ""
        assert list(outcome.result["outputs"]) == ["models/train/a.pt"]
    (outcome,) = run_units([stale])  # its client is gone
    assert "It is over" in outcome.error
    with RunLock(str(tmp_path), command="second") as second:
        wanted = Work(
            "train a", delayed(write)(str(target), b"Y"), 1, str(tmp_path), {}, second.token
        )
        (outcome,) = run_units([wanted])
        assert outcome.error == ""
        (outcome,) = run_units([stale])
        assert "It is over" in outcome.error
        assert outcome.final
    assert target.read_bytes() == b"Y"
    assert list(target.parent.iterdir()) == [target]  # and nothing half-written


def test_names_of_tasks_differ_between_runs_and_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler answers a name that it knows with the result that it has."""
    seen: list[set[str]] = []
    submit = InProcess.submit

    def watch(self: InProcess, handle: int, name: str, *rest: Any, **options: Any) -> None:
        seen[-1].add(name)
        submit(self, handle, name, *rest, **options)

    monkeypatch.setattr(InProcess, "submit", watch)
    for value in (1, 1, 2):
        seen.append(set())
        changes = {"stub": {"value": value}}
        run_here(chain(tmp_path / "log", Stub, **changes), tmp_path / "experiment")
        shutil.rmtree(tmp_path / "experiment")
    assert all(seen)
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]


@pytest.mark.parametrize("what", ["ledger", "segment"])
def test_a_ledger_that_is_deleted_during_a_run_is_said(
    tmp_path: Path, plate: PlateFiles, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    url, calls = tmp_path / "experiment", iter(range(100))

    def check(lock: RunLock) -> None:
        if next(calls) == 2:
            for segment in (url / "ledger").glob("*.jsonl"):
                segment.unlink()
            if what == "ledger":
                shutil.rmtree(url / "ledger")

    with monkeypatch.context() as patch:
        patch.setattr(RunLock, "check", check)
        summary = run_here(short_pipeline(plate), url)
    assert summary.exit_code == 2
    assert "the ledger of this run is gone" in summary.stopped
    done = sum(summary.ran.values())
    assert done
    # What this client knew is not lost with it.
    entries = open_experiment(str(url)).ledger.entries()
    assert sum(entry.event == "done" for entry in entries) == done
    assert run_here(short_pipeline(plate), url).exit_code == 0


def test_the_last_event_counts_too(
    tmp_path: Path, plate: PlateFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleted after the last line was written, before the run ends."""
    from i2r.store.ledger import LedgerWriter

    url = tmp_path / "experiment"
    close: Callable[[LedgerWriter], None] = LedgerWriter.close

    def delete_and_close(self: LedgerWriter) -> None:
        shutil.rmtree(url / "ledger")
        close(self)

    monkeypatch.setattr(LedgerWriter, "close", delete_and_close)
    assert run_here(short_pipeline(plate), url).exit_code == 2


def test_a_guard_is_of_one_unit_only(tmp_path: Path) -> None:
    bad = Work("a", delayed(write)(str(tmp_path / "a"), b""), 1, str(tmp_path), {}, "no such token")
    good = Work("b", delayed(write)(str(tmp_path / "b"), b""), 1)
    first, second = run_units([bad, good])
    assert (bool(first.error), second.error) == (True, "")
    write(str(tmp_path / "c"), b"")
    with pytest.raises(I2RError):
        raise I2RError(first.error)
