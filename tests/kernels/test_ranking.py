"""Ranks, curves, intervals and confidence against counting and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from i2r.kernels import ranking


def test_ranks_count_better_candidates_and_half_of_equal_ones() -> None:
    scores = [[3.0, 2.0, 1.0], [1.0, 1.0, 1.0], [0.0, 5.0, 5.0 + 1e-12], [np.nan, 1, 2]]
    np.testing.assert_array_equal(ranking.rank_truth(scores, [1, 0, 1, 1]), [2, 2, 1.5, np.nan])


def test_published_ranks_give_the_published_areas() -> None:
    """Ranks per gene and areas printed for the two main configurations of Image2Reg."""
    cmap = [1, 1, 2, 2, 2, 5, 5, 6, 6, 7, 8, 9, 9, 12, 12, 13, 15, 17, 23, 24, 25, 28, 30, 40, 41]
    cmap += [41, 42, 42, 43, 66, 78, 96, 107, 111, 131, 138, 154, 198, 212]
    image = [1, 1, 5, 8, 9, 9, 9, 9, 12, 13, 17, 19, 19, 20, 23, 26, 27, 30, 31, 35, 37, 37, 38]
    image += [46, 51, 59, 66, 78, 89, 95, 120, 136, 137, 166, 167, 180, 181, 196, 223]
    for ranks, area_20, area_50 in ((cmap, 0.300366, 0.486677), (image, 0.174603, 0.373555)):
        assert ranking.published_auc(ranks, 20) == pytest.approx(area_20, abs=5e-7)
        assert ranking.published_auc(ranks, 50) == pytest.approx(area_50, abs=5e-7)
    np.testing.assert_allclose(
        ranking.top_k_curve(cmap)[[0, 1, 4, 9, 19, 49]] * 39, [2, 5, 7, 13, 18, 29]
    )


def test_log_rank_scores_span_zero_to_one_and_chance_is_their_mean() -> None:
    assert ranking.score_log_ranks([1, 1], 50) == 1
    assert ranking.score_log_ranks([50.0, np.nan], 50) == pytest.approx(0)
    assert np.isnan(ranking.score_log_ranks([np.nan], 50))
    guesses = np.random.default_rng(0).integers(1, 51, 200_000)
    assert ranking.score_log_ranks(guesses, 50) == pytest.approx(
        ranking.chance_log_score(50), abs=2e-3
    )


def test_hit_intervals_cover_what_they_promise() -> None:
    random = np.random.default_rng(0)
    for share in (0.05, 0.4):
        intervals = [ranking.hit_interval(h, 39) for h in random.binomial(39, share, 2000)]
        covered = np.mean([low <= share <= high for low, high in intervals])
        assert covered >= 0.95
    assert ranking.hit_interval(0, 5).low == 0
    assert ranking.hit_interval(5, 5).high == 1


def test_pvalues_are_their_definitions() -> None:
    assert ranking.permutation_pvalue(2.0, [1.0, 2.0, 3.0]) == 3 / 4
    assert ranking.permutation_pvalue(9.0, np.zeros(99)) == 0.01
    assert ranking.chance_pvalue(0, 39, 0.1) == 1
    assert ranking.chance_pvalue(1, 39, 0.1) == pytest.approx(1 - 0.9**39)


def test_bootstrap_intervals_are_those_of_the_normal_distribution_for_many_values() -> None:
    values = np.random.default_rng(0).standard_normal(4000)
    low, high = ranking.bootstrap_mean(values, seed=1)
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(4000), rel=0.1)
    assert (low, high) == ranking.bootstrap_mean(values, seed=1)
    assert np.isnan(ranking.bootstrap_mean([], seed=1).low)


def test_hubs_are_seen_and_corrected() -> None:
    """Candidates of which one is near to everything take the first place of every query."""
    random = np.random.default_rng(0)
    queries, candidates = random.standard_normal((60, 30)), random.standard_normal((40, 30))
    candidates[0] = 30 * queries.mean(axis=0)
    queries += 2 * queries.mean(axis=0)
    cosine = queries @ candidates.T
    cosine /= np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(candidates, axis=1)
    before = ranking.diagnose_hubs(cosine)
    after = ranking.diagnose_hubs(ranking.correct_hubs(cosine, cosine))
    assert before.occurrences[0] > 40
    assert after.occurrences[0] < before.occurrences[0]
    assert after.top_share < before.top_share
    assert before.skewness > 1
    assert before.occurrences.sum() == after.occurrences.sum() == 600
    even = ranking.diagnose_hubs(np.eye(4), k=4)
    assert even.skewness == 0
    assert even.top_share == 0.25


@settings(max_examples=30, deadline=None)
@given(st.integers(5, 60), st.floats(0.5, 0.95), st.integers(0, 999))
def test_conformal_sizes_and_confidence_are_inverse(n: int, level: float, seed: int) -> None:
    ranks = np.random.default_rng(seed).integers(1, 101, n).astype(float)
    size = ranking.conformal_size(ranks, 100, level)
    confidence = ranking.rank_confidence(ranks, 100)
    assert (np.diff(confidence) >= 0).all()
    assert confidence[-1] == 1
    assert confidence[size - 1] >= level - 1e-9
    if size > 1:
        assert confidence[size - 2] < level


def test_conformal_sets_hold_the_truth_as_often_as_promised() -> None:
    random = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        ranks = np.ceil(random.exponential(20, 40))
        held.append(ranks[0] <= ranking.conformal_size(ranks[1:], 1000, 0.9))
    assert 0.89 <= np.mean(held) <= 0.95
    assert ranking.conformal_size([1, 2, 3], 77, 0.9) == 77


def test_average_precision_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    for digits in (1, 6):
        truth, scores = random.random(200) < 0.3, np.round(random.random(200), digits)
        assert ranking.average_precision(truth, scores) == pytest.approx(
            average_precision_score(truth, scores)
        )
    assert np.isnan(ranking.average_precision([False], [1.0]))
