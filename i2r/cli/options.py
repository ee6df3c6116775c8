"""Options that several commands share."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich_click as click

from i2r.errors import InputError

Function = Callable[..., Any]

# Where click's context keeps whether a performance report was asked for.
PERFORMANCE = "i2r.performance_report"
_RUNNING = (
    click.option(
        "--cluster",
        "cluster",
        metavar="FILE|ADDRESS|none",
        default=None,
        help="Where to run: a cluster file, a scheduler's address (tcp://...), or 'none' for this "
        "process. Default: worker processes on this machine.",
    ),
    click.option(
        "--progress",
        "style",
        type=click.Choice(["auto", "rich", "plain", "json", "none"]),
        default="auto",
        show_default=True,
        help="How progress is shown; auto suits terminal or log.",
    ),
    click.option("--yes", is_flag=True, help="Replace results of changed stages without asking."),
    click.option(
        "--strict",
        is_flag=True,
        help="Stop (exit 2) when any field can't be used.",
    ),
    click.option(
        "--performance-report",
        is_flag=True,
        expose_value=False,
        callback=lambda context, option, given: context.meta.update({PERFORMANCE: given}),
        help="Write Dask's performance report to runs/RUN.html in the experiment.",
    ),
)


@dataclass
class Voice:
    """How much the command line says: -1 only what failed, 0 as usual, 1 all it knows."""

    level: int = 0


def voice_options() -> list[click.Option]:
    """Make ``--quiet`` and ``--verbose``, which stand before or after a command's name."""

    def set_level(context: click.Context, option: click.Parameter, given: bool) -> None:
        if given:
            context.ensure_object(Voice).level = -1 if option.name == "quiet" else 1

    return [
        click.Option([short, long], is_flag=True, expose_value=False, callback=set_level, help=text)
        for short, long, text in (
            ("-q", "--quiet", "Say only what failed."),
            ("-v", "--verbose", "Say more, with a traceback for every error."),
        )
    ]


def get_voice() -> Voice:
    """Tell how much the present command says."""
    context = click.get_current_context(silent=True)
    return context.ensure_object(Voice) if context is not None else Voice()


def json_option(function: Function) -> Function:
    """Add ``--json``, for scripts."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")(
        function
    )


def print_json(value: object) -> None:
    """Print a value as one JSON document."""
    click.echo(json.dumps(value, indent=1, default=str))


def yes_option(what: str) -> Callable[[Function], Function]:
    """Add ``--yes``, which answers a question before it is asked."""
    return click.option("--yes", is_flag=True, help=what)


def confirm_overwriting(path: Path, *, yes: bool) -> None:
    """Ask before a file or folder of the user's is replaced.

    Raises
    ------
    InputError
        If it exists and the answer is no, or there is nobody to ask.
    """
    if path.exists() and not make_confirm(yes)(f"{path} exists and will be replaced."):
        raise InputError(f"{path}: kept as it is.")


def running_options(function: Function) -> Function:
    """Add the options of everything that runs units."""
    for option in reversed(_RUNNING):
        function = option(function)
    return function


def wants_performance_report() -> bool:
    """Tell whether the present command was asked for one."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(PERFORMANCE))


def say(line: str) -> None:
    """Show the user a line, beside the progress, unless asked to be quiet."""
    if get_voice().level >= 0:
        click.echo(line, err=True)


def make_confirm(yes: bool) -> Callable[[str], bool]:
    """Make the function that asks whether results may be replaced."""

    def confirm(question: str) -> bool:
        if yes:
            say(question)
            return True
        if not sys.stdin.isatty():
            raise InputError(f"{question} Give --yes to go on.")
        return click.confirm(f"{question} Go on?", err=True)

    return confirm
