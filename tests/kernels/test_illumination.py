"""Illumination: planted shading is found, and division is division."""

import numpy as np
import numpy.typing as npt
import pytest

from i2r.kernels.illumination import (
    LIMIT,
    MOST_GAIN,
    bin_field,
    correct_plane,
    find_typical_field,
    merge_fields,
    smooth_function,
)

SHAPE = (96, 128)


def draw_shading(strength: float) -> npt.NDArray[np.float64]:
    """Fall off from a place that is not the middle; 1 at the brightest."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return 1 - strength * (((y - 30) / 110) ** 2 + ((x - 40) / 110) ** 2) / 1.2


def draw_fields(n: int, shading: npt.NDArray[np.float64]) -> list[npt.NDArray[np.uint16]]:
    """Bright nuclei anywhere on a background that differs from field to field."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    fields = []
    for _ in range(n):
        field = np.full(SHAPE, random.uniform(300, 900))
        for _ in range(6):
            place = np.hypot(y - random.uniform(0, SHAPE[0]), x - random.uniform(0, SHAPE[1]))
            field[place < random.uniform(4, 8)] *= random.uniform(3, 12)
        fields.append(random.poisson(field * shading).astype(np.uint16))
    return fields


@pytest.mark.parametrize("n_fields", [60, 300])  # kept as they are, and as medians of groups
def test_planted_shading_is_recovered_within_two_percent(n_fields: int) -> None:
    shading = draw_shading(0.5)
    binned = [bin_field(field, block_px=2)[None] for field in draw_fields(n_fields, shading)]
    while len(binned) > 1:
        binned = [merge_fields(binned[i : i + 16]) for i in range(0, len(binned), 16)]
    assert (len(binned[0]) == n_fields) == (n_fields <= LIMIT)
    assert len(binned[0]) <= LIMIT
    function = smooth_function(
        find_typical_field(binned[0]), shape=SHAPE, block_px=2, sigma_px=12.8
    )
    assert function.min() == 1
    np.testing.assert_allclose(function, shading / shading.min(), rtol=0.02)


def test_bins_are_means_relative_to_their_median() -> None:
    plane = np.arange(35, dtype=np.uint8).reshape(5, 7)
    binned = bin_field(plane, block_px=3)
    means = np.array(
        [[plane[y : y + 3, x : x + 3].mean() for x in (0, 3, 6)] for y in (0, 3)], np.float32
    )
    np.testing.assert_allclose(binned, means / np.median(means), rtol=1e-6)
    for value in (0, 5, 65535):
        assert np.isnan(bin_field(np.full((4, 4), value, np.uint16), block_px=2)).all()


def test_a_gradient_and_an_even_field_are_followed_to_the_border() -> None:
    x = np.linspace(1, 2, 50, dtype=np.float32)
    ramp = np.tile(x, (40, 1))
    function = smooth_function(ramp, shape=(200, 250), block_px=5, sigma_px=25)
    expected = np.interp(np.arange(250), np.arange(50) * 5 + 2, x)
    np.testing.assert_allclose(function[100, 3:-3], expected[3:-3] / expected[0], rtol=0.01)
    even = smooth_function(np.ones((7, 9), np.float32), shape=(20, 27), block_px=3, sigma_px=4)
    np.testing.assert_allclose(even, 1, rtol=1e-6)


def test_no_fields_tiny_fields_and_dark_corners() -> None:
    typical = find_typical_field(merge_fields([np.empty((0, 3, 4), np.float32)]))
    assert typical.tolist() == np.ones((3, 4)).tolist()
    one = smooth_function(np.ones((1, 1), np.float32), shape=(1, 1), block_px=4, sigma_px=1)
    assert one.tolist() == [[1]]
    dark = np.ones((30, 30), np.float32)
    dark[:10, :10] = 0
    function = smooth_function(dark, shape=(30, 30), block_px=1, sigma_px=2)
    assert np.isfinite(function).all()
    assert 5 < function.max() <= MOST_GAIN * (1 + 1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_correction_divides_rounds_and_clips(dtype: type[np.unsignedinteger]) -> None:
    largest = np.iinfo(dtype).max
    random = np.random.default_rng(0)
    plane = random.integers(0, largest + 1, (20, 30)).astype(dtype)
    function = random.uniform(0.3, 3, plane.shape).astype(np.float32)
    corrected = correct_plane(plane, function)
    assert corrected.dtype == dtype
    expected = np.minimum(plane / function.astype(float), largest)
    assert np.abs(corrected - expected).max() <= 0.51
    np.testing.assert_array_equal(correct_plane(plane, np.ones_like(function)), plane)
    with pytest.raises(ValueError, match="expected the same"):
        correct_plane(plane, function[1:])
