"""The nuclei of many wells in one pool, read once for all trainings of a worker."""

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import psutil

from i2r.kernels.pools import PoolArrays

if TYPE_CHECKING:
    from i2r.models.pools import NucleusPool


Read = Callable[[Any], PoolArrays]


class Dataset(NamedTuple):
    """Nuclei in memory and where they are from.

    Attributes
    ----------
    pool
        Their images.
    wells, crop_index, field_names
        Shape (nucleus,): index of the well in the plan, index of the crop in its well, and the
        field's name.
    """

    pool: "NucleusPool"
    wells: np.ndarray
    crop_index: np.ndarray
    field_names: np.ndarray

    @property
    def n_bytes(self) -> int:
        """The memory that images take."""
        return self.pool.n_bytes

    def name_fields(self, wells: Sequence[str]) -> np.ndarray:
        """Name the field of every nucleus, ``P1/B03/2``, from the keys of the plan's wells."""
        keys = np.array(wells, dtype=np.str_)[self.wells]
        return np.char.add(np.char.add(keys, "/"), self.field_names.astype(np.str_))


def open_dataset(plan: Hashable, read: Read, *, device: str) -> Dataset:
    """Give the nuclei of a plan, from this process' memory where they are there already.

    Parameters
    ----------
    plan
        Which nuclei; equal plans share one pool.
    read
        Reads them.
    device
        Where the network runs; the pool is there too where it fits.
    """
    from i2r.models.pools import choose_home, open_cache

    def make() -> Dataset:
        arrays = read(plan)
        pool = make_pool(arrays)
        home = choose_home(pool.n_bytes, device)
        return Dataset(pool.to(home), arrays.wells, arrays.crop_index, arrays.field_names)

    return open_cache(share_memory()).get((plan, device), make)


class _Kept(NamedTuple):
    """An array in the cache."""

    values: np.ndarray

    @property
    def n_bytes(self) -> int:
        """The memory it takes."""
        return self.values.nbytes


def open_crops(well: Hashable, read: Callable[[], np.ndarray]) -> np.ndarray:
    """Give the crops of a well, from this process' memory where a unit before read them.

    Controls are compared with many conditions, and a condition has as many units as folds.

    Parameters
    ----------
    well
        Which crops, the version of what is on disk included.
    read
        Reads them.

    Returns
    -------
    ndarray
        Read-only: others have it too.
    """
    from i2r.models.pools import open_cache

    kept = open_cache(share_memory()).get(well, lambda: _Kept(read()))
    kept.values.setflags(write=False)
    return kept.values


def make_pool(arrays: PoolArrays) -> "NucleusPool":
    """Make tensors of what was read, in the memory that it is in."""
    import torch

    from i2r.models.batches import load_crops
    from i2r.models.pools import NucleusPool

    if arrays.fields is None or arrays.places is None:
        return NucleusPool(load_crops(arrays.crops))
    return NucleusPool(
        load_crops(arrays.crops),
        torch.from_numpy(arrays.fields),
        torch.from_numpy(arrays.places),
        arrays.window_px,
    )


def share_memory() -> int:
    """Give what a worker may keep for its later units: half of its share of the machine."""
    return psutil.virtual_memory().total // (2 * (psutil.cpu_count() or 1))
