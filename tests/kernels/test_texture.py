"""Texture against scikit-image and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.feature import graycomatrix, graycoprops

from i2r.kernels.texture import TEXTURE_COLUMNS, measure_texture
from tests.kernels.shapes import draw_blobs, draw_disk, list_nuclei

ANGLES = (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)


def measure_by_skimage(
    values: np.ndarray, mask: np.ndarray, distance: int, n_levels: int
) -> list[float]:
    """Count with one level more for what is outside, and leave that level out."""
    low, high = values[mask].min(), values[mask].max()
    scaled = (values - low) * (n_levels / (high - low)) if high > low else np.zeros(values.shape)
    levels = np.where(mask, np.minimum(scaled.astype(int), n_levels - 1) + 1, 0)
    counts = graycomatrix(
        levels.astype(np.uint16), [distance], ANGLES, levels=n_levels + 1, symmetric=True
    )
    pairs = counts[1:, 1:].sum(axis=3, keepdims=True).astype(float)
    if not pairs.any():
        return [0, 0, 1, 1, 1, 0]
    found = [graycoprops(pairs / pairs.sum(), name)[0, 0] for name in TEXTURE_COLUMNS[:5]]
    filled = pairs[pairs > 0] / pairs.sum()
    return [*found, -(filled * np.log2(filled)).sum()]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 32]))
def test_equals_skimage(seed: int, n_levels: int) -> None:
    nuclei = draw_blobs(seed)
    image = np.random.default_rng(seed).integers(100, 900, nuclei.labels.shape).astype(np.uint16)
    measured = measure_texture(
        image, nuclei.labels, **nuclei.listed, distances_px=(1, 3, 20), n_levels=n_levels
    )
    for i, (label, box) in enumerate(zip(nuclei.label_ids, nuclei.bbox, strict=True)):
        window = np.s_[box[0] : box[2], box[1] : box[3]]
        for d, distance in enumerate((1, 3, 20)):
            expected = measure_by_skimage(
                image[window].astype(float), nuclei.labels[window] == label, distance, n_levels
            )
            np.testing.assert_allclose(measured[i, d], expected, rtol=1e-9, atol=1e-9)


def test_stripes_have_full_contrast_across_and_none_at_their_period() -> None:
    image = np.tile(np.array([10.0, 30.0], np.float32), (8, 4))
    nuclei = list_nuclei(np.ones(image.shape, np.int32))
    one, six = measure_texture(
        image, nuclei.labels, **nuclei.listed, distances_px=(1, 6), n_levels=2
    )[0]
    pairs = 8 * 7, 7 * 7, 7 * 8, 7 * 7  # along, diagonal, across, diagonal
    assert one[0] == pytest.approx((pairs[0] + pairs[1] + pairs[3]) / sum(pairs))
    assert one[0] == one[1]
    assert six[:3].tolist() == [0, 0, 1]
    assert six[4] == pytest.approx(1)


def test_strength_of_the_stain_does_not_matter() -> None:
    nuclei = draw_disk(9.2)
    image = np.random.default_rng(0).integers(0, 256, nuclei.labels.shape).astype(np.uint16)
    first = measure_texture(image, nuclei.labels, **nuclei.listed)
    np.testing.assert_allclose(
        measure_texture(image * 4 + 100, nuclei.labels, **nuclei.listed), first, rtol=1e-12
    )


def test_constant_single_pixel_and_none() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[3:30, 3:30], labels[35, 35] = 1, 2
    nuclei = list_nuclei(labels)
    measured = measure_texture(np.full(labels.shape, 7, np.uint8), labels, **nuclei.listed)
    np.testing.assert_array_equal(measured, np.tile([0, 0, 1, 1, 1, 0], (2, 3, 1)))
    nothing = list_nuclei(np.zeros((4, 4), np.int32))
    assert measure_texture(np.zeros((4, 4)), nothing.labels, **nothing.listed).shape == (0, 3, 6)


def test_wrong_arguments() -> None:
    nuclei = draw_disk(3.0)
    image = np.zeros(nuclei.labels.shape)
    with pytest.raises(ValueError, match="like labels"):
        measure_texture(image[1:], nuclei.labels, **nuclei.listed)
    with pytest.raises(ValueError, match="distances of 1 or more"):
        measure_texture(image, nuclei.labels, **nuclei.listed, distances_px=(0,))
