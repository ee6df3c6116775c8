"""Label images of any integer type, from files and from the label groups of OME-Zarr images."""

import io
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tifffile
from imagecodecs import png_decode
from PIL import Image
from scipy import ndimage

from i2r.errors import FieldError, I2RError, InputError
from i2r.readers.arrays import find_array, is_array, open_level
from i2r.readers.headers import (
    MAX_DECODED_BYTES,
    PNG_SIGNATURE,
    check_directories,
    unreadable,
)
from i2r.readers.images import open_image
from i2r.readers.omeimages import read_ome
from i2r.readers.omezarr import find_plates, name_plate
from i2r.store import files
from i2r.types import parse_well

EXTENSIONS = (".tif", ".tiff", ".png")
# Smaller parts than this of the largest are specks, not nuclei.
_SPECK = 0.1
_PALETTE = 3


def read_mask(url: str, *, shape: tuple[int, int], label_parts: bool = False) -> np.ndarray:
    """Read a label image.

    Parameters
    ----------
    url
        A TIFF or PNG file, or the document of a Zarr array of labels.
    shape
        Of the image (y, x).
    label_parts
        Whether the parts of a mask with one label become labels of their own.

    Returns
    -------
    ndarray
        Shape (y, x), int32, 0 = background.

    Raises
    ------
    I2RError
        If it is not a label image of the field's shape, or has one label of several parts.
    FieldError
        If it can't be read.
    """
    where = files.without_secrets(url)
    mask = _squeeze(_read(url))
    _check_form(where, mask.shape, mask.dtype, shape)
    if mask.dtype.kind == "f" and not (np.isfinite(mask) & (np.rint(mask) == mask)).all():
        raise I2RError(
            f"mask {where}: holds fractions or values that are not finite, expected whole numbers: "
            "0 for background, 1, 2, ... for nuclei. Export labels, not probabilities."
        )
    low, high = (int(mask.min()), int(mask.max())) if mask.size else (0, 0)
    if low < 0 or high > np.iinfo(np.int32).max:
        raise I2RError(
            f"mask {where}: labels go from {low} to {high}, expected 0 to "
            f"{np.iinfo(np.int32).max}. Number the nuclei 1, 2, ... and export again."
        )
    labels: np.ndarray = mask.astype(np.int32)
    n_parts = count_parts(labels)
    if n_parts > 1:
        if not label_parts:
            raise I2RError(
                f"mask {where}: has one label, {high}, of {n_parts} parts, expected a label for "
                "each nucleus. Export labels, or set 'mask_parts: label', which numbers the parts "
                "(nuclei that touch stay one)."
            )
        labels = np.asarray(ndimage.label(labels > 0, np.ones((3, 3)))[0], dtype=np.int32)
    return labels


def count_parts(labels: npt.NDArray[np.integer[Any]]) -> int:
    """Count the parts of a label image's only label; 1 where there are several labels, or none.

    Specks don't count: a label of one nucleus may have some.
    """
    high = labels.max() if labels.size else 0
    if high == 0 or not ((labels == 0) | (labels == high)).all():
        return 1
    parts, number = ndimage.label(labels > 0, np.ones((3, 3)))
    if number < 2:
        return int(number)
    areas = np.bincount(parts.ravel())[1:]
    return int((areas >= _SPECK * areas.max()).sum())


def read_labels_header(url: str, *, shape: tuple[int, int]) -> None:
    """Check what a label image's header says, without decoding it.

    Raises
    ------
    I2RError, FieldError
        As `read_mask`.
    """
    where = files.without_secrets(url)
    if is_array(url):
        array = open_level(url)
        _check_form(where, tuple(n for n in array.shape if n != 1), array.dtype, shape)
        return
    with open_image(url) as (file, n_bytes):
        start = file.read(33)
        file.seek(0)
        if start.startswith(PNG_SIGNATURE):
            found: tuple[int, ...] = (
                int.from_bytes(start[20:24], "big"),
                int.from_bytes(start[16:20], "big"),
            )
            _check_form(where, found, np.dtype(np.uint16), shape)
            return
        check_directories(file, n_bytes, url)
        try:
            with tifffile.TiffFile(file) as tiff:
                series = tiff.series[0]
                found, dtype = series.shape, series.dtype
        except Exception as error:  # by where the bytes end
            raise unreadable(url, str(error)) from error
    _check_form(where, tuple(n for n in found if n != 1), dtype, shape)


def _check_form(
    where: str, found: tuple[int, ...], dtype: np.dtype[Any] | None, shape: tuple[int, int]
) -> None:
    """Refuse other shapes than the image's, and colours; axes of length 1 don't count."""
    expected = tuple(n for n in shape if n != 1)
    if tuple(n for n in found if n != 1) != expected:
        colours = ", which may be colours or several planes" if len(found) > 2 else ""
        raise I2RError(
            f"mask {where}: found {tuple(found)}{colours}, its image is {tuple(shape)}. Export one "
            "label image at the image's own size."
        )
    if dtype is None or dtype.kind not in "biuf":
        raise I2RError(f"mask {where}: holds {dtype}, expected integers. Export labels.")


def _squeeze(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    while array.ndim > 2 and 1 in array.shape:
        array = np.squeeze(array, axis=array.shape.index(1))
    return array


def _read(url: str) -> npt.NDArray[Any]:
    if is_array(url):
        array = open_level(url)
        if math.prod(array.shape) * array.dtype.itemsize > MAX_DECODED_BYTES:
            raise FieldError(f"size: {files.without_secrets(url)} is over {MAX_DECODED_BYTES} B.")
        try:
            return np.asarray(array[...])
        except Exception as error:  # each codec has errors of its own
            raise unreadable(url, str(error)) from error
    with open_image(url) as (file, n_bytes):
        data = file.read()
    try:
        if data.startswith(PNG_SIGNATURE):
            if data[25] == _PALETTE or data[24] < 8:  # numbers, where a decoder gives colours
                with Image.open(io.BytesIO(data)) as image:
                    return np.asarray(image)
            decoded: npt.NDArray[Any] = png_decode(data)
            return decoded
        check_directories(io.BytesIO(data), n_bytes, url)
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            series = tiff.series[0]
            if series.nbytes > MAX_DECODED_BYTES:
                raise FieldError(
                    f"size: {files.without_secrets(url)} decodes to {series.nbytes} bytes, "
                    f"expected at most {MAX_DECODED_BYTES}. Split it, or leave it out."
                )
            pixels: npt.NDArray[Any] = series.asarray(maxworkers=1)
            return pixels
    except FieldError:
        raise
    except Exception as error:  # each codec has errors of its own
        raise unreadable(url, str(error)) from error


class ArrayLabels(NamedTuple):
    """A label image of an OME-Zarr plate: the image's group, what it shows, and the labels."""

    group: str
    place: tuple[str, str, str]
    url: str


def find_array_labels(masks: str) -> list[ArrayLabels] | None:
    """Find the label images of OME-Zarr plates.

    Parameters
    ----------
    masks
        A plate's group, a folder of some, or either with ``/labels/NAME`` behind it.

    Returns
    -------
    list of ArrayLabels or None
        None where there is no plate.

    Raises
    ------
    InputError
        If images have several labels and none is named, or none at all.
    """
    base, _, name = files.normalise_url(masks).partition("/labels/")
    if any(n.lower().endswith(EXTENSIONS) for n in files.list_folder(base)):
        return None
    plates = find_plates(base)
    if not plates:
        return None
    found: list[ArrayLabels] = []
    names: set[str] = set()
    for url, plate in plates:
        for well in plate.get("wells", []):
            group = files.join_url(url, str(well["path"]))
            at = parse_well(str(well["path"]).replace("/", "")).name
            for image in read_ome(group).get("well", {}).get("images", []):
                field = files.join_url(group, str(image["path"]))
                listed = _list_labels(f"{field}/labels")
                names |= set(listed)
                chosen = name or (listed[0] if len(listed) == 1 else "")
                if chosen in listed and (array := _find_label_array(f"{field}/labels/{chosen}")):
                    place = (name_plate(url, plate), at, str(image["path"]))
                    found.append(ArrayLabels(field, place, array))
    if not name and len(names) > 1:
        raise InputError(
            f"masks {masks}: found the labels {', '.join(sorted(names))}, expected one. Name it: "
            f"{base}/labels/{min(names)}."
        )
    if not found:
        raise InputError(
            f"masks {masks}: found the labels {', '.join(sorted(names)) or 'of no image'}, "
            f"expected {name or 'one of each image'}. Correct 'masks'."
        )
    return found


def _list_labels(group: str) -> list[str]:
    listed = read_ome(group).get("labels")
    return [str(name) for name in listed] if isinstance(listed, list) else []


def _find_label_array(group: str) -> str | None:
    datasets = (read_ome(group).get("multiscales") or [{}])[0].get("datasets") or [{}]
    found = find_array(files.join_url(group, *str(datasets[0].get("path", "0")).split("/")))
    return found[0] if found else None
