"""Outlines against scikit-image, closed forms, brute force and symmetries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops

from i2r.kernels.outlines import OUTLINE_COLUMNS, measure_outlines
from tests.kernels.shapes import Nuclei, draw_blobs, draw_disk, list_nuclei


def measure(nuclei: Nuclei, **options: float) -> dict[str, np.ndarray]:
    return measure_outlines(nuclei.labels, **nuclei.listed, **options)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 2.0, 4.0]))
def test_perimeter_and_greatest_calliper_equal_skimage(seed: int, sigma: float) -> None:
    nuclei = draw_blobs(seed, sigma=sigma)
    measured = measure(nuclei)
    regions = regionprops(nuclei.labels)
    np.testing.assert_allclose(measured["perimeter_px"], [r.perimeter for r in regions], rtol=1e-12)
    np.testing.assert_allclose(
        measured["calliper_max_px"], [r.feret_diameter_max for r in regions], rtol=1e-12
    )
    for name in OUTLINE_COLUMNS:
        assert np.isfinite(measured[name]).all(), name


def test_least_calliper_is_the_least_over_all_directions() -> None:
    nuclei = draw_blobs(5, shape=(40, 50))
    measured = measure(nuclei)
    angles = np.linspace(0, np.pi, 2000)
    directions = np.stack([np.sin(angles), np.cos(angles)])
    for region, least in zip(regionprops(nuclei.labels), measured["calliper_min_px"], strict=True):
        pixels = np.argwhere(region.image_convex).astype(float)
        corners = np.concatenate(
            [pixels + step for step in ([0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5])]
        )
        widths = np.ptp(corners @ directions, axis=0)
        assert widths.min() - 0.05 <= least <= widths.min() + 1e-9


@pytest.mark.parametrize("radius", [10.3, 15.2, 25.1, 60.4])
def test_a_disk_has_the_curvature_of_its_circle(radius: float) -> None:
    measured = {name: values[0] for name, values in measure(draw_disk(radius)).items()}
    assert measured["curvature_mean_per_px"] == pytest.approx(1 / radius, rel=0.04)
    assert measured["radius_mean_px"] == pytest.approx(radius, rel=0.02)
    assert measured["radius_cv"] < 0.03
    # A circle's is (2 pi) squared, and no closed curve has less.
    coarse = measure(draw_disk(radius), curvature_step_px=radius)["bending_energy"][0]
    assert coarse == pytest.approx((2 * np.pi) ** 2, rel=0.1)
    assert measured["form_factor"] == pytest.approx(1, abs=0.12)
    assert measured["calliper_ratio"] == pytest.approx(1, abs=0.07)


def test_dents_are_concave_and_counted() -> None:
    labels = draw_disk(30.2, size=90).labels
    whole = measure(list_nuclei(labels))
    y, x = np.mgrid[: labels.shape[0], : labels.shape[1]]
    middle = labels.shape[0] // 2
    for angle in (0.3, 2.4, 4.5):
        centre = middle + 32 * np.sin(angle), middle + 32 * np.cos(angle)
        labels[np.hypot(y - centre[0], x - centre[1]) < 9] = 0
    dented = measure(list_nuclei(labels), curvature_step_px=7)
    assert whole["concave_fraction"][0] < 0.05
    assert 0.15 < dented["concave_fraction"][0] < 0.5
    assert dented["curvature_sign_changes"][0] == 6
    assert dented["curvature_min_per_px"][0] == pytest.approx(-1 / 9, rel=0.15)


def test_turning_and_mirroring_change_nothing() -> None:
    nuclei = draw_blobs(7)
    expected = measure(nuclei)
    for turned in (nuclei.labels[::-1], nuclei.labels[:, ::-1], nuclei.labels.T):
        measured = measure(list_nuclei(np.ascontiguousarray(turned)))
        for name in ("perimeter_px", "calliper_max_px", "calliper_min_px", "touching_fraction"):
            np.testing.assert_allclose(measured[name], expected[name], rtol=1e-9, err_msg=name)
        for name in ("bending_energy", "curvature_mean_per_px"):  # places start elsewhere
            np.testing.assert_allclose(measured[name], expected[name], rtol=0.2, err_msg=name)


def test_touching_fraction_counts_the_sides_shared_with_other_nuclei() -> None:
    labels = np.zeros((20, 30), np.int32)
    labels[5:15, 5:15] = 1
    labels[5:10, 15:25] = 2
    assert measure(list_nuclei(labels))["touching_fraction"].tolist() == [5 / 40, 5 / 30]


def test_the_longest_outline_counts_not_a_hole_or_a_crumb() -> None:
    labels = draw_disk(12.2, size=60).labels
    alone = measure(list_nuclei(labels))
    labels[2, 2] = 1  # a crumb before the rest
    labels[30, 30] = 0
    several = measure(list_nuclei(labels))
    np.testing.assert_allclose(
        several["curvature_mean_per_px"], alone["curvature_mean_per_px"], rtol=1e-9
    )


def test_no_nuclei_and_a_wrong_step() -> None:
    nothing = list_nuclei(np.zeros((5, 5), np.int32))
    assert {len(values) for values in measure(nothing).values()} == {0}
    with pytest.raises(ValueError, match="expected more than 0"):
        measure(nothing, curvature_step_px=0.0)
