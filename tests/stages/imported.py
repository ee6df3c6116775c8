"""Tables of features as other programs write them, and the layouts that belong to them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

FEATURES = tuple(f"Nuclei_AreaShape_F{number}" for number in range(8))


class Written(NamedTuple):
    """Where a layout lies, and the table that was made for it."""

    layout: Path
    cells: pd.DataFrame


def make_cells(
    folder: Path,
    *,
    plates: int = 3,
    active: Sequence[str] = ("G00", "G01"),
    size: float = 1.0,
    n_conditions: int = 12,
    n_controls: int = 12,
    seed: int = 0,
) -> Written:
    """Write a shuffled layout; make nuclei in CellProfiler's naming, some conditions changed."""
    random = np.random.default_rng(seed)
    names = [f"G{number:02d}" for number in range(n_conditions)] + ["DMSO"] * n_controls
    n_columns = -(-len(names) // 6)
    wells = [f"{row}{column:02d}" for row in "BCDEFG" for column in range(2, n_columns + 2)]
    rows, cells = [], []
    for plate in (f"plate {number}" for number in range(1, plates + 1)):
        for well, name in zip(wells, random.permutation(names), strict=False):
            role = "negative_control" if name == "DMSO" else "treated"
            rows.append((plate, well, str(name), role, "" if name == "DMSO" else str(name)))
            n = int(random.integers(30, 50))
            values = random.standard_normal((n, len(FEATURES)))
            values += 0.1 * random.standard_normal(len(FEATURES))
            if name in active:
                values[:, active.index(name)] += size
            made = pd.DataFrame(values.astype(np.float32), columns=list(FEATURES))
            place = {
                "Metadata_Plate": plate, "Metadata_Well": f"{well[0]}{int(well[1:])}",
                "Metadata_Site": random.integers(1, 3, n), "Metadata_ObjectNumber": np.arange(n) + 1,
                "Metadata_compound": str(name), "ImageNumber": 7,
            }  # fmt: skip
            cells.append(pd.concat([pd.DataFrame(place, index=made.index), made], axis=1))
    columns = ["plate", "well", "perturbation", "role", "gene"]
    layout = folder / "layout.csv"
    pd.DataFrame(rows, columns=columns).to_csv(layout, index=False)
    return Written(layout, pd.concat(cells, ignore_index=True))


def average_wells(cells: pd.DataFrame) -> pd.DataFrame:
    """Make profiles of wells, as pycytominer's aggregate writes them."""
    by = cells.groupby(["Metadata_Plate", "Metadata_Well"], as_index=False, sort=False)
    profiles = by[list(FEATURES)].median()
    return profiles.assign(Metadata_Object_Count=by.size()["size"])
