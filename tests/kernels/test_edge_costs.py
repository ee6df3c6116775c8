"""Costs of edges from sparse tables against SciPy, NumPy and scikit-learn on dense ones."""

import numpy as np
import pytest
from scipy.sparse import csc_array
from scipy.stats import spearmanr
from sklearn.metrics import normalized_mutual_info_score

from i2r.kernels.edge_costs import correlate_edges, measure_information

EDGES = np.array([(i, j) for i in range(8) for j in range(i)])


def draw_values(*, signed: bool) -> np.ndarray:
    random = np.random.default_rng(0)
    values = random.integers(-2 if signed else 0, 4, (30, 8)) * 1.0
    values[:, 6] = values[:, 5] ** 2 + random.random(30)
    values[:, 7] = 2.0
    return values


@pytest.mark.parametrize("signed", [False, True])
def test_correlations_are_those_of_dense_tables(signed: bool) -> None:
    values = draw_values(signed=signed)
    ranked = correlate_edges(csc_array(values), EDGES, ranked=True)
    linear = correlate_edges(csc_array(values), EDGES[::-1], ranked=False)[::-1]
    for (i, j), spearman, pearson in zip(EDGES, ranked, linear, strict=True):
        constant = 7 in (i, j)
        expected = 0 if constant else spearmanr(values[:, i], values[:, j]).statistic
        assert spearman == pytest.approx(expected, abs=1e-12)
        expected = 0 if constant else np.corrcoef(values[:, i], values[:, j])[0, 1]
        assert pearson == pytest.approx(expected, abs=1e-12)


def test_zeros_that_are_stored_are_zeros() -> None:
    values = csc_array(draw_values(signed=True))
    plain = correlate_edges(values, EDGES, ranked=True)
    values.data[::3] = 0
    again = csc_array(values.toarray())
    stored = correlate_edges(values, EDGES, ranked=True)
    assert stored == pytest.approx(correlate_edges(again, EDGES, ranked=True), abs=1e-12)
    assert not np.allclose(stored, plain)


@pytest.mark.parametrize("signed", [False, True])
def test_information_is_that_of_binned_values(signed: bool) -> None:
    values = draw_values(signed=signed)
    found = measure_information(csc_array(values), EDGES, bins=10)
    for (i, j), information in zip(EDGES, found, strict=True):
        bins = [
            np.minimum(((v - v.min()) / max(np.ptp(v), 1e-9) * 10).astype(int), 9)
            for v in (values[:, i], values[:, j])
        ]
        expected = (
            0 if 7 in (i, j) else normalized_mutual_info_score(*bins, average_method="geometric")
        )
        assert information == pytest.approx(expected, abs=1e-9)
