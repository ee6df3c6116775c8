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
from i2r.kernels.distances import HIGHEST, STEPS_PER_PX, measure_distance
from i2r.kernels.filters import smooth_rows, smooth_window
from i2r.kernels.hulls import count_hull_pixels

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
