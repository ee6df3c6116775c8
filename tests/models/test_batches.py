from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from i2r.models.batches import (
    Scaling,
    augment_crops,
    count_steps,
    draw_batches,
    load_crops,
    measure_scaling,
    scale_crops,
)


def noisy_crops(dtype: Any, *, n_nuclei: int = 20, n_channels: int = 2) -> npt.NDArray[Any]:
    random = np.random.default_rng(0)
    top = np.iinfo(dtype).max
    values = random.beta(1, 6, (n_nuclei, n_channels, 8, 8)) * top
    return values.astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_range_is_made_of_percentiles(dtype: Any) -> None:
    crops = noisy_crops(dtype)
    scaling = measure_scaling(crops, method="plate", low_percent=2.0, high_percent=97.0)
    expected = np.percentile(crops, [2, 97], axis=(0, 2, 3), method="inverted_cdf")
    np.testing.assert_array_equal([scaling.low, scaling.high], expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_plate_scaling_is_affine_and_clipped(dtype: Any) -> None:
    crops = noisy_crops(dtype)
    scaling = Scaling("plate", (10.0, 20.0), (30.0, 21.0))
    low, span = np.array([10, 20]), np.array([20, 1])
    expected = (crops - low[:, None, None].astype(float)) / span[:, None, None]
    scaled = scale_crops(load_crops(crops), scaling)
    np.testing.assert_allclose(scaled.numpy(), expected.clip(0, 4), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_nucleus_scaling_is_min_max_in_whole_levels(dtype: Any) -> None:
    crops = noisy_crops(dtype)
    values = crops.astype(float)
    low, high = (extreme(values, axis=(2, 3), keepdims=True) for extreme in (np.min, np.max))
    expected = np.floor((values - low) * 255 / (high - low)) / 255
    scaled = scale_crops(load_crops(crops), measure_scaling(crops, method="nucleus")).numpy()
    np.testing.assert_allclose(scaled, expected, atol=1e-6)
    assert scaled.min() == 0
    assert scaled.max() == 1


def test_nucleus_scaling_discards_intensity() -> None:
    dim = (noisy_crops(np.uint8) // 8 * 2).astype(np.uint8)
    scaling = measure_scaling(dim, method="nucleus")
    both = [scale_crops(load_crops(crops), scaling) for crops in (dim, dim * np.uint8(4))]
    assert torch.equal(*both)


@pytest.mark.parametrize("method", ["plate", "nucleus"])
@pytest.mark.parametrize("level", [0, 65535])
def test_constant_crops_become_zero(method: Any, level: int) -> None:
    crops = np.full((3, 1, 8, 8), level, dtype=np.uint16)
    scaled = scale_crops(load_crops(crops), measure_scaling(crops, method=method))
    assert (scaled == 0).all()


def test_range_without_nuclei_is_that_of_the_type() -> None:
    scaling = measure_scaling(np.empty((0, 2, 8, 8), dtype=np.uint8), method="plate")
    assert scaling == ("plate", (0.0, 0.0), (255.0, 255.0))


def test_binning_averages_squares() -> None:
    crops = noisy_crops(np.uint8, n_channels=1)
    scaling = measure_scaling(crops, method="plate")
    whole = scale_crops(load_crops(crops), scaling).numpy()
    binned = scale_crops(load_crops(crops), scaling, bin_px=4).numpy()
    np.testing.assert_allclose(
        binned, whole.reshape(20, 1, 2, 4, 2, 4).mean(axis=(3, 5)), rtol=1e-5, atol=1e-7
    )
    with pytest.raises(ValueError, match="divisor of the side 8 px"):
        scale_crops(load_crops(crops), scaling, bin_px=3)


@pytest.mark.parametrize(
    "crops",
    [
        np.zeros((2, 8, 8), dtype=np.uint8),
        np.zeros((2, 1, 8, 9), dtype=np.uint8),
        np.zeros((2, 1, 8, 8), dtype=np.float32),
        np.zeros((2, 1, 8, 8), dtype=">u2"),
    ],
)
def test_crops_are_square_integers(crops: npt.NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        load_crops(crops)


def test_read_only_crops_are_copied() -> None:
    crops = noisy_crops(np.uint16)
    crops.flags.writeable = False
    assert load_crops(crops).shape == crops.shape


def test_percentages_ascend() -> None:
    with pytest.raises(ValueError, match="percentages are 60 and 40"):
        measure_scaling(noisy_crops(np.uint8), method="plate", low_percent=60, high_percent=40)


def test_augmentation_shows_all_eight_symmetries() -> None:
    image = np.arange(16, dtype=np.float32).reshape(4, 4)
    crops = torch.from_numpy(np.broadcast_to(image, (16, 1, 4, 4)).copy())
    turned = augment_crops(crops, torch.ones(16, 1)).numpy()[:, 0]
    expected = {
        np.rot90(side, quarter).tobytes() for side in (image, image[::-1]) for quarter in range(4)
    }
    assert {np.ascontiguousarray(one).tobytes() for one in turned} == expected
    assert len(expected) == 8


def test_augmentation_multiplies_by_the_gains() -> None:
    gains = torch.rand(5, 2)
    brightened = augment_crops(torch.ones(5, 2, 4, 4), gains)
    assert torch.equal(brightened, gains[:, :, None, None].expand(5, 2, 4, 4))


@pytest.mark.parametrize(
    ("n_treated", "steps"), [(320, 100), (1, 60), (10**6, 600), (0, 60), (321, 101)]
)
def test_steps_follow_the_smaller_class_within_bounds(n_treated: int, steps: int) -> None:
    options = {"batch_size": 64, "passes": 10.0, "least": 60, "most": 600}
    assert count_steps(n_treated, 10**6, **options) == steps
    assert count_steps(10**6, n_treated, **options) == steps


def test_batches_are_balanced_over_classes_and_wells() -> None:
    wells = np.repeat(np.array(["T1", "T2", "C1", "C2", "C3"]), [30, 300, 40, 5, 200])
    treated = np.char.startswith(wells, "T")
    batches = draw_batches(
        treated, wells, n_steps=30, batch_size=20, random=np.random.default_rng(0)
    )
    assert batches.shape == (30, 20)
    assert treated[batches[:, 0::2]].all()
    assert not treated[batches[:, 1::2]].any()
    for names in (["T1", "T2"], ["C1", "C2", "C3"]):
        counts = [(wells[batches] == name).sum() for name in names]
        assert max(counts) - min(counts) <= 1
    for name in np.unique(wells):
        uses = np.bincount(batches[wells[batches] == name], minlength=wells.size)[wells == name]
        assert uses.max() - uses.min() <= 1


def test_one_nucleus_of_a_class_is_repeated() -> None:
    treated = np.array([True, False, False])
    batches = draw_batches(
        treated, np.array(list("abc")), n_steps=3, batch_size=4, random=np.random.default_rng(0)
    )
    assert (batches[:, 0::2] == 0).all()


@pytest.mark.parametrize(
    ("treated", "batch_size", "message"),
    [
        ([True, True], 4, "no control nucleus to train on"),
        ([False, False], 4, "no treated nucleus to train on"),
        ([True, False], 3, "even number"),
    ],
)
def test_what_cannot_be_drawn(treated: list[bool], batch_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_batches(
            np.array(treated),
            np.array(["a", "b"]),
            n_steps=1,
            batch_size=batch_size,
            random=np.random.default_rng(0),
        )
