"""Large fields in overlapping tiles: where to cut, and how to put labels together again."""

import math
from itertools import pairwise
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

TOLERANCE_PX = 4.0
"""Centres of nuclei this far beyond a tile's core still count as its own."""


class Tile(NamedTuple):
    """A part of a field: its core, which no other tile shares, and a margin around it.

    Attributes
    ----------
    core, outer : (y0, x0, y1, x1) int
        Half-open boxes in the field. The outer box has at least the margin on every side where
        the field goes on, and is as large as that of every other tile.
    """

    core: tuple[int, int, int, int]
    outer: tuple[int, int, int, int]


def plan_tiles(
    shape: tuple[int, int], *, max_side_px: int = 1280, margin_px: int = 96
) -> list[Tile]:
    """Cut a field into tiles of equal size, which a GPU can take together.

    Parameters
    ----------
    shape : (y, x)
        Of the field.
    max_side_px : int
        No outer box has a longer side; fields up to this size are one tile.
    margin_px : int
        Should be larger than a nucleus: those at the seam have to be whole in a tile.

    Returns
    -------
    list of Tile
        Row by row; the cores cover every pixel once. Empty for an empty field.

    Raises
    ------
    ValueError
        If the margins leave no core.
    """
    if max_side_px <= 2 * margin_px:
        raise ValueError(f"tiles of {max_side_px} px with margins of {margin_px} px have no core.")
    rows, columns = (_plan_axis(length, max_side_px, margin_px) for length in shape)
    return [
        Tile((core_y[0], core_x[0], core_y[1], core_x[1]), (y[0], x[0], y[1], x[1]))
        for core_y, y in rows
        for core_x, x in columns
    ]


def _plan_axis(
    length: int, max_side_px: int, margin_px: int
) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Cut one axis: half-open cores, and around each a part of the same length for all."""
    if length <= max_side_px:
        return [((0, length), (0, length))] if length else []
    n = math.ceil(length / (max_side_px - 2 * margin_px))
    side = min(math.ceil(length / n) + 2 * margin_px, length)
    parts = []
    for start, end in pairwise(length * i // n for i in range(n + 1)):
        first = min(max(start - margin_px, 0), length - side)
        parts.append(((start, end), (first, first + side)))
    return parts


def paste_tile(
    canvas: npt.NDArray[np.int32],
    labels: npt.NDArray[np.int32],
    tile: Tile,
    *,
    n_before: int,
) -> int:
    """Put the nuclei whose centres are in a tile's core into the labels of the whole field.

    Two tiles may see the centre of a nucleus at a seam a little apart. So a nucleus counts as
    inside up to `TOLERANCE_PX` beyond the core, and is left out if more than half of it is there
    already; of a smaller overlap the first tile keeps the pixels.

    Parameters
    ----------
    canvas : (y, x) int32
        Labels of the field so far, changed in place.
    labels : (tile y, tile x) int32
        Labels of the tile's outer box, 1 to n.
    tile : Tile
        Where the labels belong.
    n_before : int
        Labels used in the canvas so far.

    Returns
    -------
    int
        Labels used in the canvas now.
    """
    y0, x0, y1, x1 = tile.outer
    core = np.array(tile.core, dtype=np.float64) - (y0, x0, y0, x0)
    core += (-TOLERANCE_PX, -TOLERANCE_PX, TOLERANCE_PX, TOLERANCE_PX)
    return n_before + _paste(canvas[y0:y1, x0:x1], labels, core, n_before)


@numba.njit(cache=True, nogil=True)
def _paste(
    canvas: npt.NDArray[np.int32],
    labels: npt.NDArray[np.int32],
    core: npt.NDArray[np.float64],
    n_before: int,
) -> int:
    """Paste into a view of the canvas; returns how many nuclei."""
    height, width = labels.shape
    n_labels = labels.max() + 1
    sums = np.zeros((n_labels, 4), dtype=np.float64)  # pixels, y, x, pixels that are taken
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if label > 0:
                sums[label, 0] += 1
                sums[label, 1] += y + 0.5
                sums[label, 2] += x + 0.5
                sums[label, 3] += canvas[y, x] > 0
    number = np.zeros(n_labels, dtype=np.int32)
    n_pasted = 0
    for label in range(1, n_labels):
        area, y, x, taken = sums[label]
        if area == 0 or taken > area / 2:
            continue
        if core[0] <= y / area <= core[2] and core[1] <= x / area <= core[3]:
            n_pasted += 1
            number[label] = n_before + n_pasted
    for y in range(height):
        for x in range(width):
            if canvas[y, x] == 0:
                canvas[y, x] = number[labels[y, x]]
    return n_pasted
