"""The light behind nuclei, where it is as uneven as nuclei are bright.

A hill, a lamp in a corner or stripes are steeper than a coarse background follows, and have no
level that nuclei stand above. What tells them from nuclei is that light changes slowly: it is a
surface through all that lies between nuclei, and has no edges.
"""

from math import ceil

import numba
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from i2r.kernels.filters import smooth_gaussian

MIN_FREE = 0.2
"""Tiles of which less lies between nuclei say nothing about the light."""

REACH_TILES = 1.5
"""Standard deviation of the weights of the tiles that a place's light is fitted to, in tiles."""

LEAST_KNOWN = 0.1
"""A place around which less of the light is known is fitted to tiles of twice the reach."""

GROW_WINDOWS = 0.2
"""The blurred edge of a nucleus, which belongs to neither, is so many windows wide."""

RING_WINDOWS = 0.1
"""An object's rim, three times so many windows wide, is compared with what lies once to three
times so many windows outside."""

LEAST_STEP = 0.45
"""From its rim to its surroundings an object falls by so much of its height above the light ..."""

LEAST_DEVIATIONS = 3.0
"""... and by so many standard deviations of a pixel's noise."""

ROUNDING = 1e-4
"""Pixels that differ by less, relative to the field's range, differ by rounding."""

SLOPES = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))
"""Powers of x and y in a place's surface, ..."""

RIDGE = np.array([1e-9, 1e-3, 1e-3, 1e-2, 1e-2, 1e-2])
"""... and what keeps each from being made up where tiles are few."""

MAX_PLACES = 4096
"""Surfaces that are solved for at once, which take 400 bytes each."""


def measure_light(
    image: npt.NDArray[np.number], labels: npt.NDArray[np.int32], *, window_px: float
) -> npt.NDArray[np.float32]:
    """Fit the light between nuclei.

    Parameters
    ----------
    image : (y, x) uint8, uint16 or float32
        At least one pixel, without NaN.
    labels : (y, x) int32
        Nuclei as far as they are known, 0 elsewhere.
    window_px : float
        About the diameter of a nucleus; tiles have half of it.

    Returns
    -------
    (n_rows + 2, n_columns + 2) float32
        Values at the tiles' centres, and at those of a frame of tiles around the field.

    References
    ----------
    Local regression on polynomials of the second degree: Cleveland and Devlin 1988, Journal of
    the American Statistical Association 83:596. https://doi.org/10.1080/01621459.1988.10478639
    """
    grow_px = max(round(GROW_WINDOWS * window_px), 1)
    free = ~ndimage.maximum_filter(labels > 0, 2 * grow_px + 1)
    values, parts = _find_medians(image, free, max(int(window_px / 2), 4))
    surface = fit_surface(values, np.where(parts < MIN_FREE, np.float32(0), parts))
    mode = "reflect" if min(surface.shape) > 1 else "edge"
    if mode == "edge":
        return np.pad(surface, 1, mode="edge")
    return np.pad(surface, 1, mode="reflect", reflect_type="odd")


def fit_surface(
    values: npt.NDArray[np.float32], weights: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Fit a polynomial of the second degree around every place of a grid, and give its value there.

    Parameters
    ----------
    values : (rows, columns) float32
    weights : (rows, columns) float32
        How much each value counts, 0 to 1. 0 for a value that is not known.

    Returns
    -------
    (rows, columns) float32
        All 0 if no value is known.
    """
    reach = REACH_TILES
    surface, known = _fit_within(values, weights, reach)
    while (known < LEAST_KNOWN).any() and reach < 2 * max(values.shape):
        reach *= 2
        wider, wider_known = _fit_within(values, weights, reach)
        lacks = known < LEAST_KNOWN
        surface, known = np.where(lacks, wider, surface), np.where(lacks, wider_known, known)
    return surface


def _fit_within(
    values: npt.NDArray[np.float32], weights: npt.NDArray[np.float32], reach: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Fit with Gaussian weights; gives the surface, and how much is known around each place."""
    radius = min(ceil(4 * reach), max(values.shape))
    steps = np.arange(-radius, radius + 1) / reach
    powers = [np.exp(-0.5 * steps**2) * steps**power for power in range(5)]

    def sum_around(plane: npt.NDArray[np.float64], x: int, y: int) -> npt.NDArray[np.float64]:
        along = ndimage.correlate1d(plane, powers[x], axis=1, mode="constant")
        return np.asarray(ndimage.correlate1d(along, powers[y], axis=0, mode="constant")).ravel()

    scale = float(np.abs(values).max()) or 1.0
    known = weights.astype(np.float64)
    moments = {(x, y): sum_around(known, x, y) for x in range(5) for y in range(5 - x)}
    products = np.stack([sum_around(known * values / scale, x, y) for x, y in SLOPES], axis=1)
    surface = np.empty(values.size, np.float32)
    for first in range(0, values.size, MAX_PLACES):
        part = slice(first, first + MAX_PLACES)
        normal = np.empty((products[part].shape[0], len(SLOPES), len(SLOPES)))
        for i, (x, y) in enumerate(SLOPES):
            for j, (other_x, other_y) in enumerate(SLOPES):
                normal[:, i, j] = moments[x + other_x, y + other_y][part]
        ridge = RIDGE * np.maximum(moments[0, 0][part], 1e-3)[:, None]
        normal[:, range(len(SLOPES)), range(len(SLOPES))] += ridge
        surface[part] = scale * np.linalg.solve(normal, products[part][..., None])[:, 0, 0]
    whole = 2 * np.pi * reach**2
    return surface.reshape(values.shape), moments[0, 0].reshape(values.shape) / whole


def measure_noise(image: npt.NDArray[np.number], *, tile_px: int) -> npt.NDArray[np.float32]:
    """Standard deviation of the pixels' noise, tile by tile, and at least that of rounding.

    It is that of second differences over four pixels, which neither slopes nor a sensor's pattern
    of two pixels change; their median leaves out the edges of nuclei.

    Parameters
    ----------
    image : (y, x) uint8, uint16 or float32
        Without NaN.
    tile_px : int
        Least side of a tile; tiles divide the field evenly.

    Returns
    -------
    (n_rows, n_columns) float32
    """
    least = ROUNDING * (float(image.max()) - float(image.min()))
    if np.issubdtype(image.dtype, np.integer):
        least = max(least, 1.0)
    rows = image[::2].astype(np.float32)
    if rows.shape[1] < 5:
        return np.full((1, 1), least, np.float32)
    apart = np.abs(rows[:, :-4] - 2 * rows[:, 2:-2] + rows[:, 4:])
    n_tiles = [max(size // tile_px, 1) for size in image.shape]
    medians, _ = _find_medians_of(apart, np.ones(apart.shape, np.bool_), n_tiles[0], n_tiles[1])
    noise = smooth_gaussian(medians * np.float32(1.4826 / 6**0.5), sigma_px=0.7)
    return np.maximum(noise, np.float32(least))


def keep_steep_objects(
    labels: npt.NDArray[np.int32],
    flat: npt.NDArray[np.float32],
    noise: npt.NDArray[np.float32],
    *,
    window_px: float,
) -> None:
    """Clear the objects that light or noise makes: without a step at their edge.

    Parameters
    ----------
    labels : (y, x) int32
        1 to n, 0 elsewhere; what is left is numbered anew.
    flat : (y, x) float32
        The image without its light.
    noise : (rows, columns) float32
        From `measure_noise`.
    window_px : float
        About the diameter of a nucleus.
    """
    n_objects = int(labels.max())
    if not n_objects:
        return
    step_px = max(round(RING_WINDOWS * window_px), 1)
    ring = ndimage.maximum_filter(labels, 6 * step_px + 1)
    ring[ndimage.maximum_filter(labels, 2 * step_px + 1) > 0] = 0
    is_rim = ~ndimage.minimum_filter(labels > 0, 6 * step_px + 1)
    _, height, y, x = _sum_objects(labels, flat, n_objects)
    n_rim, rim, _, _ = _sum_objects(np.where(is_rim, labels, 0), flat, n_objects)
    n_beside, beside, _, _ = _sum_objects(ring, flat, n_objects)
    # Without room around it nothing is known of an object's step.
    step = np.where((n_rim > 8) & (n_beside > 8), rim - beside, height)
    at = [
        np.minimum((centre * n / size).astype(int), n - 1)
        for centre, n, size in zip((y, x), noise.shape, labels.shape, strict=True)
    ]
    keeps = (step >= LEAST_STEP * height) & (step >= LEAST_DEVIATIONS * noise[at[0], at[1]])
    keeps[0] = False
    number = np.cumsum(keeps, dtype=np.int32)
    number[~keeps] = 0
    np.take(number, labels, out=labels)


@numba.njit(cache=True, nogil=True)
def _sum_objects(
    labels: npt.NDArray[np.int32], values: npt.NDArray[np.float32], n_objects: int
) -> tuple[
    npt.NDArray[np.int64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
]:
    """Area, mean value and centre of every object."""
    area = np.zeros(n_objects + 1, dtype=np.int64)
    total = np.zeros(n_objects + 1, dtype=np.float64)
    ys = np.zeros(n_objects + 1, dtype=np.float64)
    xs = np.zeros(n_objects + 1, dtype=np.float64)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = labels[y, x]
            if label:
                area[label] += 1
                total[label] += values[y, x]
                ys[label] += y
                xs[label] += x
    n = np.maximum(area, 1)
    return area, total / n, ys / n, xs / n


def _find_medians(
    image: npt.NDArray[np.number], free: npt.NDArray[np.bool_], tile_px: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Median of what is free of every tile, and how much of it is; 0 and 0 where nothing is."""
    n_rows, n_columns = (max(size // tile_px, 1) for size in image.shape)
    return _find_medians_of(image, free, n_rows, n_columns)


@numba.njit(cache=True, nogil=True)
def _find_medians_of(
    image: npt.NDArray[np.number], free: npt.NDArray[np.bool_], n_rows: int, n_columns: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Medians of as many tiles."""
    height, width = image.shape
    medians = np.zeros((n_rows, n_columns), dtype=np.float32)
    parts = np.zeros((n_rows, n_columns), dtype=np.float32)
    values = np.empty((height // n_rows + 1) * (width // n_columns + 1), dtype=np.float32)
    for i in range(n_rows):
        for j in range(n_columns):
            n, n_all = 0, 0
            for y in range(i * height // n_rows, (i + 1) * height // n_rows):
                for x in range(j * width // n_columns, (j + 1) * width // n_columns):
                    n_all += 1
                    if free[y, x]:
                        values[n] = image[y, x]
                        n += 1
            if n:
                medians[i, j] = np.median(values[:n])
                parts[i, j] = n / n_all
    return medians, parts
