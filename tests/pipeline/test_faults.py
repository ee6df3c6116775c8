"""Killed at any moment, a run goes on where it was and ends with the same results.

The moments are random, their seed is in the test's name; ``I2R_FAULTS`` says how many
there are (30): all by ``pytest -m faults``, three in the project's CI.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from i2r.pipeline.spec import load_pipeline
from i2r.testing import PlateFiles, describe_pipeline, digest_experiment
from tests.conftest import run_here

FAULTS = int(os.environ.get("I2R_FAULTS", "30"))
KILLS = -(-FAULTS // 3)
CLUSTER = """
cpu: {n_workers: 2, memory_limit: 3GiB}
gpu: {n_workers: 0}
dashboard_address: 127.0.0.1:0
"""

Units = set[tuple[str, str]]


class Setup(NamedTuple):
    """A plate, how to run it, and what comes out when nobody interferes."""

    pipeline: Path
    cluster: Path
    digest: dict[str, str]
    units: Units


def make_setup(plate: PlateFiles, folder: Path, *, screen: bool) -> Setup:
    pipeline, cluster = folder / "pipeline.yaml", folder / "cluster.yaml"
    pipeline.write_text(json.dumps(describe_pipeline(plate, screen=screen)))
    cluster.write_text(CLUSTER)
    run_here(load_pipeline(str(pipeline)), folder / "undisturbed")
    digest = digest_experiment(str(folder / "undisturbed"))
    return Setup(pipeline, cluster, digest, read_events(folder / "undisturbed", "done"))


@pytest.fixture(scope="module")
def short(plate: PlateFiles, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """The chain as far as the crops."""
    return make_setup(plate, tmp_path_factory.mktemp("short"), screen=False)


@pytest.fixture(scope="module")
def whole(plate: PlateFiles, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """The chain with the screen."""
    return make_setup(plate, tmp_path_factory.mktemp("whole"), screen=True)


def start(setup: Setup, url: Path, *, cluster: str | None = None) -> subprocess.Popen[bytes]:
    """Start the command line in a process group of its own, like a terminal does."""
    command = [
        sys.executable, "-m", "i2r", "run", str(setup.pipeline), str(url),
        "--cluster", cluster or str(setup.cluster), "--progress", "none", "--yes",
    ]  # fmt: skip
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def end(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Wait for a client; return its exit code and what it said."""
    said, _ = process.communicate(timeout=240)
    return process.returncode, said.decode()


def read_events(url: Path, kind: str, *, after: int = 0) -> Units:
    """List the units whose last event in the segments after a run is of this kind."""
    last: dict[tuple[str, str], str] = {}
    for segment in sorted((url / "ledger").glob("*.jsonl")):
        if int(segment.stem) <= after:
            continue
        for line in segment.read_bytes().split(b"\n"):
            with suppress(ValueError):
                record = json.loads(line)
                last[record["stage"], record["key"]] = record["event"]
    return {unit for unit, event in last.items() if event == kind}


def count_reached(url: Path, kind: str, number: int) -> bool:
    """Tell whether so many complete lines of a kind are in all segments."""
    found = 0
    for segment in (url / "ledger").glob("*.jsonl"):
        found += sum(
            f'"event":"{kind}"'.encode() in line for line in segment.read_bytes().split(b"\n")
        )
    return found >= number


def kill_client(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Kill the client alone; return the processes it leaves behind."""
    if process.poll() is not None:
        code, said = end(process)
        assert code == 0, said
        return []
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    return children


def resume(setup: Setup, url: Path, *, cluster: str | None = None) -> None:
    """Run the same command again, and prove that it did what was left, and nothing else."""
    runs = [int(p.stem) for p in (url / "ledger").glob("*.jsonl")]
    done = read_events(url, "done") if runs else set()
    code, said = end(start(setup, url, cluster=cluster))
    assert code == 0, said
    again = read_events(url, "done", after=max(runs, default=0))
    assert again == setup.units - done
    differing = {p for p, d in digest_experiment(str(url)).items() ^ setup.digest.items()}
    assert not differing
    assert not (url / "run.lock").exists()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not condition() and process.poll() is None:
        time.sleep(0.002)


# ------------------------------------------------------------------------------- always


def test_a_client_killed_twice_right_after_events_is_resumed(short: Setup, tmp_path: Path) -> None:
    url, chosen = tmp_path / "e", random.Random(0)
    process = start(short, url)
    wait_until(partial(count_reached, url, "start", chosen.randint(2, 8)), process)
    orphans = kill_client(process)
    process = start(short, url)
    wait_until(partial(count_reached, url, "done", chosen.randint(9, 16)), process)
    orphans += kill_client(process)
    resume(short, url)
    _, alive = psutil.wait_procs(orphans, timeout=120)
    assert alive == [], "workers end with their client"


@pytest.mark.parametrize("n_workers", [2, 0], ids=["two workers", "in process"])
def test_ctrl_c_ends_the_run_and_its_workers_and_the_same_command_resumes(
    n_workers: int, short: Setup, tmp_path: Path
) -> None:
    url, cluster = tmp_path / "e", tmp_path / "cluster.yaml"
    # In one process a well goes through all stages before the next begins.
    cluster.write_text(CLUSTER if n_workers else "type: none")
    process = start(short, url, cluster=str(cluster))
    wait_until(partial(count_reached, url, "done", 5 if n_workers else 2), process)
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    code, said = end(process)
    assert code == 130, said
    assert "Traceback" not in said
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert read_events(url, "done") < short.units, "it was over before the interrupt"
    resume(short, url, cluster=str(cluster))


@pytest.mark.parametrize("n_children", [0, 1], ids=["before", "first worker"])
def test_ctrl_c_before_the_first_unit_has_the_same_exit_code(
    n_children: int, short: Setup, tmp_path: Path
) -> None:
    def workers() -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            found = psutil.Process(process.pid).children()
            return [p for p in found if "spawn_main" in " ".join(p.cmdline())]
        return []

    process = start(short, tmp_path / "e")
    wait_until((tmp_path / "e" / "run.lock").exists, process)
    wait_until(lambda: len(workers()) >= n_children, process)
    started = workers()
    os.killpg(process.pid, signal.SIGINT)
    code, said = end(process)
    assert code == 130, said
    assert "Traceback" not in said
    assert "traceback" not in said
    assert psutil.wait_procs(started, timeout=60)[1] == []


# ------------------------------------------------------------------------------- with the marker


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(KILLS))
def test_a_client_killed_at_a_random_moment_is_resumed(
    seed: int, whole: Setup, tmp_path: Path
) -> None:
    url, chosen = tmp_path / "e", random.Random(seed)
    process = start(whole, url)
    for _ in range(chosen.randint(1, 2)):  # resumed runs are killed as well
        wait_until((url / "run.lock").exists, process)
        time.sleep(chosen.uniform(0, 12))
        kill_client(process)
        process = start(whole, url)
    kill_client(process)
    resume(whole, url)


@pytest.mark.faults
def test_complete_runs_one_after_another_all_end_well(short: Setup, tmp_path: Path) -> None:
    for number in range(KILLS):
        code, said = end(start(short, tmp_path / str(number)))
        assert code == 0, (number, said)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("kind", "number"),
    [("start", 27), ("done", 40), *product(("start", "done"), (1, 2, 9, 36))][: max(1, KILLS)],
)
def test_a_client_killed_right_after_any_event_is_resumed(
    kind: str, number: int, whole: Setup, tmp_path: Path
) -> None:
    url = tmp_path / "e"
    process = start(whole, url)
    wait_until(partial(count_reached, url, kind, number), process)
    kill_client(process)
    resume(whole, url)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(KILLS))
def test_a_run_outlives_killed_workers(seed: int, whole: Setup, tmp_path: Path) -> None:
    url, chosen = tmp_path / "e", random.Random(seed)
    process = start(whole, url)
    kills = chosen.randint(1, 3)
    for _ in range(kills):
        number = chosen.randint(1, 40)
        wait_until(partial(count_reached, url, "start", number), process)
        with suppress(psutil.NoSuchProcess, IndexError):
            workers = [
                p for p in psutil.Process(process.pid).children(recursive=True)
                if "spawn_main" in " ".join(p.cmdline())
            ]  # fmt: skip
            chosen.choice(workers).kill()
    code, said = end(process)
    assert code == 0, said
    assert digest_experiment(str(url)) == whole.digest
