"""Fields that a single threshold falls off: gradients, debris, hot pixels, few nuclei, margins."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from i2r.kernels.background import find_content, measure_background, replace_hot_pixels
from i2r.kernels.metrics import score_segmentation
from i2r.kernels.segmentation import segment_nuclei

Plane = npt.NDArray[np.float64]
SIDE = 540


def draw_field(n_nuclei: int, *, level: float = 3000, seed: int = 1) -> tuple[Plane, Plane]:
    """Round nuclei, 36 px apart at least, on a background of 300 with noise of 20; the truth."""
    random = np.random.default_rng(seed)
    image, truth = np.full((SIDE, SIDE), 300.0), np.zeros((SIDE, SIDE), dtype=np.int32)
    y, x = np.mgrid[-20:21, -20:21]
    centres: list[npt.NDArray[np.float64]] = []
    while len(centres) < n_nuclei:
        centre = random.uniform(30, SIDE - 30, 2)
        if all(((centre - other) ** 2).sum() > 36**2 for other in centres):
            centres.append(centre)
    for number, (cy, cx) in enumerate(centres, start=1):
        top, left = int(cy) - 20, int(cx) - 20
        distance = np.hypot(y - cy % 1, x - cx % 1) / random.uniform(10, 13)
        steep = np.exp(np.clip(12 * (distance - 1), -50, 50))
        image[top : top + 41, left : left + 41] += level * random.uniform(0.8, 1.2) / (1 + steep)
        truth[top : top + 41, left : left + 41][distance <= 1] = number
    return image + random.normal(0, 20, image.shape), truth


def segment(image: Plane) -> npt.NDArray[np.int32]:
    return segment_nuclei(np.clip(image, 0, 65535).astype(np.uint16))


Y_PX, X_PX = np.mgrid[:SIDE, :SIDE]
RAMP = X_PX / SIDE
BOWL = np.exp(-((X_PX - 270) ** 2 + (Y_PX - 270) ** 2) / (2 * 250**2))
DISC = (Y_PX - 150) ** 2 + (X_PX - 150) ** 2
RANDOM = np.random.default_rng(0)
HOT = (RANDOM.integers(0, SIDE, 1250), RANDOM.integers(0, SIDE, 1250))


def _debris(image: Plane, radius: float, value: float) -> Plane:
    return np.where(radius**2 > DISC, value, image)


def _hot(image: Plane) -> Plane:
    image = image.copy()
    image[HOT] = 60000
    return image


@pytest.mark.parametrize(
    "spoil",
    [
        lambda image: image + 1500 * RAMP,
        lambda image: image + 5000 * RAMP.T,
        lambda image: image + 3000 * (RAMP + RAMP.T),
        lambda image: image + 2000 * BOWL,
        lambda image: image * BOWL,
        lambda image: _debris(image, 35, 60000),
        lambda image: _debris(image, 80, 60000),
        lambda image: _debris(image + 1500 * RAMP, 35, 30000),
        _hot,
        lambda image: _hot(image + 1500 * RAMP),
        lambda image: np.where(X_PX < 300, 0, image),
        lambda image: np.where(X_PX < 300, 65535, image),
    ],
    ids=["ramp", "steep", "diagonal", "bowl", "vignette", "debris", "large debris",
         "debris on a ramp", "hot pixels", "hot pixels on a ramp", "black margin",
         "saturated margin"],
)  # fmt: skip
def test_nuclei_are_found_on_spoiled_fields(spoil: Callable[[Plane], Plane]) -> None:
    image, truth = draw_field(70)
    spoiled = spoil(image)
    kept = np.where((spoiled == 60000) | (spoiled == 30000) | (spoiled == 65535), 0, truth)
    if (spoiled[:, :300] == 0).all():
        kept[:, :300] = 0
    kept[HOT] = truth[HOT]
    assert score_segmentation(segment(spoiled), kept).f1[0] > 0.93


@pytest.mark.parametrize("level", [200, 400, 3000])
@pytest.mark.parametrize("n_nuclei", [1, 3])
def test_few_nuclei_are_found_also_beside_debris_and_on_a_ramp(n_nuclei: int, level: float) -> None:
    image, truth = draw_field(n_nuclei, level=level, seed=4)
    assert score_segmentation(segment(image), truth).f1[0] == 1
    assert segment(image + 1000 * RAMP).max() == n_nuclei
    assert truth[DISC < 80**2].max() == 0
    assert segment(_debris(image, 35, 60000)).max() == n_nuclei + 1


@pytest.mark.parametrize(
    "light", [0 * RAMP, 1500 * RAMP, 2500 * BOWL, 3000 * (RAMP + RAMP.T)],
    ids=["flat", "ramp", "bowl", "diagonal"],
)  # fmt: skip
def test_noise_on_uneven_light_holds_no_nuclei(light: Plane) -> None:
    image = 300 + light + np.random.default_rng(3).normal(0, 20, light.shape)
    assert segment(image).max() == 0
    assert segment(_hot(image)).max() == 0
    assert segment(np.where(X_PX < 200, 0, image - light)).max() == 0


def test_two_kinds_of_nuclei_are_found() -> None:
    dim, of_dim = draw_field(35, level=1000, seed=5)
    bright, of_bright = draw_field(6, level=12000, seed=6)
    truth = np.where(of_bright > 0, 100 + of_bright, of_dim)
    assert score_segmentation(segment(dim + bright - 300), truth).f1[0] > 0.93


def test_the_background_follows_a_ramp_up_to_the_border_and_no_object() -> None:
    ramp = (100 + 10 * X_PX).astype(np.float32)
    grid = measure_background(ramp, tile_px=80)
    assert grid.shape == (8, 8)
    np.testing.assert_allclose(np.diff(grid[3]), 900, rtol=0.05)
    flat = np.full((SIDE, SIDE), 100, dtype=np.float32)
    flat[100:280, 100:280] = 900
    assert (measure_background(flat, tile_px=90) == 100).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_hot_pixels_are_replaced_and_objects_are_not(dtype: type[np.generic]) -> None:
    image = np.full((40, 50), 10, dtype=dtype)
    image[20:24, 20:24] = 200
    assert replace_hot_pixels(image, background=5) is image
    hot = image.copy()
    hot[5, 5] = hot[5, 6] = hot[0, 30] = hot[39, 49] = hot[30, 0] = 250
    np.testing.assert_array_equal(replace_hot_pixels(hot, background=5), image)
    assert hot[5, 5] == 250


def test_blank_margins_are_no_content() -> None:
    image = np.random.default_rng(0).integers(1, 9, (60, 80)).astype(np.uint8)
    assert find_content(image, min_margin_px=5) == (slice(0, 60), slice(0, 80))
    image[:20] = 0
    image[:, 77:] = 255
    assert find_content(image, min_margin_px=5) == (slice(0, 60), slice(0, 80))
    assert find_content(image, min_margin_px=2) == (slice(20, 60), slice(0, 77))
    assert find_content(np.zeros((9, 9)), min_margin_px=2) == (slice(0, 9), slice(0, 9))
