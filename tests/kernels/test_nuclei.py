"""Measurements against scikit-image, closed forms and symmetries."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops_table

from i2r.kernels.nuclei import measure_nuclei

SHAPE_COLUMNS = (
    "label",
    "area_px",
    "bbox_y0",
    "bbox_x0",
    "bbox_y1",
    "bbox_x1",
    "centroid_y_px",
    "centroid_x_px",
    "major_axis_px",
    "minor_axis_px",
    "eccentricity",
    "solidity",
    "touches_border",
)

INTENSITY_COLUMNS = ("intensity_mean", "intensity_min", "intensity_max", "intensity_std")

SKIMAGE_NAMES = {
    "label": "label",
    "area_px": "area",
    "bbox_y0": "bbox-0",
    "bbox_x0": "bbox-1",
    "bbox_y1": "bbox-2",
    "bbox_x1": "bbox-3",
    "centroid_y_px": "centroid-0",
    "centroid_x_px": "centroid-1",
    "major_axis_px": "axis_major_length",
    "minor_axis_px": "axis_minor_length",
    "eccentricity": "eccentricity",
    "solidity": "solidity",
}
PROPERTIES = (
    "label",
    "area",
    "bbox",
    "centroid",
    "axis_major_length",
    "axis_minor_length",
    "eccentricity",
    "solidity",
    *INTENSITY_COLUMNS,
)


@st.composite
def fields(draw: st.DrawFn) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint16]]:
    """Rectangles and single pixels, in parts and on the border, with gaps in the numbering."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = np.zeros((30, 41), dtype=np.int32)
    for _ in range(draw(st.integers(0, 8))):
        y, x = draw(st.integers(0, 29)), draw(st.integers(0, 40))
        part = labels[y : y + draw(st.integers(1, 12)), x : x + draw(st.integers(1, 12))]
        part[random.random(part.shape) < 0.8] = draw(st.integers(1, 60))
    return labels, random.integers(0, 65536, (2, *labels.shape)).astype(np.uint16)


@settings(max_examples=50, deadline=None)
@given(fields())
def test_equals_skimage(
    field: tuple[npt.NDArray[np.int32], npt.NDArray[np.uint16]],
) -> None:
    labels, image = field
    measured = measure_nuclei(labels, image)
    if not labels.any():
        assert {values.shape[0] for values in measured.values()} == {0}
        return
    expected = regionprops_table(labels, np.moveaxis(image, 0, -1), properties=PROPERTIES)
    for ours, theirs in SKIMAGE_NAMES.items():
        # scikit-image's own rounding of the smaller eigenvalue is about 1e-7 px for lines.
        np.testing.assert_allclose(
            measured[ours], expected[theirs], rtol=1e-9, atol=2e-6, err_msg=ours
        )
    np.testing.assert_array_equal(measured["solidity"], expected["solidity"])
    for name in INTENSITY_COLUMNS:
        for c in range(2):
            np.testing.assert_allclose(
                measured[name][:, c], expected[f"{name}-{c}"], rtol=1e-9, atol=1e-9, err_msg=name
            )
    border = (expected["bbox-0"] == 0) | (expected["bbox-2"] == labels.shape[0])
    border |= (expected["bbox-1"] == 0) | (expected["bbox-3"] == labels.shape[1])
    np.testing.assert_array_equal(measured["touches_border"], border)


@settings(max_examples=30, deadline=None)
@given(fields())
def test_transposition_and_flip_move_places_and_keep_the_rest(
    field: tuple[npt.NDArray[np.int32], npt.NDArray[np.uint16]],
) -> None:
    labels, image = field
    measured = measure_nuclei(labels, image)
    turned = measure_nuclei(labels.T, image.transpose(0, 2, 1))
    flipped = measure_nuclei(labels[::-1], image[:, ::-1])
    for name in ("area_px", "solidity", "touches_border", "label"):
        np.testing.assert_array_equal(measured[name], turned[name])
        np.testing.assert_array_equal(measured[name], flipped[name])
    # Axes are roots of differences: 1e-12 in a moment is 1e-6 in an axis of length 0.
    for name in ("major_axis_px", "minor_axis_px", "eccentricity", *INTENSITY_COLUMNS):
        np.testing.assert_allclose(measured[name], turned[name], rtol=1e-9, atol=1e-5)
        np.testing.assert_allclose(measured[name], flipped[name], rtol=1e-9, atol=1e-5)
    np.testing.assert_allclose(measured["centroid_y_px"], turned["centroid_x_px"])
    np.testing.assert_allclose(29 - measured["centroid_y_px"], flipped["centroid_y_px"])
    np.testing.assert_array_equal(measured["bbox_y0"], turned["bbox_x0"])
    np.testing.assert_array_equal(30 - measured["bbox_y1"], flipped["bbox_y0"])


def test_disc_and_rectangle_have_their_textbook_values() -> None:
    y, x = np.mgrid[:120, :200]
    labels = ((y - 50) ** 2 + (x - 60) ** 2 <= 30**2).astype(np.int32)
    labels[20:40, 120:180] = 2
    image = np.where(labels == 2, 7, 3).astype(np.uint8)[None]
    measured = measure_nuclei(labels, image)
    assert measured["area_px"][0] == pytest.approx(np.pi * 30**2, rel=0.01)
    assert measured["major_axis_px"][0] == pytest.approx(60, rel=0.01)
    assert measured["minor_axis_px"][0] == pytest.approx(60, rel=0.01)
    assert measured["eccentricity"][0] == 0
    assert measured["solidity"][0] > 0.975
    assert (measured["centroid_y_px"][0], measured["centroid_x_px"][0]) == (50, 60)
    # A line of n pixels has variance (n^2 - 1) / 12.
    assert measured["major_axis_px"][1] == pytest.approx(4 * np.sqrt((60**2 - 1) / 12))
    assert measured["minor_axis_px"][1] == pytest.approx(4 * np.sqrt((20**2 - 1) / 12))
    assert measured["solidity"][1] == 1
    assert measured["intensity_mean"].tolist() == [[3], [7]]
    assert measured["intensity_std"].tolist() == [[0], [0]]


def test_single_pixel_and_straight_line() -> None:
    labels = np.zeros((5, 9), dtype=np.int32)
    labels[2, 1] = 4
    labels[4, 3:9] = 9
    measured = measure_nuclei(labels, np.arange(45, dtype=np.float32).reshape(1, 5, 9))
    assert measured["major_axis_px"][0] == measured["minor_axis_px"][0] == 0
    assert measured["eccentricity"].tolist() == [0, 1]
    assert measured["minor_axis_px"][1] == 0
    assert measured["solidity"].tolist() == [1, 1]
    assert measured["touches_border"].tolist() == [False, True]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.int64])
def test_any_integer_type_and_large_labels(dtype: type[np.integer]) -> None:
    largest = min(int(np.iinfo(dtype).max), 2**40)
    labels = np.zeros((6, 7), dtype=dtype)
    labels[1:3, 1:3], labels[4:, 4:] = largest, 1
    measured = measure_nuclei(labels, np.ones((1, 6, 7), dtype=np.uint8))
    assert measured["label"].tolist() == [1, largest]
    assert measured["area_px"].tolist() == [6, 4]


def test_a_far_and_bright_nucleus_keeps_its_precision() -> None:
    labels = np.zeros((50, 9000), dtype=np.int32)
    labels[20:30, 8990:8998] = 1
    image = np.full((1, 50, 9000), 1e6, dtype=np.float32)
    image[0, 20:25] += 1
    measured = measure_nuclei(labels, image)
    assert measured["intensity_std"][0, 0] == pytest.approx(0.5)
    assert measured["minor_axis_px"][0] == pytest.approx(4 * np.sqrt(63 / 12), rel=1e-12)


def test_nan_stays_in_its_nucleus_and_channel() -> None:
    labels = np.zeros((4, 8), dtype=np.int32)
    labels[:, :4], labels[:, 4:] = 1, 2
    image = np.ones((2, 4, 8), dtype=np.float32)
    image[1, 2, 3] = np.nan
    measured = measure_nuclei(labels, image)
    for name in INTENSITY_COLUMNS:
        assert np.isnan(measured[name]).tolist() == [[False, True], [False, False]]


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (4, 0), (6, 6)])
def test_fields_without_nuclei_have_every_column(shape: tuple[int, int]) -> None:
    measured = measure_nuclei(np.zeros(shape, dtype=np.int32), np.zeros((3, *shape)))
    assert tuple(measured) == (*SHAPE_COLUMNS, *INTENSITY_COLUMNS)
    assert all(measured[name].shape == (0,) for name in SHAPE_COLUMNS)
    assert all(measured[name].shape == (0, 3) for name in INTENSITY_COLUMNS)


def test_wrong_input_is_named() -> None:
    labels, image = np.zeros((4, 5), dtype=np.int32), np.zeros((1, 4, 5))
    with pytest.raises(ValueError, match=r"image is \(4, 5\)"):
        measure_nuclei(labels, image[0])
    with pytest.raises(ValueError, match="labels hold -3"):
        measure_nuclei(labels - 3, image)
    with pytest.raises(ValueError, match="labels are float64"):
        measure_nuclei(image[0], image)
