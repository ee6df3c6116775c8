"""The run that works on an experiment now: since when, how far, and how long it will take."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from i2r.store.experiment import Experiment
from i2r.store.lock import find_holder


class CurrentRun(NamedTuple):
    """What is known of the run under way.

    Attributes
    ----------
    command, place
        What was started, and where: the process and its machine, or the job array.
    started_s
        When, in seconds of the clock; 0 where its record is not there yet.
    done, failed, running
        Units of this run that are done, failed, and under way.
    left_s
        Seconds that are left for the stages of which a unit is done, estimated.
    unknown
        Stages of which nothing is done yet, so that nobody knows how long they take.
    """

    command: str
    place: str
    started_s: float
    done: int
    failed: int
    running: int
    left_s: float
    unknown: tuple[str, ...]


def find_current_run(
    experiment: Experiment, states: Mapping[str, Counter[str]]
) -> CurrentRun | None:
    """Look at the lock and the ledger; None where nobody works on the experiment.

    Parameters
    ----------
    experiment
        The experiment.
    states
        How many units of every stage are done, to do and so on.
    """
    holder = find_holder(experiment.url)
    if holder is None:
        return None
    run = experiment.ledger.last_run
    record = experiment.last_run() or {}
    known = record.get("run") == run and "finished_s" not in record
    events, seconds = Counter[str](), dict[str, list[float]]()
    for entry in experiment.ledger.entries():
        if entry.event == "done" and entry.key != "*":
            seconds.setdefault(entry.stage, []).append(entry.seconds)
        if entry.run == run:
            events[entry.event] += 1
    cluster = record.get("cluster", {}) if known else {}
    slots = max(1, int(cluster.get("cpu_slots") or 0) + int(cluster.get("gpu_slots") or 0))
    array = holder.get("array")
    left_s, unknown = estimate_left(states, seconds, slots=slots)
    return CurrentRun(
        command=str(holder.get("command", "")),
        place=str(array) if array else f"process {holder.get('pid')} on {holder.get('host')}",
        started_s=float(record.get("started_s", 0.0)) if known else 0.0,
        done=events["done"],
        failed=events["failed"],
        running=events["start"],
        left_s=left_s,
        unknown=unknown,
    )


def estimate_left(
    states: Mapping[str, Counter[str]], seconds: Mapping[str, list[float]], *, slots: int
) -> tuple[float, tuple[str, ...]]:
    """Estimate the seconds that a run still takes, from the units that are done.

    Parameters
    ----------
    states
        Units of every stage by state.
    seconds
        What done units of every stage took.
    slots
        How many run at once.

    Returns
    -------
    left_s : float
        Of the stages of which something is done.
    unknown : tuple of str
        The others that have something to do.
    """
    left, unknown = 0.0, []
    for stage, counts in states.items():
        waiting = sum(counts[state] for state in ("out of date", "interrupted", "to do"))
        if not waiting:
            continue
        if not seconds.get(stage):
            unknown.append(stage)
            continue
        left += waiting * sum(seconds[stage]) / len(seconds[stage])
    return left / slots, tuple(unknown)


def describe_current(run: CurrentRun, *, now_s: float) -> dict[str, Any]:
    """Give the figures of a run under way as plain values, for scripts."""
    values = run._asdict()
    values["running_for_s"] = round(now_s - run.started_s, 1) if run.started_s else None
    return values
