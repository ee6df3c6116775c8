"""Distribution of chromatin against SciPy, scikit-image and planted patterns."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from skimage.measure import regionprops, shannon_entropy

from i2r.kernels.chromatin import CHROMATIN_COLUMNS, N_BINS, measure_chromatin
from tests.kernels.shapes import draw_blobs, draw_disk, list_nuclei


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_equals_scipy_and_skimage(seed: int) -> None:
    nuclei = draw_blobs(seed)
    image = np.random.default_rng(seed).integers(1, 3000, nuclei.labels.shape).astype(np.uint16)
    measured = measure_chromatin(image, nuclei.labels, **nuclei.listed)
    for i, region in enumerate(regionprops(nuclei.labels, image)):
        own = {name: measured[name][i] for name in CHROMATIN_COLUMNS}
        values = image[nuclei.labels == region.label].astype(float)
        expected = {
            "mean": values.mean(),
            "std": values.std(),
            "min": values.min(),
            "max": values.max(),
            "sum": values.sum(),
            "median": np.median(values),
            "p25": np.percentile(values, 25),
            "p75": np.percentile(values, 75),
            "p80_p20": np.percentile(values, 80) / np.percentile(values, 20),
            "mad": stats.median_abs_deviation(values),
            "cv": stats.variation(values),
        }
        if values.size > 1:
            levels = (values - values.min()) * (N_BINS / np.ptp(values))
            expected |= {
                "skewness": stats.skew(values),
                "kurtosis": stats.kurtosis(values),
                "entropy": shannon_entropy(np.minimum(levels.astype(int), N_BINS - 1)),
            }
        for name, value in expected.items():
            assert own[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name
        # scikit-image's are of the intensities themselves: each has its power of the mean.
        for number, power in enumerate((1, 2, 3, 3, 6, 4, 6), start=1):
            scaled = region.moments_weighted_hu[number - 1] * values.mean() ** power
            assert own[f"weighted_hu_{number}"] == pytest.approx(scaled, rel=1e-5, abs=1e-10)
        shift = np.subtract(region.centroid_weighted, region.centroid)
        assert own["mass_displacement_px"] == pytest.approx(np.hypot(*shift), abs=1e-9)


def test_planted_heterochromatin_is_found() -> None:
    labels = np.ones((20, 20), np.int32)
    image = np.full(labels.shape, 100, np.uint16)
    image[:2, :10] = 300  # 5 % of the area
    nuclei = list_nuclei(labels)
    found = measure_chromatin(image, labels, **nuclei.listed)
    bright, all_of_it = 20 * 300, 20 * 300 + 380 * 100
    assert found["hc_area_fraction"][0] == 20 / 400
    assert found["hc_ec_area"][0] == 20 / 380
    assert found["hc_content_fraction"][0] == bright / all_of_it
    assert found["hc_ec_content"][0] == bright / 38000


def test_shells_go_from_the_border_to_the_middle() -> None:
    nuclei = draw_disk(20.3)
    half = nuclei.labels.shape[0] // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    rim = np.where(np.hypot(y, x) > 15.5, 300, 100).astype(np.uint16)
    found = measure_chromatin(rim, nuclei.labels, **nuclei.listed)
    shells = [found[f"shell_{number}"][0] for number in (1, 2, 3, 4)]
    mean = rim[nuclei.labels > 0].mean()
    assert shells[0] == pytest.approx(300 / mean, rel=0.05)
    np.testing.assert_allclose(shells[1:], 100 / mean, rtol=0.05)
    even = measure_chromatin(np.full_like(rim, 5), nuclei.labels, **nuclei.listed)
    assert [even[f"shell_{number}"][0] for number in (1, 2, 3, 4)] == [1, 1, 1, 1]


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_constant_and_black_nuclei_are_finite(value: int) -> None:
    labels = np.zeros((30, 30), np.int32)
    labels[2:20, 3:22], labels[25, 25] = 1, 2
    nuclei = list_nuclei(labels)
    image = np.full(labels.shape, value, np.uint16)
    found = measure_chromatin(image, labels, **nuclei.listed)
    for name in CHROMATIN_COLUMNS:
        assert np.isfinite(found[name]).all(), name
    for name in ("std", "skewness", "kurtosis", "entropy", "hc_area_fraction", "cv"):
        assert found[name].tolist() == [0, 0], name
    assert (found["weighted_hu_1"] > 0).tolist() == [value > 0, False]  # a pixel has no spread


def test_strength_of_the_stain_changes_no_ratio() -> None:
    nuclei = draw_blobs(2)
    image = np.random.default_rng(0).integers(1, 1000, nuclei.labels.shape).astype(np.uint16)
    first = measure_chromatin(image, nuclei.labels, **nuclei.listed)
    second = measure_chromatin(image * 8, nuclei.labels, **nuclei.listed)
    for name in CHROMATIN_COLUMNS[8:]:
        factor = 8 if name == "mad" else 1
        np.testing.assert_allclose(second[name], factor * first[name], rtol=1e-9, atol=1e-12)


def test_image_of_another_shape_is_refused() -> None:
    nuclei = draw_disk(3.0)
    with pytest.raises(ValueError, match="like labels"):
        measure_chromatin(np.zeros((2, 2)), nuclei.labels, **nuclei.listed)
