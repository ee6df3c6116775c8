"""Every check has facts that it refuses, and a healthy cluster passes all of them."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from i2r.cli.group import i2r
from i2r.cluster import ClusterSpec, JobClusterSpec, JobGroup, WorkerGroup
from i2r.pipeline.doctor import CHECKS, Facts, WorkerFacts, examine, judge
from i2r.pipeline.estimate import find_needs
from i2r.testing import PlateFiles

HEALTHY = WorkerFacts(
    name="cpu-0", host="n1", versions={"dask": "1", "torch": "2"}, threads={"OMP_NUM_THREADS": "2"},
    nthreads=2, memory_limit_bytes=2**30,
)  # fmt: skip
GPU = replace(HEALTHY, name="gpu-0", gpu_slots=1, cuda="H100", driver="570.1")
GOOD = Facts(
    client=replace(HEALTHY, name="client"), workers=(HEALTHY, GPU), free_bytes=2**40,
    free_inodes=10**9, needed_bytes=2**30, largest_unit="segment P1/A01", largest_unit_bytes=2**29,
    longest_unit="train all", longest_unit_s=600.0,
    spec=JobClusterSpec(type="slurm", cpu=JobGroup(jobs=1, walltime="01:00:00")),
)  # fmt: skip


def spoil(**changes: object) -> Facts:
    return replace(GOOD, workers=(HEALTHY, replace(GPU, **changes)))  # type: ignore[arg-type]


BAD = {
    "Dask's configuration": (
        replace(GOOD, dask_problem="a.yaml is malformed. Correct it."),
        "a.yaml",
    ),
    "versions": (spoil(versions={"dask": "2", "torch": "2"}), "gpu-0: dask 2, expected 1"),
    "shared path": (spoil(sees_experiment=False), "1 workers on n1"),
    "free space": (replace(GOOD, free_bytes=2**29), "0.5 GiB are free, expected at least 1.0"),
    "free inodes": (replace(GOOD, free_inodes=10), "10 inodes are free"),
    "memory per worker": (spoil(memory_limit_bytes=2**28), "gpu-0: 256 MiB, expected 906 MiB"),
    "thread variables": (spoil(threads={"OMP_NUM_THREADS": "3"}), "OMP_NUM_THREADS is 3"),
    "GPU, driver, PyTorch": (spoil(cuda="", driver="570.1"), "finds no card (driver 570.1)"),
    "walltime and lifetime": (replace(GOOD, longest_unit_s=2900.0), "live for 48 minutes"),
}


def test_good_facts_pass() -> None:
    assert [finding for finding in judge(GOOD) if not finding.ok] == []


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_has_facts_that_it_alone_refuses(name: str) -> None:
    facts, expected = BAD[name]
    (bad,) = [finding for finding in judge(facts) if not finding.ok]
    assert bad.check == name
    assert expected in bad.message
    assert ". " in bad.message  # and says what to do


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (spoil(versions={"torch": "2"}), "dask is missing"),
        (spoil(threads={"OMP_NUM_THREADS": ""}), "is not set"),
        (spoil(cuda=""), "driver 570.1"),
        (spoil(cuda="", driver=""), "no NVIDIA driver answers"),
        (
            replace(GOOD, spec=JobClusterSpec(
                type="pbs", gpu=JobGroup(jobs=1, worker_extra_args=("--lifetime", "2h")))),
            "sets --lifetime",
        ),
    ],
)  # fmt: skip
def test_other_faults_are_found_too(facts: Facts, expected: str) -> None:
    assert any(expected in finding.message for finding in judge(facts))


def test_a_real_cluster_is_asked_worker_by_worker(tmp_path: Path) -> None:
    spec = ClusterSpec(
        cpu=WorkerGroup(n_workers=1, nthreads=2, memory_limit="1GiB"),
        gpu=WorkerGroup(n_workers=1, memory_limit="1GiB"),
        dashboard_address="127.0.0.1:0",
    )
    facts = examine(str(tmp_path / "e"), spec, largest_unit=("x", 2**31))
    assert sorted(worker.name for worker in facts.workers) == ["cpu-0", "gpu-0"]
    assert list((tmp_path / "e").iterdir()) == []
    troubles = {finding.check for finding in judge(facts) if not finding.ok}
    # This machine has no card, and the workers are too small for such a unit.
    assert troubles - {"free inodes", "GPU, driver, PyTorch"} == {"memory per worker"}
    by_name = {worker.name: worker for worker in facts.workers}
    assert by_name["cpu-0"].threads["OMP_NUM_THREADS"] == "2"
    assert (by_name["cpu-0"].gpu_slots, by_name["gpu-0"].gpu_slots) == (0, 1)


def test_the_command_says_what_is_wrong_and_exits_with_2(
    plate: PlateFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [
        "doctor",
        str(tmp_path / "e"),
        "--cluster",
        "none",
        "--pipeline",
        str(plate.pipeline),
    ]
    done = CliRunner().invoke(i2r, command)
    assert "versions: ok" in done.output
    needs = find_needs(str(tmp_path / "e"), str(plate.pipeline))
    assert needs["needed_bytes"] > 0
    assert needs["largest_unit"][1] > 0
    monkeypatch.setattr("i2r.store.files.free_bytes", lambda url: 10)
    done = CliRunner().invoke(i2r, command)
    assert done.exit_code == 2
    assert "free space: experiment: 0.0 GiB are free" in done.output


def test_the_longest_unit_is_taken_from_the_ledger(cropped: Path) -> None:
    name, seconds = find_needs(str(cropped), None)["longest_unit"]
    assert " P1/" in name or name.endswith("*")
    assert seconds > 0
