"""Tables of the user's that may be large, read with pandas: Parquet, text and workbooks."""

import csv
import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.errors import InputError
from i2r.store import files, tables, text

# How far a header that begins with a quote may go on in the next lines, in bytes.
_QUOTED = 2**16
# What pandas calls a first column without a name.
UNNAMED = "Unnamed: 0"


def read_frame(url: str) -> pd.DataFrame:
    """Read a table from Parquet, or from text with tabs, commas or spaces between columns.

    Row names as R writes them, without a name in the header, are a first column of their own.

    Raises
    ------
    InputError
        If there is no such file, or it is not a table.
    """
    if url.endswith(".parquet"):
        try:
            return tables.read_table(url)
        except InputError:
            raise
        except Exception as error:  # a damaged file may end anywhere in Arrow's reader
            detail = (str(error) or type(error).__name__).splitlines()[0][:120]
            raise InputError(f"{url}: no readable Parquet file ({detail}). Check it.") from error
    return read_columns(url)[1]


def read_columns(
    url: str, *, as_text: bool = False, keep_marks: bool = False
) -> tuple[list[str], pd.DataFrame]:
    """Read a table as `read_frame` does, and the names of its columns as they are in the file.

    The columns of the table itself are numbered where two have one name (``TP53``, ``TP53.1``),
    so that a second measurement of a gene would pass for another gene.

    Parameters
    ----------
    url
        The file.
    as_text
        Keep cells as they are written, for names: 007 stays 007. Missing ones are empty.
    keep_marks
        Keep `i2r.store.text.QUOTED` before words for 'missing' that were in quotes.
    """
    if url.endswith(".parquet"):
        table = read_frame(url)
        table = table.astype("string").fillna("").astype(object) if as_text else table
        return [str(name) for name in table.columns], table
    names, table = _parse_table(_read_bytes(url), url, as_text=as_text)
    if keep_marks:
        return names, table
    for column in table.select_dtypes(include=["object", "string"]).columns:
        marked = table[column].astype("string").str.startswith(text.QUOTED).fillna(False)
        if marked.any():
            table[column] = table[column].where(~marked, table[column].str[1:])
    return names, table


def _parse_table(data: bytes, url: str, *, as_text: bool) -> tuple[list[str], pd.DataFrame]:
    """Parse a table with one separator: tabs, semicolons, commas, or spaces, as in STRING's files.

    Bytes, not text: a stream of text takes four bytes per character, of files of a gigabyte.
    """
    data = _to_utf8(data, url)
    ends = [at for at in (data.find(b"\n"), data.find(b"\r")) if at >= 0]
    header = min(ends, default=len(data))
    try:
        first = data[:header].decode("utf-8-sig")
    except UnicodeDecodeError:
        data = text.decode_text(data, url)[0].encode()
        return _parse_table(data, url, as_text=as_text)
    separator = text.find_separator(first)
    data = text.mark_quoted_bytes(data, separator)
    options: dict[str, Any] = {"sep": separator, "encoding": "utf-8-sig"}
    if separator in (";", "\t"):
        sample = data[header : header + _QUOTED].decode("utf-8", "replace")
        cells = (cell for line in sample.splitlines()[1:-1] for cell in line.split(separator))
        if text.uses_decimal_comma(cells):
            options["decimal"] = ","
    try:
        # A name in quotes may hold a line break.
        names = pd.read_csv(
            io.BytesIO(data[: header + _QUOTED]), header=None, nrows=1, dtype=str,
            keep_default_na=False, encoding_errors="replace", **options,
        ).iloc[0].tolist()  # fmt: skip
        if as_text:
            options |= {"dtype": str, "keep_default_na": False}
        table = pd.read_csv(io.BytesIO(data), **options)
        if separator == "\t" and b'"' in data and len(table) < _count_lines(data) - 1:
            # Descriptions of proteins have quotes that are never closed: they swallow lines.
            table = pd.read_csv(io.BytesIO(data), quoting=csv.QUOTE_NONE, **options)
    except UnicodeDecodeError:
        data = text.decode_text(data, url)[0].encode()
        return _parse_table(data, url, as_text=as_text)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{url}: no table ({error}). Export it as CSV.") from error
    is_named = isinstance(table.index, pd.RangeIndex)
    # R writes row names without a name for their column; more than one such column it does not.
    if table.index.nlevels > 1 or (not is_named and UNNAMED in table):
        raise InputError(
            f"{url}: rows have more fields than the first line has names, expected as many. Name "
            "every column."
        )
    if not is_named:
        names, table = ["", *names], table.rename_axis(UNNAMED).reset_index()
    return names, table


def _count_lines(data: bytes) -> int:
    """Count lines that are not empty."""
    return sum(1 for line in io.BytesIO(data) if line.strip())


def _to_utf8(data: bytes, url: str) -> bytes:
    """Turn a workbook, or text in UTF-16 or UTF-32, into CSV in UTF-8; leave the rest."""
    if text.is_workbook(data):
        written = io.StringIO()
        writer = csv.writer(written, lineterminator="\n")
        _, rows = next(text.read_workbook(data, url), ("", []))
        writer.writerows(cells for _, cells in rows)
        return written.getvalue().encode()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or text.name_format(data):
        return text.decode_text(data, url)[0].encode()
    return data


def to_numbers(table: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Give the values of a table as float64; NaN for what is not a number."""
    try:
        return table.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    except OverflowError:  # a whole number of more than 300 digits
        return table.map(_to_number).to_numpy(dtype=np.float64)


def _to_number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return float("nan")


def read_text(url: str) -> str:
    """Read a text file, packed or not.

    Raises
    ------
    InputError
        If there is no such file, or it is not text.
    """
    return text.decode_text(_read_bytes(url), url)[0].removeprefix("\ufeff")


def _read_bytes(url: str) -> bytes:
    try:
        return files.unpack(files.read_bytes(url), url)
    except FileNotFoundError as error:
        raise InputError(f"{url}: no such file. Give the path of one.") from error
    except IsADirectoryError as error:
        raise InputError(
            f"{url}: a folder, expected a file. Give the path of one in it."
        ) from error
