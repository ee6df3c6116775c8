"""Tables of text indexed by their lines: layouts and plate maps, which people write by hand."""

from collections.abc import Sequence

import pandas as pd

from i2r.errors import InputError
from i2r.store import text
from i2r.store.documents import read_bounded


def read_table(
    url: str, *, expected: Sequence[str] = (), notes: list[str] | None = None
) -> pd.DataFrame:
    """Read a table as text, indexed by line; blank lines and columns without a name are dropped.

    Parameters
    ----------
    url
        Text with commas, semicolons or tabs between columns, also compressed with gzip, or an
        Excel workbook, see `i2r.store.text`. Cells that say a word for 'missing' in quotes are
        marked.
    expected
        Names of columns that tell the header from a title above it.
    notes
        Takes what to tell the user of how the table was read.

    Raises
    ------
    InputError
        If there is no such file, or it is no such table.
    """
    where = f"layout {url}"
    try:
        data = read_bounded(url, where=where)
    except FileNotFoundError as error:
        raise InputError(f"{where}: no such file. Give the path of a CSV table.") from error
    except IsADirectoryError as error:
        raise InputError(f"{where}: a folder, expected a CSV table. Name the file.") from error
    wanted = {*map(fold_name, expected)}
    rows, separator, note = text.read_rows(
        data, where, is_header=lambda cells: wanted <= {*map(fold_name, cells)}
    )
    said = [note] if note else []
    header = _find_header(rows, expected)
    if header:
        said.append(
            f"{where}: {header} line(s) above the columns' names are passed over "
            f"({' '.join(rows[0][1]).strip()[:40]!r})"
        )
    table = _build_table(rows[header:], where)
    if separator in (";", "\t"):
        for name in table.columns[~table.columns.duplicated()]:
            column = table[name]
            if isinstance(column, pd.Series) and text.uses_decimal_comma(column):
                is_number = column.str.fullmatch(r"[-+]?[\d,]+(?:[eE][-+]?\d+)?")
                table[name] = column.where(~is_number, column.str.replace(",", "."))
    if notes is not None:
        notes += said
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise InputError(f"{where}: the column {twice[0]!r} is there twice. Rename one.")
    return table


def fold_name(name: str) -> str:
    """Fold the name of a column: case, and spaces for underscores, don't matter."""
    return "_".join(name.strip("\ufeff").lower().split())


def _find_header(rows: list[tuple[int, list[str]]], expected: Sequence[str]) -> int:
    """Find the row with the columns' names: the first that has the expected ones, else the top."""
    for number, (_, cells) in enumerate(rows[: text.MAX_TITLE_LINES + 1]):
        if expected and {*map(fold_name, expected)} <= {*map(fold_name, cells)}:
            return number
    return 0


def _build_table(rows: list[tuple[int, list[str]]], where: str) -> pd.DataFrame:
    """Make a table of its lines, the first of which names the columns.

    pandas would take the first column of rows that are too long for their index, rename columns
    that are there twice, and forget the lines.
    """
    if not rows:
        raise InputError(f"{where}: no CSV table (the file is empty). Save it again.")
    (_, header), *rows = rows
    for line, row in rows:
        if any(row[len(header) :]):
            raise InputError(
                f"{where} line {line}: {len(row)} cells, the header has {len(header)}. Put cells "
                "with the separator in them in quotes."
            )
    numbers = [name for name in header[1:] if name]
    if numbers == [str(n + 1) for n in range(len(numbers))] and len(numbers) > 1:
        raise InputError(
            f"{where}: the plate as a grid (columns 1 to {len(numbers)}), expected one row per "
            "well: plate, well, perturbation, role. Turn it into a list."
        )
    filled = [[*row, *[""] * len(header)][: len(header)] for _, row in rows]
    table = pd.DataFrame(filled, index=[line for line, _ in rows], columns=header, dtype=str)
    return table.loc[:, [bool(name) for name in header]]
