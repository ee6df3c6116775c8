"""Moments of the shape of nuclei, and of anything else that is given as weights of pixels."""

import numba
import numpy as np
import numpy.typing as npt

from i2r.kernels.checks import check_listed

HU_COLUMNS = tuple(f"hu_{number}" for number in range(1, 8))
"""Columns in the order of `measure_hu_moments`."""


def measure_hu_moments(
    labels: npt.NDArray[np.integer],
    *,
    label_ids: npt.NDArray[np.integer],
    bbox: npt.NDArray[np.integer],
) -> dict[str, npt.NDArray[np.float64]]:
    """Measure Hu's seven moments of the shape of nuclei.

    Parameters
    ----------
    labels : (y, x) integer
        Label image of a field.
    label_ids : (n,) integer
        Labels of the nuclei to measure.
    bbox : (n, 4) integer
        Their bounding boxes: y0, x0, y1, x1, half open, inside the field.

    Returns
    -------
    dict of str to (n,) float64
        ``hu_1`` to ``hu_7``, as scikit-image's ``moments_hu``, without unit: unchanged by
        turning, mirroring (but for the sign of the last) and scaling.

    Raises
    ------
    ValueError
        If a bounding box is empty or outside the field.

    References
    ----------
    Hu 1962, https://doi.org/10.1109/TIT.1962.1057692.
    """
    measured = _measure_hu_moments(
        *check_listed(labels, label_ids, bbox),
    )
    return dict(zip(HU_COLUMNS, measured.T, strict=True))


@numba.njit(cache=True, nogil=True)
def find_centre(
    weights: npt.NDArray[np.number] | npt.NDArray[np.bool_],
) -> tuple[float, float]:
    """Find the centre of gravity.

    Parameters
    ----------
    weights : (y, x)
        Of every pixel; a mask will do.

    Returns
    -------
    y, x : float
        0, 0 where there is no weight.
    """
    total = sum_y = sum_x = 0.0
    for y in range(weights.shape[0]):
        for x in range(weights.shape[1]):
            total += weights[y, x]
            sum_y += weights[y, x] * y
            sum_x += weights[y, x] * x
    if total == 0:
        return 0.0, 0.0
    return sum_y / total, sum_x / total


@numba.njit(cache=True, nogil=True)
def _measure_hu_moments(
    labels: npt.NDArray[np.integer],
    label_ids: npt.NDArray[np.int64],
    bbox: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """Values of `HU_COLUMNS` for every nucleus."""
    out = np.zeros((label_ids.size, 7), dtype=np.float64)
    for i in range(label_ids.size):
        y0, x0, y1, x1 = bbox[i]
        weights = (labels[y0:y1, x0:x1] == label_ids[i]).astype(np.float64)
        if weights.any():
            centre_y, centre_x = find_centre(weights)
            derive_hu(weights, centre_y, centre_x, out[i])
    return out


@numba.njit(cache=True, nogil=True)
def derive_hu(
    weights: npt.NDArray[np.float64],
    centre_y: float,
    centre_x: float,
    out: npt.NDArray[np.float64],
) -> None:
    """Combine normalised central moments of the second and third order as Hu does.

    Parameters
    ----------
    weights : (y, x) float64
        Of every pixel, not all of them 0.
    centre_y, centre_x : float
        Their centre of gravity.
    out : (7,) float64
        Receives the moments.
    """
    m00 = m20 = m11 = m02 = m30 = m21 = m12 = m03 = 0.0
    for row in range(weights.shape[0]):
        y = row - centre_y
        for column in range(weights.shape[1]):
            w = weights[row, column]
            if w == 0:
                continue
            x = column - centre_x
            m00 += w
            m20 += w * y * y
            m11 += w * y * x
            m02 += w * x * x
            m30 += w * y * y * y
            m21 += w * y * y * x
            m12 += w * y * x * x
            m03 += w * x * x * x
    second, third = m00**2, m00**2.5
    n20, n11, n02 = m20 / second, m11 / second, m02 / second
    n30, n21, n12, n03 = m30 / third, m21 / third, m12 / third, m03 / third
    a, b = n30 + n12, n21 + n03
    c, d = n30 - 3 * n12, 3 * n21 - n03
    out[0] = n20 + n02
    out[1] = (n20 - n02) ** 2 + 4 * n11**2
    out[2] = c**2 + d**2
    out[3] = a**2 + b**2
    out[4] = c * a * (a**2 - 3 * b**2) + d * b * (3 * a**2 - b**2)
    out[5] = (n20 - n02) * (a**2 - b**2) + 4 * n11 * a * b
    out[6] = d * a * (a**2 - 3 * b**2) - c * b * (3 * a**2 - b**2)
