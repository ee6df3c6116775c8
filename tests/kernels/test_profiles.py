"""Profiles: corrections undo what they should, and retrieval is what its formula says."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from i2r.kernels import profiles as kernel
from i2r.kernels.profiles import (
    SPHERING_RIDGE,
    Moments,
    fit_correction,
    measure_retrieval,
    rank_neighbours,
    start_moments,
)


def moments(values: np.ndarray) -> Moments:
    return start_moments(values.shape[1]).add(values[:7]).add(values[7:])


def draw(n: int = 400, n_dims: int = 5, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(n, n_dims)) @ random.normal(size=(n_dims, n_dims)) + 3


def test_standardised_controls_have_mean_zero_and_spread_one() -> None:
    values = draw()
    corrected = fit_correction(moments(values), "standardize-to-controls").apply(values)
    np.testing.assert_allclose(corrected.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(corrected.std(axis=0), 1, rtol=1e-9)


def test_sphered_controls_have_covariance_one_up_to_the_ridge() -> None:
    values = draw()
    corrected = fit_correction(moments(values), "sphering").apply(values)
    found = np.linalg.eigvalsh(np.cov(corrected.T, bias=True))
    before = np.linalg.eigvalsh(np.cov(values.T, bias=True))
    np.testing.assert_allclose(found, np.sort(before / (before + SPHERING_RIDGE * before.mean())))


@pytest.mark.parametrize("method", ["standardize-to-controls", "sphering"])
def test_a_plates_shift_and_gain_vanish(method) -> None:
    """The same cells on a plate that is brighter: corrected by its own controls they are equal."""
    cells, treated = draw(), draw(20, seed=1)
    found = [
        fit_correction(moments(gain * cells + shift), method).apply(gain * treated + shift)
        for gain, shift in ((1, 0), (2.5, 7.0))
    ]
    np.testing.assert_allclose(*found, rtol=1e-6, atol=1e-6)


def test_no_correction_changes_nothing_and_constant_dimensions_are_centred() -> None:
    values = np.hstack([draw(20, 2), np.full((20, 1), 4.0)])
    np.testing.assert_array_equal(fit_correction(moments(values), "none").apply(values), values)
    for method in ("standardize-to-controls", "sphering"):
        corrected = fit_correction(moments(values), method).apply(values)
        assert np.isfinite(corrected).all()
        np.testing.assert_allclose(corrected[:, 2], 0, atol=1e-6)
    constant = np.full((20, 2), 4.0)
    assert np.isfinite(fit_correction(moments(constant), "sphering").apply(constant)).all()


def test_correction_needs_controls() -> None:
    with pytest.raises(ValueError, match="1 control nuclei"):
        fit_correction(start_moments(3).add(np.ones((1, 3))), "sphering")


@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 12))
@settings(deadline=None, max_examples=50)
def test_precision_is_scikit_learns_average_precision(seed: int, n_own: int, n_other: int) -> None:
    profiles = np.random.default_rng(seed).normal(size=(n_own + n_other, 4))
    found = measure_retrieval(rank_neighbours(profiles), range(n_own), seed=0, n_draws=1)
    unit = profiles / np.linalg.norm(profiles, axis=1, keepdims=True)
    positive = np.arange(len(profiles)) < n_own
    expected = [
        average_precision_score(np.delete(positive, query), np.delete(unit @ unit[query], query))
        for query in range(n_own)
    ]
    assert found.precision == pytest.approx(np.mean(expected))


def test_wells_that_share_a_direction_find_each_other() -> None:
    random = np.random.default_rng(0)
    profiles = random.normal(size=(40, 20))
    profiles[:5] += 10 * random.normal(size=20)
    found = measure_retrieval(rank_neighbours(profiles), range(5), seed=0)
    assert found.precision == 1.0
    assert found.p_value == pytest.approx(1 / 1001)
    assert 0.1 < found.null_mean < 0.3


def test_p_values_of_wells_that_share_nothing_are_uniform() -> None:
    random = np.random.default_rng(1)
    p_values = []
    for _ in range(200):
        profiles = random.normal(size=(24, 30))
        p_values.append(
            measure_retrieval(
                rank_neighbours(profiles), range(4), seed=random.integers(1e9), n_draws=200
            ).p_value
        )
    p_values = np.array(p_values)
    assert abs((p_values <= 0.05).mean() - 0.05) < 0.045
    assert abs(np.median(p_values) - 0.5) < 0.12


def test_the_null_is_what_all_sets_average_to() -> None:
    """Two of seven wells: all 21 pairs, each compared with the five others."""
    ranks = rank_neighbours(np.random.default_rng(0).normal(size=(7, 3)))
    found = measure_retrieval(ranks, [0, 1], seed=0, n_draws=20000)
    every = [
        measure_retrieval(ranks, pair, seed=0, n_draws=1).precision
        for pair in itertools.combinations(range(7), 2)
    ]
    assert found.null_mean == pytest.approx(np.mean(every), abs=0.005)
    at_least = np.mean(np.array(every) >= found.precision - 1e-9)
    assert found.p_value == pytest.approx(at_least, abs=0.015)


def test_ties_count_against_the_label_and_too_few_wells_give_nothing() -> None:
    same = rank_neighbours(np.ones((6, 3)))
    assert measure_retrieval(same, [0, 1], seed=0).precision == pytest.approx(1 / 5)
    assert np.isnan(measure_retrieval(same[:3, :3], [0], seed=0).precision)
    assert np.isnan(measure_retrieval(same[:2, :2], [0, 1], seed=0).p_value)


def test_ranks_are_counted_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(7, 3))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    rows[6] = 0
    ranks = rank_neighbours(rows)
    for i in range(7):
        others = [j for j in range(7) if j != i]
        cosine = np.round([unit[i] @ unit[j] if 6 not in (i, j) else 0 for j in others], 12)
        expected = [int((cosine >= value).sum()) for value in cosine]
        assert ranks[i, others].tolist() == expected
    monkeypatch.setattr(kernel, "ROWS_AT_ONCE", 2)
    np.testing.assert_array_equal(rank_neighbours(rows), ranks)
