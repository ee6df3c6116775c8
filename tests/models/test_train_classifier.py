from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from i2r.models.train_classifier import (
    TrainingSettings,
    fit_classifier,
    predict_fold,
    predict_treated,
)

SETTINGS = replace(TrainingSettings(), min_steps=40, max_steps=40)
QUICK = replace(SETTINGS, min_steps=5, max_steps=5, batch_size=16)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def draw_nuclei(
    random: np.random.Generator,
    n_nuclei: int,
    *,
    radius_px: float = 9.0,
    level: float = 90.0,
    dtype: Any = np.uint8,
) -> npt.NDArray[Any]:
    """Draw noisy ellipses on a dark ground, shape (nucleus, 1, 64, 64)."""
    y, x = np.mgrid[:64, :64] - 31.5
    radii = radius_px * np.exp(0.1 * random.standard_normal((2, n_nuclei, 1, 1)))
    inside = (y / radii[0]) ** 2 + (x / radii[1]) ** 2 <= 1
    levels = level * np.exp(0.15 * random.standard_normal((n_nuclei, 1, 1)))
    noise = 8 * random.standard_normal((n_nuclei, 64, 64))
    return (inside * levels + np.abs(noise)).clip(0, 255).astype(dtype)[:, None]


def lay_out(n_treated: int, n_control: int, per_well: int) -> tuple[npt.NDArray[Any], ...]:
    """Wells with treated wells first, and three folds dealt over both classes."""
    wells = np.repeat(np.arange(n_treated + n_control), per_well)
    treated = wells < n_treated
    return wells, treated, np.where(treated, wells, wells - n_treated) % 3


def balanced_accuracy(treated: npt.NDArray[Any], probability: npt.NDArray[Any]) -> float:
    called = probability > 0.5
    return float((called[treated].mean() + (~called[~treated]).mean()) / 2)


def score(crops: npt.NDArray[Any], layout: Any, settings: TrainingSettings, seed: int) -> float:
    wells, treated, folds = layout
    found = [
        predict_fold(crops, treated, wells, folds, fold=fold, settings=settings, seed=seed)
        for fold in range(3)
    ]
    return float(np.mean([balanced_accuracy(treated[one.rows], one.probability) for one in found]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("scale", "effect"),
    [("plate", {"level": 150.0}), ("plate", {"radius_px": 6.5}), ("nucleus", {"radius_px": 6.5})],
)
def test_a_planted_difference_is_learned(dtype: Any, scale: Any, effect: Any) -> None:
    random = np.random.default_rng(0)
    layout = lay_out(3, 6, 20)
    crops = draw_nuclei(random, layout[0].size, dtype=dtype)
    crops[layout[1]] = draw_nuclei(random, int(layout[1].sum()), dtype=dtype, **effect)
    if dtype == np.uint16:
        crops *= 200
    assert score(crops, layout, replace(SETTINGS, scale=scale), 0) > 0.9


def test_intensity_alone_is_lost_when_nuclei_are_scaled_one_by_one() -> None:
    random = np.random.default_rng(1)
    layout = lay_out(3, 6, 20)
    flat = np.where(draw_nuclei(random, layout[0].size) > 45, 40, 0).astype(np.uint8)
    flat[layout[1]] *= 3
    assert score(flat, layout, replace(SETTINGS, scale="plate"), 0) > 0.9
    assert abs(score(flat, layout, replace(SETTINGS, scale="nucleus"), 0) - 0.5) < 0.1


def test_wells_labelled_at_random_score_one_half() -> None:
    scores = []
    for seed in range(5):
        layout = lay_out(3, 6, 20)
        crops = draw_nuclei(np.random.default_rng(seed), layout[0].size)
        scores.append(score(crops, layout, replace(SETTINGS, min_steps=20, max_steps=20), seed))
    assert abs(np.mean(scores) - 0.5) < 0.1


def test_two_trainings_give_the_same_bits() -> None:
    layout = lay_out(3, 3, 20)
    crops = draw_nuclei(np.random.default_rng(0), layout[0].size)
    wells, treated, folds = layout
    state = torch.random.get_rng_state()
    first, again, other = (
        predict_fold(crops, treated, wells, folds, fold=1, settings=QUICK, seed=seed)
        for seed in (
            np.random.SeedSequence(7, spawn_key=(1, 2)),
            np.random.SeedSequence(7, spawn_key=(1, 2)),
            8,
        )
    )
    assert first.probability.tobytes() == again.probability.tobytes()
    assert first.history.loss.tobytes() == again.history.loss.tobytes()
    assert (first.probability != other.probability).any()
    assert torch.equal(state, torch.random.get_rng_state())


def test_held_out_nuclei_have_no_influence_on_the_training() -> None:
    layout = lay_out(3, 3, 10)
    wells, treated, folds = layout
    crops = draw_nuclei(np.random.default_rng(0), layout[0].size)
    changed = crops.copy()
    changed[folds == 0] = 255
    losses = [
        predict_fold(given, treated, wells, folds, fold=0, settings=QUICK, seed=0).history.loss
        for given in (crops, changed)
    ]
    np.testing.assert_array_equal(*losses)


def test_history_counts_what_was_done() -> None:
    wells, treated, _ = lay_out(2, 4, 10)
    crops = draw_nuclei(np.random.default_rng(0), 60)
    history = fit_classifier(crops, treated, wells, settings=QUICK, seed=0).history
    assert (history.n_treated, history.n_control, history.n_steps) == (20, 40, 5)
    assert history.passes == 2.0
    assert history.loss.shape == (5,)
    assert np.isfinite(history.loss).all()
    assert history.seconds > 0


@pytest.mark.parametrize("n_steps", [1, 2, 3, 7])
def test_any_number_of_steps_trains(n_steps: int) -> None:
    wells, treated, _ = lay_out(2, 2, 4)
    crops = draw_nuclei(np.random.default_rng(0), 16)
    settings = replace(QUICK, min_steps=n_steps, max_steps=n_steps)
    history = fit_classifier(crops, treated, wells, settings=settings, seed=0).history
    assert history.loss.shape == (n_steps,)


def test_prediction_does_not_depend_on_the_batch_size() -> None:
    wells, treated, _ = lay_out(2, 2, 10)
    crops = draw_nuclei(np.random.default_rng(0), 40)
    settings = replace(QUICK, precision="float32")
    classifier = fit_classifier(crops, treated, wells, settings=settings, seed=0)
    whole = predict_treated(classifier, crops)
    parts = predict_treated(classifier, crops, batch_size=7)
    np.testing.assert_allclose(whole, parts, rtol=1e-4)
    assert predict_treated(classifier, crops[:0]).shape == (0,)


def test_five_channels_at_full_resolution() -> None:
    wells, treated, _ = lay_out(2, 2, 5)
    crops = np.repeat(draw_nuclei(np.random.default_rng(0), 20), 5, axis=1)
    settings = replace(QUICK, bin_px=1)
    classifier = fit_classifier(crops, treated, wells, settings=settings, seed=0)
    assert predict_treated(classifier, crops).shape == (20,)


@pytest.mark.parametrize("scale", ["plate", "nucleus"])
def test_one_nucleus_per_class_and_constant_crops(scale: Any) -> None:
    crops = np.full((2, 1, 64, 64), 7, dtype=np.uint8)
    settings = replace(QUICK, scale=scale)
    classifier = fit_classifier(crops, [True, False], ["a", "b"], settings=settings, seed=0)
    probability = predict_treated(classifier, crops)
    assert np.isfinite(probability).all()
    assert probability[0] == probability[1]


def test_a_class_without_training_nuclei_is_an_error() -> None:
    wells, treated, folds = lay_out(3, 3, 2)
    crops = draw_nuclei(np.random.default_rng(0), 12)
    keep = ~treated | (folds == 0)
    with pytest.raises(ValueError, match="no treated nucleus to train on"):
        predict_fold(
            crops[keep], treated[keep], wells[keep], folds[keep], fold=0, settings=QUICK, seed=0
        )


def test_a_fold_without_nuclei_predicts_none() -> None:
    wells, treated, folds = lay_out(3, 3, 2)
    crops = draw_nuclei(np.random.default_rng(0), 12)
    found = predict_fold(crops, treated, wells, folds, fold=9, settings=QUICK, seed=0)
    assert found.rows.size == found.probability.size == 0


def test_a_well_in_two_folds_is_refused() -> None:
    wells, treated, folds = lay_out(3, 3, 2)
    folds[0] = 1
    with pytest.raises(ValueError, match="well '0' is in fold 0 and in training"):
        predict_fold(
            draw_nuclei(np.random.default_rng(0), 12),
            treated,
            wells,
            folds,
            fold=0,
            settings=QUICK,
            seed=0,
        )


def test_every_crop_has_a_class_and_a_well() -> None:
    crops = draw_nuclei(np.random.default_rng(0), 3)
    with pytest.raises(ValueError, match="one class and one well per crop"):
        fit_classifier(crops, [True, False], ["a", "b"], settings=QUICK, seed=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_learns_what_a_cpu_learns() -> None:
    random = np.random.default_rng(0)
    wells, treated, folds = lay_out(3, 6, 20)
    crops = draw_nuclei(random, wells.size)
    crops[treated] = draw_nuclei(random, int(treated.sum()), radius_px=6.5)
    found = predict_fold(
        crops, treated, wells, folds, fold=0, settings=SETTINGS, seed=0, device="cuda"
    )
    assert balanced_accuracy(treated[found.rows], found.probability) > 0.9
