"""CSV tables that list image files: read as text, columns found by their usual names."""

import io
import re
from collections.abc import Mapping

import pandas as pd

from i2r.errors import InputError
from i2r.readers import SHEETS
from i2r.store import files
from i2r.store.documents import read_bounded
from i2r.store.text import find_separator

# Names of the columns in lower case, without 'Metadata_'; the first that is there counts.
_COLUMNS = {
    "plate": ("plate", "platename", "plateid", "plate_barcode"),
    "well": ("well", "wellname", "wellid", "well_position"),
    "row": ("row", "wellrow"),
    "column": ("col", "column", "wellcolumn"),
    "field": ("site", "field", "fieldid", "fov", "position"),
    "z": ("z", "plane", "planeid", "zindex"),
}


def read_sheet(source: str) -> pd.DataFrame:
    """Read a table with everything as text: '01' stays '01'.

    Parameters
    ----------
    source
        Path or URL of a CSV table, also compressed with gzip; columns may be set apart by
        semicolons or tabs.

    Raises
    ------
    InputError
        If there is no such file, if it is not a CSV table, too large, or has no rows.
    """
    where = files.without_secrets(source)
    try:
        data = read_bounded(source, where=where)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"{where}: no such file. Give the path of a CSV table.") from error
    try:
        if b"\0" in data:
            raise ValueError("it holds a NUL character")  # which no path may
        text = data.decode("utf-8-sig")
        table = pd.read_csv(
            io.StringIO(text),
            sep=_find_separator(text),
            dtype=str,
            keep_default_na=False,
            skipinitialspace=True,
        )
    except (ValueError, OSError) as error:
        detail = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{where}: no CSV table in UTF-8 ({detail}). Export it again.") from error
    table.columns = pd.Index([str(name).strip() for name in table.columns])
    if table.empty:
        raise InputError(
            f"{where}: the table has no rows, expected one per field. Export it again."
        )
    return table


def is_sheet(source: str) -> bool:
    """Tell whether a source has the name of a CSV table."""
    return source.lower().endswith(SHEETS)


def _find_separator(text: str) -> str:
    """Find what is between columns: many a spreadsheet exports a CSV without any comma."""
    mark = find_separator(text.lstrip().partition("\n")[0])
    return "," if mark == " " else mark


def find_columns(table: pd.DataFrame, where: str) -> dict[str, str]:
    """Find the columns that name plate, well, row, column, field and z, by meaning.

    Raises
    ------
    InputError
        If nothing names the well.
    """
    known = {re.sub(r"^metadata_", "", str(name).lower()): str(name) for name in table.columns}
    columns = {
        meaning: known[names[0]]
        for meaning, aliases in _COLUMNS.items()
        if (names := [alias for alias in aliases if alias in known])
    }
    if "well" not in columns and not {"row", "column"} <= set(columns):
        raise InputError(
            f"{where}: found the columns {', '.join(map(str, table.columns[:8]))}, expected "
            "Metadata_Well, or Metadata_Row and Metadata_Col. Add one of them."
        )
    return columns


def name_well(values: Mapping[str, str]) -> str:
    """Name a row's well: by its well, or else by its row and column.

    ``3.0``, which spreadsheets make of a row's number, is ``3``.
    """
    row, column = (re.sub(r"\.0*$", "", values.get(name, "")) for name in ("row", "column"))
    return values.get("well") or join_well(row, column)


def join_well(row: str, column: str) -> str:
    """Name a well by its row, letters or a number, and its column."""
    return f"r{row}c{column}" if row.isdecimal() else f"{row}{column}"
