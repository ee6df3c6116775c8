"""Fields whose nuclei can hardly be right: how many, of what kind, and which."""

from collections.abc import Iterator

import pandas as pd

from i2r.report.html import table
from i2r.report.source import ReportSource

TITLE = "Fields to look at"
ORDER = 52
# Rows on the page; the file has all of them.
MAX_ROWS = 40
COLUMNS = ["plate", "well", "field", "flag", "n_nuclei", "covered", "saturated", "contrast",
           "unlabelled", "oversized", "fragments"]  # fmt: skip
WORDS = {
    "saturated": "a hundredth of the pixels or more are at the camera's largest value",
    "nothing found": "no nucleus was found, though something stands out",
    "bright unlabelled": "half of what is bright or more has no label",
    "debris": "a quarter of the labelled area or more is in objects of over eight typical nuclei",
    "fragments": "half of the objects or more are smaller than a quarter of a typical nucleus",
    "few nuclei": "a tenth of the plate's median number, or less",
}


def draw(source: ReportSource) -> str | None:
    """List the flagged fields of every segmentation."""
    fragments = []
    for title, fields in _find_flagged(source):
        kinds = fields["flag"].str.split(", ").explode().value_counts()
        meant = "; ".join(f"{name} ({n}): {WORDS[str(name)]}" for name, n in kinds.items())
        caption = (
            f"Fields of '{title}' that look implausible, {len(fields)} in all. {meant}. Look at "
            "them; 'exclude' of the stage 'quality' leaves bad ones out."
        )
        fragments.append(table(fields.head(MAX_ROWS), caption))
    return "".join(fragments) or None


def list_tables(source: ReportSource) -> Iterator[tuple[str, pd.DataFrame]]:
    """Give all flagged fields."""
    for title, fields in _find_flagged(source):
        yield f"{title} fields flagged", fields


def _find_flagged(source: ReportSource) -> Iterator[tuple[str, pd.DataFrame]]:
    for stage in source.stages_of("segment"):
        name = f"{stage.title}-fields"
        if not source.experiment.ledger.is_merged(stage.title):
            continue
        if name in source.experiment.tables():
            fields = source.experiment.table(name)
            if "flag" in fields and len(flagged := fields[fields["flag"] != ""]):
                yield stage.title, flagged[COLUMNS].reset_index(drop=True)
