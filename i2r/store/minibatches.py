"""Crops of many wells: shard after shard, or in random minibatches of shards in memory.

Random reads of single crops would decode a chunk of hundreds for each (500 to 1,600 crops per
second); a shard that is read whole gives more than 100,000.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from i2r.errors import I2RError
from i2r.store import files
from i2r.store.arrays import read_array
from i2r.store.nuclei import read_channels


class Minibatch(NamedTuple):
    """Some crops and where they are from.

    Attributes
    ----------
    crops
        Shape (nucleus, c, y, x).
    wells, numbers
        Shape (nucleus,), int64: index of the well, and of the crop in its well.
    """

    crops: npt.NDArray[Any]
    wells: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]


def stream_crops(
    urls: Sequence[str], *, channels: Sequence[int] | None = None
) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Read well after well, one in memory at a time.

    Parameters
    ----------
    urls
        The wells' arrays.
    channels
        Indices of channels, in the order wanted, no others being decoded; None for all.

    Yields
    ------
    int, ndarray
        Index of the well, and its crops (nucleus, c, y, x); wells without nuclei too.
    """
    for well, url in enumerate(urls):
        yield well, _read(url, channels)


def stream_minibatches(
    urls: Sequence[str],
    *,
    batch_size: int,
    seed: np.random.SeedSequence | int,
    wells_in_memory: int = 16,
    channels: Sequence[int] | None = None,
) -> Iterator[Minibatch]:
    """Go once over all crops in random minibatches, without holding them all.

    Wells come in random order, so many at a time are read whole, and minibatches are drawn from
    the nuclei of these wells together. More wells in memory mix better.

    Parameters
    ----------
    urls
        The wells' arrays.
    batch_size
        Nuclei in a minibatch; the last one may be smaller.
    seed
        Decides the order; the same seed gives the same minibatches.
    wells_in_memory
        How many wells are in memory at once, besides less than a minibatch of earlier ones.
    channels
        As for `stream_crops`.

    Yields
    ------
    Minibatch
        Every crop of every well is in one of them.

    Raises
    ------
    I2RError
        If the crops of two wells differ in size or type.
    ValueError
        If the batch size or the number of wells in memory is less than 1.
    """
    if batch_size < 1 or wells_in_memory < 1:
        raise ValueError(
            f"minibatches of {batch_size} from {wells_in_memory} wells, expected 1 or more"
        )
    random = np.random.default_rng(seed)
    order = random.permutation(len(urls))
    left: Minibatch | None = None
    for first in range(0, len(order), wells_in_memory):
        group = order[first : first + wells_in_memory]
        parts = [_read_well(urls[well], int(well), channels) for well in group]
        held = _join([*([left] if left is not None else []), *parts], urls)
        rows = random.permutation(len(held.crops))
        n_whole = len(rows) // batch_size * batch_size
        for start in range(0, n_whole, batch_size):
            yield _take(held, rows[start : start + batch_size])
        left = _take(held, rows[n_whole:])
    if left is not None and len(left.crops):
        yield left


def _read(url: str, channels: Sequence[int] | None) -> npt.NDArray[Any]:
    return read_array(url) if channels is None else read_channels(url, channels=channels)


def _read_well(url: str, well: int, channels: Sequence[int] | None) -> Minibatch:
    crops = _read(url, channels)
    return Minibatch(crops, np.full(len(crops), well), np.arange(len(crops)))


def _join(parts: Sequence[Minibatch], urls: Sequence[str]) -> Minibatch:
    """Put nuclei of several wells together; empty wells may be of any size."""
    filled = [part for part in parts if len(part.crops)] or [parts[0]]
    kinds = [(part.crops.shape[1:], part.crops.dtype) for part in filled]
    for part, kind in zip(filled, kinds, strict=True):
        if kind != kinds[0]:
            raise I2RError(
                f"{files.without_secrets(urls[int(part.wells[0])])}: crops are {kind[1]} {kind[0]},"
                f" those of other wells {kinds[0][1]} {kinds[0][0]}, expected the same. Convert "
                "and crop all plates with the same options."
            )
    return Minibatch(*(np.concatenate(columns) for columns in zip(*filled, strict=True)))


def _take(held: Minibatch, rows: npt.NDArray[np.int64]) -> Minibatch:
    return Minibatch(*(column[rows] for column in held))
