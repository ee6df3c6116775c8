"""Maps of the plates: nuclei, focus and intensity by well, one colour scale per measure."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from i2r.report.html import number, render
from i2r.report.images import png_uri
from i2r.report.scales import ColourScale
from i2r.report.source import ReportSource
from i2r.types import PLATE_FORMATS, Well, parse_well

TITLE = "Plates"
ORDER = 20
FULL_PLATES = 12
# Wells drawn one by one, over all maps; plates beyond that become small pictures.
DRAWN_WELLS = 40_000
SMALL_PLATES = 200
PICTURE_PX = 144


class Measure(NamedTuple):
    """One value per well."""

    name: str
    explanation: str
    values: pd.Series
    from_zero: bool


def draw(source: ReportSource) -> str | None:
    """Show one map per measure and plate."""
    measures = list(list_measures(source))
    if not measures:
        return None
    plates = list(source.experiment.plates)
    n_full = DRAWN_WELLS // max(1, len(measures) * source.wells.groupby("plate").size().max())
    n_full = max(1, min(FULL_PLATES, int(n_full)))
    shown = [_draw_measure(source, measure, plates, n_full) for measure in measures]
    return render(
        "plates.html", measures=shown, n_plates=len(plates), n_full=n_full,
        n_small=max(0, min(len(plates), SMALL_PLATES) - n_full),
        left_out=max(0, len(plates) - max(SMALL_PLATES, n_full)),
        roles=sorted(set(source.wells["role"])),
    )  # fmt: skip


def list_measures(source: ReportSource) -> Iterable[Measure]:
    """Find what is known of wells: nuclei, excluded fields, focus and intensity by channel."""
    nuclei = source.nuclei_per_well
    if nuclei:
        counts = pd.Series(nuclei, dtype=float)
        yield Measure("Nuclei", "Labelled nuclei per well, over all its fields.", counts, True)
    excluded = source.excluded_fields
    if len(excluded):
        per_well = excluded.groupby("key").size().reindex(source.wells.index, fill_value=0)
        yield Measure("Excluded fields", "Fields left out, per well.", per_well.astype(float), True)
    failed = Counter(e.key for e in source.entries() if e.event in ("failed", "blocked"))
    if per_well := {key: failed[key] for key in source.wells.index if key in failed}:
        units = pd.Series(per_well, dtype=float).reindex(source.wells.index, fill_value=0.0)
        yield Measure("Failed units", "Units that failed or wait for those, per well.", units, True)
    for stage in source.stages_of("quality")[-1:]:
        table = source.table(stage.title, columns=["plate", "well", "channel", "focus", "mean"])
        if table is None:
            continue
        table = table.assign(key=table["plate"] + "/" + table["well"])
        means = table.groupby(["channel", "key"])[["focus", "mean"]].mean()
        for channel in source.channels:
            if channel not in means.index:
                continue
            of_channel = means.loc[channel]
            yield Measure(
                f"Focus, {channel}",
                "Variance of the Laplacian over the squared mean intensity, mean of the well's "
                "fields, no unit; higher is sharper. It also rises with the number of nuclei.",
                of_channel["focus"], False,
            )  # fmt: skip
            yield Measure(
                f"Mean intensity, {channel}",
                "Mean grey value of all pixels, mean of the well's fields, in camera units.",
                of_channel["mean"], False,
            )  # fmt: skip


def list_tables(source: ReportSource) -> Iterator[tuple[str, pd.DataFrame]]:
    """Give the maps' values: one row per well, one column per measure."""
    shown = source.wells[["plate", "well", "given", "role"]].rename(columns={"given": "condition"})
    values = {m.name: m.values.reindex(source.wells.index) for m in list_measures(source)}
    yield "plate maps", shown.assign(**values)


def _draw_measure(
    source: ReportSource, measure: Measure, plates: list[str], n_full: int
) -> dict[str, Any]:
    """Draw one measure of all plates: maps with every well, then small pictures."""
    values = measure.values.reindex(source.wells.index)
    scale = ColourScale(values.to_numpy(), from_zero=measure.from_zero)
    groups = dict(iter(source.wells.assign(value=values).groupby("plate", sort=True)))
    return {
        "name": measure.name,
        "explanation": measure.explanation,
        "gradient": scale.gradient,
        "low": number(scale.low),
        "high": number(scale.high),
        "maps": [_draw_plate(name, groups[name], scale) for name in plates[:n_full]],
        "small": [_draw_small(name, groups[name], scale) for name in plates[n_full:SMALL_PLATES]],
    }


def find_plate_format(wells: pd.DataFrame) -> tuple[int, int]:
    """Find the smallest plate, rows and columns, on which all wells have a place."""
    places = [parse_well(well) for well in wells["well"]]
    n_rows, n_columns = max(p.row for p in places), max(p.column for p in places)
    return next(
        size for size in PLATE_FORMATS.values() if size[0] >= n_rows and size[1] >= n_columns
    )


def _draw_plate(name: str, wells: pd.DataFrame, scale: ColourScale) -> dict[str, Any]:
    """Place and colour every well of one plate; a unit of the drawing is a well."""
    n_rows, n_columns = find_plate_format(wells)
    drawn = []
    for row in wells.itertuples():
        place = parse_well(row.well)
        known = bool(np.isfinite(row.value))
        drawn.append(
            {
                "x": place.column - 1 + 0.04, "y": place.row - 1 + 0.04,
                "fill": scale.colour(row.value) if known else "",
                "role": row.role, "well": row.well, "condition": row.given or "no perturbation",
                "value": number(row.value) if known else "no value",
            }
        )  # fmt: skip
    known = wells["value"].dropna()
    summary = (
        f"median {number(known.median())}, {number(known.min())} to {number(known.max())}"
        if len(known)
        else "no values"
    )
    every = 1 if n_columns <= 12 else 2 if n_columns <= 24 else 4
    return {
        "name": name, "wells": drawn, "n_rows": n_rows, "n_columns": n_columns, "summary": summary,
        "row_names": [(row, Well(row, 1).row_name) for row in range(1, n_rows + 1, every)],
        "column_names": list(range(1, n_columns + 1, every)),
    }  # fmt: skip


def _draw_small(name: str, wells: pd.DataFrame, scale: ColourScale) -> dict[str, Any]:
    """Draw a plate with one pixel per well, enlarged by the browser."""
    n_rows, n_columns = find_plate_format(wells)
    grid = np.full((n_rows, n_columns), np.nan)
    for well, value in zip(wells["well"], wells["value"], strict=True):
        place = parse_well(well)
        grid[place.row - 1, place.column - 1] = value
    return {
        "name": name, "uri": png_uri(scale.rgba(grid)), "width": PICTURE_PX,
        "height": round(PICTURE_PX * n_rows / n_columns), "median": number(wells["value"].median()),
    }  # fmt: skip
