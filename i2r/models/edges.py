"""Edges of a network: which are kept from training, which pairs are none, and how messages pass."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Pairs = npt.NDArray[np.int64]


class EdgeSplit(NamedTuple):
    """Edges for training, validation and test, shape (m, 2), with as many non-edges as edges."""

    training: Pairs
    validation: Pairs
    test: Pairs
    validation_non_edges: Pairs
    test_non_edges: Pairs


def split_edges(edges: Pairs, n: int, *, validation: float, test: float, seed: int) -> EdgeSplit:
    """Split undirected edges at random.

    Parameters
    ----------
    edges
        Shape (m, 2), each edge once.
    n
        Number of genes.
    validation, test
        Shares, rounded down: of 526 edges, 10 and 20 percent are 52 and 105.
    seed
        Decides the split and the non-edges.

    Raises
    ------
    ValueError
        If a part would be empty, or the network lacks so many non-edges.
    """
    n_validation, n_test = int(validation * len(edges)), int(test * len(edges))
    if min(n_validation, n_test, len(edges) - n_validation - n_test) < 1:
        raise ValueError(
            f"{len(edges)} edges can't be split into training, {validation:.0%} for validation and "
            f"{test:.0%} for the test: take a larger network"
        )
    random = np.random.default_rng([seed, 0])
    order = random.permutation(len(edges))
    held = draw_non_edges(edges, n, n_validation + n_test, random)
    return EdgeSplit(
        edges[order[n_validation + n_test :]],
        edges[order[:n_validation]],
        edges[order[n_validation : n_validation + n_test]],
        held[:n_validation],
        held[n_validation:],
    )


def draw_non_edges(edges: Pairs, n: int, count: int, random: np.random.Generator) -> Pairs:
    """Draw pairs of different genes without an edge, with replacement, shape (count, 2).

    Raises
    ------
    ValueError
        If every pair is an edge.
    """
    low, high = edges.min(axis=1), edges.max(axis=1)
    taken = np.unique(low * n + high)
    if len(taken) >= n * (n - 1) // 2:
        raise ValueError(f"all pairs of {n} genes are edges: there are no non-edges to learn from")
    found = np.empty((0, 2), dtype=np.int64)
    while len(found) < count:
        # A few more than wanted, so that one round is mostly enough.
        pairs = random.integers(0, n, (count + count // 4 + 16, 2))
        codes = pairs.min(axis=1) * n + pairs.max(axis=1)
        place = np.minimum(np.searchsorted(taken, codes), len(taken) - 1)
        found = np.concatenate(
            [found, pairs[(pairs[:, 0] != pairs[:, 1]) & (taken[place] != codes)]]
        )
    return found[:count]


def draw_pairs(
    edges: Pairs, n: int, random: np.random.Generator, *, most: int
) -> tuple[Pairs, Pairs]:
    """Draw the pairs of an epoch: all edges, or some of many, and as many pairs that are none."""
    some = edges
    if len(edges) > most:
        some = edges[random.choice(len(edges), most, replace=False)]
    return some, draw_non_edges(edges, n, len(some), random)


def normalise_adjacency(edges: Sequence[Pairs], n: int) -> Tensor:
    """Make the matrix along which messages pass, one block on the diagonal per set of edges.

    ``D^-1/2 (A + I) D^-1/2`` with the degrees of ``A + I`` (Kipf and Welling 2017,
    doi:10.48550/arXiv.1609.02907).

    Returns
    -------
    sparse Tensor, shape (blocks * n, blocks * n), float32
    """
    rows, columns, values = [], [], []
    for block, pairs in enumerate(edges):
        loops = np.arange(n)
        row = np.concatenate([pairs[:, 0], pairs[:, 1], loops])
        column = np.concatenate([pairs[:, 1], pairs[:, 0], loops])
        degree = np.bincount(row, minlength=n)
        rows.append(row + block * n)
        columns.append(column + block * n)
        values.append(1 / np.sqrt(degree[row] * degree[column]))
    indices = torch.from_numpy(np.stack([np.concatenate(rows), np.concatenate(columns)]))
    weights = torch.from_numpy(np.concatenate(values)).float()
    size = len(edges) * n
    return torch.sparse_coo_tensor(indices, weights, (size, size), check_invariants=True).coalesce()
