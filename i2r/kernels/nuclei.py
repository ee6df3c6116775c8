"""Size, shape and intensity of every nucleus of a field, in one pass over its pixels."""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from i2r.kernels.hulls import count_hull_pixels


def measure_nuclei(
    labels: npt.NDArray[np.integer], image: npt.NDArray[np.number]
) -> dict[str, npt.NDArray[Any]]:
    """Measure every labelled nucleus.

    The label image is read once, as runs of equal labels; every sum over pixels is taken over
    runs. Values equal those of scikit-image's ``regionprops_table``.

    Parameters
    ----------
    labels : (y, x) integer
        0 is background, every other value one nucleus. Labels may have gaps and be large; a
        nucleus may consist of several parts.
    image : (c, y, x) uint8, uint16, float32 or another real type
        The channels of the same field; no channels are allowed.

    Returns
    -------
    dict of str to array
        All arrays have the length of the number of nuclei, which may be 0, and are ordered by
        label.

        ``label`` int64; ``area_px`` int64; ``bbox_y0, bbox_x0, bbox_y1, bbox_x1`` int64, half
        open; ``centroid_y_px, centroid_x_px`` float64, the centre of the first pixel is 0;
        ``major_axis_px, minor_axis_px`` float64, full axes of the ellipse with the same second
        moments, 0 for a single pixel; ``eccentricity`` float64 of that ellipse, 0 for a circle
        and for a single pixel; ``solidity`` float64, area over the pixels in the convex hull
        (`count_hull_pixels`); ``touches_border`` bool, the bounding box reaches the border of
        the field; ``intensity_mean``, ``intensity_min``, ``intensity_max``, ``intensity_std``
        float64 of shape (n, c), the last with denominator n. A pixel that is NaN or infinite makes
        its nucleus's four intensities of that channel NaN.

    Raises
    ------
    ValueError
        If the shapes do not fit, the labels are not integers or one is negative.
    """
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 2:
        raise ValueError(
            f"measure nuclei: labels are {labels.dtype} of shape {labels.shape}, "
            "expected integers (y, x)."
        )
    if image.ndim != 3 or image.shape[1:] != labels.shape:
        raise ValueError(
            f"measure nuclei: image is {image.shape}, expected (c, y, x) with "
            f"(y, x) = {labels.shape} like the labels."
        )
    if labels.dtype != np.int32:
        labels = labels.astype(np.int64)  # two compiled versions instead of eight
    run_label, run_y, run_x0, run_x1 = _find_label_runs(np.ascontiguousarray(labels))
    largest = int(run_label.max(initial=0))
    if int(run_label.min(initial=0)) < 0:
        raise ValueError(
            f"measure nuclei: labels hold {run_label.min()}, expected 0 for background and "
            "positive numbers for nuclei."
        )
    if largest <= labels.size:
        present = np.zeros(largest + 1, dtype=np.bool_)
        present[run_label] = True
        ids = np.flatnonzero(present)
        run_nucleus = (np.cumsum(present) - 1)[run_label]
    else:
        ids, run_nucleus = np.unique(run_label, return_inverse=True)
    shape, solidity = _measure_shapes(ids.size, run_nucleus, run_y, run_x0, run_x1)
    intensity = _measure_intensities(
        np.ascontiguousarray(image), ids.size, run_nucleus, run_y, run_x0, run_x1
    )
    area, y0, x0, y1, x1, sum_y, sum_x, sum_yy, sum_xx, sum_xy = shape
    return (
        {
            "label": ids.astype(np.int64),
            "area_px": area,
            "bbox_y0": y0,
            "bbox_x0": x0,
            "bbox_y1": y1,
            "bbox_x1": x1,
        }
        | _derive_ellipse(area, y0, x0, sum_y, sum_x, sum_yy, sum_xx, sum_xy)
        | {
            "solidity": solidity,
            "touches_border": (y0 == 0)
            | (x0 == 0)
            | (y1 == labels.shape[0])
            | (x1 == labels.shape[1]),
        }
        | _derive_intensities(area, intensity)
    )


@numba.njit(cache=True, nogil=True)
def _find_label_runs(
    labels: npt.NDArray[np.integer],
) -> tuple[
    npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]
]:
    """Label, row and half-open range of columns of each stretch of one label in a row.

    Most pixels equal the one before. They are compared a whole row at a time, which the compiler
    vectorises, and passed over eight at a time.
    """
    height, width = labels.shape
    capacity = 4 * height + width
    ids = np.empty(capacity, dtype=np.int64)
    runs = np.empty((3, capacity), dtype=np.int32)
    differs = np.zeros((width + 7) // 8 * 8, dtype=np.uint8)
    eights = differs.view(np.int64)
    n = 0
    for y in range(height):
        row = labels[y]
        if n + width > ids.size:
            more_ids = np.empty(2 * ids.size + width, dtype=np.int64)
            more_runs = np.empty((3, more_ids.size), dtype=np.int32)
            for k in range(n):
                more_ids[k] = ids[k]
                more_runs[0, k], more_runs[1, k], more_runs[2, k] = (
                    runs[0, k],
                    runs[1, k],
                    runs[2, k],
                )
            ids, runs = more_ids, more_runs
        before, after, target = row[: width - 1], row[1:], differs[1:width]
        for k in range(after.size):
            target[k] = before[k] != after[k]
        if width:
            differs[0] = row[0] != 0
        current = row[0] * 0 if width else 0
        for eight in range(eights.size):
            if eights[eight] == 0:
                continue
            for x in range(8 * eight, 8 * eight + 8):
                if differs[x]:
                    if current != 0:
                        runs[2, n - 1] = x
                    current = row[x]
                    if current != 0:
                        ids[n] = current
                        runs[0, n], runs[1, n], runs[2, n] = y, x, width
                        n += 1
    return ids[:n], runs[0, :n], runs[1, :n], runs[2, :n]


@numba.njit(cache=True, nogil=True)
def _measure_shapes(
    n: int,
    run_nucleus: npt.NDArray[np.int64],
    run_y: npt.NDArray[np.int32],
    run_x0: npt.NDArray[np.int32],
    run_x1: npt.NDArray[np.int32],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Area, bounding box, first and second moments about the box's corner, and solidity."""
    shape = np.zeros((10, n), dtype=np.int64)
    shape[1:3] = np.int64(1) << 40
    n_runs = np.zeros(n + 1, dtype=np.int64)
    for run in range(run_nucleus.size):
        i = run_nucleus[run]
        n_runs[i + 1] += 1
        shape[0, i] += run_x1[run] - run_x0[run]
        shape[1, i] = min(shape[1, i], run_y[run])
        shape[2, i] = min(shape[2, i], run_x0[run])
        shape[3, i] = max(shape[3, i], run_y[run] + 1)
        shape[4, i] = max(shape[4, i], run_x1[run])
    place = np.cumsum(n_runs)
    first = place.copy()
    order = np.empty(run_nucleus.size, dtype=np.int64)
    for run in range(run_nucleus.size):
        i = run_nucleus[run]
        order[place[i]] = run
        place[i] += 1
        y = np.int64(run_y[run]) - shape[1, i]
        a, b = run_x0[run] - shape[2, i], run_x1[run] - shape[2, i]
        # sums of x and of x squared over a <= x < b
        sum_x = (b * (b - 1) - a * (a - 1)) // 2
        sum_xx = ((b - 1) * b * (2 * b - 1) - (a - 1) * a * (2 * a - 1)) // 6
        shape[5, i] += y * (b - a)
        shape[6, i] += sum_x
        shape[7, i] += y * y * (b - a)
        shape[8, i] += sum_xx
        shape[9, i] += y * sum_x
    solidity = np.empty(n, dtype=np.float64)
    for i in range(n):
        runs = order[first[i] : first[i + 1]]
        hull_area = count_hull_pixels(run_y[runs], run_x0[runs], run_x1[runs])
        solidity[i] = shape[0, i] / hull_area
    return shape, solidity


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _measure_intensities(
    image: npt.NDArray[np.number],
    n: int,
    run_nucleus: npt.NDArray[np.int64],
    run_y: npt.NDArray[np.int32],
    run_x0: npt.NDArray[np.int32],
    run_x1: npt.NDArray[np.int32],
) -> npt.NDArray[np.float64]:
    """Sum, smallest, largest value and sum of squares, (4, n, c).

    Squares are taken of the difference to the nucleus's first pixel, so that a bright but even
    nucleus keeps its small standard deviation.
    """
    n_channels = image.shape[0]
    out = np.zeros((5, n, n_channels), dtype=np.float64)
    for c in range(n_channels):
        plane = image[c]
        started = np.zeros(n, dtype=np.bool_)
        for run in range(run_nucleus.size):
            i = run_nucleus[run]
            row = plane[run_y[run], run_x0[run] : run_x1[run]]
            if not started[i]:
                started[i] = True
                out[4, i, c] = row[0]
                out[1, i, c] = row[0]
                out[2, i, c] = row[0]
            origin = out[4, i, c]
            total = 0.0
            squares = 0.0
            low = row[0]
            high = row[0]
            for x in range(row.size):
                difference = np.float64(row[x]) - origin
                total += difference
                squares += difference * difference
                low = min(low, row[x])
                high = max(high, row[x])
            out[0, i, c] += total
            out[1, i, c] = min(out[1, i, c], np.float64(low))
            out[2, i, c] = max(out[2, i, c], np.float64(high))
            out[3, i, c] += squares
    return out


def _derive_ellipse(
    area: npt.NDArray[np.int64],
    y0: npt.NDArray[np.int64],
    x0: npt.NDArray[np.int64],
    sum_y: npt.NDArray[np.int64],
    sum_x: npt.NDArray[np.int64],
    sum_yy: npt.NDArray[np.int64],
    sum_xx: npt.NDArray[np.int64],
    sum_xy: npt.NDArray[np.int64],
) -> dict[str, npt.NDArray[np.float64]]:
    """Centroid and the ellipse of equal second moments."""
    mean_y, mean_x = sum_y / area, sum_x / area
    var_y = sum_yy / area - mean_y**2
    var_x = sum_xx / area - mean_x**2
    cov = sum_xy / area - mean_x * mean_y
    spread = np.sqrt(4 * cov**2 + (var_y - var_x) ** 2)
    large = np.maximum((var_y + var_x + spread) / 2, 0)
    # Rounding leaves about 1e-13 instead of 0 for straight lines.
    small = (var_y + var_x - spread) / 2
    small = np.where(small > 1e-12 * large, small, 0.0)
    ratio = np.ones(area.size)
    np.divide(small, large, out=ratio, where=large > 0)
    return {
        "centroid_y_px": y0 + mean_y,
        "centroid_x_px": x0 + mean_x,
        "major_axis_px": 4 * np.sqrt(large),
        "minor_axis_px": 4 * np.sqrt(small),
        "eccentricity": np.sqrt(1 - ratio),
    }


def _derive_intensities(
    area: npt.NDArray[np.int64], sums: npt.NDArray[np.float64]
) -> dict[str, npt.NDArray[np.float64]]:
    """Mean, minimum, maximum and standard deviation, NaN where a pixel is not finite."""
    total, low, high, squares, origin = sums
    n = area[:, None]
    mean = total / n
    with np.errstate(invalid="ignore"):
        spread = np.sqrt(np.maximum(squares / n - mean**2, 0))
    known = np.isfinite(mean)
    return {
        "intensity_mean": np.where(known, origin + mean, np.nan),
        "intensity_min": np.where(known, low, np.nan),
        "intensity_max": np.where(known, high, np.nan),
        "intensity_std": np.where(known, spread, np.nan),
    }
