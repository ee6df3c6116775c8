"""Whether the largest unit of each stage fits into a worker."""

from collections.abc import Iterable

from i2r.cluster import WorkerKind
from i2r.cluster.settings import needed_bytes
from i2r.errors import InputError, join_problems
from i2r.pipeline.executors import Executor
from i2r.pipeline.memory import ADVICE, format_memory
from i2r.stages.base import FINISH, Stage
from i2r.store.experiment import Experiment


def find_peak(stage: Stage, experiment: Experiment, key: str) -> int:
    """Ask a stage for the estimate of a unit's memory, be it its last one or another."""
    if key == FINISH:
        return stage.finish_peak_bytes(experiment)
    return stage.peak_bytes(experiment, key)


def find_largest_unit(stage: Stage, experiment: Experiment, keys: Iterable[str]) -> tuple[str, int]:
    """Find the unit of a stage with the largest estimate of its memory.

    Returns
    -------
    tuple
        Its key and the bytes; empty and 0 without units.
    """
    units = ((key, find_peak(stage, experiment, key)) for key in keys)
    return max(units, key=lambda unit: unit[1], default=("", 0))


def name_unit(key: str) -> str:
    """Name a unit of a stage in a message."""
    return "its last unit" if key == FINISH else f"unit {key}"


def check_capacity(stages: Iterable[Stage], experiment: Experiment, executor: Executor) -> None:
    """Refuse units that can't fit into any worker's memory, before anything runs.

    Raises
    ------
    InputError
        If there are any, or a stage asks for more threads than a worker has.
    """
    problems = []
    for stage in stages:
        keys = [*stage.keys(experiment), *([FINISH] if stage.has_finish() else [])]
        group = stage.worker_group if executor.slots(stage.worker_group) else "cpu"
        worst, peak = find_largest_unit(stage, experiment, keys)
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
        f"stage {stage.title!r} {name_unit(key)}: needs up to {format_memory(needed)} with its "
        f"worker's process, the smallest {group} worker has {format_memory(limit)}. {ADVICE}"
    )
