"""What differs between a pipeline and an experiment's last run, said before a run replaces it."""

import json
import math
from typing import Any

import pandas as pd

from i2r.pipeline.spec import Pipeline
from i2r.stages.base import Stage
from i2r.stages.methods import keep_own
from i2r.store import files
from i2r.store.experiment import Experiment, has_experiment

# What is in a stage's description and no option of it.
_NO_OPTIONS = ("stage", "name", "needs")
# Longer values, such as lists of wells, are not written out.
_LONGEST = 40
# Changed rows of the layout, and changed files, that are named; of the others only the number.
_NAMED = 5


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
        then = {**defaults, **keep_own(type(stage), described)}
        now = {**defaults, **content}
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


def list_changed_rows(experiment: Experiment) -> list[str]:
    """Name what changed in the layout and in the files since the experiment was last run.

    Parameters
    ----------
    experiment
        As it would be: with the layout and the sources that the pipeline's survey found.

    Returns
    -------
    list of str
        A line each for the layout and for the files where something changed: plate, well and
        column with its value before and after; the first five and how many there are.
    """
    if not files.exists(experiment.path("layout.parquet")):
        return []
    stored = Experiment(experiment.url)
    lines = []
    rows = [
        f"plate {plate!r} well {well!r}: {column} was {_write(before)}, is {_write(after)}"
        for (plate, well), column, before, after in _compare(
            stored.layout, experiment.layout, ["plate", "well"], skip=()
        )
    ]
    lines += _first(rows, "layout")
    keys = ["plate", "well", "field", "channel"]
    found = [
        f"plate {key[0]!r} well {key[1]!r} field {key[2]!r} {key[3]}: "
        + _describe_file(column, before, after)
        for key, column, before, after in _compare(
            stored.sources, experiment.sources, keys, skip=("url",)
        )
    ]
    return lines + _first(found, "files")


def _compare(
    before: pd.DataFrame, after: pd.DataFrame, keys: list[str], *, skip: tuple[str, ...]
) -> list[tuple[tuple[Any, ...], str, Any, Any]]:
    """List cells that differ: key, column, value before and after; rows of both tables alone."""
    if not set(keys) <= set(before) or not set(keys) <= set(after):
        return []
    one, two = (t.drop_duplicates(keys).set_index(keys) for t in (before, after))
    both = one.index.intersection(two.index, sort=False)
    one, two = one.loc[both], two.loc[both]
    changed = []
    for column in (c for c in two if c in one and c not in skip):
        pairs = enumerate(zip(one[column].tolist(), two[column].tolist(), strict=True))
        changed += [
            (number, column, a, b) for number, (a, b) in pairs if a != b and not _are_missing(a, b)
        ]
    changed.sort(key=lambda item: item[0])
    named: list[tuple[tuple[Any, ...], str, Any, Any]] = []
    for number, column, a, b in changed:
        named.append((tuple(map(str, both[number])), str(column), a, b))
    return named


def _are_missing(*values: Any) -> bool:
    """Tell whether all values are NaN or None."""
    return all(v is None or (isinstance(v, float) and math.isnan(v)) for v in values)


def _describe_file(column: str, before: Any, after: Any) -> str:
    """Say what is different of a file."""
    if column == "mtime_ns":
        times = (
            pd.Timestamp(int(value)).strftime("%Y-%m-%d %H:%M:%S") for value in (before, after)
        )
        return "written {} before, {} now".format(*times)
    return f"{column} was {_write(before)}, is {_write(after)}"


def _first(found: list[str], what: str) -> list[str]:
    """Name the first few changes in a line, and count them all."""
    if not found:
        return []
    more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    number = f"{len(found)} change{'' if len(found) == 1 else 's'}"
    return [f"{what}, {number}: {'; '.join(found[:_NAMED])}{more}"]


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
    elif isinstance(value, float) and math.isnan(value):
        text = "empty"
    else:
        text = "not set" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
