"""Plates, wells, images and labels as OME-Zarr, with coarser levels for viewers.

A field has one level of at most 256 pixels along its longer edge, so a plate is seen without
reading its pixels, and a field with labels takes 11 files. Fields too large to be loaded at once
have halves between. Viewers that expect every level to be half of the one before (Viv's, such as
vizarr: https://github.com/hms-dbmi/vizarr/issues/101) want the levels of `halve`, which
``i2r export`` writes.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from i2r.store import files, ngff
from i2r.store.arrays import clear_node, read_array, write_array, write_document
from i2r.store.documents import parse_json, read_json
from i2r.types import Well

# The longer edge of the coarsest level.
OVERVIEW_PX = 256
# Larger fields have halves, so that viewers never load more than this at once. Cameras of
# microscopes have up to 2,560 pixels along an edge.
LOADED_PX = 2560


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
    clear_node(url)
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
    clear_node(url)
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


def choose_factors(shape: tuple[int, int]) -> list[int]:
    """Choose the levels of a field: how many pixels of it lie along the edge of one of each level.

    Parameters
    ----------
    shape
        Of the field (y, x).

    Returns
    -------
    list of int
        The first is 1; each is a multiple of the one before.
    """
    factors = [1]
    while max(shape) // factors[-1] > LOADED_PX:
        factors.append(2 * factors[-1])
    if (step := -(-(max(shape) // factors[-1]) // OVERVIEW_PX)) > 1:
        factors.append(step * factors[-1])
    return factors


def halve(shape: tuple[int, int]) -> list[int]:
    """Give the factors of levels that are halves of each other, down to at most 256 pixels."""
    factors = [1]
    while max(shape) // factors[-1] > OVERVIEW_PX:
        factors.append(2 * factors[-1])
    return factors


def shrink_image(
    image: npt.NDArray[np.unsignedinteger], factors: Sequence[int]
) -> list[npt.NDArray[np.unsignedinteger]]:
    """Make the levels of an image: each pixel the rounded mean of those of the level before.

    Parameters
    ----------
    image
        Shape (c, y, x).
    factors
        Of `choose_factors` or `halve`.

    Returns
    -------
    list of ndarray
        The image itself first. Rows and columns left over at the end of an axis are left out.
    """
    from i2r.kernels.resampling import average_blocks  # numba takes 0.3 s

    levels = [image]
    for step in _steps(factors):
        fine, (rows, columns) = _trim(levels[-1], step)
        coarse = np.empty((len(fine), fine.shape[1] // rows, fine.shape[2] // columns), image.dtype)
        for plane, out in zip(fine, coarse, strict=True):
            average_blocks(np.ascontiguousarray(plane), rows, columns, out)
        levels.append(coarse)
    return levels


def shrink_labels(
    labels: npt.NDArray[np.int32], factors: Sequence[int]
) -> list[npt.NDArray[np.int32]]:
    """Make the levels of a label image (y, x): each pixel the nearest of the level before.

    A mean of labels would be the label of another nucleus.
    """
    levels = [labels]
    for step in _steps(factors):
        fine, (rows, columns) = _trim(levels[-1], step)
        levels.append(fine[(rows - 1) // 2 :: rows, (columns - 1) // 2 :: columns])
    return levels


def _steps(factors: Sequence[int]) -> list[int]:
    return [after // before for before, after in pairwise(factors)]


def _trim(plane: npt.NDArray[Any], step: int) -> tuple[npt.NDArray[Any], tuple[int, int]]:
    """Cut the last axes to multiples of a step; one that is shorter is one pixel of the next."""
    steps = [min(step, length) for length in plane.shape[-2:]]
    rows, columns = (n // s * s for n, s in zip(plane.shape[-2:], steps, strict=True))
    return plane[..., :rows, :columns], (steps[0], steps[1])
