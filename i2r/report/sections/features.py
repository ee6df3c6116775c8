"""What features say by name: conditions side by side, what moved, and whether it repeats."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from i2r.kernels.profile_clusters import cluster_profiles, order_rows
from i2r.kernels.replicates import ReplicateCorrelations, correlate_plates, correlate_replicates
from i2r.report import html
from i2r.report.distributions import draw_distributions, read_relative
from i2r.report.feature_profiles import FeatureProfiles, read_feature_profiles
from i2r.report.images import png_uri
from i2r.report.scales import DivergingScale, find_ticks, place_on
from i2r.report.source import ReportSource, StageRecord

TITLE = "Features"
ORDER = 33
# What a page has room for; captions say what is left out.
MAX_STAGES, MAX_CONDITIONS, MAX_FEATURES, MAX_DRAWN, MAX_PLATES = 2, 60, 100, 6, 24
MAX_LISTED = 300
ROW_PX, COLUMN_PX, LETTER_PX, LONGEST = 11, 13, 5.6, 34
BINS = 30
SEED = 0


def draw(source: ReportSource) -> str | None:
    """Show every stage that measured or imported features."""
    found = [
        (stage, profiles)
        for stage in source.stages_of("features")[:MAX_STAGES]
        if (profiles := read_feature_profiles(source, stage)) is not None
    ]
    if not found:
        return None
    stages = [_draw_stage(source, stage, profiles) for stage, profiles in found]
    return html.render("features.html", stages=stages)


def list_tables(source: ReportSource) -> Iterator[tuple[str, pd.DataFrame]]:
    """Give the profiles behind the heat map, all conditions that were read."""
    for stage in source.stages_of("features")[:MAX_STAGES]:
        profiles = read_feature_profiles(source, stage)
        if profiles is not None:
            yield f"{stage.title} profiles of conditions", profiles.conditions().reset_index()


def _draw_stage(
    source: ReportSource, stage: StageRecord, profiles: FeatureProfiles
) -> dict[str, Any]:
    """Draw all figures of one stage."""
    wells = profiles.wells
    shown = profiles.order[:MAX_CONDITIONS]
    replicates = correlate_replicates(
        wells[profiles.names], wells["condition"], wells["plate"], seed=SEED
    )
    listed = profiles.order[:MAX_LISTED]
    means = profiles.conditions(listed)
    clusters = cluster_profiles(_soften(means.to_numpy(np.float64)), seed=SEED)
    return {
        "title": stage.title,
        "screen": profiles.screen.stage.title if profiles.screen is not None else "",
        "map": _draw_map(profiles.conditions(shown)),
        "n_conditions": len(profiles.order),
        "n_unread": profiles.n_left_out,
        "drawn": [
            {"name": name, "charts": chart}
            for name in profiles.order[:MAX_DRAWN]
            if (chart := _draw_moved(source, stage, profiles, name))
        ],
        "replicates": _draw_replicates(replicates),
        "plates": _draw_plates(profiles),
        "table": _list_conditions(profiles, means, replicates, clusters),
    }


def _draw_moved(
    source: ReportSource, stage: StageRecord, profiles: FeatureProfiles, name: str
) -> str:
    """Draw the ten features that moved most for one condition; nothing without nuclei."""
    wells = source.wells
    found = read_relative(source, stage, wells.index[wells["condition"] == name].tolist())
    if found is None:
        return ""
    return draw_distributions(found, profiles.list_moved(name), what=name)


def _draw_map(means: pd.DataFrame) -> dict[str, Any]:
    """Draw features against conditions, both in the order of their trees."""
    spread = means.std() if len(means) > 1 else means.abs().max()
    kept = spread.sort_values(ascending=False, kind="stable").index[:MAX_FEATURES]
    kept = [name for name in means.columns if name in set(kept)]
    values = means[kept].to_numpy(np.float64)
    rows, columns = (order_rows(_soften(side)).tolist() for side in (values.T, values))
    scale = DivergingScale(values)
    left = 12 + LETTER_PX * max(len(_shorten(name)) for name in kept)
    top = 16 + LETTER_PX * max(len(_shorten(str(name))) for name in means.index) * 0.95
    width, height = COLUMN_PX * len(columns), ROW_PX * len(rows)
    return {
        "uri": png_uri(scale.rgba(values.T[np.ix_(rows, columns)])),
        "gradient": scale.gradient, "limit": scale.limit, "left": round(left), "top": round(top),
        "width": width, "height": height, "right": round(top * 0.8),
        "n_left_out": len(means.columns) - len(kept),
        "rows": [
            (round(top + (i + 0.8) * ROW_PX, 1), _shorten(kept[row])) for i, row in enumerate(rows)
        ],
        "columns": [
            (round(left + (i + 0.6) * COLUMN_PX, 1), _shorten(str(means.index[column])))
            for i, column in enumerate(columns)
        ],
    }  # fmt: skip


def _soften(profiles: np.ndarray) -> np.ndarray:
    """Take the inverse hyperbolic sine: else the one largest change decides all distances."""
    return np.asarray(np.arcsinh(profiles))


def _draw_replicates(found: ReplicateCorrelations) -> dict[str, Any] | None:
    """Place the correlations of replicates over those of random groups."""
    if len(found.names) < 2 or not len(found.null):
        return None
    edges = np.linspace(-1, 1, BINS + 1)
    shares = [np.histogram(v, edges)[0] / len(v) for v in (found.null, found.correlation)]
    x = place_on((-1, 1), (40, 410))
    y = place_on((0, max(float(s.max()) for s in shares)), (180, 10))
    steps = [
        " ".join(
            f"{x(float(edges[b + end]))},{y(float(share))}"
            for b, share in enumerate(own)
            for end in (0, 1)
        )
        for own in shares
    ]
    return {
        "null": steps[0], "own": steps[1], "limit": x(found.limit), "limit_value": found.limit,
        "share": html.percent(found.share), "n": len(found.names), "n_null": len(found.null),
        "median": float(np.median(found.correlation)),
        "ticks": [(x(tick), tick) for tick in find_ticks(-1, 1)],
    }  # fmt: skip


def _draw_plates(profiles: FeatureProfiles) -> dict[str, Any] | None:
    """Place the correlation of every pair of plates; nothing where no two share conditions."""
    wells = profiles.wells
    named = sorted(set(wells["plate"].astype(str)))
    kept = wells[wells["plate"].astype(str).isin(named[:MAX_PLATES])]
    names, same, other = correlate_plates(kept[profiles.names], kept["condition"], kept["plate"])
    if not np.isfinite(same).any():
        return None
    scale = DivergingScale([-1.0, 1.0])
    left = 12 + LETTER_PX * max(len(_shorten(name)) for name in names)
    edge = 30
    cells = [
        {
            "x": left + j * edge, "y": 8 + i * edge, "fill": scale.colour(same[i, j]),
            "ink": "#fff" if abs(same[i, j]) > 0.6 else "#1d2430",
            "text": f"{same[i, j]:.2f}",
            "title": f"{names[i]} and {names[j]}: {same[i, j]:.3f}; others {other[i, j]:.3f}",
        }
        for i in range(len(names))
        for j in range(len(names))
        if np.isfinite(same[i, j])
    ]  # fmt: skip
    return {
        "cells": cells, "edge": edge, "width": round(left + edge * len(names) + 10),
        "height": 16 + edge * len(names), "left": round(left - 4),
        "rows": [(8 + (i + 0.62) * edge, _shorten(name)) for i, name in enumerate(names)],
        "same": float(np.nanmean(same)), "other": float(np.nanmean(other)),
        "n_left_out": max(0, len(named) - MAX_PLATES),
    }  # fmt: skip


def _list_conditions(
    profiles: FeatureProfiles,
    means: pd.DataFrame,
    replicates: ReplicateCorrelations,
    clusters: Any,
) -> str:
    """Make the table of conditions: cluster, replicates, the one most alike, what moved."""
    values = means.to_numpy(np.float64)
    names = means.index.astype(str).tolist()
    # A single condition, or constant profiles, correlate with nothing.
    with np.errstate(invalid="ignore", divide="ignore"):
        table = np.atleast_2d(np.corrcoef(values)) if len(names) > 1 else np.zeros((1, 1))
    np.fill_diagonal(table, -np.inf)
    table = np.where(np.isnan(table), -np.inf, table)
    nearest = table.argmax(axis=1)
    agreed = dict(zip(replicates.names.tolist(), replicates.correlation.tolist(), strict=True))
    p_values: dict[str, float] = {}
    if profiles.screen is not None:
        ranking = profiles.screen.conditions
        p_values = dict(zip(ranking["condition"].astype(str), ranking["p_value"], strict=True))
    n_wells = profiles.wells.groupby("condition").size()
    rows = []
    for number, name in enumerate(names):
        moved = profiles.list_moved(name)[:3]
        alike = float(table[number, nearest[number]])
        rows.append(
            {
                "condition": name,
                "wells": int(n_wells[name]),
                "p": p_values.get(name, float("nan")),
                "cluster": float("nan")
                if clusters is None
                else int(clusters.labels[clusters.best][number]) + 1,
                "replicates": agreed.get(name, float("nan")),
                "most alike": names[nearest[number]] if np.isfinite(alike) else "",
                "alike": alike if np.isfinite(alike) else float("nan"),
                "moved most": ", ".join(f"{m.feature} {m.change:+.1f}" for m in moved),
            }
        )
    frame = pd.DataFrame(rows)
    left_out = len(profiles.order) - len(names)
    quality = ""
    if clusters is not None:
        best = clusters.best
        quality = (
            f" The best cut has {clusters.numbers[best]} clusters with a silhouette of "
            f"{clusters.silhouette[best]:.2f}; profiles whose features are permuted give "
            f"{clusters.null_silhouette[best]:.2f}: clusters that are no better mean nothing."
        )
    return html.table(
        frame,
        "Conditions by their mean profiles. cluster: of the tree of conditions (Euclidean "
        "distance of their inverse hyperbolic sines, complete linkage); replicates: median "
        "correlation of its wells; most alike: the condition with the highest correlation of mean "
        "profiles; moved most: in standard "
        f"deviations of control wells.{quality}"
        + (f" {left_out} more conditions are in the tables." if left_out else ""),
        scores=("replicates", "alike"),
    )


def _shorten(name: str) -> str:
    """Cut a name that is too long for its place."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
