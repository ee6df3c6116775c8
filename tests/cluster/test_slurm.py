"""A real SLURM: jobs are submitted, lost, submitted again, and give the same results."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from i2r.cluster import load_cluster
from i2r.store.experiment import open_experiment
from i2r.testing import PlateFiles, describe_pipeline, digest_experiment
from tests.cluster.conftest import QUICK
from tests.conftest import run_here
from tests.pipeline.stubs import Stub, chain, count_attempts

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("slurm_conf"), pytest.mark.timeout(600)]

CLUSTER = QUICK.parents[1] / "cluster" / "slurm-test.yaml"
ONE_JOB = """
type: slurm
cpu: {jobs: 1, cores: 1, memory: 1500MiB, walltime: "00:20:00", queue: cpu}
scheduler_options: {host: 127.0.0.1}
dashboard_address: 127.0.0.1:0
"""


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start a command in a folder of its own, where SLURM leaves the jobs' output."""
    return subprocess.Popen(
        [sys.executable, "-m", "i2r", *map(str, arguments)],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def end(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=500)
    assert process.returncode == 0, said
    return said


def list_jobs(state: str = "all") -> dict[str, str]:
    """Give the jobs' names by their numbers."""
    done = subprocess.run(
        ["squeue", "-h", "-t", state, "-o", "%i %j"], capture_output=True, text=True, check=True
    )
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines())


def running() -> dict[str, str]:
    return list_jobs("pending,running")


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


def workers_of(url: Path, stage: str) -> set[str]:
    return {entry.worker for entry in open_experiment(str(url)).ledger.entries(stage)}


def count_done(url: Path) -> int:
    return sum(p.read_bytes().count(b'"event":"done"') for p in (url / "ledger").glob("*.jsonl"))


def test_jobs_give_the_same_as_this_process(quick: Path, tmp_path: Path) -> None:
    url = tmp_path / "e"
    command = ("run", QUICK, url, "--cluster", CLUSTER, "--progress", "plain")
    said = end(start(tmp_path, *command))
    assert digest_experiment(str(url)) == digest_experiment(str(quick))
    # Every kind of unit ran in jobs of its own kind.
    assert workers_of(url, "screen") == {"gpu-0"}
    assert workers_of(url, "segment") <= {"cpu-0", "cpu-1"}
    assert running() == {}
    assert "\x1b" not in said


def test_a_cancelled_job_comes_again_and_the_run_completes(quick: Path, tmp_path: Path) -> None:
    cluster, url = tmp_path / "one.yaml", tmp_path / "e"
    cluster.write_text(ONE_JOB)
    process = start(tmp_path, "run", QUICK, url, "--cluster", cluster, "--progress", "plain")
    wait_until(lambda: count_done(url) >= 40, process)
    (first,) = running()
    subprocess.run(["scancel", first], check=True)
    # Nothing but a second job can finish what is left.
    end(process)
    assert digest_experiment(str(url)) == digest_experiment(str(quick))
    assert running() == {}
    assert max(map(int, list_jobs())) > int(first)


def test_jobs_that_end_at_once_are_given_up_and_named(tmp_path: Path) -> None:
    cluster = tmp_path / "broken.yaml"
    cluster.write_text(ONE_JOB.replace("queue: cpu", "queue: cpu, python: /bin/false"))
    process = start(tmp_path, "run", QUICK, tmp_path / "e", "--cluster", cluster)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 2, said
    assert "the jobs cpu-0 ended 3 times without a worker" in said
    assert "waiting for the first of the jobs cpu-0" in said
    assert not (tmp_path / "e" / "run.lock").exists()


def test_a_partition_that_is_not_there_is_named(tmp_path: Path) -> None:
    cluster = tmp_path / "wrong.yaml"
    cluster.write_text(ONE_JOB.replace("queue: cpu", "queue: nowhere"))
    process = start(tmp_path, "run", QUICK, tmp_path / "e", "--cluster", cluster)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 2, said
    assert "slurm took no job" in said
    assert "invalid partition" in said
    assert "Traceback" not in said


def test_a_cluster_stands_until_it_is_shut_down(tmp_path: Path) -> None:
    file = tmp_path / "standing.yaml"
    file.write_bytes(CLUSTER.read_bytes())
    place = tmp_path / "standing.scheduler.json"
    process = start(tmp_path, "cluster", "up", file)
    wait_until(place.exists, process)
    address = json.loads(place.read_bytes())["address"]
    wait_until(lambda: len(list_jobs("running")) == 3, process)
    deadline = time.monotonic() + 60
    while "3 workers" not in (shown := end(start(tmp_path, "cluster", "status", file))):
        assert time.monotonic() < deadline, shown
    assert "2 CPU slots, 1 GPU slots" in shown
    command = ("run", QUICK, tmp_path / "e", "--cluster", address, "--progress", "none")
    end(start(tmp_path, *command))
    end(start(tmp_path, "cluster", "down", address))
    said = end(process)
    assert "shut down" in said
    assert "Traceback" not in said
    assert running() == {}
    assert not place.exists()


def test_job_arrays_need_no_scheduler_of_dask(
    plate: PlateFiles, cropped_original: Path, tmp_path: Path
) -> None:
    url, pipeline = tmp_path / "e", tmp_path / "pipeline.yaml"
    pipeline.write_text(json.dumps(describe_pipeline(plate, screen=False)))
    said = end(start(tmp_path, "run", pipeline, url, "--cluster", CLUSTER, "--array", 2))
    assert "2 tasks: convert, quality, segment, crop" in said
    deadline = time.monotonic() + 400
    while (url / "run.lock").exists():
        assert time.monotonic() < deadline, list_jobs()
        time.sleep(0.5)
    assert digest_experiment(str(url)) == digest_experiment(str(cropped_original))
    assert "nothing to do" in end(start(tmp_path, "run", pipeline, url, "--cluster", "none"))


def test_a_unit_that_is_longer_than_its_jobs_fails_after_three(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers end by themselves before a walltime; here after seconds and not minutes."""
    monkeypatch.chdir(tmp_path)  # where SLURM leaves the jobs' output
    root, log = Path(__file__).parents[2], tmp_path / "log"
    content = yaml.safe_load(ONE_JOB)
    content["cpu"]["worker_extra_args"] = ["--lifetime", "10s", "--lifetime-stagger", "0s"]
    content["cpu"]["job_script_prologue"] = [f"export PYTHONPATH={root}"]
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(content))
    pipeline = chain(log, Stub, source={"wells": ["A01"]}, stub={"wait_s": 120.0})
    url = tmp_path / "e"
    summary = run_here(pipeline, url, cluster=load_cluster(str(tmp_path / "short.yaml")))
    (failed,) = summary.failed
    assert "stub P1/A01: began 3 times" in failed.error
    assert "Raise 'walltime'" in failed.error
    assert count_attempts(log)["stub P1/A01"] == 3
    assert not list((url / "runs" / "begun").iterdir())
    assert running() == {}
