"""What is not a signal in a field: lines of a defective camera, and what lies outside an aperture.

Both are for thresholds. A hot column runs through nuclei and joins them; a black margin makes the
step at its edge the largest contrast of the field. Most fields have neither, so what is asked
first takes a few samples.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

SAMPLE_PX = 16
"""One pixel in so many tells whether a field needs a closer look."""

LINE_DEVIATIONS = 12.0
"""A line is looked at if its mean differs from the next by so many median differences ..."""

LINE_PART = 0.6
"""... and replaced if this part of its pixels lies outside the range of the lines beside it."""

LINES_BESIDE = 4
"""Sound lines on either side that say what is usual."""

WIDEST_LINES = 24
"""Wider bands are not a defect of single lines."""

BLOCK_PX = 4
"""Side of the blocks on which an aperture is looked for."""

LEAST_STEP = 0.1
"""A darker margin matters if it lies so far below the field, relative to what nuclei rise above
it, ..."""

LEAST_RISE = 0.1
"""... nuclei rise by this part of it above the field inside, ..."""

DARK_PART = 0.15
"""... its blocks lie below this part of the difference ..."""

LEAST_STEPS = 6.0
"""... and the step at its edge is so many of its own standard deviations."""


def replace_lines(image: npt.NDArray[np.number]) -> npt.NDArray[np.number]:
    """Replace rows and columns of a camera's sensor that are bright or dark from end to end.

    Parameters
    ----------
    image : (y, x) uint8, uint16 or float32
        Without NaN.

    Returns
    -------
    (y, x) of the same type
        The image itself if it has no such line, else a copy in which lines are interpolated
        between the sound ones on either side.
    """
    for axis in (1, 0):
        lines = _find_lines(np.moveaxis(image, axis, 0))
        if lines.size:
            image = image.copy()
            _interpolate(np.moveaxis(image, axis, 0), lines)
    return image


def _find_lines(image: npt.NDArray[np.number]) -> npt.NDArray[np.intp]:
    """Find the defective lines along the first axis."""
    n_lines = image.shape[0]
    if n_lines <= 2 * LINES_BESIDE or image.shape[1] < 2 * SAMPLE_PX:
        return np.empty(0, np.intp)
    # Odd steps, as patterns of a camera repeat with even ones.
    means = image[:, :: SAMPLE_PX + 1].mean(axis=1, dtype=np.float32)
    steps = np.abs(np.diff(means))
    if steps.max() <= LINE_DEVIATIONS * np.median(steps):
        return np.empty(0, np.intp)
    usual = ndimage.median_filter(means, 2 * WIDEST_LINES + 1, mode="nearest")
    apart = np.abs(means - usual)
    suspects = apart > LINE_DEVIATIONS * np.median(steps)
    sound = np.flatnonzero(~suspects)
    if sound.size <= 2 * LINES_BESIDE:
        return np.empty(0, np.intp)
    found = []
    for line in np.flatnonzero(suspects):
        at = int(np.searchsorted(sound, line))
        before = sound[max(at - LINES_BESIDE, 0) : at]
        after = sound[at : at + LINES_BESIDE]
        beside = np.concatenate([before, after])
        if np.abs(beside - line).max() > WIDEST_LINES + LINES_BESIDE:
            continue
        values = image[beside]
        outside = max(
            (image[line] > values.max(axis=0)).mean(), (image[line] < values.min(axis=0)).mean()
        )
        if outside >= LINE_PART:
            found.append(int(line))
    return np.asarray(found, np.intp)


def _interpolate(image: npt.NDArray[np.number], lines: npt.NDArray[np.intp]) -> None:
    """Write into the lines what lies between the sound ones on either side."""
    sound = np.setdiff1d(np.arange(image.shape[0]), lines)
    for line in lines:
        at = int(np.searchsorted(sound, line))
        before, after = sound[max(at - 1, 0)], sound[min(at, sound.size - 1)]
        part = 0.0 if before == after else (line - before) / (after - before)
        between = (1 - part) * image[before].astype(np.float32) + part * image[after]
        image[line] = between.astype(image.dtype)


def fill_outside(
    image: npt.NDArray[np.number],
) -> tuple[npt.NDArray[np.number], npt.NDArray[np.bool_] | None]:
    """Fill what lies outside an aperture, a round stop or a mask, with the level at its edge.

    Parameters
    ----------
    image : (y, x) uint8, uint16 or float32
        Without NaN.

    Returns
    -------
    image : (y, x) of the same type
        The image itself if no dark margin with a sharp edge touches its border, else a copy.
    inside : (y, x) bool, or None
        What was not filled; None for everything.
    """
    if min(image.shape) < 8 * BLOCK_PX:
        return image, None
    sample = image[::SAMPLE_PX, ::SAMPLE_PX].astype(np.float32)
    border = np.concatenate(
        [image[0, ::BLOCK_PX], image[-1, ::BLOCK_PX], image[::BLOCK_PX, 0], image[::BLOCK_PX, -1]]
    ).astype(np.float32)
    dark = float(np.percentile(border, 5))
    middle, bright = np.percentile(sample, [50, 99.5])
    if middle - dark <= LEAST_STEP * (bright - middle):
        return image, None
    # Within an aperture nuclei rise above the field; what is flat up to its edge is an object.
    if bright - middle <= LEAST_RISE * (middle - dark):
        return image, None
    height, width = (size // BLOCK_PX * BLOCK_PX for size in image.shape)
    blocks = (
        image[:height, :width]
        .reshape(height // BLOCK_PX, BLOCK_PX, width // BLOCK_PX, BLOCK_PX)
        .mean(axis=(1, 3), dtype=np.float32)
    )
    outside = _find_outside(blocks, dark=dark, middle=float(middle))
    if outside is None:
        return image, None
    level = ndimage.percentile_filter(np.where(outside, np.inf, blocks), 20, size=5)
    # Blocks across the edge are a mixture of both sides.
    inside = ~ndimage.binary_dilation(outside, iterations=2)
    if not inside.any():
        return image, None
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    level = ndimage.gaussian_filter(level[tuple(nearest)], BLOCK_PX)
    y = np.minimum(np.arange(image.shape[0]) // BLOCK_PX, blocks.shape[0] - 1)
    x = np.minimum(np.arange(image.shape[1]) // BLOCK_PX, blocks.shape[1] - 1)
    kept = inside[y][:, x]
    return np.where(kept, image, level[y][:, x].astype(image.dtype)), kept


def _find_outside(
    blocks: npt.NDArray[np.float32], *, dark: float, middle: float
) -> npt.NDArray[np.bool_] | None:
    """Find the blocks of a margin; None where darkness comes gradually, as at a lens's corners."""
    low = blocks < dark + DARK_PART * (middle - dark)
    regions, _ = ndimage.label(low)
    edges = (regions[0], regions[-1], regions[:, 0], regions[:, -1])
    outside = np.zeros(blocks.shape, np.bool_)
    for region in np.unique(np.concatenate(edges)):
        mask = regions == region
        core = ndimage.binary_erosion(mask, iterations=2, border_value=1)
        beyond = ndimage.binary_dilation(mask, iterations=3)
        beyond &= ~ndimage.binary_dilation(mask, iterations=1)
        if not region or not core.any() or not beyond.any():
            continue
        step = float(np.percentile(blocks[beyond], 20) - np.median(blocks[core]))
        parts = np.bincount(ndimage.label(~mask)[0][~mask])
        n_islands = parts.sum() - parts.max()
        # A margin is flat and empty; shade and the gaps between nuclei aren't.
        if step > LEAST_STEPS * float(blocks[core].std()) and n_islands < 0.01 * mask.sum():
            outside |= mask
    return outside if outside.any() else None
