"""Every crop comes once, in random order, from a few wells at a time."""

from pathlib import Path

import numpy as np
import pytest

from i2r.errors import I2RError
from i2r.store.minibatches import stream_crops, stream_minibatches
from i2r.store.write import write_crops

COUNTS = [7, 0, 12, 30, 1, 5, 18, 9]


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Wells of crops whose pixels say which crop of which well they are."""
    folder = tmp_path_factory.mktemp("crops")
    for well, count in enumerate(COUNTS):
        crops = np.empty((count, 3, 4, 4), np.uint16)
        crops[:] = (1000 * well + np.arange(count))[:, None, None, None]
        crops[:, 1] += 10000
        crops[:, 2] += 20000
        write_crops(str(folder / str(well)), crops)
    return [str(folder / str(well)) for well in range(len(COUNTS))]


def test_channels_are_read_in_the_order_wanted(urls: list[str]) -> None:
    whole = [crops for _, crops in stream_crops(urls)]
    chosen = [crops for _, crops in stream_crops(urls, channels=[2, 0])]
    assert chosen[1].shape == (0, 2, 4, 4)
    for some, crops in zip(chosen, whole, strict=True):
        np.testing.assert_array_equal(some, crops[:, [2, 0]])


def test_wells_stream_in_order(urls: list[str]) -> None:
    streamed = list(stream_crops(urls, channels=[1]))
    assert [well for well, _ in streamed] == list(range(len(COUNTS)))
    assert [len(crops) for _, crops in streamed] == COUNTS
    assert streamed[3][1][4, 0, 0, 0] == 13004


@pytest.mark.parametrize("wells_in_memory", [1, 3, 100])
@pytest.mark.parametrize("batch_size", [1, 8, 500])
def test_every_crop_is_in_one_minibatch(
    urls: list[str], wells_in_memory: int, batch_size: int
) -> None:
    batches = list(
        stream_minibatches(
            urls, batch_size=batch_size, seed=0, wells_in_memory=wells_in_memory, channels=[0]
        )
    )
    assert all(len(batch.crops) == batch_size for batch in batches[:-1])
    seen = [
        (well, number)
        for batch in batches
        for well, number in zip(batch.wells.tolist(), batch.numbers.tolist(), strict=True)
    ]
    assert sorted(seen) == [(well, n) for well, count in enumerate(COUNTS) for n in range(count)]
    for batch in batches:
        np.testing.assert_array_equal(batch.crops[:, 0, 0, 0], 1000 * batch.wells + batch.numbers)


def test_seed_decides_the_order_and_wells_are_mixed(urls: list[str]) -> None:
    def order(seed: int) -> list[int]:
        batches = stream_minibatches(urls, batch_size=8, seed=seed, wells_in_memory=4)
        return [int(n) for batch in batches for n in 1000 * batch.wells + batch.numbers]

    assert order(1) == order(1)
    assert order(1) != order(2)
    first = next(stream_minibatches(urls, batch_size=20, seed=1, wells_in_memory=8))
    assert len(set(first.wells.tolist())) > 3


def test_only_so_many_wells_are_read_before_the_first_minibatch(urls: list[str]) -> None:
    missing = [f"{url}-missing" for url in urls]
    last = np.random.default_rng(5).permutation(len(urls))[3:]
    mixed = [missing[well] if well in last else url for well, url in enumerate(urls)]
    stream = stream_minibatches(mixed, batch_size=2, seed=5, wells_in_memory=3)
    assert len(next(stream).crops) == 2
    with pytest.raises(FileNotFoundError):
        list(stream)


def test_wells_of_other_crops_are_refused_and_none_give_nothing(
    urls: list[str], tmp_path: Path
) -> None:
    write_crops(str(tmp_path / "large"), np.ones((2, 3, 8, 8), np.uint16))
    with pytest.raises(I2RError, match="expected the same"):
        list(stream_minibatches([*urls, str(tmp_path / "large")], batch_size=4, seed=0))
    assert list(stream_minibatches([], batch_size=4, seed=0)) == []
    assert list(stream_minibatches([urls[1]], batch_size=4, seed=0)) == []
    with pytest.raises(ValueError, match="expected 1 or more"):
        next(stream_minibatches(urls, batch_size=0, seed=0))
