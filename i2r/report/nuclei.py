"""Which nuclei stand for a condition, and their crops."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.report.source import NEGATIVE_CONTROL, ReportSource, StageRecord


class Chosen(NamedTuple):
    """Some nuclei of one condition."""

    keys: list[str]
    # plate, well, field, label, reason, crop: as in the crop stage's table.
    rows: pd.DataFrame
    # Shape (nucleus, c, y, x).
    crops: npt.NDArray[Any]


def choose_nuclei(
    source: ReportSource, crop: StageRecord, condition: str, count: int
) -> Chosen | None:
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
    Chosen or None
        None where the condition has no crops.
    """
    results = source.results(crop.title)
    of_condition = source.wells.index[source.wells["condition"] == condition]
    wells = [key for key in of_condition if results.get(key, {}).get("nuclei", 0)]
    if not wells:
        return None
    wells = [wells[i] for i in spread(len(wells), count)]
    shares = [len(part) for part in np.array_split(np.arange(count), len(wells))]
    # What a well with few nuclei can't give, the following ones give if they can.
    missing, keys, tables, crops = 0, [], [], []
    for key, share in zip(wells, shares, strict=True):
        table = source.part(crop.title, key)
        table = table[table["crop"] >= 0]
        taken = table.iloc[spread(len(table), share + missing)]
        missing += share - len(taken)
        keys += [key] * len(taken)
        tables.append(taken)
        crops.append(source.crops(crop.title, key, taken["crop"].tolist()))
    return Chosen(keys, pd.concat(tables, ignore_index=True), np.concatenate(crops))


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
