"""Do runs of gene embeddings agree on a real network? ``python -m tests.benchmarks.stability``.

Needs ``I2R_DATA``. The network is the plain published tree of the pruned protein interactome at a
beta of 0.5 with all interactions among its genes; features are the expression of 69 lines and
Hallmark sets. Joins of five seeds are compared with each other, for the compact settings and for
others beside them: clusters (adjusted Rand index), the ten nearest genes, and how well links that
were held back are predicted.
"""

import os
import sys
import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import adjusted_rand_score

from i2r.analysis.regulation.gene_embeddings import DIMENSIONS, reduce_features
from i2r.kernels import gene_clusters as clusters
from i2r.kernels.classification import measure_area_under_curve
from i2r.kernels.network_embedding import embed_spectrally
from i2r.kernels.pcst import solve_pcst
from i2r.models.gae import Variant, train_autoencoders
from i2r.models.gae_settings import COMPACT, AutoencoderSettings
from tests.benchmarks.steiner import prune_interactome

BETA, SEEDS, JOINS, NUMBERS = 0.5, 5, 4, (8, 10)
SETTINGS = {
    "compact (the default)": COMPACT,
    "rate 0.01, 10 and 20 % held back": replace(
        COMPACT, learning_rate=0.01, validation=0.1, test=0.2
    ),
    "rate 0.005, 5 and 10 %": replace(COMPACT, learning_rate=0.005, validation=0.05, test=0.1),
    "rate 0.002, 5 and 10 %": replace(COMPACT, learning_rate=0.002, validation=0.05, test=0.1),
    "the same, messages along all": replace(
        COMPACT, learning_rate=0.002, validation=0.05, test=0.1, messages="all"
    ),
}


def read_problem(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Give the edges of the network and the features of its genes."""
    genes, edges, costs, prizes = prune_interactome(folder)
    tree = solve_pcst(edges, costs, BETA * prizes, improve=False)
    inside = np.zeros(len(genes), dtype=bool)
    inside[tree.vertices] = True
    number = np.cumsum(inside) - 1
    names = genes[inside]
    lines = pd.read_csv(folder / "u2os_expression" / "hpa_celline_nx_69lines.csv.gz")
    lines = lines.dropna(subset=["symbol"]).drop_duplicates("symbol").set_index("symbol")
    levels = np.log2(1 + lines.iloc[:, 1:].reindex(names).astype(float))
    text = (folder / "genesets" / "msigdb_hallmark_v7.0_symbols.gmt").read_text()
    sets = [set(line.split("\t")[2:]) for line in text.splitlines()]
    members = np.array([[gene in own for own in sets] for gene in names], dtype=float)
    values = np.concatenate([levels.fillna(levels.mean()).to_numpy(), members], axis=1)
    return number[edges[inside[edges].all(axis=1)]], reduce_features(values, 64)


def join(
    edges: np.ndarray, features: np.ndarray, first: int, settings: AutoencoderSettings
) -> tuple[np.ndarray, float, np.ndarray, float]:
    """Join five seeds, and spectral embeddings of the same links; with the mean AUC of each."""
    n = len(features)
    trained = train_autoencoders(
        edges, features, [Variant(np.full(n, -1))], seeds=range(first, first + SEEDS),
        settings=settings,
    )  # fmt: skip
    spectral = [embed_spectrally(s.training, n, dimensions=DIMENSIONS) for s in trained.splits]
    found, alone = [], []
    for scores, split, rows in zip(trained.test_scores, trained.splits, spectral, strict=True):
        pairs = np.concatenate([split.test, split.test_non_edges])
        truth = np.arange(len(pairs)) < len(split.test)
        found.append(measure_area_under_curve(truth, scores[0].astype(float)))
        made = (rows[pairs[:, 0]] * rows[pairs[:, 1]]).sum(axis=1)
        alone.append(measure_area_under_curve(truth, made))
    joined = np.concatenate(list(trained.embeddings[:, 0]), axis=1)
    return joined, float(np.mean(found)), np.concatenate(spectral, axis=1), float(np.mean(alone))


def compare(name: str, rows: list[np.ndarray], auc: float, seconds: float) -> None:
    """Print how well joins agree."""
    cuts = [clusters.cluster_rows(clusters.measure_cosine_distance(r), NUMBERS) for r in rows]
    pairs = list(combinations(range(len(rows)), 2))
    aris = [[adjusted_rand_score(cuts[a][k], cuts[b][k]) for a, b in pairs] for k in (0, 1)]
    near = np.mean([clusters.compare_neighbours(rows[a], rows[b]) for a, b in pairs])
    print(
        f"{name:34} ARI {np.mean(aris[0]):.3f} (8 clusters, {min(aris[0]):.2f} to "
        f"{max(aris[0]):.2f}), {np.mean(aris[1]):.3f} (10); {near:.1%} of ten nearest in common; "
        f"links held back: AUC {auc:.3f}; {seconds:.0f} s",
        flush=True,
    )


def main() -> None:
    """Print a line for each of the settings."""
    torch.set_num_threads(1)
    edges, features = read_problem(Path(os.environ["I2R_DATA"]))
    print(f"{len(features)} genes, {len(edges)} interactions; {JOINS} joins of {SEEDS} seeds")
    for name, settings in SETTINGS.items():
        used = time.process_time()
        made = [join(edges, features, SEEDS * i, settings) for i in range(JOINS)]
        seconds = time.process_time() - used
        compare(name, [m[0] for m in made], float(np.mean([m[1] for m in made])), seconds)
        alone = float(np.mean([m[3] for m in made]))
        compare("  spectral, of the same links", [m[2] for m in made], alone, 0.0)


if __name__ == "__main__":
    if "I2R_DATA" not in os.environ:
        sys.exit("set I2R_DATA to the folder with the data sets")
    main()
