"""Planted truth of the regulation side: found where it is, not where links are shuffled.

``python -m tests.benchmarks.regulation`` simulates ten seeds with and without the link between
images and network, runs every stage of the regulation side on each, and prints the figures. With
``I2R_DATA`` it also maps expression signatures of over-expressed genes to a real interactome.
"""

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from i2r.cluster import ClusterSpec
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.spec import load_pipeline
from i2r.simulation.regulation import RegulationDesign, write_regulation
from i2r.store.experiment import Experiment, open_experiment

SEEDS = 10


def run_side(folder: Path, design: RegulationDesign) -> tuple[Experiment, float]:
    """Simulate and run one regulation side; give the experiment and the seconds of the run."""
    write_regulation(str(folder), design)
    started = time.perf_counter()
    summary = run_pipeline(
        load_pipeline(str(folder / "pipeline.yaml")), str(folder / "experiment"),
        cluster=ClusterSpec(type="none"), style="none",
    )  # fmt: skip
    assert summary.exit_code == 0
    return open_experiment(str(folder / "experiment")), time.perf_counter() - started


def describe(experiment: Experiment) -> dict[str, float]:
    """Sum up one run."""
    score = experiment.table("map-scores").iloc[0]
    queries = experiment.table("predict-queries")
    answered = queries["answer"] == "ranked"
    quality = experiment.table("genes-quality")
    stability = experiment.table("genes-stability")
    return {
        "p": score["p_permutation"],
        "top_decile": score["top_decile"],
        "median_rank": score["median_rank"],
        "abstained": 1 - answered.mean(),
        "in_set": queries["in_set"].mean(),
        "in_set_answered": queries.loc[answered, "in_set"].mean() if answered.any() else np.nan,
        "set_size": queries.loc[answered, "set_size"].median() if answered.any() else np.nan,
        "link_auc": quality.loc[quality["method"] == "autoencoder", "auc"].mean(),
        "ari": stability["ari"].mean(),
    }


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as folder:
        for linked in (True, False):
            rows, seconds = [], []
            for seed in range(SEEDS):
                design = RegulationDesign(seed=seed, linked=linked)
                experiment, elapsed = run_side(Path(folder) / f"{linked}-{seed}", design)
                rows.append({"seed": seed, **describe(experiment)})
                seconds.append(elapsed)
            table = pd.DataFrame(rows)
            title = "planted link" if linked else "shuffled link"
            print(f"\n{title} ({np.median(seconds):.0f} s a run, one process)")
            print(table.round(3).to_string(index=False))
            beaten = (table["p"] <= 0.01) & (table["top_decile"] >= 0.3)
            verdict = (
                f"p <= 0.01 and top decile >= 3 x chance in {beaten.sum()} of {SEEDS}; sets hold "
                f"{table['in_set'].mean():.1%} of genes"
                if linked
                else f"p > 0.05 in {(table['p'] > 0.05).sum()} of {SEEDS}; abstained from "
                f"{table['abstained'].mean():.1%} of genes"
            )
            print(verdict)
    if "I2R_DATA" in os.environ:
        from tests.benchmarks.signatures import map_signatures

        map_signatures()


if __name__ == "__main__":
    main()
