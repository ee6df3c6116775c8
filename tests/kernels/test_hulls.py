"""Hull areas against scikit-image's hull images, and the properties of convex hulls."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.morphology import convex_hull_image

from i2r.kernels.hulls import count_hull_pixels


def count_hull(mask: npt.NDArray[np.bool_]) -> int:
    """Hull area of a mask, through its runs."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    y, x0 = np.nonzero(edges == 1)
    x1 = np.nonzero(edges == -1)[1]
    return int(count_hull_pixels(y.astype(np.int32), x0.astype(np.int32), x1.astype(np.int32)))


@st.composite
def masks(draw: st.DrawFn) -> npt.NDArray[np.bool_]:
    """A few pixels or rectangles, connected or not, with holes and missing rows."""
    mask = np.zeros((18, 22), dtype=bool)
    for _ in range(draw(st.integers(1, 5))):
        y, x = draw(st.integers(0, 17)), draw(st.integers(0, 21))
        mask[y : y + draw(st.integers(1, 6)), x : x + draw(st.integers(1, 6))] = True
    return mask


@settings(max_examples=80, deadline=None)
@given(masks())
def test_equals_skimage(mask: npt.NDArray[np.bool_]) -> None:
    assert count_hull(mask) == convex_hull_image(mask).sum()


@settings(max_examples=40, deadline=None)
@given(masks())
def test_flips_and_transposition_change_nothing(mask: npt.NDArray[np.bool_]) -> None:
    area = count_hull(mask)
    assert area >= mask.sum()
    assert count_hull(mask[::-1]) == count_hull(mask[:, ::-1]) == count_hull(mask.T) == area


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (6, 4)])
def test_rectangles_are_convex(size: tuple[int, int]) -> None:
    assert count_hull(np.ones(size, dtype=bool)) == size[0] * size[1]


def test_a_right_angle_has_a_triangle_for_hull() -> None:
    mask = np.zeros((11, 11), dtype=bool)
    mask[:, 0] = mask[10] = True
    assert count_hull(mask) == 11 * 12 // 2
