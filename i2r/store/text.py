"""Text of tables as people have it: encodings, separators, decimal commas, words for 'missing'."""

import codecs
import csv
import io
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from i2r.errors import InputError
from i2r.store.packed import MAX_BYTES

# What R, pandas, Excel and SQL write where a value is missing, in lower case.
MISSING = frozenset(
    {"na", "n/a", "#n/a", "#na", "nan", "-nan", "none", "null", "<na>", "#value!", "#ref!",
     "#name?", "#null!", "#div/0!", "#num!"}
)  # fmt: skip
# Stands before a cell that says such a word in quotes: there it is a name. A character that
# Unicode leaves to programs, and that no table has.
QUOTED = "\ue000"
_WORDS = "|".join(sorted(map(re.escape, MISSING)))
_MARKS = ("\t", ";", ",")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Beginnings of files that are not text, and what to say of them.
_OTHER_FORMATS = (
    (b"PK\x03\x04", "a packed file (zip)"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file (.xls)"),
    (b"\x89HDF", "an HDF5 file"),
    (b"PAR1", "a Parquet file"),
    (b"%PDF", "a PDF"),
    (b"BZh", "a file packed with bzip2"),
    (b"\xfd7zXZ", "a file packed with xz"),
    (b"(\xb5/\xfd", "a file packed with zstd"),
)
_DECIMAL = re.compile(r"[-+]?(?:\d+,\d*|,\d+)(?:[eE][-+]?\d+)?")
_POINT = re.compile(r"[-+]?(?:\d*\.\d+|\d{1,3}(?:,\d{3})+\.\d*)(?:[eE][-+]?\d+)?")
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(?:,\d{3})+")
# A table has this many lines above its header at most: a title, a date, an empty line.
MAX_TITLE_LINES = 20


def decode_text(data: bytes, where: str) -> tuple[str, str]:
    """Turn the bytes of a table into text.

    Parameters
    ----------
    data
        UTF-8, with or without a mark at its beginning, or UTF-16 or UTF-32 with one. What is none
        of these is read as Windows-1252, which Excel writes as 'CSV' in western languages.
    where
        What to call the file in messages.

    Returns
    -------
    text, note
        The text, and what to tell the user of how it was read; empty where nothing.

    Raises
    ------
    InputError
        If it is not text.
    """
    if kind := name_format(data):
        raise InputError(f"{where}: {kind}, expected a table as text. Save it as 'CSV UTF-8'.")
    encoding = next((name for mark, name in _BOMS if data.startswith(mark)), "utf-8")
    note = ""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8" or b"\0" in data:
            raise InputError(
                f"{where}: no table as text in UTF-8 ({error.reason}). Save it as 'CSV UTF-8'."
            ) from error
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError:
            raise InputError(
                f"{where}: no table as text in UTF-8 ({error.reason}). Save it as 'CSV UTF-8'."
            ) from error
        strange = next((w for w in re.split(r"[\t\r\n,;]", text) if not w.isascii()), "").strip()
        note = (
            f"{where}: not in UTF-8, read as Windows-1252, for example {strange[:40]!r}. If that "
            "is wrong, save it as 'CSV UTF-8'"
        )
    if "\0" in text:
        raise InputError(
            f"{where}: no table as text in UTF-8 (it holds a NUL character). Save it as "
            "'CSV UTF-8'."
        )
    return text, note


def name_format(data: bytes) -> str:
    """Name the format of a file that is not text by how it begins; empty where none is known."""
    return next((kind for head, kind in _OTHER_FORMATS if data.startswith(head)), "")


def find_separator(header: str) -> str:
    """Find what stands between the columns of a header: tabs, semicolons, commas, or spaces.

    Tabs where there are any: no name has one, while a cell may list names with commas. Of the
    others the one that is there most often outside of quotes; spaces, as in STRING's files, where
    there is none.
    """
    outside = re.sub(r'"[^"]*"?', "", header)
    mark = "\t" if "\t" in outside else max(_MARKS, key=outside.count)
    if mark in outside:
        return mark
    return " " if " " in outside.strip() else ","


def mark_quoted(text: str, separator: str) -> str:
    """Mark cells that say a word for 'missing' in quotes: they are names (see `QUOTED`)."""
    mark = re.escape(separator)
    pattern = rf'(?i)(^|[{mark}\r\n])([ ]*)"({_WORDS})"(?=[ ]*(?:[{mark}\r\n]|$))'
    return re.sub(pattern, rf'\1\2"{QUOTED}\3"', text) if '"' in text else text


def mark_quoted_bytes(data: bytes, separator: str) -> bytes:
    """Mark as `mark_quoted` does, in text in UTF-8 that is too large to decode at once."""
    mark = re.escape(separator.encode())
    pattern = rb'(?i)(^|[%b\r\n])([ ]*)"(%b)"(?=[ ]*(?:[%b\r\n]|$))' % (mark, _WORDS.encode(), mark)
    return re.sub(pattern, rb'\1\2"%b\3"' % QUOTED.encode(), data) if b'"' in data else data


def is_missing(cell: str) -> bool:
    """Tell whether a cell is empty or says 'missing' without quotes."""
    return not cell or cell.lower() in MISSING


def unquote(cell: str) -> str:
    """Take the mark of `mark_quoted` off."""
    return cell.removeprefix(QUOTED)


def uses_decimal_comma(cells: Iterable[str]) -> bool:
    """Tell whether numbers of a column are written as 0,5.

    Only where it can't be otherwise: some number has a comma that stands between no thousands, and
    none has a point.
    """
    found = False
    for cell in cells:
        if _POINT.fullmatch(cell):
            return False
        if _DECIMAL.fullmatch(cell) and not _THOUSANDS.fullmatch(cell):
            found = True
    return found


def split_rows(text: str, separator: str, where: str) -> list[tuple[int, list[str]]]:
    """Split a table into rows of cells, with the lines they end on; empty rows are left out.

    Cells that say a word for 'missing' in quotes are marked, see `mark_quoted`.

    Raises
    ------
    InputError
        If a quote is never closed, or a cell is longer than Python's reader takes.
    """
    reader = csv.reader(
        io.StringIO(mark_quoted(text, separator), newline=""), delimiter=separator,
        skipinitialspace=True, strict=True,
    )  # fmt: skip
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        # With strict, a quote that is never closed is an error and not the rest of the file.
        raise InputError(
            f"{where}: no CSV table (line {reader.line_num}: {error}). Look at the quotes there."
        ) from error
    return [(line, row) for line, row in rows if any(row)]


def read_rows(
    data: bytes, where: str, *, is_header: Callable[[list[str]], bool] | None = None
) -> tuple[list[tuple[int, list[str]]], str, str]:
    """Read the rows of a table of any kind: text, or a sheet of an .xlsx.

    Parameters
    ----------
    data
        The file.
    where
        What to call it in messages.
    is_header
        Tells the row with the columns' names: of several sheets the first that has it is read.

    Returns
    -------
    rows
        The line (or the row of the sheet) and the cells, from `split_rows`.
    separator, note
        What stands between cells (empty for a sheet), and what to tell the user.

    Raises
    ------
    InputError
        If it is not a table.
    """
    if is_workbook(data):
        name, rows = "", list[tuple[int, list[str]]]()
        for at, (sheet, own) in enumerate(read_workbook(data, where)):
            found = (
                any(map(is_header, (cells for _, cells in own[: MAX_TITLE_LINES + 1])))
                if is_header
                else bool(own)
            )
            if found:
                return own, "", f"{where}: read from the sheet {sheet!r}" if at else ""
            name, rows = (sheet, own) if not rows else (name, rows)
        return rows, "", ""
    text, note = decode_text(data, where)
    text = text.lstrip("\ufeff")
    separator = _find_common_separator(text[: 2**16])
    return split_rows(text, separator, where), separator, note


def _find_common_separator(text: str) -> str:
    """Find the mark that is there equally often on most lines.

    A title may have commas, and a cell may list genes with commas or semicolons.
    """
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()][: MAX_TITLE_LINES + 1]
    lines = [re.sub(r'"[^"]*"?', "", line) for line in lines]

    def count_alike(mark: str) -> tuple[int, int]:
        counts = Counter(n for line in lines if (n := line.count(mark)))
        often, n = max(((m, n) for n, m in counts.items()), default=(0, 0))
        return often, n

    # Of marks that are there alike the first: tabs, which no name has.
    best = max(_MARKS, key=lambda mark: count_alike(mark)[0])
    return best if count_alike(best)[0] else ","


def is_workbook(data: bytes) -> bool:
    """Tell whether a file is an Excel workbook (.xlsx)."""
    return data.startswith(b"PK\x03\x04") and b"xl/" in data


def read_workbook(data: bytes, where: str) -> Iterator[tuple[str, list[tuple[int, list[str]]]]]:
    """Read the sheets of an Excel workbook: numbers and dates as text, formulas as values.

    Yields
    ------
    sheet, rows
        The name of a sheet that has rows, and the number and cells of each that is not empty.

    Raises
    ------
    InputError
        If openpyxl is not installed, or it is not a workbook, too large, or declares entities.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise InputError(
            f"{where}: reading .xlsx needs openpyxl. Install i2r with the extra 'excel', or save "
            "the sheet as 'CSV UTF-8'."
        ) from error
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            members = packed.infolist()
            if sum(member.file_size for member in members) > MAX_BYTES:
                raise InputError(f"{where}: over {MAX_BYTES} bytes when unpacked. Cut it.")
            for member in members:
                if member.filename.endswith((".xml", ".rels")):
                    with packed.open(member) as part:
                        if b"<!DOCTYPE" in part.read(2**12):
                            raise InputError(
                                f"{where}: {member.filename} declares a document type, which no "
                                "spreadsheet writes. Save the sheet as 'CSV UTF-8'."
                            )
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        for sheet in book.worksheets:
            sheet.reset_dimensions()
            rows = enumerate(sheet.iter_rows(values_only=True), start=1)
            written = [(number, [_write_cell(value) for value in row]) for number, row in rows]
            if filled := [(number, cells) for number, cells in written if any(cells)]:
                yield str(sheet.title), filled
    except InputError:
        raise
    except Exception as error:  # a damaged workbook may end anywhere in its reader
        detail = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise InputError(
            f"{where}: no readable Excel file ({detail}). Save the sheet as 'CSV UTF-8'."
        ) from error


def _write_cell(value: object) -> str:
    """Write a cell of a sheet as its CSV would have it."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    text = str(value).strip()
    if text.startswith('"') and text.endswith('"') and text[1:-1].lower() in MISSING:
        return QUOTED + text[1:-1]
    return text
