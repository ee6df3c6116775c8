"""Whether the largest unit of each stage fits into a worker."""

from collections.abc import Iterable

from i2r.cluster import WorkerKind
from i2r.cluster.settings import needed_bytes
from i2r.errors import InputError, join_problems
from i2r.pipeline.executors import Executor
from i2r.pipeline.memory import ADVICE, format_memory
from i2r.pipeline.units import UnitGraph
from i2r.stages.base import FINISH, Stage
from i2r.store.experiment import Experiment


def find_largest_unit(stage: Stage, experiment: Experiment, keys: Iterable[str]) -> tuple[str, int]:
    """Find the unit of a stage with the largest estimate of its memory.

    Returns
    -------
    tuple
        Its key and the bytes; empty and 0 without units. Last units have no estimate.
    """
    units = ((key, stage.peak_bytes(experiment, key)) for key in keys if key != FINISH)
    return max(units, key=lambda unit: unit[1], default=("", 0))


def check_capacity(graph: UnitGraph, executor: Executor) -> None:
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
        worst, peak = find_largest_unit(stage, graph.experiment, keys)
        limit = executor.memory_bytes(group)
        if excess := explain_excess(stage, worst, peak, group=group, limit=limit):
            problems.append(excess)
        if group == "cpu" and stage.threads > executor.threads("cpu"):
            problems.append(
                f"stage {stage.title!r}: asks for {stage.threads} threads, the largest CPU worker "
                f"has {executor.threads('cpu')}. Lower 'threads', or raise 'nthreads'."
            )
    if problems:
        raise InputError(join_problems(problems))


def explain_excess(stage: Stage, key: str, peak: int, *, group: WorkerKind, limit: int) -> str:
    """Say that a unit does not fit into a worker; nothing where it does.

    Parameters
    ----------
    stage, key
        The unit.
    peak
        The bytes that it needs beside its worker's process.
    group, limit
        The workers it runs on, and the memory of the smallest of them in bytes.
    """
    needed = needed_bytes(peak)
    if not peak or needed <= limit:
        return ""
    return (
        f"stage {stage.title!r} unit {key}: needs up to {format_memory(needed)} with its worker's "
        f"process, the smallest {group} worker has {format_memory(limit)}. {ADVICE}"
    )
