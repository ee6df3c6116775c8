"""Percentiles of sorted values are those that NumPy finds."""

import numpy as np
import pytest

from i2r.kernels.plausibility import BRIGHT_PERCENTILE, find_percentile


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
