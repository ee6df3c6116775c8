"""Wells added to a layout that somebody fills in: rows at its end, nothing else is touched."""

import csv
import io

import pandas as pd

from i2r.errors import InputError
from i2r.store import files
from i2r.store.documents import read_bounded
from i2r.store.sheets import fold_name
from i2r.store.text import is_workbook, read_rows
from i2r.types import parse_well


def add_wells(url: str, wells: pd.DataFrame) -> tuple[int, list[str]]:
    """Add rows for wells that a layout does not have yet.

    Parameters
    ----------
    url
        A CSV table with the columns plate and well, in any order, among others.
    wells
        Columns plate and well.

    Returns
    -------
    added : int
        Rows added: plate and well filled in, all other cells empty.
    absent : list of str
        Wells of the layout that ``wells`` does not have, ``PLATE/B03``; their rows stay.

    Raises
    ------
    InputError
        If it is no such table, or not UTF-8; nothing is written then.
    """
    where = f"layout {url}"
    data = read_bounded(url, where=where)
    if is_workbook(data):
        raise InputError(
            f"{where}: an Excel workbook, expected a CSV table. Add the rows there, or save it as "
            "CSV."
        )
    rows, separator, _ = read_rows(data, where)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not in UTF-8. Save it as CSV in UTF-8.") from error
    header = next(
        (n for n, (_, cells) in enumerate(rows) if {"plate", "well"} <= set(map(fold_name, cells))),
        None,
    )
    if header is None:
        raise InputError(f"{where}: no columns 'plate' and 'well'. Name them so.")
    columns = [fold_name(cell) for cell in rows[header][1]]
    plate, well = columns.index("plate"), columns.index("well")
    known = set[tuple[str, str]]()
    for line, cells in rows[header + 1 :]:
        if len(cells) > max(plate, well) and (cells[plate] or cells[well]):
            try:
                known.add((cells[plate], parse_well(cells[well]).name))
            except ValueError as error:
                raise InputError(f"{where} line {line}: {error}. Correct it.") from error
    found = [
        (str(p), parse_well(str(w)).name)
        for p, w in zip(wells["plate"], wells["well"], strict=True)
    ]
    missing = [place for place in dict.fromkeys(found) if place not in known]
    if missing:
        buffer = io.StringIO(newline="")
        ending = "\r\n" if "\r\n" in text else "\n"
        writer = csv.writer(buffer, delimiter=separator or ",", lineterminator=ending)
        for place in missing:
            cells = [""] * len(columns)
            cells[plate], cells[well] = place
            writer.writerow(cells)
        between = b"" if text.endswith(("\n", "\r")) else ending.encode()
        files.write_bytes(url, data, between, buffer.getvalue().encode())
    return len(missing), [f"{p}/{w}" for p, w in sorted(known - set(found))]
