"""What runs on a worker: the lazy graphs of a few units, one after another."""

import math
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from threadpoolctl import ThreadpoolController

from i2r.cluster.settings import WORKER_BYTES
from i2r.errors import DamageError, DiskFullError, I2RError
from i2r.pipeline.deaths import DeathNote
from i2r.pipeline.heap import make_room
from i2r.store import files
from i2r.store.lock import has_token
from i2r.store.outputs import (
    OUTPUTS,
    Mark,
    Traffic,
    expect,
    guard_writes,
    measure_traffic,
    record_outputs,
)
from i2r.store.recent import RECENT

if TYPE_CHECKING:
    from dask.delayed import Delayed

# Libraries that a unit itself imports take their number of threads from here; torch from both.
_READ_ON_IMPORT = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Work:
    """One unit's lazy graph on its way to a worker; opaque to the scheduler."""

    name: str
    graph: "Delayed"
    threads: int
    # The experiment, and what those files in it that other units wrote should be, by URL.
    base: str = ""
    expected: Mapping[str, Mark] = field(default_factory=dict)
    # Of the run's lock; empty where there is none.
    token: str = ""
    # Where it is noted that the unit began, if its worker may end before it.
    deaths: DeathNote | None = None
    # Its stage's estimate.
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one unit: a result, or an error."""

    result: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    worker: str = ""
    error: str = ""
    traceback: str = ""
    # An error in the input comes back the same however often it is tried.
    final: bool = False
    disk_full: bool = False
    # A file that was written earlier and is gone or changed.
    damaged: str = ""
    traffic: Traffic = field(default_factory=Traffic)


def run_units(works: list[Work], worker: str = "") -> list[Outcome]:
    """Compute the graphs of some units in this process, each apart from the others.

    The graph of a unit runs in one thread of one worker, so its arrays never leave the worker's
    memory; an error ends only its own unit.
    """
    outcomes = []
    if memory_bytes := _find_memory_limit():
        RECENT.fit(memory_bytes - WORKER_BYTES)
    for work in works:
        make_room(work.peak_bytes, memory_bytes)
        started = time.perf_counter()
        try:
            with (
                limit_threads(work.threads),
                measure_traffic() as traffic,
                record_outputs(work.base) as outputs,
                expect(work.expected),
                guard_writes(TokenGuard(work)),
            ):
                if work.deaths is not None:
                    work.deaths.begin(work.name)
                result = compute_graph(work.graph)
        except Exception as error:  # the loop records it, whatever it is
            seconds = time.perf_counter() - started
            outcomes.append(describe_failure(error, seconds=seconds, worker=worker))
        else:
            seconds = time.perf_counter() - started
            noted = {OUTPUTS: outputs} if outputs else {}
            outcomes.append(Outcome({**(result or {}), **noted}, seconds, worker, traffic=traffic))
        if work.deaths is not None:
            with suppress(OSError):
                work.deaths.end()
        if outcomes[-1].disk_full:
            # The units after it would fail alike, and start by deleting their old output.
            outcomes += [outcomes[-1]] * (len(works) - len(outcomes))
            break
    return outcomes


def compute_graph(graph: "Delayed") -> Any:
    """Compute a unit's graph in this thread, task by task as it was built.

    ``graph.compute()`` would first put it into an expression and optimise that. For the one task
    that most units are, this takes ten times as long as running it.
    """
    from dask.local import get_sync

    return get_sync(graph.__dask_graph__(), graph.__dask_keys__()[0])


def _find_memory_limit() -> int:
    """Give what a Dask worker may use; 0 outside of workers, or where nobody set it."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return 0
    try:
        return int(distributed.get_worker().memory_manager.memory_limit or 0)
    except ValueError:  # not on a worker
        return 0


class TokenGuard:
    """Refuses to write for a run that is over: its client died, and another run has the lock.

    A worker of somebody's scheduler finishes what it began; meanwhile the unit may have been
    computed again with other options, in the same place.

    Parameters
    ----------
    work
        The unit.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        # Asked now and then only: a run that takes over needs longer to write anything, and on an
        # object store every question takes as long as a write.
        self._interval_s = 0.1 if files.is_local(work.base) else 5.0
        self._asked_s = -math.inf

    def __call__(self) -> None:
        """Look at the lock.

        Raises
        ------
        I2RError
            If it is gone, or another run's.
        """
        now_s = time.monotonic()
        if not self._work.token or now_s < self._asked_s + self._interval_s:
            return
        self._asked_s = now_s
        if not has_token(self._work.base, self._work.token):
            raise I2RError(
                f"{self._work.name}: found another run's lock or none, expected that of the run "
                "that began this unit. It is over; nothing more is written for it."
            )


@contextmanager
def limit_threads(threads: int) -> Iterator[None]:
    """Hold BLAS, OpenMP and torch to a unit's own share of the machine."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    before = {name: os.environ.get(name) for name in _READ_ON_IMPORT}
    os.environ.update(dict.fromkeys(_READ_ON_IMPORT, str(threads)))
    try:
        with _find_threadpools(len(sys.modules)).limit(limits=threads):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@lru_cache(maxsize=1)
def _find_threadpools(n_modules: int) -> ThreadpoolController:
    """Find the libraries that have threads; again only after more modules were imported.

    Libraries come with the modules that use them, and looking for them takes milliseconds.
    """
    return ThreadpoolController()


def describe_failure(error: Exception, *, seconds: float = 0.0, worker: str = "") -> Outcome:
    """Make an outcome of an exception, with its traceback where it is not the user's to mend."""
    damaged = ""
    if isinstance(error, DamageError):
        damaged = str(error).partition(": damaged (")[0]
    elif isinstance(error, FileNotFoundError):
        damaged = str(error.filename or "")
    full = isinstance(error, DiskFullError) or (isinstance(error, OSError) and files.is_full(error))
    clear = isinstance(error, I2RError)
    message = str(error) if clear else f"{type(error).__name__}: {error}"
    if full and not clear:
        message += ". Free some space and run the same command again: it goes on where it stopped."
    return Outcome(
        seconds=seconds,
        worker=worker,
        error=message or type(error).__name__,
        traceback="" if clear else "".join(traceback.format_exception(error)),
        final=clear and not full,
        disk_full=full,
        damaged=damaged,
    )
