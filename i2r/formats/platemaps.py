"""Plate maps of others as layouts: tables joined, columns named, values turned into roles."""

from collections.abc import Mapping, Sequence

import pandas as pd

from i2r.errors import InputError
from i2r.store import files
from i2r.store.layout import REQUIRED, check_layout
from i2r.store.sheets import fold_name, read_table
from i2r.store.text import is_missing
from i2r.types import ROLES

# In `roles`, what stands for every value that is not listed.
OTHERS = "*"
# Columns of a table that names the plate map of every plate.
_PLATE_LIST = ("Assay_Plate_Barcode", "Plate_Map_Name")


def read_platemap(
    url: str,
    *,
    columns: Mapping[str, str],
    roles: Mapping[str, str],
    join: Sequence[str] = (),
    plates: Sequence[str] = (),
    control_name: str = "",
    notes: list[str] | None = None,
) -> pd.DataFrame:
    """Read a plate map that has other columns than a layout.

    Parameters
    ----------
    url
        CSV or TSV table with one row per well, also compressed with gzip; or one that names the
        plate map of every plate, see `read_plate_list`.
    columns
        The table's column by the layout's name for it: ``{"perturbation": "GeneSymbol"}``. One
        column may have several names; those that get none stay as they are. Several columns are
        joined, ``{"role": "pert_type+control_type"}``: their values with ``+`` between those that
        are not empty.
    roles
        The role by the value of the column ``role``; ``*`` stands for all other values. Empty:
        the column has roles already.
    join
        More tables, each joined to the first by all the columns that both have, where its rows
        are unique. Rows without counterpart get empty text.
    plates
        Plates to take of a table that lists more; empty: all.
    control_name
        The perturbation of negative controls that have none.
    notes
        Takes what to tell the user.

    Returns
    -------
    DataFrame
        As `i2r.store.layout.read_layout`.

    Raises
    ------
    InputError
        For columns and roles that aren't there, tables with nothing in common, and for all that
        `read_layout` refuses.
    """
    said: list[str] = [] if notes is None else notes
    expected = [part.strip() for given in columns.values() for part in given.split("+")]
    table = read_table(url, expected=expected or REQUIRED, notes=said)
    if {*map(fold_name, _PLATE_LIST)} <= {*map(fold_name, table.columns)}:
        table = read_plate_list(table, url, notes=said)
    for other in join:
        table = _join(table, read_table(other, notes=said), url, other, said)
    sources = {name: _split_columns(column, table) for name, column in columns.items()}
    used = [column for several in sources.values() for column in several]
    if absent := [name for name in used if name not in table.columns]:
        raise InputError(
            f"layout {url}: no column {absent[0]!r}, found "
            f"{', '.join(map(repr, table.columns))}. Look at 'layout_names'."
        )
    named = pd.DataFrame(
        {name: _join_values(table[several]) for name, several in sources.items()}, table.index
    )
    rest = table.drop(columns=list({*used, *columns} & {*table.columns}))
    layout = pd.concat([named, rest], axis=1)
    if roles:
        layout = _translate_roles(layout, roles, url)
    if plates and "plate" in layout:
        layout = choose_plates(layout, plates, where=f"layout {url}")
    return check_layout(layout, url, notes=said, control_name=control_name)


def read_plate_list(table: pd.DataFrame, url: str, *, notes: list[str]) -> pd.DataFrame:
    """Read the plate map of every plate that a table lists, as JUMP and the CytoMine recipe do.

    Parameters
    ----------
    table
        With ``Assay_Plate_Barcode`` and ``Plate_Map_Name``: several plates may have one map.
    url
        Where the table is. A plate map is ``NAME.txt`` (or .csv, .tsv) in the folder ``platemap``
        or ``platemaps`` beside it, or directly beside it, with a column ``well_position``, or
        ``well``.
    notes
        Takes what to tell the user.

    Returns
    -------
    DataFrame
        The rows of the maps with ``plate`` and ``well``, indexed by number, plate by plate.

    Raises
    ------
    InputError
        If a plate is listed twice, or a map isn't there or has no column of wells.
    """
    named = {fold_name(own): own for own in _PLATE_LIST}
    table = table.rename(columns=lambda own: named.get(fold_name(own), own))
    barcode, name = _PLATE_LIST
    table = table[(table[barcode] != "") | (table[name] != "")]
    if unnamed := [line for line in table.index if not table.at[line, barcode]]:
        raise InputError(
            f"layout {url} line {unnamed[0]}: no {barcode}, expected the plate's name. Fill it in."
        )
    twice = table[barcode][table[barcode].duplicated()]
    if len(twice):
        raise InputError(
            f"layout {url} line {twice.index[0]}: plate {twice.iloc[0]!r} is listed twice, "
            "expected once. Drop a row."
        )
    parts, known = [], dict[str, pd.DataFrame]()
    for row in table.to_dict("records"):
        if row[name] not in known:
            known[row[name]] = _read_platemap_named(row[name], url, notes)
        more = {k: v for k, v in row.items() if k not in _PLATE_LIST and k not in known[row[name]]}
        parts.append(known[row[name]].assign(plate=row[barcode], **more))
    return pd.concat(parts, ignore_index=True).fillna("")


def _read_platemap_named(name: str, url: str, notes: list[str]) -> pd.DataFrame:
    folder = files.parent_url(url)
    places = [
        files.join_url(folder, *below, name + end)
        for below in (("platemap",), ("platemaps",), ())
        for end in (".txt", ".csv", ".tsv", "")
    ]
    place = next((place for place in places if name and files.exists(place)), "")
    if not place:
        raise InputError(
            f"layout {url}: no plate map {name!r}, expected {places[0]}. Put it there."
        )
    found = read_table(place, notes=notes)
    spelled = {fold_name(c): c for c in reversed(found.columns)}
    column = next(
        (spelled[n] for n in ("well", "well_position", "metadata_well") if n in spelled), ""
    )
    if not column:
        raise InputError(
            f"layout {place}: found the columns {', '.join(map(repr, found.columns))}, expected "
            "'well_position'. Name it so."
        )
    return found.rename(columns={column: "well"})


def _split_columns(given: str, table: pd.DataFrame) -> list[str]:
    """Split ``a+b`` where there is no column of that name."""
    return [given] if given in table.columns else [part.strip() for part in given.split("+")]


def _join_values(columns: pd.DataFrame) -> "pd.Series[str]":
    """Join the values of a row, without those that are empty or say 'missing'."""
    if columns.shape[1] == 1:
        return columns.iloc[:, 0]
    joined = ["+".join(v for v in row if not is_missing(v)) for row in columns.to_numpy().tolist()]
    return pd.Series(joined, index=columns.index, dtype=str)


def choose_plates(table: pd.DataFrame, plates: Sequence[str], *, where: str) -> pd.DataFrame:
    """Take the rows of some plates, each of which has to be there.

    Raises
    ------
    InputError
        If one is not.
    """
    known = set(table["plate"])
    if absent := [plate for plate in plates if plate not in known]:
        raise InputError(
            f"{where}: no plate {absent[0]!r}, found "
            f"{', '.join(map(repr, sorted(known)[:5]))}. Correct 'plates'."
        )
    return table[table["plate"].isin(plates)]


def _join(
    table: pd.DataFrame, other: pd.DataFrame, url: str, other_url: str, notes: list[str]
) -> pd.DataFrame:
    """Add the columns of another table to the rows that it has something on."""
    shared = [name for name in table.columns if name in other.columns]
    if not shared:
        raise InputError(
            f"layout {url}: shares no column with {other_url}, which has "
            f"{', '.join(map(repr, other.columns[:8]))}. Look at 'layout_join'."
        )
    twice = other[other.duplicated(shared)]
    if len(twice):
        what = ", ".join(f"{name} {twice[name].iloc[0]!r}" for name in shared)
        raise InputError(
            f"layout {other_url} line {twice.index[0]}: {what} is there twice, expected once: it "
            "is joined by them. Drop a row."
        )
    known = other.set_index(shared)
    found = pd.MultiIndex.from_frame(table[shared]).isin(pd.MultiIndex.from_frame(other[shared]))
    if not found.any():
        raise InputError(
            f"layout {url}: no row is in {other_url} by {', '.join(map(repr, shared))}. Compare "
            "how both write them."
        )
    lost = table[shared][~found & (table[shared] != "").any(axis=1).to_numpy()].drop_duplicates()
    if len(lost):
        what = ", ".join(f"{name} {lost[name].iloc[0]!r}" for name in shared)
        more = f" ({len(lost) - 1} others alike)" if len(lost) > 1 else ""
        notes.append(f"layout {url}: {what} is not in {other_url}{more}; its cells stay empty")
    return table.join(known, on=shared).fillna("")


def _translate_roles(layout: pd.DataFrame, roles: Mapping[str, str], url: str) -> pd.DataFrame:
    """Give every row its role by what the column says."""
    if unknown := [role for role in roles.values() if role not in ROLES]:
        raise InputError(
            f"layout_roles: role {unknown[0]!r} is unknown; expected {', '.join(ROLES)}. "
            "Correct it."
        )
    if "role" not in layout:
        raise InputError(
            f"layout {url}: no column 'role' to translate. Name one in 'layout_names'."
        )
    found = set(layout["role"])
    if unused := [value for value in roles if value not in found and value != OTHERS]:
        raise InputError(
            f"layout {url}: no row has the role {unused[0]!r} of 'layout_roles', found "
            f"{', '.join(map(repr, sorted(found)[:8]))}. Correct it."
        )
    default = roles.get(OTHERS)
    return layout.assign(role=[roles.get(v, default or v) for v in layout["role"]])
