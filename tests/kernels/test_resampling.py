"""Resampling by areas: means are kept, exact where sizes divide, equal to a count of small pixels."""

import numpy as np
import pytest

from i2r.kernels.resampling import resample_tiles

TILES = np.random.default_rng(0).integers(0, 60000, (70, 2, 12, 12)).astype(np.uint16)


def test_the_same_size_is_the_same_tile() -> None:
    assert resample_tiles(TILES, 12) is TILES


def test_whole_factors_are_means_and_copies() -> None:
    halved = TILES.reshape(70, 2, 6, 2, 6, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(resample_tiles(TILES, 6), halved, atol=0.51)
    np.testing.assert_array_equal(resample_tiles(TILES, 24), TILES.repeat(2, 2).repeat(2, 3))


@pytest.mark.parametrize("size", [5, 7, 9, 16, 31])
def test_any_factor_is_the_mean_over_the_area(size: int) -> None:
    """Counted in pixels so small that both grids fall on their edges."""
    tiles = TILES[:2]
    fine = tiles.repeat(size, 2).repeat(size, 3).astype(float)
    means = fine.reshape(2, 2, size, 12, size, 12).mean(axis=(3, 5))
    found = resample_tiles(tiles, size)
    np.testing.assert_allclose(found, means, atol=0.51)
    assert found.dtype == np.uint16
    assert found.mean() == pytest.approx(tiles.mean(), rel=1e-4)


def test_no_tiles_and_even_ones() -> None:
    assert resample_tiles(TILES[:0], 7).shape == (0, 2, 7, 7)
    assert (resample_tiles(np.full((1, 1, 279, 279), 65535, np.uint16), 64) == 65535).all()
