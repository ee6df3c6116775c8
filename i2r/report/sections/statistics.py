"""What stages without a section of their own measured: medians by role of the wells."""

import pandas as pd

from i2r.report.html import ROLE_NAMES, table
from i2r.report.source import ReportSource, StageRecord

TITLE = "Other measurements"
ORDER = 75

# These have figures of their own.
SHOWN_ELSEWHERE = (
    "convert", "illuminate", "quality", "segment", "crop", "screen", "train", "embed", "report",
)  # fmt: skip

# Numbers that name a nucleus and measure nothing.
IDENTIFIERS = ("label", "crop", "field")


def draw(source: ReportSource) -> str | None:
    """Show one row per measured column of every other stage that has a table of wells."""
    rows = [
        row
        for stage in source.stages
        if stage.verb not in SHOWN_ELSEWHERE
        for row in _summarise(source, stage)
    ]
    caption = "Medians over all rows of the stages' tables, by the role of the well."
    return table(pd.DataFrame(rows), caption) if rows else None


def _summarise(source: ReportSource, stage: StageRecord) -> list[dict[str, object]]:
    """Give the median of every number in a stage's table, by role."""
    measured = source.table(stage.title)
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
