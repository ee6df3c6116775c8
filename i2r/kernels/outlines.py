"""Shape of every nucleus from its outline: perimeter, callipers, curvature of the boundary."""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from i2r.kernels.checks import check_listed
from i2r.kernels.hulls import find_hull_polygon, find_hull_rows

OUTLINE_COLUMNS = (
    "perimeter_px",
    "form_factor",
    "calliper_max_px",
    "calliper_min_px",
    "calliper_ratio",
    "radius_mean_px",
    "radius_cv",
    "curvature_mean_per_px",
    "curvature_std_per_px",
    "curvature_max_per_px",
    "curvature_min_per_px",
    "curvature_convex_per_px",
    "curvature_concave_per_px",
    "concave_fraction",
    "curvature_sign_changes",
    "bending_energy",
    "touching_fraction",
)
"""Columns in the order of `measure_outlines`."""


def measure_outlines(
    labels: npt.NDArray[np.integer],
    *,
    label_ids: npt.NDArray[np.integer],
    bbox: npt.NDArray[np.integer],
    curvature_step_px: float = 5.0,
) -> dict[str, npt.NDArray[Any]]:
    """Measure the outlines of nuclei.

    The outline runs through the midpoints of the pixel sides between the nucleus and what is not
    the nucleus: the contour at half height (marching squares). Where there are several (parts,
    holes) it is the longest. For the curvature it is cut into steps of about one pixel, and the
    curvature at a place is that of the circle through it and the places `curvature_step_px`
    before and after: positive where the nucleus is convex, negative in dents.

    Parameters
    ----------
    labels : (y, x) integer
        Label image of a field.
    label_ids : (n,) integer
        Labels of the nuclei to measure.
    bbox : (n, 4) integer
        Their bounding boxes: y0, x0, y1, x1, half open, inside the field.
    curvature_step_px : float
        Distance along the outline; at most a quarter of the outline is taken. Published: 5 at
        0.656 um per pixel. Shorter steps see the pixels' staircase.

    Returns
    -------
    dict of str to (n,) float64
        All finite, also for a single pixel.

        ``perimeter_px``: length of the border pixels' chain, with diagonal steps (Benkrid and
        Crookes), equal to scikit-image's ``perimeter``; ``form_factor``: 4 pi area / perimeter
        squared, 1 for a disk, 0 where the perimeter is 0; ``calliper_max_px``: greatest distance
        between two parallel lines that touch the convex hull, equal to scikit-image's
        ``feret_diameter_max``; ``calliper_min_px``: least such distance; ``calliper_ratio``:
        least over greatest; ``radius_mean_px``: mean distance of the outline to the centroid;
        ``radius_cv``: its standard deviation over its mean; ``curvature_mean_per_px``,
        ``_std_``, ``_max_``, ``_min_``: of the signed curvature along the outline;
        ``curvature_convex_per_px``, ``curvature_concave_per_px``: mean over the places where it
        is positive, and negative, 0 where there are none; ``concave_fraction``: part of the
        outline with negative curvature; ``curvature_sign_changes``: how often it changes sign;
        ``bending_energy``: integral of the squared curvature along the outline times its length,
        (2 pi) squared for a circle of any size; ``touching_fraction``: part of the pixel sides
        of the outline with another nucleus beyond them.

    Raises
    ------
    ValueError
        If the step is not positive, or a bounding box is empty or outside the field.

    References
    ----------
    Boundary curvature and callipers as features of nuclei: Venkatachalapathy et al. 2020,
    Molecular Biology of the Cell 31:1599, https://doi.org/10.1091/mbc.E19-08-0420. Perimeter:
    Benkrid and Crookes 2000, Design and FPGA implementation of a perimeter estimator.
    Bending energy: Young et al. 1974, Information and Control 25:357,
    https://doi.org/10.1016/S0019-9958(74)91038-9.
    """
    if curvature_step_px <= 0:
        raise ValueError(f"outlines: the step is {curvature_step_px} px, expected more than 0.")
    measured = _measure_outlines(
        *check_listed(labels, label_ids, bbox),
        float(curvature_step_px),
    )
    return dict(zip(OUTLINE_COLUMNS, measured.T, strict=True))


@numba.njit(cache=True, nogil=True)
def _measure_outlines(
    labels: npt.NDArray[np.integer],
    label_ids: npt.NDArray[np.int64],
    bbox: npt.NDArray[np.int64],
    step_px: float,
) -> npt.NDArray[np.float64]:
    """Values of `OUTLINE_COLUMNS` for every nucleus."""
    out = np.zeros((label_ids.size, 17), dtype=np.float64)
    for i in range(label_ids.size):
        y0, x0, y1, x1 = bbox[i]
        # One pixel around the nucleus, so that no step leads out of the mask.
        mask = np.zeros((y1 - y0 + 2, x1 - x0 + 2), dtype=np.bool_)
        area = 0
        sum_y = sum_x = 0
        for y in range(y0, y1):
            for x in range(x0, x1):
                if labels[y, x] == label_ids[i]:
                    mask[y - y0 + 1, x - x0 + 1] = True
                    area += 1
                    sum_y += y - y0 + 1
                    sum_x += x - x0 + 1
        if area == 0:
            continue
        row = out[i]
        row[0] = _measure_perimeter(mask)
        row[1] = 4 * np.pi * area / row[0] ** 2 if row[0] > 0 else 0.0
        row[2], row[3] = _measure_callipers(mask)
        row[4] = row[3] / row[2]
        sides = _trace_outline(mask)
        touching = 0
        for k in range(sides.shape[0]):
            y, x = y0 - 1 + sides[k, 2], x0 - 1 + sides[k, 3]
            inside = 0 <= y < labels.shape[0] and 0 <= x < labels.shape[1]
            touching += int(inside and labels[y, x] > 0)
        places = _resample_outline(sides[:, :2] / 2)
        _measure_curvature(places, sum_y / area, sum_x / area, step_px, row[5:16])
        row[16] = touching / sides.shape[0]
    return out


@numba.njit(cache=True, nogil=True)
def _measure_perimeter(mask: npt.NDArray[np.bool_]) -> float:
    """Weigh each border pixel by how its border neighbours lie around it."""
    height, width = mask.shape
    border = np.zeros((height, width), dtype=np.int64)
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            inner = mask[y - 1, x] and mask[y + 1, x] and mask[y, x - 1] and mask[y, x + 1]
            border[y, x] = int(mask[y, x] and not inner)
    total = 0.0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            if border[y, x] == 0:
                continue
            beside = border[y - 1, x] + border[y + 1, x] + border[y, x - 1] + border[y, x + 1]
            across = (
                border[y - 1, x - 1]
                + border[y - 1, x + 1]
                + border[y + 1, x - 1]
                + border[y + 1, x + 1]
            )
            code = 1 + 2 * beside + 10 * across
            if code in (5, 7, 15, 17, 25, 27):
                total += 1.0
            elif code in (21, 33):
                total += np.sqrt(2.0)
            elif code in (13, 23):
                total += (1 + np.sqrt(2.0)) / 2
    return total


@numba.njit(cache=True, nogil=True)
def _measure_callipers(mask: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Greatest and least distance of parallel lines that touch the hull's pixels."""
    height, width = mask.shape
    rows = np.empty(height, dtype=np.int32)
    starts = np.empty(height, dtype=np.int32)
    ends = np.empty(height, dtype=np.int32)
    n = 0
    for y in range(height):
        first, last = width, -1
        for x in range(width):
            if mask[y, x]:
                first = min(first, x)
                last = x
        if last >= 0:
            rows[n], starts[n], ends[n] = y, first, last + 1
            n += 1
    leftmost, rightmost = find_hull_rows(rows[:n], starts[:n], ends[:n])
    all_rows = (rows[0] + np.arange(leftmost.size)).astype(np.int32)
    corners = find_hull_polygon(
        all_rows, leftmost.astype(np.int32), (rightmost + 1).astype(np.int32)
    )
    greatest = 0.0
    least = np.inf
    for a in range(corners.shape[0]):
        b = (a + 1) % corners.shape[0]
        edge_y, edge_x = corners[b, 0] - corners[a, 0], corners[b, 1] - corners[a, 1]
        length = np.hypot(edge_y, edge_x)
        farthest = 0.0
        for c in range(corners.shape[0]):
            dy, dx = corners[c, 0] - corners[a, 0], corners[c, 1] - corners[a, 1]
            greatest = max(greatest, np.hypot(dy, dx))
            farthest = max(farthest, abs(edge_y * dx - edge_x * dy) / length)
        least = min(least, farthest)
    return greatest, least


@numba.njit(cache=True, nogil=True)
def _trace_outline(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Follow the sides of the longest outline, the nucleus on the right hand.

    Returns y and x of each side's midpoint, doubled, and of the pixel beyond it.
    """
    height, width = mask.shape
    seen = np.zeros(mask.shape, dtype=np.bool_)  # upper sides only: every outline has one
    best = np.zeros((0, 4), dtype=np.int64)
    step_y, step_x = np.array([0, 1, 0, -1]), np.array([1, 0, -1, 0])
    for first_y in range(1, height - 1):
        for first_x in range(1, width - 1):
            starts = mask[first_y, first_x] and not mask[first_y - 1, first_x]
            if not starts or seen[first_y, first_x]:
                continue
            sides = np.empty((64, 4), dtype=np.int64)
            n = 0
            y, x, direction = first_y, first_x, 0  # a corner of pixels, and where to go
            while n == 0 or y != first_y or x != first_x or direction != 0:
                dy, dx = step_y[direction], step_x[direction]
                # The pixels on both hands of the side from this corner to the next.
                right_y = y + min(dy, 0) - int(direction == 2)
                right_x = x + min(dx, 0) - int(direction == 1)
                left_y = y + min(dy, 0) - int(direction == 0)
                left_x = x + min(dx, 0) - int(direction == 3)
                if direction == 0:
                    seen[right_y, right_x] = True
                if n == sides.shape[0]:
                    longer = np.empty((2 * n, 4), dtype=np.int64)
                    for k in range(n):
                        for part in range(4):
                            longer[k, part] = sides[k, part]
                    sides = longer
                sides[n, 0], sides[n, 1] = 2 * y - 1 + dy, 2 * x - 1 + dx
                sides[n, 2], sides[n, 3] = left_y, left_x
                n += 1
                y, x = y + dy, x + dx
                if not mask[right_y + dy, right_x + dx]:
                    direction = (direction + 1) % 4
                elif mask[left_y + dy, left_x + dx]:
                    direction = (direction + 3) % 4
            if n > best.shape[0]:
                best = sides[:n].copy()
    return best


@numba.njit(cache=True, nogil=True)
def _resample_outline(outline: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Places along a closed outline, a pixel apart or a little more or less, at least eight."""
    n = outline.shape[0]
    length = np.empty(n + 1, dtype=np.float64)
    length[0] = 0.0
    for k in range(n):
        after = outline[(k + 1) % n]
        length[k + 1] = length[k] + np.hypot(after[0] - outline[k, 0], after[1] - outline[k, 1])
    n_places = max(8, round(float(length[n])))
    places = np.empty((n_places, 2), dtype=np.float64)
    k = 0
    for place in range(n_places):
        at = place * length[n] / n_places
        while length[k + 1] <= at:
            k += 1
        part = (at - length[k]) / (length[k + 1] - length[k])
        after = outline[(k + 1) % n]
        places[place, 0] = outline[k, 0] + part * (after[0] - outline[k, 0])
        places[place, 1] = outline[k, 1] + part * (after[1] - outline[k, 1])
    return places


@numba.njit(cache=True, nogil=True)
def _measure_curvature(
    places: npt.NDArray[np.float64],
    centre_y: float,
    centre_x: float,
    step_px: float,
    out: npt.NDArray[np.float64],
) -> None:
    """Values of `OUTLINE_COLUMNS` from ``radius_mean_px`` to ``bending_energy``."""
    n = places.shape[0]
    radius = np.hypot(places[:, 0] - centre_y, places[:, 1] - centre_x)
    spacing = 0.0
    for k in range(n):
        after = places[(k + 1) % n]
        spacing += np.hypot(after[0] - places[k, 0], after[1] - places[k, 1]) / n
    reach = min(max(1, round(step_px / spacing)), n // 4)
    curvature = np.zeros(n, dtype=np.float64)
    for k in range(n):
        a, b, c = places[k - reach], places[k], places[(k + reach) % n]
        cross = (b[1] - a[1]) * (c[0] - b[0]) - (b[0] - a[0]) * (c[1] - b[1])
        sides = (
            np.hypot(b[0] - a[0], b[1] - a[1])
            * np.hypot(c[0] - b[0], c[1] - b[1])
            * np.hypot(c[0] - a[0], c[1] - a[1])
        )
        if sides > 0:
            curvature[k] = 2 * cross / sides
    n_convex = n_concave = changes = 0
    convex = concave = 0.0
    sign = 0
    for k in range(2 * n):  # the first round finds the sign before the first place
        value = curvature[k % n]
        own = int(value > 1e-9) - int(value < -1e-9)
        if k >= n:
            n_convex += int(own > 0)
            n_concave += int(own < 0)
            convex += value if own > 0 else 0.0
            concave += value if own < 0 else 0.0
            changes += int(own != 0 and own == -sign)
        if own != 0:
            sign = own
    out[0] = radius.mean()
    out[1] = radius.std() / out[0] if out[0] > 0 else 0.0
    out[2], out[3] = curvature.mean(), curvature.std()
    out[4], out[5] = curvature.max(), curvature.min()
    out[6] = convex / n_convex if n_convex else 0.0
    out[7] = concave / n_concave if n_concave else 0.0
    out[8] = n_concave / n
    out[9] = changes
    out[10] = (curvature**2).mean() * (n * spacing) ** 2
