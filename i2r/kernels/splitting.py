"""Cut components where nuclei touch: flood the distance to the background from its peaks.

Only components that are not convex are cut, each inside its own bounding box. That is exact: the
distance inside a component depends on nothing beyond one pixel around its box.

Seeds and flooding are one pass. Pixels are taken from the highest to the lowest; each joins the
basin of its highest neighbour or starts a new one, and where two basins meet, the lower peak is
given up if the saddle is hardly below it. This equals flooding from the h-maxima of the
landscape, without computing them first (the persistence of a peak; Edelsbrunner et al. 2002,
https://doi.org/10.1007/s00454-002-2885-2).
"""

import numba
import numpy as np
import numpy.typing as npt

from i2r.kernels.components import Components, find_root
from i2r.kernels.filters import smooth_rows, smooth_window
from i2r.kernels.hulls import count_hull_pixels

STEPS_PER_PX = 16
"""The landscape is kept in sixteenths of a pixel of distance, as uint16."""

HIGHEST = 65535

FEW_SHIFTS = 64
"""Up to this distance an object is faster compared with itself, shifted, than with parabolas."""

STEPS_OF_SQUARES = (STEPS_PER_PX * np.sqrt(np.arange(FEW_SHIFTS**2 + 1)) + 0.5).astype(np.uint16)

SMALL_WINDOW = 2**14
"""Pixels of a box that stays in the cache; larger ones are smoothed row by row."""


@numba.njit(cache=True, nogil=True)
def split_components(
    components: Components,
    brightness: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int32],
    min_solidity: float,
    min_neck_depth_px: float,
    max_neck_ratio: float,
) -> int:
    """Paint every component with its own number, cut into several where it is not convex.

    The landscape is the distance to the background times the brightness relative to the
    component's mean: touching nuclei are separated by a neck, a dark line or a bit of both.

    Parameters
    ----------
    components : Components
        Runs grouped by component.
    brightness : (y, x) float32
        Positive inside the components.
    weights : (radius + 1,) float32
        Half of the kernel that smooths the brightness before it is used (`make_weights`).
    labels : (y, x) int32
        All zeros; receives the numbers 1 to n.
    min_solidity : float
        Components at least this convex (area over area of the convex hull) are not cut.
    min_neck_depth_px : float
        Two peaks are two nuclei if the saddle between them is at least this much lower than the
        lower peak (the h of an h-maxima transform) ...
    max_neck_ratio : float
        ... and at most this part of its height.

    Returns
    -------
    int
        Number of objects painted.
    """
    n_objects = 0
    for i in range(components.first_run.size - 1):
        runs = slice(components.first_run[i], components.first_run[i + 1])
        y, x0, x1 = components.y[runs], components.x0[runs], components.x1[runs]
        area = (x1 - x0).sum()
        if area >= min_solidity * count_hull_pixels(y, x0, x1):
            n_objects += 1
            for run in range(y.size):
                labels[y[run], x0[run] : x1[run]] = n_objects
            continue
        top, left = y[0], x0.min()
        landscape = measure_distance(y, x0, x1, labels.shape)
        landscape = _weigh_landscape(landscape, brightness, weights, y, x0, x1)
        # The landscape has a frame of one pixel.
        pixels = _sort_pixels(landscape, y - top + 1, x0 - left + 1, x1 - left + 1, area)
        basins = np.zeros(landscape.shape, dtype=np.int32)
        parent = _flood_basins(
            landscape, pixels, basins, min_neck_depth_px * STEPS_PER_PX, max_neck_ratio
        )
        n_objects = _paint_basins(parent, basins, labels, y, x0, x1, n_objects)
    return n_objects


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


@numba.njit(cache=True, nogil=True)
def _weigh_landscape(
    distance: npt.NDArray[np.uint16],
    brightness: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float32],
    y: npt.NDArray[np.int32],
    x0: npt.NDArray[np.int32],
    x1: npt.NDArray[np.int32],
) -> npt.NDArray[np.uint16]:
    """Multiply the distance by the smoothed brightness, relative to its mean over the object.

    Returns
    -------
    (height + 2, width + 2) uint16
        With a frame of zeros around the box.
    """
    top, left = y[0], x0.min()
    height, width = distance.shape
    smoothed = np.empty((height, width), dtype=np.float32)
    # As whole images are, in memory and type: what is compiled for them serves here too.
    window = brightness[top : top + height, left : left + width].copy()
    if window.size <= SMALL_WINDOW:
        smooth_window(window, weights, smoothed)
    else:
        smooth_rows(window, weights, np.zeros((3, 3), np.float32), bool(height < 0), smoothed)
    total = 0.0
    for run in range(y.size):
        for x in range(x0[run] - left, x1[run] - left):
            total += smoothed[y[run] - top, x]
    scale = (x1 - x0).sum() / total
    landscape = np.zeros((height + 2, width + 2), dtype=np.uint16)
    for run in range(y.size):
        row = y[run] - top
        for x in range(x0[run] - left, x1[run] - left):
            value = distance[row, x] * (smoothed[row, x] * scale)
            landscape[row + 1, x + 1] = np.uint16(min(max(value, 1.0), np.float64(HIGHEST)))
    return landscape


@numba.njit(cache=True, nogil=True)
def _sort_pixels(
    landscape: npt.NDArray[np.uint16],
    y: npt.NDArray[np.int32],
    x0: npt.NDArray[np.int32],
    x1: npt.NDArray[np.int32],
    area: int,
) -> npt.NDArray[np.int32]:
    """Positions of an object's pixels in its box, the highest first, in raster order if equal."""
    width = landscape.shape[1]
    highest = landscape.max()
    place = np.zeros(np.int64(highest) + 2, dtype=np.int64)
    for run in range(y.size):
        for x in range(x0[run], x1[run]):
            place[np.int64(highest) - landscape[y[run], x] + 1] += 1
    place = np.cumsum(place)
    pixels = np.empty(area, dtype=np.int32)
    for run in range(y.size):
        for x in range(x0[run], x1[run]):
            depth = np.int64(highest) - landscape[y[run], x]
            pixels[place[depth]] = y[run] * width + x
            place[depth] += 1
    return pixels


@numba.njit(cache=True, nogil=True)
def _flood_basins(
    landscape: npt.NDArray[np.uint16],
    pixels: npt.NDArray[np.int32],
    basins: npt.NDArray[np.int32],
    min_depth: float,
    max_ratio: float,
) -> npt.NDArray[np.int32]:
    """Number each pixel's basin, from 1; say which basins were given up.

    Parameters
    ----------
    landscape : (height, width) uint16
        With a frame of one pixel that belongs to nothing.
    pixels : int32
        Positions in the landscape, the highest first.
    basins : (height, width) int32
        All zeros; receives the numbers.

    Returns
    -------
    (n_basins + 1,) int32
        The basin that each basin has become part of, itself if none.
    """
    height, width = landscape.shape
    capacity = (height // 2 + 1) * (width // 2 + 1) + 1  # new basins never touch
    parent = np.zeros(min(capacity, pixels.size + 1), dtype=np.int32)
    peak = np.zeros(parent.size, dtype=np.uint16)
    level, basin_of = landscape.ravel(), basins.ravel()
    around = (-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1)
    # Without signs: the compiler has no places before the first to take care of.
    one, line = np.uint64(1), np.uint64(width)
    n = 0
    for k in range(pixels.size):
        pixel = np.uint64(pixels[k])
        above, below = pixel - line, pixel + line
        # Most pixels have neighbours of one basin only; 0 is a pixel still dry.
        a, b, c = basin_of[above - one], basin_of[above], basin_of[above + one]
        d, e = basin_of[pixel - one], basin_of[pixel + one]
        f, g, h = basin_of[below - one], basin_of[below], basin_of[below + one]
        greatest = max(a, b, c, d, e, f, g, h)
        if greatest == 0:
            n += 1
            parent[n] = n
            peak[n] = level[pixel]
            basin_of[pixel] = n
            continue
        first = min(_pass_dry(a), _pass_dry(b), _pass_dry(c), _pass_dry(d))
        last = min(_pass_dry(e), _pass_dry(f), _pass_dry(g), _pass_dry(h))
        if min(first, last) == _pass_dry(greatest):
            basin_of[pixel] = greatest
            continue
        best = 0
        best_level = -1
        for step in around:
            if basin_of[pixels[k] + step] > 0 and level[pixels[k] + step] > best_level:
                best, best_level = basin_of[pixels[k] + step], int(level[pixels[k] + step])
        basin_of[pixel] = best
        root = find_root(parent, best)
        for step in around:
            basin = basin_of[pixels[k] + step]
            if basin > 0:
                other = find_root(parent, basin)
                saddle = int(level[pixel])
                root = _merge_basins(parent, peak, root, other, saddle, min_depth, max_ratio)
    for basin in range(1, n + 1):
        parent[basin] = find_root(parent, basin)
    return parent[: n + 1]


@numba.njit(cache=True, nogil=True)
def _pass_dry(basin: np.int32) -> np.uint32:
    """Number basins from 0; what is dry is then the greatest of all."""
    return np.uint32(np.uint32(basin) - np.uint32(1))


@numba.njit(cache=True, nogil=True)
def _merge_basins(
    parent: npt.NDArray[np.int32],
    peak: npt.NDArray[np.uint16],
    root: int,
    other: int,
    saddle: int,
    min_depth: float,
    max_ratio: float,
) -> int:
    """Give up the lower of two basins if the saddle is hardly below its peak."""
    lower = min(int(peak[root]), int(peak[other]))
    if root == other or (lower - saddle >= min_depth and saddle <= max_ratio * lower):
        return root
    if peak[root] < peak[other]:
        root, other = other, root
    parent[other] = root
    return root


@numba.njit(cache=True, nogil=True)
def _paint_basins(
    parent: npt.NDArray[np.int32],
    basins: npt.NDArray[np.int32],
    labels: npt.NDArray[np.int32],
    y: npt.NDArray[np.int32],
    x0: npt.NDArray[np.int32],
    x1: npt.NDArray[np.int32],
    n_objects: int,
) -> int:
    """Paint basins with the numbers of objects, in raster order; return the last number."""
    number = np.zeros(parent.size, dtype=np.int32)
    top, left = y[0], x0.min()
    for run in range(y.size):
        own, row = basins[y[run] - top + 1], labels[y[run]]
        for x in range(x0[run], x1[run]):
            basin = parent[own[x - left + 1]]
            if number[basin] == 0:
                n_objects += 1
                number[basin] = n_objects
            row[x] = number[basin]
    return n_objects
