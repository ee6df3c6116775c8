"""Clusters of profiles: planted ones are found, scores are scikit-learn's, chance is shown."""

import numpy as np
import pytest
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score, calinski_harabasz_score, silhouette_score

from i2r.kernels.profile_clusters import cluster_profiles


def draw(sizes: tuple[int, ...], distance: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    centres = random.normal(size=(len(sizes), 8)) * distance
    return centres[truth] + random.normal(size=(truth.size, 8)) * 0.3, truth


def test_planted_clusters_are_found_and_beat_the_null() -> None:
    profiles, truth = draw((6, 5, 4, 3), 3.0)
    found = cluster_profiles(profiles, seed=0)
    assert found.numbers[found.best] == 4
    assert adjusted_rand_score(found.labels[found.best], truth) == 1
    assert found.silhouette[found.best] > found.null_silhouette[found.best] + 0.3
    of_leaf = truth[found.order]
    assert (of_leaf[1:] != of_leaf[:-1]).sum() == 3, "clusters are whole along the tree"


def test_without_clusters_the_null_is_as_good() -> None:
    profiles = np.random.default_rng(0).normal(size=(30, 8))
    found = cluster_profiles(profiles, seed=0)
    assert abs((found.silhouette - found.null_silhouette).mean()) < 0.03


def test_cuts_and_scores_are_scikit_learns() -> None:
    profiles, _ = draw((5, 5, 4), 0.5)
    found = cluster_profiles(profiles, seed=0)
    assert found.numbers.tolist() == list(range(2, 14))
    for number, labels, silhouette, ratio in zip(
        found.numbers, found.labels, found.silhouette, found.calinski_harabasz, strict=True
    ):
        expected = AgglomerativeClustering(number, linkage="complete").fit_predict(profiles)
        assert adjusted_rand_score(labels, expected) == pytest.approx(1)
        assert silhouette == pytest.approx(silhouette_score(profiles, labels))
        assert ratio == pytest.approx(calinski_harabasz_score(profiles, labels))


def test_few_or_equal_profiles() -> None:
    assert cluster_profiles(np.ones((2, 4)), seed=0) is None
    same = cluster_profiles(np.ones((4, 3)), seed=0)
    assert same.calinski_harabasz.tolist() == [1, 1]
    np.testing.assert_array_equal(same.silhouette, 0)
