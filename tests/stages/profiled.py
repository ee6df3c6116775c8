"""Experiments of features alone: wells, a layout and a table of features, no image."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from i2r.stages.screen import Screen
from i2r.store import tables
from i2r.store.experiment import Experiment
from i2r.store.ledger import LedgerWriter

NAMES = ("area_um2", "texture", "spots", "roundness")
Change = Callable[[str, np.ndarray], np.ndarray]


def lay_out(contents: Mapping[str, Sequence[str]], **columns: Sequence[str]) -> pd.DataFrame:
    """Lay out plates: for each plate what is in A01, A02, ...; "ctrl" are controls."""
    rows = [
        (plate, f"{'ABCDEFGH'[i // 12]}{i % 12 + 1:02d}", name, "negative_control" if name == "ctrl" else "treated")
        for plate, names in contents.items()
        for i, name in enumerate(names)
    ]  # fmt: skip
    layout = pd.DataFrame(rows, columns=["plate", "well", "perturbation", "role"])
    layout["gene"] = layout["perturbation"].where(layout["role"] == "treated", "")
    return layout.assign(
        dose=float("nan"), replicate="", fields=[["1", "2"]] * len(layout), n_fields=2, height_px=4,
        width_px=4, dtype="uint16", pixel_size_um=1.0, channels=[["DNA"]] * len(layout), **columns,
    )  # fmt: skip


def write_features(
    folder: Path,
    layout: pd.DataFrame,
    *,
    seed: int = 0,
    n_nuclei: int | Mapping[str, int] = 40,
    change: Change = lambda name, values: values,
    scatter: int = 0,
) -> Experiment:
    """Write features of nuclei, normal around plate and well means, changed per perturbation."""
    experiment = Experiment(str(folder), layout=layout, sources=pd.DataFrame())
    experiment.save_description()
    writer = LedgerWriter(experiment.ledger, 1)
    random = np.random.default_rng(seed)
    plates = {plate: random.standard_normal(len(NAMES)) for plate in layout["plate"].unique()}
    for key, row in experiment.layout_by_key.iterrows():
        n = n_nuclei if isinstance(n_nuclei, int) else n_nuclei.get(row["perturbation"], 40)
        n = max(0, n + int(random.integers(-scatter, scatter + 1)) * (n > scatter))
        well = plates[row["plate"]] + 0.1 * random.standard_normal(len(NAMES))
        values = change(row["perturbation"], well + random.standard_normal((n, len(NAMES))))
        table = pd.DataFrame(values.astype(np.float32), columns=list(NAMES))
        place = {
            "plate": row["plate"],
            "well": row["well"],
            "field": np.where(np.arange(n) % 2, "2", "1"),
        }
        table = pd.DataFrame({**place, "label": np.arange(n) + 1, "crop": np.arange(n)}).join(table)
        tables.write_table(experiment.part_url("features", str(key)), table)
        writer.write("features", str(key), "done", "x", result={"nuclei": n})
    writer.close()
    return Experiment(experiment.url, layout=layout)


def screen_features(
    experiment: Experiment, upstream: tuple[str, ...] = ("features",), **options: object
) -> dict[str, pd.DataFrame]:
    """Run the fast screen in this process, whatever its units; give its tables."""
    screen = Screen(method="fast", needs=upstream, **options)  # type: ignore[arg-type]
    keys = screen.keys(experiment)
    writer = LedgerWriter(experiment.ledger, 2)
    for key in keys:
        result = screen.build(experiment, key).compute(scheduler="sync")
        if len(keys) > 1:
            writer.write("screen", key, "done", "x", result=result)
    if len(keys) > 1:
        writer.close()
    screen.finish(experiment, keys).compute(scheduler="sync")
    return {
        name: tables.read_table(experiment.table_url(f"screen{name}"))
        for name in (
            "",
            "-folds",
            "-scores",
            "-calls",
            "-statistics",
            "-left-out",
            "-features",
            "-wells",
            "-genes",
        )
    }
