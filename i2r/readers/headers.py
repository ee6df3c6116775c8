"""What a TIFF, PNG or JPEG file says about a page, and what is refused before it is decoded."""

import math
import struct
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tifffile

from i2r.errors import FieldError
from i2r.readers.plain_tiff import Strips, read_plain_page
from i2r.store import files

# Refused before decoding: a few bytes of compressed zeros can claim any size.
MAX_DECODED_BYTES = 2**30
# Of a TIFF file: a time series or stack longer than this is split by every microscope.
MOST_PAGES = 2**16
# Compressions that libtiff decodes: none, LZW, zlib (two numbers), zstd. It is twice as fast as
# tifffile for LZW; tifffile decodes the rest.
_LZW = 5
_LIBTIFF = {1, _LZW, 8, 32946, 50000}
# Vendors' files, which bioio reads.
CONTAINERS = (".czi", ".nd2", ".lif")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"
# What becomes a pixel as it is. Other types become uint16: see `i2r.readers.pixels`.
UNSIGNED = (np.dtype(np.uint8), np.dtype(np.uint16))
PIXEL_TYPES = (*UNSIGNED, *map(np.dtype, ("int16", "uint32", "int32", "float32", "float64")))
_MINISWHITE, _MINISBLACK, _PALETTE = 0, 1, 3
_PHOTOMETRIC_TAG, _COLORMAP_TAG = 262, 320


class Stack(NamedTuple):
    """Planes that lie one after the other behind a file's only directory.

    Attributes
    ----------
    n_planes
        How many there are.
    plane_bytes, offset
        The length of each, and where the first begins.
    dtype
        As stored, with its byte order.
    """

    n_planes: int
    plane_bytes: int
    offset: int
    dtype: np.dtype[Any]


class Header(NamedTuple):
    """What a file says about a page before anything is decoded.

    Attributes
    ----------
    shape, dtype
        Of the page (y, x) as it is stored.
    by_libtiff
        Whether libtiff decodes it.
    white_is_zero
        Whether the file says that 0 is white: bright things have small values.
    palette
        Grey values, uint8, by the stored number; None where numbers are values.
    stack
        Where the page is, if it has no directory of its own.
    lzw
        Where its strips are, if they are LZW of the usual kind.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    by_libtiff: bool
    white_is_zero: bool = False
    palette: npt.NDArray[np.uint8] | None = None
    stack: Stack | None = None
    lzw: Strips | None = None


def parse_header(file: Any, n_bytes: int, url: str, page: int) -> Header:
    """Read a page's header and refuse what is not a grey image of numbers.

    Parameters
    ----------
    file
        The open file, at its start.
    n_bytes
        The file's length.
    url
        For messages.
    page
        Which page, from 0; beyond the last directory, a plane of the stack that follows it.

    Raises
    ------
    FieldError
        With the reason first: ``missing`` (page), ``truncated``, ``rgb``, ``dtype``, ``size``.
    """
    start = file.read(33)
    file.seek(0)
    if start.startswith(PNG_SIGNATURE):
        header, colours, sample = _parse_png(start, file, url, page)
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
    if header.dtype not in PIXEL_TYPES:
        raise FieldError(
            f"dtype: {where} has {sample} pixels, expected 8 or 16 bit integers, or 32 or 64 bit "
            "numbers. Export the raw images."
        )
    n_decoded = header.shape[0] * header.shape[1] * header.dtype.itemsize
    if not 0 < n_decoded <= MAX_DECODED_BYTES:
        raise FieldError(
            f"size: {where} says it is {header.shape} pixels ({n_decoded} bytes), expected at "
            f"most {MAX_DECODED_BYTES}. Split the image, or leave it out."
        )
    return header


def _parse_png(start: bytes, file: Any, url: str, page: int) -> tuple[Header, str, str]:
    """Read the first block of a PNG file; returns the header, the kind of colours, the sample."""
    if len(start) < 33 or start[12:16] != b"IHDR":
        raise unreadable(url, "the header is cut")
    if page:
        raise _no_page(url, page, 1)
    width, height, depth, colour = struct.unpack(">IIBB", start[16:26])
    colours = {0: "", 2: "RGB", 4: "grey and alpha", 6: "RGBA"}.get(colour, "unknown")
    palette = None
    if colour == _PALETTE:
        palette = _find_grey(_read_png_palette(file))
        colours = "colour palette" if palette is None else ""
        depth = 8
    dtype = np.dtype({8: np.uint8, 16: np.uint16}.get(depth, np.void))
    header = Header((height, width), dtype, by_libtiff=False, palette=palette)
    return header, colours, f"{depth}-bit"


def _read_png_palette(file: Any) -> npt.NDArray[np.uint8]:
    """Read the colours of a PNG file, shape (colour, 3); empty where there are none."""
    file.seek(8)
    try:
        # The palette comes before the pixels, among a few short blocks.
        for _ in range(64):
            length, kind = struct.unpack(">I4s", file.read(8))
            if kind == b"PLTE" and length % 3 == 0 and length <= 768:
                return np.frombuffer(file.read(length), np.uint8).reshape(-1, 3)
            if kind == b"IDAT":
                break
            file.seek(length + 4, 1)
    except (struct.error, ValueError):
        pass
    finally:
        file.seek(0)
    return np.zeros((0, 3), np.uint8)


def _find_grey(colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8] | None:
    """Give the grey values of a palette (colour, 3); None for one of colours, or of nothing."""
    is_grey = len(colours) > 0 and (colours == colours[:, :1]).all()
    return np.ascontiguousarray(colours[:, 0]) if is_grey else None


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
        check_directories(file, n_bytes, url, last=page)
    elif (plain := _parse_plain(file, n_bytes)) is not None:
        return plain, "", f"{plain.dtype.itemsize * 8}-bit"
    try:
        with tifffile.TiffFile(file) as tiff:
            n_pages = len(tiff.pages) if page else 1
            stack = None
            if page >= n_pages > 0:
                stack = find_stack(tiff)
                if stack is None or page >= stack.n_planes:
                    raise _no_page(url, page, n_pages)
            offset = page * stack.plane_bytes if stack else 0
            tags = tiff.pages[0 if stack else page].aspage()
            ends = [o + n for o, n in zip(tags.dataoffsets, tags.databytecounts, strict=True)]
            # A count of 0 is a strip that the microscope reserved and never wrote.
            cut = not ends or 0 in tags.databytecounts or max(ends) + offset > n_bytes
            header, colours = _describe_page(tags)
            header = header._replace(stack=stack)
            sample = f"{tags.bitspersample}-bit {header.dtype.name}"
    except FieldError:
        raise
    except Exception as error:  # struct, value, key and type errors, by where the bytes end
        raise unreadable(url, str(error)) from error
    if cut:
        raise unreadable(url, f"it ends after {n_bytes} bytes or has strips without data")
    return header, colours, sample


def _parse_plain(file: Any, n_bytes: int) -> Header | None:
    """Read the first page of a TIFF file that libtiff decodes; None where tifffile is to look."""
    found = read_plain_page(file, n_bytes)
    file.seek(0)
    if found is None or found.compression not in _LIBTIFF:
        return None
    if found.photometric not in (_MINISWHITE, _MINISBLACK):
        return None
    dtype = np.dtype(np.uint8 if found.bits == 8 else np.uint16)
    white = found.photometric == _MINISWHITE
    is_lzw = found.compression == _LZW and not found.strips.is_predicted
    strips = found.strips if is_lzw else None
    return Header(found.shape, dtype, by_libtiff=True, white_is_zero=white, lzw=strips)


def _describe_page(tags: tifffile.TiffPage) -> tuple[Header, str]:
    """Read the tags of a TIFF's page; returns the header and the kind of colours."""
    dtype = np.dtype(np.void) if tags.dtype is None else tags.dtype.newbyteorder("=")
    # Without the tag, tifffile takes 0 for it.
    photometric = tags.photometric if _PHOTOMETRIC_TAG in tags.tags else _MINISBLACK
    palette = None
    if photometric == _PALETTE and dtype == np.uint8 and _COLORMAP_TAG in tags.tags:
        table = np.asarray(tags.colormap)  # 16 bit, shape (3, colour)
        if table.ndim == 2 and table.shape[0] == 3:
            palette = _find_grey((table.T >> 8).astype(np.uint8))
    colours = ""
    is_grey = photometric in (_MINISWHITE, _MINISBLACK) or palette is not None
    if tags.samplesperpixel != 1 or not is_grey:
        kind = tifffile.PHOTOMETRIC(photometric).name
        colours = f"{kind}, {tags.samplesperpixel} samples"
    header = Header(
        (int(tags.imagelength), int(tags.imagewidth)),
        dtype,
        by_libtiff=dtype in UNSIGNED and tags.compression in _LIBTIFF and palette is None,
        white_is_zero=photometric == _MINISWHITE,
        palette=palette,
    )
    return header, colours


def find_stack(tiff: tifffile.TiffFile) -> Stack | None:
    """Find planes without directories of their own, as ImageJ writes stacks of over 4 GB.

    Returns
    -------
    Stack or None
        None where each plane has its directory, or planes do not follow each other.
    """
    if not has_own_axes(tiff):
        return None
    series = tiff.series[0]
    page = tiff.pages[0].aspage()
    n_planes = math.prod(series.shape) // (page.imagelength * page.imagewidth)
    n_planes = max(n_planes, count_stated(tiff))
    if page.compression != 1 or page.samplesperpixel != 1 or n_planes <= len(tiff.pages):
        return None
    ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
    if page.dtype is None or ends[:-1] != list(page.dataoffsets[1:]):
        return None
    dtype = page.dtype.newbyteorder(tiff.byteorder)
    return Stack(n_planes, page.nbytes, page.dataoffsets[0], dtype)


def has_own_axes(tiff: tifffile.TiffFile) -> bool:
    """Tell whether a program wrote into the file what its planes are: ImageJ, tifffile, STK."""
    return bool(
        tiff.is_imagej or tiff.is_shaped or tiff.is_stk or tiff.is_micromanager or tiff.is_lsm
    )


def count_stated(tiff: tifffile.TiffFile) -> int:
    """Count the planes that ImageJ's description lists; tifffile gives one for a file cut short."""
    if not tiff.is_imagej:
        return 1
    about = tiff.imagej_metadata or {}
    return math.prod(int(about.get(name, 1)) for name in ("channels", "slices", "frames"))


def check_directories(file: Any, n_bytes: int, url: str, *, last: int = MOST_PAGES) -> None:
    """Refuse a TIFF file whose pages never end, or of which the last ones are cut off.

    Parameters
    ----------
    file, n_bytes, url
        As for `parse_header`.
    last
        The page that is needed, from 0: what comes behind it may be cut off.

    Raises
    ------
    FieldError
        If pages lead back to one of them, are more than `MOST_PAGES`, or begin behind the file's
        end (reason ``truncated``).
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
        if not offset:
            break
        if offset + size > n_bytes:
            # The first is left to the decoder, which says what else may be wrong. A page that was
            # cut off began soon behind the end; some programs write any number after the last page.
            if 0 < len(seen) <= last and offset < 2 * n_bytes:
                raise unreadable(url, f"page {len(seen)} begins behind the file's end")
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
        f"expected a {_name_kind(url)}. Copy it again, or leave the field out."
    )


def _name_kind(url: str) -> str:
    """Name the kind of file that is expected at a place."""
    if url.endswith(("/zarr.json", "/.zarray")):
        return "Zarr array"
    ending = url[-4:].lower()
    return f"{ending} file" if ending in CONTAINERS else "TIFF, PNG or JPEG file"


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
        f"{_name_kind(url)}. Copy or export it again."
    )
