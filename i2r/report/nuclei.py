"""Which nuclei stand for a condition, and their crops."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.report.source import NEGATIVE_CONTROL, ReportSource, StageRecord


def choose_nuclei(
    source: ReportSource, crop: StageRecord, condition: str, count: int
) -> pd.DataFrame | None:
    """Choose nuclei evenly over a condition's wells and over the crops of each well.

    The choice depends on nothing but the crops: the same report shows the same nuclei.

    Parameters
    ----------
    source, crop
        The experiment and the crop stage.
    condition
        As in `ReportSource.wells`.
    count
        How many; fewer where there are fewer.

    Returns
    -------
    DataFrame or None
        Rows of the crop stage's table by the well's key; None where the condition has no crops.
    """
    results = source.results(crop.title)
    of_condition = source.wells.index[source.wells["condition"] == condition]
    wells = [key for key in of_condition if results.get(key, {}).get("nuclei", 0)]
    if not wells:
        return None
    wells = [wells[i] for i in spread(len(wells), count)]
    shares = [len(part) for part in np.array_split(np.arange(count), len(wells))]
    # What a well with few nuclei can't give, the following ones give if they can.
    missing, taken = 0, {}
    for key, share in zip(wells, shares, strict=True):
        table = source.part(crop.title, key)
        table = table[table["crop"] >= 0]
        taken[key] = table.iloc[spread(len(table), share + missing)]
        missing += share - len(taken[key])
    return pd.concat(taken).droplevel(1)


def read_crops(source: ReportSource, crop: StageRecord, chosen: pd.DataFrame) -> npt.NDArray[Any]:
    """Read the crops of chosen nuclei in their order, shape (nucleus, c, y, x)."""
    wells = chosen.groupby(level=0, sort=False)["crop"]
    return np.concatenate(
        [source.crops(crop.title, str(key), indices.tolist()) for key, indices in wells]
    )


def spread(length: int, count: int) -> list[int]:
    """Choose ``count`` positions out of ``length``, evenly spaced, without repeats."""
    count = min(count, length)
    return [int((i + 0.5) * length / count) for i in range(count)]


def rank_for_gallery(
    source: ReportSource, ranking: pd.DataFrame | None, n_shown: int
) -> tuple[list[str], int]:
    """Order conditions for a gallery: negative control first, then by score, then the others.

    Parameters
    ----------
    source
        The experiment.
    ranking
        The screen's conditions, best first; None without a screen.
    n_shown
        Most conditions to show.

    Returns
    -------
    conditions : list of str
        At most ``n_shown``.
    n_left_out : int
        How many there are besides.
    """
    present = source.wells.loc[source.wells["role"] != "empty", "condition"].unique().tolist()
    ranked: Sequence[str] = ranking["condition"].tolist() if ranking is not None else []
    order = [NEGATIVE_CONTROL, *ranked, *present]
    known = [name for name in dict.fromkeys(order) if name in set(present)]
    return known[:n_shown], len(known) - len(known[:n_shown])
