"""Texture of every nucleus: how grey levels of pixels at a distance go together."""

from collections.abc import Sequence
from math import cos, pi, sin

import numba
import numpy as np
import numpy.typing as npt

from i2r.kernels.checks import check_finite, check_listed

TEXTURE_COLUMNS = (
    "contrast",
    "dissimilarity",
    "homogeneity",
    "energy",
    "correlation",
    "glcm_entropy",
)
"""Measures of one distance, in the order of `measure_texture`."""

N_LEVELS = 32


def measure_texture(
    image: npt.NDArray[np.number],
    labels: npt.NDArray[np.integer],
    *,
    label_ids: npt.NDArray[np.integer],
    bbox: npt.NDArray[np.integer],
    distances_px: Sequence[int] = (1, 5, 20),
    n_levels: int = N_LEVELS,
) -> npt.NDArray[np.float64]:
    """Measure the grey-level co-occurrence of nuclei at several distances.

    A nucleus's pixels are put into `n_levels` grey levels of equal width between its own darkest
    and brightest pixel, so that texture does not depend on the strength of the stain. Pairs of
    pixels that both belong to the nucleus are counted in both orders, in the four directions 0,
    45, 90 and 135 degrees together. The measures are scikit-image's ``graycoprops`` of the sum of
    its ``graycomatrix`` over these angles, with pairs that leave the nucleus taken out.

    Parameters
    ----------
    image : (y, x)
        One channel of the field, without NaN.
    labels : (y, x) integer
        Label image of the same field.
    label_ids : (n,) integer
        Labels of the nuclei to measure.
    bbox : (n, 4) integer
        Their bounding boxes: y0, x0, y1, x1, half open, inside the field.
    distances_px : sequence of int
        At least 1; diagonal steps are rounded to whole pixels, as in scikit-image. Published: 1,
        5 and 20 at 0.656 um per pixel.
    n_levels : int
        From 2 to 256. A fixed number of levels per object is one of the two discretisations of
        the Image Biomarker Standardisation Initiative.

    Returns
    -------
    (n, distances, 6) float64
        In the order of `TEXTURE_COLUMNS`: ``contrast``: mean squared difference of levels;
        ``dissimilarity``: mean absolute difference; ``homogeneity``: mean of 1 / (1 + squared
        difference); ``energy``: root of the sum of squared frequencies; ``correlation``: of the
        levels of a pair, 1 where all are equal; ``glcm_entropy``: of the frequencies, in bits.
        All finite: a constant nucleus, and one without any pair at that distance, has 0, 0, 1, 1,
        1, 0.

    Raises
    ------
    ValueError
        If the shapes do not fit, a bounding box is empty or outside the field, a pixel is NaN or
        infinite, a distance is less than 1 or the levels are out of range.

    References
    ----------
    Haralick, Shanmugam and Dinstein 1973, IEEE Transactions on Systems, Man, and Cybernetics
    3:610, https://doi.org/10.1109/TSMC.1973.4309314. Levels: Zwanenburg et al. 2020, Radiology
    295:328, https://doi.org/10.1148/radiol.2020191145.
    """
    if image.shape != labels.shape or image.ndim != 2:
        raise ValueError(f"texture: image is {image.shape}, expected {labels.shape} like labels.")
    if min(distances_px, default=1) < 1 or not 2 <= n_levels <= 256:
        raise ValueError(
            f"texture: distances are {tuple(distances_px)} px and levels {n_levels}, expected "
            "distances of 1 or more and 2 to 256 levels."
        )
    check_finite(image)
    offsets = [
        [
            (round(sin(angle) * d), round(cos(angle) * d))
            for angle in (0, pi / 4, pi / 2, 3 * pi / 4)
        ]
        for d in distances_px
    ]
    return _measure_texture(
        np.ascontiguousarray(image),
        *check_listed(labels, label_ids, bbox),
        np.asarray(offsets, dtype=np.int64).reshape(-1, 4, 2),
        n_levels,
    )


@numba.njit(cache=True, nogil=True)
def quantise_levels(
    image: npt.NDArray[np.number],
    labels: npt.NDArray[np.integer],
    label: int,
    bbox: npt.NDArray[np.int64],
    n_levels: int,
) -> npt.NDArray[np.int16]:
    """Put a nucleus's pixels into levels between its darkest and its brightest.

    Parameters
    ----------
    image, labels : (y, x)
        One channel and the label image of a field.
    label : int
        The nucleus.
    bbox : (4,) int64
        Its bounding box.
    n_levels : int
        Levels of equal width; the brightest pixel is in the last.

    Returns
    -------
    int16, the shape of the bounding box
        0 to ``n_levels - 1``, -1 outside the nucleus; all 0 for a constant nucleus.
    """
    y0, x0, y1, x1 = bbox
    levels = np.full((y1 - y0, x1 - x0), -1, dtype=np.int16)
    low, high = np.inf, -np.inf
    for y in range(y0, y1):
        for x in range(x0, x1):
            if labels[y, x] == label:
                low = min(low, float(image[y, x]))
                high = max(high, float(image[y, x]))
    scale = n_levels / (high - low) if high > low else 0.0
    for y in range(y0, y1):
        for x in range(x0, x1):
            if labels[y, x] == label:
                level = int((float(image[y, x]) - low) * scale)
                levels[y - y0, x - x0] = min(level, n_levels - 1)
    return levels


@numba.njit(cache=True, nogil=True)
def _measure_texture(
    image: npt.NDArray[np.number],
    labels: npt.NDArray[np.integer],
    label_ids: npt.NDArray[np.int64],
    bbox: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    n_levels: int,
) -> npt.NDArray[np.float64]:
    """Count pairs and summarise them, nucleus by nucleus and distance by distance."""
    out = np.empty((label_ids.size, offsets.shape[0], 6), dtype=np.float64)
    counts = np.empty((n_levels, n_levels), dtype=np.int64)
    for i in range(label_ids.size):
        levels = quantise_levels(image, labels, label_ids[i], bbox[i], n_levels)
        height, width = levels.shape
        for d in range(offsets.shape[0]):
            counts[:] = 0
            for angle in range(4):
                dy, dx = offsets[d, angle]
                for y in range(height - dy):
                    here, there = levels[y], levels[y + dy]
                    for x in range(max(0, -dx), min(width, width - dx)):
                        if here[x] >= 0 and there[x + dx] >= 0:
                            counts[here[x], there[x + dx]] += 1
            _summarise_pairs(counts, out[i, d])
    return out


@numba.njit(cache=True, nogil=True)
def _summarise_pairs(counts: npt.NDArray[np.int64], out: npt.NDArray[np.float64]) -> None:
    """Values of `TEXTURE_COLUMNS` of pairs that were counted in one order; both are meant."""
    n = counts.shape[0]
    total = counts.sum()
    out[:2], out[2:5], out[5] = 0.0, 1.0, 0.0
    if total == 0:
        return
    mean = square = product = squares = entropy = contrast = dissimilarity = homogeneity = 0.0
    for a in range(n):
        for b in range(a, n):
            pairs = counts[a, b] + counts[b, a] if a != b else counts[a, a]
            if pairs == 0:
                continue
            both = pairs / total  # of (a, b) and (b, a) together
            difference = b - a
            contrast += both * difference * difference
            dissimilarity += both * difference
            homogeneity += both / (1 + difference * difference)
            n_cells = 1 if a == b else 2
            squares += both * both / n_cells
            entropy -= both * np.log2(both / n_cells)
            mean += both * (a + b) / 2
            square += both * (a * a + b * b) / 2
            product += both * a * b
    variance = square - mean * mean
    out[0], out[1], out[2] = contrast, dissimilarity, homogeneity
    out[3] = np.sqrt(squares)
    # Rounding leaves about 1e-13 instead of 0 for equal levels.
    out[4] = (product - mean * mean) / variance if variance > 1e-9 else 1.0
    out[5] = max(entropy, 0.0)
