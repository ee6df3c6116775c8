"""Labels from the maps that the trained network predicts for a field.

Nuclei that touch are one region of foreground, so foreground alone does not tell them apart. Each
has a spot around its centre, and each of its pixels points there: a pixel belongs to the nucleus
in whose spot its way ends (Cheng et al., CVPR 2020, https://doi.org/10.1109/CVPR42600.2020.01249).
"""

import math

import numba
import numpy as np
import numpy.typing as npt

from i2r.kernels.components import find_components, find_root, label_components, paint_components

MAX_STEPS = 4
"""Offsets followed from one pixel: the first one mostly ends in a spot."""

_NEIGHBOURS = ((-1, 0), (0, -1), (0, 1), (1, 0))


def decode_nuclei(
    maps: npt.NDArray[np.float32],
    *,
    min_foreground: float = 0.5,
    min_centre: float = 0.5,
    min_dip: float = 0.25,
    min_area_px: float = 24.0,
    max_hole_area_px: float = 200.0,
) -> npt.NDArray[np.int32]:
    """Label the nuclei of a field from its predicted maps.

    Parameters
    ----------
    maps : (4, y, x) float32
        Foreground and centre as logits, and the offset from
        each pixel to its nucleus' centre in pixels, along y and along x. Offsets outside the
        foreground are not looked at.
    min_foreground, min_centre : float
        Pixels of nuclei, and of the spots around their centres, are more probable than this;
        between 0 and 1.
    min_dip : float
        Two maxima of one spot are two centres if the way between them leads so far below the
        lower one, in logits.
    min_area_px : float
        Smaller objects are removed.
    max_hole_area_px : float
        Holes up to this area are filled.

    Returns
    -------
    (y, x) int32
        1 to n in raster order of the first pixel of each nucleus, 0 for background. Each nucleus
        is connected. Foreground without any centre is debris or haze, and no nucleus: on fields
        that were not trained on, that is more often right than wrong.

    Raises
    ------
    ValueError
        If there are not four maps.
    """
    if maps.ndim != 3 or maps.shape[0] != 4:
        raise ValueError(f"decode nuclei: maps are {maps.shape}, expected (4, y, x).")
    labels = np.zeros(maps.shape[1:], dtype=np.int32)
    if labels.size == 0:
        return labels
    foreground = maps[0] > math.log(min_foreground / (1 - min_foreground))
    regions = label_components(foreground)
    is_centre = (maps[1] > math.log(min_centre / (1 - min_centre))) & foreground
    spots = part_spots(maps[1], is_centre, min_dip=min_dip)
    _follow_offsets(maps[2], maps[3], regions, spots, labels)
    _flood_regions(regions, labels)
    keep_largest_parts(labels)
    components = find_components(labels, max_hole_area_px=max_hole_area_px)
    labels[:] = 0
    paint_components(components, labels, float(min_area_px))
    return labels


def part_spots(
    centre: npt.NDArray[np.float32], is_spot: npt.NDArray[np.bool_], *, min_dip: float
) -> npt.NDArray[np.int32]:
    """Number connected spots; one with several clear maxima is cut between them.

    Parameters
    ----------
    centre : (y, x) float32
        How much each pixel is a centre.
    is_spot : (y, x) bool
        Pixels of spots; neighbours are above, below and beside a pixel.
    min_dip : float
        Of two maxima the lower one is clear if every way between them within the spot leads at
        least so far below it: its persistence (Edelsbrunner et al. 2002,
        https://doi.org/10.1007/s00454-002-2885-2).

    Returns
    -------
    (y, x) int32
        1 to n, 0 outside spots.
    """
    spots = np.zeros(is_spot.shape, dtype=np.int32)
    pixels = np.flatnonzero(is_spot)
    downwards = pixels[np.argsort(-centre.ravel()[pixels], kind="stable")]
    _join_maxima(centre, downwards, min_dip, spots)
    return spots


def keep_largest_parts(labels: npt.NDArray[np.int32]) -> None:
    """Clear all but the largest connected part of each label, in place.

    Of parts of equal size the first in raster order stays.
    """
    parts = label_components(labels).ravel()
    areas = np.bincount(parts)
    label_of = np.zeros(areas.size, dtype=np.int64)
    label_of[parts] = labels.ravel()
    order = np.lexsort((np.arange(areas.size), -areas, label_of))
    leads = np.ones(areas.size, dtype=bool)
    leads[1:] = label_of[order[1:]] != label_of[order[:-1]]
    keep = np.zeros(areas.size, dtype=bool)
    keep[order] = leads
    labels[~keep[parts].reshape(labels.shape)] = 0


@numba.njit(cache=True, nogil=True)
def _join_maxima(
    centre: npt.NDArray[np.float32],
    downwards: npt.NDArray[np.int64],
    min_dip: float,
    spots: npt.NDArray[np.int32],
) -> None:
    """Let spots grow from their maxima down; where two meet, a lower one that is no clear one ends.

    Pixels come from the highest to the lowest, each joins its highest neighbour.
    """
    height, width = centre.shape
    joined = np.zeros(downwards.size + 1, dtype=np.int32)  # the spot that a spot became part of
    tops = np.zeros(downwards.size + 1, dtype=np.float64)
    n = 0
    for pixel in downwards:
        y, x = pixel // width, pixel % width
        uphill = 0
        value = -np.inf
        for dy, dx in _NEIGHBOURS:
            near_y, near_x = y + dy, x + dx
            if 0 <= near_y < height and 0 <= near_x < width:  # noqa: SIM102 # numba: no short circuit
                if spots[near_y, near_x] > 0 and centre[near_y, near_x] > value:
                    uphill, value = spots[near_y, near_x], centre[near_y, near_x]
        if uphill == 0:
            n += 1
            uphill = joined[n] = n
            tops[n] = centre[y, x]
        spots[y, x] = uphill
        for dy, dx in _NEIGHBOURS:
            near_y, near_x = y + dy, x + dx
            if 0 <= near_y < height and 0 <= near_x < width and spots[near_y, near_x] > 0:
                a, b = find_root(joined, uphill), find_root(joined, spots[near_y, near_x])
                if a != b:
                    high, low = (a, b) if tops[a] >= tops[b] else (b, a)
                    if tops[low] - centre[y, x] < min_dip:
                        joined[low] = high
    number = np.zeros(n + 1, dtype=np.int32)
    left = 0
    for spot in range(1, n + 1):
        if joined[spot] == spot:
            left += 1
            number[spot] = left
    for pixel in downwards:
        y, x = pixel // width, pixel % width
        spots[y, x] = number[find_root(joined, spots[y, x])]


@numba.njit(cache=True, nogil=True)
def _follow_offsets(
    offset_y: npt.NDArray[np.float32],
    offset_x: npt.NDArray[np.float32],
    regions: npt.NDArray[np.int32],
    spots: npt.NDArray[np.int32],
    labels: npt.NDArray[np.int32],
) -> None:
    """Give each foreground pixel the spot that its offsets lead to, inside its own region."""
    height, width = regions.shape
    for y0 in range(height):
        for x0 in range(width):
            if regions[y0, x0] == 0:
                continue
            y, x = y0, x0
            at_y, at_x = np.float64(y0), np.float64(x0)
            steps = 0
            while spots[y, x] == 0 and steps < MAX_STEPS:
                at_y += offset_y[y, x]
                at_x += offset_x[y, x]
                at_y = min(max(at_y, 0.0), height - 1.0)
                at_x = min(max(at_x, 0.0), width - 1.0)
                y, x = round(at_y), round(at_x)
                steps += 1
            if regions[y, x] == regions[y0, x0]:
                labels[y0, x0] = spots[y, x]


@numba.njit(cache=True, nogil=True)
def _flood_regions(regions: npt.NDArray[np.int32], labels: npt.NDArray[np.int32]) -> None:
    """Label what is left of each region from its labelled pixels, ring by ring."""
    height, width = labels.shape
    n_open = 0
    for y in range(height):
        for x in range(width):
            n_open += regions[y, x] > 0 and labels[y, x] == 0
    ring_y = np.empty(n_open, dtype=np.int32)
    ring_x = np.empty(n_open, dtype=np.int32)
    found = np.empty(n_open, dtype=np.int32)
    end = 0
    for y in range(height):
        for x in range(width):
            is_open = regions[y, x] > 0 and labels[y, x] == 0
            if is_open and _find_label(y, x, regions, labels) > 0:
                ring_y[end], ring_x[end] = y, x
                end += 1
    start = 0
    while start < end:
        for i in range(start, end):
            found[i] = _find_label(ring_y[i], ring_x[i], regions, labels)
        for i in range(start, end):
            labels[ring_y[i], ring_x[i]] = found[i]
        before, start = start, end
        for i in range(before, start):
            for dy, dx in _NEIGHBOURS:
                y, x = ring_y[i] + dy, ring_x[i] + dx
                inside = 0 <= y < height and 0 <= x < width
                if inside and labels[y, x] == 0 and regions[y, x] > 0:
                    labels[y, x] = -1  # waits in the next ring
                    ring_y[end], ring_x[end] = y, x
                    end += 1


@numba.njit(cache=True, nogil=True)
def _find_label(
    y: int, x: int, regions: npt.NDArray[np.int32], labels: npt.NDArray[np.int32]
) -> int:
    """Label of the first labelled neighbour in the same region, 0 for none."""
    height, width = labels.shape
    for dy, dx in _NEIGHBOURS:
        near_y, near_x = y + dy, x + dx
        if 0 <= near_y < height and 0 <= near_x < width:  # noqa: SIM102 # numba: no short circuit
            if labels[near_y, near_x] > 0 and regions[near_y, near_x] == regions[y, x]:
                return labels[near_y, near_x]
    return 0
