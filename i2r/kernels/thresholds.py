"""Thresholds between background and nuclei, from the histogram of a smoothed field."""

import numpy as np
import numpy.typing as npt

from i2r.kernels.histograms import find_otsu_threshold, measure_contrast, measure_level

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
