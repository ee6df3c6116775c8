"""Lines of a defective camera and black margins: what is replaced, and what is left alone."""

import numpy as np
import numpy.typing as npt
import pytest

from i2r.kernels.defects import fill_outside, replace_lines
from i2r.kernels.metrics import score_segmentation
from i2r.kernels.segmentation import segment_nuclei
from tests.kernels.test_uneven_fields import SIDE, X_PX, Y_PX, Plane, draw_field

RADIUS = np.hypot(Y_PX - SIDE / 2, X_PX - SIDE / 2) / (SIDE / 2)


def as_image(values: Plane) -> npt.NDArray[np.uint16]:
    return np.clip(values, 0, 65535).astype(np.uint16)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("value", [0, 3000, 65535])
@pytest.mark.parametrize("lines", [[200], [3, 57, 58, 59, 400, SIDE - 1]])
def test_defective_lines_change_next_to_nothing(lines: list[int], value: int, axis: int) -> None:
    image, truth = draw_field(70)
    sound = as_image(image)
    spoiled = sound.copy()
    np.moveaxis(spoiled, axis, 0)[lines] = value
    cleaned = replace_lines(spoiled)
    others = np.setdiff1d(np.arange(SIDE), lines)
    np.testing.assert_array_equal(
        np.take(cleaned, others, axis=axis), np.take(sound, others, axis=axis)
    )
    assert score_segmentation(segment_nuclei(spoiled), truth).f1[0] > 0.97


def test_sound_fields_are_given_back_as_they_are() -> None:
    for n_nuclei in (0, 1, 70):
        image = as_image(draw_field(n_nuclei)[0])
        assert replace_lines(image) is image
        assert fill_outside(image)[0] is image
        shaded = as_image(image * (1 - 0.4 * RADIUS**2))
        assert fill_outside(shaded)[1] is None
    # Two tiles of a mosaic with unlike light: nothing lies outside.
    tiles = as_image(np.where(X_PX < SIDE // 2, 1, 2) * image.astype(float))
    assert fill_outside(tiles)[1] is None


@pytest.mark.parametrize("dark", ["black", "noise"])
@pytest.mark.parametrize("light", [-1500, -400, 0, 400, 1500])
def test_a_bowl_of_light_behind_a_round_stop_keeps_its_nuclei(light: float, dark: str) -> None:
    image, truth = draw_field(70)
    bowl = abs(light) * (1 - 0.8 * RADIUS**2 if light < 0 else 0.2 + 0.8 * RADIUS**2)
    inside = RADIUS < 0.95
    margin = 0 if dark == "black" else np.random.default_rng(0).normal(100, 3, image.shape)
    spoiled = as_image(np.where(inside, image + bowl, margin))
    labels = segment_nuclei(spoiled)
    cut = np.unique(truth[~inside])
    kept = np.where(np.isin(truth, cut[cut > 0]), 0, truth)
    found = np.where(np.isin(labels, np.unique(labels[(RADIUS > 0.9) & (labels > 0)])), 0, labels)
    score = score_segmentation(
        found, np.where(np.isin(kept, np.unique(kept[RADIUS > 0.9])), 0, kept)
    )
    assert score.f1[0] > 0.9
    assert not labels[RADIUS > 0.97].any()
    assert np.bincount(labels.ravel())[1:].max() < 2500
