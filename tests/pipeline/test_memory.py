"""Workers with too little memory: refused before a run, named in it, never waited for in vain."""

import subprocess
import sys
import time

import pytest

from i2r.cluster import ClusterSpec, WorkerGroup
from i2r.cluster.settings import ENDED_AT, WORKER_BYTES, needed_bytes
from i2r.pipeline import executors, memory
from i2r.pipeline.executors import OnCluster
from i2r.pipeline.loop import describe_loss
from i2r.store.recent import MEMORY_PART


def spec_of(limit: str) -> ClusterSpec:
    return ClusterSpec(
        cpu=WorkerGroup(n_workers=1, memory_limit=limit), gpu=WorkerGroup(n_workers=0),
        dashboard_address="127.0.0.1:0",
    )  # fmt: skip


def take(n_bytes: object, worker: str) -> int:
    import numpy as np

    taken = np.ones(int(str(n_bytes)), np.uint8)
    time.sleep(30)
    return len(taken)


def hold(n_bytes: object, worker: str) -> int:
    import numpy as np
    import psutil

    import i2r.types

    more = int(str(n_bytes)) - psutil.Process().memory_info().rss
    i2r.types.held = np.ones(more, np.uint8)  # type: ignore[attr-defined] # stays
    return 1


def _is_paused(executor: OnCluster) -> bool:
    workers = executor._client.scheduler_info(n_workers=-1)["workers"].values()
    return bool(workers) and all(worker["status"] == "paused" for worker in workers)


def wait_for_memory_error(executor: OnCluster) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        executor.wait(0.2)


def test_a_worker_needs_memory_for_its_process_too() -> None:
    assert needed_bytes(0) == WORKER_BYTES / 0.8
    # Dask ends a worker at 95 % of its memory, of which a part holds planes.
    planes = (needed_bytes(2**30) - WORKER_BYTES) // MEMORY_PART
    used = WORKER_BYTES + 2**30 - 2**27 + planes
    assert used == pytest.approx(ENDED_AT * needed_bytes(2**30), rel=1e-3)


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_memory_that_was_freed_goes_back_where_a_worker_has_little() -> None:
    code = """
import numpy as np, psutil
from i2r.pipeline.heap import make_room
limit = 2**29
def fill():
    held = [np.ones(2**20, np.uint8) for _ in range(300)]
    del held[::2]  # holes, and nothing of it can go back by itself
    return held
rss = psutil.Process().memory_info
before = rss().rss
assert not make_room(0, 2**40)
kept = fill()
wasted = rss().rss - before - len(kept) * 2**20
assert wasted > 100 * 2**20, wasted
assert make_room(2**28, limit)
left = rss().rss - before - len(kept) * 2**20
assert left < 30 * 2**20, left
del kept
more = fill()
left = rss().rss - before - len(more) * 2**20
assert left < 30 * 2**20, left
assert not make_room(2**28, 0)  # nobody set a limit
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_unit_that_takes_all_memory_is_told_so_and_a_full_worker_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "PAUSED_S", 0.5)
    monkeypatch.setattr(executors, "LOOK_EVERY_S", 0.2)
    limit = 400 * 2**20
    with OnCluster(spec_of("400MiB")) as executor:
        executor.submit(1, "one", take, 2 * limit, group="cpu", threads=1)
        (answer,) = executor.wait(60)
        assert describe_loss(answer.error).startswith("worker cpu-0 ran out of memory: it used ")
        assert " of 400 MiB. Use fewer, larger workers" in str(answer.error)
        # The worker comes again. Something stays in its memory, so that Dask gives it nothing.
        executor.submit(2, "two", hold, int(0.87 * limit), group="cpu", threads=1)
        while not executor.wait(10):
            pass
        deadline = time.monotonic() + 30
        while not _is_paused(executor) and time.monotonic() < deadline:
            time.sleep(0.1)
        executor.submit(3, "three", hold, limit, group="cpu", threads=1)
        with pytest.raises(memory.I2RError, match="their memory is used up before they begin"):
            wait_for_memory_error(executor)


def test_another_death_is_not_taken_for_it() -> None:
    assert describe_loss(ValueError("x")) == "worker lost: ValueError: x"
