"""The run loop: every unit ends, bad luck is tried again, and nothing runs that need not."""

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from dask.delayed import Delayed

from i2r.cluster import ClusterSpec, WorkerGroup
from i2r.errors import InputError
from i2r.pipeline import loop
from i2r.pipeline.executors import InProcess
from i2r.pipeline.loop import ATTEMPTS
from i2r.pipeline.memory import ADVICE, WorkerMemoryError
from i2r.pipeline.run import prepare, run_pipeline, run_units_of
from i2r.pipeline.spec import Pipeline
from i2r.pipeline.submissions import Finished
from i2r.pipeline.summary import Summary
from i2r.store import files, lock
from i2r.store.experiment import Experiment, open_experiment
from i2r.store.ledger import Ledger
from tests.conftest import run_here
from tests.pipeline.stubs import (
    WELLS,
    Finishing,
    Pairs,
    Source,
    Stub,
    Whole,
    chain,
    count_attempts,
    make_pipeline,
)  # fmt: skip

KEYS = [f"P1/{well}" for well in WELLS]
TWO_WORKERS = ClusterSpec(
    cpu=WorkerGroup(n_workers=2, memory_limit="1GiB"),
    gpu=WorkerGroup(n_workers=0),
    dashboard_address="127.0.0.1:0",
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "experiment")


def events(url: str) -> list[tuple[int, str, str, str]]:
    """List everything that was ever recorded: run, stage, key, event."""
    found = []
    for path in sorted(Path(url, "ledger").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            found.append((int(path.stem), record["stage"], record["key"], record["event"]))
    return found


def snapshot(url: str) -> dict[str, int]:
    """Give the time of change of every file and folder."""
    return {
        os.path.join(folder, name): os.stat(os.path.join(folder, name)).st_mtime_ns
        for folder, folders, names in os.walk(url)
        for name in [*folders, *names, "."]
    }


# ------------------------------------------------------------------------------- what runs


def test_every_unit_runs_once_and_is_recorded(url: str, log: Path) -> None:
    summary = run_here(chain(log, Stub, Finishing, Pairs, Whole), url)
    assert summary.ran == {"source": 6, "stub": 6, "finishing": 7, "pairs": 3, "whole": 1}
    assert (summary.exit_code, summary.failed, summary.blocked, summary.excluded) == (0, [], [], {})
    assert set(count_attempts(log).values()) == {1}
    entries = list(open_experiment(url).ledger.entries())
    assert len(entries) == 23
    assert {e.event for e in entries} == {"done"}
    assert all(e.worker and e.fingerprint and e.attempt == 1 for e in entries)


def test_start_is_recorded_before_the_unit_begins_and_done_after_it(url: str, log: Path) -> None:
    class Looking(Stub):
        """Looks into the ledger while it runs."""

        stage: str = "looking"

        def build(self, experiment: Experiment, key: str) -> Any:
            from dask import delayed

            def look() -> dict[str, Any]:
                entry = open_experiment(url).ledger.entry("looking", key)
                assert entry is not None
                return {"fields": 1, "seen": entry.event}

            return delayed(look)()

    assert run_here(chain(log, Looking), url).exit_code == 0
    ledger = open_experiment(url).ledger
    assert [ledger.result("looking", key) for key in KEYS] == [{"fields": 1, "seen": "start"}] * 6


def test_a_second_run_does_nothing_and_writes_nothing(url: str, log: Path) -> None:
    pipeline = chain(log, Stub, Finishing, Pairs, Whole)
    run_here(pipeline, url)
    before, attempts = snapshot(url), count_attempts(log)
    summary = run_here(pipeline, url)
    assert summary.ran == {}
    assert summary.exit_code == 0
    assert count_attempts(log) == attempts
    assert snapshot(url) == before


def test_changed_and_changed_back_everything_that_depends_runs_again(url: str, log: Path) -> None:
    pipelines = [chain(log, Stub, Finishing, Whole, stub={"value": v}) for v in (0, 1, 0)]
    ran = [run_here(pipeline, url).ran for pipeline in pipelines]
    assert ran[1] == ran[2] == {"stub": 6, "finishing": 7, "whole": 1}
    assert run_here(pipelines[2], url).ran == {}


def test_another_version_of_a_stage_runs_again(
    url: str, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = chain(log, Stub)
    run_here(pipeline, url)
    monkeypatch.setattr(Stub, "version", 2)
    assert run_here(pipeline, url).ran == {"stub": 6, "source": 6}


def test_only_the_named_stages_run_on_what_the_others_left(url: str, log: Path) -> None:
    pipeline = chain(log, Stub, Finishing)
    first = run_here(pipeline, url, only={"source"})
    assert (first.ran, first.blocked, first.exit_code) == ({"source": 6}, [], 0)
    assert run_here(pipeline, url, only={"stub"}).ran == {"stub": 6}
    changed = chain(log, Stub, Finishing, stub={"value": 1})
    assert run_here(changed, url, only={"finishing"}).ran == {"finishing": 7}, "on the old results"
    assert run_here(changed, url).ran == {"stub": 6, "finishing": 7}


def test_only_a_stage_whose_input_is_not_there_is_blocked(url: str, log: Path) -> None:
    summary = run_here(chain(log, Stub, Finishing), url, only={"finishing"})
    assert summary.ran == {}
    assert {u.name for u in summary.blocked} == {*(f"finishing {k}" for k in KEYS), "finishing *"}
    assert summary.exit_code == 3


# ------------------------------------------------------------------------------- what goes wrong


def test_a_failed_unit_never_stops_the_others(url: str, log: Path) -> None:
    pipeline = chain(
        log, Stub, Finishing, Whole, stub={"behave": {"P1/A02": "fail", "P1/A03": "refuse"}}
    )
    summary = run_here(pipeline, url)
    assert summary.exit_code == 3
    assert {u.name for u in summary.failed} == {"stub P1/A02", "stub P1/A03"}
    assert {u.name for u in summary.blocked} == {"finishing P1/A02", "finishing P1/A03"}
    assert summary.ran == {"source": 6, "stub": 4, "finishing": 5, "whole": 1}
    ledger = open_experiment(url).ledger
    failed, refused, blocked = (
        ledger.entry(*name)
        for name in (("stub", "P1/A02"), ("stub", "P1/A03"), ("finishing", "P1/A02"))
    )
    assert failed is not None
    assert refused is not None
    assert blocked is not None
    assert failed.error == "ValueError: stub P1/A02 went wrong"
    assert "in act" in failed.traceback
    assert refused.error.startswith("stub P1/A03: found a stub")
    assert refused.traceback == ""
    assert (blocked.event, blocked.error) == ("blocked", "stub P1/A02 is not done")


def test_bad_luck_is_tried_again_and_a_users_error_is_not(url: str, log: Path) -> None:
    behave = {"P1/A01": "fail twice", "P1/A02": "fail", "P1/A03": "refuse"}
    run_here(chain(log, Stub, stub={"behave": behave}), url)
    attempts = count_attempts(log)
    assert attempts["stub P1/A01"] == 3
    assert attempts["stub P1/A02"] == ATTEMPTS
    assert attempts["stub P1/A03"] == 1
    ledger = open_experiment(url).ledger
    found = {k: ledger.entry("stub", k) for k in KEYS[:4]}
    assert {k: (e.event, e.attempt) for k, e in found.items() if e} == {
        "P1/A01": ("done", 3), "P1/A02": ("failed", 3), "P1/A03": ("failed", 1), "P1/A04": ("done", 1),
    }  # fmt: skip


def test_a_unit_that_cannot_be_built_fails_alone(url: str, log: Path) -> None:
    summary = run_here(chain(log, Stub, stub={"behave": {"P1/A02": "unbuildable"}}), url)
    assert [(u.name, u.error) for u in summary.failed] == [
        ("stub P1/A02", "ZeroDivisionError: no graph")
    ]
    assert summary.ran == {"source": 6, "stub": 5}


def test_a_failed_last_unit_blocks_what_waits_for_it_or_not(url: str, log: Path) -> None:
    summary = run_here(chain(log, Finishing, Whole, finishing={"behave": {"*": "refuse"}}), url)
    assert [u.name for u in summary.failed] == ["finishing *"]
    assert summary.exit_code == 3


def test_excluded_fields_are_counted_now_and_later(url: str, log: Path) -> None:
    pipeline = chain(log, Stub, stub={"behave": {"P1/A02": "exclude"}})
    for _ in range(2):
        summary = run_here(pipeline, url)
        assert summary.excluded == {"stub P1/A02": {"2": "truncated"}}
        assert summary.exit_code == 3


def test_retry_runs_what_failed_and_what_depends_on_it(url: str, log: Path) -> None:
    behave = {"behave": {"P1/A02": "fail"}}
    run_here(chain(log, Stub, Finishing, Pairs, Whole, stub=behave), url)
    healed = chain(log, Stub, Finishing, Pairs, Whole)
    log.unlink()
    summary = run_here(healed, url, retry=True)
    assert summary.ran == {"stub": 1, "finishing": 2, "pairs": 1, "whole": 1}
    assert set(count_attempts(log)) == {
        "stub P1/A02", "finishing P1/A02", "finishing *", "pairs A01+A02", f"whole {Whole(log='').keys(None)[0]}",  # type: ignore[arg-type]
    }  # fmt: skip
    assert summary.exit_code == 0
    assert run_here(healed, url).ran == {}


def test_retry_leaves_alone_what_never_ran(url: str, log: Path) -> None:
    first = chain(log, Stub, stub={"behave": {"P1/A02": "fail"}})
    run_here(first, url, only={"source", "stub"})
    longer = chain(log, Stub, Finishing)
    assert run_here(longer, url, retry=True).ran == {"stub": 1, "finishing": 2}, (
        "only the failed well goes on"
    )
    assert run_here(longer, url).ran == {"finishing": 6}


def test_a_retry_that_was_interrupted_goes_on_with_the_next_one(url: str, log: Path) -> None:
    failing = {"P1/A03": "fail", "P1/A04": "fail"}
    assert len(run_here(chain(log, Stub, Whole, stub={"behave": failing}), url).failed) == 2
    broken = chain(log, Stub, Whole, stub={"behave": dict.fromkeys(failing, "interrupt")})
    assert run_here(broken, url, retry=True).stopped.startswith("interrupted")
    assert run_here(chain(log, Stub, Whole), url, retry=True).ran == {"stub": 2, "whole": 1}


def test_retry_with_nothing_failed_does_nothing(url: str, log: Path) -> None:
    run_here(chain(log, Stub), url)
    before = snapshot(url)
    assert run_here(chain(log, Stub), url, retry=True).ran == {}
    assert snapshot(url) == before


# ------------------------------------------------------------------------------- stopping


def test_a_full_disk_stops_cleanly_and_the_next_run_goes_on(url: str, log: Path) -> None:
    stopped = run_here(chain(log, Stub, Whole, stub={"behave": {"P1/A03": "full"}}), url)
    assert stopped.exit_code == 2
    assert "No space left on device" in stopped.stopped
    assert stopped.failed == []
    assert count_attempts(log)["stub P1/A03"] == 1
    done = stopped.ran["stub"]
    assert done < 6
    assert run_here(chain(log, Stub, Whole), url).ran["stub"] == 6 - done


def test_an_interrupt_stops_cleanly_and_the_next_run_goes_on(url: str, log: Path) -> None:
    stopped = run_here(chain(log, Stub, Whole, stub={"behave": {"P1/A03": "interrupt"}}), url)
    assert stopped.stopped.startswith("interrupted")
    done = stopped.ran["stub"]
    assert done < 6
    last = {(s, k): e for _, s, k, e in events(url)}
    assert last["stub", "P1/A03"] == "start"
    assert not os.path.exists(f"{url}/run.lock")
    assert run_here(chain(log, Stub, Whole), url).ran["stub"] == 6 - done


def test_in_one_process_a_well_goes_through_all_stages_before_the_next_begins(
    url: str, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InProcess, "bundle_s", 0.0)  # as if each unit took longer than that
    run_here(chain(log, Stub), url)
    started = [(stage, key) for _, stage, key, event in events(url) if event == "start"]
    wells = [key for stage, key in started if stage == "source" and key != "*"]
    expected = [(stage, well) for well in wells for stage in ("source", "stub")]
    assert [unit for unit in started if unit[1] != "*"] == expected


class Sleepy(Stub):
    """Before its third unit the machine sleeps, and another client takes the lock."""

    stage: str = "stub"

    def build(self, experiment: Experiment, key: str) -> Delayed:
        if key == "P1/A03":
            held = [thread for thread in threading.enumerate() if thread.name == "i2r-lock"]
            # A beat that was under way when the other client came may write once more.
            for _ in range(200):
                files.write_bytes(experiment.path("run.lock"), b'{"token": "of another client"}')
                for thread in held:
                    thread.join(0.3)
                if not any(thread.is_alive() for thread in held):
                    break
        return super().build(experiment, key)


def test_a_run_that_lost_its_lock_stops(
    url: str, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.02)
    lost = run_here(chain(log, Sleepy, Whole), url)
    assert lost.stopped.startswith(f"{url}/run.lock: found the lock gone or another client's")
    assert lost.exit_code == 2
    assert lost.ran["stub"] < 6
    assert not lost.failed
    assert "another client" in Path(url, "run.lock").read_text()
    # What the two clients share is left to the other one.
    assert Ledger(f"{url}/ledger")._state.last_run == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 600 kB, where one may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)], capture_output=True, check=False
    ) if os.path.exists("/bin/mount") else None  # fmt: skip
    if mounted is None or mounted.returncode:
        pytest.skip("may not mount a small tmpfs here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


class Writing(Stub):
    """Writes 40 kB per unit into the experiment."""

    stage: str = "writing"

    def build(self, experiment: Experiment, key: str) -> Any:
        from dask import delayed

        from i2r.store import files

        def write(url: str) -> dict[str, Any]:
            return {"bytes": files.write_bytes(url, b"x" * 40_000)}

        return delayed(write)(experiment.path("written", key))


def test_a_really_full_disk_stops_cleanly_at_any_moment_and_resumes(
    small_disk: Path, log: Path
) -> None:
    url, ballast = str(small_disk / "experiment"), small_disk / "ballast"
    pipeline = chain(log, Writing)
    sizes = [600_000, 590_000, 570_000, 540_000, 480_000, 420_000]
    exit_codes = []
    for size in sizes:  # from no space for the lock to space for almost everything
        fill(ballast, size)
        exit_codes.append(exit_of(pipeline, url))
        assert not os.path.exists(f"{url}/run.lock")
    ballast.unlink()
    assert set(exit_codes) <= {0, 2}
    assert exit_codes[0] == 2
    assert run_here(pipeline, url).exit_code == 0
    for key in KEYS:
        assert Path(url, "written", key).stat().st_size == 40_000


def fill(path: Path, size: int) -> None:
    """Write as much of a file as fits."""
    with open(path, "wb", buffering=0) as file, suppress(OSError):
        file.write(b"x" * size)


def exit_of(pipeline: Pipeline, url: str) -> int:
    """Run as the command line does, which turns clear errors into 2."""
    from i2r.errors import I2RError

    try:
        return run_here(pipeline, url).exit_code
    except I2RError as error:
        return 2 if "space" in str(error) else 1


# ------------------------------------------------------------------------------- on workers


def run_on_two(pipeline: Pipeline, url: str) -> Summary:
    return run_pipeline(pipeline, url, cluster=TWO_WORKERS, style="none")


def test_a_unit_that_kills_its_worker_is_found_out_and_harms_nobody(url: str, log: Path) -> None:
    pipeline = chain(
        log, Stub, Whole, source={"wait_s": 0.02},
        stub={"behave": {"P1/A03": "die", "P1/A05": "die once"}, "wait_s": 0.05},
    )  # fmt: skip
    summary = run_on_two(pipeline, url)
    assert [u.name for u in summary.failed] == ["stub P1/A03"]
    assert "worker" in summary.failed[0].error
    assert summary.ran == {"source": 6, "stub": 5, "whole": 1}
    entries = {e.key: e for e in open_experiment(url).ledger.entries("stub")}
    assert {k: e.event for k, e in entries.items()} == {
        k: "failed" if k == "P1/A03" else "done" for k in KEYS
    }
    assert {e.worker for e in entries.values() if e.event == "done"} <= {"cpu-0", "cpu-1"}


def test_small_units_travel_together_and_are_recorded_one_by_one(url: str, log: Path) -> None:
    wells = tuple(f"{row}{column:02d}" for row in "ABCDEFGH" for column in range(1, 13))
    behave = {"P1/B05": "fail twice", "P1/C07": "refuse"}
    pipeline = chain(log, Stub, source={"wells": wells}, stub={"behave": behave})
    summary = run_on_two(pipeline, url)
    assert summary.ran == {"source": 96, "stub": 95}
    assert [u.name for u in summary.failed] == ["stub P1/C07"]
    attempts = count_attempts(log)
    assert attempts["stub P1/B05"] == 3
    assert {n for name, n in attempts.items() if name != "stub P1/B05"} == {1}
    starts = [(s, k) for _, s, k, e in events(url) if e == "start"]
    assert len(starts) == 96 + 96 + 2


def test_more_threads_than_any_worker_has_are_refused_at_once(url: str, log: Path) -> None:
    pipeline = chain(log, Stub, stub={"threads": 2})
    with pytest.raises(InputError, match="'stub': asks for 2 threads"):
        run_on_two(pipeline, url)
    assert not os.path.exists(f"{url}/ledger")


def test_a_unit_that_fits_into_no_worker_is_refused_at_once(url: str, log: Path) -> None:
    class Huge(Stub):
        stage: str = "huge"

        def peak_bytes(self, experiment: Experiment, key: str) -> int:
            return 2**50 if key == "P1/A04" else 1

    with pytest.raises(InputError, match=r"unit P1/A04: needs up to [\d.]+ GiB"):
        run_here(chain(log, Huge), url)
    assert not os.path.exists(f"{url}/ledger")


def test_a_last_unit_that_fits_into_no_worker_is_refused_at_once(url: str, log: Path) -> None:
    class Merging(Finishing):
        stage: str = "merging"

        def finish_peak_bytes(self, experiment: Experiment) -> int:
            return 2**50

    with pytest.raises(InputError, match=r"'merging' its last unit: needs up to [\d.]+ GiB"):
        run_here(chain(log, Merging), url)
    assert not os.path.exists(f"{url}/ledger")


def test_a_last_unit_that_turns_out_to_fit_into_no_worker_fails_and_says_so(
    url: str, log: Path
) -> None:
    class Collecting(Finishing):
        stage: str = "collecting"

        def finish_peak_bytes(self, experiment: Experiment) -> int:
            return 2**50 if experiment.ledger.done_keys("collecting") else 1

    summary = run_here(chain(log, Collecting), url)
    (unit,) = summary.failed
    assert unit.name == "collecting *"
    assert "'collecting' its last unit: needs up to" in unit.error


def test_a_unit_that_turns_out_to_fit_into_no_worker_fails_and_says_so(url: str, log: Path) -> None:
    class Growing(Whole):
        stage: str = "growing"

        def peak_bytes(self, experiment: Experiment, key: str) -> int:
            return 2**50 if experiment.ledger.done_keys("stub") else 1

    summary = run_here(chain(log, Stub, Growing), url)
    (unit,) = summary.failed
    assert "growing" in unit.name
    assert re.search(r"needs up to [\d.]+ GiB with its worker's process", unit.error)
    assert "Use fewer, larger workers" in unit.error
    assert summary.ran == {"source": 6, "stub": 6}
    assert not any(name.startswith("growing") for name in count_attempts(log))


def test_a_unit_that_ends_its_worker_for_memory_is_tried_three_times_and_says_so(
    url: str, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "BUNDLE_MOST", 1)  # a submission is named by its first unit

    class Small(InProcess):
        """Has a worker that is ended whenever it runs a certain unit."""

        deaths = 0

        def submit(self, handle: int, name: str, *given: Any, **workers: object) -> None:
            if "P1/A03" not in name or not name.startswith("stub"):
                super().submit(handle, name, *given, **workers)
                return
            self.deaths += 1
            error = WorkerMemoryError(f"worker cpu-0 ran out of memory. {ADVICE}")
            self._finished.append(Finished(handle, None, error))

    pipeline = chain(log, Stub)
    experiment = prepare(pipeline, url)
    with Small() as executor:
        summary = run_units_of(pipeline, experiment, executor)
    (unit,) = summary.failed
    assert (unit.name, executor.deaths) == ("stub P1/A03", 4)  # the first tells it from others
    assert unit.error.startswith("worker cpu-0 ran out of memory. Use fewer, larger workers")
    assert summary.exit_code == 3
    assert summary.ran == {"source": 6, "stub": 5}


def test_two_stages_that_bring_images_in_are_refused(url: str, log: Path) -> None:
    with pytest.raises(InputError, match="two stages bring wells in"):
        run_here(make_pipeline(Source(log=str(log)), Source(log=str(log), name="again")), url)
    assert not os.path.exists(url)
