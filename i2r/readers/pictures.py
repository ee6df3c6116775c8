"""Pictures and label images of any folder, by name: what comes without a plate."""

import fnmatch
import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from imagecodecs import jpeg_decode, png_decode

from i2r.errors import FieldError, InputError
from i2r.readers.contents import describe_planes, read_series
from i2r.readers.headers import (
    MAX_DECODED_BYTES,
    PNG_SIGNATURE,
    check_directories,
    missing,
    parse_header,
    unreadable,
)
from i2r.readers.images import decode_plane
from i2r.store import files

EXTENSIONS = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
_JPEG_SIGNATURE = b"\xff\xd8\xff"


def list_pictures(folder: str) -> dict[str, str]:
    """List the pictures in a folder: URLs by stem, sorted.

    Raises
    ------
    InputError
        If the folder has none, or two with one stem.
    """
    found: dict[str, str] = {}
    for name in files.list_folder(folder):
        stem, _, extension = name.rpartition(".")
        if f".{extension.lower()}" not in EXTENSIONS:
            continue
        if stem in found:
            raise InputError(
                f"{folder}: {name} and {found[stem].rpartition('/')[2]} have one stem, expected "
                "each once. Move one of them away."
            )
        found[stem] = files.join_url(folder, name)
    if not found:
        raise InputError(
            f"{folder}: no such folder, or no picture in it, expected files ending in "
            f"{', '.join(EXTENSIONS)}. Name the folder that holds them."
        )
    return found


def group_pictures(source: str) -> dict[str, list[files.FoundFile]]:
    """List pictures by the folder that they lie in.

    Parameters
    ----------
    source
        A folder, searched with all folders in it, or a pattern such as ``new/*/*_w1.tif``, whose
        ``*``, ``?`` and ``[...]`` stand for parts of names.

    Returns
    -------
    dict
        By folder, its path below the source, and the source's own name for pictures directly in
        it: URLs with size and time, sorted by path.

    Raises
    ------
    InputError
        If there is no picture.
    """
    parts = files.normalise_url(source).split("/")
    wild = next((i for i, part in enumerate(parts) if re.search(r"[*?[]", part)), len(parts))
    base = "/".join(parts[:wild])
    pattern = "/".join(parts[wild:])

    def accept(path: str) -> bool:
        if not path.lower().endswith(EXTENSIONS):
            return False
        levels = pattern.split("/")
        return not pattern or (
            path.count("/") == len(levels) - 1
            and all(map(fnmatch.fnmatchcase, path.split("/"), levels))
        )

    found: dict[str, list[files.FoundFile]] = {}
    for file in files.find_files(base, accept):
        folder = file.path.rpartition("/")[0] or base.rpartition("/")[2]
        found.setdefault(folder, []).append(files.FoundFile(f"{base}/{file.path}", file.stat))
    if not found:
        raise InputError(
            f"{files.without_secrets(source)}: no picture there, expected files ending in "
            f"{', '.join(EXTENSIONS)}. Name a folder, or a pattern such as 'new/*/*_w1.tif'."
        )
    return found


def read_picture(url: str, *, channel: int | None = None) -> npt.NDArray[np.number]:
    """Read one channel of a picture.

    Parameters
    ----------
    url
        A TIFF, PNG or JPEG file: grey, with several channels or pages, or colours.
    channel
        Which one, from 0. May be None for grey pictures, and for colours that are all equal.

    Returns
    -------
    ndarray
        Shape (y, x), at least one pixel; uint8, uint16, or float32 for all other types.

    Raises
    ------
    FieldError
        With the reason first: ``missing``, ``truncated``, ``channel``, ``size``.
    """
    where = files.without_secrets(url)
    planes = _list_grey(url)
    if planes is None:
        pixels = _decode(url)
        planes = list(_split_channels(pixels))
        if not planes:
            raise FieldError(
                f"shape: {where} is {pixels.shape}, expected (y, x), or one more axis of channels. "
                "Export one plane per file."
            )
    if channel is None and all(np.array_equal(planes[0], plane) for plane in planes[1:3]):
        channel = 0 if len(planes) in (1, 3, 4) else None
    if channel is None or not 0 <= channel < len(planes):
        asked = "no channel was named" if channel is None else f"channel {channel} was asked for"
        raise FieldError(
            f"channel: {where} has {len(planes)} channels, {asked}, expected 0 to "
            f"{len(planes) - 1}. Name one with --channel."
        )
    plane = planes[channel]
    if plane.size == 0:
        raise FieldError(f"size: {where} has no pixels. Leave it out.")
    kept = plane.dtype in (np.uint8, np.uint16)
    return np.ascontiguousarray(plane if kept else plane.astype(np.float32))


def _list_grey(url: str) -> list[npt.NDArray[Any]] | None:
    """Decode the planes of a grey TIFF as conversion does; None for colours and other files.

    Raises
    ------
    FieldError
        As `read_contents`, and for planes along more than one axis (reason ``shape``).
    """
    data = _read_bytes(url)
    if data.startswith((PNG_SIGNATURE, _JPEG_SIGNATURE)):
        return None
    try:
        header = parse_header(io.BytesIO(data), len(data), url, 0)
    except FieldError as error:
        # Plates have no colours and no rare types of pixels; pictures may.
        if str(error).partition(":")[0] in ("rgb", "dtype"):
            return None
        raise
    check_directories(io.BytesIO(data), len(data), url)
    series = read_series(io.BytesIO(data), url)
    planes = series[0].planes
    axes = [len(set(numbers)) for numbers in zip(*(p[1:] for p in planes), strict=True)]
    if len(series) > 1 or sum(n > 1 for n in axes) > 1:
        held = f"{len(series)} images" if len(series) > 1 else describe_planes(planes)
        raise FieldError(
            f"shape: {files.without_secrets(url)} holds {held}, expected one plane, or several "
            "channels alone. Export one plane per file."
        )
    n_bytes = len(planes) * header.shape[0] * header.shape[1] * header.dtype.itemsize
    if n_bytes > MAX_DECODED_BYTES:
        raise FieldError(
            f"size: {files.without_secrets(url)} decodes to {n_bytes} bytes, expected at most "
            f"{MAX_DECODED_BYTES}. Split the image, or leave it out."
        )
    return [
        decode_plane(data, url=url, page=plane.page, inverted=header.white_is_zero)
        for plane in planes
    ]


def _read_bytes(url: str) -> bytes:
    try:
        return files.read_bytes(url)
    except OSError as error:
        raise missing(url, why=error.strerror) from error


def read_labels(url: str) -> npt.NDArray[np.integer]:
    """Read a label image.

    Returns
    -------
    ndarray
        Shape (y, x), integers, 0 = background.

    Raises
    ------
    FieldError
        With the reason first: ``missing``, ``truncated``, ``dtype``, ``shape``.
    """
    labels = _decode(url)
    where = files.without_secrets(url)
    if labels.ndim != 2:
        raise FieldError(
            f"shape: {where} is {labels.shape}, expected a label image (y, x), not colours. "
            "Export labels as numbers: 0 for background, 1, 2, ... for nuclei."
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise FieldError(f"dtype: {where} is {labels.dtype}, expected integers. Export again.")
    whole: npt.NDArray[np.integer] = labels
    return whole


def _decode(url: str) -> npt.NDArray[Any]:
    data = _read_bytes(url)
    try:
        if data.startswith(PNG_SIGNATURE):
            pixels = png_decode(data)
        elif data.startswith(_JPEG_SIGNATURE):
            pixels = jpeg_decode(data)
        else:
            with tifffile.TiffFile(io.BytesIO(data)) as file:
                n_bytes = file.series[0].nbytes
                if n_bytes > MAX_DECODED_BYTES:
                    raise FieldError(
                        f"size: {files.without_secrets(url)} decodes to {n_bytes} bytes, expected "
                        f"at most {MAX_DECODED_BYTES}. Split the image, or leave it out."
                    )
                pixels = file.series[0].asarray(maxworkers=1)
    except FieldError:
        raise
    except Exception as error:  # each codec has errors of its own
        raise unreadable(url, str(error)) from error
    decoded: npt.NDArray[Any] = pixels
    return decoded


def _split_channels(pixels: npt.NDArray[Any]) -> Sequence[npt.NDArray[Any]]:
    """Split an array into planes; axes of length 1 are none, colours come last, pages first."""
    while pixels.ndim > 2 and 1 in pixels.shape:
        pixels = np.squeeze(pixels, axis=pixels.shape.index(1))
    if pixels.ndim == 2:
        return [pixels]
    if pixels.ndim != 3:
        return []
    is_last = pixels.shape[2] <= 4 and pixels.shape[2] < min(pixels.shape[:2])
    return list(np.moveaxis(pixels, 2, 0) if is_last else pixels)
