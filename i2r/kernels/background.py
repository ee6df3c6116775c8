"""The uneven background below a field's objects, and single pixels that are no signal.

Both are for thresholds: a field with a gradient has no level that separates nuclei from what is
behind them, and one hot pixel is brighter than every nucleus around it.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from i2r.kernels.filters import smooth_gaussian

LOW_PERCENTILE = 2.0
"""Percentile of a tile's pixels taken as its background: gaps between nuclei, but no noise."""

HOT_FACTOR = 4.0
"""A pixel that is so many times as bright as those around it is none of an image."""

SAMPLE_PX = 4
"""One pixel in so many, along y and along x, is enough for a tile's percentile."""


def measure_background(
    image: npt.NDArray[np.number], *, tile_px: int, reach: int = 1
) -> npt.NDArray[np.float32]:
    """Background of a field on a coarse grid.

    A tile's background is a low percentile of its pixels. What rises above the tiles around it
    over less than ``2 reach + 1`` tiles is an object (a grey-scale opening), the rest is smoothed.

    Parameters
    ----------
    image : (y, x) uint8, uint16 or float32
        At least one pixel, without NaN.
    tile_px : int
        Least side of a tile; tiles divide the field evenly.
    reach : int
        Tiles of the opening to each side, so that ``2 reach + 1`` tiles are wider than an object.

    Returns
    -------
    (n_rows + 2, n_columns + 2) float32
        Values at the tiles' centres, in the image's own units, and at those of a frame of tiles
        around the field, to which the values are continued linearly.
    """
    opened = _continue(_find_low_values(image, tile_px, LOW_PERCENTILE / 100), 2 * reach)
    for sign in (-1, 1):
        for _ in range(reach):
            opened = _take_extremes(opened, sign)
    level = opened[2 * reach : -2 * reach, 2 * reach : -2 * reach]
    return _continue(smooth_gaussian(_continue(level, 1), sigma_px=0.5)[1:-1, 1:-1], 1)


def measure_lowest(image: npt.NDArray[np.number], *, tile_px: int) -> npt.NDArray[np.float32]:
    """Lowest values of a field's tiles, without what is smaller than three tiles: a quick look.

    Parameters
    ----------
    image : (y, x) uint8, uint16 or float32
        At least one pixel, without NaN.
    tile_px : int
        Least side of a tile; tiles divide the field evenly.

    Returns
    -------
    (n_rows, n_columns) float32
        A grey-scale opening of the tiles' lowest values.
    """
    rows, columns = (max(size // tile_px, 1) for size in image.shape)
    lowest = _find_lowest(image, rows, columns)
    return _take_extremes(_take_extremes(lowest, -1), 1)


@numba.njit(cache=True, nogil=True)
def _find_lowest(
    image: npt.NDArray[np.number], n_rows: int, n_columns: int
) -> npt.NDArray[np.float32]:
    """Lowest sample of every tile."""
    height, width = image.shape
    lowest = np.empty((n_rows, n_columns), dtype=np.float32)
    for i in range(n_rows):
        top, bottom = i * height // n_rows, (i + 1) * height // n_rows
        # Per column, as the compiler vectorises that.
        columns = image[top].copy()
        for y in range(top + 2 * SAMPLE_PX, bottom, 2 * SAMPLE_PX):
            row = image[y]
            for x in range(width):
                columns[x] = min(columns[x], row[x])
        for j in range(n_columns):
            left, right = j * width // n_columns, (j + 1) * width // n_columns
            least = columns[left]
            for x in range(left + 1, right):
                least = min(least, columns[x])
            lowest[i, j] = least
    return lowest


def _continue(grid: npt.NDArray[np.float32], n: int) -> npt.NDArray[np.float32]:
    """Continue a grid by some places on every side, by its slope there."""
    return np.pad(grid, n, mode="reflect", reflect_type="odd")


def find_content(image: npt.NDArray[np.number], *, min_margin_px: float) -> tuple[slice, slice]:
    """Find the part of a field that was imaged, where stitching or cropping left blank margins.

    Parameters
    ----------
    image : (y, x) uint8, uint16 or float32
        At least one pixel.
    min_margin_px : float
        Narrower margins belong to the content.

    Returns
    -------
    rows, columns : slice
        All but the outer rows and columns in which every pixel has the same value; everything
        for a constant image.
    """
    # Rows twice: above the corner of two margins they are not of one value.
    rows = _find_range(image, min_margin_px)
    columns = _find_range(image[rows].T, min_margin_px)
    return _find_range(image[:, columns], min_margin_px), columns


def _find_range(image: npt.NDArray[np.number], min_margin_px: float) -> slice:
    """Find the rows between the blank ones; two lines are read where nothing is blank."""
    start, stop = 0, image.shape[0]
    while start < stop and (image[start] == image[0, 0]).all():
        start += 1
    while stop > start and (image[stop - 1] == image[-1, 0]).all():
        stop -= 1
    if start == stop:
        return slice(0, image.shape[0])
    return slice(
        start if start >= min_margin_px else 0,
        stop if image.shape[0] - stop >= min_margin_px else image.shape[0],
    )


@numba.njit(cache=True, nogil=True)
def _find_low_values(
    image: npt.NDArray[np.number], tile_px: int, part: float
) -> npt.NDArray[np.float32]:
    """Low percentile of every tile."""
    height, width = image.shape
    n_rows, n_columns = max(height // tile_px, 1), max(width // tile_px, 1)
    out = np.empty((n_rows, n_columns), dtype=np.float32)
    n_most = (height // (n_rows * SAMPLE_PX) + 2) * (width // (n_columns * SAMPLE_PX) + 2)
    heap = np.empty(int(part * n_most) + 1, dtype=image.dtype)
    for i in range(n_rows):
        top, bottom = i * height // n_rows, (i + 1) * height // n_rows
        for j in range(n_columns):
            left, right = j * width // n_columns, (j + 1) * width // n_columns
            n = -((top - bottom) // SAMPLE_PX) * -((left - right) // SAMPLE_PX)
            out[i, j] = _find_smallest(image[top:bottom, left:right], heap[: int(part * n) + 1])
    return out


@numba.njit(cache=True, nogil=True)
def _find_smallest(image: npt.NDArray[np.number], heap: npt.NDArray[np.number]) -> Any:
    """Largest of as many smallest samples as the heap has places.

    The heap holds the smallest so far, each at most as large as the one at half its place; most
    samples are larger than its first and cost one comparison.
    """
    n = 0
    for y in range(0, image.shape[0], SAMPLE_PX):
        for x in range(0, image.shape[1], SAMPLE_PX):
            value = image[y, x]
            if n < heap.size:
                place = n
                n += 1
                while place > 0 and heap[(place - 1) // 2] < value:
                    heap[place] = heap[(place - 1) // 2]
                    place = (place - 1) // 2
                heap[place] = value
            elif value < heap[0]:
                place = 0
                while True:
                    child = 2 * place + 1
                    if child + 1 < n and heap[child + 1] > heap[child]:
                        child += 1
                    if child >= n or heap[child] <= value:
                        break
                    heap[place] = heap[child]
                    place = child
                heap[place] = value
    return heap[0]


@numba.njit(cache=True, nogil=True)
def _take_extremes(grid: npt.NDArray[np.float32], sign: int) -> npt.NDArray[np.float32]:
    """Largest (sign 1) or smallest (-1) value among each place of a grid and its neighbours."""
    height, width = grid.shape
    out = grid.copy()
    for i in range(height):
        for j in range(width):
            for y in range(max(i - 1, 0), min(i + 2, height)):
                for x in range(max(j - 1, 0), min(j + 2, width)):
                    if sign * grid[y, x] > sign * out[i, j]:
                        out[i, j] = grid[y, x]
    return out


def replace_hot_pixels(
    image: npt.NDArray[np.number], *, background: float
) -> npt.NDArray[np.number]:
    """Replace pixels that stand out alone: hot ones of the camera, and cosmic rays.

    A pixel is hot if it is more than `HOT_FACTOR` times as far above the background as the third
    brightest of its eight neighbours, and more than three times as far as the field's mean. No
    lens makes such a point of light: what it images is spread over more than two pixels.

    Parameters
    ----------
    image : (y, x) uint8, uint16 or float32
        Without NaN.
    background : float
        Level that brightness is counted from.

    Returns
    -------
    (y, x) of the same type
        The image itself if it has none, else a copy in which hot pixels have the value of that
        neighbour.
    """
    if min(image.shape) < 3:
        return image
    level = np.float32(background)
    mean = float(image[::SAMPLE_PX, ::SAMPLE_PX].mean(dtype=np.float64))
    floor = np.float32(background + 3 * (mean - background))
    rows = _find_suspects(image, level, floor)
    if rows.size == 0:
        return image
    cleaned = image.copy()
    return cleaned if _replace(image, rows, level, floor, cleaned) else image


@numba.njit(cache=True, nogil=True)
def _find_suspects(
    image: npt.NDArray[np.number], background: np.float32, floor: np.float32
) -> npt.NDArray[np.int64]:
    """Find the rows with a pixel far above the second brightest of its four nearest neighbours.

    That is a weaker condition than that of `_replace`, and quick.
    """
    height, width = image.shape
    limit = np.float32(background * (np.float32(1) - np.float32(HOT_FACTOR)))
    rows = np.empty(height, dtype=np.int64)
    n = 0
    for y in range(height):
        above, row, below = image[max(y - 1, 0)], image[y], image[min(y + 1, height - 1)]
        n_hot = 0
        for x in range(1, width - 1):
            lesser = max(min(above[x], below[x]), min(row[x - 1], row[x + 1]))
            excess = np.float32(row[x]) - np.float32(HOT_FACTOR) * np.float32(lesser)
            n_hot += int((excess > limit) & (np.float32(row[x]) > floor))
        for edge, inner in ((0, 1), (width - 1, width - 2)):
            lesser = max(min(above[edge], below[edge]), row[inner])
            excess = np.float32(row[edge]) - np.float32(HOT_FACTOR) * np.float32(lesser)
            n_hot += int((excess > limit) & (np.float32(row[edge]) > floor))
        if n_hot:
            rows[n] = y
            n += 1
    return rows[:n]


@numba.njit(cache=True, nogil=True)
def _replace(
    image: npt.NDArray[np.number],
    rows: npt.NDArray[np.int64],
    background: np.float32,
    floor: np.float32,
    out: npt.NDArray[np.number],
) -> int:
    """Write the third brightest neighbour in the place of every hot pixel; gives their number."""
    n_hot = 0
    limit = np.float32(background * (np.float32(1) - np.float32(HOT_FACTOR)))
    for k in range(rows.size):
        y = int(rows[k])
        for x in range(image.shape[1]):
            value = image[y, x]
            if np.float32(value) <= floor:
                continue
            third = _find_third(image, y, x)
            if np.float32(value) - np.float32(HOT_FACTOR) * np.float32(third) > limit:
                out[y, x] = third
                n_hot += 1
    return n_hot


@numba.njit(cache=True, nogil=True)
def _find_third(image: npt.NDArray[np.number], y: int, x: int) -> Any:
    """Third brightest of a pixel's neighbours, of which there are three at a corner."""
    values = np.empty(8, dtype=image.dtype)
    n = 0
    for i in range(max(y - 1, 0), min(y + 2, image.shape[0])):
        for j in range(max(x - 1, 0), min(x + 2, image.shape[1])):
            if i != y or j != x:
                values[n] = image[i, j]
                n += 1
    return np.sort(values[:n])[n - 3]
