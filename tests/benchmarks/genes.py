"""Leave-one-out trainings of graph autoencoders: all at once and one after another.

``python -m tests.benchmarks.genes`` trains 39 models on a network of the published size (249 genes,
526 edges), each without the label of one gene, stacked and as a textbook module one by one. Seconds
are of the processor, one thread, so that a busy machine does not matter; the textbook is timed on
some of the genes and scaled up. Beside every ratio stands the largest one that this processor could
give: stacking saves calls, sharing saves epochs, but no program multiplies faster than the processor.
"""

import dataclasses
import time

import networkx as nx
import numpy as np
import torch

from i2r.models.gae import Variant, train_autoencoders
from i2r.models.gae_settings import COMPACT, PUBLISHED, AutoencoderSettings
from tests.models.textbook_gae import train_one

GENES, EDGES, LABELLED, CLASSES = 249, 526, 39, 10


def draw_problem(width: int) -> tuple[np.ndarray, np.ndarray, list[Variant]]:
    """Draw a network, features, and one variant per held-out label."""
    random = np.random.default_rng(0)
    edges = np.array(nx.gnm_random_graph(GENES, EDGES, seed=1).edges())
    labels = np.full(GENES, -1)
    labels[:LABELLED] = random.integers(0, CLASSES, LABELLED)
    variants = []
    for gene in range(LABELLED):
        own = labels.copy()
        own[gene] = -1
        variants.append(Variant(own))
    return edges, random.standard_normal((GENES, width)), variants


def measure_rate(size: int = 1024) -> float:
    """Measure how many operations a second a product of matrices makes."""
    a = torch.rand(size, size)
    seconds = []
    for _ in range(5):
        started = time.process_time()
        a @ a
        seconds.append(time.process_time() - started)
    return 2 * size**3 / min(seconds)


def count_operations(settings: AutoencoderSettings, width: int, epochs: int) -> float:
    """Count the operations of the products of all models: forward, and twice that backward.

    Pre-training is one model's; the first layer's input needs no gradient.
    """
    s = settings
    first = 2 * GENES * width * s.hidden
    forward = first + 2 * GENES * s.hidden * (s.hidden + s.latent)
    return (3 * forward - first) * (s.pretraining + epochs * LABELLED)


def compare(name: str, settings: AutoencoderSettings, width: int, *, alone: int) -> None:
    """Print the time of all trainings, stacked and one after another."""
    edges, features, variants = draw_problem(width)
    started = time.process_time()
    stacked = train_autoencoders(edges, features, variants, seeds=[5], settings=settings)
    ours = time.process_time() - started
    started = time.process_time()
    apart = []
    for gene in range(0, LABELLED, LABELLED // alone):
        single, _ = train_one(edges, features, variants[gene], CLASSES, 5, settings)
        apart.append(float(np.median(np.abs(single - stacked.embeddings[0, gene]))))
    n = len(range(0, LABELLED, LABELLED // alone))
    theirs = (time.process_time() - started) / n * LABELLED
    epochs = int(np.isfinite(stacked.losses[0, :, :, 0]).any(axis=0).sum())
    least = count_operations(settings, width, epochs) / measure_rate()
    print(
        f"{name}: {LABELLED} leave-one-out trainings {ours:.2f} s stacked, {theirs:.1f} s one after "
        f"another (from {n}), ratio {theirs / ours:.1f}; median difference of an embedding {np.median(apart):.1g}; "
        f"the products alone take {least:.2f} s, so no program reaches more than {theirs / least:.1f} here"
    )


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    train_autoencoders(*draw_problem(8)[:2], draw_problem(8)[2][:1], seeds=[0])
    compare("compact (the default)", COMPACT, 64, alone=9)
    compare(
        "compact, without shared pre-training",
        dataclasses.replace(COMPACT, pretraining=0, epochs=100, patience=100),
        64,
        alone=5,
    )
    compare("published widths, 3 epochs", dataclasses.replace(PUBLISHED, epochs=3), 1176, alone=3)


if __name__ == "__main__":
    main()
