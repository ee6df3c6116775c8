"""How crowded it is around every nucleus of a field."""

import numba
import numpy as np
import numpy.typing as npt

NEIGHBOURHOOD_COLUMNS = ("density_per_px2", "nearest_px", "nearest_three_px")
"""Columns in the order of `measure_neighbourhood`."""


def measure_neighbourhood(
    centroid_y_px: npt.NDArray[np.floating],
    centroid_x_px: npt.NDArray[np.floating],
    *,
    shape: tuple[int, int],
    radius_px: float,
) -> dict[str, npt.NDArray[np.float64]]:
    """Measure the density of nuclei around each nucleus, and the distance to its neighbours.

    Parameters
    ----------
    centroid_y_px, centroid_x_px : (n,)
        Centroids of all nuclei of a field, those at its border too.
    shape : (height, width)
        Of the field in pixels.
    radius_px : float
        Of the disk in which neighbours are counted.

    Returns
    -------
    dict of str to (n,) float64
        ``density_per_px2``: other nuclei within the radius, by the part of the disk that lies in
        the field, so that nuclei at its border are not taken for lonely ones;
        ``nearest_px``: distance to the nearest other nucleus; ``nearest_three_px``: mean
        distance to the nearest three, or to as many as there are. Both are the diagonal of the
        field for a nucleus that is alone in it.

    Raises
    ------
    ValueError
        If the radius is not positive.

    References
    ----------
    Population context decides much of what cells look like: Snijder et al. 2009, Nature 461:520,
    https://doi.org/10.1038/nature08282.
    """
    if radius_px <= 0:
        raise ValueError(f"neighbourhood: the radius is {radius_px} px, expected more than 0.")
    measured = _measure_neighbourhood(
        # Copies: see `i2r.kernels.checks.check_listed`.
        np.array(centroid_y_px, dtype=np.float64),
        np.array(centroid_x_px, dtype=np.float64),
        shape[0],
        shape[1],
        float(radius_px),
    )
    return dict(zip(NEIGHBOURHOOD_COLUMNS, measured.T, strict=True))


@numba.njit(cache=True, nogil=True)
def _measure_neighbourhood(
    y: npt.NDArray[np.float64], x: npt.NDArray[np.float64], height: int, width: int, radius: float
) -> npt.NDArray[np.float64]:
    """Compare all pairs: a field has hundreds of nuclei."""
    n = y.size
    out = np.empty((n, 3), dtype=np.float64)
    for i in range(n):
        nearest = np.full(3, np.inf)
        within = 0
        for j in range(n):
            if i == j:
                continue
            distance = np.hypot(y[j] - y[i], x[j] - x[i])
            within += int(distance <= radius)
            for place in range(3):
                if distance < nearest[place]:
                    distance, nearest[place] = nearest[place], distance
        out[i, 0] = within / _measure_disk(y[i], x[i], height, width, radius)
        n_found = min(3, n - 1)
        out[i, 1] = nearest[0] if n_found else np.hypot(float(height), float(width))
        out[i, 2] = nearest[:n_found].mean() if n_found else out[i, 1]
    return out


@numba.njit(cache=True, nogil=True)
def _measure_disk(y: float, x: float, height: int, width: int, radius: float) -> float:
    """Area of the part of a disk that lies in the field, summed over rows of pixels."""
    area = 0.0
    for row in range(max(0, int(y - radius)), min(height, int(y + radius) + 2)):
        half = np.sqrt(max(radius * radius - (row - y) ** 2, 0.0))
        area += max(min(x + half, width - 0.5) - max(x - half, -0.5), 0.0)
    return area
