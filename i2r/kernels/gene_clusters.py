"""Clusters of genes by their embeddings: how many, how good, and whether runs agree.

Clusters are agglomerative with cosine distance and complete linkage, as in Image2Reg (Paysan et
al., Cell Systems 2025); measures of quality are silhouette [1]_, Calinski-Harabasz [2]_ and
distortion, measures of agreement the adjusted Rand index [3]_ and adjusted mutual information [4]_.

References
----------
.. [1] Rousseeuw 1987, J. Comput. Appl. Math. 20:53. https://doi.org/10.1016/0377-0427(87)90125-7
.. [2] Calinski and Harabasz 1974, Commun. Stat. 3:1. https://doi.org/10.1080/03610927408827101
.. [3] Hubert and Arabie 1985, J. Classif. 2:193. https://doi.org/10.1007/BF01908075
.. [4] Vinh, Epps and Bailey 2010, Information theoretic measures for clusterings comparison, JMLR
   11:2837.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial.distance import squareform
from scipy.special import gammaln

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class ClusterQuality(NamedTuple):
    """Quality of a clustering.

    Attributes
    ----------
    silhouette
        Mean over genes, -1 to 1; genes alone in their cluster count 0.
    calinski_harabasz
        Variance between clusters over variance within, each per degree of freedom; infinite
        where clusters have no spread.
    distortion
        Mean squared distance of genes, scaled to unit length, to the mean of their cluster.
    """

    silhouette: float
    calinski_harabasz: float
    distortion: float


def measure_cosine_distance(embeddings: npt.ArrayLike) -> Floats:
    """Give one minus the cosine of every two rows, (n, n); rows of zeros are 1 from all others."""
    rows = _unit_rows(embeddings)
    distance: Floats = np.clip(1 - rows @ rows.T, 0, 2)
    np.fill_diagonal(distance, 0)
    return distance


def cluster_rows(distance: Floats, numbers: npt.ArrayLike) -> Ints:
    """Cluster rows into each of several numbers of clusters.

    Parameters
    ----------
    distance
        Shape (n, n): symmetric, zero on the diagonal.
    numbers
        Shape (m,): wanted numbers of clusters, 1 to n.

    Returns
    -------
    ndarray of int64, shape (m, n)
        Clusters 0, 1, ... by falling size, equal ones by their first member.
    """
    wanted = np.asarray(numbers, dtype=int)
    tree = linkage(squareform(distance, checks=False), method="complete")
    cuts = cut_tree(tree, n_clusters=wanted).T
    return np.stack([_order_by_size(cut) for cut in cuts])


def _order_by_size(labels: npt.NDArray[np.integer]) -> Ints:
    """Number clusters by falling size."""
    _, first, inverse, counts = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.lexsort((first, -counts))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return place[inverse].astype(np.int64)


def measure_silhouettes(distance: Floats, labels: npt.ArrayLike) -> Floats:
    """Measure how much nearer each row is to its own cluster than to the next one, (n,).

    Parameters
    ----------
    distance
        Shape (n, n).
    labels
        Shape (n,): with one cluster in all, every silhouette is 0.
    """
    _, labels = np.unique(np.asarray(labels), return_inverse=True)
    counts = np.bincount(labels)
    if len(counts) < 2:
        return np.zeros(len(labels))
    member = np.zeros((len(labels), len(counts)))
    member[np.arange(len(labels)), labels] = 1
    sums = distance @ member
    rows = np.arange(len(labels))
    own = sums[rows, labels] / np.maximum(counts[labels] - 1, 1)
    means = sums / counts
    means[rows, labels] = np.inf
    other = means.min(axis=1)
    scale = np.maximum(own, other)
    value = np.divide(other - own, scale, out=np.zeros_like(own), where=scale > 0)
    silhouettes: Floats = np.where(counts[labels] > 1, value, 0.0)
    return silhouettes


def measure_clusters(
    embeddings: npt.ArrayLike, distance: Floats, labels: npt.ArrayLike
) -> ClusterQuality:
    """Measure a clustering of rows; see `ClusterQuality`."""
    rows = _unit_rows(embeddings)
    _, labels = np.unique(np.asarray(labels), return_inverse=True)
    counts = np.bincount(labels)
    sums = np.zeros((len(counts), rows.shape[1]))
    np.add.at(sums, labels, rows)
    means = sums / counts[:, None]
    within = float(((rows - means[labels]) ** 2).sum())
    between = float((counts[:, None] * (means - rows.mean(axis=0)) ** 2).sum())
    n, k = len(rows), len(counts)
    if k < 2 or n == k:
        ratio = float("nan")
    else:
        ratio = between / (k - 1) / (within / (n - k)) if within > 0 else float("inf")
    silhouette = float(measure_silhouettes(distance, labels).mean())
    return ClusterQuality(silhouette, ratio, within / n)


def adjusted_rand(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Give the adjusted Rand index of two clusterings: 1 for equal ones, 0 for chance."""
    table = _cross(first, second)
    pairs = (table * (table - 1) / 2).sum()
    rows, columns = ((m * (m - 1) / 2).sum() for m in (table.sum(axis=1), table.sum(axis=0)))
    n = table.sum()
    expected = rows * columns / (n * (n - 1) / 2) if n > 1 else 0.0
    highest = (rows + columns) / 2
    return 1.0 if highest == expected else float((pairs - expected) / (highest - expected))


def adjusted_mutual_information(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Give the adjusted mutual information of two clusterings, with the mean of entropies."""
    table = _cross(first, second).astype(float)
    n, rows, columns = table.sum(), table.sum(axis=1), table.sum(axis=0)
    if len(rows) == len(columns) == 1 or len(rows) == len(columns) == n:
        return 1.0
    known = table > 0
    outer = rows[:, None] * columns[None]
    information = (table[known] / n * np.log(n * table[known] / outer[known])).sum()
    entropies = [-(m / n * np.log(m / n)).sum() for m in (rows, columns)]
    expected = _expect_information(rows, columns)
    spread = np.mean(entropies) - expected
    # Where chance alone reaches the entropy, agreement means nothing.
    if abs(spread) < np.finfo(float).eps:
        return 0.0
    return float((information - expected) / spread)


def _expect_information(rows: Floats, columns: Floats) -> float:
    """Expect the mutual information of random clusterings with these sizes (Vinh et al. 2010)."""
    n = rows.sum()
    total = 0.0
    for a in rows:
        for b in columns:
            k = np.arange(max(1, a + b - n), min(a, b) + 1)
            weight = np.exp(
                gammaln(a + 1) + gammaln(b + 1) + gammaln(n - a + 1) + gammaln(n - b + 1)
                - gammaln(n + 1) - gammaln(k + 1) - gammaln(a - k + 1) - gammaln(b - k + 1)
                - gammaln(n - a - b + k + 1)
            )  # fmt: skip
            total += float((k / n * np.log(n * k / (a * b)) * weight).sum())
    return total


def compare_neighbours(first: npt.ArrayLike, second: npt.ArrayLike, k: int = 10) -> float:
    """Give the mean share of every row's k nearest others (by cosine) that two embeddings share."""
    found = []
    for embeddings in (first, second):
        distance = measure_cosine_distance(embeddings)
        np.fill_diagonal(distance, np.inf)
        k = min(k, len(distance) - 1)
        near = np.argsort(distance, axis=1, kind="stable")[:, :k]
        member = np.zeros(distance.shape, dtype=bool)
        np.put_along_axis(member, near, True, axis=1)
        found.append(member)
    return float((found[0] & found[1]).sum() / (k * len(found[0]))) if k else float("nan")


def measure_rank_spread(embeddings: npt.ArrayLike) -> Floats:
    """Measure how much the order of every row's neighbours moves between runs, (n,).

    Parameters
    ----------
    embeddings
        Shape (s, n, d): the same rows from several runs.

    Returns
    -------
    ndarray of float64, shape (n,)
        Standard deviation over runs of the rank of another row by distance, averaged over the
        others and divided by their number: 0 where runs agree, 0.29 where each is random and
        there are many.
    """
    runs = np.asarray(embeddings, dtype=float)
    n = runs.shape[1]
    ranks = []
    for run in runs:
        distance = measure_cosine_distance(run)
        np.fill_diagonal(distance, -1)
        order = np.argsort(distance, axis=1, kind="stable")
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.broadcast_to(np.arange(n), (n, n)), axis=1)
        ranks.append(rank)
    spread: Floats = np.std(ranks, axis=0).sum(axis=1) / max(n - 1, 1) / max(n - 1, 1)
    return spread


def _cross(first: npt.ArrayLike, second: npt.ArrayLike) -> Ints:
    """Count rows by their two clusters."""
    _, a = np.unique(np.asarray(first), return_inverse=True)
    _, b = np.unique(np.asarray(second), return_inverse=True)
    table = np.zeros((a.max() + 1, b.max() + 1), dtype=np.int64)
    np.add.at(table, (a, b), 1)
    return table


def _unit_rows(embeddings: npt.ArrayLike) -> Floats:
    rows = np.asarray(embeddings, dtype=float)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
