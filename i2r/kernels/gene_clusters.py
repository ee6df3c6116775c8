"""Clusters of genes by their embeddings: how many, how good, and whether runs agree.

Clusters are agglomerative with cosine distance and complete linkage, as in Image2Reg (Paysan et
al., Cell Systems 2025); measures of quality are silhouette [1]_, Calinski-Harabasz [2]_ and
distortion. Agreement of two clusterings is scikit-learn's adjusted Rand index and adjusted mutual
information.

References
----------
.. [1] Rousseeuw 1987, J. Comput. Appl. Math. 20:53. https://doi.org/10.1016/0377-0427(87)90125-7
.. [2] Calinski and Harabasz 1974, Commun. Stat. 3:1. https://doi.org/10.1080/03610927408827101
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial.distance import squareform

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
# Distances of so many bytes are looked at at once: all of 2,000 rows, 200 rows of 20,000.
BLOCK_BYTES = 2**25


class ClusterQuality(NamedTuple):
    """Quality of a clustering.

    Attributes
    ----------
    silhouette
        Mean over genes, -1 to 1; genes alone in their cluster count 0.
    calinski_harabasz
        Variance between clusters over variance within; see `measure_variance_ratio`.
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


def split_distances(
    embeddings: npt.ArrayLike, *, own: float = 0.0, chosen: Ints | None = None
) -> Iterator[tuple[Ints, Floats]]:
    """Give `measure_cosine_distance` in blocks: the numbers of some rows, and their distances.

    Parameters
    ----------
    embeddings
        Shape (n, d).
    own
        What stands for the distance of a row to itself.
    chosen
        The rows; None for all.
    """
    rows = _unit_rows(embeddings)
    numbers = np.arange(len(rows)) if chosen is None else chosen
    step = max(1, BLOCK_BYTES // (8 * max(1, len(rows))))
    for first in range(0, len(numbers), step):
        part = numbers[first : first + step]
        block: Floats = np.clip(1 - rows[part] @ rows.T, 0, 2)
        block[np.arange(len(part)), part] = own
        yield part, block


def condense_distances(embeddings: npt.ArrayLike) -> Floats:
    """Give `measure_cosine_distance` of every two rows once: (n (n - 1) / 2,), as SciPy does."""
    n, filled = len(np.asarray(embeddings)), 0
    condensed = np.empty(n * (n - 1) // 2)
    for numbers, block in split_distances(embeddings):
        for i, row in zip(numbers.tolist(), block, strict=True):
            condensed[filled : filled + n - i - 1] = row[i + 1 :]
            filled += n - i - 1
    return condensed


def cluster_rows(distance: Floats, numbers: npt.ArrayLike) -> Ints:
    """Cluster rows into each of several numbers of clusters.

    Parameters
    ----------
    distance
        Shape (n, n): symmetric, zero on the diagonal; or (n (n - 1) / 2,), every two rows once.
    numbers
        Shape (m,): wanted numbers of clusters, 1 to n.

    Returns
    -------
    ndarray of int64, shape (m, n)
        Clusters 0, 1, ... by falling size, equal ones by their first member.
    """
    wanted = np.asarray(numbers, dtype=int)
    condensed = distance if distance.ndim == 1 else squareform(distance, checks=False)
    tree = linkage(condensed, method="complete")
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
        Shape (n,): with one cluster in all, or one for every row, every silhouette is 0.
    """
    from sklearn.metrics import silhouette_samples

    if not 2 <= len(np.unique(np.asarray(labels))) < len(distance):
        return np.zeros(len(distance))
    silhouettes: Floats = silhouette_samples(distance, labels, metric="precomputed")
    return silhouettes


def measure_cosine_silhouettes(embeddings: npt.ArrayLike, cuts: Ints) -> Floats:
    """Measure silhouettes of several clusterings by cosine distances, without keeping these.

    Parameters
    ----------
    embeddings
        Shape (n, d).
    cuts
        Shape (m, n): from `cluster_rows`.

    Returns
    -------
    ndarray of float64, shape (m, n)
        As from `measure_silhouettes`; a row alone in its cluster has 0.
    """
    found = np.zeros(cuts.shape)
    members = [labels == np.arange(labels.max() + 1)[:, None] for labels in cuts]
    for own, block in split_distances(embeddings):
        for row, labels, inside in zip(found, cuts, members, strict=True):
            sizes = inside.sum(axis=1)
            if not 2 <= len(sizes) < len(labels):
                continue
            sums = block @ inside.T.astype(float)
            at = (np.arange(len(block)), labels[own])
            within = sums[at] / np.maximum(sizes[labels[own]] - 1, 1)
            means = sums / sizes
            means[at] = np.inf
            near = means.min(axis=1)
            larger = np.maximum(within, near)
            gap = np.divide(near - within, larger, out=np.zeros(len(block)), where=larger > 0)
            row[own] = np.where(sizes[labels[own]] > 1, gap, 0)
    return found


def measure_variance_ratio(rows: Floats, labels: npt.ArrayLike) -> float:
    """Divide variance between clusters by variance within, each per degree of freedom.

    Not a number for one cluster in all, or one for every row; 1 where clusters have no spread.
    """
    from sklearn.metrics import calinski_harabasz_score

    n_clusters = len(np.unique(np.asarray(labels)))
    if not 2 <= n_clusters < len(rows):
        return float("nan")
    return float(calinski_harabasz_score(rows, labels))


def measure_clusters(
    embeddings: npt.ArrayLike, silhouettes: Floats, labels: npt.ArrayLike
) -> ClusterQuality:
    """Measure a clustering of rows with their silhouettes, (n,); see `ClusterQuality`."""
    rows = _unit_rows(embeddings)
    of_cluster = [rows[np.asarray(labels) == label] for label in np.unique(np.asarray(labels))]
    within = sum(float(((members - members.mean(axis=0)) ** 2).sum()) for members in of_cluster)
    return ClusterQuality(
        float(silhouettes.mean()),
        measure_variance_ratio(rows, labels),
        within / len(rows),
    )


def compare_neighbours(first: npt.ArrayLike, second: npt.ArrayLike, k: int = 10) -> float:
    """Give the mean share of every row's k nearest others (by cosine) that two embeddings share."""
    n = len(np.asarray(first))
    k = min(k, n - 1)
    if k <= 0:
        return float("nan")
    one, other = list_nearest(first, k), list_nearest(second, k)
    common = sum(len(np.intersect1d(a, b)) for a, b in zip(one, other, strict=True))
    return common / (k * n)


def list_nearest(embeddings: npt.ArrayLike, count: int) -> Ints:
    """List for every row the others of the largest cosines, nearest first, (n, count)."""
    near = []
    for _, block in split_distances(embeddings, own=np.inf):
        farthest = np.partition(block, count - 1, axis=1)[:, count - 1]
        for row, limit in zip(block, farthest, strict=True):
            within = np.flatnonzero(row <= limit)
            near.append(within[np.argsort(row[within], kind="stable")[:count]])
    return np.array(near, dtype=np.int64)


def measure_rank_spread(embeddings: npt.ArrayLike, chosen: Ints | None = None) -> Floats:
    """Measure how much the order of every row's neighbours moves between runs.

    Parameters
    ----------
    embeddings
        Shape (s, n, d): the same rows from several runs.
    chosen
        Shape (m,): the rows whose neighbours are ordered; None for all n.

    Returns
    -------
    ndarray of float64, shape (m,)
        Standard deviation over runs of the rank of another row by distance, averaged over the
        others and divided by their number: 0 where runs agree, 0.29 where each is random and
        there are many.
    """
    runs = np.asarray(embeddings, dtype=float)
    n = runs.shape[1]
    spreads = []
    by_run = [split_distances(run, own=-1, chosen=chosen) for run in runs]
    for blocks in zip(*by_run, strict=True):
        ranks = []
        for _, block in blocks:
            order = np.argsort(block, axis=1, kind="stable")
            rank = np.empty_like(order)
            np.put_along_axis(rank, order, np.broadcast_to(np.arange(n), order.shape), axis=1)
            ranks.append(rank)
        spreads.append(np.std(ranks, axis=0).sum(axis=1))
    spread: Floats = np.concatenate(spreads) / max(n - 1, 1) / max(n - 1, 1)
    return spread


def _unit_rows(embeddings: npt.ArrayLike) -> Floats:
    rows = np.asarray(embeddings, dtype=float)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
