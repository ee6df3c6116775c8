"""Crops as a PyTorch dataset: walks the shards, shuffles, and shares them among readers."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from i2r.errors import InputError
from i2r.store.arrays import read_array
from i2r.store.crops import OF_IMAGES, describe_nuclei
from i2r.store.experiment import Experiment

# Crops that wait to be drawn: with 64 x 64 px of 16 bit, 32 MiB per channel.
BUFFER = 4096
_READ_AT_ONCE = 512


class CropDataset(IterableDataset[tuple[torch.Tensor, int]]):
    """Gives the crops of an experiment one by one, to a `torch.utils.data.DataLoader`.

    Wells are visited in another random order in every epoch, their shards are read chunk by
    chunk, and crops are drawn from a buffer that is kept full: neighbours in the stream come from
    several wells, while the disk is read in long runs. Workers of a loader, and processes of a
    distributed training, get wells of their own; each crop comes once per epoch. Wells have
    different numbers of crops, so the processes of a distributed training do too.

    Parameters
    ----------
    experiment
        The experiment, or its URL.
    name
        The stage that cut the crops.
    channels
        Names of the channels to take, in order; None takes all.
    target
        What the number beside a crop stands for: the perturbation, gene, condition, role, plate
        or well, or any other column of the layout; see `classes`.
    wells
        Only these wells, ``PLATE/B03``; None takes all. Give training and test wells of their own.
    shuffle
        False gives the wells in the layout's order and the crops in the table's.
    seed
        Decides the order; with `set_epoch`, together with the epoch.
    rank, world_size
        Which of how many processes this is.

    Attributes
    ----------
    classes : list of str
        The target's values, sorted; crops come with their position in it.

    Raises
    ------
    InputError
        If there are no crops, no such channel, or no such target.
    """

    def __init__(
        self,
        experiment: Experiment | str,
        name: str = "crop",
        *,
        channels: Sequence[str] | None = None,
        target: str = "condition",
        wells: Sequence[str] | None = None,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__()
        if isinstance(experiment, str):
            experiment = Experiment(experiment)
        kinds = [name for name in experiment.layout_by_key.columns if name not in OF_IMAGES]
        if target not in kinds:
            raise InputError(
                f"target {target!r}: unknown, expected one of {', '.join(kinds)}. Name one."
            )
        wanted = None if wells is None else set(wells)
        done = set(experiment.ledger.done_keys(name))
        keys = [k for k in experiment.well_keys if k in done and (wanted is None or k in wanted)]
        if not keys:
            raise InputError(
                f"{experiment.url}: no crops {name!r} of these wells. See 'i2r status'."
            )
        values = experiment.layout_by_key.loc[keys, target].astype(str)
        self.classes = sorted(set(values))
        places = {value: place for place, value in enumerate(self.classes)}
        # Plain values only: the dataset travels to the loader's worker processes.
        self._wells = [
            (experiment.crops_url(name, key), len(describe_nuclei(experiment, name, key)), place)
            for key, place in zip(keys, map(places.__getitem__, values), strict=True)
        ]
        self._channels = None if channels is None else _find_channels(experiment, keys[0], channels)
        self._shuffle, self._seed, self._epoch = shuffle, seed, 0
        self._rank, self._world_size = rank, world_size

    def __len__(self) -> int:
        """Count the crops of this process, over all workers of its loader."""
        return sum(number for _, number, _ in self._order()[self._rank :: self._world_size])

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, as for `torch.utils.data.distributed.DistributedSampler`."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        """Walk through the crops of this worker: (c, y, x) float32, raw values, and the class."""
        worker = get_worker_info()
        share, readers = (worker.id, worker.num_workers) if worker else (0, 1)
        mine = self._order()[self._rank :: self._world_size][share::readers]
        crops = _read_crops(mine, self._channels)
        if not self._shuffle:
            yield from crops
            return
        entropy = (self._seed, self._epoch, self._rank, share)
        yield from _draw(crops, np.random.default_rng(entropy))

    def _order(self) -> list[tuple[str, int, int]]:
        """Order the wells for this epoch, the same way in every process."""
        if not self._shuffle:
            return self._wells
        order = np.random.default_rng((self._seed, self._epoch)).permutation(len(self._wells))
        return [self._wells[place] for place in order]


def _find_channels(experiment: Experiment, key: str, channels: Sequence[str]) -> list[int]:
    known = experiment.locate(key)[0].channels
    for channel in channels:
        if channel not in known:
            raise InputError(
                f"channel {channel!r}: unknown, expected one of {', '.join(known)}. Name one."
            )
    return [known.index(channel) for channel in channels]


def _read_crops(
    wells: Sequence[tuple[str, int, int]], channels: list[int] | None
) -> Iterator[tuple[torch.Tensor, int]]:
    for url, number, place in wells:
        for start in range(0, number, _READ_AT_ONCE):
            rows = slice(start, min(number, start + _READ_AT_ONCE))
            if channels is None:
                crops = read_array(url, region=(rows,))
            else:  # no other channel is decoded
                planes = [read_array(url, region=(rows, slice(c, c + 1))) for c in channels]
                crops = np.concatenate(planes, axis=1)
            for crop in torch.from_numpy(crops.astype(np.float32)):
                yield crop, place


def _draw(
    crops: Iterator[tuple[torch.Tensor, int]], random: np.random.Generator
) -> Iterator[tuple[torch.Tensor, int]]:
    """Draw from a buffer, filling each place again from the stream."""
    buffer: list[Any] = []
    for crop in crops:
        if len(buffer) < BUFFER:
            buffer.append(crop)
            continue
        place = int(random.integers(BUFFER))
        yield buffer[place]
        buffer[place] = crop
    for place in random.permutation(len(buffer)):
        yield buffer[place]
