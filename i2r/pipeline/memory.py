"""Workers that have too little memory: named as such, instead of being restarted for ever."""

import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from i2r.errors import I2RError

if TYPE_CHECKING:
    from distributed import Client

# What Dask's nannies report when they end a worker that is about to exceed its memory.
TOPIC = "worker-restart-memory"
# A paused worker goes on as soon as a unit's memory was freed, in seconds.
PAUSED_S = 60.0
ADVICE = "Use fewer, larger workers (n_workers and memory_limit, or memory, in the cluster file)."


class WorkerMemoryError(I2RError):
    """A worker was ended because its memory was used up."""


class MemoryWatch:
    """Tells workers that were ended for their memory from those that died of something else.

    Parameters
    ----------
    client
        The client of the cluster.
    """

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._moving_s = time.monotonic()

    def explain(self, error: BaseException) -> BaseException:
        """Give an error that says that memory was used up, where a lost worker's was."""
        worker = getattr(error, "last_worker", None)
        if worker is None:
            return error
        used = next(
            (e["rss"] for _, e in self._client.get_events(TOPIC) if e["worker"] == worker.address),
            None,
        )
        if used is None:
            return error
        return WorkerMemoryError(
            f"worker {worker.name} ran out of memory: it used {format_memory(used)} of "
            f"{format_memory(worker.memory_limit)}. {ADVICE}"
        )

    def check(self, workers: Collection[Mapping[str, Any]], *, moving: bool) -> None:
        """Refuse to wait for workers that are all paused, for their memory, and run nothing.

        Parameters
        ----------
        workers
            What the scheduler knows of them.
        moving
            Whether something came back since the last check.

        Raises
        ------
        I2RError
            If they have been for a minute.
        """
        now = time.monotonic()
        if moving:
            self._moving_s = now
        if not workers or not all(is_stuck(worker) for worker in workers):
            self._moving_s = now
        elif now - self._moving_s > PAUSED_S:
            full = max(workers, key=lambda worker: worker["metrics"]["memory"])
            raise I2RError(
                f"cluster: no worker takes units, because their memory is used up before they "
                f"begin: {full['name']} uses {format_memory(full['metrics']['memory'])} of "
                f"{format_memory(full['memory_limit'])}. {ADVICE}"
            )


def is_stuck(worker: Mapping[str, Any]) -> bool:
    """Tell whether a worker is paused and runs nothing, by what the scheduler knows of it."""
    counts = worker["metrics"].get("task_counts", {})
    return worker["status"] == "paused" and not counts.get("executing", 0)


def format_memory(number: float) -> str:
    """Write bytes as ``300 MiB``, from 2 GiB on as ``2.0 GiB``."""
    return f"{number / 2**30:.1f} GiB" if number >= 2**31 else f"{number / 2**20:.0f} MiB"
