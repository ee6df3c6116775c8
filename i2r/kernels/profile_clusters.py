"""Hierarchical clusters of perturbations by their profiles: how many, and how good.

Agglomerative with Euclidean distance and complete linkage, 2 to 15 clusters, as Image2Reg (Paysan
et al., Cell Systems 2025) clusters its mean embeddings; measures of quality are silhouette
(Rousseeuw 1987, doi:10.1016/0377-0427(87)90125-7) and Calinski-Harabasz (1974,
doi:10.1080/03610927408827101).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import pdist, squareform

from i2r.kernels.gene_clusters import cluster_rows, measure_silhouettes, measure_variance_ratio

Floats = npt.NDArray[np.float64]
Seed = int | np.random.SeedSequence
MAX_CLUSTERS = 15
NULL_DRAWS = 20


class ProfileClusters(NamedTuple):
    """A tree of profiles, cut into every number of clusters.

    Attributes
    ----------
    numbers
        Shape (m,): numbers of clusters.
    silhouette, calinski_harabasz
        Shape (m,): quality of each cut.
    null_silhouette
        Shape (m,): mean silhouette of profiles whose dimensions are permuted one by one, which
        keeps their spread and takes what goes together apart.
    labels
        Shape (m, n), int64: clusters 0, 1, ... by falling size.
    order
        Shape (n,), int64: the leaves of the tree from one side to the other.
    """

    numbers: npt.NDArray[np.int64]
    silhouette: Floats
    calinski_harabasz: Floats
    null_silhouette: Floats
    labels: npt.NDArray[np.int64]
    order: npt.NDArray[np.int64]

    @property
    def best(self) -> int:
        """Index of the cut with the highest silhouette, the first of equal ones."""
        return int(np.argmax(self.silhouette))


def order_rows(rows: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Give the leaves of the tree of rows, shape (n, dim), from one side to the other."""
    values = np.asarray(rows, dtype=np.float64)
    if len(values) < 3:
        return np.arange(len(values), dtype=np.int64)
    return leaves_list(linkage(pdist(values), method="complete")).astype(np.int64)


def cluster_profiles(profiles: npt.ArrayLike, *, seed: Seed) -> ProfileClusters | None:
    """Cluster profiles into 2 to 15 clusters, or to one fewer than there are profiles.

    Parameters
    ----------
    profiles
        Shape (n, dim).
    seed
        Of the null.

    Returns
    -------
    ProfileClusters or None
        None for fewer than three profiles, of which no number of clusters says anything.
    """
    rows = np.asarray(profiles, dtype=np.float64)
    if len(rows) < 3:
        return None
    numbers = np.arange(2, min(MAX_CLUSTERS, len(rows) - 1) + 1)
    distance = squareform(pdist(rows))
    labels = cluster_rows(distance, numbers)
    random = np.random.default_rng(seed)
    null = []
    for _ in range(NULL_DRAWS):
        mixed = squareform(pdist(random.permuted(rows, axis=0)))
        cuts = cluster_rows(mixed, numbers)
        null.append([measure_silhouettes(mixed, cut).mean() for cut in cuts])
    tree = linkage(squareform(distance, checks=False), method="complete")
    return ProfileClusters(
        numbers=numbers.astype(np.int64),
        silhouette=np.array([measure_silhouettes(distance, cut).mean() for cut in labels]),
        calinski_harabasz=np.array([measure_variance_ratio(rows, cut) for cut in labels]),
        null_silhouette=np.mean(null, axis=0),
        labels=labels,
        order=leaves_list(tree).astype(np.int64),
    )
