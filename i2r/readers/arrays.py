"""Planes of Zarr arrays as image files: addressed by the array's document and a plane number."""

import math
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from i2r.errors import FieldError
from i2r.readers.headers import MAX_DECODED_BYTES, PIXEL_TYPES, missing, unreadable
from i2r.store import files
from i2r.store.arrays import open_array
from i2r.store.documents import read_json
from i2r.store.remote import explain_errors

# The document of an array: Zarr v3 and v2.
ARRAY_DOCUMENTS = ("zarr.json", ".zarray")


def is_array(url: str) -> bool:
    """Tell whether an image's URL is the document of a Zarr array."""
    return url.rpartition("/")[2] in ARRAY_DOCUMENTS


def find_array(url: str) -> tuple[str, tuple[int, ...]] | None:
    """Find an array's document in its folder; returns its URL and the array's shape."""
    for name in ARRAY_DOCUMENTS:
        try:
            document = read_json(f"{url}/{name}")
            return f"{url}/{name}", tuple(int(n) for n in document["shape"])
        except (
            FileNotFoundError,
            NotADirectoryError,
            ValueError,
            KeyError,
            TypeError,
            OverflowError,
        ):
            continue
    return None


def stat_array(url: str) -> files.Stat:
    """Give the size of an array's files together, and a number that changes when any of them does.

    Raises
    ------
    FileNotFoundError
        If the document is not there.
    """
    own = files.stat(url)
    # Hidden files are passed over, so the document of Zarr v2 is counted by itself.
    found = [
        (file.path, file.stat)
        for file in files.find_files(files.parent_url(url), lambda path: True)
        if file.path != url.rpartition("/")[2]
    ]
    digest = sha256(repr([own, *found]).encode()).digest()
    size = own.size_bytes + sum(max(0, stat.size_bytes) for _, stat in found)
    return files.Stat(size, int.from_bytes(digest[:8], "little") >> 1)


def read_array_plane(url: str, *, page: int) -> npt.NDArray[Any]:
    """Read one plane of an array.

    Parameters
    ----------
    url
        The array's document.
    page
        Which plane, counted over all axes before the last two.

    Returns
    -------
    ndarray
        Shape (y, x), values as stored, in this machine's byte order.

    Raises
    ------
    FieldError
        With the reason first: ``missing`` (no array, no such plane, or nothing but the fill
        value: Zarr stores no such chunks, so a plane that was lost reads like that), ``dtype``,
        ``size``, ``truncated``.
    """
    where = files.without_secrets(url)
    array = open_level(url)
    shape, n_planes = array.shape, math.prod(array.shape[:-2])
    if len(shape) < 2 or page >= n_planes:
        raise FieldError(
            f"missing: {where} has the shape {shape}, expected plane {page}. Export it again."
        )
    if array.dtype.newbyteorder("=") not in PIXEL_TYPES:
        raise _wrong_type(where, array.dtype)
    if not 0 < math.prod(shape[-2:]) * array.dtype.itemsize <= MAX_DECODED_BYTES:
        raise FieldError(
            f"size: {where} is {shape[-2:]} pixels, expected at most {MAX_DECODED_BYTES} bytes. "
            "Split the image, or leave it out."
        )
    place = np.unravel_index(page, shape[:-2]) if n_planes > 1 else (0,) * (len(shape) - 2)
    try:
        with explain_errors(url):
            plane = np.asarray(array[tuple(int(n) for n in place)])
    except PermissionError as error:
        raise missing(url, why=error.strerror) from error
    except Exception as error:  # each codec has errors of its own
        raise unreadable(url, str(error)) from error
    if (plane == (array.fill_value or 0)).all():
        raise FieldError(
            f"missing: {where} holds no pixels of plane {page}. Convert it again, or leave the "
            "field out."
        )
    return plane.astype(plane.dtype.newbyteorder("="), copy=False)


def _wrong_type(where: str, dtype: object) -> FieldError:
    return FieldError(
        f"dtype: {where} has {dtype} pixels, expected 8 or 16 bit integers, or 32 or 64 bit "
        "numbers. Export the raw images."
    )


def read_array_header(url: str) -> tuple[tuple[int, int], np.dtype[Any]]:
    """Read shape (y, x) and dtype of an array's planes.

    Raises
    ------
    FieldError
        With the reason first: ``missing`` (no array, or one without planes), ``dtype``.
    """
    array = open_level(url)
    dtype = array.dtype.newbyteorder("=")
    where = files.without_secrets(url)
    if dtype not in PIXEL_TYPES:
        raise _wrong_type(where, array.dtype)
    if array.ndim < 2:
        raise FieldError(f"missing: {where} has the shape {array.shape}. Export it again.")
    return (int(array.shape[-2]), int(array.shape[-1])), dtype


def open_level(url: str) -> Any:
    """Open the array that a plane's URL names, not its image's other levels."""
    try:
        with explain_errors(url):
            return open_array(files.parent_url(url))
    except FileNotFoundError as error:
        raise missing(url) from error
    except PermissionError as error:
        raise missing(url, why=error.strerror) from error
    except Exception as error:  # documents of any kind: key, type and value errors
        raise unreadable(url, str(error)) from error
