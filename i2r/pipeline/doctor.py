"""Checks of a cluster and an experiment before a long run: what usually goes wrong, and what to do.

`examine` gathers facts from the client and from every worker; each check judges facts alone.
"""

import os
import socket
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from i2r.cluster import AnyCluster, ClusterSpec, JobClusterSpec
from i2r.cluster.jobs import LIFETIME, STAGGER
from i2r.cluster.settings import needed_bytes
from i2r.pipeline.executors import InProcess, OnCluster, open_executor
from i2r.pipeline.memory import ADVICE, format_memory
from i2r.pipeline.records import find_version
from i2r.store import files
from i2r.surroundings import THREAD_VARIABLES, find_dask_problem

# Whose versions must not differ: tasks and tables travel between them.
PACKAGES = ("i2r", "dask", "distributed", "numpy", "pandas", "pyarrow", "zarr", "torch", "msgpack")
# A plate of 384 wells with nine fields, labels and crops has about so many files.
FEWEST_INODES = 200_000


class Finding(NamedTuple):
    """What a check says: ``ok``, or where, found, expected, what to do."""

    check: str
    ok: bool
    message: str


@dataclass(frozen=True)
class WorkerFacts:
    """What one worker, or the client, says of itself."""

    name: str
    host: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    sees_experiment: bool = True
    threads: Mapping[str, str] = field(default_factory=dict)
    nthreads: int = 1
    memory_limit_bytes: int = 0
    gpu_slots: int = 0
    cuda: str = ""
    driver: str = ""


@dataclass(frozen=True)
class Facts:
    """All that the checks look at."""

    client: WorkerFacts
    workers: tuple[WorkerFacts, ...]
    free_bytes: int | None = None
    free_inodes: int | None = None
    needed_bytes: int = 0
    largest_unit: str = ""
    largest_unit_bytes: int = 0
    longest_unit: str = ""
    longest_unit_s: float = 0.0
    spec: AnyCluster | None = None
    dask_problem: str = ""


# ----------------------------------------------------------------------------------- the checks


def check_versions(facts: Facts) -> str:
    """Compare the versions of the client and of the workers."""
    for worker in facts.workers:
        for name, expected in facts.client.versions.items():
            found = worker.versions.get(name, "")
            if found != expected:
                return (
                    f"worker {worker.name}: {name} {found or 'is missing'}, expected {expected} as "
                    "here. Start the workers in the same environment."
                )
    return ""


def check_shared_path(facts: Facts) -> str:
    """Find out whether every worker sees the experiment's folder."""
    blind = [worker for worker in facts.workers if not worker.sees_experiment]
    if blind:
        hosts = ", ".join(sorted({worker.host for worker in blind}))
        return (
            f"worker {blind[0].name}: a file just written beside the experiment is not there "
            f"({len(blind)} workers on {hosts}), expected one path for all. Put the experiment on "
            "a shared file system, or in an object store."
        )
    return ""


def check_space(facts: Facts) -> str:
    """Compare the free space with what the run will write."""
    if facts.free_bytes is not None and facts.free_bytes < facts.needed_bytes:
        return (
            f"experiment: {facts.free_bytes / 2**30:.1f} GiB are free, expected at least "
            f"{facts.needed_bytes / 2**30:.1f} GiB for the run. Free some, or name another place."
        )
    return ""


def check_inodes(facts: Facts) -> str:
    """Look at the number of files that still fit."""
    if facts.free_inodes is not None and facts.free_inodes < FEWEST_INODES:
        return (
            f"experiment: {facts.free_inodes} inodes are free, expected {FEWEST_INODES} for a "
            "plate. Delete small files there, or name another place."
        )
    return ""


def check_memory(facts: Facts) -> str:
    """Compare the memory of the smallest worker with the largest unit."""
    limits = {w.name: w.memory_limit_bytes for w in facts.workers if w.memory_limit_bytes}
    needed = needed_bytes(facts.largest_unit_bytes)
    if limits and min(limits.values()) < needed:
        name = min(limits, key=lambda worker: limits[worker])
        unit = f" and {facts.largest_unit}" if facts.largest_unit else ""
        return (
            f"worker {name}: {format_memory(limits[name])}, expected {format_memory(needed)} for "
            f"its process{unit}. {ADVICE}"
        )
    return ""


def check_threads(facts: Facts) -> str:
    """Find libraries that would use more threads than their worker has."""
    for worker in facts.workers:
        for name, value in worker.threads.items():
            if not value or not value.isdigit() or int(value) > worker.nthreads:
                return (
                    f"worker {worker.name}: {name} is {value or 'not set'}, expected at most "
                    f"{worker.nthreads}, its threads. Set it before the worker starts; too many "
                    "threads make it twenty times slower."
                )
    return ""


def check_gpu(facts: Facts) -> str:
    """Find GPU workers on which PyTorch can't use the card."""
    for worker in facts.workers:
        if worker.gpu_slots and not worker.cuda:
            why = f"driver {worker.driver}" if worker.driver else "no NVIDIA driver answers"
            return (
                f"worker {worker.name}: has the resource GPU, but PyTorch "
                f"{worker.versions.get('torch', '')} finds no card ({why}). Install the driver, "
                "or the build of PyTorch for its version of CUDA."
            )
    return ""


def check_lifetime(facts: Facts) -> str:
    """Compare the lifetime of job workers with the walltime, and with the longest unit."""
    if not isinstance(facts.spec, JobClusterSpec):
        return ""
    for group, jobs in (("cpu", facts.spec.cpu), ("gpu", facts.spec.gpu)):
        if not jobs.jobs:
            continue
        if any(word.startswith("--lifetime") for word in jobs.worker_extra_args):
            return (
                f"cluster {group}: 'worker_extra_args' sets --lifetime, expected i2r's own, "
                f"{LIFETIME:.0%} of the walltime. Drop it, or a worker may outlive its job."
            )
        shortest = jobs.walltime_s * (LIFETIME - STAGGER)
        if facts.longest_unit_s > shortest:
            return (
                f"cluster {group}: workers live for {shortest / 60:.0f} minutes, expected more "
                f"than the {facts.longest_unit_s / 60:.0f} that {facts.longest_unit} took. Raise "
                "the walltime."
            )
    return ""


def check_dask(facts: Facts) -> str:
    """Say why Dask's configuration could not be read; no workers were started then."""
    return facts.dask_problem


CHECKS: dict[str, Callable[[Facts], str]] = {
    "Dask's configuration": check_dask,
    "versions": check_versions,
    "shared path": check_shared_path,
    "free space": check_space,
    "free inodes": check_inodes,
    "memory per worker": check_memory,
    "thread variables": check_threads,
    "GPU, driver, PyTorch": check_gpu,
    "walltime and lifetime": check_lifetime,
}


def judge(facts: Facts) -> list[Finding]:
    """Run every check."""
    found = {name: check(facts) for name, check in CHECKS.items()}
    return [Finding(name, not message, message) for name, message in found.items()]


# ----------------------------------------------------------------------------------- the facts


def describe_process(argument: tuple[str, str], worker: Any = None) -> WorkerFacts:
    """Describe the process that this runs in.

    Parameters
    ----------
    argument
        The URL of a file that ought to be there, and what is in it.
    worker
        Dask's worker in this process; None for the client.
    """
    url, content = argument
    try:
        sees = files.read_bytes(url).decode() == content
    except OSError:
        sees = False
    limit, slots, nthreads = 0, 0, os.cpu_count() or 1
    if worker is not None:
        limit = int(worker.memory_manager.memory_limit or 0)
        slots = int(worker.state.total_resources.get("GPU", 0))
        nthreads = int(worker.state.nthreads)
    return WorkerFacts(
        name="client" if worker is None else str(worker.name),
        host=socket.gethostname(),
        versions={name: find_version(name) for name in PACKAGES}
        | {"python": ".".join(map(str, sys.version_info[:2]))},
        sees_experiment=sees,
        threads={name: os.environ.get(name, "") for name in THREAD_VARIABLES},
        nthreads=nthreads,
        memory_limit_bytes=limit,
        gpu_slots=slots,
        cuda=_find_cuda() if slots else "",
        driver=_find_driver(),
    )


def examine(
    url: str,
    spec: AnyCluster,
    *,
    needed_bytes: int = 0,
    largest_unit: tuple[str, int] = ("", 0),
    longest_unit: tuple[str, float] = ("", 0.0),
) -> Facts:
    """Start or find a cluster, and gather the facts about it and about an experiment's place.

    Parameters
    ----------
    url
        The experiment; a file is written there for a moment.
    spec
        The cluster file.
    needed_bytes, largest_unit, longest_unit
        What the run will write, its largest unit with its bytes, and the unit that took longest
        so far with its seconds.
    """
    url = files.normalise_url(url)
    files.check_writable(url)
    trial, content = files.join_url(url, f"doctor-{uuid.uuid4().hex}"), uuid.uuid4().hex
    files.write_bytes(trial, content.encode())
    problem = find_dask_problem()
    try:
        with open_executor(ClusterSpec(type="none") if problem else spec) as executor:
            workers = _ask_all(executor, (trial, content))
        client = describe_process((trial, content))
    finally:
        files.remove_file(trial)
    return Facts(
        client=client,
        workers=workers,
        free_bytes=files.free_bytes(url),
        free_inodes=_free_inodes(url),
        needed_bytes=needed_bytes,
        largest_unit=largest_unit[0],
        largest_unit_bytes=largest_unit[1],
        longest_unit=longest_unit[0],
        longest_unit_s=longest_unit[1],
        spec=spec,
        dask_problem=problem,
    )


def _ask_all(executor: InProcess | OnCluster, argument: tuple[str, str]) -> tuple[WorkerFacts, ...]:
    """Ask every worker; without any cluster there is none, and the client is not judged twice."""
    if isinstance(executor, InProcess):
        return ()
    return executor.ask_all(describe_process, argument)


def _find_cuda() -> str:
    """Name the card that PyTorch finds; empty where it finds none, or is not installed."""
    if find_spec("torch") is None:
        return ""
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else ""


def _find_driver() -> str:
    """Read the version of the NVIDIA driver; empty where there is none."""
    path = Path("/proc/driver/nvidia/version")
    words = path.read_text().split() if path.exists() else []
    return next((word for word in words if word[:1].isdigit() and "." in word), "")


def _free_inodes(url: str) -> int | None:
    if not files.is_local(url):
        return None
    status = os.statvfs(files.local_path(url))
    # Some file systems have no fixed number, and say 0 of 0.
    return status.f_favail if status.f_files else None
