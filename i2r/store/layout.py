"""The layout: which perturbation is in which well, read from the user's table and checked."""

import math
import re
from collections.abc import Iterable
from unicodedata import normalize

import numpy as np
import pandas as pd

from i2r.errors import InputError, count_words, find_meant, join_problems, name_some
from i2r.store import text
from i2r.store.contradictions import (
    find_contradictions,
    find_oddities,
    list_lines,
    split_genes,
)
from i2r.store.given_names import is_mangled, names_nothing
from i2r.store.sheets import fold_name, read_table
from i2r.types import ROLES, parse_well

REQUIRED = ("well", "perturbation")
# Columns in this order, then whatever else the user's table has.
COLUMNS = ("plate", "well", "perturbation", "gene", "dose", "replicate", "role")
# What doses are called elsewhere; to be told of, not to be guessed.
_DOSES = re.compile(r"conc(entration)?s?(_.*)?|.*_(conc|concentration)|dosage|.*_per_liter")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Columns that i2r adds itself.
_OWN = ("fields", "n_fields", "height_px", "width_px", "dtype", "pixel_size_um", "channels")


def read_layout(url: str) -> pd.DataFrame:
    """Read and check a layout table: CSV, TSV, or the first sheet of an Excel workbook.

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
        With the first five problems: missing columns, unknown roles, names that are not wells,
        wells listed twice, doses that are not numbers, no negative control; and for what the table
        says against itself, see `i2r.store.contradictions`.
    """
    return check_layout(read_table(url, expected=REQUIRED), url)


def check_layout(
    table: pd.DataFrame, url: str, *, notes: list[str] | None = None, control_name: str = ""
) -> pd.DataFrame:
    """Check a table of text and bring it into the layout's form: see `read_layout`.

    Parameters
    ----------
    table
        From `read_table`.
    url
        Its place, for messages.
    notes
        Takes what to tell the user of suspicious rows.
    control_name
        The perturbation of negative controls that have none.
    """
    said: list[str] = [] if notes is None else notes
    table = _name_columns(table, f"layout {url}", said)
    missing = [name for name in REQUIRED if name not in table.columns]
    if missing == ["perturbation"] and control_name and "role" in table:
        missing, table = [], table.assign(perturbation="")
    if missing:
        hints = [_suggest(name, table.columns) for name in missing]
        raise InputError(
            f"layout {url}: found the columns {', '.join(map(repr, table.columns))}, expected "
            f"{' and '.join(f'{m!r}{h}' for m, h in zip(missing, hints, strict=True))} too. "
            "Name them so, or set 'layout_names'."
        )
    if table.empty:
        raise InputError(f"layout {url}: the table has no rows. List one well per row.")
    table = _clear_missing(table, f"layout {url}", said)
    if control_name:
        unnamed = (table["perturbation"] == "") & (table.get("role", "") == "negative_control")
        table["perturbation"] = table["perturbation"].where(~unnamed, control_name)
    return _check_rows(table, url, said)


def empty_layout() -> pd.DataFrame:
    """Make the layout of an experiment without images: no row, and all columns."""
    words = dict.fromkeys(["plate", "well", "perturbation", "gene"], "str")
    types = {**words, "dose": "float64", "replicate": "str", "role": "str", "fields": "object"}
    types |= {"n_fields": "int64", "height_px": "int64", "width_px": "int64", "dtype": "str"}
    types |= {"pixel_size_um": "float64", "channels": "object"}
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in types.items()})


def empty_sources() -> pd.DataFrame:
    """Make the table of image files of an experiment without images: no row, all columns."""
    words = dict.fromkeys(["plate", "well", "field", "channel", "url"], "str")
    numbers = dict.fromkeys(["z", "page", "size_bytes", "mtime_ns"], "int64")
    headers = {"problem": "str", "inverted": "bool", "dtype": "str", "height_px": "int64"}
    headers |= {"width_px": "int64", "pixel_size_um": "float64", "factor": "float64"}
    types = {**words, **numbers, "illumination": "str", **headers}
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in types.items()})


def _name_columns(table: pd.DataFrame, where: str, notes: list[str]) -> pd.DataFrame:
    """Take columns that differ from the layout's in case alone; tell of others that are near."""
    table = _join_well(table)
    named = {}
    for name in COLUMNS:
        if name in table.columns:
            continue
        same = [column for column in table.columns if _fold(column) == name]
        if len(same) > 1:
            raise InputError(
                f"{where}: the columns {' and '.join(map(repr, same[:2]))} are both {name!r}, "
                "expected one. Rename one."
            )
        if same:
            named[same[0]] = name
        elif near := [c for c in table.columns if _is_near(name, c) and not _is_unit(c)]:
            notes.append(
                f"{where}: no column {name!r}; {near[0]!r} is kept as text and not used as it. "
                f"Set 'layout_names' to {name}={near[0]} if it is"
            )
    table = table.rename(columns=named)
    if own := [column for column in table.columns if column in _OWN]:
        notes.append(
            f"{where}: column {own[0]!r} has the name of one that i2r writes and is left out. "
            "Rename it to keep it"
        )
    return table.drop(columns=own)


def _fold(column: str) -> str:
    """Fold the name of a column, as profiles have it too: Metadata_Well is well."""
    return fold_name(column).removeprefix("metadata_")


def _is_near(name: str, column: str) -> bool:
    folded = fold_name(column)
    return name in folded or (name == "dose" and bool(_DOSES.fullmatch(folded)))


def _join_well(table: pd.DataFrame) -> pd.DataFrame:
    """Make the column 'well' of a row and a column, letters or numbers, where there is none."""
    folded = {_fold(column).removeprefix("well_"): column for column in reversed(table.columns)}
    row = folded.get("row")
    column = next((folded[name] for name in ("column", "col") if name in folded), None)
    if any(_fold(c) == "well" for c in table.columns) or row is None or column is None:
        return table
    wells = [
        f"r{a}c{b}" if a.isdecimal() else f"{a}{b}"
        for a, b in zip(table[row], table[column], strict=True)
    ]
    return table.assign(well=wells)


def _is_unit(name: str) -> bool:
    return "unit" in name.lower()


def _clear_missing(table: pd.DataFrame, where: str, notes: list[str]) -> pd.DataFrame:
    """Empty the cells that say 'missing', unless in quotes, and take the marks off the others."""
    cleared = {}
    for name in table.columns:
        column = table[name]
        if name in COLUMNS:
            # 'none' is no gene, but a good name of untreated wells.
            names = {"none"} if name == "perturbation" else set()
            words = column[[text.is_missing(c) and c.lower() not in {"", *names} for c in column]]
            marks = column[column.map(names_nothing)]
            if len(marks) and name in ("perturbation", "gene"):
                notes.append(
                    f"{where}: {name} {marks.iloc[0]!r} on {list_lines(marks.index)} is read as "
                    "missing"
                )
            column = column.where(~column.index.isin(marks.index), "")
            if len(words):
                if name in ("perturbation", "gene"):
                    notes.append(
                        f"{where}: {name} {words.iloc[0]!r} on {list_lines(words.index)} is read "
                        f'as missing. In quotes ("{words.iloc[0]}") it is a name'
                    )
                column = column.where(~column.index.isin(words.index), "")
        cleared[name] = column.map(text.unquote)
    return pd.DataFrame(cleared, index=table.index)


def _check_rows(table: pd.DataFrame, url: str, notes: list[str]) -> pd.DataFrame:
    """Normalise wells, roles and doses; collect what is wrong with single rows and with several."""
    problems: list[str] = []
    for name in COLUMNS:
        if name not in table.columns:
            table[name] = ""
    wells, doses = [], []
    several = table["gene"].str.contains("[|;]")
    table["gene"] = table["gene"].where(
        ~several, table["gene"].map(lambda cell: "|".join(split_genes(cell)))
    )
    given = table["role"]
    table["role"] = given.replace("", "treated")
    for line, well, role, dose, perturbation in zip(
        table.index, table["well"], table["role"], table["dose"], table["perturbation"], strict=True
    ):
        where = f"layout {url} line {line}"
        try:
            wells.append(parse_well(well).name)
        except ValueError as error:
            wells.append(well)
            problems.append(f"{where}: {error}. Correct it.")
        if role not in ROLES:
            problems.append(
                f"{where}: role {role!r} is unknown{_suggest(role, ROLES)}; "
                f"expected one of {', '.join(ROLES)}. Write one, or set 'layout_roles'."
            )
        if not perturbation and role != "empty":
            problems.append(
                f"{where}: well {well} has no perturbation. Name one, or role 'empty', or set "
                "'control_name' for negative controls."
            )
        doses.append(_read_dose(dose))
        if dose and not doses[-1] >= 0:
            problems.append(f"{where}: {_explain_dose(dose, doses[-1])}")
    table["well"], table["dose"] = wells, doses
    problems += _list_broken_names(table, f"layout {url}")
    twice = table[table.duplicated(["plate", "well"], keep=False)]
    for (plate, well), group in twice.groupby(["plate", "well"], sort=False):
        lines = ", ".join(map(str, group.index))
        at = f"plate {plate!r} well" if plate else "well"
        problems.append(f"layout {url}: {at} {well!r} is on lines {lines}. Keep one row per well.")
    if not problems and "negative_control" not in table["role"].tolist():
        problems.append(
            f"layout {url}: no well has the role 'negative_control', found "
            f"{', '.join(sorted(set(table['role'])))}. Every comparison needs untreated wells: "
            "set the role of at least two."
        )
    if not problems:
        checked = {"given_roles": given, "where": f"layout {url}"}
        problems = find_contradictions(table, labels=conditions(table), **checked)
        notes += find_oddities(table, **checked)
    if problems:
        raise InputError(join_problems(problems))
    others = [name for name in table.columns if name not in COLUMNS]
    return table[[*COLUMNS, *others]].sort_values(["plate", "well"], ignore_index=True)


def _list_broken_names(table: pd.DataFrame, where: str) -> list[str]:
    problems = []
    for column in ("plate", "perturbation", "gene"):
        broken = table[column][table[column].str.contains(_CONTROL_CHARACTER)]
        if len(broken):
            problems.append(
                f"{where}: {column} {broken.iloc[0]!r} on {list_lines(broken.index)} holds a line "
                "break or another control character, expected a name. Correct it."
            )
    return problems


def _read_dose(cell: str) -> float:
    """Read a dose; NaN for none and for what is no finite number."""
    try:
        dose = float(cell) if cell else math.nan
    except ValueError:
        return math.nan
    return dose if math.isfinite(dose) else math.nan


def _explain_dose(cell: str, dose: float) -> str:
    """Say what is wrong with a dose."""
    if dose < 0:
        return f"dose {cell!r} is below 0. Leave it empty where none is known."
    if is_mangled(cell):
        return f"dose {cell!r} is a date that a spreadsheet made of it. Write the number."
    advice = (
        "Write decimals with a point, and nothing between thousands"
        if re.fullmatch(r"[-+]?[\d.,' ]*,[\d.,' ]*", cell)
        else "Write one number, and its unit in the column's name"
    )
    return f"dose {cell!r} is not a number. {advice}."


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
                f"({', '.join(plates[:3])}, ...). Add the column, or give the table of plates and "
                "plate maps (barcode_platemap.csv) as the layout."
            )
        layout = layout.assign(plate=plates[0])
    # The same letters, composed in another way: macOS takes them apart in names of folders.
    composed = {normalize("NFC", plate): plate for plate in plates}
    if len(composed) == len(plates):
        named = layout["plate"].map(lambda name: composed.get(normalize("NFC", name), name))
        layout = layout.assign(plate=named)
    fields = images.groupby(["plate", "well"], sort=False)["field"].agg(
        lambda f: list(dict.fromkeys(f))
    )
    problems, keep = [], []
    if (unnamed := layout["plate"] == "").any():
        raise InputError(
            f"layout {url}: no plate for {int(unnamed.sum())} wells ("
            f"{', '.join(layout['well'][unnamed][:3])}), while others name one. Fill the column: "
            "a spreadsheet's merged cells have a value in the first only."
        )
    for row in layout.itertuples():
        known = (row.plate, row.well) in fields.index
        keep.append(known)
        if known or row.role == "empty":
            continue
        if row.plate not in plates:
            found = f"the images are of {', '.join(map(repr, plates[:4]))}"
            problems.append(
                f"layout {url}: plate {row.plate!r} has no images; {found}. "
                "Correct the plate's name, or set 'plates' to those that are meant."
            )
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
        shown = name_some(["/".join(place) for place in extra], 3)
        wells = count_words(len(extra), "well of the source is", "wells of the source are")
        notes.append(f"{wells} not in the layout and left out ({shown})")
    layout = layout[keep].reset_index(drop=True)
    # One object for equal lists: thousands of plates have the same fields everywhere.
    shared = {tuple(names): names for names in fields}
    layout["fields"] = [
        shared[tuple(fields[place])] for place in zip(layout["plate"], layout["well"], strict=True)
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
    # One object for equal names: a screen has a million wells and few of them.
    codes, names = pd.factorize(layout["perturbation"], use_na_sentinel=False)
    labels = np.array(names.tolist(), dtype=object)[codes]
    rows = np.flatnonzero(layout["dose"].notna())
    dosed = layout[["perturbation", "dose"]].iloc[rows]
    several = (dosed.groupby("perturbation")["dose"].transform("nunique") > 1).to_numpy()
    rows, dosed = rows[several], dosed[several]
    short = dosed["dose"].map("{:g}".format)
    # Doses that six digits don't tell apart are written in full.
    full = dosed.groupby([dosed["perturbation"], short])["dose"].transform("nunique") > 1
    columns = (dosed["perturbation"], dosed["dose"], short, full)
    labels[rows] = [f"{p}@{d if whole else s}" for p, d, s, whole in zip(*columns, strict=True)]
    return pd.Series(labels, index=layout.index, name="condition", dtype=object)


def _suggest(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant, or nothing."""
    meant = find_meant(name, known)
    return f" (did you mean {meant!r}?)" if meant else ""
