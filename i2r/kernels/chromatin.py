"""How chromatin is distributed in every nucleus: intensities, heterochromatin, moments."""

import numba
import numpy as np
import numpy.typing as npt

from i2r.kernels.checks import check_finite, check_listed
from i2r.kernels.distances import measure_distance
from i2r.kernels.moments import HU_COLUMNS, derive_hu, find_centre
from i2r.kernels.texture import quantise_levels

N_SHELLS = 4
N_BINS = 32

HETEROCHROMATIN_DEVIATIONS = 1.5
"""Heterochromatin is brighter than the nucleus's mean by this many standard deviations."""

CHROMATIN_COLUMNS = (
    "mean",
    "std",
    "min",
    "max",
    "sum",
    "median",
    "p25",
    "p75",
    "p80_p20",
    "mad",
    "cv",
    "skewness",
    "kurtosis",
    "entropy",
    "hc_area_fraction",
    "hc_ec_area",
    "hc_content_fraction",
    "hc_ec_content",
    *(f"shell_{number}" for number in range(1, N_SHELLS + 1)),
    "mass_displacement_px",
    *(f"weighted_{name}" for name in HU_COLUMNS),
)
"""Columns in the order of `measure_chromatin`."""


def measure_chromatin(
    image: npt.NDArray[np.number],
    labels: npt.NDArray[np.integer],
    *,
    label_ids: npt.NDArray[np.integer],
    bbox: npt.NDArray[np.integer],
) -> dict[str, npt.NDArray[np.float64]]:
    """Measure the distribution of one stain in nuclei.

    Parameters
    ----------
    image : (y, x)
        One channel of the field, without NaN. Nothing is subtracted: sums, ratios and the
        coefficient of variation contain the camera's offset.
    labels : (y, x) integer
        Label image of the same field.
    label_ids : (n,) integer
        Labels of the nuclei to measure.
    bbox : (n, 4) integer
        Their bounding boxes: y0, x0, y1, x1, half open, inside the field.

    Returns
    -------
    dict of str to (n,) float64
        All finite, for constant and for black nuclei too.

        In grey levels: ``mean``, ``std`` (denominator n), ``min``, ``max``, ``sum``, ``median``,
        ``p25``, ``p75`` (percentiles, linear between pixels), ``mad`` (median absolute deviation
        from the median). Without unit: ``p80_p20`` (ratio of the 80th to the 20th percentile, 0
        if that is 0); ``cv`` (std over mean, 0 if that is 0); ``skewness`` and ``kurtosis``
        (excess over the normal distribution's; moments with denominator n, 0 for a constant
        nucleus); ``entropy`` (bits, of `N_BINS` grey levels between the nucleus's darkest and
        brightest pixel).

        Heterochromatin are the pixels brighter than mean + `HETEROCHROMATIN_DEVIATIONS` std,
        euchromatin all others: ``hc_area_fraction`` (its part of the area), ``hc_ec_area`` (its
        area over that of euchromatin), ``hc_content_fraction`` (its part of the sum),
        ``hc_ec_content`` (its sum over that of euchromatin, 0 if that is 0).

        ``shell_1`` (at the border) to ``shell_4`` (in the middle): mean over the nucleus's mean
        in four shells of equal thickness by the distance to the nearest pixel that is not the
        nucleus's; 1 for a shell without pixels. ``mass_displacement_px``: distance from the
        centroid to the centre of the intensities. ``weighted_hu_1`` to ``_7``: Hu's moments of
        the intensities over their mean, unchanged by turning, mirroring (but for the sign of the
        last), scaling and a stronger stain; 0 for a black nucleus.

    Raises
    ------
    ValueError
        If the shapes do not fit, a bounding box is empty or outside the field, or a pixel is NaN
        or infinite.

    References
    ----------
    Heterochromatin ratios and intensity distribution as features of nuclei: Venkatachalapathy et
    al. 2020, Molecular Biology of the Cell 31:1599, https://doi.org/10.1091/mbc.E19-08-0420.
    Shells and mass displacement: CellProfiler, Carpenter et al. 2006, Genome Biology 7:R100,
    https://doi.org/10.1186/gb-2006-7-10-r100. Moments: Hu 1962, IRE Transactions on Information
    Theory 8:179, https://doi.org/10.1109/TIT.1962.1057692.
    """
    if image.shape != labels.shape or image.ndim != 2:
        raise ValueError(f"chromatin: image is {image.shape}, expected {labels.shape} like labels.")
    check_finite(image)
    measured = _measure_chromatin(
        np.ascontiguousarray(image),
        *check_listed(labels, label_ids, bbox),
        len(CHROMATIN_COLUMNS),
    )
    return dict(zip(CHROMATIN_COLUMNS, measured.T, strict=True))


@numba.njit(cache=True, nogil=True)
def _measure_chromatin(
    image: npt.NDArray[np.number],
    labels: npt.NDArray[np.integer],
    label_ids: npt.NDArray[np.int64],
    bbox: npt.NDArray[np.int64],
    n_columns: int,
) -> npt.NDArray[np.float64]:
    """Values of `CHROMATIN_COLUMNS` for every nucleus."""
    out = np.zeros((label_ids.size, n_columns), dtype=np.float64)
    for i in range(label_ids.size):
        y0, x0, y1, x1 = bbox[i]
        weights = np.zeros((y1 - y0, x1 - x0), dtype=np.float64)
        mask = np.zeros(weights.shape, dtype=np.bool_)
        values = np.empty(weights.size, dtype=np.float64)
        n = 0
        for y in range(y0, y1):
            for x in range(x0, x1):
                if labels[y, x] == label_ids[i]:
                    values[n] = image[y, x]
                    weights[y - y0, x - x0] = values[n]
                    mask[y - y0, x - x0] = True
                    n += 1
        if n == 0:
            continue
        _describe_values(np.sort(values[:n]), out[i, :13])
        levels = quantise_levels(image, labels, label_ids[i], bbox[i], N_BINS)
        out[i, 13] = _measure_entropy(levels, n)
        _measure_heterochromatin(values[:n], out[i, :18], out[i, 14:18])
        _measure_shells(weights, mask, bbox[i], labels.shape, out[i, 0], out[i, 18:22])
        if out[i, 4] > 0:
            centre_y, centre_x = find_centre(mask)
            weighted_y, weighted_x = find_centre(weights)
            out[i, 22] = np.hypot(weighted_y - centre_y, weighted_x - centre_x)
            # Relative to the mean: the moments would change with the strength of the stain.
            derive_hu(weights / out[i, 0], weighted_y, weighted_x, out[i, 23:30])
    return out


@numba.njit(cache=True, nogil=True)
def _percentile(ordered: npt.NDArray[np.float64], percent: float) -> float:
    """Interpolate linearly, as NumPy does."""
    at = percent / 100 * (ordered.size - 1)
    below = int(at)
    above = min(below + 1, ordered.size - 1)
    return ordered[below] + (at - below) * (ordered[above] - ordered[below])


@numba.njit(cache=True, nogil=True)
def _median_deviation(ordered: npt.NDArray[np.float64], median: float) -> float:
    """Median absolute deviation, going outwards from the median of sorted values."""
    n = ordered.size
    right = np.searchsorted(ordered, median)
    left = right - 1
    before = deviation = 0.0
    for _ in range(n // 2 + 1):
        before = deviation
        to_left = median - ordered[left] if left >= 0 else np.inf
        to_right = ordered[right] - median if right < n else np.inf
        if to_left <= to_right:
            deviation = to_left
            left -= 1
        else:
            deviation = to_right
            right += 1
    return deviation if n % 2 else (before + deviation) / 2


@numba.njit(cache=True, nogil=True)
def _describe_values(ordered: npt.NDArray[np.float64], out: npt.NDArray[np.float64]) -> None:
    """Values of `CHROMATIN_COLUMNS` from ``mean`` to ``kurtosis``."""
    n = ordered.size
    mean = ordered.mean()
    second = third = fourth = 0.0
    for value in ordered:
        difference = value - mean
        square = difference * difference
        second += square / n
        third += square * difference / n
        fourth += square * square / n
    out[0], out[1] = mean, np.sqrt(second)
    out[2], out[3], out[4] = ordered[0], ordered[n - 1], ordered.sum()
    out[5] = _percentile(ordered, 50.0)
    out[6], out[7] = _percentile(ordered, 25.0), _percentile(ordered, 75.0)
    low = _percentile(ordered, 20.0)
    out[8] = _percentile(ordered, 80.0) / low if low > 0 else 0.0
    out[9] = _median_deviation(ordered, out[5])
    out[10] = out[1] / mean if mean > 0 else 0.0
    if ordered[n - 1] > ordered[0]:
        out[11] = third / second**1.5
        out[12] = fourth / second**2 - 3


@numba.njit(cache=True, nogil=True)
def _measure_entropy(levels: npt.NDArray[np.int16], n: int) -> float:
    """Entropy of the levels' frequencies in bits; -1 is outside."""
    counts = np.zeros(N_BINS, dtype=np.int64)
    for level in levels.flat:
        if level >= 0:
            counts[level] += 1
    entropy = 0.0
    for count in counts:
        if count:
            entropy -= count / n * np.log2(count / n)
    return max(entropy, 0.0)


@numba.njit(cache=True, nogil=True)
def _measure_heterochromatin(
    values: npt.NDArray[np.float64],
    described: npt.NDArray[np.float64],
    out: npt.NDArray[np.float64],
) -> None:
    """Area and content above the threshold, relative to the whole and to what is below."""
    threshold = described[0] + HETEROCHROMATIN_DEVIATIONS * described[1]
    area = 0
    content = 0.0
    for value in values:
        if value > threshold:
            area += 1
            content += value
    total = described[4]
    out[0] = area / values.size
    out[1] = area / (values.size - area)
    out[2] = content / total if total > 0 else 0.0
    out[3] = content / (total - content) if total > content else 0.0


@numba.njit(cache=True, nogil=True)
def _measure_shells(
    weights: npt.NDArray[np.float64],
    mask: npt.NDArray[np.bool_],
    bbox: npt.NDArray[np.int64],
    field: tuple[int, int],
    mean: float,
    out: npt.NDArray[np.float64],
) -> None:
    """Mean intensity over the nucleus's mean, by the distance to its border."""
    height, width = mask.shape
    ys = np.empty(mask.size, dtype=np.int32)
    x0s = np.empty(mask.size, dtype=np.int32)
    x1s = np.empty(mask.size, dtype=np.int32)
    n = 0
    for y in range(height):
        for x in range(width):
            if not mask[y, x]:
                continue
            if x == 0 or not mask[y, x - 1]:
                ys[n], x0s[n] = y + bbox[0], x + bbox[1]
                n += 1
            x1s[n - 1] = x + 1 + bbox[1]
    distance = measure_distance(ys[:n], x0s[:n], x1s[:n], field)
    farthest = distance.max()
    total = np.zeros(out.size, dtype=np.float64)
    count = np.zeros(out.size, dtype=np.int64)
    for y in range(height):
        for x in range(width):
            if mask[y, x]:
                shell = min(int(distance[y, x] * out.size / (farthest + 1)), out.size - 1)
                total[shell] += weights[y, x]
                count[shell] += 1
    for shell in range(out.size):
        known = count[shell] > 0 and mean > 0
        out[shell] = total[shell] / count[shell] / mean if known else 1.0
