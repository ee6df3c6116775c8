"""Regions against the published rules written out, and against numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from i2r.kernels.regions import (
    find_percentiles,
    frame_field,
    place_windows,
    scale_field,
)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.sampled_from([np.uint8, np.uint16]))
def test_percentiles_equal_numpy(seed: int, n: int, dtype: type[np.unsignedinteger]) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(0, random.integers(1, np.iinfo(dtype).max + 1), n).astype(dtype)
    percents = (0.0, 0.1, 1.0, 50.0, 99.9, 100.0)
    np.testing.assert_allclose(
        find_percentiles(values, percents), np.percentile(values, percents), rtol=1e-12
    )


def test_scaling_follows_the_formula() -> None:
    plane = np.random.default_rng(0).gamma(2, 700, (80, 90)).astype(np.uint16)
    low, high = np.percentile(plane, (0.1, 99.9))
    expected = (np.clip((plane - low) / high, 0, 1) * 255).astype(np.uint8)
    np.testing.assert_array_equal(scale_field(plane), expected)


@pytest.mark.parametrize("value", [0, 200, 300, 65535])
def test_constant_fields_and_dark_fields(value: int) -> None:
    plane = np.full((5, 6), value, np.uint16)
    scaled = scale_field(plane)
    # A field without any pixel over 255 is taken for one of 8 bit; else nothing is above its low.
    assert set(scaled.ravel().tolist()) == {value if value <= 255 else 0}
    assert scaled.dtype == np.uint8


def test_a_window_has_its_nucleus_in_the_middle_and_the_frame_around_the_field() -> None:
    plane = np.zeros((50, 70), np.uint16)
    plane[:] = np.arange(50)[:, None] + 100
    plane[10, 20], plane[49, 69] = 250, 251
    scaled = scale_field(plane)
    framed = frame_field(scaled, size_px=32)
    assert framed.shape == (82, 102)
    fill = int(np.percentile(plane, 1))
    assert set(framed[:16].ravel().tolist()) == {fill}
    places = place_windows(np.array([10.9, 49.0]), np.array([20.2, 69.4]))
    windows = np.stack([framed[y : y + 32, x : x + 32] for y, x in places])
    assert windows.shape == (2, 32, 32)
    assert windows[0, 16, 16] == 250
    assert windows[1, 16, 16] == 251
    assert (windows[1, 17:] == fill).all()
    assert (windows[1, :, 17:] == fill).all()
    # The same window as from a frame as wide as published, one window on every side.
    wide = np.pad(scaled, 32, constant_values=fill)
    np.testing.assert_array_equal(windows[0], wide[10 + 16 : 10 + 48, 20 + 16 : 20 + 48])


@pytest.mark.parametrize("shape", [(50, 70), (51, 73)])
def test_a_halved_window_is_the_mean_of_two_by_two_pixels(shape: tuple[int, int]) -> None:
    scaled = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    y, x = np.array([12.3, 40.0, 2.9]), np.array([8.0, 33.4, 66.2])
    full = frame_field(scaled, size_px=32)
    half = frame_field(scaled, size_px=32, halved=True)
    assert half.shape == tuple((n + 32 + 1) // 2 for n in shape)
    starts = place_windows(y, x, halved=True)
    windows = [half[row : row + 16, column : column + 16] for row, column in starts]
    even = place_windows(y, x) // 2 * 2
    for window, (row, column) in zip(windows, even, strict=True):
        fine = full[row : row + 32, column : column + 32].astype(float)
        expected = np.floor(fine.reshape(16, 2, 16, 2).mean(axis=(1, 3)) + 0.5)
        np.testing.assert_array_equal(window, expected)


def test_no_nuclei_and_wrong_input() -> None:
    framed = np.zeros((40, 40), np.uint8)
    assert place_windows(np.empty(0), np.empty(0)).shape == (0, 2)
    with pytest.raises(ValueError, match="at least one pixel"):
        scale_field(np.zeros((0, 4), np.uint16))
    with pytest.raises(ValueError, match="expected even"):
        frame_field(framed, size_px=31)
    with pytest.raises(ValueError, match="a multiple of 4"):
        frame_field(framed, size_px=30, halved=True)
