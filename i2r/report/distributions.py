"""Features of some wells' nuclei beside those of the controls of their plates."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from markupsafe import Markup

from i2r.report import html
from i2r.report.nuclei import spread
from i2r.report.scales import find_ticks, place_on
from i2r.report.source import ReportSource, StageRecord
from i2r.store.features import read_features

Floats = npt.NDArray[np.float64]
# Wells that are read for one figure, of those asked for and of their plates' controls.
MOST_WELLS, MOST_CONTROLS, LEAST_CONTROLS = 24, 24, 2
# Of a well, evenly over its table: a distribution needs no more, and a report holds them all.
MOST_NUCLEI = 2000
N_MOVED = 10
BINS, REACH = 36, 4.5
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 220, 118, 6, 214, 6, 92


class RelativeNuclei(NamedTuple):
    """Nuclei in standard deviations of the control nuclei of their plates.

    Attributes
    ----------
    names
        The features.
    nuclei, controls
        Shape (nucleus, feature): those of the wells asked for, and of their plates' controls.
    n_wells, n_control_wells
        Wells that were read.
    """

    names: tuple[str, ...]
    nuclei: Floats
    controls: Floats
    n_wells: int
    n_control_wells: int


class Moved(NamedTuple):
    """A feature that moved: by how many standard deviations of control wells, with an interval."""

    feature: str
    change: float
    low: float = float("nan")
    high: float = float("nan")


def read_relative(
    source: ReportSource, features: StageRecord, keys: Sequence[str]
) -> RelativeNuclei | None:
    """Read features of some wells and of the negative controls of the same plates.

    Parameters
    ----------
    source, features
        The experiment, and the stage that measured or imported them.
    keys
        The wells; of more than 24, 24 evenly spread ones, and about as many control wells of
        their plates. Of a well with more than 2,000 nuclei, 2,000 evenly spread ones.

    Returns
    -------
    RelativeNuclei or None
        None where the wells have no nuclei, or their plates no control nuclei. Wells that are
        controls themselves are compared with the other controls, where there are others.
    """
    done = set(source.experiment.ledger.done_keys(features.title))
    known = [key for key in keys if key in done]
    known = [known[i] for i in spread(len(known), MOST_WELLS)]
    wells = source.wells
    asked = set(keys)
    names: tuple[str, ...] = ()
    parts: list[Floats] = []
    control_parts: list[Floats] = []
    n_wells = n_controls = 0
    n_plates = max(1, wells.loc[known, "plate"].nunique())
    per_plate = max(LEAST_CONTROLS, MOST_CONTROLS // n_plates)
    for plate, own in pd.Series(known, dtype=object).groupby(wells.loc[known, "plate"].to_numpy()):
        is_control = (wells["plate"] == plate) & (wells["role"] == "negative_control")
        all_controls = [key for key in wells.index[is_control] if key in done]
        others = [key for key in all_controls if key not in asked] or all_controls
        others = [others[i] for i in spread(len(others), per_plate)]
        read = {}
        for key in dict.fromkeys([*own, *others]):
            names, values, _ = read_features(
                source.experiment.part_url(features.title, key),
                source.experiment.embeddings_url(features.title, key),
            )
            read[key] = values[spread(len(values), MOST_NUCLEI)].astype(np.float64)
        controls = np.concatenate([read[key] for key in others]) if others else np.empty((0, 0))
        if len(controls) < 2:
            continue
        mean, scale = np.nanmean(controls, axis=0), np.nanstd(controls, axis=0)
        scale = np.where(scale > 0, scale, np.inf)
        parts += [(read[key] - mean) / scale for key in own]
        control_parts.append((controls - mean) / scale)
        n_wells, n_controls = n_wells + len(own), n_controls + len(others)
    if not sum(map(len, parts)):
        return None
    return RelativeNuclei(
        names, np.concatenate(parts), np.concatenate(control_parts), n_wells, n_controls
    )


def rank_moved(profiles: pd.DataFrame, names: Sequence[str]) -> list[Moved]:
    """Rank features by the mean change of some wells, the largest first.

    Parameters
    ----------
    profiles
        Rows of `i2r.store.well_profiles.make_profiles`, in standard deviations of control wells.
    names
        The columns that are features.
    """
    means = profiles[list(names)].mean()
    order = means.abs().sort_values(ascending=False, kind="stable").index[:N_MOVED]
    return [Moved(str(name), float(means[name])) for name in order]


def draw_distributions(
    found: RelativeNuclei, moved: Sequence[Moved], *, what: str, unit: str = "wells"
) -> Markup:
    """Draw a small chart per feature: the nuclei's distribution over that of the controls.

    Parameters
    ----------
    found, moved
        Nuclei, and the features to draw, in their order.
    what
        What the nuclei are of, for captions.
    unit
        Changes are in standard deviations of control "wells" or "nuclei".
    """
    charts = [
        _place(found, found.names.index(item.feature), item)
        for item in moved
        if item.feature in found.names
    ]
    x = place_on((-REACH, REACH), (LEFT, RIGHT))
    return html.render(
        "distributions.html", charts=charts, what=what, unit=unit, width=WIDTH, height=HEIGHT,
        bottom=BOTTOM, left=LEFT, right=RIGHT,
        ticks=[(x(tick), tick) for tick in find_ticks(-4, 4, count=4)],
        n_nuclei=len(found.nuclei), n_controls=len(found.controls), n_wells=found.n_wells,
        most=MOST_NUCLEI,
        n_control_wells=found.n_control_wells, reach=REACH,
    )  # fmt: skip


def count_shares(values: Floats) -> Floats:
    """Give the share of nuclei in each of the bins of a chart; the last ones hold all beyond."""
    known = values[np.isfinite(values)]
    counts, _ = np.histogram(np.clip(known, -REACH, REACH), bins=BINS, range=(-REACH, REACH))
    shares: Floats = counts / max(1, len(known))
    return shares


def _place(found: RelativeNuclei, index: int, item: Moved) -> Mapping[str, Any]:
    """Place both distributions of one feature."""
    shares = [count_shares(values[:, index]) for values in (found.controls, found.nuclei)]
    y = place_on((0, max(0.02, *(float(s.max()) for s in shares))), (BOTTOM, TOP))
    x = place_on((0, BINS), (LEFT, RIGHT))
    outlines = []
    for own in shares:
        steps = [f"{x(b + end)},{y(float(share))}" for b, share in enumerate(own) for end in (0, 1)]
        outlines.append(" ".join(steps))
    return {"item": item, "controls": outlines[0], "nuclei": outlines[1]}
