"""Clusters of two spaces: equal ones are found, unrelated ones are not, and by hand."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import mutual_info_score

from i2r.kernels.coclustering import compare_spaces
from i2r.kernels.gene_clusters import cluster_rows


def measure_distances(rows: np.ndarray) -> np.ndarray:
    return squareform(pdist(rows))


def test_information_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    first, second = (measure_distances(random.standard_normal((30, 3))) for _ in range(2))
    numbers = [2, 3, 5]
    found = compare_spaces(first, second, numbers, draws=19, seed=0)
    one, other = cluster_rows(first, numbers), cluster_rows(second, numbers)
    for i in range(3):
        for j in range(3):
            expected = mutual_info_score(one[i], other[j])
            assert found.information[i, j] == pytest.approx(max(expected, 0), abs=1e-9)


def test_the_same_groups_are_found_and_unrelated_ones_are_not() -> None:
    random = np.random.default_rng(1)
    group = np.repeat(np.arange(4), 8)
    seen, network = (
        measure_distances(10 * np.eye(4)[group] + random.standard_normal((32, 4))) for _ in range(2)
    )
    linked = compare_spaces(seen, network, [4], draws=199, seed=0)
    assert linked.pvalues[0, 0] == 1 / 200
    p = []
    for seed in range(40):
        dealt = random.permutation(32)
        found = compare_spaces(seen, network[np.ix_(dealt, dealt)], [4], draws=99, seed=seed)
        p.append(found.pvalues[0, 0])
    assert np.mean(np.array(p) <= 0.05) <= 0.15
    with pytest.raises(ValueError, match="expected the same"):
        compare_spaces(seen, network[:5, :5], [4], draws=1, seed=0)
