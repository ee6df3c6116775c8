"""Plates, images, labels and crops as OME-Zarr, each written whole by one task."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from i2r.errors import InputError
from i2r.store import files, ngff
from i2r.store.arrays import read_array, write_array, write_document
from i2r.store.documents import parse_json, read_json
from i2r.store.pyramids import choose_factors, shrink_image, shrink_labels
from i2r.store.shards import CROPS
from i2r.types import Well

# Files of a node, whatever groups they are in.
_OF_NODE = re.compile(r"(?:[^/]+/)*(?:zarr\.json|c(?:/\d+)+)")
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
    position_um: tuple[float, float] | None = None,
) -> int:
    """Write one field's image as an OME-Zarr image group, in place of what is there.

    Five files up to 2,560 px, of which two are an overview of at most 256 px; two more for each
    coarser level beyond. Labels nested in an earlier image go with it: they belonged to other
    pixels.

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
    position_um
        Where the first pixel lies in the well (y, x), y pointing down; None when nobody said.

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
    factors = choose_factors(image.shape[1:])
    levels = shrink_image(image, factors)
    document = ngff.image_document(
        channels,
        pixel_size_um=pixel_size_um,
        factors=factors,
        dtype=image.dtype,
        windows=_display_windows(image),
        name=url.rpartition("/")[2],
        position_um=position_um,
    )
    if attributes is not None:
        document["attributes"]["i2r"] = dict(attributes)
    written = write_document(url, document)
    return written + _write_levels(url, levels)


def _write_levels(url: str, levels: Sequence[npt.NDArray[Any]], *, first: int = 0) -> int:
    """Write levels of an image (c, y, x) or label image (y, x); a chunk is a plane."""
    written = 0
    for number, level in enumerate(levels, start=first):
        chunk = (1,) * (level.ndim - 2) + level.shape[-2:]
        axes = ("c", "y", "x")[-level.ndim :]
        written += write_array(f"{url}/{number}", level, chunk=chunk, axes=axes)
    return written


def add_levels(url: str, *, like: str = "") -> int:
    """Give an image, or a label image, the coarser levels that it lacks; what is there stays.

    Parameters
    ----------
    url
        The image group, or the group of a label image.
    like
        The image whose levels a label image should have.

    Returns
    -------
    int
        The number of bytes written; 0 where no level was missing.

    Raises
    ------
    DamageError
        If level 0 is not what was written.
    FileNotFoundError
        If there is no image.
    """
    document = read_json(f"{url}/zarr.json")
    known = ngff.read_factors(document)
    if like:
        wanted = ngff.read_factors(read_json(f"{like}/zarr.json"))
    else:
        last = read_json(f"{url}/{len(known) - 1}/zarr.json")
        wanted = known + [known[-1] * n for n in choose_factors(tuple(last["shape"][-2:]))[1:]]
    if len(wanted) <= len(known):
        return 0
    steps = [factor // known[-1] for factor in wanted[len(known) - 1 :]]
    fine = read_array(f"{url}/{len(known) - 1}")
    levels = shrink_labels(fine, steps) if like else shrink_image(fine, steps)
    written = _write_levels(url, levels[1:], first=len(known))
    # Last: it names only what is there.
    return written + write_document(url, ngff.with_levels(document, wanted))


def write_labels(
    image_url: str,
    name: str,
    labels: npt.NDArray[np.integer],
    *,
    pixel_size_um: float | None = None,
) -> int:
    """Write one label image of a field, in place of the one of that name; others stay.

    Six files up to 2,560 px, with an overview like the image's; two more for each coarser level
    beyond.

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
    fits = labels.dtype == np.int32 or labels.max(initial=0) < 2**31
    if not fits or labels.min(initial=0) < 0:
        raise ValueError(f"labels from {labels.min()} to {labels.max()}: expected 0 to 2**31 - 1")
    folder = files.join_url(image_url, "labels")
    url = files.join_url(folder, name)
    _clear(url)
    factors, position = _read_levels(image_url) or (choose_factors(labels.shape), None)
    document = ngff.label_image_document(
        pixel_size_um=pixel_size_um, factors=factors, name=name, position_um=position
    )
    written = write_document(url, document)
    written += _write_levels(url, shrink_labels(labels.astype(np.int32, copy=False), factors))
    listed: list[str] = []
    # Listing again after writing: two tasks that add labels at once both end up in the list.
    while (names := _label_names(folder)) != listed:
        written += write_document(folder, ngff.labels_document(names))
        listed = names
    return written


def _read_levels(image_url: str) -> tuple[list[int], tuple[float, float] | None] | None:
    """Read levels and position of an image, which its labels share; None where there is none."""
    try:
        document = parse_json(files.read_bytes(f"{image_url}/zarr.json"))
    except FileNotFoundError:
        return None
    return ngff.read_factors(document), ngff.read_position(document)


def _label_names(folder: str) -> list[str]:
    return [name for name in files.list_folder(folder) if name != "zarr.json"]


def _display_windows(image: npt.NDArray[np.unsignedinteger]) -> list[tuple[float, float]]:
    """Choose what viewers show as black and white: percentiles of every 256th pixel."""
    from i2r.kernels.quality import find_percentile  # numba takes 0.3 s

    windows = []
    for channel in image:
        # Sorting takes a fifth of the time of `np.percentile`.
        ordered = np.sort(channel[::16, ::16], axis=None)
        low, high = (find_percentile(ordered, percent) for percent in (0.5, 99.8))
        windows.append((low, max(high, low + 1)))
    return windows


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

    A process that is killed while it removes or writes a node leaves parts of it, perhaps without
    the document.

    Raises
    ------
    InputError
        If something else is in the way.
    """
    names = files.list_folder(url)
    if not names:
        return
    if "zarr.json" not in names and not all(
        _OF_NODE.fullmatch(found.path) for found in files.find_files(url, lambda path: True)
    ):
        raise InputError(
            f"{url}: found {', '.join(names[:3])}, expected nothing or a Zarr array or group. "
            "Move it away: i2r replaces only what it wrote."
        )
    folder, _, name = url.rpartition("/")
    files.remove_tree(folder, name)
