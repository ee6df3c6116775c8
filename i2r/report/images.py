"""Pictures of nuclei and fields: contrast, outlines, and PNG files inside the page."""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from i2r.report.html import data_uri

# Grey levels that are shown as black and white, as percentiles of the pixels of controls.
PERCENTILES = (0.5, 99.5)
OUTLINE = (255, 150, 0)


class Window(NamedTuple):
    """The intensities that are shown as black and as white."""

    black: float
    white: float


def find_window(pixels: npt.NDArray[Any], *, ignore_zero: bool = False) -> Window:
    """Choose the contrast of one channel.

    Parameters
    ----------
    pixels
        Intensities of negative controls, any shape; empty or constant ones are fine.
    ignore_zero
        Zeros stand for what was masked.

    Returns
    -------
    Window
        White is always above black.
    """
    values = pixels[pixels > 0] if ignore_zero else pixels.ravel()
    if not values.size:
        return Window(0.0, 1.0)
    black, white = (float(value) for value in np.percentile(values, PERCENTILES))
    if ignore_zero:
        # The edge of a nucleus would be as black as the mask.
        black = max(0.0, black - 0.15 * (white - black))
    return Window(black, max(white, black + 1.0))


def to_grey(image: npt.NDArray[Any], window: Window) -> npt.NDArray[np.uint8]:
    """Scale intensities to 8 bit; what lies outside the window is black or white."""
    scaled = (image.astype(np.float32) - window.black) / (window.white - window.black)
    grey: npt.NDArray[np.uint8] = (np.clip(scaled, 0, 1) * 255 + 0.5).astype(np.uint8)
    return grey


def shrink(plane: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
    """Average blocks of ``factor`` x ``factor`` pixels; rows and columns left over are dropped."""
    if factor == 1:
        return plane
    y, x = (n // factor for n in plane.shape)
    blocks = plane[: y * factor, : x * factor].reshape(y, factor, x, factor)
    means: npt.NDArray[Any] = blocks.mean(axis=(1, 3), dtype=np.float32)
    return means


def find_outlines(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Mark the pixels of nuclei that touch another label or background, shape (y, x)."""
    edge = np.zeros(labels.shape, dtype=bool)
    for axis in (0, 1):
        moved = np.moveaxis(labels, axis, 0)
        differs = moved[1:] != moved[:-1]
        target = np.moveaxis(edge, axis, 0)
        target[1:] |= differs
        target[:-1] |= differs
    return edge & (labels > 0)


def cut_window(
    labels: npt.NDArray[np.integer], bbox: Sequence[int], size: int
) -> npt.NDArray[np.integer]:
    """Cut the window that a nucleus' crop shows, 0 outside the field.

    Parameters
    ----------
    labels
        Shape (y, x).
    bbox
        y0, x0, y1, x1 of the nucleus, half open; its middle is the middle of the window.
    size
        Edge of the crop in pixels.
    """
    cut = np.zeros((size, size), labels.dtype)
    starts = [
        low - (size // 2 - (high - low) // 2) for low, high in zip(bbox[:2], bbox[2:], strict=True)
    ]
    inside = [
        (max(0, start), min(length, start + size))
        for start, length in zip(starts, labels.shape, strict=True)
    ]
    place = tuple(slice(a - s, b - s) for (a, b), s in zip(inside, starts, strict=True))
    cut[place] = labels[inside[0][0] : inside[0][1], inside[1][0] : inside[1][1]]
    return cut


def resample_labels(labels: npt.NDArray[np.integer], size: int) -> npt.NDArray[np.integer]:
    """Take labels of a square window at so many places as a crop has pixels."""
    places = ((np.arange(size) + 0.5) * len(labels) / size).astype(int)
    return labels[np.ix_(places, places)]


def join_strip(tiles: Sequence[npt.NDArray[np.uint8]], n_places: int) -> npt.NDArray[np.uint8]:
    """Put tiles, (y, x) or (y, x, rgb), beside each other with one white column between them.

    Strips of fewer than ``n_places`` tiles are filled up with white, so that all strips of a
    gallery have one scale.
    """
    height, width, *depth = tiles[0].shape
    strip = np.full((height, n_places * (width + 1) - 1, *depth), 255, np.uint8)
    for place, tile in enumerate(tiles):
        strip[:, place * (width + 1) : place * (width + 1) + width] = tile
    return strip


def paint_outline(
    grey: npt.NDArray[np.uint8], outline: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    """Make an RGB tile with the outline on it."""
    painted = np.repeat(grey[..., None], 3, axis=2)
    painted[outline] = OUTLINE
    return painted


def png_uri(pixels: npt.NDArray[np.uint8]) -> str:
    """Encode grey (y, x), RGB (y, x, 3) or RGBA (y, x, 4) pixels for the page."""
    return _encode(Image.fromarray(np.ascontiguousarray(pixels)))


def jpeg_uri(grey: npt.NDArray[np.uint8]) -> str:
    """Encode grey pixels (y, x) of a whole field for the page: a fifth of the bytes of PNG."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(grey)).save(buffer, "JPEG", quality=70, optimize=True)
    return data_uri(buffer.getvalue(), "image/jpeg")


def overlay_uri(classes: npt.NDArray[np.uint8], colours: Sequence[tuple[int, int, int]]) -> str:
    """Encode a see-through layer: 0 is nothing, 1 the first colour, 2 the second ..."""
    picture = Image.fromarray(np.ascontiguousarray(classes))
    picture.putpalette([0, 0, 0, *(value for colour in colours for value in colour)])
    return _encode(picture, transparency=0)


def _encode(picture: Image.Image, **options: Any) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True, **options)
    return data_uri(buffer.getvalue())
