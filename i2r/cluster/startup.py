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

from i2r.cluster import AnyCluster, ClusterSpec, JobClusterSpec, start_local
from i2r.cluster.configuration import (
    check_scratch,
    check_security,
    find_cause,
    make_security,
    use_settings,
)
from i2r.cluster.jobs import start_jobs
from i2r.cluster.keeper import JobKeeper
from i2r.cluster.settings import worker_environment
from i2r.errors import InputError
from i2r.surroundings import OWN_WORKER, check_dask_configuration

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
    check_dask_configuration()
    stack.enter_context(use_settings(spec))
    from distributed import Client

    cluster, keeper, security = None, None, make_security(spec)
    check_security(spec, security)
    if isinstance(spec, JobClusterSpec):
        with hold_interrupt():
            cluster = start_jobs(spec)
            stack.callback(close_cluster, cluster)
        keeper = JobKeeper(cluster, spec)
        keeping = asyncio.run_coroutine_threadsafe(keeper.keep(), cluster.loop.asyncio_loop)
        stack.callback(keeping.cancel)
    elif spec.type == "local":
        cluster = _start_here(spec, stack)
    try:
        client = Client(
            cluster if cluster is not None else spec.address,
            timeout=CONNECT_TIMEOUT,
            set_as_default=False,
            security=security,
        )
    except (OSError, TimeoutError, ValueError) as error:  # or it is not an address at all
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


def _start_here(spec: ClusterSpec, stack: ExitStack) -> Any:
    """Start a cluster on this machine."""
    import dask

    check_scratch(str(dask.config.get("temporary-directory", None) or ""))
    variables = worker_environment(spec.cpu.nthreads) | {OWN_WORKER: "1"}
    stack.enter_context(dask.config.set({"distributed.nanny.pre-spawn-environ": variables}))
    # A Nanny sets its worker's variables in this process, and those set here win.
    before = {n: os.environ.pop(n, None) for n in variables}
    before |= {n: os.environ.get(n) for n in ("PYTHONHASHSEED", "__DASK_PARENT_PID")}
    # A process of Python's own clears away what a worker leaves that had to be killed, such as a
    # library's locks. That is no news for a user who pressed Ctrl-C, nor are older names in a
    # configuration that is not used.
    before["PYTHONWARNINGS"] = filters = os.environ.get("PYTHONWARNINGS")
    ignored = ("ignore:resource_tracker", "ignore:Dask configuration key")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (filters, *ignored)))
    stack.callback(_restore_environment, before)
    with hold_interrupt():
        try:
            cluster = start_local(spec)
        except (OSError, RuntimeError, ValueError, TypeError, ImportError) as error:
            raise InputError(
                f"cluster local: worker processes can't be started: {find_cause(error)}. Try "
                "'i2r doctor', or give --cluster none."
            ) from error
        stack.callback(close_cluster, cluster)
    return cluster


# Ctrl-C, the batch system's or the init system's end, and a terminal that was closed.
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def hear_endings() -> None:
    """End on SIGTERM and SIGHUP as cleanly as on Ctrl-C, unless they are ignored (nohup)."""
    if current_thread() is not main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


@contextmanager
def hold_interrupt() -> Iterator[None]:
    """Hold Ctrl-C, SIGTERM and SIGHUP back until the end of a start; a second one is not held.

    Dask can't undo half a start: it would leave jobs in the queue, or print tracebacks of its own.
    """
    before = {number: signal.getsignal(number) for number in ENDINGS}
    # Only the main thread hears signals; a handler of another language can't be put back.
    if current_thread() is not main_thread() or None in before.values():
        yield
        return
    held = [n for n, handler in before.items() if handler not in (signal.SIG_DFL, signal.SIG_IGN)]
    came: list[int] = []

    def note(number: int, frame: object) -> None:
        came.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for number in held:
        signal.signal(number, note)
    try:
        yield
    except Exception as error:
        if came:  # it went to the workers too: that they are gone is no news
            raise KeyboardInterrupt from error
        raise
    finally:
        for number in held:
            signal.signal(number, before[number])
    if came:
        signal.raise_signal(came[0])


def find_link(client: "Client") -> str:
    """Give the dashboard's address; empty where there is none, or where it can't be written.

    The user's form of it may hold variables that are not set here.
    """
    try:
        link = str(client.dashboard_link or "")
    except Exception:  # Dask fills in the user's template without looking
        return ""
    return "" if "//[:" in link else link  # without a dashboard, as on a machine with IPv6 alone


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
