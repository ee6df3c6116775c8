"""Workers on this machine: one scheduler and Nannies, all on localhost."""

import os
import socket
import sys
from typing import Any

import psutil

from i2r.cluster.cards import count_gpus, find_card, make_card_options, share_card
from i2r.cluster.configuration import make_security
from i2r.cluster.settings import WORKER_SETUP, worker_environment
from i2r.cluster.spec import AnyCluster, ClusterSpec, JobClusterSpec
from i2r.errors import InputError


def start_local(spec: ClusterSpec) -> Any:
    """Start a scheduler and Nannies on this machine, all on localhost."""
    from distributed import Scheduler, SpecCluster

    from i2r.cluster.nannies import PatientNanny

    security, host = make_security(spec), find_loopback()
    n_gpus = count_gpus() if spec.gpu.n_workers == "auto" else 0
    per_card = share_card(spec.gpu)
    n_cpu, n_gpu, share = _share_machine(spec, per_card)
    workers: dict[str, Any] = {}
    for group, settings, number in (("cpu", spec.cpu, n_cpu), ("gpu", spec.gpu, n_gpu)):
        for index in range(number):
            own: dict[str, Any] = {"env": {}, "preload": (WORKER_SETUP,)}
            if group == "gpu" and n_gpus:
                own = make_card_options(find_card(index // per_card))
            limit = share if settings.memory_limit == "auto" else settings.memory_limit
            resources = (
                {"CPU": settings.nthreads, "GPU": 0} if group == "cpu" else {"CPU": 0, "GPU": 1}
            )
            workers[f"{group}-{index}"] = {
                "cls": PatientNanny,
                "options": {
                    "nthreads": settings.nthreads,
                    "memory_limit": limit,
                    "resources": resources,
                    "host": host,
                    "dashboard_address": None,
                    **own,
                    "env": worker_environment(settings.nthreads) | own["env"],
                    **({"protocol": "tls", "security": security} if spec.security else {}),
                },
            }
    scheduler = {
        "cls": Scheduler,
        "options": {
            "host": host,
            "port": 0,
            # Dask's dashboard takes no address of IPv6.
            "dashboard": not host.startswith("["),
            **({"security": security} if spec.security else {}),
            "dashboard_address": (
                None if host.startswith("[") else free_address(spec.dashboard_address)
            ),
            **({"protocol": "tls"} if spec.security else {}),
        },
    }
    return SpecCluster(
        workers=workers,
        scheduler=scheduler,
        name="i2r",
        silence_logs=40,
        security=security,
    )


def _share_machine(spec: ClusterSpec, per_card: int) -> tuple[int, int, int]:
    """Give the numbers of CPU and GPU workers on this machine, and the memory for each."""
    n_cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else (os.cpu_count() or 1)
    wanted_cpu, wanted_gpu = spec.cpu.n_workers, spec.gpu.n_workers
    n_cpu = max(1, n_cores // spec.cpu.nthreads) if wanted_cpu == "auto" else wanted_cpu
    n_gpu = count_gpus() * per_card if wanted_gpu == "auto" else wanted_gpu
    share = int(psutil.virtual_memory().total * 0.8 / max(1, n_cpu + n_gpu))
    return n_cpu, n_gpu, share


def planned_workers(spec: AnyCluster) -> tuple[int, int]:
    """Give number and memory (bytes) of the CPU workers that a cluster file asks for.

    Of an existing scheduler neither is known before connecting: this machine's stand in.
    """
    from dask.utils import parse_bytes

    if isinstance(spec, JobClusterSpec):
        return spec.cpu.jobs * spec.cpu.processes, spec.cpu.memory_bytes
    if spec.type == "none":
        return 1, int(psutil.virtual_memory().total)
    # Planning measures nothing.
    per_card = 1 if spec.gpu.workers_per_gpu == "auto" else spec.gpu.workers_per_gpu
    n_cpu, _, share = _share_machine(spec, per_card)
    limit = spec.cpu.memory_limit
    return n_cpu, share if limit == "auto" else int(parse_bytes(limit))


def find_loopback() -> str:
    """Give this machine's own address: of IPv4, or of IPv6, in brackets, where it has no other."""
    for host in ("127.0.0.1", "[::1]"):
        if _is_free(host, 0):
            return host
    raise InputError(
        "cluster local: this machine has no loopback address (127.0.0.1 or ::1), expected one. "
        "Bring the interface 'lo' up, or give --cluster none."
    )


def free_address(address: str) -> str:
    """Keep the dashboard's address where its port is free, otherwise take any port."""
    host, _, port = address.rpartition(":")
    host = host or "127.0.0.1"
    return f"{host}:{port if _is_free(host, int(port)) else 0}"


def _is_free(host: str, port: int) -> bool:
    """Tell whether a server could listen there; an address of IPv6 is in brackets."""
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            # As the dashboard's server does; otherwise a connection that just closed counts.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host.strip("[]"), port))
    except OSError:
        return False
    return True
