"""Workers that have too little memory: named as such, instead of being restarted for ever."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from i2r.cluster.settings import needed_bytes
from i2r.errors import I2RError, InputError, join_problems
from i2r.pipeline.units import UnitGraph
from i2r.stages.base import FINISH

if TYPE_CHECKING:
    from distributed import Client

    from i2r.pipeline.executors import Executor

# What Dask's nannies report when they end a worker that is about to exceed its memory.
TOPIC = "worker-restart-memory"
# A paused worker goes on as soon as a unit's memory was freed, in seconds.
PAUSED_S = 60.0
LOOK_EVERY_S = 5.0
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
        self._looked_s = self._moving_s = time.monotonic()

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

    def check(self, *, moving: bool) -> None:
        """Refuse to wait for workers that are all paused, for their memory, and run nothing.

        Parameters
        ----------
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
        if now - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = now
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        if not workers or not all(is_stuck(worker) for worker in workers):
            self._moving_s = now
        elif now - self._moving_s > PAUSED_S:
            full = max(workers, key=lambda worker: worker["metrics"]["memory"])
            raise I2RError(
                f"cluster: no worker takes units, because their memory is used up before they "
                f"begin: {full['name']} uses {format_memory(full['metrics']['memory'])} of "
                f"{format_memory(full['memory_limit'])}. {ADVICE}"
            )


def check_memory(graph: UnitGraph, executor: "Executor") -> None:
    """Refuse units that can't fit into any worker's memory, before anything runs.

    Raises
    ------
    InputError
        If there are any, or a stage asks for more threads than a worker has.
    """
    problems = []
    for stage in graph.stages:
        keys = [key for key in graph.units[stage.title] if key != FINISH]
        group = stage.worker_group if executor.slots(stage.worker_group) else "cpu"
        limit = executor.memory_bytes(group)
        worst = max(keys, key=lambda key: stage.peak_bytes(graph.experiment, key), default=None)
        peak = stage.peak_bytes(graph.experiment, worst) if worst is not None else 0
        if worst is not None and (needed := needed_bytes(peak)) > limit:
            problems.append(
                f"stage {stage.title!r} unit {worst}: needs up to {format_memory(needed)} with "
                f"its worker's process, the smallest {group} worker has {format_memory(limit)}. "
                f"{ADVICE}"
            )
        if group == "cpu" and stage.threads > executor.threads("cpu"):
            problems.append(
                f"stage {stage.title!r}: asks for {stage.threads} threads, the largest CPU worker "
                f"has {executor.threads('cpu')}. Lower 'threads', or raise 'nthreads'."
            )
    if problems:
        raise InputError(join_problems(problems))


def is_stuck(worker: Mapping[str, Any]) -> bool:
    """Tell whether a worker is paused and runs nothing, by what the scheduler knows of it."""
    counts = worker["metrics"].get("task_counts", {})
    return worker["status"] == "paused" and not counts.get("executing", 0)


def format_memory(number: float) -> str:
    """Write bytes as ``300 MiB``, from 2 GiB on as ``2.0 GiB``."""
    return f"{number / 2**30:.1f} GiB" if number >= 2**31 else f"{number / 2**20:.0f} MiB"
