"""Smoothing and a local maximum for single-channel fields.

One pass over the image each: rows are convolved while they are in the cache, and the loops run
along x so that the compiler vectorises them.
"""

from math import ceil
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt


def smooth_gaussian(
    image: npt.NDArray[np.number],
    *,
    sigma_px: float,
    offset: float | npt.NDArray[np.float32] = 0.0,
    square_root: bool = False,
    truncate: float = 4.0,
) -> npt.NDArray[np.float32]:
    """Convolve an image with a Gaussian; edge pixels are repeated beyond the border.

    Parameters
    ----------
    image : (y, x) uint8, uint16 or float32
        Any size, including empty.
    sigma_px : float
        Standard deviation in pixels; 0 converts without smoothing.
    offset : float or (rows, columns) float32
        Subtracted before anything else, what is below becomes 0 if `square_root` is set. A grid
        has the values at the centres of tiles that divide the image evenly, and of a frame of
        such tiles around it; between them it is interpolated linearly.
    square_root : bool
        Smooth the square root of the intensities instead. Photon noise grows with the square
        root of the signal, so the root makes dim and bright nuclei equally noisy (Anscombe 1948,
        https://doi.org/10.1093/biomet/35.3-4.246, without its additive constant).
    truncate : float
        The kernel reaches this many standard deviations.

    Returns
    -------
    (y, x) float32
        A constant image stays constant; a NaN spreads over the reach of the kernel.

    Raises
    ------
    ValueError
        If `sigma_px` or `truncate` is negative.
    """
    out = np.empty(image.shape, dtype=np.float32)
    weights = make_weights(sigma_px=sigma_px, truncate=truncate)
    grid = np.asarray(offset, dtype=np.float32)
    if grid.ndim == 0:
        grid = np.full((3, 3), grid)
    smooth_rows(np.ascontiguousarray(image), weights, grid, square_root, out)
    return out


def make_weights(*, sigma_px: float, truncate: float = 4.0) -> npt.NDArray[np.float32]:
    """Half of a Gaussian kernel, from its centre outwards.

    Parameters
    ----------
    sigma_px : float
        Standard deviation in pixels, 0 for a kernel of one weight.
    truncate : float
        The kernel reaches this many standard deviations, rounded up to whole pixels.

    Returns
    -------
    (radius + 1,) float32
        The whole kernel, with the weights but the first counted twice, sums to 1.

    Raises
    ------
    ValueError
        If `sigma_px` or `truncate` is negative.
    """
    if sigma_px < 0 or truncate < 0:
        raise ValueError(
            f"smooth: sigma is {sigma_px} px and truncate {truncate}, expected 0 or more."
        )
    distance = np.arange(ceil(truncate * sigma_px) + 1)
    weights = np.exp(-0.5 * (distance / sigma_px) ** 2) if sigma_px > 0 else np.ones(1)
    return np.asarray(weights / (weights[0] + 2 * weights[1:].sum()), dtype=np.float32)


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def smooth_rows(
    image: npt.NDArray[np.number],
    weights: npt.NDArray[np.float32],
    offset: npt.NDArray[np.float32],
    square_root: bool,
    out: npt.NDArray[np.float32],
) -> None:
    """Vertical pass over a ring of converted rows, then the horizontal pass of that one row."""
    height, width = image.shape
    if height == 0 or width == 0:
        return
    radius = weights.size - 1
    ring = np.empty((2 * radius + 1, width), dtype=np.float32)
    padded = np.empty(width + 2 * radius, dtype=np.float32)
    tile_height, tile_width = height / (offset.shape[0] - 2), width / (offset.shape[1] - 2)
    places = find_places(width, tile_width, 1, offset.shape[1])
    rows = find_places(height, tile_height, 1, offset.shape[0])
    above_offset = np.empty(width, dtype=np.float32)
    below_offset = np.empty(width, dtype=np.float32)
    expand_row(offset[rows.left[0]], places, below_offset)
    expanded = -1
    middle = weights[0]
    n_rows = 0  # source rows in the ring so far
    for y in range(height):
        while n_rows <= min(y + radius, height - 1):
            # The sum tells each pair of neighbours from the next one, at the ends too.
            if rows.left[n_rows] + rows.right[n_rows] != expanded:
                above_offset, below_offset = below_offset, above_offset
                expand_row(offset[rows.right[n_rows]], places, below_offset)
                expanded = rows.left[n_rows] + rows.right[n_rows]
            part = rows.part[n_rows]
            converted = ring[n_rows % ring.shape[0]]
            _convert_row(image[n_rows], above_offset, below_offset, part, square_root, converted)
            n_rows += 1
        row = padded[radius : radius + width]
        centre = ring[y % ring.shape[0]]
        for x in range(width):
            row[x] = middle * centre[x]
        for k in range(1, radius, 2):
            above = ring[max(y - k, 0) % ring.shape[0]]
            below = ring[min(y + k, height - 1) % ring.shape[0]]
            higher = ring[max(y - k - 1, 0) % ring.shape[0]]
            lower = ring[min(y + k + 1, height - 1) % ring.shape[0]]
            _add_two(row, weights[k], above, below, weights[k + 1], higher, lower)
        if radius % 2:
            above = ring[max(y - radius, 0) % ring.shape[0]]
            below = ring[min(y + radius, height - 1) % ring.shape[0]]
            _add_one(row, weights[radius], above, below)
        padded[:radius] = row[0]
        padded[radius + width :] = row[width - 1]
        smoothed = out[y]
        for x in range(width):
            smoothed[x] = middle * row[x]
        for k in range(1, radius, 2):
            left = padded[radius - k : radius - k + width]
            right = padded[radius + k : radius + k + width]
            lefter = padded[radius - k - 1 : radius - k - 1 + width]
            righter = padded[radius + k + 1 : radius + k + 1 + width]
            _add_two(smoothed, weights[k], left, right, weights[k + 1], lefter, righter)
        if radius % 2:
            left, right = padded[:width], padded[2 * radius : 2 * radius + width]
            _add_one(smoothed, weights[radius], left, right)


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def smooth_window(
    image: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float32],
    out: npt.NDArray[np.float32],
) -> None:
    """Smooth a small image, to the same values as `smooth_rows` without an offset.

    All rows are one long row with the repeated edges between them: short rows take more time to
    begin than to add.
    """
    height, width = image.shape
    radius = weights.size - 1
    if height == 0 or width == 0:
        return
    above = np.empty((height + 2 * radius, width), dtype=np.float32)
    for y in range(height + 2 * radius):
        above[y] = image[min(max(y - radius, 0), height - 1)]
    columns = np.empty((height, width), dtype=np.float32)
    _add_shifted(above.ravel(), weights, width, columns.ravel())
    pitch = width + 2 * radius
    rows = np.empty((height, pitch), dtype=np.float32)
    for y in range(height):
        rows[y, :radius] = columns[y, 0]
        rows[y, radius : radius + width] = columns[y]
        rows[y, radius + width :] = columns[y, width - 1]
    # Between two rows it is sums of both, which nobody reads.
    smoothed = np.empty(height * pitch - 2 * radius, dtype=np.float32)
    _add_shifted(rows.ravel(), weights, 1, smoothed)
    for y in range(height):
        out[y] = smoothed[y * pitch : y * pitch + width]


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def _add_shifted(
    values: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float32],
    step: int,
    out: npt.NDArray[np.float32],
) -> None:
    """Add values so many steps to each side of every place, weighted, from a radius of steps on."""
    radius = weights.size - 1
    n, middle = out.size, weights[0]
    centre = values[radius * step : radius * step + n]
    for x in range(n):
        out[x] = middle * centre[x]
    for k in range(1, radius, 2):
        before = values[(radius - k) * step : (radius - k) * step + n]
        after = values[(radius + k) * step : (radius + k) * step + n]
        next_before = values[(radius - k - 1) * step : (radius - k - 1) * step + n]
        next_after = values[(radius + k + 1) * step : (radius + k + 1) * step + n]
        _add_two(out, weights[k], before, after, weights[k + 1], next_before, next_after)
    if radius % 2:
        _add_one(out, weights[radius], values[:n], values[2 * radius * step :][:n])


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def _add_one(
    row: npt.NDArray[np.float32],
    weight: np.float32,
    before: npt.NDArray[np.float32],
    after: npt.NDArray[np.float32],
) -> None:
    """Add two places of equal distance to a row, with the weight of that distance."""
    for x in range(row.size):
        row[x] += weight * (before[x] + after[x])


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def _add_two(
    row: npt.NDArray[np.float32],
    weight: np.float32,
    before: npt.NDArray[np.float32],
    after: npt.NDArray[np.float32],
    next_weight: np.float32,
    next_before: npt.NDArray[np.float32],
    next_after: npt.NDArray[np.float32],
) -> None:
    """Add two distances at once: the row is read and written half as often."""
    for x in range(row.size):
        row[x] += weight * (before[x] + after[x])
        row[x] += next_weight * (next_before[x] + next_after[x])


class Places(NamedTuple):
    """Where the pixels of a row lie between the centres of blocks.

    Attributes
    ----------
    left, right : (width,) int64
        The blocks on either side of each pixel; the same one twice beyond the outer centres.
    part : (width,) float32
        Distance from the left one's centre, in blocks.
    """

    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    part: npt.NDArray[np.float32]


@numba.njit(cache=True, nogil=True)
def find_places(width: int, block_px: float, n_before: int, n_blocks: int) -> Places:
    """Find where pixels lie between the centres of blocks, `n_before` of which precede the row."""
    left = np.empty(width, dtype=np.int64)
    right = np.empty(width, dtype=np.int64)
    part = np.empty(width, dtype=np.float32)
    for x in range(width):
        position = (x + 0.5) / block_px - 0.5 + n_before
        block = int(np.floor(position))
        left[x], right[x] = max(block, 0), min(block + 1, n_blocks - 1)
        part[x] = position - block
    return Places(left, right, part)


@numba.njit(cache=True, nogil=True)
def expand_row(
    values: npt.NDArray[np.float32], places: Places, row: npt.NDArray[np.float32]
) -> None:
    """Interpolate a row between the centres of blocks; it is constant beyond the outer ones."""
    for x in range(row.size):
        left = values[places.left[x]]
        row[x] = left + places.part[x] * (values[places.right[x]] - left)


@numba.njit(cache=True, nogil=True)
def _convert_row(
    source: npt.NDArray[np.number],
    above: npt.NDArray[np.float32],
    below: npt.NDArray[np.float32],
    part: np.float32,
    square_root: bool,
    converted: npt.NDArray[np.float32],
) -> None:
    """Subtract the offset between two rows of it, and take the root of what is left if asked to."""
    for x in range(source.size):
        converted[x] = np.float32(source[x]) - (above[x] + part * (below[x] - above[x]))
    if square_root:
        for x in range(source.size):
            converted[x] = np.sqrt(max(converted[x], np.float32(0)))


def find_local_maximum(
    image: npt.NDArray[np.float32], *, window_px: float, sigma_px: float, block_px: int = 8
) -> npt.NDArray[np.float32]:
    """Maximum in a window around each place of a coarse grid, smoothed.

    Parameters
    ----------
    image : (y, x) float32
        Without NaN, at least one pixel.
    window_px : float
        Side of the square window, rounded up to an odd number of blocks.
    sigma_px : float
        Standard deviation of the Gaussian that smooths the maxima, in pixels of the image.
    block_px : int
        Side of the blocks that the grid is made of.

    Returns
    -------
    (ceil(y / block_px), ceil(x / block_px)) float32
        Values at the blocks' centres. Blocks at the lower and right border may be incomplete.
    """
    coarse = _maximum_of_blocks(image, block_px)
    reach = max(ceil((window_px / block_px - 1) / 2), 0)
    coarse = _maximum_of_rows(_maximum_of_rows(coarse, reach).T.copy(), reach).T.copy()
    return smooth_gaussian(coarse, sigma_px=sigma_px / block_px)


@numba.njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})
def _maximum_of_blocks(image: npt.NDArray[np.float32], block_px: int) -> npt.NDArray[np.float32]:
    """Largest value of each block."""
    height, width = image.shape
    out = np.empty(
        ((height + block_px - 1) // block_px, (width + block_px - 1) // block_px), dtype=np.float32
    )
    columns = np.empty(width, dtype=np.float32)
    for i in range(out.shape[0]):
        first = image[i * block_px]
        for x in range(width):
            columns[x] = first[x]
        for y in range(i * block_px + 1, min((i + 1) * block_px, height)):
            row = image[y]
            for x in range(width):
                columns[x] = max(columns[x], row[x])
        for j in range(out.shape[1]):
            largest = columns[j * block_px]
            for x in range(j * block_px + 1, min((j + 1) * block_px, width)):
                largest = max(largest, columns[x])
            out[i, j] = largest
    return out


@numba.njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})
def _maximum_of_rows(image: npt.NDArray[np.float32], reach: int) -> npt.NDArray[np.float32]:
    """Largest value of the rows up to `reach` away, per column; the image is a coarse grid."""
    height, width = image.shape
    out = image.copy()
    for y in range(height):
        for other in range(max(y - reach, 0), min(y + reach + 1, height)):
            for x in range(width):
                out[y, x] = max(out[y, x], image[other, x])
    return out
