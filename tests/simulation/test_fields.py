"""Composed fields: what is planted can be measured, and nothing else changes."""

import numpy as np
import pytest
from scipy import ndimage

from i2r.simulation.fields import BACKGROUND, NUCLEI_PER_PX, Surroundings, compose_field
from i2r.simulation.nuclei import (
    FOCUS_HEIGHT,
    Phenotype,
    add_foci,
    change_texture,
    draw_nucleus,
    load_nuclei,
)  # fmt: skip

DRAWS = 60


def nuclei(phenotype: Phenotype, **options: float) -> list[np.ndarray]:
    return [draw_nucleus(np.random.default_rng(n), phenotype, **options) for n in range(DRAWS)]


def test_the_nuclei_are_small_masked_and_whole() -> None:
    shipped = load_nuclei()
    assert shipped.crops.shape == (300, 48, 48)
    assert shipped.peaks.shape == (300,)
    assert (shipped.crops.reshape(300, -1).max(axis=1) == 255).all()
    edge = np.ones((48, 48), dtype=bool)
    edge[1:-1, 1:-1] = False
    assert not shipped.crops[:, edge].any(), "a nucleus is cut"


@pytest.mark.parametrize("by", [{"phenotype": Phenotype(size=1.2)}, {"phenotype": Phenotype(), "size": 1.2}])  # fmt: skip
def test_size_scales_the_area_of_the_same_nuclei(by: dict[str, object]) -> None:
    plain = np.array([(n > 0).sum() for n in nuclei(Phenotype())])
    large = np.array([(n > 0).sum() for n in nuclei(**by)])  # type: ignore[arg-type]
    assert (large / plain).mean() == pytest.approx(1.2**2, rel=0.02)
    assert (large / plain).std() < 0.05


def test_texture_scales_fine_contrast_and_keeps_mean_and_outline() -> None:
    crop = load_nuclei().crops[0].astype(np.float32)
    changed = change_texture(crop, 1.5)
    core = ndimage.binary_erosion(crop > 0, iterations=4)
    fine = (changed - crop)[core]
    smooth = change_texture(crop, 0.0)[core]
    np.testing.assert_allclose(fine, 0.5 * (crop[core] - smooth), atol=1e-3)
    assert fine.std() > 0.1 * crop[core].std()
    assert smooth.std() < crop[core].std() < changed[core].std()
    assert changed[core].mean() == pytest.approx(crop[core].mean(), rel=0.02)
    np.testing.assert_array_equal(changed[~core], crop[~core])
    np.testing.assert_array_equal(change_texture(crop, 1.0), crop)
    assert not change_texture(np.zeros((9, 9), np.float32), 3.0).any()


def test_foci_are_as_high_as_stated_and_inside() -> None:
    patch = draw_nucleus(np.random.default_rng(0))
    spotted = add_foci(patch, 1, np.random.default_rng(1))
    assert (spotted - patch).max() == pytest.approx(
        FOCUS_HEIGHT * patch[patch > 0].mean(), rel=1e-4
    )
    assert not spotted[patch == 0].any()
    np.testing.assert_array_equal(add_foci(patch, 0, np.random.default_rng(1)), patch)
    empty = np.zeros((20, 20), np.float32)
    assert not add_foci(empty, 3, np.random.default_rng(1)).any()


def test_elongation_stretches_and_brightness_multiplies_the_same_nuclei() -> None:
    def ratio(nucleus: np.ndarray) -> float:
        spread = np.linalg.eigvalsh(np.cov(np.argwhere(nucleus > 0).T))
        return float(np.sqrt(spread[1] / spread[0]))

    plain, long, bright = (
        nuclei(p) for p in (Phenotype(), Phenotype(elongation=1.5), Phenotype(brightness=1.5))
    )
    area = [(n > 0).sum() for n in plain]
    assert np.divide([(n > 0).sum() for n in long], area) == pytest.approx(1, abs=0.05)
    assert np.mean([ratio(n) for n in long]) > 1.15 * np.mean([ratio(n) for n in plain])
    for one, other in zip(plain, bright, strict=True):
        np.testing.assert_allclose(other, 1.5 * one, rtol=1e-4)


def test_density_multiplies_the_number_of_nuclei() -> None:
    def total(**options: object) -> int:
        fields = [compose_field(n, shape=(300, 300), **options) for n in range(12)]  # type: ignore[arg-type]
        return sum(int((field > 1.5 * BACKGROUND).sum()) for field in fields)

    area = np.mean([(nucleus > 0.5 * BACKGROUND).sum() for nucleus in nuclei(Phenotype())])
    plain = total()
    assert plain == pytest.approx(12 * 300 * 300 * NUCLEI_PER_PX * area, rel=0.25)
    for options in ({"phenotype": Phenotype(density=0.5)}, {"surroundings": Surroundings(density=0.5)}):  # fmt: skip
        assert total(**options) == pytest.approx(0.5 * plain, rel=0.25)
    assert total(phenotype=Phenotype(density=0.0)) == 0


def test_a_field_is_drawn_from_its_seed() -> None:
    fields = [compose_field(seed, shape=(96, 128)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(fields[0], fields[1])
    assert (fields[0] != fields[2]).any()
    assert fields[0].shape == (96, 128)
    assert fields[0].dtype == np.uint16


def test_surroundings_act_as_named() -> None:
    plain = compose_field(3, shape=(256, 256)).astype(float)
    assert np.median(plain) == pytest.approx(BACKGROUND, rel=0.05)
    bright = compose_field(3, shape=(256, 256), surroundings=Surroundings(gain=2.0)).astype(float)
    assert bright[plain > 400].mean() - BACKGROUND == pytest.approx(
        2 * (plain[plain > 400].mean() - BACKGROUND), rel=0.02
    )
    glow = compose_field(3, shape=(256, 256), surroundings=Surroundings(background=1.5))
    assert np.median(glow) == pytest.approx(1.5 * BACKGROUND, rel=0.05)
    blurred = compose_field(3, shape=(256, 256), surroundings=Surroundings(blur_px=3.0))
    assert ndimage.laplace(blurred.astype(float)).std() < ndimage.laplace(plain).std()
    specks = [
        compose_field(n, shape=(256, 256), phenotype=Phenotype(density=0), surroundings=Surroundings(debris=2.0))
        for n in range(5)
    ]  # fmt: skip
    assert max(int(image.max()) for image in specks) > 3 * BACKGROUND
