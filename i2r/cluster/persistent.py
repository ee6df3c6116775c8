"""Clusters that stand by themselves: started once, used by several runs, and shut down."""

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from i2r.cluster import AnyCluster, load_cluster
from i2r.cluster.startup import Say, find_link, hear_endings, start_cluster
from i2r.errors import InputError


class WorkerState(NamedTuple):
    """One worker of a running cluster."""

    name: str
    address: str
    cpu: int
    gpu: int
    nthreads: int
    memory_limit_bytes: int
    memory_bytes: int
    running: int
    status: str


def address_file(file: str) -> Path:
    """Name the file that says where the cluster of a cluster file is, beside that file."""
    path = Path(file)
    return path.with_name(f"{path.stem}.scheduler.json")


def keep_up(file: str, *, say: Say) -> None:
    """Start the cluster of a file and keep it up until Ctrl-C, or until it is shut down.

    Lost jobs of a batch system are submitted again meanwhile. The scheduler's address is in a
    file beside the cluster file as long as the cluster is up.

    Raises
    ------
    InputError
        If the file describes nothing that can be started, or nothing answers.
    """
    spec = load_cluster(file)
    if spec.type in ("none", "connect"):
        raise InputError(
            f"cluster {file}: type {spec.type} has nothing to start. Name a file of another type."
        )
    place = address_file(file)
    hear_endings()
    with ExitStack() as stack:
        client, keeper = start_cluster(spec, stack, say=say)
        cluster, dashboard = client.cluster, find_link(client)
        scheduler = cluster.scheduler_address
        client.close()  # it would take a scheduler that is shut down for one to be found again
        place.write_text(json.dumps({"address": scheduler, "dashboard": dashboard}))
        stack.callback(place.unlink, missing_ok=True)
        say(f"scheduler: {scheduler} (--cluster {scheduler}; in {place})")
        say(f"dashboard: {dashboard}")
        stack.callback(say, "cluster: shut down")
        while cluster.scheduler.status.name == "running":
            if keeper is not None:
                keeper.check()
            time.sleep(0.5)


def find_address(text: str) -> AnyCluster:
    """Find a running cluster by its cluster file or its address.

    Raises
    ------
    InputError
        If the cluster of that file is not up.
    """
    spec = load_cluster(text)
    if spec.type == "connect":
        return spec
    try:
        content = json.loads(address_file(text).read_bytes())
    except FileNotFoundError as error:
        raise InputError(
            f"cluster {text}: not up (no {address_file(text)}). Start it: i2r cluster up {text}."
        ) from error
    return load_cluster(content["address"]).model_copy(update={"security": spec.security})


def list_workers(text: str) -> list[WorkerState]:
    """List the workers of a running cluster, by name."""
    with ExitStack() as stack:
        client = _connect(text, stack)
        info = client.scheduler_info(n_workers=-1)["workers"]
        running = client.processing()
    found = []
    for address, worker in info.items():
        resources: dict[str, Any] = worker["resources"]
        found.append(
            WorkerState(
                name=str(worker["name"]),
                address=address,
                cpu=int(resources.get("CPU", 0)),
                gpu=int(resources.get("GPU", 0)),
                nthreads=int(worker["nthreads"]),
                memory_limit_bytes=int(worker["memory_limit"] or 0),
                memory_bytes=int(worker["metrics"].get("memory", 0)),
                running=len(running.get(address, ())),
                status=str(worker["status"]),
            )
        )
    return sorted(found)


def shut_down(text: str) -> None:
    """Shut a running cluster down, with its workers and jobs."""
    with ExitStack() as stack:
        _connect(text, stack).shutdown()


def _connect(text: str, stack: ExitStack) -> Any:
    """Connect to a running cluster, which need not have workers."""
    return start_cluster(find_address(text), stack, with_workers=False)[0]
