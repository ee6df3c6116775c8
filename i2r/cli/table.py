"""The command table: rows and columns of a result, for a terminal, a pipe, or a file."""

import json
import math
import operator
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import rich_click as click

from i2r.cli.options import confirm_overwriting, json_option, yes_option
from i2r.errors import InputError, find_meant

# A column narrower than this shows nothing of a long text.
NARROWEST, WIDEST = 4, 40
GAP = 2
# Of a pipe, which has no width.
PIPE_WIDTH = 200

_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "=": operator.eq, "!=": operator.ne,
    "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
_CONDITION = re.compile(r"\s*(.+?)\s*(==|!=|<=|>=|=|<|>)\s*(.*?)\s*")


def complete_table(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """Complete the name of a table of the experiment that was given."""
    from i2r.errors import I2RError
    from i2r.store.experiment import open_experiment

    try:
        names = [*open_experiment(context.params["experiment"]).tables(), "layout", "sources"]
    except (I2RError, KeyError, OSError):
        return []
    return [name for name in names if name.startswith(begun)]


@click.command()
@click.argument("experiment", type=click.Path())
@click.argument("name", required=False, shell_complete=complete_table)
@click.option(
    "--columns",
    metavar="A,B,...",
    default=None,
    help="Only these columns, in this order; names are separated by commas.",
)
@click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="Only rows for which this holds: COLUMN=VALUE, or with !=, <, <=, >, >=. Several hold "
    "together. An empty VALUE stands for missing.",
)
@click.option(
    "--sort", metavar="COLUMN", default=None, help="Sort by this column; -COLUMN: largest first."
)
@click.option(
    "--csv",
    "csv",
    metavar="FILE",
    help="Write all rows to this CSV file; '-' for standard output.",
)
@json_option
@click.option(
    "--rows",
    type=click.IntRange(min=0),
    metavar="N",
    default=40,
    show_default=True,
    help="Rows to print; 0 for all.",
)
@click.option("--explain", is_flag=True, help="Say what the table's rows and columns are.")
@yes_option("Replace FILE without asking.")
def table(
    experiment: str,
    name: str | None,
    columns: str | None,
    where: tuple[str, ...],
    sort: str | None,
    csv: str | None,
    as_json: bool,
    rows: int,
    explain: bool,
    yes: bool,
) -> None:
    """Print the result table NAME of EXPERIMENT; without NAME, list the tables.

    The tables of stages have the stages' names: convert, quality, segment, crop, screen, ...;
    'layout' and 'sources' are what the experiment was made from. Columns that don't fit are
    named below the table; --columns chooses. For example:

        i2r table EXPERIMENT screen --where 'fdr<0.05' --sort -score --columns condition,score,fdr
    """
    from i2r.store.experiment import open_experiment
    from i2r.store.results import find_table, iterate_result
    from i2r.store.tables import count_rows

    opened = open_experiment(experiment)
    if name is None:
        known = [*opened.tables(), "layout", "sources"]
        click.echo(json.dumps(known) if as_json else "\n".join(known))
        return
    if explain:
        from i2r.cli.dictionary import explain_table

        click.echo("\n".join(explain_table(opened, name)))
        return
    described = {"layout": lambda: opened.layout, "sources": lambda: opened.sources}
    frames = iter([described[name]()]) if name in described else iterate_result(opened, name)
    chosen = [each.strip() for each in columns.split(",")] if columns is not None else None
    if csv is not None:
        if sort is not None:  # the last row may be the first: all of them are held
            frames = iter([gather_rows(frames, where, sort, name, rows=0)[0]])
        found = (select_rows(frame, where, None, name) for frame in frames)
        write_csv((choose_columns(frame, chosen, name) for frame in found), csv, yes=yes)
        return
    frame, n_rows = gather_rows(frames, where, sort, name, rows=rows)
    if n_rows is None:
        n_rows = sum(map(count_rows, find_table(opened, name)))
    shown = choose_columns(frame, chosen, name)
    if as_json:
        click.echo(shown.to_json(orient="records", date_format="iso"))
        return
    width = shutil.get_terminal_size((PIPE_WIDTH, 40)).columns if sys.stdout.isatty() else None
    lines, left_out = lay_out(shown, width or PIPE_WIDTH)
    for line in lines:
        click.echo(line)
    if len(shown) < n_rows:
        click.echo(
            f"... {n_rows - len(shown)} more rows; --rows 0 prints all, --csv FILE writes them"
        )
    if left_out:
        click.echo(
            f"... {len(left_out)} more columns: {', '.join(left_out)}; --columns A,B chooses"
        )


def write_csv(frames: Iterable[pd.DataFrame], target: str, *, yes: bool) -> None:
    """Write a table to a file, or to standard output for ``-``, as it comes."""
    if target == "-":
        for number, frame in enumerate(frames):
            click.echo(frame.to_csv(index=False, header=not number), nl=False)
        return
    path = Path(target)
    if not path.parent.is_dir():
        raise InputError(f"{target}: no folder {path.parent}. Make it first.")
    first = next(iter(frames := iter(frames)))  # a wrong name is no reason to ask anything
    confirm_overwriting(path, yes=yes)
    click.echo(f"{write_rows(chain([first], frames), path)} rows -> {path}")


def write_rows(frames: Iterable[pd.DataFrame], path: Path) -> int:
    """Write the parts of a table as one CSV file, in one step at the end; give its rows."""
    from i2r.store.growing import GrowingFile

    n_rows = 0
    is_stream = path.exists() and not path.is_file()  # a pipe or terminal can't be replaced
    with path.open("wb") if is_stream else GrowingFile(str(path.resolve())) as file:
        for number, frame in enumerate(frames):
            file.write(frame.to_csv(index=False, header=not number).encode())
            n_rows += len(frame)
    return n_rows


def gather_rows(
    frames: Iterable[pd.DataFrame],
    where: tuple[str, ...],
    sort: str | None,
    name: str,
    *,
    rows: int,
) -> tuple[pd.DataFrame, int | None]:
    """Select rows of a table that comes in parts, and hold no more than are asked for.

    Returns
    -------
    DataFrame
        The first `rows` rows, all for 0.
    int
        How many there are; None where the rest was not looked at.
    """
    from i2r.store.tables import concatenate

    kept: list[pd.DataFrame] = []
    n_rows = n_kept = 0
    for frame in frames:
        found = select_rows(frame, where, None, name)
        n_rows += len(found)
        if sort is not None and rows:
            kept = [select_rows(concatenate([*kept, found]), (), sort, name).head(rows)]
        elif not rows or n_kept < rows or not kept:
            kept.append(found.head(rows - n_kept) if rows else found)
            n_kept += len(kept[-1])
        elif not where:
            return concatenate(kept), None
    whole = concatenate(kept)
    return (whole if rows else select_rows(whole, (), sort, name)), n_rows


def choose_columns(frame: pd.DataFrame, chosen: Sequence[str] | None, name: str) -> pd.DataFrame:
    """Take these columns, in this order; all for None."""
    return frame if chosen is None else frame[[find_column(frame, c, name) for c in chosen]]


def find_column(columns: Iterable[object], name: str, table_name: str) -> str:
    """Find a column of a table by its name.

    Raises
    ------
    InputError
        If there is none; the nearest name is suggested.
    """
    names = [str(column) for column in columns]
    if name in names:
        return name
    near = find_meant(name, names, cutoff=0.5)
    meant = f"Did you mean {near!r}? " if near else ""
    raise InputError(
        f"table {table_name!r}: no column {name!r}. {meant}Columns are {', '.join(names)}."
    )


def select_rows(
    frame: pd.DataFrame, where: tuple[str, ...], sort: str | None, name: str
) -> pd.DataFrame:
    """Keep the rows for which all conditions hold, in the order of a column.

    Conditions are compared, never evaluated: numbers with numbers, and text with text.

    Raises
    ------
    InputError
        If a condition can't be read, or names no column.
    """
    for condition in where:
        found = _CONDITION.fullmatch(condition)
        if found is None:
            raise InputError(
                f"--where {condition!r}: expected COLUMN=VALUE, or with !=, <, <=, >, >=. For "
                "example --where 'fdr<0.05'."
            )
        column, sign, value = found.groups()
        values = frame[find_column(frame, column, name)]
        frame = frame[_compare(values, sign, value, condition)]
    if sort is not None:
        descending = sort.startswith("-") and sort not in frame.columns
        column = find_column(frame, sort.removeprefix("-") if descending else sort, name)
        frame = frame.sort_values(column, ascending=not descending, kind="stable")
    return frame


def _compare(values: pd.Series, sign: str, text: str, condition: str) -> pd.Series:
    """Compare a column with a value as it is written."""
    text = text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
    missing = values.isna() | (values.astype(str) == "")
    if not text:
        if sign not in ("==", "=", "!="):
            raise InputError(f"--where {condition!r}: no value, expected a number behind {sign}.")
        return ~missing if sign == "!=" else missing
    compare = _COMPARISONS[sign]
    if pd.api.types.is_bool_dtype(values):
        truth = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in truth:
            raise InputError(f"--where {condition!r}: found {text!r}, expected true or false.")
        return compare(values, truth[text.lower()])
    if pd.api.types.is_numeric_dtype(values):
        try:
            number = float(text)
        except ValueError as error:
            raise InputError(
                f"--where {condition!r}: found {text!r}, expected a number: the column has numbers."
            ) from error
        return compare(values, number).fillna(False) & ~missing
    return compare(values.astype(str), text) & (~missing if sign != "!=" else True)


def lay_out(frame: pd.DataFrame, width: int) -> tuple[list[str], list[str]]:
    """Write a table in lines of at most so many characters.

    Parameters
    ----------
    frame
        What to show.
    width
        Characters of a line.

    Returns
    -------
    lines : list of str
        The head, and a line per row; long texts are cut with an ellipsis.
    left_out : list of str
        The columns that had no room.
    """
    cells = {
        str(column): [str(column), *(format_value(v) for v in frame[column])]
        for column in frame.columns
    }
    widths, used = dict[str, int](), 0
    for name, texts in cells.items():
        needed = min(max(map(len, texts)), WIDEST)
        room = width - used - (GAP if widths else 0)
        if needed > room and widths:
            break
        widths[name] = max(min(needed, room), NARROWEST)
        used += widths[name] + (GAP if len(widths) > 1 else 0)
    lines = []
    numeric = {str(c): frame[c].dtype.kind in "iuf" for c in frame.columns}
    for index in range(len(frame) + 1):
        parts = []
        for name, size in widths.items():
            text = cells[name][index]
            text = text if len(text) <= size else text[: size - 1] + "…"
            parts.append(text.rjust(size) if numeric[name] else text.ljust(size))
        lines.append((" " * GAP).join(parts).rstrip())
    return lines, [name for name in cells if name not in widths]


def format_value(value: object) -> str:
    """Print a value briefly: four digits of a number, nothing for a missing one, no line breaks."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    return "" if value is None or value is pd.NA else " ".join(str(value).split())
