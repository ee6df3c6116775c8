"""The illumination function of a plate's channel, reduced over all its fields in a tree."""

from collections.abc import Sequence
from typing import NamedTuple

import dask.array as da
import numpy as np
from dask import delayed
from dask.delayed import Delayed

from i2r.kernels.illumination import (
    LIMIT,
    bin_field,
    find_typical_field,
    merge_fields,
    smooth_function,
)

# Stacks that one task merges.
FAN_IN = 16
# Blocks along a field's longer edge, about.
N_BLOCKS = 128
# Fields that are held as blocks at most.
MOST_KEPT = FAN_IN * LIMIT


class Estimate(NamedTuple):
    """An illumination function and what it was made of.

    Attributes
    ----------
    function
        Shape (y, x), float32, 1 at the place of least light.
    typical
        Shape of the blocks: the median field, 1 for its median block.
    n_fields
        Fields with any light.
    divisor
        What a function of others was divided by, to have a median of about 1.
    """

    function: np.ndarray
    typical: np.ndarray
    n_fields: int
    divisor: float = 1.0


def estimate_function(
    wells: Sequence[da.Array], *, shape: tuple[int, int], smooth: float
) -> Delayed:
    """Estimate the illumination function from the fields of many wells.

    Parameters
    ----------
    wells
        Shapes (field, y, x): one channel of the wells' fields; wells without fields are fine.
    shape
        Of a field.
    smooth
        Standard deviation of the Gaussian, as a part of the field's longer edge.

    Returns
    -------
    Delayed
        Of an `Estimate`. Fields are read one chunk after another and kept as blocks, so memory
        does not grow with their number.
    """
    block_px = max(1, round(max(shape) / N_BLOCKS))
    level = [
        delayed(_bin_fields)(block, block_px=block_px)
        for images in wells
        for block in images.to_delayed(optimize_graph=False).ravel()
    ]
    while len(level) > 1:
        groups = [level[i : i + FAN_IN] for i in range(0, len(level), FAN_IN)]
        level = [delayed(_merge_parts)(group) for group in groups]
    return delayed(_finish)(level[0] if level else None, shape, block_px, smooth * max(shape))


def _bin_fields(planes: np.ndarray, *, block_px: int) -> tuple[np.ndarray, int]:
    """Bin the fields of one chunk; fields without light are left out."""
    binned = [bin_field(plane, block_px=block_px) for plane in planes]
    kept = [field for field in binned if np.isfinite(field).all()]
    blocks = tuple(-(-n // block_px) for n in planes.shape[1:])
    return np.stack(kept) if kept else np.empty((0, *blocks), np.float32), len(kept)


def _merge_parts(parts: Sequence[tuple[np.ndarray, int]]) -> tuple[np.ndarray, int]:
    """Merge stacks and count the fields behind them."""
    return merge_fields([stack for stack, _ in parts]), sum(n for _, n in parts)


def _finish(
    part: tuple[np.ndarray, int] | None, shape: tuple[int, int], block_px: int, sigma_px: float
) -> Estimate:
    """Make the function of what the tree gave."""
    blocks = tuple(-(-n // block_px) for n in shape)
    stack, n_fields = part if part is not None else (np.empty((0, *blocks), np.float32), 0)
    typical = find_typical_field(stack)
    function = smooth_function(typical, shape=shape, block_px=block_px, sigma_px=sigma_px)
    return Estimate(function, typical, n_fields)
