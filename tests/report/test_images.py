"""Contrast, outlines and windows of pictures."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from i2r.kernels.crops import cut_crops
from i2r.report.images import (
    Window,
    cut_window,
    find_outlines,
    find_window,
    join_strip,
    overlay_uri,
    png_uri,
    shrink,
    to_grey,
)


def decode(uri: str) -> Image.Image:
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@given(
    hnp.arrays(
        np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=7), elements=st.integers(0, 3)
    )
)
def test_outlines_are_pixels_with_another_neighbour(labels: np.ndarray) -> None:
    expected = np.zeros(labels.shape, bool)
    for y, x in np.ndindex(*labels.shape):
        near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        inside = [
            labels[p] for p in near if 0 <= p[0] < labels.shape[0] and 0 <= p[1] < labels.shape[1]
        ]
        expected[y, x] = labels[y, x] > 0 and any(other != labels[y, x] for other in inside)
    np.testing.assert_array_equal(find_outlines(labels), expected)


@settings(max_examples=50, deadline=None)  # the first call compiles
@given(st.data())
def test_windows_of_labels_are_those_of_crops(data: st.DataObject) -> None:
    labels = np.arange(1, 31 * 27 + 1, dtype=np.int32).reshape(31, 27)
    size = data.draw(st.integers(8, 20))
    y0, x0 = data.draw(st.integers(0, 30)), data.draw(st.integers(0, 26))
    y1 = data.draw(st.integers(y0 + 1, min(31, y0 + size)))
    x1 = data.draw(st.integers(x0 + 1, min(27, x0 + size)))
    crop = cut_crops(
        labels[None], labels, label_ids=np.array([1]), bbox=np.array([[y0, x0, y1, x1]]),
        size_px=size, masked=False,
    )  # fmt: skip
    np.testing.assert_array_equal(cut_window(labels, [y0, x0, y1, x1], size), crop[0, 0])


@pytest.mark.parametrize("pixels", [np.array([]), np.zeros(5), np.full(5, 7.0), np.arange(100.0)])
@pytest.mark.parametrize("ignore_zero", [False, True])
def test_white_is_above_black(pixels: np.ndarray, ignore_zero: bool) -> None:
    window = find_window(pixels, ignore_zero=ignore_zero)
    assert window.white > window.black


def test_the_mask_does_not_count_for_contrast() -> None:
    pixels = np.concatenate([np.zeros(10_000), np.linspace(500, 600, 101)])
    masked, whole = find_window(pixels, ignore_zero=True), find_window(pixels)
    assert 480 < masked.black < 500.5
    assert whole.black == 0


def test_grey_is_linear_and_clipped() -> None:
    grey = to_grey(np.array([0, 100, 150, 200, 999], np.uint16), Window(100, 200))
    assert grey.tolist() == [0, 0, 128, 255, 255]


def test_shrinking_averages_and_drops_what_is_left_over() -> None:
    plane = np.arange(35, dtype=np.uint16).reshape(5, 7)
    np.testing.assert_array_equal(shrink(plane, 2), [[4, 6, 8], [18, 20, 22]])
    assert shrink(plane, 1) is plane


def test_strips_have_one_width() -> None:
    tiles = [np.full((4, 4), 9, np.uint8)]
    assert join_strip(tiles, 3).shape == join_strip(tiles * 3, 3).shape == (4, 14)
    assert join_strip(tiles, 3)[:, 4:].min() == 255


def test_pictures_come_back_equal() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (5, 6)).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(decode(png_uri(pixels))), pixels)


def test_overlays_are_see_through_where_nothing_is() -> None:
    classes = np.array([[0, 1, 2]], np.uint8)
    picture = np.asarray(decode(overlay_uri(classes, [(1, 2, 3), (4, 5, 6)])).convert("RGBA"))
    assert picture[0, 0, 3] == 0
    assert picture[0, 1:].tolist() == [[1, 2, 3, 255], [4, 5, 6, 255]]
