"""The reference of commands, stages and tables, from the code: ``python -m i2r.cli.reference``."""

import inspect
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_origin

import rich_click as click
from pydantic.fields import FieldInfo

from i2r.cli import dictionary
from i2r.cli.dictionary import write_dictionary
from i2r.cli.group import COMMANDS
from i2r.stages.base import Stage, find_stage, list_own_verbs
from i2r.stages.methods import list_options

TARGET = Path(__file__).parents[1] / "docs" / "reference.md"
_HEAD = """\
# Reference

Every stage and command with its options, written from the code by `python -m i2r.cli.reference`.
In a pipeline file an option has the name in the table, on the command line `--name-with-dashes`.
"""
# Said once at the top instead of in every table.
_COMMON = ("name", "needs", "threads")


def write_reference() -> str:
    """Write the whole reference as Markdown."""
    parts = [_HEAD, "\n## Stages\n", _describe_common()]
    parts += [_describe_stage(find_stage(verb)) for verb in list_own_verbs()]
    parts.append("\n## Commands\n")
    for name, (module, line) in COMMANDS.items():
        parts.append(
            _describe_command(name, line, getattr(import_module(module), name.replace("-", "_")))
        )
    return "".join(parts)


def _describe_common() -> str:
    rows = [_row(name, Stage.model_fields[name]) for name in _COMMON]
    return f"\nEvery stage has these options besides its own:\n\n{_table(rows)}"


def _describe_stage(kind: type[Stage]) -> str:
    verb = kind.model_fields["stage"].default
    reads = [
        name if needed else f"{name} (if there)" for name, needed in kind.upstream_verbs.items()
    ]
    reads = ["everything before it" if name.startswith("*") else name for name in reads]
    facts = [f"Reads: {', '.join(reads) or 'nothing of other stages'}.", f"Workers: {kind.group}."]
    rows = [
        _row(name, field, methods)
        for name, (field, methods) in list_options(kind).items()
        if name not in (*_COMMON, "stage")
    ]
    text = inspect.cleandoc(kind.__doc__ or "")
    return f"\n### {verb}\n\n{text}\n\n{' '.join(facts)}\n\n{_table(rows)}"


def _row(name: str, field: FieldInfo, methods: Sequence[str] = ()) -> tuple[str, str, str, str]:
    default = field.get_default(call_default_factory=True)
    shown = "needed" if field.is_required() else _write_value(default)
    return (
        f"`{name}`",
        _write_type(field.annotation),
        shown,
        _escape(field.description or "")
        + _write_bounds(field)
        + (f"; for {' and '.join(methods)}" if methods else ""),
    )


def _write_type(annotation: Any) -> str:
    """Name a type as people do: ``number``, ``yes or no``, ``threshold | unet``."""
    plain = {int: "whole number", float: "number", str: "text", bool: "true or false"}
    if annotation in plain:
        return plain[annotation]
    if get_origin(annotation) is dict:
        return "mapping"
    if get_origin(annotation) is tuple:
        return "list"
    inner = [a for a in get_args(annotation) if a not in (type(None), Ellipsis)]
    if not inner:
        return str(getattr(annotation, "__name__", annotation))
    if all(isinstance(a, (str, int, float)) for a in inner):
        return " \\| ".join(f"`{a}`" for a in inner)
    # What annotates a type is not a type itself.
    types = [a for a in inner if isinstance(a, type) or get_args(a)]
    return " or ".join(dict.fromkeys(_write_type(a) for a in types))


def _write_value(value: object) -> str:
    if value in (None, "", (), {}):
        return ""
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _write_bounds(field: FieldInfo) -> str:
    signs = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    found = [
        f"{word} {getattr(bound, sign):g}"
        for bound in field.metadata
        for sign, word in signs.items()
        if getattr(bound, sign, None) is not None
    ]
    return f" ({', '.join(found)})" if found else ""


def _table(rows: list[tuple[str, str, str, str]]) -> str:
    if not rows:
        return "No options of its own.\n"
    head = "| option | values | default | what it does |\n|---|---|---|---|\n"
    return head + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _describe_command(name: str, line: str, command: click.Command) -> str:
    if isinstance(command, click.Group):
        children = [command.commands[child] for child in sorted(command.commands)]
        return f"\n### i2r {name}\n\n{line}\n" + "".join(
            _describe_command(f"{name} {child.name}", "", child) for child in children
        )
    arguments = " ".join(
        f"[{p.human_readable_name}]" if not p.required else p.human_readable_name
        for p in command.params
        if isinstance(p, click.Argument)
    )
    text = inspect.cleandoc(command.help or line).replace("\b\n", "")
    rows = list(_list_options(command))
    options = "| option | what it does |\n|---|---|\n" + "".join(rows) if rows else ""
    return f"\n### i2r {name} {arguments}".rstrip() + f"\n\n{text}\n\n{options}"


def _list_options(command: click.Command) -> Iterator[str]:
    for option in command.params:
        if isinstance(option, click.Option) and option.name not in ("quiet", "verbose"):
            flags = ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
            choices = getattr(option.type, "choices", ())
            values = f" {', '.join(map(str, choices))}." if choices else ""
            yield f"| {flags} | {_escape(option.help or '')}{values} |\n"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    for target, text in ((TARGET, write_reference()), (dictionary.TARGET, write_dictionary())):
        target.write_text(text, encoding="utf-8")
        click.echo(f"wrote {target}")
