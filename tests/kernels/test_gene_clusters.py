"""Clusters and measures against scikit-learn; agreement of runs against its meaning."""

import numpy as np
import pytest
from sklearn import metrics
from sklearn.cluster import AgglomerativeClustering

from i2r.kernels import gene_clusters as gc


def draw(n: int = 60, d: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def test_clusters_are_those_of_scikit_learn_numbered_by_size() -> None:
    z = draw()
    distance = gc.measure_cosine_distance(z)
    for k, found in zip((1, 2, 8), gc.cluster_rows(distance, (1, 2, 8)), strict=True):
        theirs = AgglomerativeClustering(k, metric="cosine", linkage="complete").fit_predict(z)
        assert metrics.adjusted_rand_score(theirs, found) == 1
        sizes = np.bincount(found)
        assert len(sizes) == k
        assert (np.diff(sizes) <= 0).all()


def test_measures_are_those_of_scikit_learn() -> None:
    z = draw()
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    distance = gc.measure_cosine_distance(z)
    for labels in gc.cluster_rows(distance, (2, 5, 30)):
        quality = gc.measure_clusters(z, gc.measure_silhouettes(distance, labels), labels)
        assert quality.silhouette == pytest.approx(
            metrics.silhouette_score(z, labels, metric="cosine")
        )
        assert quality.calinski_harabasz == pytest.approx(
            metrics.calinski_harabasz_score(unit, labels)
        )
        means = np.stack([unit[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
        assert quality.distortion == pytest.approx(((unit - means[labels]) ** 2).sum(axis=1).mean())
    for labels in (np.zeros(60), np.arange(60)):
        quality = gc.measure_clusters(z, gc.measure_silhouettes(distance, labels), labels)
        assert quality.silhouette == 0
        assert np.isnan(quality.calinski_harabasz)


def test_runs_that_agree_spread_nothing_and_random_ones_as_much_as_chance() -> None:
    z = draw(80, 6)
    turned = z @ np.linalg.qr(draw(6, 6, 1))[0]
    assert gc.compare_neighbours(z, turned) == 1
    np.testing.assert_allclose(gc.measure_rank_spread([z, turned, 3 * z]), 0, atol=1e-12)
    random = [draw(80, 30, seed) for seed in range(40)]
    assert gc.compare_neighbours(random[0], random[1]) == pytest.approx(10 / 79, abs=0.06)
    assert gc.measure_rank_spread(random).mean() == pytest.approx(12**-0.5, abs=0.02)


def test_zero_rows_are_far_from_everything() -> None:
    distance = gc.measure_cosine_distance([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    np.testing.assert_allclose(distance, [[0, 1, 1], [1, 0, 2], [1, 2, 0]])


def test_blocks_of_rows_give_what_all_distances_give(monkeypatch: pytest.MonkeyPatch) -> None:
    z, w = draw(70), draw(70, seed=1)
    z[3], z[5] = 0, z[4]  # a row of zeros, and two that are equal
    distance = gc.measure_cosine_distance(z)
    whole = gc.measure_rank_spread([z, w])
    monkeypatch.setattr(gc, "BLOCK_BYTES", 9 * 8 * 70)
    assert [len(block) for _, block in gc.split_distances(z)] == [9] * 7 + [7]
    np.testing.assert_allclose(
        np.concatenate([block for _, block in gc.split_distances(z)]), distance, atol=1e-12
    )
    condensed = gc.condense_distances(z)
    cuts = gc.cluster_rows(condensed, numbers := [1, 2, 5, 69, 70])
    np.testing.assert_array_equal(cuts, gc.cluster_rows(distance, numbers))
    for labels, found in zip(cuts, gc.measure_cosine_silhouettes(z, cuts), strict=True):
        np.testing.assert_allclose(found, gc.measure_silhouettes(distance, labels), atol=1e-12)
    np.fill_diagonal(distance, np.inf)
    nearest = np.take_along_axis(distance, gc.list_nearest(z, 4), axis=1)
    np.testing.assert_allclose(nearest, np.sort(distance, axis=1)[:, :4], atol=1e-12)
    assert gc.compare_neighbours(z, 2 * z) == 1
    np.testing.assert_allclose(gc.measure_rank_spread([z, w]), whole, atol=1e-3)
