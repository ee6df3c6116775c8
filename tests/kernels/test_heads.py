"""Heads: the closed form is the discriminant of each fold fitted by itself."""

import tracemalloc

import numpy as np
import pytest

from i2r.kernels.classification import score_probabilities
from i2r.kernels.heads import RIDGE
from tests.kernels import whole_heads as heads
from tests.kernels.whole_heads import Blocks, score_heads


def make_nuclei(seed: int = 0, effect: float = 1.0) -> tuple[np.ndarray, Blocks, list[np.ndarray]]:
    """Four control and two times three treated blocks on one plate, two folds."""
    random = np.random.default_rng(seed)
    sizes = random.integers(5, 30, 10)
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.intp)
    is_control = np.arange(10) < 4
    features = random.standard_normal((start[-1], 5)).astype(np.float32)
    features[start[4] : start[7], 2] += effect
    fold = np.array([0, 1, 0, 1, 0, 1, 1, 0, 0, 1])
    blocks = Blocks(start, np.zeros(10, dtype=np.intp), fold, is_control)
    return features, blocks, [np.arange(4, 7), np.arange(7, 10)]


def test_heads_equal_discriminants_fitted_one_by_one() -> None:
    features, blocks, treated = make_nuclei()
    found = score_heads(features, blocks, treated)
    for number, own in enumerate(treated):
        for fold in (0, 1):
            rows = lambda chosen: [features[blocks.start[b] : blocks.start[b + 1]] for b in chosen]  # noqa: E731
            train = [[b for b in side if blocks.fold[b] != fold] for side in (own, range(4))]
            test = [[b for b in side if blocks.fold[b] == fold] for side in (own, range(4))]
            mean_t, mean_c = (
                np.mean([r.mean(axis=0) for r in rows(side)], axis=0) for side in train
            )
            controls = np.concatenate(rows(train[1])).astype(float)
            covariance = controls.T @ controls / len(controls)
            covariance += RIDGE * np.trace(covariance) / 5 * np.eye(5)
            direction = np.linalg.solve(covariance, mean_t - mean_c)
            margin = [
                (np.concatenate(rows(side)) - (mean_t + mean_c) / 2) @ direction for side in test
            ]
            is_treated = np.repeat([True, False], [len(margin[0]), len(margin[1])])
            score = score_probabilities(is_treated, np.concatenate(margin), threshold=0.0)
            assert found.balanced_accuracy[number, fold] == pytest.approx(score.balanced_accuracy)
            assert found.area_under_curve[number, fold] == pytest.approx(score.area_under_curve)
            called = found.n_called[number, test[0] + test[1]].sum()
            assert called == (np.concatenate(margin) > 0).sum()


def test_a_planted_effect_scores_and_none_does_not() -> None:
    scores = np.mean([score_heads(*make_nuclei(s, 2.0)).balanced_accuracy for s in range(20)], axis=(0, 2))  # fmt: skip
    assert scores[0] > 0.75
    assert scores[1] == pytest.approx(0.5, abs=0.05)


def test_controls_can_stand_in_for_a_treatment_and_are_then_no_controls() -> None:
    features, blocks, _ = make_nuclei()
    found = score_heads(features, blocks, [np.array([0, 1])])
    assert np.isfinite(found.balanced_accuracy).all()
    assert np.flatnonzero(np.isfinite(found.n_called[0])).tolist() == [0, 1, 2, 3]
    others = features.copy()
    others[blocks.start[4] :] = 9
    np.testing.assert_array_equal(
        found.n_called, score_heads(others, blocks, [np.array([0, 1])]).n_called
    )


def test_held_out_nuclei_do_not_train() -> None:
    features, blocks, treated = make_nuclei()
    found = score_heads(features, blocks, treated).n_called[0]
    changed = features.copy()
    changed[blocks.start[4] : blocks.start[5]] *= -1
    after = score_heads(changed, blocks, treated).n_called[0]
    held_with = [b for b in range(7) if blocks.fold[b] == blocks.fold[4] and b != 4]
    np.testing.assert_array_equal(found[held_with], after[held_with])


def test_controls_of_other_plates_are_left_out_and_a_lacking_class_is_no_score() -> None:
    features, blocks, treated = make_nuclei()
    plates = blocks.plate.copy()
    plates[7:] = 1
    found = score_heads(features, blocks._replace(plate=plates), treated)
    assert np.isnan(found.balanced_accuracy[1]).all(), "no control on its plate"
    assert np.isnan(found.n_called[1]).all()
    start = blocks.start.copy()
    start[5:] -= start[5] - start[4]
    empty = score_heads(features, blocks._replace(start=start), treated)
    assert (
        np.isnan(empty.balanced_accuracy[0]).tolist() == [True, False]
        or np.isnan(empty.balanced_accuracy[0]).all()
    )


def test_memory_does_not_grow_with_controls_times_comparisons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features, blocks, treated = make_nuclei()
    treated = [*treated, *(np.array(pair) for pair in ((4, 8), (5, 9), (0, 1)))]
    whole = score_heads(features, blocks, treated)
    for most in (1, 100):
        monkeypatch.setattr(heads, "MAX_MARGINS", most)
        parts = score_heads(features, blocks, treated)
        for one, other in zip(whole, parts, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-7)
    monkeypatch.undo()
    # 4,000 held-out control nuclei by 300 comparisons are 5 MB in one matrix.
    n_blocks = 480
    start = np.arange(n_blocks + 1) * 100
    numbers = np.arange(n_blocks)
    large = Blocks(start, np.zeros(n_blocks, np.intp), numbers % 2, numbers < 80)
    nuclei = np.random.default_rng(0).standard_normal((start[-1], 4)).astype(np.float32)
    pairs = [np.array([80 + n % 400, 80 + (n + 1) % 400]) for n in range(300)]
    peaks = []
    for most in (heads.MAX_MARGINS, 100_000):
        monkeypatch.setattr(heads, "MAX_MARGINS", most)
        tracemalloc.start()
        score_heads(nuclei, large, pairs)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] - 3 * 2**20
