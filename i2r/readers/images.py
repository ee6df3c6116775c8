"""Image files decoded from memory: grey TIFF, PNG and JPEG of 8 or 16 bit, nothing else."""

import errno
import hashlib
import io
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import tifffile
from imagecodecs import jpeg_decode, png_decode, tiff_decode

from i2r.errors import FieldError
from i2r.readers.arrays import is_array, read_array_header, read_array_plane, stat_array
from i2r.readers.headers import (
    JPEG_SIGNATURE,
    PNG_SIGNATURE,
    check_directories,
    missing,
    parse_header,
    unreadable,
)
from i2r.store import files

# Size and time of a file that isn't there.
GONE = files.Stat(-1, 0)
# Other errors of a file system may pass: those are worth another try, not an exclusion.
_NOT_THERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


class PlaneRow(Protocol):
    """One row of `Sources.images`, or anything with these attributes."""

    @property
    def channel(self) -> str:
        """The channel's name."""

    @property
    def url(self) -> str:
        """The file."""

    @property
    def page(self) -> int:
        """The page in the file, from 0."""


class FieldImage(NamedTuple):
    """The pixels of a field and the SHA-256 of each file they came from, by URL."""

    image: npt.NDArray[np.unsignedinteger[Any]]
    digests: dict[str, str]


def read_field(
    planes: Iterable[PlaneRow],
    *,
    channels: Sequence[str],
    expected: tuple[tuple[int, int], npt.DTypeLike] | None = None,
) -> FieldImage:
    """Read the channels of one field; several focal planes become their maximum.

    Parameters
    ----------
    planes
        The field's rows of `Sources.images`.
    channels
        Channel names in the order of the result; rows of other channels are passed over.
    expected
        Shape (y, x) and dtype of the plate's fields; None takes those of the first plane.

    Returns
    -------
    FieldImage
        The image (c, y, x), and the digests of the files' bytes as they were decoded; of a Zarr
        array, a digest of the planes that were read, one after the other.

    Raises
    ------
    FieldError
        With the reason first: ``missing``, ``truncated``, ``rgb``, ``dtype``, ``shape``, ``size``.
    """
    contents: dict[str, bytes] = {}
    digests: dict[str, str] = {}
    stack: npt.NDArray[np.unsignedinteger[Any]] | None = None
    filled = set[int]()
    rows = [row for row in planes if row.channel in channels]
    for row in rows:
        if is_array(row.url):
            plane = read_array_plane(row.url, page=row.page)
            digests[row.url] = hash_bytes(digests.get(row.url, "").encode() + plane.tobytes())
        else:
            if row.url not in contents:
                contents[row.url] = _read(row.url)
                digests[row.url] = hash_bytes(contents[row.url])
            plane = decode_plane(contents[row.url], url=row.url, page=row.page)
        if expected is None:
            expected = plane.shape, plane.dtype
        _check_plane(plane, row.url, expected)
        if stack is None:
            stack = np.empty((len(channels), *plane.shape), dtype=plane.dtype)
        place = channels.index(row.channel)
        if place in filled:
            np.maximum(stack[place], plane, out=stack[place])
        else:
            stack[place] = plane
            filled.add(place)
    absent = [name for place, name in enumerate(channels) if place not in filled]
    if stack is None or absent:
        raise FieldError(
            f"missing: no file of channel {', '.join(map(repr, absent))}, expected all of "
            f"{', '.join(channels)}. Export the field again, or name the channels to use."
        )
    return FieldImage(stack, digests)


def _check_plane(
    plane: npt.NDArray[Any], url: str, expected: tuple[tuple[int, int], npt.DTypeLike]
) -> None:
    shape, dtype = expected[0], np.dtype(expected[1])
    advice = "Export the field again, or leave it out."
    where = files.without_secrets(url)
    if plane.shape != tuple(shape):
        raise FieldError(
            f"shape: {where} is {plane.shape} pixels, the plate's other images are "
            f"{tuple(shape)}. {advice}"
        )
    if plane.dtype != dtype:
        raise FieldError(f"dtype: {where} is {plane.dtype}, the other images are {dtype}. {advice}")


def read_plane(url: str, *, page: int = 0) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Read one grey image.

    Parameters
    ----------
    url
        A TIFF, PNG or JPEG file, or the document of a Zarr array.
    page
        Which page of a TIFF file, or which plane of an array, from 0.

    Returns
    -------
    ndarray
        Shape (y, x), uint8 or uint16, values as stored.

    Raises
    ------
    FieldError
        With the reason first: ``missing`` (file or page), ``truncated`` (can't be decoded whole),
        ``rgb`` (colours), ``dtype`` (not 8 or 16 bit unsigned), ``size`` (decoded, over 1 GiB).
    """
    if is_array(url):
        return read_array_plane(url, page=page)
    return decode_plane(_read(url), url=url, page=page)


def decode_plane(data: bytes, *, url: str, page: int = 0) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Decode one grey image from the bytes of a file; see `read_plane`. `url` is for messages."""
    header = parse_header(io.BytesIO(data), len(data), url, page)
    plane: npt.NDArray[np.unsignedinteger[Any]]
    try:
        if data.startswith(PNG_SIGNATURE):
            plane = png_decode(data)
        elif data.startswith(JPEG_SIGNATURE):
            plane = jpeg_decode(data)
        elif header.by_libtiff:
            plane = tiff_decode(data, index=page)
        else:
            with tifffile.TiffFile(io.BytesIO(data)) as file:
                plane = file.pages[page].asarray(maxworkers=1)
    except Exception as error:  # each codec has errors of its own
        raise unreadable(url, str(error)) from error
    if plane.shape != header.shape or plane.dtype != header.dtype:
        raise unreadable(url, f"decoded to {plane.shape} {plane.dtype}")
    return plane


def read_shape(url: str, page: int = 0) -> tuple[tuple[int, int], np.dtype[Any]]:
    """Read shape (y, x) and dtype from a file's header, without decoding.

    Raises
    ------
    FieldError
        As `read_plane`; a file shorter than its header says is found here already.
    """
    if is_array(url):
        return read_array_header(url)
    try:
        with files.open_file(url) as file:
            n_bytes = file.seek(0, io.SEEK_END)
            file.seek(0)
            header = parse_header(file, n_bytes, url, page)
    except OSError as error:
        if not _is_absent(error):
            raise
        raise missing(url, why=error.strerror) from error
    return header.shape, header.dtype


def count_pages(url: str) -> int:
    """Count the pages of a file that have the shape of the first: thumbnails are none.

    Raises
    ------
    FieldError
        As `read_shape`.
    """
    if is_array(url):  # its reader names the planes
        return 1
    shape, _ = read_shape(url)
    with files.open_file(url) as file:
        if file.read(8).startswith((PNG_SIGNATURE, JPEG_SIGNATURE)):
            return 1
        check_directories(file, file.seek(0, io.SEEK_END), url)
        try:
            with tifffile.TiffFile(file) as tiff:
                return sum(page.shape[:2] == shape for page in tiff.pages)
        except Exception as error:  # a later page's tags: as for the first
            raise unreadable(url, str(error)) from error


def stat_source(url: str) -> files.Stat:
    """Give the size and time of an image's file, or of a Zarr array's files; `GONE` without one."""
    try:
        return stat_array(url) if is_array(url) else files.stat(url)
    except OSError as error:
        if not _is_absent(error):
            raise
        return GONE


def _is_absent(error: OSError) -> bool:
    """Tell whether there is no such file; of a name that is too long there can't be one."""
    return isinstance(error, _NOT_THERE) or error.errno == errno.ENAMETOOLONG


def hash_bytes(data: bytes) -> str:
    """Give the SHA-256 of some bytes, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _read(url: str) -> bytes:
    try:
        return files.read_bytes(url)
    except OSError as error:
        if not _is_absent(error):
            raise
        raise missing(url, why=error.strerror) from error
