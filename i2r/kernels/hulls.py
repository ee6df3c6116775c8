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
    leftmost, rightmost = find_hull_rows(y, x0, x1)
    pixels = 0
    for row in range(leftmost.size):
        pixels += rightmost[row] - leftmost[row] + 1
    return pixels


@numba.njit(cache=True, nogil=True)
def find_hull_rows(
    y: npt.NDArray[np.int32], x0: npt.NDArray[np.int32], x1: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find the first and the last pixel of the convex hull in every row; see `count_hull_pixels`.

    Parameters
    ----------
    y, x0, x1 : (n_runs,) int32
        As for `count_hull_pixels`.

    Returns
    -------
    leftmost, rightmost : (rows,) int64
        Columns, both inside the hull, from the first row of the object to its last.
    """
    left, right = _find_levels(y, x0, x1)
    leftmost = np.empty(left.size // 2, dtype=np.int64)
    rightmost = np.empty(left.size // 2, dtype=np.int64)
    _find_columns(left, -1, leftmost)
    _find_columns(right, 1, rightmost)
    return leftmost, rightmost


@numba.njit(cache=True, nogil=True)
def find_hull_polygon(
    y: npt.NDArray[np.int32], x0: npt.NDArray[np.int32], x1: npt.NDArray[np.int32]
) -> npt.NDArray[np.float64]:
    """Find the corners of the convex hull around the midpoints of the four sides of every pixel.

    Parameters
    ----------
    y, x0, x1 : (n_runs,) int32
        As for `count_hull_pixels`.

    Returns
    -------
    (n_corners, 2) float64
        y and x in turn around the hull, in pixels; the centre of pixel (0, 0) is 0, 0. At least
        four corners.
    """
    left, right = _find_levels(y, x0, x1)
    down, up = _find_chain(right, 1), _find_chain(left, -1)
    corners = np.empty((down.size + up.size, 2), dtype=np.float64)
    n = 0
    for k in range(down.size):
        corners[n, 0] = y[0] + (down[k] - 1) / 2
        corners[n, 1] = right[down[k]] / 2
        n += 1
    for k in range(up.size - 1, -1, -1):
        level = up[k]
        # The hull's top and bottom are one corner where both sides end in the same point.
        if (k == 0 or k == up.size - 1) and left[level] == right[level]:
            continue
        corners[n, 0] = y[0] + (level - 1) / 2
        corners[n, 1] = left[level] / 2
        n += 1
    return corners[:n]


@numba.njit(cache=True, nogil=True)
def _find_levels(
    y: npt.NDArray[np.int32], x0: npt.NDArray[np.int32], x1: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Outermost midpoints on each side, doubled; no value stands for a level without any.

    Level k is row top + (k - 1) / 2: odd levels are rows, even ones the borders between them.
    """
    top = y[0]
    height = y[-1] - top + 1
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
    return left, right


@numba.njit(cache=True, nogil=True)
def _find_chain(points: npt.NDArray[np.int64], side: int) -> npt.NDArray[np.int64]:
    """Levels of the hull's corners on its left (-1) or right (1) side, from top to bottom."""
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
    return chain[:n]


@numba.njit(cache=True, nogil=True)
def _find_columns(points: npt.NDArray[np.int64], side: int, columns: npt.NDArray[np.int64]) -> None:
    """Outermost column inside the hull for each row, on its left (-1) or right (1) side."""
    chain = _find_chain(points, side)
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
