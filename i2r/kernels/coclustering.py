"""Do two spaces put the same things together: mutual information of their clusters.

As in Image2Reg (Paysan et al., Cell Systems 2025): both spaces are cut into every number of
clusters, and the mutual information of two cuts is compared with that of cuts whose members are
dealt anew.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from i2r.kernels.gene_clusters import cluster_rows

Floats = npt.NDArray[np.float64]


class Coclustering(NamedTuple):
    """Mutual information of every two cuts, and how often chance reaches it.

    Attributes
    ----------
    information : (k, k) float64
        In nats: of a cut of the first space (rows) and one of the second.
    pvalues : (k, k) float64
        (1 + draws that reach it) / (1 + draws).
    """

    information: Floats
    pvalues: Floats


def compare_spaces(
    first: Floats, second: Floats, numbers: Sequence[int], *, draws: int, seed: int
) -> Coclustering:
    """Test whether two spaces put the same rows together.

    Parameters
    ----------
    first, second
        Shape (n, n): distances of the same rows in either space.
    numbers
        Numbers of clusters, each from 1 to n.
    draws
        How often rows are dealt anew.
    seed
        Of the draws.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"distances: shapes {first.shape} and {second.shape}, expected the same")
    n, random = len(first), np.random.default_rng(seed)
    one, other = (_spread(cluster_rows(d, numbers), numbers) for d in (first, second))
    observed = _measure(one, other, numbers)
    reached = np.zeros(observed.shape)
    for _ in range(draws):
        reached += _measure(one, other[random.permutation(n)], numbers) >= observed - 1e-12
    return Coclustering(observed, (1 + reached) / (1 + draws))


def _spread(cuts: npt.NDArray[np.int64], numbers: Sequence[int]) -> Floats:
    """Give a column per cluster of every cut, 1 for its members."""
    return np.concatenate([np.eye(k)[own] for own, k in zip(cuts, numbers, strict=True)], axis=1)


def _measure(one: Floats, other: Floats, numbers: Sequence[int]) -> Floats:
    """Measure the mutual information of every two cuts."""
    n = len(one)
    both = one.T @ other
    expected = np.outer(one.sum(axis=0), other.sum(axis=0)) / n
    terms = np.zeros_like(both)
    np.log(both / expected, out=terms, where=both > 0)
    starts = np.concatenate([[0], np.cumsum(numbers)[:-1]])
    parts = np.add.reduceat(np.add.reduceat(both * terms / n, starts, axis=0), starts, axis=1)
    information: Floats = np.maximum(parts, 0)
    return information
