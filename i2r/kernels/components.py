"""Connected components of a mask, found on runs of equal pixels instead of single ones.

A run is a stretch of equal pixels in one row. A field of 1080 x 1080 pixels with 150 nuclei has
about 10,000 runs, so everything after the first scan costs next to nothing.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt


class Components(NamedTuple):
    """Foreground components as runs, grouped by component, in raster order of the first pixel.

    Attributes
    ----------
    first_run : (n_components + 1,) int32
        Component ``i`` has the runs ``first_run[i]`` up to ``first_run[i + 1]``, row by row.
    y, x0, x1 : (n_runs,) int32
        Row and half-open range of columns of each run.
    """

    first_run: npt.NDArray[np.int32]
    y: npt.NDArray[np.int32]
    x0: npt.NDArray[np.int32]
    x1: npt.NDArray[np.int32]


def label_components(
    regions: npt.NDArray[np.bool_] | npt.NDArray[np.int32], *, max_hole_area_px: float = 0
) -> npt.NDArray[np.int32]:
    """Number connected pixels of equal value; neighbours are above, below and beside a pixel.

    Parameters
    ----------
    regions : (y, x) bool or int32
        A mask, or a label image whose labels are to be cut into connected parts. 0 is
        background. Any size, including empty.
    max_hole_area_px : float
        Background enclosed by foreground becomes foreground up to this area, of the region on
        its left. Background that touches the border of the image is never a hole.

    Returns
    -------
    (y, x) int32
        1 to n in raster order of each component's first pixel, 0 for background.

    Raises
    ------
    ValueError
        If `regions` is not a two-dimensional array of bool or int32.
    """
    components = find_components(regions, max_hole_area_px=max_hole_area_px)
    labels = np.zeros(regions.shape, dtype=np.int32)
    paint_components(components, labels, 0.0)
    return labels


def find_components(
    regions: npt.NDArray[np.bool_] | npt.NDArray[np.int32], *, max_hole_area_px: float = 0
) -> Components:
    """Find what `label_components` numbers, as runs.

    Parameters
    ----------
    regions, max_hole_area_px
        As for `label_components`. Filling holes does not change `regions`.

    Returns
    -------
    Components
        Empty arrays and a `first_run` of ``[0]`` if there is no foreground.

    Raises
    ------
    ValueError
        If `regions` is not a two-dimensional array of bool or int32.
    """
    if regions.ndim != 2 or regions.dtype not in (np.bool_, np.int32):
        raise ValueError(
            f"components: found {regions.dtype} of shape {regions.shape}, expected a mask of "
            "bool or labels of int32 (y, x)."
        )
    if regions.size == 0:
        none = np.zeros(0, dtype=np.int32)
        return Components(np.zeros(1, dtype=np.int32), none, none, none)
    width = regions.shape[1]
    values: npt.NDArray[np.number] = np.ascontiguousarray(regions)
    if regions.dtype == np.bool_:  # the compiler vectorises comparisons of bytes
        values = values.view(np.uint8)
    row_first, start, value = _find_runs(values)
    parent = _join_runs(row_first, start, value, width)
    if max_hole_area_px > 0 and _fill_holes(
        row_first, start, value, parent, width, float(max_hole_area_px)
    ):
        parent = _join_runs(row_first, start, value, width)
    return Components(*_group_runs(row_first, start, value, parent, width))


@numba.njit(cache=True, nogil=True)
def _find_runs(
    regions: npt.NDArray[np.number],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.number]]:
    """Cut every row into runs: index of each row's first run, start column and value of each."""
    height, width = regions.shape
    row_first = np.zeros(height + 1, dtype=np.int32)
    for y in range(height):
        row = regions[y]
        changes = np.int32(1)
        for x in range(1, width):
            changes += np.int32(row[x] != row[x - 1])
        row_first[y + 1] = row_first[y] + changes
    start = np.zeros(row_first[height], dtype=np.int32)
    value = np.zeros(row_first[height], dtype=regions.dtype)
    changed = np.zeros((width + 7) // 8 * 8, dtype=np.uint8)
    words = changed.view(np.uint64)  # most are 0
    for y in range(height):
        row = regions[y]
        run = row_first[y]
        value[run] = row[0]
        if row_first[y + 1] == run + 1:
            continue
        for x in range(1, width):
            changed[x] = row[x] != row[x - 1]
        for word in range(words.size):
            if words[word] != 0:
                for x in range(8 * word, 8 * word + 8):
                    if changed[x] != 0:
                        run += 1
                        start[run] = x
                        value[run] = row[x]
    return row_first, start, value


@numba.njit(cache=True, nogil=True)
def find_root(parent: npt.NDArray[np.int32], item: int) -> int:
    """Representative of a set; halves the path to it on the way."""
    while parent[item] != item:
        parent[item] = parent[parent[item]]
        item = parent[item]
    return item


@numba.njit(cache=True, nogil=True)
def _join_runs(
    row_first: npt.NDArray[np.int32],
    start: npt.NDArray[np.int32],
    value: npt.NDArray[np.number],
    width: int,
) -> npt.NDArray[np.int32]:
    """Unite equal runs that touch; the parent of a run is the first run of its component."""
    parent = np.arange(start.size).astype(np.int32)
    for y in range(row_first.size - 1):
        above = row_first[max(y - 1, 0)]
        for run in range(row_first[y], row_first[y + 1]):
            if run > row_first[y] and value[run] == value[run - 1]:  # after a hole was filled
                _unite(parent, run, run - 1)
            if y == 0:
                continue
            end = start[run + 1] if run + 1 < row_first[y + 1] else width
            while True:
                if value[above] == value[run]:
                    _unite(parent, run, above)
                above_end = start[above + 1] if above + 1 < row_first[y] else width
                if above_end < end:
                    above += 1
                    continue
                if above_end == end and above + 1 < row_first[y]:
                    above += 1
                break
    for run in range(parent.size):
        parent[run] = find_root(parent, run)
    return parent


@numba.njit(cache=True, nogil=True)
def _unite(parent: npt.NDArray[np.int32], a: int, b: int) -> None:
    """Unite two sets under the smaller representative, which keeps raster order."""
    a, b = find_root(parent, a), find_root(parent, b)
    if a < b:
        parent[b] = a
    else:
        parent[a] = b


@numba.njit(cache=True, nogil=True)
def _fill_holes(
    row_first: npt.NDArray[np.int32],
    start: npt.NDArray[np.int32],
    value: npt.NDArray[np.number],
    parent: npt.NDArray[np.int32],
    width: int,
    max_hole_area_px: float,
) -> bool:
    """Turn the runs of enclosed background into foreground; say whether there were any."""
    height = row_first.size - 1
    area = np.zeros(start.size, dtype=np.int64)
    for y in range(height):
        for run in range(row_first[y], row_first[y + 1]):
            last = run + 1 == row_first[y + 1]
            end = width if last else start[run + 1]
            if y == 0 or y == height - 1 or start[run] == 0 or last:
                area[parent[run]] += np.int64(max_hole_area_px) + 1  # open towards the border
            area[parent[run]] += end - start[run]
    filled = False
    for run in range(start.size):
        if value[run] == 0 and area[parent[run]] <= max_hole_area_px:
            value[run] = value[run - 1]
            filled = True
    return filled


@numba.njit(cache=True, nogil=True)
def _group_runs(
    row_first: npt.NDArray[np.int32],
    start: npt.NDArray[np.int32],
    value: npt.NDArray[np.number],
    parent: npt.NDArray[np.int32],
    width: int,
) -> tuple[
    npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]
]:
    """Sort the foreground runs by component."""
    number = np.zeros(start.size, dtype=np.int32)
    size = np.zeros(start.size + 1, dtype=np.int32)
    n_components = 0
    n_runs = 0
    for run in range(start.size):
        if value[run] != 0:
            if parent[run] == run:
                number[run] = n_components
                n_components += 1
            number[run] = number[parent[run]]
            size[number[run]] += 1
            n_runs += 1
    first_run = np.zeros(n_components + 1, dtype=np.int32)
    for i in range(n_components):
        first_run[i + 1] = first_run[i] + size[i]
    place = first_run[:-1].copy()
    ys = np.empty(n_runs, dtype=np.int32)
    x0s = np.empty(n_runs, dtype=np.int32)
    x1s = np.empty(n_runs, dtype=np.int32)
    for y in range(row_first.size - 1):
        for run in range(row_first[y], row_first[y + 1]):
            if value[run] != 0:
                i = place[number[run]]
                place[number[run]] += 1
                ys[i] = y
                x0s[i] = start[run]
                x1s[i] = start[run + 1] if run + 1 < row_first[y + 1] else width
    return first_run, ys, x0s, x1s


def measure_areas(components: Components) -> npt.NDArray[np.int64]:
    """Count the pixels of every component, shape (n_components,)."""
    if components.y.size == 0:
        return np.zeros(0, dtype=np.int64)
    lengths = (components.x1 - components.x0).astype(np.int64)
    return np.asarray(np.add.reduceat(lengths, components.first_run[:-1]), dtype=np.int64)


@numba.njit(cache=True, nogil=True)
def paint_components(
    components: Components, labels: npt.NDArray[np.int32], min_area_px: float
) -> int:
    """Paint every component of at least `min_area_px` with its number, counted from 1.

    Parameters
    ----------
    components : Components
        As from `find_components` for an image of the same shape.
    labels : (y, x) int32
        All zeros; receives the numbers.
    min_area_px : float
        Smaller components are left out and not counted.

    Returns
    -------
    int
        Number of components painted.
    """
    n = 0
    for i in range(components.first_run.size - 1):
        area = 0
        for run in range(components.first_run[i], components.first_run[i + 1]):
            area += components.x1[run] - components.x0[run]
        if area < min_area_px:
            continue
        n += 1
        for run in range(components.first_run[i], components.first_run[i + 1]):
            y = components.y[run]
            for x in range(components.x0[run], components.x1[run]):
                labels[y, x] = n
    return n
