"""Where units run: this process, local workers, or a scheduler that already exists."""

import os
import sys
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import psutil
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from i2r.errors import InputError

Group = Literal["cpu", "gpu"]
# Thread variables of the libraries that units call; each worker gets its own share.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "BLOSC_NTHREADS",
    "NUMBA_NUM_THREADS",
)
# Imported by every local worker, which calls its dask_setup.
WORKER_SETUP = "i2r.pipeline.executors"
DASK_SETTINGS = {
    # A task that no worker may run would wait for ever.
    "distributed.scheduler.no-workers-timeout": "2 minutes",
    # The run loop tries again by itself, and finds out which unit it was that killed a worker.
    "distributed.scheduler.allowed-failures": 0,
    # A long training is not a dead worker.
    "distributed.scheduler.worker-ttl": "15 minutes",
    "distributed.admin.tick.limit": "1 hour",
}


class WorkerGroup(BaseModel):
    """Workers of one kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_workers: int | Literal["auto"] = Field("auto", description="Number of worker processes")
    nthreads: int = Field(1, ge=1, description="Threads of each worker")
    memory_limit: str = Field("auto", description="Memory of each worker, for example 4GiB")
    required: bool = Field(False, description="Fail at once where there is no such worker")
    workers_per_gpu: int = Field(1, ge=1, description="Worker processes that share one card")


class ClusterSpec(BaseModel):
    """A cluster file: one scheduler with CPU and GPU workers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["local", "connect", "none"] = "local"
    address: str | None = Field(None, description="The scheduler's address, for type: connect")
    cpu: WorkerGroup = WorkerGroup()
    gpu: WorkerGroup = WorkerGroup()
    dashboard_address: str = "127.0.0.1:8787"


def load_cluster(text: str) -> ClusterSpec:
    """Read ``--cluster``: a YAML file, ``none``, or a scheduler's address.

    Raises
    ------
    InputError
        If it is none of these, or the file has unknown fields.
    """
    if text == "none":
        return ClusterSpec(type="none")
    if urlsplit(text).scheme in ("tcp", "tls"):
        return ClusterSpec(type="connect", address=text)
    try:
        content = yaml.safe_load(Path(text).read_bytes()) or {}
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(
            f"cluster {text!r}: no such file. Give a cluster file, 'none', or tcp://HOST:PORT."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"cluster {text}: no valid YAML: {str(error).splitlines()[0]}.") from error
    try:
        return ClusterSpec.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(
            f"cluster {text}: {name!r}: {first['msg']}. "
            f"Fields are {', '.join(ClusterSpec.model_fields)}."
        ) from error


def count_gpus() -> int:
    """Count the NVIDIA cards this process may use, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    folder = Path("/proc/driver/nvidia/gpus")
    present = len(list(folder.iterdir())) if folder.is_dir() else 0
    if visible is None:
        return present
    return min(
        present, len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    )


def start_local(spec: ClusterSpec) -> Any:
    """Start a scheduler and Nannies on this machine, all on localhost."""
    from distributed import Nanny, Scheduler, SpecCluster

    n_gpus = count_gpus() if spec.gpu.n_workers == "auto" else 0
    n_cpu, n_gpu, share = _share_machine(spec)
    workers: dict[str, Any] = {}
    for group, settings, number in (("cpu", spec.cpu, n_cpu), ("gpu", spec.gpu, n_gpu)):
        for index in range(number):
            environment = dict.fromkeys(_THREAD_VARIABLES, str(settings.nthreads))
            if group == "gpu" and n_gpus:
                environment["CUDA_VISIBLE_DEVICES"] = _nth_gpu(index // settings.workers_per_gpu)
            limit = share if settings.memory_limit == "auto" else settings.memory_limit
            resources = (
                {"CPU": settings.nthreads, "GPU": 0} if group == "cpu" else {"CPU": 0, "GPU": 1}
            )
            workers[f"{group}-{index}"] = {
                "cls": Nanny,
                "options": {
                    "nthreads": settings.nthreads,
                    "memory_limit": limit,
                    "resources": resources,
                    "env": environment,
                    "host": "127.0.0.1",
                    "dashboard_address": None,
                    "preload": (WORKER_SETUP,),
                },
            }
    scheduler = {
        "cls": Scheduler,
        "options": {
            "host": "127.0.0.1",
            "port": 0,
            "dashboard": True,
            "dashboard_address": _free_address(spec.dashboard_address),
        },
    }
    return SpecCluster(workers=workers, scheduler=scheduler, name="i2r", silence_logs=40)


def worker_environment(spec: ClusterSpec) -> dict[str, str]:
    """Give what has to be in a worker's environment before it imports anything."""
    variables = dict.fromkeys(_THREAD_VARIABLES, str(spec.cpu.nthreads))
    # Workers that come and go as they should are no news on the user's terminal.
    return {**variables, "DASK_LOGGING__DISTRIBUTED": "error"}


def _share_machine(spec: ClusterSpec) -> tuple[int, int, int]:
    """Give the numbers of CPU and GPU workers on this machine, and the memory for each."""
    n_cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else (os.cpu_count() or 1)
    wanted_cpu, wanted_gpu = spec.cpu.n_workers, spec.gpu.n_workers
    n_cpu = max(1, n_cores // spec.cpu.nthreads) if wanted_cpu == "auto" else wanted_cpu
    n_gpu = count_gpus() * spec.gpu.workers_per_gpu if wanted_gpu == "auto" else wanted_gpu
    share = int(psutil.virtual_memory().total * 0.8 / max(1, n_cpu + n_gpu))
    return n_cpu, n_gpu, share


def planned_workers(spec: ClusterSpec) -> tuple[int, int]:
    """Give number and memory (bytes) of the CPU workers that a cluster file asks for.

    Of an existing scheduler neither is known before connecting: this machine's stand in.
    """
    from dask.utils import parse_bytes

    if spec.type == "none":
        return 1, int(psutil.virtual_memory().total)
    n_cpu, _, share = _share_machine(spec)
    limit = spec.cpu.memory_limit
    return n_cpu, share if limit == "auto" else int(parse_bytes(limit))


def _nth_gpu(index: int) -> str:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[index].strip() if visible else str(index)


def _free_address(address: str) -> str:
    """Keep the dashboard's address where its port is free, otherwise take any port."""
    import socket

    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        # As the dashboard's server does; otherwise a connection that just closed counts as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host or "127.0.0.1", int(port)))
        except OSError:
            return f"{host or '127.0.0.1'}:0"
    return address
