"""Distances against scipy, and cuts at the necks of drawn shapes."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from i2r.kernels.components import find_components
from i2r.kernels.distances import (
    FEW_SHIFTS,
    STEPS_PER_PX,
    _measure_columns,
    _measure_rows,
    _measure_runs,
    measure_distance,
)
from i2r.kernels.filters import make_weights
from i2r.kernels.splitting import _flood_basins, _sort_pixels, split_components


def draw_discs(*discs: tuple[float, float, float]) -> npt.NDArray[np.bool_]:
    """Union of discs given as y, x, radius, in a field of 80 x 120 pixels."""
    y, x = np.mgrid[:80, :120]
    discs_apart = [(y - cy) ** 2 + (x - cx) ** 2 <= r**2 for cy, cx, r in discs]
    return np.asarray(np.any(discs_apart, axis=0))


def split(
    mask: npt.NDArray[np.bool_],
    brightness: npt.NDArray[np.float32] | None = None,
    *,
    min_solidity: float = 0.93,
) -> npt.NDArray[np.int32]:
    """Cut a mask with the parameters that segmentation uses."""
    labels = np.zeros(mask.shape, dtype=np.int32)
    even = np.ones(mask.shape, dtype=np.float32) if brightness is None else brightness
    n = split_components(
        find_components(mask), even, make_weights(sigma_px=1.5), labels, min_solidity, 1.1, 0.93
    )
    assert n == labels.max()
    return labels


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2]))
def test_distance_equals_scipy(seed: int, sigma: float) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(25, 31)), sigma)
    mask = noise > np.quantile(noise, 0.3)
    labels, n = ndimage.label(mask)
    components = find_components(mask)
    for i in range(n):
        own = labels == i + 1
        runs = slice(components.first_run[i], components.first_run[i + 1])
        found = measure_distance(
            components.y[runs], components.x0[runs], components.x1[runs], mask.shape
        )
        box = ndimage.find_objects(own.astype(int))[0]
        expected = ndimage.distance_transform_edt(own)[box]
        np.testing.assert_allclose(found / STEPS_PER_PX, expected, atol=0.5 / STEPS_PER_PX)


def test_an_object_that_fills_the_field_has_no_background() -> None:
    components = find_components(np.ones((5, 7), dtype=bool))
    runs = components.y, components.x0, components.x1
    assert (measure_distance(*runs, (5, 7)) == 65535).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans(), st.sampled_from([0.05, 0.3, 0.6]))
def test_rows_shifted_give_what_parabolas_give(
    seed: int, before: bool, after: bool, part: float
) -> None:
    shape = np.random.default_rng(seed).integers(1, (40, 70))
    mask = np.random.default_rng(seed).random(shape) >= part
    padded = np.pad(mask, ((0, 0), (1, 1))).astype(np.int8)
    y, x0 = np.nonzero(np.diff(padded, axis=1) == 1)
    x1 = np.nonzero(np.diff(padded, axis=1) == -1)[1]
    by_shifts = np.where(mask, 60000, 0).astype(np.uint16)
    _measure_columns(by_shifts, True, True)
    by_parabolas = by_shifts.copy()
    _measure_rows(by_shifts, before, after)
    runs = (places.astype(np.int32) for places in (y, x0, x1))
    _measure_runs(by_parabolas, *runs, before, after)
    np.testing.assert_array_equal(by_shifts, by_parabolas)


def test_distance_in_a_large_object_equals_scipy() -> None:
    y, x = np.mgrid[:170, :180]
    mask = ((y - 85) ** 2 + (x - 90) ** 2 < 80**2) & ((y - 60) ** 2 + (x - 130) ** 2 > 9)
    mask[80:120, 90] = False
    components = find_components(mask)
    found = measure_distance(components.y, components.x0, components.x1, mask.shape)
    expected = ndimage.distance_transform_edt(mask)[ndimage.find_objects(mask.astype(int))[0]]
    assert expected.max() > FEW_SHIFTS / 2
    np.testing.assert_allclose(found / STEPS_PER_PX, expected, atol=0.5 / STEPS_PER_PX)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([6, 200]))
def test_flooding_equals_joining_neighbours_one_by_one(seed: int, n_levels: int) -> None:
    random = np.random.default_rng(seed)
    height, width = random.integers(1, (14, 17))
    landscape = np.zeros((height + 2, width + 2), np.uint16)
    landscape[1:-1, 1:-1] = random.integers(1, n_levels, (height, width))
    rows = np.arange(1, height + 1, dtype=np.int32)
    ends = np.ones(height, np.int32), np.full(height, width + 1, np.int32)
    pixels = _sort_pixels(landscape, rows, *ends, height * width)
    basins = np.zeros(landscape.shape, np.int32)
    parent = _flood_basins(landscape, pixels, basins, n_levels / 5, 0.9)
    expected, roots = flood_plainly(landscape, pixels, n_levels / 5, 0.9)
    np.testing.assert_array_equal(basins, expected)
    np.testing.assert_array_equal(parent, roots)


def flood_plainly(
    landscape: npt.NDArray[np.uint16], pixels: npt.NDArray[np.int32], depth: float, ratio: float
) -> tuple[npt.NDArray[np.int32], list[int]]:
    """Flood a landscape: every pixel joins its highest neighbour, and basins all that meet it."""
    level, basins = landscape.astype(int), np.zeros(landscape.shape, np.int32)
    parent, peak = [0], [0]

    def find(basin: int) -> int:
        return basin if parent[basin] == basin else find(parent[basin])

    for pixel in pixels.tolist():
        y, x = divmod(pixel, landscape.shape[1])
        around = [(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
        wet = [place for place in around if basins[place]]
        if not wet:
            parent.append(len(parent))
            peak.append(level[y, x])
            basins[y, x] = len(parent) - 1
            continue
        basins[y, x] = basins[max(wet, key=lambda place: level[place])]
        root = find(basins[y, x])
        for place in wet:
            other = find(basins[place])
            lower = min(peak[root], peak[other])
            apart = lower - level[y, x] >= depth and level[y, x] <= ratio * lower
            if root != other and not apart:
                if peak[root] < peak[other]:
                    root, other = other, root
                parent[other] = root
    return basins, [find(basin) for basin in range(len(parent))]


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_two_discs_are_cut_at_their_neck(turn: int) -> None:
    mask = np.rot90(draw_discs((40, 40, 15), (40, 66, 15)), turn).copy()
    labels = split(mask)
    np.testing.assert_array_equal(labels > 0, mask)
    areas = np.bincount(labels.ravel())[1:]
    assert areas.size == 2
    assert abs(int(areas[0]) - int(areas[1])) <= 0.05 * areas.sum()


def test_convex_shapes_stay_whole_and_chains_are_cut_into_all_their_discs() -> None:
    assert split(draw_discs((40, 40, 17))).max() == 1
    assert split(draw_discs((40, 40, 17), (40, 43, 17))).max() == 1
    chain = [(40, 20 + 22 * k, 12) for k in range(4)]
    labels = split(draw_discs(*chain))
    centres = [labels[y, x] for y, x, _ in chain]
    assert labels.max() == len(set(centres)) == 4


def test_a_dark_line_cuts_where_the_shape_alone_does_not() -> None:
    mask = draw_discs((40, 40, 14), (40, 53, 14))
    assert split(mask, min_solidity=1.0).max() == 1
    brightness = np.ones(mask.shape, dtype=np.float32)
    brightness[:, 44:50] = 0.3
    assert split(mask, brightness, min_solidity=1.0).max() == 2


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_every_pixel_gets_one_number_and_numbers_stay_in_their_component(seed: int) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(60, 50)), 2)
    mask = noise > 0
    labels = split(mask)
    np.testing.assert_array_equal(labels > 0, mask)
    assert set(np.unique(labels[mask])) == set(range(1, int(labels.max()) + 1))
    component = ndimage.label(mask)[0]
    for label in range(1, int(labels.max()) + 1):
        assert np.unique(component[labels == label]).size == 1
