"""Options that several commands share."""

import sys
from collections.abc import Callable
from typing import Any

import rich_click as click

from i2r.errors import InputError

Function = Callable[..., Any]

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
    click.option(
        "--yes",
        is_flag=True,
        help="Replace results of changed stages without asking.",
    ),
    click.option(
        "--strict",
        is_flag=True,
        help="Stop (exit 2) when any field can't be used.",
    ),
)


def running_options(function: Function) -> Function:
    """Add the options of everything that runs units."""
    for option in reversed(_RUNNING):
        function = option(function)
    return function


def say(line: str) -> None:
    """Show the user a line, beside the progress."""
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
