"""Crowding against brute force and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from i2r.kernels.neighbourhood import measure_neighbourhood


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_equals_a_tree_of_neighbours(seed: int, n: int) -> None:
    points = np.random.default_rng(seed).uniform(0, 300, (n, 2))
    found = measure_neighbourhood(*points.T, shape=(300, 300), radius_px=40.0)
    distances = np.sort(np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1)), axis=1)
    if n == 1:
        assert found["nearest_px"] == found["nearest_three_px"] == pytest.approx(300 * 2**0.5)
        assert found["density_per_px2"] == 0
        return
    np.testing.assert_allclose(found["nearest_px"], distances[:, 1])
    np.testing.assert_allclose(found["nearest_three_px"], distances[:, 1:4].mean(axis=1))
    within = cKDTree(points).query_ball_point(points, 40.0, return_length=True) - 1
    assert ((found["density_per_px2"] > 0) == (within > 0)).all()
    inner = ((points > 41) & (points < 258)).all(axis=1)
    np.testing.assert_allclose(
        found["density_per_px2"][inner], within[inner] / (np.pi * 40**2), rtol=2e-3
    )


def test_an_even_field_is_even_at_its_border_too() -> None:
    y, x = (axis.ravel().astype(float) for axis in np.mgrid[2:400:5, 2:300:5])
    found = measure_neighbourhood(y, x, shape=(400, 300), radius_px=50.0)
    np.testing.assert_allclose(found["density_per_px2"], 1 / 25, rtol=0.06)
    assert set(found["nearest_px"]) == {5.0}


def test_no_nuclei_and_a_wrong_radius() -> None:
    none = np.empty(0)
    found = measure_neighbourhood(none, none, shape=(10, 10), radius_px=5.0)
    assert {len(values) for values in found.values()} == {0}
    with pytest.raises(ValueError, match="expected more than 0"):
        measure_neighbourhood(none, none, shape=(10, 10), radius_px=0.0)
