"""What stages without a section of their own measured: medians by role of the wells."""

import numpy as np
import pandas as pd

from i2r.report.html import ROLE_NAMES, table
from i2r.report.nuclei import spread
from i2r.report.source import ReportSource, StageRecord
from i2r.store.tables import concatenate

TITLE = "Other measurements"
ORDER = 75

# These have figures of their own.
SHOWN_ELSEWHERE = (
    "convert", "illuminate", "quality", "segment", "crop", "screen", "train", "embed", "report",
)  # fmt: skip

# Numbers that name a nucleus and measure nothing.
IDENTIFIERS = ("label", "crop", "field")

# A table of all nuclei of a large screen does not fit into memory, nor one of 96 crowded wells.
MAX_WELLS, MOST_NUCLEI = 96, 2000


def draw(source: ReportSource) -> str | None:
    """Show one row per measured column of every other stage that has a table of wells."""
    rows = [
        row
        for stage in source.stages
        if stage.verb not in SHOWN_ELSEWHERE
        for row in _summarise(source, stage)
    ]
    caption = (
        "Medians over the rows of the stages' tables, by the role of the well: of at most "
        f"{MAX_WELLS} wells, spread over all plates, and {MOST_NUCLEI:,} rows of a well, spread "
        "over its table."
    )
    return table(pd.DataFrame(rows), caption) if rows else None


def _read(source: ReportSource, stage: StageRecord) -> pd.DataFrame | None:
    """Read some rows of some wells of each role; the whole table where a stage has no parts."""
    known = set(source.wells.index)
    chosen = [key for key in source.experiment.ledger.done_keys(stage.title) if key in known]
    if len(chosen) > MAX_WELLS:
        roles = source.wells.loc[chosen, "role"]
        chosen = []
        for _, keys in roles.groupby(roles):
            step = len(keys) * roles.nunique() / MAX_WELLS
            wanted = (np.arange(0, len(keys), max(step, 1.0))).astype(int)
            chosen += keys.index[wanted].tolist()
    if not chosen:
        return source.table(stage.title)
    parts = []
    try:
        for key in chosen:
            part = source.part(stage.title, key)
            parts.append(part.iloc[spread(len(part), MOST_NUCLEI)])
    except FileNotFoundError:  # it makes no parts by well
        return source.table(stage.title)
    return concatenate(parts)


def _summarise(source: ReportSource, stage: StageRecord) -> list[dict[str, object]]:
    """Give the median of every number in a stage's table, by role."""
    measured = _read(source, stage)
    if measured is None or not {"plate", "well"} <= set(measured.columns):
        return []
    roles = source.wells[["plate", "well", "role"]]
    measured = measured.drop(columns="role", errors="ignore")  # the layout's counts
    numbers = [
        name
        for name in measured.columns
        if measured[name].dtype.kind in "iuf" and name not in IDENTIFIERS
    ]
    medians = measured.merge(roles, on=["plate", "well"]).groupby("role")[numbers].median()
    medians = medians.rename(index=ROLE_NAMES)
    return [
        {"stage": stage.title, "measure": name, "rows": len(measured), **medians[name].to_dict()}
        for name in numbers
    ]
