"""Start or find a Dask cluster, and undo all of it afterwards."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any

import psutil

from i2r.cluster import (
    DASK_SETTINGS,
    AnyCluster,
    ClusterSpec,
    JobClusterSpec,
    start_local,
    worker_environment,
)
from i2r.cluster.jobs import start_jobs
from i2r.cluster.keeper import JobKeeper
from i2r.cluster.local import check_security, make_security
from i2r.cluster.settings import JOB_SETTINGS
from i2r.errors import InputError

if TYPE_CHECKING:
    from distributed import Client

Say = Callable[[str], None]
CONNECT_TIMEOUT = "10s"
# Workers of this machine, or of a scheduler that is there, come at once or not at all.
WORKERS_TIMEOUT_S = 60
# How often a user is told that jobs wait in the batch system's queue.
TELL_EVERY_S = 60.0


def start_cluster(
    spec: AnyCluster,
    stack: ExitStack,
    *,
    say: Say = lambda line: None,
    with_workers: bool = True,
) -> "tuple[Client, JobKeeper | None]":
    """Start what a cluster file describes, or connect to it, and wait for the first worker.

    Parameters
    ----------
    spec
        The file.
    stack
        Takes what undoes it, in reverse order.
    say
        Tells the user what is being waited for.
    with_workers
        Whether to wait for the first worker.

    Raises
    ------
    InputError
        If no scheduler answers or no worker comes.
    """
    import dask
    from distributed import Client

    cluster, keeper, security = None, None, make_security(spec)
    check_security(spec, security)
    settings: dict[str, Any] = dict(DASK_SETTINGS)
    if isinstance(spec, JobClusterSpec):
        stack.enter_context(dask.config.set(settings | JOB_SETTINGS))
        with hold_interrupt():
            cluster = start_jobs(spec)
            stack.callback(close_cluster, cluster)
        keeper = JobKeeper(cluster, spec)
        keeping = asyncio.run_coroutine_threadsafe(keeper.keep(), cluster.loop.asyncio_loop)
        stack.callback(keeping.cancel)
    elif spec.type == "local":
        cluster = _start_here(spec, stack, settings)
    else:
        stack.enter_context(dask.config.set(settings))
    try:
        client = Client(
            cluster if cluster is not None else spec.address,
            timeout=CONNECT_TIMEOUT,
            set_as_default=False,
            security=security,
        )
    except (OSError, TimeoutError, ValueError) as error:  # or it is no address at all
        raise InputError(
            f"cluster {spec.address}: no scheduler answers. Start one, or check the address."
        ) from error
    stack.callback(client.close)
    if keeper is not None:
        wait_for_jobs(client, keeper, say)
        return client, keeper
    if not with_workers:
        return client, None
    try:
        client.wait_for_workers(1, timeout=WORKERS_TIMEOUT_S)
    except TimeoutError as error:
        raise InputError(
            f"cluster {spec.address or 'local'}: no worker within a minute. Start workers."
        ) from error
    return client, None


def _start_here(spec: ClusterSpec, stack: ExitStack, settings: dict[str, Any]) -> Any:
    """Start a cluster on this machine."""
    import dask

    variables = worker_environment(spec.cpu.nthreads)
    settings["distributed.nanny.pre-spawn-environ"] = variables
    stack.enter_context(dask.config.set(settings))
    # A Nanny sets its worker's variables in this process, and those set here win.
    before = {n: os.environ.pop(n, None) for n in variables}
    # A process of Python's own clears away what a worker leaves that had to be killed, such as a
    # library's locks. That is no news for a user who pressed Ctrl-C.
    before["PYTHONWARNINGS"] = filters = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (filters, "ignore:resource_tracker")))
    stack.callback(_restore_environment, before)
    with hold_interrupt():
        cluster = start_local(spec)
        stack.callback(close_cluster, cluster)
    return cluster


@contextmanager
def hold_interrupt() -> Iterator[None]:
    """Hold Ctrl-C back until the end, such as that of a start; a second one is not held.

    Dask can't undo half a start: it would leave jobs in the queue, or print tracebacks of its own.
    """
    before = signal.getsignal(signal.SIGINT)
    # Only the main thread hears Ctrl-C; a handler of another language can't be put back.
    if current_thread() is not main_thread() or before is None:
        yield
        return
    came: list[int] = []

    def note(number: int, frame: object) -> None:
        came.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)


def wait_for_jobs(client: "Client", keeper: JobKeeper, say: Say) -> None:
    """Wait for the first worker of any job, however long the queue, and say so.

    Raises
    ------
    InputError
        If jobs end without a worker again and again.
    """
    told = time.monotonic() - TELL_EVERY_S + 5
    while not client.scheduler_info()["workers"]:
        keeper.check()
        if time.monotonic() - told > TELL_EVERY_S:
            told = time.monotonic()
            jobs = ", ".join(sorted(f"{n} ({number})" for n, number in keeper.waiting().items()))
            say(f"waiting for the first of the jobs {jobs}")
        time.sleep(0.2)


def close_cluster(cluster: Any) -> None:
    """Stop a cluster; local worker processes that don't end in time are killed.

    A worker in the middle of a long computation, or on a busy machine, may take longer to end
    than the cluster waits, and what the run has achieved must not be lost for that.
    """
    pids = [pid for worker in cluster.workers.values() if (pid := getattr(worker, "pid", None))]
    with suppress(TimeoutError):
        cluster.close()
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()


def _restore_environment(before: Mapping[str, str | None]) -> None:
    """Put variables back to what they were."""
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
