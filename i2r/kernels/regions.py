"""Regions: the window of the field around a nucleus, as the published second branch sees it.

A field is scaled to 8 bit and framed once; every window is then a copy of a part of it. The rules
are those of the published image pipeline (Image2Reg, Paysan et al. 2025, Cell Systems 16).
"""

import numpy as np
import numpy.typing as npt

LOW_PERCENT, HIGH_PERCENT = 0.1, 99.9
"""Percentiles of the field that decide on its scale."""

FRAME_PERCENT = 1.0
"""Percentile of the scaled field that the frame is filled with."""


def find_percentiles(
    plane: npt.NDArray[np.unsignedinteger], percents: tuple[float, ...]
) -> npt.NDArray[np.float64]:
    """Find percentiles of integers by counting them, many times as fast as by sorting.

    Parameters
    ----------
    plane : any shape, uint8 or uint16
        At least one pixel.
    percents : tuple of float
        From 0 to 100.

    Returns
    -------
    (percents,) float64
        Equal to ``numpy.percentile``: linear between neighbouring pixels.
    """
    n_below = np.bincount(plane.ravel()).cumsum()
    at = np.asarray(percents) / 100 * (plane.size - 1)
    below = np.floor(at)
    low = np.searchsorted(n_below, below, side="right").astype(np.float64)
    above = np.minimum(below + 1, plane.size - 1)
    high = np.searchsorted(n_below, above, side="right").astype(np.float64)
    return low + (at - below) * (high - low)


def scale_field(plane: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.uint8]:
    """Scale one channel of a field to 8 bit by its percentiles, as published.

    With a and b the percentiles `LOW_PERCENT` and `HIGH_PERCENT`: (I - a) / b, which leaves a
    bright background's field dim; a field without any pixel over 255 stays as it is.

    Parameters
    ----------
    plane : (y, x) uint8 or uint16
        At least one pixel.

    Returns
    -------
    (y, x) uint8
        Clipped to 0 and 1, times 255, truncated.

    Raises
    ------
    ValueError
        If the pixels are neither uint8 nor uint16, or there are none.
    """
    if plane.dtype not in (np.uint8, np.uint16) or plane.ndim != 2 or plane.size == 0:
        raise ValueError(
            f"scale field: found {plane.dtype} of shape {plane.shape}, expected uint8 or uint16 "
            "(y, x) with at least one pixel."
        )
    brightest = int(plane.max())
    if brightest <= 255:
        return plane.astype(np.uint8)
    low, high = find_percentiles(plane, (LOW_PERCENT, HIGH_PERCENT))
    levels = np.arange(brightest + 1, dtype=np.float64)
    scaled = np.clip((levels - low) / high, 0, 1) if high > 0 else 0 * levels
    return (scaled * 255).astype(np.uint8)[plane]


def frame_field(
    scaled: npt.NDArray[np.uint8], *, size_px: int, halved: bool = False
) -> npt.NDArray[np.uint8]:
    """Put a frame of half a window around a scaled field, and halve it if asked.

    Parameters
    ----------
    scaled : (y, x) uint8
        From `scale_field`.
    size_px : int
        Edge of the windows that will be cut, even. Published: 448.
    halved : bool
        Average 2 x 2 pixels. A window of 448 px becomes one of 224, the network's size, for a
        quarter of the memory.

    Returns
    -------
    (y + size_px, x + size_px) uint8
        The frame is filled with the percentile `FRAME_PERCENT` of the field. Halved: half of
        that, rounded up.

    Raises
    ------
    ValueError
        If the window's edge is odd, not positive, or no multiple of 4 for a halved field.
    """
    if size_px < 2 or size_px % (4 if halved else 2):
        multiple = "a multiple of 4" if halved else "even"
        raise ValueError(f"frame field: windows of {size_px} px, expected {multiple}.")
    height, width = scaled.shape
    rim = size_px // 2
    fill = int(find_percentiles(scaled, (FRAME_PERCENT,))[0])
    shape = [height + size_px, width + size_px]
    if halved:
        shape = [n + n % 2 for n in shape]
    framed = np.full(shape, fill, dtype=np.uint8)
    framed[rim : rim + height, rim : rim + width] = scaled
    if not halved:
        return framed
    total = framed[::2, ::2].astype(np.uint16)
    for y, x in ((0, 1), (1, 0), (1, 1)):
        total += framed[y::2, x::2]
    return ((total + 2) >> 2).astype(np.uint8)


def place_windows(
    centroid_y_px: npt.NDArray[np.floating],
    centroid_x_px: npt.NDArray[np.floating],
    *,
    halved: bool = False,
) -> npt.NDArray[np.int64]:
    """Say where in a framed field the windows of nuclei start.

    Parameters
    ----------
    centroid_y_px, centroid_x_px : (n,)
        Centroids in the field, in pixels, 0 or more.
    halved : bool
        Whether the framed field is halved.

    Returns
    -------
    (n, 2) int64
        Row and column of the first pixel. The centroid, truncated, is at half the window's size
        (in a halved field at the even pixel before it).
    """
    starts = np.stack([centroid_y_px, centroid_x_px], axis=1).astype(np.int64)
    return starts // 2 if halved else starts
