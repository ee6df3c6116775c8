"""A command for every stage, its options generated from the stage's fields."""

import inspect
import types
from collections.abc import Sequence
from typing import Any, Literal, Union, get_args, get_origin

import rich_click as click
from pydantic.fields import FieldInfo

from i2r.cli.options import running_options, say
from i2r.errors import InputError
from i2r.stages.base import Stage, find_stage
from i2r.stages.methods import keep_earlier, keep_own, list_options

# What the verb itself says, and names that only a pipeline file needs.
_HIDDEN = ("stage",)


def make_stage_command(verb: str) -> click.Command:
    """Make the command of a stage: ``i2r VERB EXPERIMENT [OPTIONS]``."""
    kind = find_stage(verb)

    def callback(
        experiment: str, cluster: str | None, style: str, yes: bool, strict: bool, **given: Any
    ) -> None:
        run_stage(kind, experiment, given, cluster=cluster, style=style, yes=yes, strict=strict)

    command = click.command(verb, cls=_by_method(kind), help=_describe(kind))(
        running_options(callback)
    )
    options: list[click.Parameter] = [click.Argument(["experiment"], type=click.Path())]
    options += [_make_option(n, *f) for n, f in list_options(kind).items() if n not in _HIDDEN]
    if kind.may_survey():
        help_text = "Only show what the source holds: plate map, channels, gaps, duplicates."
        options.append(click.Option(["--dry-run"], is_flag=True, help=help_text))
    if verb == "convert":
        help_text = "Only give images and labels of an earlier i2r the overviews that they lack, "
        help_text += "from the pixels in EXPERIMENT: no source is read, all results stay."
        options.append(click.Option(["--pyramids"], is_flag=True, help=help_text))
    command.params = options + command.params
    return command


def _by_method(kind: type[Stage]) -> type[click.RichCommand]:
    """Make a kind of command whose help shows, where a method is given, its options alone."""

    class StageCommand(click.RichCommand):
        def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
            text = " ".join(args).replace("--method=", "--method ")
            _, found, rest = text.partition("--method ")
            if found and {"-h", "--help"} & set(args):
                own = keep_own(kind, {**dict.fromkeys(names), "method": rest.split(" ")[0]})
                self.params = [p for p in self.params if p.name in own or p.name not in names]
            return super().parse_args(ctx, args)

    names = list_options(kind)
    return StageCommand


def run_stage(
    kind: type[Stage],
    experiment: str,
    given: dict[str, Any],
    *,
    cluster: str | None,
    style: str,
    yes: bool,
    strict: bool,
) -> None:
    """Run one stage with the given options; those not given keep their last values."""
    from i2r.cli.run import execute
    from i2r.pipeline.run import load_last_pipeline
    from i2r.pipeline.spec import parse_stage, with_stage
    from i2r.store.experiment import has_experiment, open_experiment

    if given.pop("pyramids", False):
        complete_levels(experiment, given)
        return
    dry_run = given.pop("dry_run", False)
    values = {name: value for name, value in given.items() if value not in (None, ())}
    for name, value in values.items():
        if isinstance(value, tuple) and _is_mapping(list_options(kind)[name][0]):
            values[name] = dict(_split_pair(name, pair) for pair in value)
    nothing_there: InputError | None = None
    try:
        pipeline = load_last_pipeline(open_experiment(experiment))
    except InputError as error:
        if not kind.may_begin() or has_experiment(experiment):
            raise
        pipeline, nothing_there = None, error
    title = values.get("name") or kind.model_fields["stage"].default
    before = [s for s in pipeline.stages if s.title == title] if pipeline else []
    if before:
        kept = before[0].model_dump(mode="json", exclude_none=True)
        values = {**keep_earlier(kind, kept, values), **values}
    values["stage"] = kind.model_fields["stage"].default
    stage = parse_stage(values, where=f"i2r {values['stage']}", folder=".")
    # Whether a stage can begin may depend on its options: an import can, a measurement can't.
    if nothing_there is not None and any(stage.chosen_upstream.values()):
        raise nothing_there
    if dry_run:
        from i2r.cli.survey import print_survey

        print_survey(stage)
        return
    merged = with_stage(pipeline, stage, where=f"i2r {values['stage']}")
    only = {stage.title}
    say(f"stage {stage.title}: {_describe_options(stage)}")
    execute(merged, experiment, cluster=cluster, style=style, yes=yes, strict=strict, only=only)


def complete_levels(experiment: str, given: dict[str, Any]) -> None:
    """Write the coarser levels that images and labels lack; takes no other option."""
    from i2r.pipeline.overviews import add_overviews
    from i2r.store.experiment import open_experiment

    others = [n for n, v in given.items() if v not in (None, (), False)]
    if others:
        option = others[0].replace("_", "-")
        raise InputError(f"--pyramids: found --{option} too, expected no other option. Drop it.")
    added = add_overviews(open_experiment(experiment), command="i2r convert --pyramids")
    if added.n_images:
        click.echo(f"{added.n_images} images and label images completed, nothing else changed")
    else:
        click.echo("nothing to do: all images have their overview")


def _describe_options(stage: Stage) -> str:
    """Write the options that are not as they would be by themselves."""
    given = stage.model_dump(
        mode="json", exclude={"stage", "name", "needs"}, exclude_defaults=True, exclude_none=True
    )
    return ", ".join(f"{name} {value}" for name, value in given.items()) or "default options"


def _describe(kind: type[Stage]) -> str:
    """Give the stage's own words, with what it reads."""
    text = inspect.cleandoc(kind.__doc__ or "")
    needed = [verb for verb, required in kind.upstream_verbs.items() if required and verb != "*"]
    after = f"\n\nRuns after: {', '.join(needed)}." if needed else ""
    return (
        f"{text}{after}\n\nOptions that are not given keep the value of the stage's last run in "
        "EXPERIMENT, or their default."
    )


def _make_option(name: str, field: FieldInfo, methods: Sequence[str]) -> click.Option:
    """Make the option of a field, which some methods have, or all."""
    kind, multiple = _option_type(field)
    default = field.get_default(call_default_factory=True)
    bare = field.is_required() or default in (None, (), {}, "")
    required = " Needed the first time." if field.is_required() else ""
    required += f" For {' and '.join(methods)}." if methods else ""
    flag = f"--{name.replace('_', '-')}"
    declaration = f"{flag}/--no-{flag[2:]}" if kind is bool else flag
    return click.Option(
        [declaration, name],
        type=None if kind is bool else kind,
        multiple=multiple,
        default=None,
        help=f"{field.description or ''}.{required}",
        show_default=False if bare else _write_default(default),
        metavar="NAME=VALUE" if _is_mapping(field) else None,
    )


def _write_default(default: object) -> str:
    """Write a default as one would give it."""
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _option_type(field: FieldInfo) -> tuple[Any, bool]:
    """Give click's type for a field, and whether the option may be given several times."""
    annotation: Any = field.annotation
    if _is_mapping(field):
        return str, True
    if get_origin(annotation) is tuple:
        return str, True
    choices = [a for a in get_args(annotation) if a is not type(None)]
    if get_origin(annotation) is Literal:
        return click.Choice([str(choice) for choice in choices]), False
    if get_origin(annotation) in (Union, types.UnionType):
        return (
            (choices[0], False)
            if len(choices) == 1 and isinstance(choices[0], type)
            else (str, False)
        )
    return annotation, False


def _is_mapping(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is dict


def _split_pair(name: str, text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator:
        raise InputError(
            f"--{name.replace('_', '-')} {text!r}: expected NAME=VALUE, e.g. DNA=0.01."
        )
    return key, value
