"""Does the place on the plate show in what was measured? Rows, columns and edge, with a null."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.report import html
from i2r.report.sections.plates import list_measures
from i2r.report.source import ReportSource
from i2r.types import parse_well

TITLE = "Position effects"
ORDER = 22
SHUFFLES = 199
# Fewer wells say nothing about rows and columns.
MIN_WELLS = 12


def draw(source: ReportSource) -> str | None:
    """Show how much of each measure's spread goes with rows, columns and the plate's edge."""
    rows = []
    for measure in list_measures(source):
        for plate, wells in source.wells.groupby("plate", sort=True):
            values = measure.values.reindex(wells.index).dropna()
            if len(values) >= MIN_WELLS and np.ptp(values) > 0:
                found = measure_positions(wells.loc[values.index, "well"], values.to_numpy(float))
                place = {"measure": measure.name, "plate": plate, "wells": len(values)}
                rows.append({**place, **found})
    if not rows:
        return None
    worst = pd.DataFrame(rows).sort_values(["p", "rows"], ascending=[True, False])
    words = (
        "Share of the spread between wells that goes with the row, the column, and the outermost "
        "wells (0 none, 1 all; eta squared), all wells of the layout. p: how often wells that "
        f"change places at random ({SHUFFLES} times) reach the strongest, so "
        "small values mean that the place shows. Treatments that fill whole rows show in the "
        "same way: a layout that shuffles them tells both apart. Plates with fewer than "
        f"{MIN_WELLS} wells are left out."
    )
    return html.table(
        worst, words, bars=("rows", "columns", "edge"), whole=1.0,
        scores=("rows", "columns", "edge", "p"),
    )  # fmt: skip


def measure_positions(
    wells: "pd.Series | list[str]", values: npt.NDArray[np.float64], *, seed: int = 0
) -> Mapping[str, float]:
    """Measure how much of the spread between wells goes with their place.

    Parameters
    ----------
    wells
        Names of the wells, ``B03``.
    values
        One finite number per well, not all equal.
    seed
        Decides the shuffles.

    Returns
    -------
    dict
        ``rows``, ``columns`` and ``edge``: eta squared, the spread between the means of groups
        over the whole spread; ``p``: of the strongest of the three, corrected for choosing it.
    """
    places = [parse_well(well) for well in wells]
    row, column = (np.array(part) for part in zip(*places, strict=True))
    outermost = np.isin(row, (row.min(), row.max())) | np.isin(column, (column.min(), column.max()))
    groups = [np.unique(group, return_inverse=True)[1] for group in (row, column, outermost)]
    found = [_eta_squared(values, group) for group in groups]
    random = np.random.default_rng(seed)
    shuffled = [
        [_eta_squared(mixed, group) for group in groups]
        for mixed in (random.permutation(values) for _ in range(SHUFFLES))
    ]
    # Many rows explain more by chance than one edge does, so each share is ranked among those of
    # its own grouping, and the best rank of the three is compared with the shuffles' best ranks
    # (Westfall and Young's minP, 1993).
    pool = np.array([found, *shuffled])
    best = (pool[None, :, :] >= pool[:, None, :]).sum(axis=1).min(axis=1)
    named = dict(zip(("rows", "columns", "edge"), found, strict=True))
    return {**named, "p": float((best <= best[0]).mean())}


def _eta_squared(values: npt.NDArray[np.float64], group: npt.NDArray[np.intp]) -> float:
    """Give the spread between groups over the whole."""
    deviations = values - values.mean()
    sums = np.bincount(group, weights=deviations)
    return float((sums**2 / np.bincount(group)).sum() / (deviations**2).sum())
