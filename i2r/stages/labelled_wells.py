"""What 'segment' does on a worker with a well's labels, and with a plate's tables at the end."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from i2r.lazy import plausibility
from i2r.store import files, tables
from i2r.store.write import write_labels


def write_block_labels(
    labels: np.ndarray, *, urls: Sequence[str], name: str, pixel_size_um: float
) -> None:
    """Write the label images of one chunk of fields beside their images."""
    for url, plane in zip(urls, labels, strict=True):
        write_labels(url, name, plane, pixel_size_um=pixel_size_um)


def finish_well(
    parts: Mapping[str, pd.DataFrame], written: object, *, n_fields: int, n_nuclei: int
) -> dict[str, Any]:
    """Write the well's tables, nuclei and fields, after its labels."""
    for url, table in parts.items():
        tables.write_table(url, table)
    return {"fields": n_fields, "nuclei": n_nuclei, "wrote": "labels"}


def finish_plates(
    merges: Mapping[str, Sequence[str]], measured: Mapping[str, tuple[str, Sequence[str]]]
) -> dict[str, Any]:
    """Merge the tables of nuclei; flag the fields of each plate, and say how many.

    Parameters
    ----------
    merges
        The parts of the tables of nuclei, by the merged table.
    measured
        The table of fields and its parts, by the same. Wells of an earlier version have no part.
    """
    tables.merge_tables(merges)
    flagged = []
    for nuclei, (url, parts) in measured.items():
        known = [tables.read_table(part) for part in parts if files.exists(part)]
        if known:
            areas = tables.read_table(nuclei, columns=["well", "field", "area_px"])
            flagged.append(plausibility.flag_fields(tables.concatenate(known), areas))
            tables.write_table(url, flagged[-1])
    notes = plausibility.describe_flags(pd.concat(flagged, ignore_index=True)) if flagged else []
    return {"notes": notes} if notes else {}
