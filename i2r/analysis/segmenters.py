"""Segmenters: functions from an image and its pixel size to labels, and the trained network's.

A segmenter takes a plane (y, x) and the edge of a pixel in microns (None: not known) and gives
its label image (y, x), integers with 0 for background. Packages offer theirs under the entry
point group ``i2r.segmenters``; its name is then a method like the built-in ones.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import numpy as np

from i2r.errors import I2RError
from i2r.extensions import find_extension, list_extensions
from i2r.kernels.decoding import decode_nuclei
from i2r.kernels.tiles import Tile, paste_tile, plan_tiles

if TYPE_CHECKING:
    from i2r.models.unet import NucleusUNet

Segmenter = Callable[[np.ndarray, float | None], np.ndarray]

GROUP = "i2r.segmenters"
# Tiles predicted at once on a GPU; a CPU gains nothing by more than one.
GPU_BATCH = 8
# Probabilities: of 0.5, 0.57 and 0.64, and of 0.3 to 0.7, those with the highest mean F1 of an
# earlier network on 25 validation fields of BBBC039, and on the DSB2018 fifth as well.
MIN_FOREGROUND = 0.57
MIN_CENTRE = 0.6
# In logits: 39 merges instead of 45 and 103 instead of 109 on these images, at the same mean F1.
MIN_DIP = 0.25
# A nucleus smaller than this is debris, a hole larger than that is none: the defaults of the
# method 'threshold' as well.
MIN_AREA_UM2 = 10.0
MAX_HOLE_UM2 = 85.0
# Longest side of what the network sees at once: a field of 1,080 px at 0.65 um is one tile.
MAX_SIDE_PX = 1408
# Taken where nobody knows the pixel size: that of a 10x lens on most cameras, or 20x binned.
DEFAULT_PIXEL_UM = 0.65


def list_segmenters() -> list[str]:
    """List the names of the segmenters that other packages offer."""
    return list_extensions(GROUP)


def find_segmenter(name: str) -> EntryPoint:
    """Find a segmenter of another package; see `find_extension`."""
    advice = ", or choose 'threshold' or 'unet'"
    return find_extension(GROUP, name, what="segmenter", advice=advice)


def call_segmenter(image: np.ndarray, *, name: str, pixel_size_um: float | None) -> np.ndarray:
    """Call another package's segmenter and check what it gives.

    Parameters
    ----------
    image
        Shape (y, x), as it is in the file.
    name
        Of the entry point.
    pixel_size_um
        Edge of a pixel; None where it is not known.

    Returns
    -------
    ndarray of int32, shape (y, x)
        The labels as they are; numbers need not be consecutive.

    Raises
    ------
    InputError
        If no segmenter has this name.
    I2RError
        If the labels are not integers of the image's shape, 0 and above, in 31 bits.
    """
    segment: Segmenter = find_segmenter(name).load()
    labels = np.asarray(segment(image, pixel_size_um))
    problem = ""
    if labels.shape != image.shape:
        problem = f"labels of shape {labels.shape}, expected the image's {image.shape}"
    elif not np.issubdtype(labels.dtype, np.integer):
        problem = f"labels of type {labels.dtype}, expected integers"
    elif labels.size and not 0 <= labels.min() <= labels.max() < 2**31:
        problem = f"labels from {labels.min()} to {labels.max()}, expected 0 to 2147483647"
    if problem:
        raise I2RError(f"segmenter {name!r}: found {problem}. Change the segmenter.")
    return labels.astype(np.int32, copy=False)


def segment_by_network(
    planes: np.ndarray,
    network: "NucleusUNet",
    *,
    pixel_size_um: float | None,
    min_area_um2: float = MIN_AREA_UM2,
    max_hole_um2: float = MAX_HOLE_UM2,
    threads: int = 1,
    max_side_px: int = MAX_SIDE_PX,
) -> np.ndarray:
    """Label the nuclei of some fields with the trained network.

    Tiles of a field are predicted one batch after another; while the network is at work on the
    next batch, labels are made of the last one in other threads, which on a GPU hides them.

    Parameters
    ----------
    planes
        Shape (field, y, x), uint8, uint16 or float, bright nuclei on a dark background.
    network
        From `i2r.models.unet_inference.load_network`.
    pixel_size_um
        Edge of a pixel. None where it is not known (`unet_inference.UNKNOWN_ZOOM`): areas
        are those at `DEFAULT_PIXEL_UM`.
    min_area_um2, max_hole_um2
        Smaller objects are removed, holes up to this size are filled.
    threads
        Threads that make labels.
    max_side_px
        Longest side of a tile as the network sees it, rescaled: memory grows with it, not with
        the field.

    Returns
    -------
    ndarray of int32, shape (field, y, x)
        1 to n in each field, 0 for background; all 0 for a constant field.

    Raises
    ------
    ValueError
        If there are not three axes, or a pixel is NaN or infinite.
    """
    from i2r.models.unet_inference import choose_zoom, predict_maps

    if planes.ndim != 3:
        raise ValueError(f"segment nuclei: fields are {planes.shape}, expected (field, y, x).")
    refuse_infinite(planes)
    labels = np.zeros(planes.shape, dtype=np.int32)
    if planes.size == 0:
        return labels
    pixel_um = DEFAULT_PIXEL_UM if pixel_size_um is None else pixel_size_um
    zoom = choose_zoom(pixel_size_um)
    decoding = {
        "min_foreground": MIN_FOREGROUND,
        "min_centre": MIN_CENTRE,
        "min_dip": MIN_DIP,
        "min_area_px": min_area_um2 / pixel_um**2,
        "max_hole_area_px": max_hole_um2 / pixel_um**2,
    }
    side = max(int(max_side_px / max(zoom, 1.0)), 256)
    tiles = plan_tiles(planes.shape[1:], max_side_px=side, margin_px=min(96, side // 4))
    device = next(network.parameters()).device
    counts = np.zeros(len(planes), dtype=np.int64)
    with ThreadPoolExecutor(threads) as pool:
        waiting: list[tuple[int, Tile, Any]] = []
        for batch, places in _cut_tiles(planes, tiles, GPU_BATCH if device.type == "cuda" else 1):
            maps = predict_maps(network, batch, zoom=zoom)
            _paste_all(labels, counts, waiting)
            waiting = [
                (field, tile, pool.submit(decode_nuclei, maps[i], **decoding))
                for i, (field, tile) in enumerate(places)
            ]
        _paste_all(labels, counts, waiting)
    return labels


def refuse_infinite(planes: np.ndarray) -> None:
    """Refuse NaN and infinite pixels.

    Raises
    ------
    ValueError
        With the number of such pixels.
    """
    if np.issubdtype(planes.dtype, np.floating) and not np.isfinite(planes).all():
        n_bad = planes.size - int(np.isfinite(planes).sum())
        raise ValueError(
            f"segment nuclei: {n_bad} of {planes.size} pixels are NaN or infinite, expected finite "
            "intensities. Replace them before segmenting, or exclude the field."
        )


def _cut_tiles(
    planes: np.ndarray, tiles: Sequence[Tile], batch_size: int
) -> Iterator[tuple[np.ndarray, list[tuple[int, Tile]]]]:
    """Cut tiles in batches of one shape, normalised by their whole field; flat fields have none."""
    from i2r.models.unet_inference import measure_brightness, normalise

    parts: list[np.ndarray] = []
    places: list[tuple[int, Tile]] = []
    for field, plane in enumerate(planes):
        if plane.min() == plane.max():
            continue
        brightness = measure_brightness(plane)
        for tile in tiles:
            y0, x0, y1, x1 = tile.outer
            part = normalise(plane[y0:y1, x0:x1], brightness)
            if parts and (len(parts) == batch_size or part.shape != parts[0].shape):
                yield np.stack(parts), places
                parts, places = [], []
            parts.append(part)
            places.append((field, tile))
    if parts:
        yield np.stack(parts), places


def _paste_all(
    labels: np.ndarray, counts: np.ndarray, waiting: Sequence[tuple[int, Tile, Any]]
) -> None:
    """Put decoded tiles into the labels of their fields, in order."""
    for field, tile, decoded in waiting:
        counts[field] = paste_tile(
            labels[field], decoded.result(), tile, n_before=int(counts[field])
        )
