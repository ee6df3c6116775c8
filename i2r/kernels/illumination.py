"""Uneven illumination: estimated from many fields, and divided out of each.

The convention is CellProfiler's: a function of the position, 1 where the light is weakest, and
images are divided by it.
"""

from collections.abc import Sequence

import numba
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from i2r.kernels.checks import freeze

GROUP = 11
"""Fields of which a median is taken where there are too many to keep."""

LIMIT = 121
"""Fields that are kept; up to so many the median over fields is exact."""

DEGREE = 4
"""Of the polynomial that an illumination function is smoothed with."""

MOST_GAIN = 20.0
"""No place is brightened by more, relative to the brightest."""


def bin_field(plane: npt.NDArray[np.number], *, block_px: int) -> npt.NDArray[np.float32]:
    """Average blocks of a field and divide by their median.

    Illumination is smooth, so blocks hold all there is to know of it; their means are finer than
    the grey levels of a dim 8-bit background. The median makes fields of different brightness
    alike.

    Parameters
    ----------
    plane : (y, x)
        One channel of a field, at least one pixel.
    block_px : int
        Edge of a block; the last ones may be incomplete.

    Returns
    -------
    (ceil(y / block_px), ceil(x / block_px)) float32
        1 for the median block. All NaN if that is 0, or if the field is constant (black,
        saturated): such a field shows no illumination.
    """
    rows = np.arange(0, plane.shape[0], block_px)
    columns = np.arange(0, plane.shape[1], block_px)
    total = np.add.reduceat(np.add.reduceat(plane, rows, axis=0, dtype=np.float64), columns, axis=1)
    heights = np.diff(np.append(rows, plane.shape[0]))
    widths = np.diff(np.append(columns, plane.shape[1]))
    means = total / (heights[:, None] * widths[None])
    middle = float(np.median(means))
    if middle <= 0 or plane.min() == plane.max():
        return np.full(means.shape, np.nan, dtype=np.float32)
    binned: npt.NDArray[np.float32] = (means / middle).astype(np.float32)
    return binned


def merge_fields(stacks: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Put stacks of binned fields together, in bounded memory: one step of a tree reduction.

    Parameters
    ----------
    stacks : sequence of (n, y, x) float32
        From `bin_field`, or from this function.

    Returns
    -------
    (n, y, x) float32
        All of them, or if they are more than `LIMIT`, the medians of groups of `GROUP` (the
        remedian; its median estimates that of all fields).

    References
    ----------
    Rousseeuw and Bassett 1990, Journal of the American Statistical Association 85:97.
    https://doi.org/10.1080/01621459.1990.10475311
    """
    together = np.concatenate(stacks)
    if len(together) <= LIMIT:
        return together
    groups = np.array_split(together, -(-len(together) // GROUP))
    return np.stack([np.median(group, axis=0) for group in groups])


def find_typical_field(stack: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Take the median over binned fields.

    Parameters
    ----------
    stack : (n, y, x) float32
        From `merge_fields`.

    Returns
    -------
    (y, x) float32
        1 everywhere if there is no field.
    """
    if len(stack) == 0:
        return np.ones(stack.shape[1:], dtype=np.float32)
    typical: npt.NDArray[np.float32] = np.median(stack, axis=0).astype(np.float32)
    return typical


def smooth_function(
    typical: npt.NDArray[np.float32], *, shape: tuple[int, int], block_px: int, sigma_px: float
) -> npt.NDArray[np.float32]:
    """Make an illumination function of a typical field.

    A polynomial of degree `DEGREE` is fitted to its logarithm, which follows a lamp's fall-off to
    the very corners; what is left is smoothed with a Gaussian, for what no polynomial follows.

    Parameters
    ----------
    typical : (y, x) float32
        From `find_typical_field`.
    shape : (height, width)
        Of a field in pixels.
    block_px : int
        Edge of its blocks.
    sigma_px : float
        Standard deviation of the Gaussian in pixels of the field.

    Returns
    -------
    (height, width) float32
        1 at the place of least light, at most `MOST_GAIN`; 1 everywhere for a constant field.
    """
    least = max(float(typical.max()) / MOST_GAIN, 1e-30)
    logarithm = np.log(np.maximum(typical, least).astype(np.float64))
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in typical.shape), indexing="ij")
    terms = np.polynomial.legendre.legvander2d(y.ravel(), x.ravel(), (DEGREE, DEGREE))
    low = np.add.outer(np.arange(DEGREE + 1), np.arange(DEGREE + 1)).ravel() <= DEGREE
    terms = terms[:, low]
    # Fields of few blocks leave terms open; least squares takes the smallest.
    weights = np.linalg.lstsq(terms, logarithm.ravel(), rcond=None)[0]
    trend = (terms @ weights).reshape(typical.shape)
    trend += gaussian_filter(logarithm - trend, sigma_px / block_px, mode="reflect")
    along_y, along_x = (
        _interpolate(n, n_blocks, block_px)
        for n, n_blocks in zip(shape, typical.shape, strict=True)
    )
    full = np.exp(along_y @ trend @ along_x.T)
    full = np.maximum(full, full.max() / MOST_GAIN)
    function: npt.NDArray[np.float32] = (full / full.min()).astype(np.float32)
    return function


def _interpolate(n: int, n_blocks: int, block_px: int) -> npt.NDArray[np.float64]:
    """Weights of blocks for pixels along one axis: linear between centres, and on beyond them."""
    starts = np.arange(n_blocks) * block_px
    centres = (starts + np.minimum(starts + block_px, n) - 1) / 2
    weights = np.zeros((n, n_blocks))
    if n_blocks == 1:
        weights[:] = 1.0
        return weights
    pixels = np.arange(n)
    left = np.clip(np.searchsorted(centres, pixels, side="right") - 1, 0, n_blocks - 2)
    part = (pixels - centres[left]) / (centres[left + 1] - centres[left])
    weights[pixels, left] = 1 - part
    weights[pixels, left + 1] = part
    return weights


def correct_plane(
    plane: npt.NDArray[np.unsignedinteger], function: npt.NDArray[np.float32]
) -> npt.NDArray[np.unsignedinteger]:
    """Divide one channel of a field by its illumination function.

    Parameters
    ----------
    plane : (y, x) uint8 or uint16
        Raw grey levels.
    function : (y, x) float32
        Positive and finite.

    Returns
    -------
    (y, x), the plane's type
        Rounded to whole grey levels; what exceeds the type's largest value becomes that.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if plane.shape != function.shape:
        raise ValueError(
            f"illumination: the function is {function.shape}, the field {plane.shape}, expected "
            "the same."
        )
    corrected = np.empty_like(plane, order="C")
    _divide(freeze(plane), freeze(function), int(np.iinfo(plane.dtype).max), corrected)
    return corrected


@numba.njit(cache=True, nogil=True)
def _divide(
    plane: npt.NDArray[np.unsignedinteger],
    function: npt.NDArray[np.float32],
    largest: int,
    corrected: npt.NDArray[np.unsignedinteger],
) -> None:
    """Divide, round and clip."""
    limit = np.float32(largest)
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            value = np.float32(plane[y, x]) / function[y, x] + np.float32(0.5)
            corrected[y, x] = np.int64(min(value, limit))
