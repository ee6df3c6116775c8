"""A pipeline file: which stages run with which options, read from YAML and checked."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from i2r.errors import InputError, find_meant, join_problems
from i2r.stages.base import Stage, find_stage
from i2r.stages.methods import keep_own, list_options
from i2r.store import files
from i2r.store.documents import read_yaml

_TOP = {"description": str, "seed": int, "stages": list}


class Pipeline(NamedTuple):
    """A list of stages in the order in which they read each other, and one seed."""

    stages: tuple[Stage, ...]
    seed: int = 0
    description: str = ""

    def stage(self, title: str) -> Stage:
        """Find a stage by its name."""
        return next(stage for stage in self.stages if stage.title == title)

    def dump(self) -> dict[str, Any]:
        """Give the resolved pipeline as plain values, enough to load it again."""
        stages = [s.model_dump(mode="json", exclude_none=True) for s in self.stages]
        return {"description": self.description, "seed": self.seed, "stages": stages}


def load_pipeline(source: "Pipeline | Mapping[str, Any] | str | os.PathLike[str]") -> Pipeline:
    """Read a pipeline file, or check what one would hold.

    Parameters
    ----------
    source
        A YAML file, in which relative paths are relative to its own folder; or its content as
        plain values, with paths relative to the working directory. A pipeline is given back.

    Raises
    ------
    InputError
        With up to five problems: what is no YAML, unknown fields (with the probable one),
        values out of bounds, stages that need others which are not there.
    """
    if isinstance(source, Pipeline):
        return source
    if isinstance(source, Mapping):
        return parse_pipeline(source, where="pipeline", folder=".")
    url = os.fspath(source)
    try:
        content = read_yaml(url, where=f"pipeline {url}")
    except FileNotFoundError as error:
        raise InputError(f"pipeline {url}: no such file. Give the path of one.") from error
    return parse_pipeline(content, where=f"pipeline {url}", folder=files.parent_url(url))


def parse_pipeline(
    content: object, *, where: str, folder: str | None = None, recorded: bool = False
) -> Pipeline:
    """Check a pipeline given as plain values; see `load_pipeline`.

    Parameters
    ----------
    content
        A mapping with ``stages`` and optionally ``seed`` and ``description``.
    where
        How to name the source in messages.
    folder
        What relative paths are relative to; None leaves them alone.
    recorded
        Whether a run wrote it down: earlier versions recorded the options of all methods.
    """
    if not isinstance(content, Mapping):
        raise InputError(
            f"{where}: found {type(content).__name__}, expected a mapping with 'stages'. "
            "Look at a pipeline that ships with i2r."
        )
    problems = []
    for name, value in content.items():
        if name not in _TOP:
            problems.append(f"{where}: unknown field {name!r}{_suggest(str(name), _TOP)}")
        elif not isinstance(value, _TOP[name]) or isinstance(value, bool):
            problems.append(f"{where}: {name!r} is {value!r}, expected {_TOP[name].__name__}.")
    if not content.get("stages"):
        problems.append(f"{where}: no stages. List at least one under 'stages:'.")
    if problems:
        raise InputError(join_problems(problems))
    stages: list[Stage] = []
    for number, entry in enumerate(content["stages"], start=1):
        try:
            stages.append(
                parse_stage(
                    entry,
                    where=f"{where} stage {number}",
                    folder=folder,
                    seed=content.get("seed", 0),
                    recorded=recorded,
                )
            )
        except InputError as error:
            problems += str(error).splitlines()
    if problems:
        raise InputError(join_problems(problems))
    return Pipeline(
        resolve_needs(stages, where=where),
        int(content.get("seed", 0)),
        str(content.get("description", "")),
    )


def parse_stage(
    entry: object,
    *,
    where: str,
    folder: str | None = None,
    seed: int | None = None,
    recorded: bool = False,
) -> Stage:
    """Check one stage given as plain values and make it.

    Parameters
    ----------
    entry
        A mapping with ``stage`` and any of its fields, or just the verb.
    where
        How to name it in messages.
    folder
        What relative paths are relative to; None leaves them alone.
    seed
        For stages that draw random numbers and name no seed of their own.
    recorded
        See `parse_pipeline`.

    Raises
    ------
    InputError
        With one line per wrong field.
    """
    if isinstance(entry, str):
        entry = {"stage": entry}
    if not isinstance(entry, Mapping) or "stage" not in entry:
        raise InputError(
            f"{where}: found {entry!r}, expected a mapping with the field 'stage'. Name its verb."
        )
    family = find_stage(str(entry["stage"]))
    values = {str(name): value for name, value in entry.items()}
    values = keep_own(family, values) if recorded else values
    kind = family.choose(values)
    if seed is not None and "seed" in kind.model_fields:
        values.setdefault("seed", seed)
    for name, field in kind.model_fields.items():
        given = values.get(name)
        is_path = isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("path")
        if is_path and isinstance(given, str) and folder is not None:
            values[name] = files.resolve_url(given, folder) if given else given
        elif is_path and isinstance(given, list | tuple) and folder is not None:
            values[name] = [files.resolve_url(str(one), folder) for one in given]
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        name = f"{where} ({entry['stage']})"
        raise InputError(
            join_problems([_explain(e, name, kind, values) for e in error.errors()])
        ) from error


def resolve_needs(
    stages: Sequence[Stage], *, where: str, known: Sequence[str] = ()
) -> tuple[Stage, ...]:
    """Say for each stage by name which others it reads.

    A stage that names none reads the nearest earlier stage of each verb it wants.

    Parameters
    ----------
    stages
        In pipeline order.
    where
        How to name the source in messages.
    known
        Names of stages that ran before and are not in the list, verbs included.
    """
    resolved: list[Stage] = []
    titles: list[str] = list(known)
    problems = []
    for stage in stages:
        if any(stage.title == other.title for other in resolved):
            problems.append(
                f"{where}: two stages are called {stage.title!r}. Give one of them another 'name'."
            )
        needs = list(stage.needs)
        for name in needs:
            if name not in titles:
                problems.append(
                    f"{where}: stage {stage.title!r} needs {name!r}, which is not an earlier stage"
                    f"{_suggest(name, titles)}"
                )
        if not needs:
            for verb, required in stage.chosen_upstream.items():
                nearest = [s.title for s in resolved if s.stage == verb][-1:]
                nearest = nearest or [name for name in known if name == verb]
                if verb == "*":
                    nearest = [s.title for s in resolved] + list(known)
                if required and not nearest:
                    problems.append(
                        f"{where}: stage {stage.title!r} needs a stage {verb!r} before it. Add one."
                    )
                needs += [name for name in nearest if name not in needs]
        verbs = {name: name for name in known} | {s.title: s.stage for s in resolved}
        resolved.append(stage.with_needs(needs, verbs))
        titles.append(stage.title)
    if problems:
        raise InputError(join_problems(problems))
    return tuple(resolved)


def with_stage(pipeline: Pipeline | None, stage: Stage, *, where: str) -> Pipeline:
    """Put one stage into a pipeline, in place of the one of its name or at the end.

    A report at the end stays there, and shows the new stage too where it showed all others.
    """
    before = list(pipeline.stages) if pipeline else []
    titles = [s.title for s in before]
    if stage.title in titles:
        before[titles.index(stage.title)] = stage
    else:
        place = len(before)
        while place and "*" in before[place - 1].upstream_verbs and "*" not in stage.upstream_verbs:
            place -= 1
            if set(before[place].needs) == set(titles[:place]):
                before[place] = before[place].with_needs((), {})
        before.insert(place, stage)
    resolved = resolve_needs(before, where=where)
    return Pipeline(
        resolved, pipeline.seed if pipeline else 0, pipeline.description if pipeline else ""
    )


def _explain(error: Any, where: str, kind: type[Stage], values: Mapping[str, Any]) -> str:
    """Turn one of pydantic's errors into a line for people."""
    name = ".".join(str(part) for part in error["loc"]) or "the stage"
    _, methods = list_options(kind).get(name, (None, ()))
    if error["type"] == "extra_forbidden" and methods:
        method = values.get("method", kind.model_fields["method"].default)
        of_others = " and ".join(map(repr, methods))
        return (
            f"{where}: {name!r} is an option of the method {of_others}, the method here is "
            f"{method!r}. Leave it out, or take another 'method'."
        )
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown field {name!r}{_suggest(name, kind.model_fields)}"
    if error["type"] == "missing":
        return f"{where}: field {name!r} is missing. {kind.model_fields[name].description}."
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {name!r} is {error['input']!r}: {message[:1].lower()}{message[1:]}."


def _suggest(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    """Say which known name was probably meant, or which there are."""
    if meant := find_meant(name, known):
        return f"; did you mean {meant!r}?"
    return f"; there are {', '.join(known)}."
