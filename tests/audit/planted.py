"""Tables of nuclei with planted leaks, and none of i2r's own simulation."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

N_ROWS, N_COLUMNS, N_CONDITIONS = 8, 12, 40


class Planted(NamedTuple):
    """What is wrong with a screen; everything else is as it should be."""

    gradient: float = 0.0
    outer_controls: bool = False
    edge: float = 0.0
    toxic: int = 0
    crowding: float = 0.0
    scale: float = 0.0
    stray: float = 0.0
    odd_controls: float = 0.0
    active: int = 4
    plates: int = 4
    features: int = 12


def write_screen(folder: Path, planted: Planted, *, seed: int = 0, n_nuclei: int = 40) -> Path:
    """Write ``layout.csv`` and ``cells.parquet``: 40 conditions, 16 controls, on every plate anew."""
    p, random = planted, np.random.default_rng(seed)
    d, places = p.features, np.arange(N_ROWS * N_COLUMNS)
    rim = np.isin(places % N_COLUMNS, (0, N_COLUMNS - 1))
    y, x = places // N_COLUMNS / 3.5 - 1, places % N_COLUMNS / 5.5 - 1
    surface = np.column_stack([x, y, x * y, x**2 - 0.5]) @ random.standard_normal((4, d))
    field = p.gradient * surface / surface.std(axis=0)
    field = field + p.edge * rim[:, None] * np.sign(random.standard_normal(d))
    crowd = random.standard_normal(d)
    layout, cells = [], []
    for number in range(p.plates):
        scale = np.exp(p.scale * random.standard_normal(d)) if number else np.ones(d)
        shift = 3 * random.standard_normal(d)
        able = places[rim] if p.outer_controls else places
        controls = random.choice(able, 16, replace=False)
        rest = np.setdiff1d(places[~rim] if p.outer_controls else places, controls)
        treated = random.choice(rest, N_CONDITIONS, replace=False)
        half = np.sign(np.arange(16) % 2 - 0.5)
        for index, place in enumerate([*controls, *treated]):
            k = index - 16
            is_toxic = 0 <= k - p.active < p.toxic
            n = max(3, random.poisson(random.uniform(5, 15) if is_toxic else n_nuclei))
            centre = 0.25 * random.standard_normal(d) + field[place]
            centre = centre + p.crowding * crowd * np.log2(n / n_nuclei)
            if 0 <= k < p.active:
                centre[k % d] += 1.2
            if index < 16:
                centre = centre + p.odd_controls * half[index] * np.eye(d)[0]
            if random.random() < p.stray:
                centre = centre + 3 * random.standard_normal(d)
            values = (centre + random.standard_normal((n, d))) * scale + shift
            well = f"{'ABCDEFGH'[place // N_COLUMNS]}{place % N_COLUMNS + 1:02d}"
            name = "DMSO" if k < 0 else f"C{k:02d}"
            layout.append((f"P{number}", well, name, "negative_control" if k < 0 else "treated"))
            made = pd.DataFrame(
                values.astype(np.float32), columns=[f"Cells_F{i}" for i in range(d)]
            )
            cells.append(made.assign(Metadata_Plate=f"P{number}", Metadata_Well=well))
    columns = ["plate", "well", "perturbation", "role"]
    pd.DataFrame(layout, columns=columns).to_csv(folder / "layout.csv", index=False)
    pd.concat(cells, ignore_index=True).to_parquet(folder / "cells.parquet")
    return folder
