"""Whatever goes wrong at a random moment, nothing is lost and only what was unfinished runs again.

Ten kinds of faults by turns, each at a moment that the test's seed decides; ``I2R_FAULTS`` says how
many (30; three in the project's CI). The figures are printed at the end: ``pytest -m faults``.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from i2r.cluster import ClusterSpec, WorkerGroup
from i2r.pipeline.run import run_pipeline
from i2r.testing import digest_experiment, write_plate
from tests.pipeline.stubs import WELLS, Stub, chain
from tests.pipeline.test_faults import (
    FAULTS,
    Setup,
    count_reached,
    end,
    kill_client,
    make_setup,
    read_events,
    start,
    wait_until,
)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

# Moves the clock of every process by up to a day, each by another amount.
SKEW = """
import os, random, time
_shift, _time, _time_ns = random.Random(os.getpid()).uniform(-86400, 86400), time.time, time.time_ns
time.time = lambda: _time() + _shift
time.time_ns = lambda: _time_ns() + int(_shift * 1e9)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """The chain with the screen, on a plate whose files may be touched."""
    folder = tmp_path_factory.mktemp("moments")
    return make_setup(write_plate(folder / "plate", wells=8, fields=2), folder, screen=True)


class Fault:
    """One experiment, one run that something happens to, and what is known of it."""

    def __init__(self, setup: Setup, url: Path, chosen: random.Random, stack: ExitStack) -> None:
        self.setup, self.url, self.chosen, self.stack = setup, url, chosen, stack

    def begin(self, **options: str) -> subprocess.Popen[bytes]:
        process = start(self.setup, self.url, **options)
        self.stack.callback(stop, process)
        return process

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the moment: so many events, and a little more."""
        kind, number = self.chosen.choice(("start", "done")), self.chosen.randint(1, 40)
        wait_until(lambda: count_reached(self.url, kind, number), process)
        time.sleep(self.chosen.uniform(0, 0.3))


def stop(process: subprocess.Popen[bytes]) -> None:
    """End what may still be there of a client and its workers."""
    children = []
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
    for child in [process, *children]:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait()


# ------------------------------------------------------------------------------- the faults


def kill_a_worker(fault: Fault) -> None:
    process = fault.begin()
    fault.wait(process)
    with suppress(psutil.NoSuchProcess, IndexError):
        found = psutil.Process(process.pid).children(recursive=True)
        fault.chosen.choice([p for p in found if "spawn_main" in " ".join(p.cmdline())]).kill()
    code, said = end(process)
    assert code == 0, said


def kill_the_scheduler(fault: Fault) -> None:
    folder = fault.url.parent / "scheduler"
    folder.mkdir()
    module, file = [sys.executable, "-m"], folder / "address.json"
    scheduler = subprocess.Popen(
        [*module, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
         "--no-dashboard", "--scheduler-file", str(file)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
    )  # fmt: skip
    fault.stack.callback(stop, scheduler)
    while not (file.exists() and file.read_text().endswith("}")):  # complete
        assert scheduler.poll() is None
        time.sleep(0.05)
    for _ in range(2):
        worker = subprocess.Popen(
            [*module, "distributed.cli.dask_worker", "--scheduler-file", str(file), "--nthreads",
             "1", "--resources", "CPU=1,GPU=0", "--no-dashboard", "--death-timeout", "60"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
        )  # fmt: skip
        fault.stack.callback(stop, worker)
    process = fault.begin(cluster=json.loads(file.read_bytes())["address"])
    fault.wait(process)
    scheduler.kill()
    code, said = end(process)
    assert code == 0 or (code == 2 and "is gone" in said), said


def kill_the_client(fault: Fault) -> None:
    process = fault.begin()
    fault.wait(process)
    kill_client(process)


def fill_the_disk(fault: Fault) -> None:
    place = fault.url.parent
    share = fault.chosen.uniform(0.1, 0.9)
    mount(place, f"size={int(share * 2_000_000)}", fault.stack)
    process = fault.begin()
    code, said = end(process)
    assert code in (0, 2), said
    assert code == 0 or "space" in said, said
    assert "Traceback" not in said
    subprocess.run(["mount", "-o", "remount,size=500m", str(place)], check=True)


def hide_a_source_file(fault: Fault) -> None:
    victim = choose_source(fault)
    process = fault.begin()
    fault.wait(process)
    hidden = victim.with_suffix(".hidden")
    victim.rename(hidden)
    try:
        code, said = end(process)
    finally:
        hidden.rename(victim)
    assert code in (0, 3), said


def cut_a_source_file(fault: Fault) -> None:
    victim = choose_source(fault)
    content, status = victim.read_bytes(), victim.stat()
    process = fault.begin()
    fault.wait(process)
    os.truncate(victim, len(content) // 2)
    try:
        code, said = end(process)
    finally:
        victim.write_bytes(content)
        os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert code in (0, 3), said


def forbid_writing(fault: Fault) -> None:
    if (
        os.getuid()
        or subprocess.run(["chattr", "+i", str(fault.url.parent)], check=False).returncode
    ):
        pytest.skip("needs root, and a file system on which chattr +i makes folders read-only")
    subprocess.run(["chattr", "-i", str(fault.url.parent)], check=True)
    process = fault.begin()
    fault.wait(process)
    folders = [
        d for d in (fault.url / "plates", fault.url / "tables", fault.url / "nuclei") if d.is_dir()
    ]
    fault.stack.callback(subprocess.run, ["chattr", "-R", "-f", "-i", str(fault.url)], check=False)
    subprocess.run(["chattr", "-R", "-f", "+i", *map(str, folders)], check=False)
    code, said = end(process)
    subprocess.run(["chattr", "-R", "-f", "-i", str(fault.url)], check=False)
    assert code in (0, 2, 3), said
    assert "Traceback" not in said


def skew_the_clocks(fault: Fault) -> None:
    folder = fault.url.parent / "skew"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SKEW)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *filter(None, [before])])
    try:
        process = fault.begin()
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    fault.wait(process)
    kill_client(process)


def start_a_second_client(fault: Fault) -> None:
    process = fault.begin()
    fault.wait(process)
    code, said = end(fault.begin())
    if process.poll() is None:
        assert code == 2, said
        assert f"held by process {process.pid} on " in said
    kill_client(process)  # its lock is stale now, and taken over


KINDS: tuple[Callable[[Fault], None], ...] = (
    kill_a_worker,
    kill_the_scheduler,
    kill_the_client,
    fill_the_disk,
    hide_a_source_file,
    cut_a_source_file,
    forbid_writing,
    skew_the_clocks,
    start_a_second_client,
)


def choose_source(fault: Fault) -> Path:
    folder = fault.setup.pipeline.parent / "plate" / "images"
    return fault.chosen.choice(sorted(folder.rglob("*.tif")))


def mount(place: Path, size: str, stack: ExitStack) -> None:
    """Put a small disk of memory in a folder's place; skip where that is not permitted."""
    command = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk can't be mounted: {done.stderr.strip()}")
    stack.callback(subprocess.run, ["umount", "-l", str(place)], check=False)


# ------------------------------------------------------------------------------- the test


@pytest.mark.parametrize("seed", range(FAULTS - FAULTS // 10))
def test_nothing_is_lost_whatever_happens(
    seed: int, whole: Setup, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    kind = KINDS[seed % len(KINDS)]
    place = tmp_path / "place"
    place.mkdir()
    counts: dict[str, int] = {}
    record_property("fault", counts)  # before it happens: one that is not survived counts too
    with ExitStack() as stack:
        fault = Fault(whole, place / "e", random.Random(seed), stack)
        kind(fault)
        counts |= resume_and_compare(whole, place / "e")
    print(f"seed {seed}: {kind.__name__}: {counts}")
    assert counts["lost"] == 0
    assert counts["wasted"] == 0


def resume_and_compare(setup: Setup, url: Path) -> dict[str, int]:
    """Run the same command once more; count what differs and what ran again."""
    segments = list((url / "ledger").glob("*.jsonl"))
    runs = [int(path.stem) for path in segments]
    done = read_events(url, "done") if runs else set()
    begun = (
        done | read_events(url, "start") | read_events(url, "failed") | read_events(url, "blocked")
    )
    code, said = end(start(setup, url))
    assert code == 0, said
    again = read_events(url, "done", after=max(runs, default=0))
    differing = digest_experiment(str(url)).items() ^ setup.digest.items()
    # Units of which a failed or excluded one is an input are done again, rightly.
    wasted = {unit for unit in again & done if unit[1] != "*" and unit[0] != "screen"}
    return {
        "lost": len({path for path, _ in differing}),
        "rerun": len(again & begun),
        "units": len(setup.units),
        "wasted": len(wasted),
    }


@pytest.mark.parametrize("seed", range(max(1, FAULTS // 10)))
def test_a_worker_that_exceeds_its_memory_costs_only_the_unit_that_did_it(
    seed: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    counts: dict[str, int] = {}
    record_property("fault", counts)
    key = f"P1/{random.Random(seed).choice(WELLS)}"
    spec = ClusterSpec(
        cpu=WorkerGroup(n_workers=2, memory_limit="768MiB"),
        gpu=WorkerGroup(n_workers=0),
        dashboard_address="127.0.0.1:0",
    )
    hogging = chain(tmp_path / "log", Stub, stub={"behave": {key: "hog"}, "wait_s": 0.1})
    for behaviour, failed in ((hogging, [key]), (chain(tmp_path / "log", Stub), [])):
        url = str(tmp_path / "e")
        summary = run_pipeline(behaviour, url, cluster=spec, style="none")
        assert [unit.key for unit in summary.failed] == failed
    assert summary.ran == {"stub": 1}
    counts |= {"lost": 0, "rerun": 1, "units": 12, "wasted": 0}


def test_a_terminated_client_stops_as_cleanly_as_an_interrupted_one(
    whole: Setup, tmp_path: Path
) -> None:
    process = start(whole, tmp_path / "e")
    wait_until(lambda: count_reached(tmp_path / "e", "done", 12), process)
    process.send_signal(signal.SIGTERM)
    code, said = end(process)
    assert code == 130, said
    assert not (tmp_path / "e" / "run.lock").exists()
