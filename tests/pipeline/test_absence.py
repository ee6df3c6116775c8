"""Units that no worker is there for wait; workers that never come back end the run."""

import time

import dask
import pytest
from distributed import LocalCluster

from i2r.cluster import ClusterSpec, WorkerGroup
from i2r.errors import I2RError
from i2r.pipeline import absence, executors
from i2r.pipeline.executors import OnCluster
from i2r.pipeline.submissions import Finished


def double(number: object, worker: str) -> int:
    return 2 * int(str(number))


def wait_long(executor: OnCluster) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        executor.wait(0.2)


def test_a_unit_outlives_the_time_that_its_workers_need_to_come_back() -> None:
    settings = {"distributed.scheduler.no-workers-timeout": "300ms"}
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "resources": {"CPU": 1}}
    with dask.config.set(settings), LocalCluster(1, processes=False, **options) as cluster:
        spec = ClusterSpec(type="connect", address=cluster.scheduler_address)
        with OnCluster(spec) as executor:
            cluster.scale(0)
            while cluster.scheduler.workers:
                time.sleep(0.05)
            executor.submit(1, "one", double, 21, group="cpu", threads=1)
            deadline = time.monotonic() + 30
            while not executor._submissions._pending[1][0].times and time.monotonic() < deadline:
                assert executor.wait(0.1) == []
            assert executor._submissions._pending[1][0].times  # Dask gave it up, and it waits again
            cluster.scale(1)
            finished: list[Finished] = []
            while not finished and time.monotonic() < deadline:
                finished = executor.wait(1)
    assert [item[:3] for item in finished] == [(1, 42, None)]


def test_workers_of_this_machine_that_stay_away_are_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(absence, "ABSENT_S", 0.5)
    monkeypatch.setattr(executors, "LOOK_EVERY_S", 0.2)
    spec = ClusterSpec(
        cpu=WorkerGroup(n_workers=1, memory_limit="1GiB"), gpu=WorkerGroup(n_workers=0),
        dashboard_address="127.0.0.1:0",
    )  # fmt: skip
    with OnCluster(spec) as executor:
        executor.submit(1, "one", double, 21, group="cpu", threads=1)
        while not executor.wait(0.1):
            pass
        executor.submit(2, "two", double, 21, group="gpu", threads=1)
        with pytest.raises(I2RError, match="no GPU worker for 0 minutes, and units wait for one"):
            wait_long(executor)
