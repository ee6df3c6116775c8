"""Quality numbers: closed forms, invariance, and fields with nothing in them."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from i2r.kernels.quality import measure_quality


@settings(max_examples=25, deadline=None)
@example(9337, 3, 3)
@given(st.integers(0, 2**32 - 1), st.integers(3, 40), st.integers(3, 40))
def test_equals_numpy_and_scipy(seed: int, height: int, width: int) -> None:
    image = np.random.default_rng(seed).integers(0, 4000, (height, width)).astype(np.uint16)
    quality = measure_quality(image)
    laplacian = ndimage.laplace(image.astype(np.float64))[1:-1, 1:-1]
    assert quality.mean == pytest.approx(image.mean())
    # Squares are added up in single precision: of few pixels they may cancel.
    rounding = np.finfo(np.float32).eps * (laplacian**2).mean() / image.mean() ** 2
    expected = laplacian.var() / image.mean() ** 2
    assert quality.focus == pytest.approx(expected, rel=1e-4, abs=rounding)
    below = (image < quality.background).mean()
    assert below <= 0.05 <= (image <= quality.background).mean() + 1e-9


def test_focus_falls_with_blur_and_ignores_gain() -> None:
    sharp = np.random.default_rng(0).poisson(50, (100, 100)).astype(np.float32)
    focus = [measure_quality(ndimage.gaussian_filter(sharp, s)).focus for s in (0, 1, 2, 4)]
    assert focus == sorted(focus, reverse=True)
    assert measure_quality(sharp * 7).focus == pytest.approx(focus[0], rel=1e-4)


@pytest.mark.parametrize(
    ("dtype", "largest", "fraction"),
    [
        (np.uint8, 255, 0.25),
        (np.uint8, 254, 0.0),
        (np.uint16, 255, 0.25),
        (np.uint16, 4095, 0.25),
        (np.uint16, 65535, 0.25),
        (np.uint16, 3000, 0.0),
        (np.float32, 1.0, 0.0),
    ],
)
def test_saturation_is_a_plateau_at_a_cameras_full_scale(
    dtype: type[np.generic], largest: float, fraction: float
) -> None:
    image = np.zeros((10, 10), dtype=dtype)
    image[:5, :5] = largest
    assert measure_quality(image).saturated_fraction == fraction


def test_black_constant_saturated_and_tiny_fields() -> None:
    black = measure_quality(np.zeros((9, 9), dtype=np.uint16))
    assert black == (0.0, 0.0, 0.0, 0.0)
    white = measure_quality(np.full((9, 9), 65535, dtype=np.uint16))
    assert white == (0.0, 1.0, 65535.0, 65535.0)
    assert measure_quality(np.array([[3, 5]], dtype=np.uint8)).focus == 0
    assert measure_quality(np.array([[2.0]], dtype=np.float32)).background == 2


def test_nan_spreads_and_empty_fields_are_refused() -> None:
    image = np.ones((8, 8), dtype=np.float32)
    image[4, 4] = np.nan
    quality = measure_quality(image)
    assert np.isnan([quality.focus, quality.mean, quality.background]).all()
    with pytest.raises(ValueError, match="expected"):
        measure_quality(np.zeros((0, 3), dtype=np.uint8))
