"""Stages of a well run on the worker that has its pixels in memory, if that has room."""

import time
from collections import deque
from types import SimpleNamespace

import pytest
from distributed import LocalCluster

from i2r.cluster import ClusterSpec
from i2r.pipeline.executors import OnCluster
from i2r.pipeline.homes import LONG_S, MOST_KEYS, Homes
from i2r.pipeline.submissions import Submission, Submissions
from i2r.pipeline.units import Unit
from i2r.stages.crop import Crop


def make_units(*keys: str) -> deque[Unit]:
    stage = Crop(needs=())
    return deque(Unit(stage, key) for key in keys)


def test_a_unit_whose_worker_has_room_goes_first() -> None:
    homes, waiting = Homes(), make_units("P/A01", "P/A02", "P/A03", "P/A04")
    for unit, address in zip(waiting, ("one", "one", "two", "two"), strict=True):
        homes.note(unit, address, seconds=0.1)
    assert homes.bring_forward(waiting, lambda address: address == "two") == "two"
    assert [unit.key for unit in waiting] == ["P/A03", "P/A01", "P/A02", "P/A04"]
    assert homes.count_together(waiting) == 1
    assert homes.bring_forward(waiting, lambda address: address == "one") == "one"
    assert [unit.key for unit in waiting] == ["P/A01", "P/A03", "P/A02", "P/A04"]
    # Where none has room the first goes anywhere.
    assert homes.bring_forward(waiting, lambda address: False) == ""
    assert waiting[0].key == "P/A01"


def test_units_of_one_worker_travel_together() -> None:
    homes, waiting = Homes(), make_units("P/A01", "P/A02", "P/A03")
    assert homes.count_together(waiting) == 3
    homes.note(waiting[2], "two", seconds=0.1)
    assert homes.count_together(waiting) == 2


def test_long_units_last_units_and_old_ones_have_no_home() -> None:
    homes = Homes()
    (unit, last) = make_units("P/A01", "*")
    homes.note(unit, "one", seconds=0.1)
    assert homes.find(unit) == "one"
    homes.note(unit, "one", seconds=LONG_S + 1)
    homes.note(last, "one", seconds=0.1)
    assert homes.find(unit) == homes.find(last) == ""
    homes.note(unit, "one", seconds=0.1)
    for other in make_units(*(f"P/{number}" for number in range(MOST_KEYS))):
        homes.note(other, "two", seconds=0.1)
    assert homes.find(unit) == ""


def give_worker(argument: object, worker: str) -> str:
    return worker


def test_submissions_prefer_a_worker_and_run_elsewhere_without_it() -> None:
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "resources": {"CPU": 1}}
    with LocalCluster(n_workers=2, processes=False, **options) as cluster:
        spec = ClusterSpec(type="connect", address=cluster.scheduler_address)
        with OnCluster(spec) as executor:
            names = {address: str(w.name) for address, w in cluster.scheduler.workers.items()}
            here, there = names
            assert executor.has_room(here, group="cpu")
            assert not executor.has_room(here, group="gpu")
            assert not executor.has_room("tcp://127.0.0.1:1", group="cpu")
            for handle in range(2):
                executor.submit(
                    handle, f"u{handle}", give_worker, None, group="cpu", threads=1, near=here
                )
            assert not executor.has_room(here, group="cpu")
            finished = []
            while len(finished) < 2:
                finished += executor.wait(1)
            assert {(item.value, item.address) for item in finished} == {(names[here], here)}
            assert executor.has_room(here, group="cpu")
            cluster.sync(cluster.scheduler.retire_workers, [here])
            executor.submit(3, "u3", give_worker, None, group="cpu", threads=1, near=here)
            finished = []
            while not finished:
                finished = executor.wait(1)
            assert finished[0].address == there


def test_submissions_that_prefer_a_worker_that_was_the_last_run_on_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("i2r.pipeline.executors.LOOK_EVERY_S", 0.1)
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "resources": {"CPU": 1}}
    with LocalCluster(n_workers=1, processes=False, **options) as cluster:
        spec = ClusterSpec(type="connect", address=cluster.scheduler_address)
        with OnCluster(spec) as executor:
            (gone,) = cluster.scheduler.workers
            cluster.scale(0)
            while cluster.scheduler.workers:
                time.sleep(0.02)
            executor.submit(1, "u1", give_worker, None, group="cpu", threads=1, near=gone)
            while not cluster.scheduler.unrunnable:
                time.sleep(0.02)
            cluster.scale(1)
            finished = []
            while not finished:
                finished = executor.wait(0.2)
            assert finished[0].error is None
            assert finished[0].address not in ("", gone)
            assert not executor.has_room(gone, group="cpu")


def test_a_result_that_comes_while_it_is_taken_back_counts() -> None:
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "resources": {"CPU": 1}}
    with LocalCluster(n_workers=1, processes=False, **options) as cluster:
        spec = ClusterSpec(type="connect", address=cluster.scheduler_address)
        with OnCluster(spec) as executor:
            executor.submit(1, "u1", give_worker, None, group="cpu", threads=1)
            submissions = executor._submissions
            while submissions._queue.empty():
                time.sleep(0.02)
            submissions._stranded.add(1)  # as `free_stranded` does where it still saw it wait
            assert [(item.handle, item.error) for item in executor.wait(1)] == [(1, None)]
            assert submissions.list_futures() == []


@pytest.mark.parametrize(
    ("status", "at_work", "is_freed"),
    [
        ("pending", False, True),
        ("lost", False, True),  # it was there, and its worker took it along before it was fetched
        ("pending", True, False),
        ("finished", False, False),
    ],
)
def test_what_waits_for_a_worker_that_is_gone_is_taken_back(
    status: str, at_work: bool, is_freed: bool
) -> None:
    cancelled = list[str]()
    future = SimpleNamespace(status=status, key="u1", cancel=lambda: cancelled.append("u1"))
    client = SimpleNamespace(processing=lambda: {"other": ["u1"] if at_work else []})
    submissions = Submissions(client)  # type: ignore[arg-type]
    asked = Submission("u1", give_worker, None, "CPU", 1, near="gone")
    submissions._pending[1] = asked, future  # type: ignore[assignment]
    submissions.free_stranded({"other": {}, "gone": {}})
    assert not cancelled
    submissions.free_stranded({"other": {}})
    assert bool(cancelled) == is_freed


@pytest.mark.parametrize("resources", [{"CPU": 2}, {"GPU": 1}])
def test_no_worker_is_preferred_where_workers_differ(resources: dict[str, int]) -> None:
    # Dask would give a unit to one that can't run it, once the preferred worker is gone.
    submissions = Submissions(client=None)  # type: ignore[arg-type] # it is asked nothing
    workers = {"one": {"resources": {"CPU": 1}}, "two": {"resources": resources}}
    submissions.note_workers(workers, n_gpus=0)
    assert not submissions.has_room("one")
    submissions.note_workers({"one": workers["one"]}, n_gpus=1)
    assert not submissions.has_room("one")
    submissions.note_workers({"one": workers["one"]}, n_gpus=0)
    assert submissions.has_room("one")
