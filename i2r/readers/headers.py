"""What a TIFF, PNG or JPEG file says about a page, and what is refused before it is decoded."""

import struct
from typing import Any, NamedTuple

import numpy as np
import tifffile

from i2r.errors import FieldError
from i2r.store import files

# Refused before decoding: a few bytes of compressed zeros can claim any size.
MAX_DECODED_BYTES = 2**30
# Of a TIFF file: a time series or stack longer than this is split by every microscope.
MOST_PAGES = 2**16
# Compressions that libtiff decodes: none, LZW, zlib (two numbers), zstd. It is twice as fast as
# tifffile for LZW; tifffile decodes the rest.
_LIBTIFF = {1, 5, 8, 32946, 50000}
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"
_GREY_PHOTOMETRICS = {0, 1}
_PIXEL_TYPES = (np.dtype(np.uint8), np.dtype(np.uint16))


class Header(NamedTuple):
    """What a file says about a page before anything is decoded."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    by_libtiff: bool


def parse_header(file: Any, n_bytes: int, url: str, page: int) -> Header:
    """Read a page's header and refuse what is no grey image of 8 or 16 bit.

    Parameters
    ----------
    file
        The open file, at its start.
    n_bytes
        The file's length.
    url
        For messages.
    page
        Which page, from 0.

    Raises
    ------
    FieldError
        With the reason first: ``missing`` (page), ``truncated``, ``rgb``, ``dtype``, ``size``.
    """
    start = file.read(33)
    file.seek(0)
    if start.startswith(PNG_SIGNATURE):
        header, colours, sample = _parse_png(start, url, page)
    elif start.startswith(JPEG_SIGNATURE):
        header, colours, sample = _parse_jpeg(file, n_bytes, url, page)
    else:
        header, colours, sample = _parse_tiff(file, n_bytes, url, page)
    where = files.without_secrets(url)
    if colours:
        raise FieldError(
            f"rgb: {where} is a colour image ({colours}), expected one grey channel per file. "
            "Export the raw channels, not a rendered picture."
        )
    if header.dtype not in _PIXEL_TYPES:
        raise FieldError(
            f"dtype: {where} has {sample} pixels, expected 8 or 16 bit unsigned. "
            "Export the raw images."
        )
    n_decoded = header.shape[0] * header.shape[1] * header.dtype.itemsize
    if not 0 < n_decoded <= MAX_DECODED_BYTES:
        raise FieldError(
            f"size: {where} says it is {header.shape} pixels ({n_decoded} bytes), expected at "
            f"most {MAX_DECODED_BYTES}. Split the image, or leave it out."
        )
    return header


def _parse_png(start: bytes, url: str, page: int) -> tuple[Header, str, str]:
    """Read the first block of a PNG file; returns the header, the kind of colours, the sample."""
    if len(start) < 33 or start[12:16] != b"IHDR":
        raise unreadable(url, "the header is cut")
    if page:
        raise _no_page(url, page, 1)
    width, height, depth, colour = struct.unpack(">IIBB", start[16:26])
    colours = {0: "", 2: "RGB", 3: "palette", 4: "grey and alpha", 6: "RGBA"}.get(colour, "unknown")
    dtype = np.dtype({8: np.uint8, 16: np.uint16}.get(depth, np.void))
    return Header((height, width), dtype, by_libtiff=False), colours, f"{depth}-bit"


def _parse_jpeg(file: Any, n_bytes: int, url: str, page: int) -> tuple[Header, str, str]:
    """Read the frame of a JPEG file; returns the header, the kind of colours, the sample."""
    if page:
        raise _no_page(url, page, 1)
    # Decoders fill up what is missing with grey, so the end is looked for here.
    file.seek(max(0, n_bytes - 64))
    if not file.read(64).rstrip(b"\0").endswith(b"\xff\xd9"):
        raise unreadable(url, f"it ends after {n_bytes} bytes without the end of an image")
    file.seek(2)
    while len(block := file.read(4)) == 4 and block[0] == 0xFF:
        marker, length = block[1], int.from_bytes(block[2:], "big")
        # Frames are 0xC0 to 0xCF, but for tables of Huffman and arithmetic coding.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = file.read(6)
            file.seek(0)
            if len(frame) < 6:
                break
            depth, height, width, samples = struct.unpack(">BHHB", frame)
            dtype = np.dtype({8: np.uint8}.get(depth, np.void))
            colours = "" if samples == 1 else f"JPEG, {samples} samples"
            return Header((height, width), dtype, by_libtiff=False), colours, f"{depth}-bit"
        file.seek(length - 2, 1)
    raise unreadable(url, "the header is cut")


def _parse_tiff(file: Any, n_bytes: int, url: str, page: int) -> tuple[Header, str, str]:
    """Read one page's tags of a TIFF file; returns the header, the kind of colours, the sample."""
    if page:
        check_directories(file, n_bytes, url)
    try:
        with tifffile.TiffFile(file) as tiff:
            n_pages = len(tiff.pages) if page else 1
            if page >= n_pages > 0:
                raise _no_page(url, page, n_pages)
            tags = tiff.pages[page].aspage()
            ends = [o + n for o, n in zip(tags.dataoffsets, tags.databytecounts, strict=True)]
            # A count of 0 is a strip that the microscope reserved and never wrote.
            cut = not ends or 0 in tags.databytecounts or max(ends) > n_bytes
            shape = (int(tags.imagelength), int(tags.imagewidth))
            dtype = np.dtype(np.void) if tags.dtype is None else tags.dtype.newbyteorder("=")
            n_samples, depth = tags.samplesperpixel, tags.bitspersample
            colours, by_libtiff = "", depth in (8, 16) and tags.compression in _LIBTIFF
            if n_samples != 1 or tags.photometric not in _GREY_PHOTOMETRICS:
                kind = tifffile.PHOTOMETRIC(tags.photometric).name
                colours = f"{kind}, {n_samples} samples"
    except FieldError:
        raise
    except Exception as error:  # struct, value, key and type errors, by where the bytes end
        raise unreadable(url, str(error)) from error
    if cut:
        raise unreadable(url, f"it ends after {n_bytes} bytes or has strips without data")
    return Header(shape, dtype, by_libtiff), colours, f"{depth}-bit {dtype.name}"


def check_directories(file: Any, n_bytes: int, url: str) -> None:
    """Refuse a TIFF file whose pages lead back to one of them: following them never ends.

    Raises
    ------
    FieldError
        If they do, or are more than `MOST_PAGES` (reason ``truncated``).
    """
    file.seek(0)
    start = file.read(16)
    order = "<" if start.startswith(b"II") else ">"
    is_big = start[2:4] in (b"+\0", b"\0+")
    count, entry, offset_type = ("Q", 20, "Q") if is_big else ("H", 12, "I")
    at = 8 if is_big else 4
    seen = set[int]()
    while at + struct.calcsize(offset_type) <= n_bytes:
        file.seek(at)
        (offset,) = struct.unpack(order + offset_type, file.read(struct.calcsize(offset_type)))
        size = struct.calcsize(count)
        # Whatever else is wrong, the decoder says.
        if not offset or offset + size > n_bytes:
            break
        if offset in seen or len(seen) >= MOST_PAGES:
            raise unreadable(url, f"its directories form a loop, or are over {MOST_PAGES}")
        seen.add(offset)
        file.seek(offset)
        at = offset + size + entry * struct.unpack(order + count, file.read(size))[0]
    file.seek(0)


def missing(url: str, *, why: str | None = None) -> FieldError:
    """Say that a file isn't there, or may not be read."""
    return FieldError(
        f"missing: {files.without_secrets(url)} can't be opened ({why or 'no such file'}), "
        "expected a TIFF, PNG or JPEG file. Copy it again, or leave the field out."
    )


def _no_page(url: str, page: int, n_pages: int) -> FieldError:
    return FieldError(
        f"missing: {files.without_secrets(url)} has {n_pages} page(s), expected page {page} "
        "(counted from 0). Export the file again."
    )


def unreadable(url: str, why: str) -> FieldError:
    """Say that a file is cut or damaged, or no image."""
    first = (why.splitlines() or [""])[0][:120]
    return FieldError(
        f"truncated: {files.without_secrets(url)} can't be decoded ({first}), expected a whole "
        "TIFF, PNG or JPEG file. Copy or export it again."
    )
