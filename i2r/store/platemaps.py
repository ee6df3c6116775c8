"""Plate maps of others as layouts: tables joined, columns named, values turned into roles."""

from collections.abc import Mapping, Sequence

import pandas as pd

from i2r.errors import InputError
from i2r.store.layout import check_layout, read_table
from i2r.types import ROLES

# In `roles`, what stands for every value that is not listed.
OTHERS = "*"


def read_platemap(
    url: str,
    *,
    columns: Mapping[str, str],
    roles: Mapping[str, str],
    join: Sequence[str] = (),
    plates: Sequence[str] = (),
) -> pd.DataFrame:
    """Read a plate map that has other columns than a layout.

    Parameters
    ----------
    url
        CSV or TSV table with one row per well, also compressed with gzip.
    columns
        The table's column by the layout's name for it: ``{"perturbation": "GeneSymbol"}``. One
        column may have several names; those that get none stay as they are.
    roles
        The role by the value of the column ``role``; ``*`` stands for all other values. Empty:
        the column has roles already.
    join
        More tables, each joined to the first by all the columns that both have, where its rows
        are unique. Rows without counterpart get empty text.
    plates
        Plates to take of a table that lists more; empty: all.

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
    table = read_table(url)
    for other in join:
        table = _join(table, read_table(other), url, other)
    if absent := [name for name in columns.values() if name not in table.columns]:
        raise InputError(
            f"layout {url}: no column {absent[0]!r}, found "
            f"{', '.join(map(repr, table.columns))}. Look at 'layout_names'."
        )
    named = pd.DataFrame({name: table[column] for name, column in columns.items()}, table.index)
    rest = table.drop(columns=list({*columns.values(), *columns} & {*table.columns}))
    layout = pd.concat([named, rest], axis=1)
    if roles:
        layout = _translate_roles(layout, roles, url)
    if plates and "plate" in layout:
        layout = choose_plates(layout, plates, where=f"layout {url}")
    return check_layout(layout, url)


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


def _join(table: pd.DataFrame, other: pd.DataFrame, url: str, other_url: str) -> pd.DataFrame:
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
