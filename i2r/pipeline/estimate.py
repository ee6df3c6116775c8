"""What a run needs of the place where it runs: space, memory, time."""

from typing import Any

from i2r.errors import InputError
from i2r.pipeline.capacity import find_largest_unit
from i2r.pipeline.preview import preview_units
from i2r.pipeline.run import load_last_pipeline, prepare
from i2r.pipeline.spec import load_pipeline
from i2r.stages.base import FINISH
from i2r.store.experiment import open_experiment


def find_needs(url: str, pipeline_url: str | None) -> dict[str, Any]:
    """Estimate what is left to run of a pipeline.

    Parameters
    ----------
    url
        The experiment, which need not exist.
    pipeline_url
        A pipeline file; None for the experiment's last one.

    Returns
    -------
    dict
        ``needed_bytes``, ``largest_unit`` (name, bytes) and ``longest_unit`` (name, seconds).
        Empty where neither a pipeline nor an experiment is there.
    """
    try:
        existing = open_experiment(url)
    except InputError:
        existing = None
    if pipeline_url is not None:
        pipeline = load_pipeline(pipeline_url)
    elif existing is None or (found := load_last_pipeline(existing)) is None:
        return {}
    else:
        pipeline = found
    experiment = prepare(pipeline, url)
    needed, largest = 0, ("", 0)
    for title, keys in preview_units(pipeline, experiment).items():
        stage = pipeline.stage(title)
        needed += sum(stage.bytes_out(experiment, key) for key in keys if key != FINISH)
        key, peak = find_largest_unit(stage, experiment, keys)
        name = f"{title} {key if key != FINISH else 'last unit'}"
        largest = max(largest, (name, peak), key=lambda unit: unit[1])
    entries = existing.ledger.entries() if existing is not None else ()
    longest = max(
        ((f"{e.stage} {e.key}", e.seconds) for e in entries),
        key=lambda unit: unit[1],
        default=("", 0.0),
    )
    return {"needed_bytes": needed, "largest_unit": largest, "longest_unit": longest}
