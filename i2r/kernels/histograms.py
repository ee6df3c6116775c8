"""Histograms of single-channel fields: thresholds, levels and contrast from them."""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

MIN_DIM_PART = 0.5
"""Below Otsu's threshold another one is tried if so many pixels, relative to those above the
first, lie between the two: then what is above the first is debris, not the nuclei ..."""

MIN_SEPARATION = 0.82
"""... if so much of the variance below the first is between the classes ..."""

MIN_DIM_CONTRAST = 4.0
"""... and if it lies so many standard deviations above the background."""

NOISE_DEVIATIONS = 8.0
"""Where a field has next to no nuclei, foreground is so many standard deviations above the
smoothed background, about three of the unsmoothed one, ..."""

LEAST_RISE = 1.3
"""... and so many times as high: the background is known to about a tenth of its unevenness."""


def count_intensities(
    image: npt.NDArray[np.float32], *, n_bins: int, row_step: int = 1
) -> tuple[npt.NDArray[np.int64], float, float]:
    """Histogram of a float image between its smallest and its largest value.

    Parameters
    ----------
    image : (y, x) float32
        Without NaN, with at least one pixel.
    n_bins : int
        Bins of equal width.
    row_step : int
        Only one row in so many is read; for a large field a part of the pixels will do.

    Returns
    -------
    counts : (n_bins,) int64
        Pixels per bin; the largest value falls into the last bin.
    low, high : float
        Edges of the first and of the last bin. They are equal for a constant image, all of whose
        pixels are in the first bin.
    """
    counts = np.zeros(n_bins, dtype=np.int64)
    low, high = _fill_histogram(image, counts, row_step)
    return counts, float(low), float(high)


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "nsz", "nnan"})
def _fill_histogram(
    image: npt.NDArray[np.float32], counts: npt.NDArray[np.int64], row_step: int
) -> tuple[np.float32, np.float32]:
    """Count into two alternating histograms: equal neighbours would wait for each other."""
    height, width = image.shape
    # Per column, as the compiler vectorises that.
    lowest, highest = image[0].copy(), image[0].copy()
    for y in range(0, height, row_step):
        row = image[y]
        for x in range(width):
            lowest[x] = min(lowest[x], row[x])
            highest[x] = max(highest[x], row[x])
    low, high = lowest.min(), highest.max()
    n_bins = counts.size
    scale = np.float32(0)
    if high > low:
        scale = np.float32(n_bins) / (high - low)
    even = np.zeros(n_bins + 1, dtype=np.int64)
    odd = np.zeros(n_bins + 1, dtype=np.int64)
    bins = np.zeros(width + width % 2, dtype=np.uint32)
    for y in range(0, height, row_step):
        row = image[y]
        for x in range(width):
            bins[x] = np.uint32((row[x] - low) * scale)
        for x in range(0, width, 2):
            even[bins[x]] += 1
            odd[bins[x + 1]] += 1
        # What fills up the last pair is not a pixel.
        odd[0] -= width % 2
    for k in range(n_bins):
        counts[k] = even[k] + odd[k]
    counts[n_bins - 1] += even[n_bins] + odd[n_bins]
    return low, high


def find_otsu_threshold(counts: npt.NDArray[np.int64], *, low: float, high: float) -> float:
    """Threshold that separates a histogram into two classes of the largest variance between them.

    Parameters
    ----------
    counts : (n_bins,) int64
        Pixels per bin of equal width, at least one pixel.
    low, high : float
        Edges of the first and of the last bin.

    Returns
    -------
    float
        Upper edge of the last bin of the lower class. `high` if the histogram has one occupied
        bin, so that nothing is above the threshold.

    References
    ----------
    Otsu 1979, IEEE Transactions on Systems, Man, and Cybernetics 9:62.
    https://doi.org/10.1109/TSMC.1979.4310076
    """
    weight = np.cumsum(counts)[:-1].astype(np.float64)
    total = float(counts.sum())
    centres = np.arange(counts.size) + 0.5
    moment = np.cumsum(counts * centres)
    both = (weight > 0) & (weight < total)
    if not both.any():
        return high
    between = np.zeros(weight.size)
    lower, upper = weight[both], total - weight[both]
    gap = (moment[-1] - moment[:-1][both]) / upper - moment[:-1][both] / lower
    between[both] = lower * upper * gap**2
    return low + (high - low) * float(np.argmax(between) + 1) / counts.size


class Level(NamedTuple):
    """Median of some intensities, and their robust standard deviation (1.4826 x the MAD)."""

    median: float
    deviation: float


def measure_level(counts: npt.NDArray[np.int64], *, low: float, high: float) -> Level:
    """Median and robust standard deviation of a histogram.

    Parameters
    ----------
    counts, low, high
        As for `find_otsu_threshold`.

    Returns
    -------
    Level
        The deviation is 0 if more than half of the pixels are in one bin.
    """
    centres = low + (high - low) / counts.size * (np.arange(counts.size) + 0.5)
    half = counts.sum() / 2
    median = centres[np.searchsorted(np.cumsum(counts), half)]
    distance = np.abs(centres - median)
    order = np.argsort(distance, kind="stable")
    deviation = distance[order][np.searchsorted(np.cumsum(counts[order]), half)]
    return Level(float(median), float(1.4826 * deviation))


def measure_contrast(
    counts: npt.NDArray[np.int64], *, low: float, high: float, threshold: float
) -> float:
    """How far a threshold is above the background, in robust standard deviations of it.

    Background is what the histogram holds up to the threshold. The Otsu threshold of a field
    without objects cuts its noise in two and lies about 1.1 deviations above the median of the
    lower half, for any noise level; that of an evenly rising ramp lies 1.35 above. Fields with
    nuclei reach 1.5 when crowded and 3 to 20 otherwise.

    Parameters
    ----------
    counts : (n_bins,) int64
        Pixels per bin of equal width.
    low, high : float
        Edges of the first and of the last bin.
    threshold : float
        Between `low` and `high`.

    Returns
    -------
    float
        (threshold - median) / deviation of the background (`measure_level`). Infinite if more
        than half of the background has one value, 0 if nothing is below the threshold.
    """
    width = (high - low) / counts.size
    n_below = int((low + width * (np.arange(counts.size) + 0.5) <= threshold).sum())
    if not counts[:n_below].any():
        return 0.0
    level = measure_level(counts[:n_below], low=low, high=low + n_below * width)
    return (threshold - level.median) / level.deviation if level.deviation > 0 else np.inf


def find_foreground_threshold(
    counts: npt.NDArray[np.int64], *, low: float, high: float, otsu: float, min_contrast: float
) -> float:
    """Threshold between background and nuclei, where Otsu's may separate something else.

    Otsu's threshold cuts where most of the variance is. One bright piece of debris has more of it
    than all nuclei together; then it is sought again in what lies below, as long as the two
    classes there are well apart and the lower objects are the greater part. In a field with next
    to no nuclei it cuts the noise; then objects are what no noise reaches.

    Parameters
    ----------
    counts : (n_bins,) int64
        Pixels per bin of equal width, of square roots of intensities.
    low, high : float
        Edges of the first and of the last bin.
    otsu : float
        Otsu's threshold of all of them.
    min_contrast : float
        Least distance of Otsu's threshold from the background, in its standard deviations.

    Returns
    -------
    float
        In the units of `low` and `high`.
    """
    width = (high - low) / counts.size
    threshold = otsu
    while True:
        n_below = round((threshold - low) / width)
        below = counts[:n_below]
        if np.count_nonzero(below) < 2:
            break
        lower = find_otsu_threshold(below, low=low, high=threshold)
        n_dim = int(below[round((lower - low) / width) :].sum())
        if (
            n_dim < MIN_DIM_PART * counts[n_below:].sum()
            or measure_separation(below, n_lower=round((lower - low) / width)) < MIN_SEPARATION
            or measure_contrast(below, low=low, high=threshold, threshold=lower) < MIN_DIM_CONTRAST
        ):
            break
        threshold = lower
    if measure_contrast(counts, low=low, high=high, threshold=threshold) < min_contrast:
        threshold = find_noise_threshold(counts, low=low, high=high)
    return threshold


def find_noise_threshold(counts: npt.NDArray[np.int64], *, low: float, high: float) -> float:
    """Threshold that neither noise nor what is left of uneven light reaches, for few objects."""
    level = measure_level(counts, low=low, high=high)
    return max(level.median + NOISE_DEVIATIONS * level.deviation, LEAST_RISE * level.median)


def measure_separation(counts: npt.NDArray[np.int64], *, n_lower: int) -> float:
    """Part of a histogram's variance that lies between its lower bins and the others, 0 to 1.

    0.64 for a normal distribution cut in the middle, 0.75 for an even one (Otsu 1979).
    """
    centres = np.arange(counts.size) + 0.5
    total = counts.sum()
    lower, upper = counts[:n_lower].sum(), counts[n_lower:].sum()
    variance = float((counts * centres**2).sum() / total - ((counts * centres).sum() / total) ** 2)
    if not lower or not upper or variance <= 0:
        return 0.0
    gap = (counts[n_lower:] * centres[n_lower:]).sum() / upper
    gap -= (counts[:n_lower] * centres[:n_lower]).sum() / lower
    return float(lower / total * (upper / total) * gap**2 / variance)
