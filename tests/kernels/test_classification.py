import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2r.kernels.classification import (
    measure_area_under_curve,
    measure_balanced_accuracy,
    score_probabilities,
)

LABELLED = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])), min_size=1, max_size=40
)


def test_balanced_accuracy_is_the_mean_of_both_shares() -> None:
    truth = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], dtype=bool)
    predicted = np.array([1, 1, 1, 0, 0, 0, 0, 1, 1, 1], dtype=bool)
    assert measure_balanced_accuracy(truth, predicted) == (0.625, 0.75, 0.5)


def test_balanced_accuracy_ignores_how_many_nuclei_a_class_has() -> None:
    truth = np.repeat([True, False], [10, 1000])
    assert measure_balanced_accuracy(truth, np.zeros(1010, dtype=bool))[0] == 0.5


@given(LABELLED)
def test_area_under_curve_counts_pairs(nuclei: list[tuple[bool, float]]) -> None:
    truth = np.array([treated for treated, _ in nuclei])
    scores = np.array([score for _, score in nuclei])
    pairs = [
        1.0 if above > below else 0.5 if above == below else 0.0
        for above in scores[truth]
        for below in scores[~truth]
    ]
    area = measure_area_under_curve(truth, scores)
    if pairs:
        assert area == pytest.approx(np.mean(pairs))
    else:
        assert np.isnan(area)


def test_area_under_curve_of_undefined_scores_is_undefined() -> None:
    assert np.isnan(measure_area_under_curve(np.array([True, False]), np.array([np.nan, 0.1])))


@pytest.mark.parametrize(("present", "share"), [(True, "sensitivity"), (False, "specificity")])
def test_an_absent_class_makes_the_score_undefined(present: bool, share: str) -> None:
    score = score_probabilities(np.full(4, present), np.array([0.1, 0.2, 0.8, 0.9]))
    assert np.isnan(score.balanced_accuracy)
    assert np.isnan(score.area_under_curve)
    assert getattr(score, share) == 0.5
    assert score.n_treated + score.n_control == 4


def test_no_nuclei_at_all() -> None:
    score = score_probabilities(np.empty(0, dtype=bool), np.empty(0))
    assert np.isnan(score[:4]).all()
    assert score[4:] == (0, 0)


def test_a_constant_prediction_has_learned_nothing() -> None:
    score = score_probabilities(np.array([True, False, False]), np.full(3, 0.5))
    assert score.balanced_accuracy == 0.5
    assert score.area_under_curve == 0.5


def test_truth_and_prediction_belong_to_the_same_nuclei() -> None:
    with pytest.raises(ValueError, match="Pass the same nuclei to both"):
        score_probabilities(np.array([True, False]), np.array([0.5]))
