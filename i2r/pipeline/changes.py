"""What differs between a pipeline and an experiment's last run, said before a run replaces it."""

import json
from typing import Any

from i2r.pipeline.spec import Pipeline
from i2r.stages.base import Stage
from i2r.store import files
from i2r.store.experiment import Experiment, has_experiment

# What is in a stage's description and no option of it.
_NO_OPTIONS = ("stage", "name", "needs")
# Longer values, such as lists of wells, are not written out.
_LONGEST = 40


def list_changes(pipeline: Pipeline, experiment: Experiment) -> dict[str, str]:
    """Say by stage what is not as in the experiment's last run: options, and i2r's own doing.

    Returns
    -------
    dict
        By the stage's title, such as ``size_px was 64, is 32``; stages without a change, and
        those that the last run did not have, are not in it.
    """
    last = experiment.last_run() if has_experiment(experiment.url) else None
    if last is None:
        return {}
    before = {d.get("name") or d["stage"]: d for d in last["pipeline"]["stages"]}
    changed = {}
    for stage, content in zip(pipeline.stages, pipeline.dump()["stages"], strict=True):
        described = before.get(stage.title)
        if described is None or described["stage"] != content["stage"]:
            continue
        # What an earlier version had not yet, and None, which is not written down, is the default.
        defaults = _list_defaults(stage)
        then, now = {**defaults, **described}, {**defaults, **content}
        names = [n for n in {**then, **now} if n not in _NO_OPTIONS and then.get(n) != now.get(n)]
        words = [
            f"{name} was {_write(then.get(name))}, is {_write(now.get(name))}" for name in names
        ]
        # Records of earlier versions don't have it.
        version = last.get("stage_versions", {}).get(stage.title)
        if version not in (None, type(stage).version):
            words.append(f"this i2r computes it in another way than {last['versions']['i2r']} did")
        if words:
            changed[stage.title] = "; ".join(words)
    return changed


def find_other_plates(experiment: Experiment) -> str:
    """Say that an experiment holds other plates than a pipeline brings in, and none of these.

    Parameters
    ----------
    experiment
        As it would be: with the layout that the pipeline's survey found.

    Returns
    -------
    str
        Empty where there is no experiment yet, or it shares a plate with the pipeline.
    """
    # A disk that was full while the experiment was made leaves one without a layout.
    if not files.exists(experiment.path("layout.parquet")):
        return ""
    stored = set(Experiment(experiment.url).layout["plate"])
    now = set(experiment.layout["plate"])
    if not stored or stored & now:
        return ""
    return (
        f"{experiment.url} holds other plates ({_list(stored)}) than this pipeline ({_list(now)}): "
        "it was made from another source, and none of its results will be used."
    )


def _list_defaults(stage: Stage) -> dict[str, Any]:
    """List the stage's options that have a default, with it, as plain values."""
    fields = type(stage).model_fields.items()
    given = {n: f.get_default(call_default_factory=True) for n, f in fields if not f.is_required()}
    return stage.model_copy(update=given).model_dump(mode="json", include=set(given))


def _list(names: set[str]) -> str:
    first = sorted(names)[:3]
    return ", ".join(first) + (", ..." if len(names) > len(first) else "")


def _write(value: Any) -> str:
    """Write an option's value as in YAML's short form."""
    if isinstance(value, str):
        text = value or "empty"
    else:
        text = "not set" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
