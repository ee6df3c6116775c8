"""Filters against scipy and scikit-image, and on images that have nothing in them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.filters import threshold_otsu

from i2r.kernels.filters import (
    find_local_maximum,
    make_weights,
    smooth_gaussian,
    smooth_rows,
    smooth_window,
)
from i2r.kernels.histograms import count_intensities, find_otsu_threshold, measure_contrast


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(41, 57), (3, 50), (50, 2), (1, 1)])
@pytest.mark.parametrize("sigma_px", [0.5, 1.7, 4.0])
def test_gaussian_equals_scipy(
    dtype: type[np.generic], shape: tuple[int, int], sigma_px: float
) -> None:
    image = np.random.default_rng(0).integers(0, 250, shape).astype(dtype)
    radius = int(np.ceil(4 * sigma_px))
    expected = ndimage.gaussian_filter(
        image.astype(np.float64), sigma_px, mode="nearest", radius=radius
    )
    smoothed = smooth_gaussian(image, sigma_px=sigma_px)
    assert smoothed.dtype == np.float32
    np.testing.assert_allclose(smoothed, expected, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([0, 0.3, 1, 1.7, 3.4]),
)
def test_small_windows_are_smoothed_to_the_same_values(
    seed: int, height: int, width: int, sigma_px: float
) -> None:
    image = np.random.default_rng(seed).random((height, width), dtype=np.float32)
    weights = make_weights(sigma_px=sigma_px, truncate=3.0)
    by_rows, at_once = np.empty_like(image), np.empty_like(image)
    smooth_rows(image, weights, np.zeros((3, 3), np.float32), False, by_rows)
    smooth_window(image, weights, at_once)
    np.testing.assert_array_equal(at_once, by_rows)


def test_gaussian_takes_the_root_after_the_offset() -> None:
    image = np.array([[0, 100, 104, 109, 125]], dtype=np.uint16)
    smoothed = smooth_gaussian(image, sigma_px=0, offset=100, square_root=True)
    assert smoothed.tolist() == [[0, 0, 2, 3, 5]]


def test_gaussian_keeps_empty_and_constant_images_and_refuses_negative_widths() -> None:
    assert smooth_gaussian(np.zeros((0, 7), dtype=np.uint8), sigma_px=2).shape == (0, 7)
    constant = smooth_gaussian(np.full((20, 20), 9, dtype=np.uint8), sigma_px=2)
    np.testing.assert_allclose(constant, 9, rtol=1e-6)
    with pytest.raises(ValueError, match="expected 0 or more"):
        smooth_gaussian(np.zeros((3, 3), dtype=np.uint8), sigma_px=-1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 3))
def test_gaussian_follows_transposition_and_flips(seed: int, sigma_px: float) -> None:
    image = np.random.default_rng(seed).random((17, 23), dtype=np.float32)
    smoothed = smooth_gaussian(image, sigma_px=sigma_px)
    np.testing.assert_allclose(
        smooth_gaussian(image.T.copy(), sigma_px=sigma_px), smoothed.T, atol=1e-6
    )
    np.testing.assert_allclose(
        smooth_gaussian(image[::-1], sigma_px=sigma_px), smoothed[::-1], atol=1e-6
    )


def test_histogram_counts_every_pixel() -> None:
    image = np.random.default_rng(1).normal(size=(31, 45)).astype(np.float32)
    counts, low, high = count_intensities(image, n_bins=64)
    assert (low, high) == (image.min(), image.max())
    assert counts.sum() == image.size
    np.testing.assert_allclose(counts, np.histogram(image, 64, (low, high))[0], atol=2)
    constant, low, high = count_intensities(np.full((4, 5), 3, dtype=np.float32), n_bins=8)
    assert constant.tolist() == [20, 0, 0, 0, 0, 0, 0, 0]
    assert low == high == 3


def test_otsu_equals_skimage() -> None:
    random = np.random.default_rng(2)
    for part in (0.1, 0.3, 0.5):
        dark = random.normal(10, 2, (100, 100))
        image = np.where(random.random((100, 100)) < part, dark + 20, dark).astype(np.float32)
        counts, low, high = count_intensities(image, n_bins=256)
        width = (high - low) / 256
        found = find_otsu_threshold(counts, low=low, high=high)
        assert abs(found - threshold_otsu(image)) <= 1.5 * width
    one_value = np.array([5, 0, 0], dtype=np.int64)
    assert find_otsu_threshold(one_value, low=0.0, high=3.0) == 3.0


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 1e4), st.floats(-1e4, 1e4), st.integers(0, 1000))
def test_contrast_of_noise_is_about_one_at_any_level(scale: float, level: float, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(level, scale, (200, 200)).astype(np.float32)
    counts, low, high = count_intensities(noise, n_bins=512)
    threshold = find_otsu_threshold(counts, low=low, high=high)
    assert 0.8 < measure_contrast(counts, low=low, high=high, threshold=threshold) < 1.3


def test_contrast_of_two_levels_is_their_distance_in_deviations() -> None:
    random = np.random.default_rng(3)
    image = random.normal(100, 2, (300, 300)).astype(np.float32)
    image[:100] += 100
    counts, low, high = count_intensities(image, n_bins=2048)
    contrast = measure_contrast(counts, low=low, high=high, threshold=150.0)
    assert contrast == pytest.approx(25, rel=0.05)
    two_values = np.array([10, 0, 0, 10], dtype=np.int64)
    assert measure_contrast(two_values, low=0.0, high=4.0, threshold=2.0) == np.inf
    assert measure_contrast(two_values, low=0.0, high=4.0, threshold=0.0) == 0.0


def test_local_maximum_of_a_point_is_a_square_and_bounds_the_image() -> None:
    image = np.zeros((64, 96), dtype=np.float32)
    image[20, 44] = 7  # block (2, 5)
    found = find_local_maximum(image, window_px=24, sigma_px=0, block_px=8)
    expected = np.zeros((8, 12))
    expected[1:4, 4:7] = 7
    np.testing.assert_array_equal(found, expected)
    noise = np.random.default_rng(0).random((37, 51), dtype=np.float32)
    blocks = find_local_maximum(noise, window_px=8, sigma_px=0, block_px=8)
    assert blocks.shape == (5, 7)
    assert (np.kron(blocks, np.ones((8, 8)))[:37, :51] >= noise).all()
