"""Convex hulls of objects that are given as runs, in exact integer arithmetic."""

import numba
import numpy as np
import numpy.typing as npt


@numba.njit(cache=True, nogil=True)
def count_hull_pixels(
    y: npt.NDArray[np.int32], x0: npt.NDArray[np.int32], x1: npt.NDArray[np.int32]
) -> int:
    """Count the pixels whose centre lies in the convex hull of an object, border included.

    The hull is taken around the midpoints of the four sides of every pixel, and a pixel belongs
    to it if its centre does: the same pixels as scikit-image's ``convex_hull_image`` sets. All
    coordinates are doubled, so that midpoints are integers and nothing is rounded.

    Parameters
    ----------
    y, x0, x1 : (n_runs,) int32
        Row and half-open range of columns of each run, rows in rising order, at least one run.
        Runs may share a row (concave objects, holes) and rows may be missing (objects in parts).

    Returns
    -------
    int
        At least the area of the object.
    """
    top = y[0]
    height = y[-1] - top + 1
    # Level k is row top + (k - 1) / 2: odd levels are rows, even ones the borders between them.
    left = np.full(2 * height + 1, np.int64(1) << 40, dtype=np.int64)
    right = np.full(2 * height + 1, -(np.int64(1) << 40), dtype=np.int64)
    for run in range(y.size):
        level = 2 * (y[run] - top) + 1
        first, last = 2 * np.int64(x0[run]), 2 * np.int64(x1[run]) - 2
        left[level] = min(left[level], first - 1)
        right[level] = max(right[level], last + 1)
        for border in (level - 1, level + 1):
            left[border] = min(left[border], first)
            right[border] = max(right[border], last)
    leftmost = np.empty(height, dtype=np.int64)
    rightmost = np.empty(height, dtype=np.int64)
    _find_chain(left, -1, leftmost)
    _find_chain(right, 1, rightmost)
    pixels = 0
    for row in range(height):
        pixels += rightmost[row] - leftmost[row] + 1
    return pixels


@numba.njit(cache=True, nogil=True)
def _find_chain(points: npt.NDArray[np.int64], side: int, columns: npt.NDArray[np.int64]) -> None:
    """Outermost column inside the hull for each row, on its left (-1) or right (1) side."""
    chain = np.empty(points.size, dtype=np.int64)
    n = 0
    for level in range(points.size):
        if abs(points[level]) == np.int64(1) << 40:
            continue
        while n >= 2:
            a, b = chain[n - 2], chain[n - 1]
            bend = (points[b] - points[a]) * (level - a) - (points[level] - points[a]) * (b - a)
            if bend * side > 0:
                break
            n -= 1
        chain[n] = level
        n += 1
    k = 0
    for row in range(columns.size):
        level = 2 * row + 1
        while chain[k + 1] < level:
            k += 1
        a, b = chain[k], chain[k + 1]
        position = points[a] * (b - a) + (points[b] - points[a]) * (level - a)
        if side > 0:
            columns[row] = position // (2 * (b - a))
        else:
            columns[row] = -(-position // (2 * (b - a)))
