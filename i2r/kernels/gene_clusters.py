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

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial.distance import squareform

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


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
        Shape (n,): with one cluster in all, or one for every row, every silhouette is 0.
    """
    from sklearn.metrics import silhouette_samples

    if not 2 <= len(np.unique(np.asarray(labels))) < len(distance):
        return np.zeros(len(distance))
    silhouettes: Floats = silhouette_samples(distance, labels, metric="precomputed")
    return silhouettes


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
    embeddings: npt.ArrayLike, distance: Floats, labels: npt.ArrayLike
) -> ClusterQuality:
    """Measure a clustering of rows; see `ClusterQuality`."""
    rows = _unit_rows(embeddings)
    of_cluster = [rows[np.asarray(labels) == label] for label in np.unique(np.asarray(labels))]
    within = sum(float(((members - members.mean(axis=0)) ** 2).sum()) for members in of_cluster)
    return ClusterQuality(
        float(measure_silhouettes(distance, labels).mean()),
        measure_variance_ratio(rows, labels),
        within / len(rows),
    )


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


def _unit_rows(embeddings: npt.ArrayLike) -> Floats:
    rows = np.asarray(embeddings, dtype=float)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
