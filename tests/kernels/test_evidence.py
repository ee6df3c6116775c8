"""What is measured of a field's pixels is what NumPy finds."""

import numpy as np
import pytest

from i2r.kernels.quality import (
    BRIGHT_PERCENTILE,
    LOOK_AGAIN,
    find_deviation,
    find_percentile,
    measure_evidence,
)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_percentiles_are_numpys(dtype: type[np.floating]) -> None:
    random = np.random.default_rng(0)
    for size in [*range(1, 40), 72900]:
        values = random.normal(500, 100, size).astype(dtype)
        ordered = np.sort(values)
        for percent in (0, 1.5, 50, BRIGHT_PERCENTILE, 100):
            expected = np.percentile(values.astype(np.float64), percent)
            assert find_percentile(ordered, percent) == pytest.approx(expected, rel=1e-15)
        assert np.float32(find_percentile(ordered, 50)) == np.float32(np.median(ordered))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_deviations_are_numpys(dtype: type[np.floating]) -> None:
    random = np.random.default_rng(1)
    for size in [*range(1, 40), 1000, 1001]:
        for spread in (0.0, 3.0, 100.0):  # rounded: many are equal
            values = np.round(random.gamma(2, spread, size)).astype(dtype)
            ordered = np.sort(values)
            middle = find_percentile(ordered, 50)
            expected = np.median(np.abs(values.astype(np.float64) - middle))
            assert find_deviation(ordered, middle) == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(1, 9), (2, 2), (3, 5), (41, 58), (64, 64)])
def test_evidence_is_of_one_square_in_four(shape: tuple[int, int], dtype: type) -> None:
    random = np.random.default_rng(2)
    image = random.gamma(2, 30, shape).clip(0, 250).astype(dtype)
    labels = (random.random(shape) < 0.4).astype(np.int32)
    found = measure_evidence(image, labels)
    height, width = (size - size % 2 for size in shape)
    corners = [image[y:height:4, x:width:4].astype(float) for y in (0, 1) for x in (0, 1)]
    if not height or not width:
        assert found[:3] == (0, 0, 0)
        return
    values, is_labelled = sum(corners) / 4, labels[:height:4, :width:4] > 0
    assert found.covered == is_labelled.mean()
    if is_labelled.any():
        bright = values > (values[is_labelled].mean() + np.median(values)) / 2
        expected = (bright & ~is_labelled).sum() / max(bright.sum(), 1)
        if expected < LOOK_AGAIN:
            assert found.unlabelled == pytest.approx(expected)
        else:  # the light between the labels may be what is bright
            assert 0 <= found.unlabelled <= expected + 1e-9
        deviation = 1.4826 * np.median(np.abs(values - np.median(values)))
        rise = np.percentile(values, BRIGHT_PERCENTILE) - np.median(values)
        if deviation > 0:
            assert found.contrast == pytest.approx(rise / deviation, rel=1e-5)
