"""Nuclei under light that is as uneven as they are bright, and the surface fitted between them."""

import numpy as np
import pytest

from i2r.kernels.light import fit_surface, keep_steep_objects, measure_light, measure_noise
from i2r.kernels.metrics import score_segmentation
from i2r.kernels.segmentation import segment_nuclei
from tests.kernels.lit_fields import LIGHTS, draw_light, draw_lit_field

SIDE = 540


@pytest.mark.parametrize("strength", [0.5, 2.0, 5.0])
@pytest.mark.parametrize("kind", LIGHTS)
def test_nuclei_are_found_under_every_light(kind: str, strength: float) -> None:
    field = draw_lit_field(kind, strength=strength, n_nuclei=40, size_px=SIDE, seed=11)
    score = score_segmentation(segment_nuclei(field.image), field.truth)
    assert score.f1[0] > 0.88
    empty = draw_lit_field(kind, strength=strength, n_nuclei=0, size_px=SIDE, seed=12)
    assert segment_nuclei(empty.image).max() == 0


@pytest.mark.parametrize("n_nuclei", [3, 250])
@pytest.mark.parametrize("kind", ["hill", "bowl", "lamp", "two stripes"])
def test_few_and_crowded_nuclei_are_found_under_a_light(kind: str, n_nuclei: int) -> None:
    field = draw_lit_field(kind, strength=3, n_nuclei=n_nuclei, blur_px=2, size_px=SIDE, seed=13)
    score = score_segmentation(segment_nuclei(field.image), field.truth)
    assert score.f1[0] > 0.9
    assert score.false_positives[0] <= 0.05 * n_nuclei


@pytest.mark.parametrize(("objective", "window_px"), [("10x", 10.0), ("40x", 40.0)])
def test_light_is_told_from_nuclei_of_any_size(objective: str, window_px: float) -> None:
    field = draw_lit_field(
        "lamp", strength=3, n_nuclei=25, objective=objective, size_px=SIDE, seed=14
    )
    found = segment_nuclei(field.image, window_px=window_px, min_area_px=0.06 * window_px**2)
    assert score_segmentation(found, field.truth).f1[0] > 0.93


def test_a_flat_field_stays_as_it_was_and_a_constant_does_not_matter() -> None:
    field = draw_lit_field("two stripes", strength=2, n_nuclei=30, size_px=SIDE, seed=15)
    found = segment_nuclei(field.image)
    assert (segment_nuclei(field.image + np.uint16(5000)) == found).mean() > 0.999


def test_a_surface_of_the_second_degree_is_fitted_across_gaps_and_to_the_border() -> None:
    y, x = np.mgrid[:30, :40].astype(np.float32)
    surface = 5 + 2 * x - y + 0.1 * (x - 20) ** 2 + 0.05 * x * y
    weights = np.ones(surface.shape, np.float32)
    weights[10:14, 5:9] = weights[:3, :3] = 0
    fitted = fit_surface(np.where(weights > 0, surface, 1e6).astype(np.float32), weights)
    np.testing.assert_allclose(fitted[weights > 0], surface[weights > 0], atol=1.5)
    np.testing.assert_allclose(fitted[10:14, 5:9], surface[10:14, 5:9], atol=2)
    assert (fit_surface(surface, np.zeros_like(weights)) == 0).all()


def test_light_is_measured_between_nuclei() -> None:
    light = (100 + 900 * draw_light("hill", (200, 200))).astype(np.float32)
    labels = np.zeros(light.shape, np.int32)
    labels[60:80, 60:80], labels[110:130, 150:170] = 1, 2
    image = light + 5000 * (labels > 0)
    grid = measure_light(image, labels, window_px=20)
    assert grid.shape == (22, 22)
    np.testing.assert_allclose(grid[1:-1, 1:-1], light[5::10, 5::10], atol=12)


def test_noise_is_measured_beside_slopes_and_nuclei() -> None:
    noise = np.random.default_rng(0).normal(0, 10, (160, 160))
    noise[:, 80:] *= 4
    image = noise + 30 * np.arange(160) + 500
    image[40:60, 40:60] += 3000
    measured = measure_noise(image.astype(np.float32), tile_px=40)
    assert measured.shape == (4, 4)
    np.testing.assert_allclose(measured[:, [0, 3]], [[10, 40]] * 4, rtol=0.2)
    assert measure_noise(np.zeros((9, 3), np.uint16), tile_px=8).tolist() == [[1.0]]


def test_what_rises_slowly_or_no_more_than_noise_is_no_object() -> None:
    y, x = np.mgrid[:120, :120]
    bump = 1000 * np.exp(-((y - 30) ** 2 + (x - 30) ** 2) / (2 * 25**2))
    disc = (y - 80) ** 2 + (x - 80) ** 2 < 10**2
    faint = (y - 20) ** 2 + (x - 95) ** 2 < 8**2
    flat = (bump + 800 * disc + 20 * faint).astype(np.float32)
    labels = (1 * (bump > 400) + 2 * disc + 3 * faint).astype(np.int32)
    keep_steep_objects(labels, flat, np.full((1, 1), 10, np.float32), window_px=20)
    np.testing.assert_array_equal(labels, disc)
