"""A section of the report: the brightest field of every plate."""

from i2r.report.html import table
from i2r.report.source import ReportSource

TITLE = "Brightest fields"
ORDER = 45


def draw(source: ReportSource) -> str | None:
    """Show the table, where the stage has run."""
    if "brightest" not in source.experiment.tables():
        return None
    found = source.experiment.table("brightest").groupby("plate", as_index=False)["brightest"].max()
    return table(found, "The largest pixel value of every plate.")
