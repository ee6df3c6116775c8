"""Coarser levels of images and labels: what viewers show of a field, a well or a plate at first.

A field has one level of at most 256 pixels along its longer edge, so a plate is seen without
reading its pixels, and a field with labels takes 11 files. Fields too large to be loaded at once
have halves between. Viewers that expect every level to be half of the one before (Viv's, such as
vizarr: https://github.com/hms-dbmi/vizarr/issues/101) want the levels of `halve`, which
``i2r export`` writes.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

# The longer edge of the coarsest level.
OVERVIEW_PX = 256
# Larger fields have halves, so that viewers never load more than this at once. Cameras of
# microscopes have up to 2,560 pixels along an edge.
LOADED_PX = 2560


def choose_factors(shape: tuple[int, int]) -> list[int]:
    """Choose the levels of a field: how many pixels of it lie along the edge of one of each level.

    Parameters
    ----------
    shape
        Of the field (y, x).

    Returns
    -------
    list of int
        The first is 1; each is a multiple of the one before.
    """
    factors = [1]
    while max(shape) // factors[-1] > LOADED_PX:
        factors.append(2 * factors[-1])
    if (step := -(-(max(shape) // factors[-1]) // OVERVIEW_PX)) > 1:
        factors.append(step * factors[-1])
    return factors


def halve(shape: tuple[int, int]) -> list[int]:
    """Give the factors of levels that are halves of each other, down to at most 256 pixels."""
    factors = [1]
    while max(shape) // factors[-1] > OVERVIEW_PX:
        factors.append(2 * factors[-1])
    return factors


def shrink_image(
    image: npt.NDArray[np.unsignedinteger], factors: Sequence[int]
) -> list[npt.NDArray[np.unsignedinteger]]:
    """Make the levels of an image: each pixel the rounded mean of those of the level before.

    Parameters
    ----------
    image
        Shape (c, y, x).
    factors
        Of `choose_factors` or `halve`.

    Returns
    -------
    list of ndarray
        The image itself first. Rows and columns left over at the end of an axis are left out.
    """
    from i2r.kernels.resampling import average_blocks  # numba takes 0.3 s

    levels = [image]
    for step in _steps(factors):
        fine, (rows, columns) = _trim(levels[-1], step)
        coarse = np.empty((len(fine), fine.shape[1] // rows, fine.shape[2] // columns), image.dtype)
        for plane, out in zip(fine, coarse, strict=True):
            average_blocks(np.ascontiguousarray(plane), rows, columns, out)
        levels.append(coarse)
    return levels


def shrink_labels(
    labels: npt.NDArray[np.int32], factors: Sequence[int]
) -> list[npt.NDArray[np.int32]]:
    """Make the levels of a label image (y, x): each pixel the nearest of the level before.

    A mean of labels would be the label of another nucleus.
    """
    levels = [labels]
    for step in _steps(factors):
        fine, (rows, columns) = _trim(levels[-1], step)
        levels.append(fine[(rows - 1) // 2 :: rows, (columns - 1) // 2 :: columns])
    return levels


def _steps(factors: Sequence[int]) -> list[int]:
    return [after // before for before, after in pairwise(factors)]


def _trim(plane: npt.NDArray[Any], step: int) -> tuple[npt.NDArray[Any], tuple[int, int]]:
    """Cut the last axes to multiples of a step; one that is shorter is one pixel of the next."""
    steps = [min(step, length) for length in plane.shape[-2:]]
    rows, columns = (n // s * s for n, s in zip(plane.shape[-2:], steps, strict=True))
    return plane[..., :rows, :columns], (steps[0], steps[1])
