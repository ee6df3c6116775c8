"""Tiles cover a field once, and labels put together from tiles are those of the whole field."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from i2r.kernels.tiles import paste_tile, plan_tiles


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 300), st.integers(0, 300), st.integers(30, 120), st.integers(0, 14))
def test_cores_cover_every_pixel_once_inside_bounded_tiles(
    height: int, width: int, side: int, margin: int
) -> None:
    covered = np.zeros((height, width), dtype=int)
    tiles = plan_tiles((height, width), max_side_px=side, margin_px=margin)
    sizes = {(o[2] - o[0], o[3] - o[1]) for o in (tile.outer for tile in tiles)}
    assert len(sizes) == (height * width > 0)
    for tile in tiles:
        y0, x0, y1, x1 = tile.core
        covered[y0:y1, x0:x1] += 1
        outer = tile.outer
        assert outer[2] - outer[0] <= side
        assert outer[3] - outer[1] <= side
        assert 0 <= outer[0] <= max(y0 - margin, 0)
        assert 0 <= outer[1] <= max(x0 - margin, 0)
        assert min(y1 + margin, height) <= outer[2] <= height
        assert min(x1 + margin, width) <= outer[3] <= width
    assert (covered == 1).all()


def test_a_field_that_fits_is_one_tile() -> None:
    assert len(plan_tiles((1080, 1080))) == 1
    assert len(plan_tiles((10_000, 10_000))) == 100


def test_margins_without_a_core_are_refused() -> None:
    with pytest.raises(ValueError, match="no core"):
        plan_tiles((500, 500), max_side_px=100, margin_px=50)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_tiles_of_true_labels_give_them_back(seed: int) -> None:
    random = np.random.default_rng(seed)
    spots = np.zeros((150, 170), dtype=bool)
    spots[random.integers(0, 150, 60), random.integers(0, 170, 60)] = True
    truth = ndimage.label(ndimage.binary_dilation(spots, iterations=3))[0].astype(np.int32)
    kept = [i for i, box in enumerate(ndimage.find_objects(truth), 1) if max(
        box[0].stop - box[0].start, box[1].stop - box[1].start) <= 20]  # fmt: skip
    truth = np.where(np.isin(truth, kept), truth, 0)
    canvas = np.zeros(truth.shape, dtype=np.int32)
    n = 0
    for tile in plan_tiles(truth.shape, max_side_px=90, margin_px=21):
        y0, x0, y1, x1 = tile.outer
        n = paste_tile(canvas, truth[y0:y1, x0:x1], tile, n_before=n)
    assert n == canvas.max() == len(kept)
    pairs = np.unique(np.stack([truth.ravel(), canvas.ravel()]), axis=1)
    assert pairs.shape[1] == n + (canvas == 0).any()


def test_a_nucleus_seen_differently_by_two_tiles_is_kept_once() -> None:
    tiles = plan_tiles((40, 100), max_side_px=70, margin_px=15)
    assert len(tiles) == 3
    seam = tiles[0].core[3]
    canvas = np.zeros((40, 100), dtype=np.int32)
    n = 0
    for shift, tile in zip((-1, 1), tiles[:2], strict=True):
        field = np.zeros((40, 100), dtype=np.int32)
        field[10:20, seam - 5 + shift : seam + 5 + shift] = 1
        y0, x0, y1, x1 = tile.outer
        n = paste_tile(canvas, field[y0:y1, x0:x1], tile, n_before=n)
    assert n == 1
    assert (canvas == 1).sum() == 100
