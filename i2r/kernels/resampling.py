"""Tiles and planes at another number of pixels: each new one is the mean of what it covers."""

import numba
import numpy as np
import numpy.typing as npt

# Tiles resampled at once: 64 of 279 px, in float32, are 20 MB.
_AT_ONCE = 64


def resample_tiles(tiles: npt.NDArray[np.number], size_px: int) -> npt.NDArray[np.number]:
    """Resample square tiles by areas.

    Parameters
    ----------
    tiles
        Shape (n, c, y, x), y equal to x.
    size_px
        The new edge; larger or smaller than the tiles'.

    Returns
    -------
    ndarray
        Shape (n, c, size_px, size_px), the tiles' dtype, rounded: a tile of one value keeps it,
        and the mean of a tile stays what it is but for rounding.
    """
    before = tiles.shape[-1]
    if before == size_px:
        return tiles
    weights = _overlap(before, size_px)
    resampled = np.empty((*tiles.shape[:2], size_px, size_px), dtype=tiles.dtype)
    for start in range(0, len(tiles), _AT_ONCE):
        part = tiles[start : start + _AT_ONCE].astype(np.float32)
        resampled[start : start + _AT_ONCE] = np.rint(weights @ part @ weights.T)
    return resampled


def _overlap(before: int, after: int) -> npt.NDArray[np.float32]:
    """Give the part of each new pixel, in rows, that each old one covers; rows add up to 1."""
    edges = np.arange(after + 1) * (before / after)
    old = np.arange(before)
    shared = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    return (np.clip(shared, 0, None) * (after / before)).astype(np.float32)


@numba.njit(cache=True, nogil=True)
def average_blocks(
    plane: npt.NDArray[np.unsignedinteger],
    rows: int,
    columns: int,
    out: npt.NDArray[np.unsignedinteger],
) -> None:
    """Write the rounded mean of every block of a plane.

    Parameters
    ----------
    plane : (y, x) uint8 or uint16
        At least as large as all blocks; what is left over is not looked at.
    rows, columns : int
        Size of a block, together less than 2**16 pixels.
    out : (y // rows, x // columns) of the same type
        Receives the means; halves are rounded up.
    """
    height, width = out.shape
    sums = np.empty(width * columns, dtype=np.uint32)
    number, half = np.uint32(rows * columns), np.uint32(rows * columns // 2)
    for i in range(height):
        first = plane[i * rows]
        for x in range(sums.size):
            sums[x] = first[x]
        for y in range(i * rows + 1, (i + 1) * rows):
            row = plane[y]
            for x in range(sums.size):
                sums[x] += row[x]
        for j in range(width):
            total = half
            for x in range(j * columns, (j + 1) * columns):
                total += sums[x]
            out[i, j] = total // number
