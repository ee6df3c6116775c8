"""Numbers that tell a field out of focus, overexposed or empty from a good one."""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

BACKGROUND_PERCENTILE = 5.0
"""Percentile of the pixels that is reported as background."""

FULL_SCALES = (255, 1023, 4095, 16383, 65535)
"""Largest values of cameras with 8, 10, 12, 14 and 16 bits."""


class FieldQuality(NamedTuple):
    """Quality of one channel of one field.

    Attributes
    ----------
    focus : float
        Variance of the Laplacian over the squared mean intensity; higher is sharper.
    saturated_fraction : float
        Part of the pixels at the camera's largest value, 0 to 1.
    mean : float
        Mean intensity, in the image's own units.
    background : float
        5th percentile of the intensity, in the image's own units.
    """

    focus: float
    saturated_fraction: float
    mean: float
    background: float


def measure_quality(image: npt.NDArray[np.number]) -> FieldQuality:
    """Measure focus, saturation, mean and background of one channel.

    Parameters
    ----------
    image : (y, x) uint8, uint16 or float32
        At least one pixel.

    Returns
    -------
    FieldQuality
        *focus*: variance of the four-neighbour Laplacian over all inner pixels, divided by the
        squared mean of the field. It does not change with exposure or gain, but it falls with a
        constant camera offset and rises with the number of nuclei: compare it among fields of
        one experiment and channel. 0 for a constant or black field and for fields of less than
        3 x 3 pixels.

        *saturated_fraction*: cameras of 12 bits write their values into 16, so the largest value
        of the dtype need not occur. Pixels count as saturated if they have the field's largest
        value and that is the full scale of a camera of 8, 10, 12, 14 or 16 bits (for uint8 only
        255). Corrected images no longer have that plateau: measure the raw ones. Always 0 for
        float images, whose full scale is not known.

        A NaN in a float image makes all but the saturated fraction NaN.

    Raises
    ------
    ValueError
        If the image is empty or does not have two axes.

    References
    ----------
    Variance of the Laplacian: Pech-Pacheco et al. 2000, ICPR.
    https://doi.org/10.1109/ICPR.2000.903548; compared with others in Pertuz et al. 2013, Pattern
    Recognition 46:1415. https://doi.org/10.1016/j.patcog.2012.11.011
    """
    if image.ndim != 2 or image.size == 0:
        raise ValueError(f"quality: image is {image.shape}, expected (y, x) with pixels.")
    mean = float(image.mean(dtype=np.float64))
    sharpness = _laplacian_variance(image)
    return FieldQuality(
        focus=sharpness / mean**2 if mean != 0 else 0.0,
        saturated_fraction=measure_saturation(image),
        mean=mean,
        background=_find_percentile(image, BACKGROUND_PERCENTILE),
    )


def measure_saturation(image: npt.NDArray[np.number]) -> float:
    """Part of the pixels at the camera's largest value, 0 to 1; see `measure_quality`."""
    if image.size and np.issubdtype(image.dtype, np.integer):
        largest = int(image.max())
        if largest in FULL_SCALES:
            return float((image == largest).mean())
    return 0.0


def _find_percentile(image: npt.NDArray[np.number], percentile: float) -> float:
    """Percentile by counting where the values are few, by sorting elsewhere."""
    if image.dtype not in (np.uint8, np.uint16):
        return float(np.percentile(image.astype(np.float64), percentile))
    reached = np.cumsum(np.bincount(image.ravel()))
    return float(np.searchsorted(reached, percentile / 100 * image.size))


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _laplacian_variance(image: npt.NDArray[np.number]) -> float:
    """Variance of the sum of four neighbours less four times the pixel, without the border."""
    height, width = image.shape
    if height < 3 or width < 3:
        return 0.0
    total = np.float64(0)
    squares = np.float64(0)
    for y in range(1, height - 1):
        above, row, below = image[y - 1], image[y], image[y + 1]
        row_total = np.float32(0)
        row_squares = np.float32(0)
        for x in range(1, width - 1):
            curvature = (
                np.float32(above[x])
                + np.float32(below[x])
                + np.float32(row[x - 1])
                + np.float32(row[x + 1])
                - np.float32(4) * np.float32(row[x])
            )
            row_total += curvature
            row_squares += curvature * curvature
        total += row_total
        squares += row_squares
    n = (height - 2) * (width - 2)
    return float(max(squares / n - (total / n) ** 2, 0.0))
