"""Pools: windows are slices of fields, and a worker keeps as many pools as it has room for."""

import numpy as np
import pytest
import torch

from i2r.models.encoder import EncoderSettings
from i2r.models.pools import NucleusPool, PoolCache, choose_home, open_cache

WINDOW = 6


def make_pool(n: int = 5, n_fields: int = 2, seed: int = 0) -> NucleusPool:
    random = np.random.default_rng(seed)
    places = np.stack(
        [random.integers(0, high, n) for high in (n_fields, 20 - WINDOW, 24 - WINDOW)]
    )
    return NucleusPool(
        crops=torch.from_numpy(random.integers(0, 255, (n, 2, 8, 8)).astype(np.uint8)),
        fields=torch.from_numpy(random.integers(0, 255, (n_fields, 2, 20, 24)).astype(np.uint8)),
        places=torch.from_numpy(places.T.astype(np.int64)),
        window_px=WINDOW,
    )


@pytest.mark.parametrize("view", ["region", "nucleus+region"])
def test_windows_are_slices_of_the_fields(view) -> None:
    pool = make_pool()
    settings = EncoderSettings(
        view=view, channels=("DNA", "ER"), nucleus_px=8, region_px=WINDOW, widths=(4,),
        low=(0.0, 0.0), high=(255.0, 255.0),
    )  # fmt: skip
    rows = torch.tensor([3, 0, 3])
    found = pool.draw(settings, rows)["region"]
    for image, row in zip(found, rows, strict=True):
        field, y, x = pool.places[row]
        window = pool.fields[field, :, y : y + WINDOW, x : x + WINDOW]
        torch.testing.assert_close(image, window.float() / 255)


def test_regions_without_fields_are_an_error() -> None:
    settings = EncoderSettings(view="region", widths=(4,))
    with pytest.raises(ValueError, match="the pool holds no fields"):
        NucleusPool(torch.zeros(1, 1, 8, 8, dtype=torch.uint8)).draw(settings, torch.tensor([0]))


def test_a_pool_is_made_once_and_the_oldest_goes_first() -> None:
    made = []

    def make(seed: int) -> NucleusPool:
        made.append(seed)
        return make_pool(seed=seed)

    size = make_pool().n_bytes
    cache = PoolCache(2 * size)
    for seed in (1, 2, 1, 3):
        pool = cache.get(seed, lambda seed=seed: make(seed))
        assert torch.equal(pool.crops, make_pool(seed=seed).crops)
    assert made == [1, 2, 3]
    assert cache.n_bytes == 2 * size
    cache.get(1, lambda: make(1))
    assert made == [1, 2, 3], "1 was used after 2, so 2 went"
    cache.get(2, lambda: make(2))
    assert made == [1, 2, 3, 2]


def test_a_pool_that_is_too_large_is_given_but_not_kept() -> None:
    cache = PoolCache(10)
    assert torch.equal(cache.get(1, make_pool).crops, make_pool().crops)
    assert cache.n_bytes == 0


def test_a_process_has_one_cache() -> None:
    assert open_cache(1000) is open_cache(1000)


def test_bytes_are_those_of_all_tensors() -> None:
    assert make_pool(5, 2).n_bytes == 5 * 2 * 64 + 2 * 2 * 480 + 5 * 3 * 8
    assert choose_home(10**15, "cpu") == torch.device("cpu")
