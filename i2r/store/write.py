"""Plates, images, labels and crops as OME-Zarr, each written whole by one task."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from i2r.errors import InputError
from i2r.store import files, ngff
from i2r.store.arrays import write_array, write_document
from i2r.store.shards import CROPS
from i2r.types import Well

# Larger fields get coarser levels, so that viewers never load more than this at once.
LEVEL_PX = 2048
# Crops per chunk: the unit in which training reads.
CROPS_PER_CHUNK = 512


def write_plate(
    url: str,
    *,
    name: str,
    wells: Sequence[Well],
    field_count: int,
    size: tuple[int, int] | None = None,
) -> None:
    """Write the documents of a plate and of its rows that have images.

    Parameters
    ----------
    url
        The plate, ``.../P1.ome.zarr``.
    name, wells, field_count, size
        As for `ngff.plate_document`.
    """
    document = ngff.plate_document(name, wells, field_count=field_count, size=size)
    write_document(url, document)
    for row in sorted({well.row_name for well in wells}):
        write_document(files.join_url(url, row), ngff.group_document())


def write_well(url: str, fields: Sequence[str]) -> None:
    """Write the document of a well, ``.../B/3``, which lists its fields."""
    write_document(url, ngff.well_document(fields))


def write_image(
    url: str,
    image: npt.NDArray[np.unsignedinteger],
    *,
    channels: Sequence[str],
    pixel_size_um: float | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> int:
    """Write one field's image as an OME-Zarr image group, in place of what is there.

    Three files up to 2,048 px; two more for each coarser level beyond. Labels nested in an
    earlier image go with it: they belonged to other pixels.

    Parameters
    ----------
    url
        The image group, ``.../B/3/1``.
    image
        Shape (c, y, x), at least one pixel; uint8 or uint16.
    channels
        The stains' names.
    pixel_size_um
        Edge of a pixel in microns; None or NaN when nobody said.
    attributes
        What else to keep with the image, under ``i2r``.

    Returns
    -------
    int
        The number of bytes written.

    Raises
    ------
    OSError
        As the file system says it.
    """
    _clear(url)
    levels = _pyramid(image)
    document = ngff.image_document(
        channels,
        pixel_size_um=pixel_size_um,
        n_levels=len(levels),
        dtype=image.dtype,
        windows=_display_windows(image),
        name=url.rpartition("/")[2],
    )
    if attributes is not None:
        document["attributes"]["i2r"] = dict(attributes)
    written = write_document(url, document)
    for number, level in enumerate(levels):
        chunk = (1, *level.shape[1:])
        written += write_array(f"{url}/{number}", level, chunk=chunk, axes=("c", "y", "x"))
    return written


def write_labels(
    image_url: str,
    name: str,
    labels: npt.NDArray[np.integer],
    *,
    pixel_size_um: float | None = None,
) -> int:
    """Write one label image of a field, in place of the one of that name; others stay.

    Four files up to 2,048 px; two more for each coarser level beyond.

    Parameters
    ----------
    image_url
        The image group that the labels belong to.
    name
        Name of the label image.
    labels
        Shape (y, x), 0 = background; stored as int32.
    pixel_size_um
        Edge of a pixel in microns; None or NaN when nobody said.

    Returns
    -------
    int
        The number of bytes written.

    Raises
    ------
    InputError
        If the name can't be a folder's.
    ValueError
        If a label doesn't fit int32.
    """
    if labels.size and (labels.max() > np.iinfo(np.int32).max or labels.min() < 0):
        raise ValueError(f"labels from {labels.min()} to {labels.max()}: expected 0 to 2**31 - 1")
    folder = files.join_url(image_url, "labels")
    url = files.join_url(folder, name)
    _clear(url)
    levels = [labels.astype(np.int32, copy=False)]
    while max(levels[-1].shape) > LEVEL_PX:
        # A mean of labels would be the label of somebody else.
        levels.append(_even(levels[-1])[::2, ::2])
    document = ngff.label_image_document(
        pixel_size_um=pixel_size_um, n_levels=len(levels), name=name
    )
    written = write_document(url, document)
    for number, level in enumerate(levels):
        written += write_array(f"{url}/{number}", level, chunk=level.shape, axes=("y", "x"))
    listed: list[str] = []
    # Listing again after writing: two tasks that add labels at once both end up in the list.
    while (names := _label_names(folder)) != listed:
        written += write_document(folder, ngff.labels_document(names))
        listed = names
    return written


def _label_names(folder: str) -> list[str]:
    return [name for name in files.list_folder(folder) if name != "zarr.json"]


def _pyramid(image: npt.NDArray[np.unsignedinteger]) -> list[npt.NDArray[np.unsignedinteger]]:
    """Halve by the rounded mean of 2 x 2 pixels until no edge is longer than `LEVEL_PX`."""
    levels = [image]
    while max(levels[-1].shape[1:]) > LEVEL_PX:
        fine = _even(levels[-1])
        total = fine[:, ::2, ::2].astype(np.uint32)
        for y, x in ((0, 1), (1, 0), (1, 1)):
            total += fine[:, y::2, x::2]
        levels.append(((total + 2) >> 2).astype(image.dtype))
    return levels


def _even(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Drop an odd last row and column, as halving needs it; a single one is doubled instead."""
    rows, columns = plane.shape[-2:]
    if rows == 1:
        plane = plane.repeat(2, axis=-2)
    if columns == 1:
        plane = plane.repeat(2, axis=-1)
    return plane[..., : max(2, rows // 2 * 2), : max(2, columns // 2 * 2)]


def _display_windows(image: npt.NDArray[np.unsignedinteger]) -> list[tuple[float, float]]:
    """Choose what viewers show as black and white: percentiles of every 256th pixel."""
    sample = image[:, ::16, ::16].reshape(len(image), -1)
    low, high = np.percentile(sample, (0.5, 99.8), axis=1)
    return [(float(a), float(max(b, a + 1))) for a, b in zip(low, high, strict=True)]


def write_crops(
    url: str,
    crops: npt.NDArray[Any],
    *,
    attributes: Mapping[str, Any] | None = None,
) -> int:
    """Write the crops of one well as one array in one shard, in place of what is there.

    Parameters
    ----------
    url
        The array.
    crops
        Shape (nucleus, c, y, x); no nuclei give an array of shape (0, c, y, x) without shard.
    attributes
        What to keep with the array, such as the channels' names.

    Returns
    -------
    int
        The number of bytes written.
    """
    _clear(url)
    n_chunks = max(1, math.ceil(len(crops) / CROPS_PER_CHUNK))
    # Chunks of equal length: 600 crops are 300 and 300, not 512 and 88 filled up to 512.
    per_chunk = max(1, math.ceil(len(crops) / n_chunks))
    chunk = (per_chunk, 1, *crops.shape[2:])
    axes = ("nucleus", "c", "y", "x")
    return write_array(url, crops, chunk=chunk, axes=axes, codec=CROPS, attributes=attributes)


def write_embeddings(
    url: str,
    embeddings: npt.NDArray[np.float32],
    *,
    attributes: Mapping[str, Any] | None = None,
) -> int:
    """Write the embeddings of one well as one array in one shard, in place of what is there.

    Parameters
    ----------
    url
        The array.
    embeddings
        Shape (nucleus, dim), in the order of the well's crops; there may be no nucleus.
    attributes
        What to keep with the array, such as the stage that made the crops.

    Returns
    -------
    int
        The number of bytes written.
    """
    _clear(url)
    chunk = (max(1, len(embeddings)), embeddings.shape[1])
    return write_array(url, embeddings, chunk=chunk, axes=("nucleus", "dim"), attributes=attributes)


def _clear(url: str) -> None:
    """Remove a Zarr node of an earlier run; anything else was not written here and stays.

    Raises
    ------
    InputError
        If something else is in the way.
    """
    names = files.list_folder(url)
    if not names:
        return
    if "zarr.json" not in names:
        raise InputError(
            f"{url}: found {', '.join(names[:3])}, expected nothing or a Zarr array or group. "
            "Move it away: i2r replaces only what it wrote."
        )
    folder, _, name = url.rpartition("/")
    files.remove_tree(folder, name)
