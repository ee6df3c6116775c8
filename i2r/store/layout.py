"""The layout: which perturbation is in which well, read from the user's table and checked."""

import csv
import difflib
import io
import math
import re
from collections.abc import Iterable

import pandas as pd

from i2r.errors import InputError, join_problems
from i2r.store.documents import read_bounded
from i2r.types import ROLES, parse_well

REQUIRED = ("well", "perturbation")
# Columns in this order, then whatever else the user's table has.
COLUMNS = ("plate", "well", "perturbation", "gene", "dose", "replicate", "role")


def read_layout(url: str) -> pd.DataFrame:
    """Read and check a layout table (CSV or TSV).

    Parameters
    ----------
    url
        A table with the columns ``well`` and ``perturbation``, and optionally ``plate``,
        ``role`` (treated, negative_control, positive_control or empty; treated when empty),
        ``gene``, ``dose`` (a number), ``replicate`` and any others, which are kept as text.

    Returns
    -------
    DataFrame
        One row per well, wells as ``B03``, sorted by plate and well. ``plate`` is empty text
        where the table names none: it then stands for the only plate of the source.

    Raises
    ------
    InputError
        With the first five problems: missing columns, unknown roles, names that are no wells,
        wells listed twice, doses that are no numbers, no negative control.
    """
    return check_layout(read_table(url), url)


def read_table(url: str) -> pd.DataFrame:
    """Read a table as text, indexed by line; blank lines and columns without a name are dropped.

    Parameters
    ----------
    url
        CSV, or TSV by its name, in UTF-8; also compressed with gzip. A header with semicolons
        and no comma is one of a spreadsheet whose language writes 0,5 for a half.

    Raises
    ------
    InputError
        If there is no such file, or it is no such table.
    """
    try:
        data = read_bounded(url, where=f"layout {url}")
    except FileNotFoundError as error:
        raise InputError(f"layout {url}: no such file. Give the path of a CSV table.") from error
    separator = "\t" if url.removesuffix(".gz").endswith((".tsv", ".txt")) else ","
    try:
        text = data.decode("utf-8-sig")
        header = text.lstrip().partition("\n")[0]
        if separator == "," and ";" in header and "," not in header:
            separator = ";"
        table = _parse_table(text, separator)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"layout {url}: no CSV table in UTF-8 ({str(error).splitlines()[0]}). "
            "Save it as 'CSV UTF-8'."
        ) from error
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise InputError(f"layout {url}: the column {twice[0]!r} is there twice. Rename one.")
    return table


def check_layout(table: pd.DataFrame, url: str) -> pd.DataFrame:
    """Check a table of text and bring it into the layout's form: see `read_layout`."""
    missing = [name for name in REQUIRED if name not in table.columns]
    if missing:
        hints = [_suggest(name, table.columns) for name in missing]
        raise InputError(
            f"layout {url}: found the columns {', '.join(map(repr, table.columns))}, expected "
            f"{' and '.join(f'{m!r}{h}' for m, h in zip(missing, hints, strict=True))} too. "
            "Name them so, or set 'layout_names'."
        )
    if table.empty:
        raise InputError(f"layout {url}: the table has no rows. List one well per row.")
    return _check_rows(table, url)


def empty_layout() -> pd.DataFrame:
    """Make the layout of an experiment without images: no row, and all columns."""
    text = dict.fromkeys(["plate", "well", "perturbation", "gene"], "str")
    types = {**text, "dose": "float64", "replicate": "str", "role": "str", "fields": "object"}
    types |= {"n_fields": "int64", "height_px": "int64", "width_px": "int64", "dtype": "str"}
    types |= {"pixel_size_um": "float64", "channels": "object"}
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in types.items()})


def empty_sources() -> pd.DataFrame:
    """Make the table of image files of an experiment without images: no row, all columns."""
    text = dict.fromkeys(["plate", "well", "field", "channel", "url"], "str")
    numbers = dict.fromkeys(["z", "page", "size_bytes", "mtime_ns"], "int64")
    types = {**text, **numbers, "illumination": "str"}
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in types.items()})


def _parse_table(text: str, separator: str) -> pd.DataFrame:
    """Read a table by its lines.

    pandas would take the first column of rows that are too long for their index, rename columns
    that are there twice, and forget the lines.
    """
    # With strict, a quote that is never closed is an error and not the rest of the file.
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True
    )
    rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    rows = [(line, row) for line, row in rows if any(row)]
    if not rows:
        raise csv.Error("the file is empty")
    (_, header), *rows = rows
    for line, row in rows:
        if any(row[len(header) :]):
            raise csv.Error(f"line {line} has {len(row)} cells, the header {len(header)}")
    filled = [[*row, *[""] * len(header)][: len(header)] for _, row in rows]
    table = pd.DataFrame(filled, index=[line for line, _ in rows], columns=header, dtype=str)
    return table.loc[:, [bool(name) for name in header]]


def _check_rows(table: pd.DataFrame, url: str) -> pd.DataFrame:
    """Normalise wells, roles and doses; collect what is wrong with single rows."""
    problems: list[str] = []
    for name in COLUMNS:
        if name not in table.columns:
            table[name] = ""
    wells, roles, doses = [], [], []
    table["role"] = table["role"].replace("", "treated")
    for line, well, role, dose, perturbation in zip(
        table.index, table["well"], table["role"], table["dose"], table["perturbation"], strict=True
    ):
        where = f"layout {url} line {line}"
        try:
            wells.append(parse_well(well).name)
        except ValueError as error:
            wells.append(well)
            problems.append(f"{where}: {error}.")
        roles.append(role)
        if role not in ROLES:
            problems.append(
                f"{where}: role {role!r} is unknown{_suggest(role, ROLES)}; "
                f"expected one of {', '.join(ROLES)}."
            )
        if not perturbation and role != "empty":
            problems.append(f"{where}: well {well} has no perturbation. Name one, or role 'empty'.")
        try:
            doses.append(float(dose) if dose else float("nan"))
        except ValueError:
            doses.append(float("nan"))
        if dose and not math.isfinite(doses[-1]):
            advice = (
                "Write decimals with a point, and nothing between thousands"
                if re.fullmatch(r"[-+]?[\d.,' ]*,[\d.,' ]*", dose)
                else "Put units into the column name"
            )
            problems.append(f"{where}: dose {dose!r} is no number. {advice}.")
    table["well"], table["role"], table["dose"] = wells, roles, doses
    twice = table[table.duplicated(["plate", "well"], keep=False)]
    for (plate, well), group in twice.groupby(["plate", "well"], sort=False):
        lines = ", ".join(map(str, group.index))
        at = f"plate {plate!r} well" if plate else "well"
        problems.append(f"layout {url}: {at} {well!r} is on lines {lines}. Keep one row per well.")
    if not problems and "negative_control" not in roles:
        problems.append(
            f"layout {url}: no well has the role 'negative_control', found "
            f"{', '.join(sorted(set(roles)))}. Every comparison needs untreated wells: "
            "set the role of at least two."
        )
    if problems:
        raise InputError(join_problems(problems))
    others = [name for name in table.columns if name not in COLUMNS]
    return table[[*COLUMNS, *others]].sort_values(["plate", "well"], ignore_index=True)


def join_images(
    layout: pd.DataFrame, images: pd.DataFrame, *, url: str
) -> tuple[pd.DataFrame, list[str]]:
    """Bring the layout and the images that were found together.

    Parameters
    ----------
    layout
        From `read_layout`.
    images
        One row per image file, with ``plate``, ``well``, ``field`` and ``channel``.
    url
        The layout's place, for messages.

    Returns
    -------
    layout : DataFrame
        With the added columns ``fields`` (list of field names) and ``n_fields``. Wells of the
        role ``empty`` that have no images are left out.
    notes : list of str
        What was left out, one line each.

    Raises
    ------
    InputError
        If the layout lists a well or plate that has no images.
    """
    plates = sorted(images["plate"].unique())
    if (layout["plate"] == "").all():
        if len(plates) > 1:
            raise InputError(
                f"layout {url}: no column 'plate', but the images are of {len(plates)} plates "
                f"({', '.join(plates[:3])}, ...). Add the column."
            )
        layout = layout.assign(plate=plates[0])
    fields = images.groupby(["plate", "well"], sort=False)["field"].agg(
        lambda f: list(dict.fromkeys(f))
    )
    problems, keep = [], []
    for row in layout.itertuples():
        known = (row.plate, row.well) in fields.index
        keep.append(known)
        if known or row.role == "empty":
            continue
        if row.plate not in plates:
            found = f"the images are of {', '.join(map(repr, plates[:4]))}"
            problems.append(f"layout {url}: plate {row.plate!r} has no images; {found}.")
        else:
            problems.append(
                f"layout {url}: plate {row.plate!r} well {row.well!r} has no images. Correct the "
                "well, drop the row, or give it the role 'empty'."
            )
    if problems:
        raise InputError(join_problems(list(dict.fromkeys(problems))))
    listed = set(zip(layout["plate"], layout["well"], strict=True))
    extra = [place for place in fields.index if place not in listed]
    notes = []
    if extra:
        more = ["..."] if len(extra) > 3 else []
        shown = ", ".join([*("/".join(place) for place in extra[:3]), *more])
        notes.append(
            f"{len(extra)} wells with images are not in the layout and are left out ({shown})"
        )
    layout = layout[keep].reset_index(drop=True)
    layout["fields"] = [
        fields[place] for place in zip(layout["plate"], layout["well"], strict=True)
    ]
    layout["n_fields"] = layout["fields"].map(len)
    return layout, notes


def conditions(layout: pd.DataFrame) -> pd.Series:
    """Name each well's condition: the perturbation, with its dose where there are several.

    Returns
    -------
    Series
        ``wortmannin@9`` for a perturbation given in more than one dose, otherwise the
        perturbation's name; aligned with the layout.
    """
    doses = layout.groupby("perturbation")["dose"].transform("nunique")
    labelled = [
        f"{p}@{d:g}" if n > 1 and not math.isnan(d) else p
        for p, d, n in zip(layout["perturbation"], layout["dose"], doses, strict=True)
    ]
    return pd.Series(labelled, index=layout.index, name="condition")


def _suggest(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
