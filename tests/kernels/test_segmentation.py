"""Segmentation of drawn nuclei, fields without nuclei, and real fields with known nuclei."""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.io import imread

from i2r.kernels.metrics import SegmentationScore, combine_scores, score_segmentation
from i2r.kernels.segmentation import segment_nuclei


def draw_field(
    seed: int = 0, shape: tuple[int, int] = (160, 200)
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int32]]:
    """Twelve separate discs of radius 10 to 13, blurred, with shot noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, dtype=np.int32)
    for k, (cy, cx) in enumerate((a, b) for a in (25, 75, 125) for b in (25, 75, 125, 175)):
        radius = random.uniform(10, 13)
        labels[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = k + 1
    levels = np.concatenate([[100], random.uniform(600, 2000, 12)])
    image = random.poisson(ndimage.gaussian_filter(levels[labels], 1))
    return image.astype(np.uint16), labels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_drawn_nuclei_are_found_in_every_type(dtype: type[np.generic]) -> None:
    image, truth = draw_field()
    scaled = (image / 16 if dtype == np.uint8 else image).astype(dtype)
    labels = segment_nuclei(scaled)
    assert labels.dtype == np.int32
    score = score_segmentation(labels, truth)
    assert score.f1[6] == 1  # all at an IoU above 0.8


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(-1e3, 1e3))
def test_gain_and_offset_change_next_to_nothing(seed: int, gain: float, offset: float) -> None:
    image, _ = draw_field(seed)
    labels = segment_nuclei(image.astype(np.float32))
    changed = segment_nuclei((image * gain + offset).astype(np.float32))
    assert (labels != changed).mean() < 1e-3


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_labels_are_connected_consecutive_and_in_raster_order(seed: int) -> None:
    random = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(random.normal(size=(150, 170)), 5)
    image = random.poisson(100 + 1e5 * np.maximum(noise, 0) ** 2).astype(np.uint16)
    labels = segment_nuclei(image, min_area_px=30)
    areas = np.bincount(labels.ravel())
    assert labels.max() > 3
    assert (areas[1:] >= 30).all()
    flat = labels.ravel()
    first = [int(np.argmax(flat == label)) for label in range(1, areas.size)]
    assert first == sorted(first)
    for label in range(1, areas.size):
        assert ndimage.label(labels == label)[1] == 1
    np.testing.assert_array_equal(labels, segment_nuclei(image, min_area_px=30))


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_turning_the_field_turns_the_nuclei(turn: int) -> None:
    image, _ = draw_field(shape=(160, 200))
    turned = segment_nuclei(np.rot90(image, turn))
    assert (np.rot90(segment_nuclei(image) > 0, turn) != (turned > 0)).mean() < 1e-3


def test_touching_nuclei_are_cut_and_holes_filled() -> None:
    y, x = np.mgrid[:120, :160]
    image = np.full(y.shape, 100.0)
    image[(y - 60) ** 2 + (x - 50) ** 2 <= 15**2] = 1000
    image[(y - 60) ** 2 + (x - 77) ** 2 <= 15**2] = 1000
    image[(y - 60) ** 2 + (x - 77) ** 2 <= 2**2] = 150
    labels = segment_nuclei(image.astype(np.uint16))
    assert labels.max() == 2
    assert labels[60, 50] != labels[60, 77] != 0


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 0), dtype=np.uint16),
        np.zeros((0, 9), dtype=np.uint8),
        np.zeros((1, 1), dtype=np.uint16),
        np.zeros((30, 40), dtype=np.uint16),
        np.full((30, 40), 65535, dtype=np.uint16),
        np.full((30, 40), 255, dtype=np.uint8),
        np.full((30, 40), -3.5, dtype=np.float32),
        np.random.default_rng(0).normal(300, 10, (200, 300)).astype(np.uint16),
        np.random.default_rng(0).poisson(2, (200, 300)).astype(np.uint8),
        np.random.default_rng(0).normal(0, 1, (200, 300)).astype(np.float32),
        np.broadcast_to(np.arange(300, dtype=np.uint16), (200, 300)),
    ],
    ids=[
        "no-pixels",
        "no-rows",
        "one-pixel",
        "black",
        "saturated",
        "saturated-8-bit",
        "constant",
        "noise",
        "shot-noise",
        "noise-around-zero",
        "ramp",
    ],
)
def test_fields_without_nuclei_give_no_labels(image: npt.NDArray[np.number]) -> None:
    labels = segment_nuclei(image)
    assert labels.shape == image.shape
    assert labels.dtype == np.int32
    assert not labels.any()


def test_objects_of_one_pixel_and_one_object_for_most_of_the_field() -> None:
    image = np.zeros((64, 64), dtype=np.uint16)
    image[10, 10] = image[40, 50] = 1000
    points = segment_nuclei(image, sigma_px=0, min_area_px=1)
    assert points.max() == (points > 0).sum() == 2
    assert not segment_nuclei(image, sigma_px=0, min_area_px=2).any()
    image[3:-3, 3:-3] = 1000
    blob = segment_nuclei(image)
    assert blob.max() == 1
    assert (blob > 0).mean() == pytest.approx((58 / 64) ** 2, rel=0.05)


def test_pixels_that_are_no_numbers_are_named() -> None:
    image = np.zeros((10, 10), dtype=np.float32)
    image[2, 3], image[4, 5] = np.nan, np.inf
    with pytest.raises(ValueError, match="2 of 100 pixels are NaN or infinite"):
        segment_nuclei(image)
    with pytest.raises(ValueError, match="one channel"):
        segment_nuclei(np.zeros((2, 5, 5), dtype=np.uint8))


def score_folder(folder: str, step: int) -> SegmentationScore:
    """Score every `step`-th field of a data set under ``I2R_DATA``."""
    if "I2R_DATA" not in os.environ:
        pytest.skip("I2R_DATA does not name the folder with the data sets")
    data = Path(os.environ["I2R_DATA"]) / folder
    if not data.is_dir():
        pytest.skip(f"{data} is not there")
    images = sorted((data / "images").iterdir())[::step]
    labels = sorted((data / "labels").iterdir())[::step]
    return combine_scores(
        [
            score_segmentation(segment_nuclei(imread(image)), imread(truth))
            for image, truth in zip(images, labels, strict=True)
        ]
    )


def test_ten_real_fields_reach_the_bar() -> None:
    score = score_folder("bbbc039/validation", 5)
    assert score.mean_f1 >= 0.87
    assert score.f1[0] >= 0.93
    assert score.f1[8] >= 0.68


@pytest.mark.slow
def test_all_validation_fields_reach_the_bar() -> None:
    score = score_folder("bbbc039/validation", 1)
    assert score.mean_f1 >= 0.87
    assert score.f1[0] >= 0.93
    assert score.f1[8] >= 0.68


@pytest.mark.slow
def test_fields_of_many_instruments_reach_the_bar_with_the_same_parameters() -> None:
    assert score_folder("dsb2018_fluo", 1).average_precision[0] >= 0.70
