"""What a run would do: units, bytes and memory by stage."""

from collections.abc import Callable
from typing import Any

from i2r.cluster import AnyCluster, planned_workers
from i2r.cluster.settings import needed_bytes
from i2r.pipeline.capacity import find_largest_unit
from i2r.pipeline.changes import find_other_plates, list_changed_rows, list_changes
from i2r.pipeline.preview import preview_units
from i2r.pipeline.rates import Rates, find_rates
from i2r.pipeline.run import prepare
from i2r.pipeline.spec import Pipeline
from i2r.pipeline.status import count_states, is_settled
from i2r.stages.base import FINISH
from i2r.store.experiment import Experiment


def describe_plan(
    pipeline: Pipeline,
    url: str,
    cluster: AnyCluster,
    *,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Find out what a run would do; nothing of it is written.

    Parameters
    ----------
    pipeline, url, cluster
        What would run, where, and on what.
    say
        Takes notes for the user, one line each.

    Returns
    -------
    dict
        Counts of plates, wells, fields and workers, ``worker_bytes``, for each of the
        ``stages`` its units, bytes, ``seconds`` with all workers busy (None where nothing is
        known, see ``timed_by``), and whether its largest unit fits into a worker,
        ``largest_unit`` (name, and ``needed_bytes`` of its worker, the process included), and
        ``changes``: what differs from the last run.
    """
    experiment = prepare(pipeline, url, say=say)
    settled = is_settled(pipeline, experiment)
    counts = count_states(pipeline, experiment) if settled else {}
    preview = {} if settled else preview_units(pipeline, experiment)
    number, memory = planned_workers(cluster)
    rates = Rates({}, "")
    if any(preview.values()):
        rates = find_rates(pipeline, experiment, say=say)
    stages, largest = [], ("", 0)
    for stage in pipeline.stages:
        if settled:
            # The ledger knows all; to plan a screen of 2,000 plates again takes more than a minute.
            stages.append(_describe_done(stage.title, counts[stage.title].total()))
            continue
        keys = list(stage.keys(experiment))
        to_run = preview[stage.title]
        pending = [key for key in to_run if key != FINISH]
        # Of what is done some units tell: a thousand plates have too many to ask each.
        asked = list(to_run) or keys[:: len(keys) // 500 + 1]
        worst, peak = find_largest_unit(stage, experiment, asked)
        if to_run and peak > largest[1]:
            largest = f"{stage.title} {worst if worst != FINISH else 'last unit'}", peak
        stages.append(
            {
                "stage": stage.title,
                "units_to_run": len(preview[stage.title]),
                "units": len(keys) + stage.has_finish(),
                "bytes_in": sum(stage.bytes_in(experiment, key) for key in pending),
                "bytes_out": sum(stage.bytes_out(experiment, key) for key in pending),
                "peak_bytes": peak,
                # Fewer units than workers leave some of them without any.
                "seconds": rates.seconds[stage.title]
                * len(pending)
                / max(1, min(number, len(pending)))
                if stage.title in rates.seconds
                else None,
                "fits": needed_bytes(peak) <= memory,
            }
        )
    return {
        # Where all is as it was, comparing the rows of a thousand plates takes half a minute.
        "changes": [] if settled else _list_all_changes(pipeline, experiment),
        "plates": experiment.layout["plate"].nunique(),
        "wells": len(experiment.layout),
        "fields": int(experiment.layout["n_fields"].sum()),
        "workers": number,
        "worker_bytes": memory,
        "timed_by": rates.how,
        "largest_unit": {
            "name": largest[0],
            "needed_bytes": needed_bytes(largest[1]) if largest[0] else 0,
        },
        "stages": stages,
    }


def _describe_done(title: str, n_units: int) -> dict[str, Any]:
    """Describe a stage of which nothing is left to do, and nothing to read, write or hold."""
    nothing = dict.fromkeys(("units_to_run", "bytes_in", "bytes_out", "peak_bytes"), 0)
    return {"stage": title, "units": n_units, **nothing, "seconds": None, "fits": True}


def _list_all_changes(pipeline: Pipeline, experiment: Experiment) -> list[str]:
    """List what differs from the last run: plates, options, rows of the layout."""
    options = list_changes(pipeline, experiment)
    others = find_other_plates(experiment)
    return [
        *([others] if others else []),
        *(f"changed since the last run: {title}: {how}" for title, how in options.items()),
        *(f"changed since the last run: {line}" for line in list_changed_rows(experiment)),
    ]
