"""What no kernel may stumble over: fields without nuclei, without contrast, or of one nucleus."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from i2r.kernels.chromatin import measure_chromatin
from i2r.kernels.crops import cut_crops, select_nuclei
from i2r.kernels.illumination import bin_field
from i2r.kernels.moments import measure_hu_moments
from i2r.kernels.neighbourhood import measure_neighbourhood
from i2r.kernels.nuclei import measure_nuclei
from i2r.kernels.outlines import measure_outlines
from i2r.kernels.quality import measure_quality
from i2r.kernels.regions import scale_field
from i2r.kernels.segmentation import segment_nuclei
from i2r.kernels.texture import measure_texture

SHAPE = (150, 170)
Field = npt.NDArray[np.number]


def draw_noise() -> Field:
    return np.random.default_rng(0).poisson(100, SHAPE).astype(np.uint16)


def draw_blob() -> Field:
    """One object that is nearly all of the field."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    inside = np.hypot(y - 75, x - 85) < 70
    noise = np.random.default_rng(1).normal(0, 20, SHAPE)
    return (100 + 2000 * inside + noise).astype(np.uint16)


def draw_specks() -> Field:
    """Single bright pixels."""
    field = np.full(SHAPE, 100, np.uint16)
    field[::13, ::17] = 4000
    return field


def draw_saturated() -> Field:
    """Nuclei that are all at the largest value, on a background that isn't."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    inside = np.hypot(y % 50 - 25, x % 50 - 25) < 12
    return np.where(inside, 65535, draw_noise()).astype(np.uint16)


FIELDS: dict[str, tuple[Callable[[], Field], int]] = {
    # How to draw it, and how many nuclei there are.
    "no pixels": (lambda: np.zeros((0, 0), np.uint16), 0),
    "no rows": (lambda: np.zeros((0, 40), np.uint16), 0),
    "one pixel": (lambda: np.full((1, 1), 7, np.uint16), 0),
    "one row": (lambda: draw_noise()[:1], 0),
    "black": (lambda: np.zeros(SHAPE, np.uint16), 0),
    "constant": (lambda: np.full(SHAPE, 1234, np.uint16), 0),
    "all saturated": (lambda: np.full(SHAPE, 65535, np.uint16), 0),
    "all saturated, 8 bit": (lambda: np.full(SHAPE, 255, np.uint8), 0),
    "noise": (draw_noise, 0),
    "specks": (draw_specks, 0),
    "saturated nuclei": (draw_saturated, 9),
    "one giant blob": (draw_blob, 1),
}


@pytest.mark.parametrize("name", FIELDS)
def test_fields_have_as_many_nuclei_as_they_show_and_every_kernel_takes_them(name: str) -> None:
    draw, n_nuclei = FIELDS[name]
    image = draw()
    labels = segment_nuclei(image, max_hole_area_px=200, min_area_px=24)
    assert labels.shape == image.shape
    # The border cuts four of the saturated nuclei's neighbours, which are nuclei too.
    assert len(np.unique(labels[labels > 0])) == n_nuclei or name == "saturated nuclei"
    assert labels.max(initial=0) >= n_nuclei
    measured = measure_everything(image, labels)
    if n_nuclei == 0:
        assert set(measured.values()) == {0}


@pytest.mark.parametrize("name", [name for name in FIELDS if not name.startswith("no ")])
def test_objects_of_one_pixel_and_of_the_whole_field_are_measured(name: str) -> None:
    image = FIELDS[name][0]()
    specks = np.zeros(image.shape, np.int32)
    specks[::3, ::4] = np.arange(1, specks[::3, ::4].size + 1).reshape(specks[::3, ::4].shape)
    assert set(measure_everything(image, specks).values()) == {specks.max()}
    whole = np.full(image.shape, 3, np.int32)
    assert set(measure_everything(image, whole).values()) == {1}


def measure_everything(image: Field, labels: npt.NDArray[np.int32]) -> dict[str, int]:
    """Let every kernel see the field; all values are finite; give the numbers of nuclei."""
    measured = measure_nuclei(labels, image[None])
    bbox = np.stack([measured[f"bbox_{edge}"] for edge in ("y0", "x0", "y1", "x1")], axis=1)
    listed = {"label_ids": measured["label"], "bbox": bbox}
    found = {
        "nuclei": measured,
        "outlines": measure_outlines(labels, **listed),
        "moments": measure_hu_moments(labels, **listed),
        "chromatin": measure_chromatin(image, labels, **listed),
        "texture": {"all": measure_texture(image, labels, **listed)},
        "neighbourhood": measure_neighbourhood(
            measured["centroid_y_px"], measured["centroid_x_px"], shape=labels.shape, radius_px=50
        ),
    }
    for kernel, columns in found.items():
        for name, values in columns.items():
            assert np.isfinite(values).all(), (kernel, name)
    kept = select_nuclei(measured, size_px=64) == 0
    crops = cut_crops(image[None], labels, label_ids=measured["label"][kept], bbox=bbox[kept])
    assert crops.shape == (kept.sum(), 1, 64, 64)
    if image.size:
        assert np.isfinite(measure_quality(image)).all()
        assert scale_field(image).shape == image.shape
        assert bin_field(image, block_px=8).ndim == 2
    return {kernel: len(next(iter(columns.values()))) for kernel, columns in found.items()}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_one_clear_error_or_stay_what_they_are(
    value: float,
) -> None:
    image = draw_saturated().astype(np.float32)
    labels = segment_nuclei(image)
    image[75, 75] = value
    with pytest.raises(ValueError, match="1 of 25500 pixels are NaN or infinite"):
        segment_nuclei(image)
    # Only the nucleus that holds it is not known.
    measured = measure_nuclei(labels, image[None])
    unknown = ~np.isfinite(measured["intensity_mean"][:, 0])
    assert measured["label"][unknown].tolist() == [labels[75, 75]]
    assert not np.isfinite(measure_quality(image)).all()
    listed = {"label_ids": np.array([1]), "bbox": np.array([[0, 0, 9, 9]])}
    for measure in (measure_chromatin, measure_texture):
        with pytest.raises(ValueError, match="1 of 25500 pixels are NaN or infinite"):
            measure(image, labels, **listed)


def test_arrays_of_the_wrong_kind_are_one_clear_error() -> None:
    image = draw_noise()
    with pytest.raises(ValueError, match="expected one channel"):
        segment_nuclei(image[None])
    with pytest.raises(ValueError, match="expected integers"):
        measure_nuclei(image.astype(float), image[None])
    outside = {"label_ids": np.array([1]), "bbox": np.array([[0, 0, 200, 9]])}
    labels = np.ones(SHAPE, np.int32)
    for measure in (
        lambda: measure_outlines(labels, **outside),
        lambda: measure_hu_moments(labels, **outside),
        lambda: measure_chromatin(image, labels, **outside),
        lambda: measure_texture(image, labels, **outside),
    ):
        with pytest.raises(ValueError, match="outside the field"):
            measure()
    with pytest.raises(ValueError, match="like the labels"):
        measure_nuclei(np.zeros((3, 3), np.int32), image[None])
    with pytest.raises(ValueError, match="expected uint8 or uint16"):
        scale_field(image.astype(float))
