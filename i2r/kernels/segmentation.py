"""Nuclei of a fluorescence field by thresholds and distance, without learning.

The steps are classical: square root and Gaussian, a foreground above both a global and a local
threshold, components, cuts at necks, and a boundary at a fixed part of each nucleus's own
brightness. What makes it fast is that everything after the threshold works on runs and on the
boxes of the few components that need a cut. Where light is as uneven as nuclei are bright, it is
fitted between the nuclei (`i2r.kernels.light`), and all steps are taken again above it.
"""

from collections.abc import Callable
from functools import partial
from math import isqrt

import numba
import numpy as np
import numpy.typing as npt

from i2r.kernels.background import (
    find_content,
    measure_background,
    measure_lowest,
    replace_hot_pixels,
)
from i2r.kernels.checks import freeze
from i2r.kernels.components import (
    Components,
    find_components,
    measure_areas,
    paint_components,
)
from i2r.kernels.defects import fill_outside, replace_lines
from i2r.kernels.filters import (
    expand_row,
    find_local_maximum,
    find_places,
    make_weights,
    smooth_gaussian,
)
from i2r.kernels.histograms import (
    count_intensities,
    find_foreground_threshold,
    find_noise_threshold,
    find_otsu_threshold,
)
from i2r.kernels.light import keep_steep_objects, measure_light, measure_noise
from i2r.kernels.splitting import split_components

N_BINS = 512
"""Bins of the histogram that Otsu's threshold is found on."""

MAX_BLOCK_PX = 8
"""Largest side of the blocks on whose grid the local maximum is found."""

WINDOWS_PER_TILE = 4
"""The background is measured on tiles of so many windows: what is smaller can be a nucleus."""

WINDOWS_PER_LOOK = 2
"""What light leaves above this background shows on tiles of two windows; ..."""

UNEVEN_LIGHT = 0.4
"""... it is uneven if that has so much of the height of Otsu's threshold, ..."""

HIDING_LIGHT = 0.2
"""... or so much of it where nothing is found: then nothing is lost by another try."""

LIGHT_ROUNDS = 2
"""Then light and nuclei are found by turns, so many times."""

NEAR_REACH = 2
"""Where no nucleus is known yet, they start above a background on tiles of half a window that
follows everything wider than five of them, which is two and a half nuclei."""

NOISE_BELOW = 2.05
"""Background is the second percentile of noise, so many standard deviations below its middle."""

LEAST_RANGE = 1e-4
"""Fields that differ by less, relative to their brightest pixel, differ by rounding."""

MAX_DEBRIS = 2
"""If no more objects than this are found, ..."""

MIN_DEBRIS_WINDOWS = 8
"""... and they are so many squared windows large, they are debris, and nuclei are sought below."""


def segment_nuclei(
    image: npt.NDArray[np.number],
    *,
    sigma_px: float = 0.75,
    threshold_factor: float = 0.94,
    local_factor: float = 0.58,
    window_px: float = 20.0,
    object_factor: float = 0.7,
    min_area_px: float = 24.0,
    max_hole_area_px: float = 200.0,
    min_neck_depth_px: float = 1.1,
    max_neck_ratio: float = 0.93,
    min_solidity: float = 0.93,
    min_contrast: float = 1.4,
) -> npt.NDArray[np.int32]:
    """Label the nuclei of one DNA channel.

    The result does not change if the intensities are multiplied by a number or a constant is
    added to them.

    Parameters
    ----------
    image : (y, x) uint8, uint16 or float32
        Bright nuclei on a dark background.
    sigma_px : float
        Standard deviation of the Gaussian that smooths the square root of the intensities;
        where components are cut they are smoothed again, with twice as much.
    threshold_factor : float
        Foreground is above this part of Otsu's threshold (of the square roots) ...
    local_factor : float
        ... and above this part of the smoothed local maximum, so that a dim halo around a bright
        nucleus is background and a dim nucleus elsewhere is not.
    window_px : float
        Side of the window of the local maximum, about the diameter of a nucleus; the maxima are
        smoothed with a Gaussian of a quarter of it.
    object_factor : float
        Pixels below this part of their nucleus's mean (of square roots) are taken away from it.
        0 for none.
    min_area_px : float
        Smaller objects are removed.
    max_hole_area_px : float
        Holes up to this area are filled.
    min_neck_depth_px, max_neck_ratio : float
        Two peaks of the distance to the background, weighted by brightness, are two nuclei if
        the neck between them is lower than the lower peak by at least this much, and at most
        this part of its height.
    min_solidity : float
        Components at least as convex as this are one nucleus.
    min_contrast : float
        Fields whose Otsu threshold is less than this many robust standard deviations above their
        background (`measure_contrast`) hold no nuclei, only noise or uneven light.

    Returns
    -------
    (y, x) int32
        1 to n in raster order of the first pixel of each nucleus, 0 for background. Each nucleus
        is connected. All 0 for an empty, a constant, a saturated or a noise-only field.

    Raises
    ------
    ValueError
        If the image does not have two axes or a pixel is NaN or infinite.

    Notes
    -----
    Defaults are for 0.65 um per pixel and human nuclei. They were chosen by random search on the
    training part of BBBC039 and on fluorescence fields of the Data Science Bowl 2018; steps and
    `min_contrast` were compared on BBBC039's validation part as well, so scores on these sets
    are not of unseen data. Peak memory beside the image, labels included, is about 9 bytes per
    pixel, 16 where one component covers the whole field, and 26 where light is fitted.

    References
    ----------
    Global threshold: Otsu 1979, https://doi.org/10.1109/TSMC.1979.4310076. Cuts at the necks of
    the distance map: Malpica et al. 1997, Cytometry 28:289,
    https://doi.org/10.1002/(SICI)1097-0320(19970801)28:4<289::AID-CYTO3>3.0.CO;2-7.
    """
    if image.ndim != 2:
        raise ValueError(f"segment nuclei: image is {image.shape}, expected one channel (y, x).")
    labels = np.zeros(image.shape, dtype=np.int32)
    if image.size == 0:
        return labels
    if np.issubdtype(image.dtype, np.floating) and not np.isfinite(image).all():
        n_bad = image.size - int(np.isfinite(image).sum())
        raise ValueError(
            f"segment nuclei: {n_bad} of {image.size} pixels are NaN or infinite, expected finite "
            "intensities. Replace them before segmenting, or exclude the field."
        )
    content = find_content(image, min_margin_px=window_px)
    image, inside = fill_outside(replace_lines(image[content]))
    image = freeze(image)
    background = measure_background(image, tile_px=max(int(WINDOWS_PER_TILE * window_px), 8))
    if min_area_px > 1:
        image = freeze(replace_hot_pixels(image, background=float(background.min())))
    found = np.zeros(image.shape, dtype=np.int32) if image.size < labels.size else labels
    label = partial(
        _label_content,
        found=found,
        inside=inside,
        sigma_px=sigma_px,
        threshold_factor=threshold_factor,
        local_factor=local_factor,
        window_px=window_px,
        object_factor=object_factor,
        min_area_px=min_area_px,
        max_hole_area_px=max_hole_area_px,
        min_neck_depth_px=min_neck_depth_px,
        max_neck_ratio=max_neck_ratio,
        min_solidity=min_solidity,
        min_contrast=min_contrast,
    )
    height = label(image, background)
    left = measure_light_left(image, background, window_px=window_px)
    if left > UNEVEN_LIGHT * height or (left > HIDING_LIGHT * height and not found.any()):
        _label_by_turns(image, background, found, label, window_px=window_px)
    if found is not labels:
        labels[content] = found
    return labels


def measure_light_left(
    image: npt.NDArray[np.number], background: npt.NDArray[np.float32], *, window_px: float
) -> float:
    """Measure how uneven the light is that a coarse background does not follow.

    Parameters
    ----------
    image : (y, x) uint8, uint16 or float32
        At least one pixel, without NaN.
    background : (rows, columns) float32
        From `measure_background`.
    window_px : float
        About the diameter of a nucleus.

    Returns
    -------
    float
        Range of what is left, in the image's units.
    """
    near = measure_lowest(image, tile_px=max(int(WINDOWS_PER_LOOK * window_px), 8))
    return float(np.ptp(smooth_gaussian(near, sigma_px=0, offset=background)))


def _label_by_turns(
    image: npt.NDArray[np.number],
    background: npt.NDArray[np.float32],
    found: npt.NDArray[np.int32],
    label: Callable[[npt.NDArray[np.number], npt.NDArray[np.float32]], float],
    *,
    window_px: float,
) -> None:
    """Find the light between nuclei, and nuclei above the light, by turns.

    It starts with the nuclei that were found, or, where there are none, with those above a
    background that is near enough to follow every light, and parts of nuclei.
    """
    noise = measure_noise(image, tile_px=max(int(WINDOWS_PER_TILE * window_px), 8))
    below = np.full((3, 3), -NOISE_BELOW * np.median(noise), np.float32)
    keep = partial(keep_steep_objects, found, noise=noise, window_px=window_px)
    keep(smooth_gaussian(image, sigma_px=0, offset=background))
    if not found.any():
        near = measure_background(image, tile_px=max(int(window_px / 2), 4), reach=NEAR_REACH)
        found[:] = 0
        label(image, near)
        keep(smooth_gaussian(image, sigma_px=0, offset=near))
    for _ in range(LIGHT_ROUNDS):
        light = measure_light(image, found, window_px=window_px)
        flat = smooth_gaussian(image, sigma_px=0, offset=light)
        found[:] = 0
        label(flat, below)
        keep(flat)


def _label_content(
    image: npt.NDArray[np.number],
    background: npt.NDArray[np.float32],
    *,
    found: npt.NDArray[np.int32],
    inside: npt.NDArray[np.bool_] | None,
    sigma_px: float,
    threshold_factor: float,
    local_factor: float,
    window_px: float,
    object_factor: float,
    min_area_px: float,
    max_hole_area_px: float,
    min_neck_depth_px: float,
    max_neck_ratio: float,
    min_solidity: float,
    min_contrast: float,
) -> float:
    """Label what rises above a background, in `found`, which is all 0 before.

    `segment_nuclei` has the parameters.

    Returns
    -------
    float
        How high Otsu's threshold lies above the background, in the image's units: the height of
        what stands out most, of noise if nothing does.
    """
    smoothed = smooth_gaussian(
        image,
        sigma_px=sigma_px,
        offset=background,
        square_root=True,
        truncate=3.0,
    )
    step = max(isqrt(image.size) // 512, 1)
    seen = smoothed if inside is None else smoothed[inside][None]
    counts, low, high = count_intensities(
        seen, n_bins=N_BINS, row_step=step if inside is None else 1
    )
    if high - low <= LEAST_RANGE * high:
        return 0.0
    otsu = find_otsu_threshold(counts, low=low, high=high)
    threshold = find_foreground_threshold(
        counts, low=low, high=high, otsu=otsu, min_contrast=min_contrast
    )
    block_px = max(min(int(window_px / 2.5), MAX_BLOCK_PX), 1)
    local = find_local_maximum(
        smoothed, window_px=window_px, sigma_px=window_px / 4, block_px=block_px
    ) * np.float32(local_factor)

    def find_foreground(threshold: float) -> Components:
        mask = _threshold_locally(
            smoothed, np.float32(threshold_factor * threshold), local, block_px
        )
        if inside is not None:
            mask &= inside
        return find_components(mask, max_hole_area_px=max_hole_area_px)

    components = find_foreground(threshold)
    areas = measure_areas(components)
    areas = areas[areas >= min_area_px]
    if 0 < areas.size <= MAX_DEBRIS and areas.mean() > MIN_DEBRIS_WINDOWS * window_px**2:
        below = counts[: round((threshold - low) / (high - low) * counts.size)]
        components = find_foreground(find_noise_threshold(below, low=low, high=threshold))
    n_objects = split_components(
        components,
        smoothed,
        make_weights(sigma_px=2 * sigma_px, truncate=3.0),
        found,
        float(min_solidity),
        float(min_neck_depth_px),
        float(max_neck_ratio),
    )
    if object_factor > 0:
        _trim_objects(smoothed, components, found, n_objects, float(object_factor))
    components = find_components(found, max_hole_area_px=max_hole_area_px)
    found[:] = 0
    paint_components(components, found, float(min_area_px))
    return otsu**2


@numba.njit(cache=True, nogil=True)
def _threshold_locally(
    image: npt.NDArray[np.float32],
    threshold: np.float32,
    local: npt.NDArray[np.float32],
    block_px: int,
) -> npt.NDArray[np.bool_]:
    """Pixels above a threshold and above a coarse grid of thresholds, interpolated linearly."""
    height, width = image.shape
    mask = np.empty((height, width), dtype=np.bool_)
    places = find_places(width, block_px, 0, local.shape[1])
    rows = find_places(height, block_px, 0, local.shape[0])
    above = np.empty(width, dtype=np.float32)
    below = np.empty(width, dtype=np.float32)
    expand_row(local[0], places, below)
    expanded = -1
    for y in range(height):
        # The sum tells each pair of neighbours from the next one, at the ends too.
        if rows.left[y] + rows.right[y] != expanded:
            above, below = below, above
            expand_row(local[rows.right[y]], places, below)
            expanded = rows.left[y] + rows.right[y]
        weight = rows.part[y]
        row, out = image[y], mask[y]
        for x in range(width):
            local_threshold = above[x] + weight * (below[x] - above[x])
            out[x] = (row[x] > threshold) & (row[x] > local_threshold)
    return mask


@numba.njit(cache=True, nogil=True)
def _trim_objects(
    image: npt.NDArray[np.float32],
    components: Components,
    labels: npt.NDArray[np.int32],
    n_objects: int,
    factor: float,
) -> None:
    """Clear the pixels of each object that are below a part of the object's mean."""
    total = np.zeros(n_objects + 1, dtype=np.float64)
    area = np.zeros(n_objects + 1, dtype=np.int64)
    for run in range(components.y.size):
        values, own = image[components.y[run]], labels[components.y[run]]
        label = own[components.x0[run]]
        part = np.float64(0)
        start = components.x0[run]
        for x in range(components.x0[run], components.x1[run]):
            if own[x] != label:
                total[label] += part
                area[label] += x - start
                label, part, start = own[x], np.float64(0), x
            part += values[x]
        total[label] += part
        area[label] += components.x1[run] - start
    darkest = np.zeros(n_objects + 1, dtype=np.float32)
    for i in range(1, n_objects + 1):
        darkest[i] = factor * total[i] / area[i]
    for run in range(components.y.size):
        values, own = image[components.y[run]], labels[components.y[run]]
        for x in range(components.x0[run], components.x1[run]):
            if values[x] < darkest[own[x]]:
                own[x] = 0
