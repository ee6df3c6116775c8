"""The command clean: remove what was made of plates that are not in the layout any more."""

import shlex
import sys

import rich_click as click

from i2r.cli.options import make_confirm, yes_option
from i2r.errors import InputError, count_words, name_some


@click.command()
@click.argument("experiment", type=click.Path())
@yes_option("Remove without asking.")
def clean(experiment: str, yes: bool) -> None:
    """Remove what EXPERIMENT holds of plates that are not in its layout any more.

    Lists plates and units that the latest run did not have, and asks first. Nothing else is
    touched: single wells that were taken out of a plate that stays keep their results, which
    nothing shows, and which are used again when they come back.
    """
    from i2r.pipeline.cleaning import find_obsolete, remove_plates
    from i2r.store.experiment import open_experiment

    opened = open_experiment(experiment)
    obsolete = find_obsolete(opened)
    for line in describe_obsolete(obsolete.plates, obsolete.units):
        click.echo(line)
    if not obsolete.plates:
        click.echo("nothing to remove: every plate is in the layout")
        return
    names = name_some(obsolete.plates)
    number = count_words(len(obsolete.plates), "plate")
    if not make_confirm(yes)(f"All results of {number} ({names}) will be deleted."):
        raise InputError("nothing was removed.")
    command = shlex.join(["i2r", *sys.argv[1:]])
    removed = remove_plates(opened, obsolete.plates, command=command)
    click.echo(f"removed {number} ({removed:,} files and folders)")


def describe_obsolete(plates: list[str], units: dict[str, list[str]]) -> list[str]:
    """Write what is obsolete in a line for plates and one for units; empty where nothing is."""
    lines = []
    if plates:
        number = count_words(len(plates), "plate")
        lines.append(
            f"not in the layout any more, but still stored: {number} ({name_some(plates)})"
        )
    if units:
        counts = ", ".join(f"{stage} {len(keys)}" for stage, keys in units.items())
        lines.append(f"not in the layout or the pipeline of the last run any more: units {counts}")
    return lines
