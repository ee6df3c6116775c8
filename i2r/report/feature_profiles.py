"""Profiles of wells and conditions by named features, as far as a report reads them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from i2r.errors import InputError
from i2r.report.distributions import Moved, rank_moved
from i2r.report.screens import ScreenResult, list_screens
from i2r.report.source import NEGATIVE_CONTROL, ReportSource, StageRecord
from i2r.store.well_profiles import DESCRIBED, make_profiles

# Reading a well takes some milliseconds, so a hundred plates are not read whole.
MOST_WELLS = 4000


class FeatureProfiles(NamedTuple):
    """Wells and conditions in standard deviations of their plates' control wells.

    Attributes
    ----------
    names
        The features.
    wells
        A row per well of the conditions: condition, plate, n_nuclei, and a column per feature.
    order
        The conditions, those that a screen found first (or that moved farthest) first.
    screen
        The screen that tested these features; None without one.
    moved
        Its table of the features that moved most, by condition; None without one.
    n_left_out
        Conditions that were not read.
    """

    names: list[str]
    wells: pd.DataFrame
    order: list[str]
    screen: ScreenResult | None
    moved: pd.DataFrame | None
    n_left_out: int

    def conditions(self, shown: Sequence[str] | None = None) -> pd.DataFrame:
        """Average the wells of conditions, shape (condition, feature), in the order shown."""
        means = self.wells.groupby("condition", sort=False)[self.names].mean()
        return means.loc[list(self.order if shown is None else shown)]

    def list_moved(self, condition: str) -> list[Moved]:
        """List the ten features that moved most: the screen's, or else by their means."""
        if self.moved is not None:
            own = self.moved[self.moved["condition"] == condition].sort_values("place")
            if len(own):
                columns = ("feature", "change", "low", "high")
                rows = own[list(columns)].itertuples(index=False, name=None)
                return [Moved(str(f), float(c), float(a), float(b)) for f, c, a, b in rows]
        return rank_moved(self.wells[self.wells["condition"] == condition], self.names)


def find_screen(source: ReportSource, features: StageRecord) -> ScreenResult | None:
    """Find the first complete screen that tests the profiles of a stage."""
    for screen in list_screens(source):
        is_fast = screen.stage.options.get("method") == "fast"
        if is_fast and features.title in screen.stage.needs:
            return screen
    return None


def read_feature_profiles(source: ReportSource, features: StageRecord) -> FeatureProfiles | None:
    """Read the profiles of a stage's wells, at most 4,000 of them.

    Parameters
    ----------
    source, features
        The experiment, and the stage that measured or imported the features.

    Returns
    -------
    FeatureProfiles or None
        None where no plate has controls to compare with, or no condition is left. Conditions are
        taken in the order of the screen until there are wells enough; control wells of their
        plates count too.
    """
    name = f"profiles of {features.title}"
    if name not in source.kept:
        source.kept[name] = _read(source, features)
    found: FeatureProfiles | None = source.kept[name]
    return found


def _read(source: ReportSource, features: StageRecord) -> FeatureProfiles | None:
    screen = find_screen(source, features)
    moved = None
    if screen is not None:
        title = screen.stage.title
        moved = source.reduced_table(title, f"{title}-features")
    keys, n_left_out = _choose_wells(source, features, screen)
    if not keys:
        return None
    try:
        wells = make_profiles(source.experiment, source=features.title, keys=keys)
    except InputError:
        return None
    names = [n for n in wells.columns if n not in {*DESCRIBED, *source.wells.columns}]
    names = [name for name in names if np.ptp(wells[name].to_numpy()) > 0]
    wells = wells[wells["role"] != "negative_control"].reset_index(drop=True)
    if wells.empty or not names:
        return None
    present = list(dict.fromkeys(wells["condition"]))
    if screen is not None:
        order = [c for c in _rank(screen) if c in set(present)]
        order += [c for c in present if c not in set(order)]
    else:
        size = wells.groupby("condition")[names].mean().pow(2).mean(axis=1)
        order = size.sort_values(ascending=False, kind="stable").index.tolist()
    return FeatureProfiles(names, wells, order, screen, moved, n_left_out)


def _rank(screen: ScreenResult) -> list[str]:
    """Order a screen's conditions: those called first, then by p-value."""
    table = screen.conditions.sort_values(
        ["impactful", "p_value"], ascending=[False, True], kind="stable"
    )
    return [str(name) for name in table["condition"]]


def _choose_wells(
    source: ReportSource, features: StageRecord, screen: ScreenResult | None
) -> tuple[set[str], int]:
    """Choose wells to read, condition by condition; give how many conditions are left out."""
    done = set(source.experiment.ledger.done_keys(features.title))
    wells = source.wells[source.wells.index.isin(done) & (source.wells["role"] != "empty")]
    is_control = wells["condition"] == NEGATIVE_CONTROL
    controls = {str(p): set(rows.index) for p, rows in wells[is_control].groupby("plate")}
    groups = {str(c): rows for c, rows in wells[~is_control].groupby("condition", sort=False)}
    ranked = [name for name in _rank(screen) if name in groups] if screen is not None else []
    chosen: set[str] = set()
    order = list(dict.fromkeys([*ranked, *groups]))
    for number, name in enumerate(order):
        plates = set(groups[name]["plate"].astype(str))
        wanted = set(groups[name].index).union(*(controls.get(p, set()) for p in plates))
        if chosen and len(chosen | wanted) > MOST_WELLS:
            return chosen, len(order) - number
        chosen |= wanted
    return chosen, 0
