"""Image files decoded from memory: grey TIFF, PNG and JPEG of 8 or 16 bit, nothing else."""

import errno
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import tifffile
from imagecodecs import jpeg_decode, png_decode, tiff_decode
from PIL import Image

from i2r.errors import FieldError, I2RError
from i2r.readers.arrays import (
    ARRAY_DOCUMENTS,
    is_array,
    read_array_header,
    read_array_plane,
    stat_array,
)
from i2r.readers.bioimages import (
    MOST_PLANES,
    PLUGINS,
    Scene,
    is_bioimage,
    read_bioimage_plane,
)
from i2r.readers.headers import (
    JPEG_SIGNATURE,
    PNG_SIGNATURE,
    UNSIGNED,
    Header,
    Stack,
    missing,
    parse_header,
    unreadable,
)
from i2r.readers.pixels import convert_values, invert_values
from i2r.readers.plain_tiff import Strips
from i2r.store import files

# LZW of so many bytes per byte of pixels. Below, strings are long, above, they are single bytes:
# libtiff is fast at both. Between, as micrographs are, it takes up to twice as long.
LEAST_LZW, MOST_LZW = 0.05, 1.0
# What is not decoded from the bytes of one file: Zarr arrays, and what bioio opens.
_OPENED = (*(f"/{name}" for name in ARRAY_DOCUMENTS), *PLUGINS)
# Size and time of a file that isn't there.
GONE = files.ABSENT
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
    exact: bool = True,
) -> FieldImage:
    """Read the channels of one field; several focal planes become their maximum.

    Parameters
    ----------
    planes
        The field's rows of `Sources.images`. Those with a ``problem`` exclude the field;
        ``inverted`` and ``factor`` say how stored values become pixels.
    channels
        Channel names in the order of the result; rows of other channels are passed over.
    expected
        Shape (y, x) and stored dtype of the plate's fields; None takes those of the first plane.
    exact
        Whether to refuse fractions that a factor of 1 would round.

    Returns
    -------
    FieldImage
        The image (c, y, x), uint8 or uint16, and the digests of the files' bytes as they were
        decoded; of a Zarr array, a digest of the planes that were read, one after the other.

    Raises
    ------
    FieldError
        With the reason first: ``missing``, ``truncated``, ``rgb``, ``dtype``, ``shape``, ``size``,
        ``range``, ``ambiguous``.
    """
    contents: dict[str, bytes] = {}
    digests: dict[str, str] = {}
    stack: npt.NDArray[np.unsignedinteger[Any]] | None = None
    filled = set[int]()
    if expected is not None and np.dtype(expected[1]) in UNSIGNED:
        stack = np.empty((len(channels), *expected[0]), dtype=expected[1])
    rows = [row for row in planes if row.channel in channels]
    for row in rows:
        if problem := getattr(row, "problem", ""):
            raise FieldError(problem)
        # Tables of other packages' readers, and of earlier versions, don't have these.
        inverted = bool(getattr(row, "inverted", False))
        place = channels.index(row.channel)
        plane: npt.NDArray[Any]
        if row.url.lower().endswith(_OPENED):
            plane = read_plane(row.url, page=row.page)
            digests[row.url] = hash_bytes(digests.get(row.url, "").encode() + plane.tobytes())
        else:
            if row.url not in contents:
                contents[row.url] = _read(row.url)
                digests[row.url] = hash_bytes(contents[row.url])
            plane = decode_plane(
                contents[row.url],
                url=row.url,
                page=row.page,
                inverted=inverted,
                out=None if stack is None or place in filled else stack[place],
            )
        if expected is None:
            expected = plane.shape, plane.dtype
        _check_plane(plane, row.url, expected)
        factor = float(getattr(row, "factor", 1.0))
        plane = convert_values(plane, url=row.url, factor=factor, exact=exact)
        if stack is None:
            stack = np.empty((len(channels), *plane.shape), dtype=plane.dtype)
        if place in filled:
            np.maximum(stack[place], plane, out=stack[place])
        else:
            if plane.ctypes.data != stack[place].ctypes.data:  # else it was decoded into it
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


def read_plane(url: str, *, page: int = 0, inverted: bool = False) -> npt.NDArray[Any]:
    """Read one grey image.

    Parameters
    ----------
    url
        A TIFF, PNG or JPEG file, or the document of a Zarr array.
    page
        Which page of a TIFF file, or which plane of an array, from 0.
    inverted
        Whether to turn black and white, for files that say that 0 is white.

    Returns
    -------
    ndarray
        Shape (y, x), values and type as stored (`i2r.readers.headers.PIXEL_TYPES`); of a grey
        palette, the grey values.

    Raises
    ------
    FieldError
        With the reason first: ``missing`` (file or page), ``truncated`` (can't be decoded whole),
        ``rgb`` (colours), ``dtype`` (no numbers), ``size`` (decoded, over 1 GiB).
    """
    if is_array(url):
        return read_array_plane(url, page=page)
    if is_bioimage(url):
        try:
            return read_bioimage_plane(url, page=page)
        except OSError as error:
            if not _is_absent(error):
                raise
            raise missing(url, why=error.strerror) from error
    return decode_plane(_read(url), url=url, page=page, inverted=inverted)


def decode_plane(
    data: bytes,
    *,
    url: str,
    page: int = 0,
    inverted: bool = False,
    out: npt.NDArray[Any] | None = None,
) -> npt.NDArray[Any]:
    """Decode one grey image from the bytes of a file; see `read_plane`.

    Parameters
    ----------
    data
        The file.
    url
        For messages.
    page, inverted
        As for `read_plane`.
    out
        Where to put the values, if they are of its shape and type and the decoder can; what it
        held is lost.
    """
    header = parse_header(io.BytesIO(data), len(data), url, page)
    plane: npt.NDArray[Any]
    try:
        if data.startswith(PNG_SIGNATURE):
            plane = _decode_png(data, header)
        elif data.startswith(JPEG_SIGNATURE):
            plane = jpeg_decode(data)
        elif header.stack is not None:
            plane = _decode_stacked(data, page, header, header.stack)
        elif header.by_libtiff:
            fits = out is not None and (out.shape, out.dtype) == (header.shape, header.dtype)
            if out is not None and fits and header.lzw and _decode_lzw(data, header.lzw, out):
                plane = out
            else:
                plane = tiff_decode(data, index=page, out=out if fits else None)
        else:
            with tifffile.TiffFile(io.BytesIO(data)) as file:
                plane = file.pages[page].asarray(maxworkers=1)
            plane = plane.astype(plane.dtype.newbyteorder("="), copy=False)
        if header.palette is not None:
            plane = header.palette[plane]
    except Exception as error:  # each codec has errors of its own
        raise unreadable(url, str(error)) from error
    if plane.shape != header.shape or plane.dtype != header.dtype:
        raise unreadable(url, f"decoded to {plane.shape} {plane.dtype}")
    return invert_values(plane) if inverted else plane


def _decode_lzw(data: bytes, strips: Strips, out: npt.NDArray[Any]) -> bool:
    """Decode strips of LZW; False where libtiff is to do it, and to say what is wrong."""
    part = sum(strips.lengths) / out.nbytes
    if not LEAST_LZW <= part <= MOST_LZW or not out.flags.c_contiguous:
        return False
    from i2r.kernels.lzw import decode_strips  # numba takes 0.3 s, of clients that decode little

    is_whole = decode_strips(
        data,
        offsets=strips.offsets,
        lengths=strips.lengths,
        strip_bytes=strips.rows * out.strides[0],
        out=out.reshape(-1).view(np.uint8),
    )
    if is_whole and strips.order != "<" and out.itemsize > 1:
        out.byteswap(inplace=True)
    return is_whole


def _decode_png(data: bytes, header: Header) -> npt.NDArray[Any]:
    if header.palette is None:
        plane: npt.NDArray[Any] = png_decode(data)
        return plane
    with Image.open(io.BytesIO(data)) as image:  # numbers, where imagecodecs gives colours
        return np.asarray(image)


def _decode_stacked(data: bytes, page: int, header: Header, stack: Stack) -> npt.NDArray[Any]:
    """Take a plane that has no directory: it lies so many planes behind the first."""
    height, width = header.shape
    start = stack.offset + page * stack.plane_bytes
    plane = np.frombuffer(data, stack.dtype, height * width, start).reshape(header.shape)
    return plane.astype(header.dtype)


def read_shape(url: str, page: int = 0) -> tuple[tuple[int, int], np.dtype[Any]]:
    """Read shape (y, x) and stored dtype from a file's header, without decoding.

    Raises
    ------
    FieldError
        As `read_plane`; a file shorter than its header says is found here already.
    """
    if is_array(url):
        return read_array_header(url)
    if is_bioimage(url):
        try:
            scene = Scene(url, page // MOST_PLANES)
        except OSError as error:
            if not _is_absent(error):
                raise
            raise missing(url, why=error.strerror) from error
        return scene.shape, scene.dtype
    with open_image(url) as (file, n_bytes):
        header = parse_header(file, n_bytes, url, page)
    return header.shape, header.dtype


@contextmanager
def open_image(url: str) -> Iterator[tuple[IO[bytes], int]]:
    """Open an image file for reading parts of it; gives it, at its start, and its length.

    Raises
    ------
    FieldError
        With the reason ``missing``, if there is no such file.
    """
    try:
        with files.open_file(url) as file:
            n_bytes = file.seek(0, io.SEEK_END)
            file.seek(0)
            yield file, n_bytes
    except OSError as error:
        if not _is_absent(error):
            raise
        raise missing(url, why=error.strerror) from error


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


def hash_source(url: str, pages: Iterable[int]) -> str:
    """Digest an image's file, or these planes of a Zarr array, as `read_field` does.

    Raises
    ------
    FieldError
        If a plane can't be read.
    """
    if not is_array(url):
        return hash_bytes(files.read_bytes(url))
    digest = ""
    for page in pages:
        digest = hash_bytes(digest.encode() + read_array_plane(url, page=page).tobytes())
    return digest


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


def refuse_changed(sources: Iterable[Any]) -> None:
    """Refuse source files that are not what they were when the run began."""
    changed = [
        str(source.url)
        for source in sources
        if stat_source(str(source.url)) != (source.size_bytes, source.mtime_ns)
    ]
    if changed:
        raise I2RError(
            f"{changed[0]}: the file changed while it was being converted ({len(changed)} files in "
            "all). Run again: the wells it belongs to are converted anew."
        )
