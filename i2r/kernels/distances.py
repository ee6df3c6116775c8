"""Distances of an object's pixels to the background, exact, inside its own bounding box.

First along columns, then the nearest of those along rows: of small objects by comparing all rows at
once with themselves, shifted; of large ones by the lower envelope of parabolas, run by run.
"""

import numba
import numpy as np
import numpy.typing as npt

STEPS_PER_PX = 16
"""Distances are in sixteenths of a pixel, as uint16."""

HIGHEST = 65535

FEW_SHIFTS = 64
"""Up to this distance an object is faster compared with itself, shifted, than with parabolas."""

STEPS_OF_SQUARES = (STEPS_PER_PX * np.sqrt(np.arange(FEW_SHIFTS**2 + 1)) + 0.5).astype(np.uint16)


@numba.njit(cache=True, nogil=True)
def measure_distance(
    y: npt.NDArray[np.int32],
    x0: npt.NDArray[np.int32],
    x1: npt.NDArray[np.int32],
    field: tuple[int, int],
) -> npt.NDArray[np.uint16]:
    """Exact Euclidean distance of an object's pixels to the nearest pixel that is not its own.

    Parameters
    ----------
    y, x0, x1 : (n_runs,) int32
        Runs of the object, rows in rising order.
    field : (height, width)
        Shape of the image; what is beyond its border is not background.

    Returns
    -------
    uint16, the shape of the bounding box
        In steps of 1 / `STEPS_PER_PX` px, rounded, 0 outside the object, at most 65535.

    References
    ----------
    Felzenszwalb and Huttenlocher 2012, Theory of Computing 8:415.
    https://doi.org/10.4086/toc.2012.v008a019
    """
    top, left = y[0], x0.min()
    height, width = y[-1] - top + 1, x1.max() - left
    far = 60000
    distance = np.zeros((height, width), dtype=np.uint16)
    for run in range(y.size):
        distance[y[run] - top, x0[run] - left : x1[run] - left] = far
    _measure_columns(distance, top > 0, top + height < field[0])
    before_box, after_box = left > 0, left + width < field[1]
    if distance.max() <= FEW_SHIFTS:
        _measure_rows(distance, before_box, after_box)
    else:
        _measure_runs(distance, y - top, x0 - left, x1 - left, before_box, after_box)
    return distance


@numba.njit(cache=True, nogil=True)
def _measure_columns(distance: npt.NDArray[np.uint16], above: bool, below: bool) -> None:
    """Replace "far" by the distance to background in the same column, in whole pixels.

    `above` and `below` say whether there is background beyond the box.
    """
    height, width = distance.shape
    one = np.uint16(1)
    if above:
        for x in range(width):
            distance[0, x] = min(distance[0, x], one)
    for row in range(1, height):
        for x in range(width):
            distance[row, x] = min(distance[row, x], np.uint16(distance[row - 1, x] + one))
    if below:
        for x in range(width):
            distance[height - 1, x] = min(distance[height - 1, x], one)
    for row in range(height - 2, -1, -1):
        for x in range(width):
            distance[row, x] = min(distance[row, x], np.uint16(distance[row + 1, x] + one))


@numba.njit(cache=True, nogil=True)
def _measure_rows(distance: npt.NDArray[np.uint16], before_box: bool, after_box: bool) -> None:
    """Combine the distances within columns, at most `FEW_SHIFTS`, with those along rows.

    All pixels look one place further to both sides at a time, until no place further on can be
    nearer. `before_box` and `after_box` say whether there is background beside the box.
    """
    height, width = distance.shape
    reach = np.int64(distance.max())
    # All rows are one long row. One place of background keeps them apart: what is beyond it is
    # farther. At the field's border it takes as many places as are looked at.
    gap = 1 if before_box and after_box else reach + 1
    pitch, first = width + gap, reach + 1
    squares = np.full(2 * first + height * pitch, np.uint16(2 * FEW_SHIFTS**2), dtype=np.uint16)
    for y in range(height):
        start = first + y * pitch
        row, own = distance[y], squares[start : start + width]
        for x in range(width):
            own[x] = row[x] * row[x]
        if before_box:
            squares[start - 1] = 0
        if after_box:
            squares[start + width] = 0
    n = height * pitch
    nearest = squares[first : first + n].copy()
    largest, k = reach * reach, 1
    while k < reach and k * k < largest:
        before, after = squares[first - k : first - k + n], squares[first + k : first + k + n]
        largest = np.int64(_compare_shifted(nearest, before, after, np.uint16(k * k)))
        k += 1
    for y in range(height):
        row, squared = distance[y], nearest[y * pitch : y * pitch + width]
        for x in range(width):
            row[x] = STEPS_OF_SQUARES[squared[x]]


@numba.njit(cache=True, nogil=True)
def _compare_shifted(
    nearest: npt.NDArray[np.uint16],
    before: npt.NDArray[np.uint16],
    after: npt.NDArray[np.uint16],
    apart: np.uint16,
) -> np.uint16:
    """Take squared distances by way of pixels to each side, if less; give the largest."""
    largest = np.uint16(0)
    for x in range(nearest.size):
        value = min(nearest[x], np.uint16(min(before[x], after[x]) + apart))
        nearest[x] = value
        largest = max(largest, value)
    return largest


@numba.njit(cache=True, nogil=True)
def _measure_runs(
    distance: npt.NDArray[np.uint16],
    y: npt.NDArray[np.int32],
    x0: npt.NDArray[np.int32],
    x1: npt.NDArray[np.int32],
    before_box: bool,
    after_box: bool,
) -> None:
    """Combine the distances within columns: lower envelope of the parabolas along each run.

    Pixels beyond the background at a run's ends are never the nearest. `before_box` and
    `after_box` say whether there is background beside the box.
    """
    width = distance.shape[1]
    site = np.empty(width + 2, dtype=np.int64)
    height_at = np.empty(width + 2, dtype=np.float64)
    border = np.empty(width + 3, dtype=np.float64)
    run = 0
    while run < y.size:
        row = distance[y[run]]
        first = x0[run]
        # Where a hole was filled, one run ends where the next begins.
        while run + 1 < y.size and y[run + 1] == y[run] and x0[run + 1] == x1[run]:
            run += 1
        last = x1[run]
        run += 1
        n = 0
        for x in range(first - int(first > 0 or before_box), last + int(last < width or after_box)):
            own = 0.0 if x < first or x >= last else np.float64(row[x]) ** 2
            crossing = -np.inf
            while n > 0:
                before = site[n - 1]
                crossing = (own + x * x - height_at[n - 1] - before * before) / (2 * (x - before))
                if crossing > border[n - 1]:
                    break
                n -= 1
            site[n], height_at[n], border[n] = x, own, crossing if n > 0 else -np.inf
            n += 1
        border[n] = np.inf
        k = 0
        for x in range(first, last):
            while border[k + 1] < x:
                k += 1
            squared = height_at[k] + np.float64(x - site[k]) ** 2
            steps = STEPS_PER_PX * np.sqrt(squared) + 0.5
            row[x] = np.uint16(min(steps, np.float64(HIGHEST)))
