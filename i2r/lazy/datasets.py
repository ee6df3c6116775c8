"""The nuclei of many wells in one pool, read once for all trainings of a worker."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import psutil

if TYPE_CHECKING:
    from i2r.models.pools import NucleusPool


class PoolPlan(NamedTuple):
    """Which nuclei of which wells; equal plans share one pool.

    Attributes
    ----------
    crops, tables
        Per well: where its crops and its part of the crop table are.
    n_nuclei, n_taken
        Per well: how many crops there are, and how many of them are used.
    channels
        Per well: indices of the channels.
    stamp
        Version of all that is read: pools of changed crops are not shared.
    seed
        Of the choice of nuclei.
    """

    crops: tuple[str, ...]
    tables: tuple[str, ...]
    n_nuclei: tuple[int, ...]
    n_taken: tuple[int, ...]
    channels: tuple[tuple[int, ...], ...]
    stamp: str
    seed: int


# Gives crops (nucleus, c, y, x), and of each the well's index, the crop's index and the field.
Read = Callable[[PoolPlan], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]


class Dataset(NamedTuple):
    """Nuclei in memory and where they are from.

    Attributes
    ----------
    pool
        Their images.
    wells, numbers, fields
        Shape (nucleus,): index of the well in the plan, index of the crop in its well, and the
        field's name.
    """

    pool: "NucleusPool"
    wells: np.ndarray
    numbers: np.ndarray
    fields: np.ndarray

    @property
    def n_bytes(self) -> int:
        """The memory that images take."""
        return self.pool.n_bytes


def choose_nuclei(plan: PoolPlan, well: int) -> np.ndarray:
    """Choose which crops of a well are used, ascending, the same for the same plan."""
    n_nuclei, n_taken = plan.n_nuclei[well], plan.n_taken[well]
    if n_taken >= n_nuclei:
        return np.arange(n_nuclei)
    random = np.random.default_rng(np.random.SeedSequence(plan.seed, spawn_key=(well,)))
    return np.sort(random.choice(n_nuclei, n_taken, replace=False))


def open_dataset(plan: PoolPlan, read: Read, *, device: str) -> Dataset:
    """Give the nuclei of a plan, from this process' memory where they are there already.

    Parameters
    ----------
    plan
        Which nuclei.
    read
        Reads them.
    device
        Where the network runs; the pool is there too where it fits.
    """
    from i2r.models.batches import load_crops
    from i2r.models.pools import NucleusPool, choose_home, open_cache

    def make() -> Dataset:
        crops, wells, numbers, fields = read(plan)
        pool = NucleusPool(load_crops(crops))
        return Dataset(pool.to(choose_home(pool.n_bytes, device)), wells, numbers, fields)

    # Half of a worker's share of the machine.
    limit = psutil.virtual_memory().total // (2 * (psutil.cpu_count() or 1))
    return open_cache(limit).get((plan, device), make)
