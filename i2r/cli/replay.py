"""The command for one number from the raw files again: replay."""

import math
import sys
from typing import TYPE_CHECKING, Any

import rich_click as click

from i2r.cli.options import json_option, print_json
from i2r.errors import InputError, count_words

if TYPE_CHECKING:
    from i2r.store.experiment import Experiment


@click.command()
@click.argument("experiment", type=click.Path())
@click.argument("table")
@click.argument("row")
@click.option("--column", help="Compare this column only. Default: all of the row.")
@json_option
def replay(experiment: str, table: str, row: str, column: str | None, as_json: bool) -> None:
    r"""Compute ROW of TABLE again from the raw files, and compare it bit by bit with EXPERIMENT's.

    ROW is its number from 0 in 'i2r table EXPERIMENT TABLE --rows 0', or conditions that hold for
    one row alone, separated by commas: well=B03,field=1,label=12.

    Only what the row depends on is read and computed, in a temporary folder: for a nucleus the
    files of its well; for a condition's p-value all wells that its test compares. Source files are
    compared by SHA-256 with those that were converted. EXPERIMENT is not changed. Ends with 3 if a
    value differs.

    \b
    i2r replay EXPERIMENT features 1234 --column area_um2
    i2r replay EXPERIMENT screen condition=taxol@9 --column p_value
    """
    from i2r.cli.table import find_column
    from i2r.pipeline.replay import replay_row
    from i2r.store.experiment import open_experiment
    from i2r.store.results import find_table
    from i2r.store.tables import read_columns

    opened = open_experiment(experiment)
    number = int(row) if row.isdecimal() else find_number(opened, table, row)
    columns = read_columns(find_table(opened, table)[0])
    name = None if column is None else find_column(columns, column, table)
    result = replay_row(opened, table, number)
    values = [value for value in result.values if name is None or value.column == name]
    different = [value for value in values if not value.equal]
    if as_json:
        print_json(
            {
                "table": table,
                "row": number,
                "unit": list(result.unit),
                "units": dict(result.units),
                "files": result.n_files,
                "bytes": result.n_bytes,
                "share": result.share,
                "equal": not different,
                "values": {v.column: [_plain(v.stored), _plain(v.replayed)] for v in values},
            }
        )
    else:
        counts = ", ".join(f"{stage} {number}" for stage, number in result.units.items())
        click.echo(
            f"read {count_words(result.n_files, 'source file')} ({100 * result.share:.2f} % of all "
            f"bytes), computed {counts}"
        )
        for value in different or (values if len(values) == 1 else []):
            sign = "=" if value.equal else "!="
            click.echo(f"{value.column}: {value.stored!r} {sign} {value.replayed!r}")
        if different:
            click.echo(f"{len(different)} of {count_words(len(values), 'value')} differ")
        else:
            click.echo(f"{count_words(len(values), 'value')} equal, bit by bit")
    sys.exit(3 if different else 0)


def find_number(experiment: "Experiment", table: str, conditions: str) -> int:
    """Find the number of the one row for which conditions hold, separated by commas."""
    from i2r.cli.table import select_rows
    from i2r.store.results import iterate_result

    found: list[int] = []
    n_rows = 0
    for part in iterate_result(experiment, table):
        numbered = part.reset_index(drop=True)
        chosen = select_rows(numbered, tuple(conditions.split(",")), None, table)
        found += (chosen.index + n_rows).tolist()
        n_rows += len(part)
    if len(found) != 1:
        raise InputError(
            f"{table} {conditions!r}: found {count_words(len(found), 'row')}, expected one. Give "
            "more conditions, or the row's number."
        )
    return found[0]


def _plain(value: Any) -> Any:
    """Give a value as JSON has it; what is missing is null."""
    value = value.tolist() if hasattr(value, "tolist") else value
    is_missing = type(value) is object or (isinstance(value, float) and math.isnan(value))
    return None if is_missing else value
