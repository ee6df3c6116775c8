"""Connected components against scipy, and the filling of holes against a search by masks."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from i2r.kernels.components import find_components, label_components, paint_components


@st.composite
def masks(draw: st.DrawFn) -> npt.NDArray[np.bool_]:
    """Noise, smoothed to blobs of different sizes."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    noise = ndimage.gaussian_filter(random.normal(size=shape), draw(st.sampled_from([0, 1, 2])))
    return np.asarray(noise > np.quantile(noise, draw(st.sampled_from([0.2, 0.5, 0.8]))))


@settings(max_examples=80, deadline=None)
@given(masks())
def test_components_equal_scipy(mask: npt.NDArray[np.bool_]) -> None:
    np.testing.assert_array_equal(label_components(mask), ndimage.label(mask)[0])


@settings(max_examples=60, deadline=None)
@given(masks(), st.integers(1, 60))
def test_holes_equal_those_found_by_masks(mask: npt.NDArray[np.bool_], max_area: int) -> None:
    filled = mask.copy()
    background, n = ndimage.label(~mask)
    for i in range(1, n + 1):
        hole = background == i
        touches = hole[[0, -1]].any() or hole[:, [0, -1]].any()
        if hole.sum() <= max_area and not touches:
            filled |= hole
    found = label_components(mask, max_hole_area_px=max_area)
    np.testing.assert_array_equal(found, ndimage.label(filled)[0])


@settings(max_examples=30, deadline=None)
@given(masks(), masks())
def test_label_images_are_cut_into_connected_parts(
    one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]
) -> None:
    shape = min(one.shape[0], other.shape[0]), min(one.shape[1], other.shape[1])
    regions = (one[: shape[0], : shape[1]] * 1 + other[: shape[0], : shape[1]] * 5).astype(np.int32)
    found = label_components(regions)
    assert found.max() == sum(ndimage.label(regions == value)[1] for value in (1, 5, 6))
    for label in range(1, int(found.max()) + 1):
        own = found == label
        assert np.unique(regions[own]).size == 1
        assert ndimage.label(own)[1] == 1
    np.testing.assert_array_equal(found > 0, regions > 0)


def test_runs_cover_the_foreground_and_small_components_can_be_left_out() -> None:
    mask = np.zeros((6, 9), dtype=bool)
    mask[1, 1] = mask[2:5, 3:8] = True
    components = find_components(mask)
    assert components.first_run.tolist() == [0, 1, 4]
    assert (components.x1 - components.x0).tolist() == [1, 5, 5, 5]
    labels = np.zeros(mask.shape, dtype=np.int32)
    assert paint_components(components, labels, 2) == 1
    np.testing.assert_array_equal(labels[2:5, 3:8], 1)
    assert labels[1, 1] == 0


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (1, 1)])
def test_images_without_foreground(shape: tuple[int, int]) -> None:
    mask = np.zeros(shape, dtype=bool)
    assert find_components(mask).first_run.tolist() == [0]
    assert label_components(mask, max_hole_area_px=9).shape == shape


def test_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match="expected a mask"):
        label_components(np.zeros((3, 3), dtype=np.uint8))  # type: ignore[arg-type]
