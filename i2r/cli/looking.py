"""Commands that look at an experiment: status, errors, validate, table."""

import math
import sys
from pathlib import Path

import rich_click as click
from rich.console import Console
from rich.table import Table

from i2r.errors import InputError


@click.command()
@click.argument("experiment")
def status(experiment: str) -> None:
    """Show for every stage of EXPERIMENT how many units are done, and what is left.

    'Out of date' units were done with other options or inputs than the last run's; 'interrupted'
    ones were running when a run was stopped. The next 'i2r run' does all of them.
    """
    from i2r.cli.running import last_pipeline
    from i2r.pipeline.units import count_states
    from i2r.store.experiment import open_experiment

    opened = open_experiment(experiment)
    table = Table(box=None, pad_edge=False)
    names = ("done", "out of date", "failed", "blocked", "interrupted", "to do")
    table.add_column("stage")
    for name in ("units", *names):
        table.add_column(name, justify="right")
    for title, counts in count_states(last_pipeline(experiment), opened).items():
        total = sum(counts.values())
        table.add_row(
            title, str(total), *(str(counts[name]) if counts[name] else "" for name in names)
        )
    Console().print(table)


@click.command()
@click.argument("experiment")
@click.option("--traceback", "show_traceback", is_flag=True, help="Show tracebacks of bugs too.")
def errors(experiment: str, show_traceback: bool) -> None:
    """Show the failed and blocked units of EXPERIMENT and why, then the excluded fields.

    Exits with 3 where there are any.
    """
    from i2r.store.experiment import open_experiment

    ledger = open_experiment(experiment).ledger
    found = 0
    for entry in sorted(ledger.entries(), key=lambda e: (e.stage, e.key)):
        if entry.event in ("failed", "blocked"):
            found += 1
            where = f" on {entry.worker}, attempt {entry.attempt}" if entry.worker else ""
            click.echo(f"{entry.stage} {entry.key}: {entry.event}{where}: {entry.error}")
            if show_traceback and entry.traceback:
                click.echo(entry.traceback)
        excluded = entry.result.get("excluded", {}) if entry.event == "done" else {}
        for field, reason in excluded.items():
            found += 1
            click.echo(f"{entry.stage} {entry.key} field {field}: excluded: {reason}")
    if not found:
        click.echo("no failed units, no excluded fields")
    sys.exit(3 if found else 0)


@click.command()
@click.argument("experiment")
def validate(experiment: str) -> None:
    """Check that every well and field of EXPERIMENT is there and well-formed.

    Looks at OME-Zarr metadata, shapes, types, shards, labels, crops and tables of everything
    that the ledger calls done. Exits with 2 and the list of what is wrong.
    """
    from i2r.store.experiment import open_experiment
    from i2r.store.validate import find_problems

    opened = open_experiment(experiment)
    problems = find_problems(opened)
    for line in problems:
        click.echo(line)
    wells, fields = len(opened.layout), int(opened.layout["n_fields"].sum())
    click.echo(
        f"{len(opened.plates)} plates, {wells} wells, {fields} fields: "
        f"{len(problems) or 'no'} problems"
    )
    sys.exit(2 if problems else 0)


@click.command()
@click.argument("experiment")
@click.argument("name", required=False)
@click.option("--csv", "csv", metavar="FILE", help="Write the whole table to this CSV file.")
@click.option("--rows", default=40, show_default=True, help="Rows to print; 0 for all.")
def table(experiment: str, name: str | None, csv: str | None, rows: int) -> None:
    """Print the result table NAME of EXPERIMENT; without NAME, list the tables.

    The tables of stages have the stages' names: convert, quality, segment, crop, screen, ...;
    'layout' and 'sources' are what the experiment was made from.
    """
    from i2r.store.experiment import open_experiment

    opened = open_experiment(experiment)
    if name is None:
        for known in [*opened.tables(), "layout", "sources"]:
            click.echo(known)
        return
    described = {"layout": lambda: opened.layout, "sources": lambda: opened.sources}
    frame = described.get(name, lambda: opened.table(name))()
    if csv is not None:
        target = Path(csv)
        if not target.parent.is_dir():
            raise InputError(f"{csv}: no folder {target.parent}. Make it first.")
        frame.to_csv(target, index=False)
        click.echo(f"{len(frame)} rows -> {target}")
        return
    shown = frame if not rows else frame.head(rows)
    console = Console(width=None if sys.stdout.isatty() else 200)
    printed = Table(box=None, pad_edge=False)
    for column in shown.columns:
        numeric = shown[column].dtype.kind in "iuf"
        printed.add_column(str(column), justify="right" if numeric else "left", overflow="fold")
    for row in shown.itertuples(index=False):
        printed.add_row(*(format_value(value) for value in row))
    console.print(printed)
    if len(shown) < len(frame):
        click.echo(
            f"... {len(frame) - len(shown)} more rows; --rows 0 prints all, --csv FILE writes them"
        )


def format_value(value: object) -> str:
    """Print a value briefly: four digits of a number, nothing for a missing one."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    return "" if value is None else str(value)
