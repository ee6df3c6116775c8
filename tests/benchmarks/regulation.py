"""Planted truth of the regulation side: found where it is, not where links are shuffled.

``python -m tests.benchmarks.regulation`` simulates ten seeds with and without the link between
images and network, runs every stage of the regulation side on each, and prints the figures; and it
tests whether the map's p-value is uniform over hundreds of shuffled links, because ten say little
(``--only-null`` does this alone: a minute). With ``I2R_DATA`` it also maps expression signatures of
over-expressed genes to a real interactome.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from i2r.cluster import ClusterSpec
from i2r.kernels import mapping, ranking, selection
from i2r.kernels.links import link_genes
from i2r.kernels.network_embedding import embed_spectrally
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.spec import load_pipeline
from i2r.simulation.regulation import RegulationDesign, draw_regulation, write_regulation
from i2r.store.experiment import Experiment, open_experiment

SEEDS = 10
NULL_SEEDS, NULL_DRAWS = 400, 99
# One of each kernel: what is chosen from does not matter to a null, only that it is chosen.
FEW = mapping.GRID[1::8]


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


def draw_pvalue(seed: int) -> float:
    """Give the map's p-value of a small network whose link to the images is shuffled."""
    design = RegulationDesign(
        genes=120, modules=8, perturbed=24, cells=2, linked=False, seed=10_000 + seed
    )
    truth = draw_regulation(design)
    embedded = embed_spectrally(truth.edges, design.genes, dimensions=16)
    perturbed = np.flatnonzero(truth.genes["perturbed"])
    link = link_genes(mapping.scale_rows(embedded, "unit"), perturbed)
    inverses = mapping.invert_kernels(FEW, truth.signatures[perturbed])
    observed = selection.select_nested(FEW, inverses, link).nested
    (null,) = selection.shuffle_links(
        FEW, inverses, link, seed=np.random.SeedSequence([seed, 7]), draws=NULL_DRAWS
    )
    score = float(ranking.score_log_ranks(observed, design.genes))
    return ranking.permutation_pvalue(score, ranking.score_log_ranks(null, design.genes))


def measure_null() -> None:
    """Print how p-values of shuffled links are spread: uniform, if the test is what it says."""
    started = time.process_time()
    p = np.array([draw_pvalue(seed) for seed in range(NULL_SEEDS)])
    few = int((p <= 0.05).sum())
    low, high = ranking.hit_interval(few, len(p))
    # A valid test at 5 % calls two or more of ten shuffled links this often.
    two = stats.binom.sf(1, SEEDS, 0.05)
    print(
        f"\nshuffled link, {len(p)} seeds ({NULL_DRAWS} permutations, options chosen anew): p <= 0.05 "
        f"in {few} ({few / len(p):.1%}, 95 % interval {low:.1%} to {high:.1%}), p <= 0.01 in "
        f"{int((p <= 0.01).sum())}, mean p {p.mean():.2f}, Kolmogorov-Smirnov against uniform "
        f"p = {stats.kstest(p, 'uniform').pvalue:.2f}; {time.process_time() - started:.0f} s.\n"
        f"Of ten seeds a valid test at 5 % finds two or more below it in {two:.0%} of cases."
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only-null", action="store_true")
    only_null = parser.parse_args().only_null
    measure_null()
    if only_null:
        return
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
