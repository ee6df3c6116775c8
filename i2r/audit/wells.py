"""A table of features as sums per well: means, spreads, counts and a few rows of each."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.errors import InputError
from i2r.formats.platemaps import read_platemap
from i2r.formats.profile_places import is_one_per_well, match_plates
from i2r.formats.profile_tables import ProfileTable, open_profiles, read_batches, read_places
from i2r.store.layout import conditions
from i2r.types import parse_well

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

# Rows of each well that are kept as they are, drawn at random.
SAMPLED = 40
# A feature that is missing in more rows than this is left out, otherwise those values are.
MAX_MISSING = 0.05
ROLES = ("treated", "positive_control", "negative_control")


class Wells(NamedTuple):
    """What is known of each well that has rows and a role.

    Attributes
    ----------
    table : DataFrame
        plate, well, condition, role, row, column (from 0), in the layout's order.
    features : tuple of str
        Names.
    means, variances : (well, feature) float64
        Over the well's rows; variances are NaN for one row.
    counts : (well,) float64
        Nuclei: rows, or what the table says of a well; NaN where it says nothing.
    n_rows : int
        Rows read.
    sample : (row, feature) float32, sample_well : (row,) intp
        Up to `SAMPLED` rows of each well, and the well of each.
    is_per_well : bool
        Whether the table has one row per well.
    notes : tuple of str
        What was left out.
    """

    table: pd.DataFrame
    features: tuple[str, ...]
    means: Floats
    variances: Floats
    counts: Floats
    n_rows: int
    sample: npt.NDArray[np.float32]
    sample_well: Indices
    is_per_well: bool
    notes: tuple[str, ...]


def summarise_table(
    url: str, layout_url: str, *, names: Mapping[str, str], roles: Mapping[str, str]
) -> Wells:
    """Read a table once and add up its rows well by well.

    Parameters
    ----------
    url
        See `i2r.formats.profile_tables.open_profiles`.
    layout_url, names, roles
        See `i2r.formats.platemaps.read_platemap`.

    Raises
    ------
    InputError
        If table and layout don't belong together, or no plate has two control wells with rows.
    """
    table = open_profiles(url)
    places = read_places(table)
    layout = read_platemap(layout_url, columns=names, roles=roles)
    layout, places = match_plates(layout, places, url=url, layout_url=layout_url)
    layout = layout.assign(condition=conditions(layout))
    is_per_well = is_one_per_well(places)
    plates = layout["plate"].astype(str).unique()
    only = str(plates[0]) if len(plates) == 1 else ""
    layout = layout[layout["role"].isin(ROLES)].reset_index(drop=True)
    sums = _Sums(table, layout, only=only)
    for batch in read_batches(table):
        sums.add(batch.places, batch.values)
    return _finish(sums, layout, table, n_rows=len(places), is_per_well=is_per_well)


class _Sums:
    """Sums per well and feature, and the rows that are kept."""

    def __init__(self, table: ProfileTable, layout: pd.DataFrame, *, only: str) -> None:
        keys = layout["plate"].astype(str) + "/" + layout["well"].astype(str)
        self.number_of = {key: number for number, key in enumerate(keys)}
        self.only = only
        shape = (len(keys), len(table.columns.features))
        self.count, self.total, self.square = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self.rows = np.zeros(len(keys))
        self.given = np.full(len(keys), np.nan)
        self.origin: Floats | None = None
        self.random = np.random.default_rng(0)
        self.kept = np.zeros((0, shape[1]), np.float32)
        self.kept_well = np.zeros(0, np.intp)
        self.kept_order = np.zeros(0)

    def add(self, places: pd.DataFrame, values: npt.NDArray[np.float32]) -> None:
        """Add the rows of a batch to their wells."""
        plates = places["plate"].mask(places["plate"] == "", self.only)
        codes, found = pd.factorize(plates + "/" + places["well"])
        number = np.array([self.number_of.get(str(name), -1) for name in found])[codes]
        used = np.flatnonzero(number >= 0)
        if not used.size:
            return
        order = used[np.argsort(number[used], kind="stable")]
        number = number[order]
        rows = values[order].astype(np.float64)
        if self.origin is None:
            # Far from 0, sums of squares would lose what they are for.
            self.origin = np.nan_to_num(np.nanmean(np.where(np.isfinite(rows), rows, 0), axis=0))
        known = np.isfinite(rows)
        rows = np.where(known, rows - self.origin, 0)
        starts = np.flatnonzero(np.r_[True, number[1:] != number[:-1]])
        wells = number[starts]
        self.count[wells] += np.add.reduceat(known, starts, axis=0, dtype=np.float64)
        self.total[wells] += np.add.reduceat(rows, starts, axis=0)
        self.square[wells] += np.add.reduceat(rows**2, starts, axis=0)
        self.rows[wells] += np.diff(np.r_[starts, len(number)])
        if "count" in places:
            self.given[number] = places["count"].to_numpy()[order]
        self._keep(values[order], number)

    def _keep(self, values: npt.NDArray[np.float32], number: Indices) -> None:
        """Keep of each well the rows with the smallest random numbers."""
        wells = np.concatenate([self.kept_well, number])
        drawn = np.concatenate([self.kept_order, self.random.random(len(number))])
        order = np.lexsort((drawn, wells))
        starts = np.flatnonzero(np.r_[True, wells[order][1:] != wells[order][:-1]])
        place = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
        chosen = order[place < SAMPLED]
        self.kept = np.concatenate([self.kept, values])[chosen]
        self.kept_well, self.kept_order = wells[chosen], drawn[chosen]


def _finish(
    sums: _Sums, layout: pd.DataFrame, table: ProfileTable, *, n_rows: int, is_per_well: bool
) -> Wells:
    """Turn sums into means and spreads; leave out what can't be compared."""
    notes = []
    if table.columns.left_out:
        names = [name for name, _ in table.columns.left_out]
        shown = ", ".join([*names[:3], *(["..."] if len(names) > 3 else [])])
        are = "column is not a feature" if len(names) == 1 else "columns are not features"
        notes.append(f"{len(names)} {are} ({shown})")
    filled = sums.rows > 0
    missing = 1 - sums.count[filled].sum(axis=0) / max(sums.rows.sum(), 1)
    usable = missing <= MAX_MISSING
    if not usable.any():
        raise InputError(
            f"{table.url}: every feature is missing in more than {MAX_MISSING:.0%} of the rows, "
            "expected numbers. Look at the table."
        )
    if not usable.all():
        notes.append(f"{int((~usable).sum())} features are missing too often and are left out")
    complete = filled & (sums.count[:, usable] > 0).all(axis=1)
    is_control = (layout["role"] == "negative_control").to_numpy() & complete
    per_plate = pd.Series(is_control).groupby(layout["plate"].to_numpy()).transform("sum")
    controlled = (per_plate >= 2).to_numpy()
    if not (complete & controlled).any():
        raise InputError(
            f"{table.url}: no plate has two negative-control wells with rows, expected some to "
            "compare with. Check 'role' in the layout, and the names of plates and wells."
        )
    for lacking, why in (
        (~complete, "without rows"), (complete & ~controlled, "on plates with too few controls"),
    ):  # fmt: skip
        if lacking.any():
            notes.append(f"{int(lacking.sum())} wells {why} are left out")
    used = np.flatnonzero(complete & controlled)
    count, total = sums.count[np.ix_(used, usable)], sums.total[np.ix_(used, usable)]
    mean = total / count
    several = count > 1
    spread = sums.square[np.ix_(used, usable)] - count * mean**2
    variance = np.divide(spread, count - 1, out=np.full(mean.shape, np.nan), where=several)
    origin = sums.origin[usable] if sums.origin is not None else 0.0
    parsed = [parse_well(str(well)) for well in layout["well"].iloc[used]]
    described = layout.iloc[used].reset_index(drop=True)
    described["row"] = [well.row - 1 for well in parsed]
    described["column"] = [well.column - 1 for well in parsed]
    place = np.full(len(sums.rows), -1)
    place[used] = np.arange(len(used))
    sampled = place[sums.kept_well] >= 0
    kept = sums.kept[sampled][:, usable]
    sound = np.isfinite(kept).all(axis=1)
    names = [n for n, good in zip(table.columns.features, usable, strict=True) if good]
    return Wells(
        described, tuple(names), mean + origin, np.maximum(variance, 0),
        sums.given[used] if is_per_well else sums.rows[used], n_rows,
        kept[sound], place[sums.kept_well][sampled][sound], is_per_well, tuple(notes),
    )  # fmt: skip
