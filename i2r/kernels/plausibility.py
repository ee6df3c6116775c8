"""Whether what was found in a field can be: debris, saturation, bright things without a label."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from i2r.kernels.quality import measure_saturation

SAMPLE_PX = 4
"""One square of 2 x 2 pixels in so many, along y and along x, is looked at."""

BLOCK_PX = 16
"""Sampled squares along the edge of a block, in which light is even: three nuclei wide."""

BRIGHT_PERCENTILE = 99.9
"""Of the sampled squares: with fewer objects than a thousandth of a field, nothing stands out."""


class FieldEvidence(NamedTuple):
    """What a field and its labels say about each other.

    Attributes
    ----------
    covered : float
        Part of the pixels with a label, 0 to 1.
    saturated : float
        Part of the pixels at the camera's largest value, 0 to 1.
    contrast : float
        How far the brightest thousandth lies above the median, in robust standard deviations of
        the field. About 3 for noise and below 3 for uneven light; 10 and more for nuclei. Of a
        field without labels it is also looked for within blocks, and the larger one given: light
        that is brighter than nuclei hides them from the whole field.
    unlabelled : float
        Part without a label of all that is nearer to the labelled pixels' mean intensity than to
        the field's median, 0 to 1. NaN without labels.
    """

    covered: float
    saturated: float
    contrast: float
    unlabelled: float


def measure_evidence(
    image: npt.NDArray[np.number],
    labels: npt.NDArray[np.integer],
    *,
    raw: npt.NDArray[np.number] | None = None,
) -> FieldEvidence:
    """Measure whether labels and image fit each other, on a sample of the pixels.

    Parameters
    ----------
    image : (y, x) uint8, uint16 or float32
        At least one pixel.
    labels : (y, x) int32
        0 = background.
    raw : (y, x)
        The image as it was measured, where `image` is corrected: only there is saturation seen.

    Returns
    -------
    FieldEvidence
        `contrast` is infinite where more than half of the field has one value and something
        is brighter.
    """
    height, width = (size - size % 2 for size in image.shape)
    if not height or not width:
        return FieldEvidence(0.0, 0.0, 0.0, float("nan"))
    values = np.zeros(image[0:height:SAMPLE_PX, 0:width:SAMPLE_PX].shape, np.float32)
    for y, x in ((0, 0), (0, 1), (1, 0), (1, 1)):
        values += image[y:height:SAMPLE_PX, x:width:SAMPLE_PX].astype(np.float32)
    values /= 4
    is_labelled = labels[0:height:SAMPLE_PX, 0:width:SAMPLE_PX] > 0
    median, contrast = measure_contrast(values)
    if not is_labelled.any():
        contrast = max(contrast, measure_contrast(level_blocks(values))[1])
    unlabelled = float("nan")
    if is_labelled.any():
        half = (float(values[is_labelled].mean()) + median) / 2
        is_bright = values > half
        unlabelled = float((is_bright & ~is_labelled).sum() / max(int(is_bright.sum()), 1))
    return FieldEvidence(
        covered=float(is_labelled.mean()),
        saturated=measure_saturation(image if raw is None else raw),
        contrast=contrast,
        unlabelled=unlabelled,
    )


def measure_contrast(values: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Give the median of some values, and the contrast as in `FieldEvidence`."""
    # Sorting takes an eighth of the time of `np.percentile` and `np.median`, which partition.
    ordered = np.sort(values, axis=None)
    median, bright = (find_percentile(ordered, q) for q in (50, BRIGHT_PERCENTILE))
    deviations = np.sort(np.abs(values - np.float64(median)), axis=None)
    deviation, rise = 1.4826 * find_percentile(deviations, 50), bright - median
    return median, rise / deviation if deviation > 0 else (np.inf if rise > 0 else 0.0)


def level_blocks(values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Take the plane that fits it best from every block of `BLOCK_PX`, and its median.

    What is no whole block is left out; a field of less than a block is levelled as a whole.
    """
    height, width = (max(1, size // BLOCK_PX) for size in values.shape)
    y, x = (min(size, BLOCK_PX) for size in values.shape)
    blocks = values[: height * y, : width * x].reshape(height, y, width, x).astype(np.float64)
    for axis, length in ((1, y), (3, x)):
        steps = np.arange(length) - (length - 1) / 2
        steps = steps.reshape([length if n == axis else 1 for n in range(4)])
        slopes = (blocks * steps).mean(axis=(1, 3), keepdims=True) / max((steps**2).mean(), 1e-9)
        blocks = blocks - slopes * steps
    levelled: npt.NDArray[np.floating] = blocks - np.median(blocks, axis=(1, 3), keepdims=True)
    return levelled


def find_percentile(ordered: npt.NDArray[np.floating], percent: float) -> float:
    """Give a percentile of sorted values, between two of them by linear interpolation.

    Parameters
    ----------
    ordered : (n,)
        At least one value, ascending.
    percent : float
        0 to 100.
    """
    place = percent / 100 * (len(ordered) - 1)
    below = int(place)
    low, high = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
    part = place - below
    # As NumPy does, from the nearer end: so that both agree to the last bit.
    return low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)
