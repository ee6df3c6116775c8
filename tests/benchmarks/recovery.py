"""Is what was planted found, end to end? ``python -m tests.benchmarks.recovery [--seeds N] [--first S]``.

Simulates smoke screens of images whose effects follow the modules of a network, runs every stage from
images to predicted genes, and compares with the truth; then deals the genes to places in the network
at random, as the images stay, and runs what follows the screen again. About two minutes a seed in one
process; every seed is printed when it is done. The map's p-value is tested over hundreds of shuffled
links by `tests.benchmarks.regulation`.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from i2r.cluster import ClusterSpec
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.spec import parse_pipeline
from i2r.simulation import PRESETS, write_screen
from i2r.simulation.recovery import Recovery, measure_recovery
from i2r.simulation.screens import write_network
from i2r.store.experiment import open_experiment

TABLES = ("interactions.tsv", "expression.csv", "cells.csv", "modules.gmt")
REGULATION = {"interactome", "genes", "map", "predict"}


def run_stages(folder: Path, text: str, only: set[str] | None, truth: Path) -> Recovery:
    """Run a pipeline in the experiment of a folder and compare with the truth."""
    content = json.loads(text)
    content["stages"] = [stage for stage in content["stages"] if stage["stage"] != "report"]
    pipeline = parse_pipeline(content, where="benchmark", folder=str(folder))
    url = str(folder / "experiment")
    summary = run_pipeline(
        pipeline, url, cluster=ClusterSpec(type="none"), style="none", only=only
    )  # fmt: skip
    assert summary.exit_code == 0, [unit.error for unit in summary.failed]
    genes = str(folder / "truth" / "genes.csv")
    return measure_recovery(open_experiment(url), genes, str(truth / "modules.csv"))


def measure_seed(folder: Path, seed: int) -> list[dict[str, Any]]:
    """Give one row with the planted link and one with shuffled ones."""
    design = PRESETS["smoke"]._replace(seed=seed)
    write_screen(str(folder), design)
    text = (folder / "pipeline.yaml").read_text()
    rows = []
    for linked in (True, False):
        where, only = folder, None
        if not linked:
            where, only = folder / "shuffled", REGULATION
            write_network(str(where), design._replace(linked=False))
            for name in TABLES:
                text = text.replace(f'"{name}"', f'"shuffled/{name}"')
        began = time.perf_counter()
        found = run_stages(folder, text, only, where / "truth")._asdict()
        seconds = time.perf_counter() - began
        rows.append({"seed": seed, "linked": linked, **found, "seconds": seconds})
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    rows = []
    for seed in range(given.first, given.first + given.seeds):
        with tempfile.TemporaryDirectory() as folder:
            own = measure_seed(Path(folder) / "screen", seed)
        print(pd.DataFrame(own).round(3).to_string(index=False, header=not rows), flush=True)
        rows += own
    table = pd.DataFrame(rows)
    linked, shuffled = table[table["linked"]], table[~table["linked"]]
    print(
        f"planted link: p <= 0.01 in {(linked['p_map'] <= 0.01).sum()} of {len(linked)} seeds, "
        f"{linked['planted_called'].sum() / linked['planted'].sum():.1%} of planted genes and "
        f"{linked['nulls_called'].sum() / linked['nulls'].sum():.1%} of null genes called\n"
        f"shuffled link: p > 0.05 in {(shuffled['p_map'] > 0.05).sum()} of {len(shuffled)} seeds, "
        f"{shuffled['answered'].sum()} of {shuffled['asked'].sum()} genes answered"
    )


if __name__ == "__main__":
    main()
