"""From measured nuclei to tiles of one size: which are kept, and cutting them out.

The rules and the placement in the tile are those of the published image pipeline (Image2Reg,
Paysan et al. 2025, Cell Systems 16): every rule is inclusive, and a
nucleus of n pixels starts at ``size // 2 - n // 2`` of its tile.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any, Protocol

import numba
import numpy as np
import numpy.typing as npt

from i2r.kernels.resampling import resample_tiles

BOX = ("bbox_y0", "bbox_x0", "bbox_y1", "bbox_x1")
# What nuclei are chosen and cut by.
MEASURED = (
    "plate", "well", "field", "label", *BOX, "area_px", "solidity", "major_axis_px",
    "minor_axis_px", "touches_border",
)  # fmt: skip


class Stack(Protocol):
    """Images of fields, in memory or read one after another: shape (field, c, y, x)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all of them."""

    @property
    def dtype(self) -> "np.dtype[Any]":
        """Of each."""

    def __iter__(self) -> Iterator[np.ndarray]:
        """Give field after field."""


class Reason(IntEnum):
    """Why a nucleus has no crop; the value is stored, the first rule that fails counts.

    The order of the values is the order in which the rules are tried.
    """

    KEPT = 0
    AREA_SMALL = 1
    AREA_LARGE = 2
    BBOX_AREA = 3
    TOO_LARGE_FOR_CROP = 4
    SOLIDITY = 5
    ASPECT_RATIO = 6
    BORDER = 7


REASONS: dict[int, str] = {int(reason): reason.name.lower() for reason in Reason}
"""Code to name, for tables and reports: 0 is ``kept``, 1 ``area_small`` and so on."""


# By code; a nucleus that has a crop has no reason.
_REASON_NAMES = np.array(["", *(REASONS[code] for code in sorted(REASONS) if code)], dtype=object)


def select_nuclei(
    measured: Mapping[str, npt.NDArray[Any]],
    *,
    min_area_px: float = 0.0,
    max_area_px: float = np.inf,
    max_bbox_area_px: float = np.inf,
    size_px: int = 64,
    min_solidity: float = 0.0,
    min_aspect_ratio: float = 0.0,
    exclude_border: bool = False,
) -> npt.NDArray[np.uint8]:
    """Say for every nucleus whether it is kept, or which rule excludes it.

    Rules are tried in the order of the parameters; a value equal to a bound is kept.

    Parameters
    ----------
    measured : mapping
        Columns as `measure_nuclei` returns them; read are ``area_px``, ``bbox_y0`` to
        ``bbox_x1``, ``solidity``, ``major_axis_px``, ``minor_axis_px`` and ``touches_border``.
    min_area_px, max_area_px : float
        Published: 400 and 4000 at 0.656 um per pixel.
    max_bbox_area_px : float
        Rows times columns of the bounding box. Published: 4000.
    size_px : int
        Side of the crop: neither side of the bounding box may be longer. Published: 64.
    min_solidity : float
        Published: 0.1.
    min_aspect_ratio : float
        Minor over major axis, 1 for a single pixel. Published: 0.1.
    exclude_border : bool
        Exclude nuclei that touch the border of the field. Published: no.

    Returns
    -------
    (n,) uint8
        Codes of `Reason`; an empty array for no nuclei.
    """
    area = np.asarray(measured["area_px"], dtype=np.float64)
    rows = np.asarray(measured["bbox_y1"], dtype=np.int64) - measured["bbox_y0"]
    columns = np.asarray(measured["bbox_x1"], dtype=np.int64) - measured["bbox_x0"]
    major = np.asarray(measured["major_axis_px"], dtype=np.float64)
    aspect_ratio = np.ones(area.size)
    np.divide(measured["minor_axis_px"], major, out=aspect_ratio, where=major > 0)
    excluded = {
        Reason.AREA_SMALL: area < min_area_px,
        Reason.AREA_LARGE: area > max_area_px,
        Reason.BBOX_AREA: rows * columns > max_bbox_area_px,
        Reason.TOO_LARGE_FOR_CROP: np.maximum(rows, columns) > size_px,
        Reason.SOLIDITY: np.asarray(measured["solidity"], dtype=np.float64) < min_solidity,
        Reason.ASPECT_RATIO: aspect_ratio < min_aspect_ratio,
        Reason.BORDER: np.asarray(measured["touches_border"], dtype=np.bool_) & exclude_border,
    }
    codes = np.zeros(area.size, dtype=np.uint8)
    for reason in sorted(excluded, reverse=True):
        codes[excluded[reason]] = reason
    return codes


def cut_crops(
    image: npt.NDArray[np.number],
    labels: npt.NDArray[np.integer],
    *,
    label_ids: npt.NDArray[np.integer],
    bbox: npt.NDArray[np.integer],
    size_px: int = 64,
    masked: bool = True,
    out: npt.NDArray[np.number] | None = None,
) -> npt.NDArray[np.number]:
    """Cut one tile per nucleus out of a field, the bounding box in its centre.

    Parameters
    ----------
    image : (c, y, x)
        Channels of the field.
    labels : (y, x) integer
        Label image of the same field.
    label_ids : (n,) integer
        Labels of the nuclei to cut out.
    bbox : (n, 4) integer
        Their bounding boxes: y0, x0, y1, x1, half open, inside the field.
    size_px : int
        Side of the tiles.
    masked : bool
        Set every pixel that is not the nucleus's own to 0, as published. Otherwise the tile
        shows the surroundings of the same window, and is 0 only outside the field.
    out : (n, c, size_px, size_px), dtype of the image
        Zeros that the tiles are written into, such as the part of a well's; None makes them.

    Returns
    -------
    (n, c, size_px, size_px), dtype of the image
        On each axis a bounding box of n pixels starts at ``size_px // 2 - n // 2``.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a bounding box is empty, reaches out of the field or is
        longer than the tile.
    """
    if image.ndim != 3 or image.shape[1:] != labels.shape:
        raise ValueError(
            f"cut crops: image is {image.shape}, expected (c, y, x) with (y, x) = "
            f"{labels.shape} like the labels."
        )
    ids: npt.NDArray[np.int64] = np.asarray(label_ids, dtype=np.int64)
    box: npt.NDArray[np.int64] = np.asarray(bbox, dtype=np.int64)
    if ids.ndim != 1 or box.shape != (ids.size, 4):
        raise ValueError(
            f"cut crops: label_ids are {ids.shape} and bbox {box.shape}, expected (n,) and (n, 4)."
        )
    sides = box[:, 2:] - box[:, :2]
    inside = (box[:, :2] >= 0).all(axis=1) & (box[:, 2:] <= labels.shape).all(axis=1)
    wrong = np.flatnonzero(~inside | (sides < 1).any(axis=1) | (sides > size_px).any(axis=1))
    if wrong.size:
        raise ValueError(
            f"cut crops: {wrong.size} bounding boxes are empty, outside the field {labels.shape} "
            f"or longer than {size_px} px, first label {ids[wrong[0]]} with "
            f"{box[wrong[0]].tolist()}. Leave those nuclei out."
        )
    shape = (ids.size, image.shape[0], size_px, size_px)
    crops = np.zeros(shape, dtype=image.dtype) if out is None else out
    if (crops.shape, crops.dtype) != (shape, image.dtype):
        raise ValueError(
            f"cut crops: out is {crops.dtype} {crops.shape}, expected {image.dtype} {shape}."
        )
    origin = box[:, :2] - (size_px // 2 - sides // 2)
    if labels.dtype != np.int32:
        labels = labels.astype(np.int64)  # two compiled versions instead of eight
    if masked:
        _copy_masked(
            np.ascontiguousarray(image), np.ascontiguousarray(labels), ids, box, origin, crops
        )
    else:
        _copy_windows(np.ascontiguousarray(image), origin, crops)
    return crops


def crop_fields(
    images: Stack,
    labels: Iterable[npt.NDArray[Any]],
    nuclei: Mapping[str, npt.NDArray[Any]],
    *,
    fields: Sequence[str],
    limits: Mapping[str, Any],
    size: int,
    masked: bool,
    cut_px: int,
) -> tuple[npt.NDArray[Any], dict[str, npt.NDArray[Any]]]:
    """Cut the crops of some fields and say for every nucleus whether it has one.

    Parameters
    ----------
    images, labels
        Shapes (field, c, y, x) and (field, y, x). For arrays that can be written to, the kernels
        are compiled once more (`i2r.kernels.checks.freeze`).
    nuclei
        The well's measured nuclei, of these fields and possibly others, with `MEASURED`.
    fields
        Names along the first axis.
    limits
        Keyword arguments of `select_nuclei`.
    size
        Edge of a crop in pixels.
    masked
        Set everything outside the nucleus to zero.
    cut_px
        Edge of what is cut, resampled to `size`.

    Returns
    -------
    crops : ndarray
        Shape (nucleus, c, size, size).
    table : dict of str to ndarray
        One row per labelled nucleus, by columns: plate, well, field, label; ``reason`` (empty for
        those that have a crop) and ``crop``, the index of its crop or -1.
    """
    columns = {name: np.asarray(nuclei[name]) for name in MEASURED}
    codes = select_nuclei(columns, size_px=cut_px, **limits)
    bbox = np.stack([columns[name] for name in BOX], axis=1)
    chosen = [np.flatnonzero(columns["field"] == field) for field in fields]
    rows = np.concatenate([np.empty(0, np.intp), *chosen])
    is_kept = codes[rows] == 0
    crops = np.zeros((np.count_nonzero(is_kept), images.shape[1], size, size), images.dtype)
    first = 0
    for own, image, label_image in zip(chosen, images, labels, strict=True):
        kept = own[codes[own] == 0]
        target = crops[first : first + len(kept)]
        first += len(kept)
        cut = cut_crops(
            image,
            label_image,
            label_ids=columns["label"][kept],
            bbox=bbox[kept],
            size_px=cut_px,
            masked=masked,
            out=target if cut_px == size else None,
        )
        if cut is not target:
            target[:] = resample_tiles(cut, size)
    table = {name: columns[name][rows] for name in ("plate", "well", "field", "label")}
    table["reason"] = _REASON_NAMES[codes[rows]]
    table["crop"] = np.where(is_kept, np.cumsum(is_kept) - 1, -1)
    return crops, table


@numba.njit(cache=True, nogil=True)
def _copy_masked(
    image: npt.NDArray[np.number],
    labels: npt.NDArray[np.integer],
    label_ids: npt.NDArray[np.int64],
    bbox: npt.NDArray[np.int64],
    origin: npt.NDArray[np.int64],
    crops: npt.NDArray[np.number],
) -> None:
    """Copy the pixels that carry the nucleus's label."""
    nothing = np.zeros(1, dtype=image.dtype)[0]  # of the image's type: no pixel is converted
    for i in range(label_ids.size):
        label, x0, x1 = label_ids[i], bbox[i, 1], bbox[i, 3]
        for y in range(bbox[i, 0], bbox[i, 2]):
            row = labels[y, x0:x1]
            for c in range(image.shape[0]):
                source = image[c, y, x0:x1]
                target = crops[i, c, y - origin[i, 0], x0 - origin[i, 1] : x1 - origin[i, 1]]
                for x in range(row.size):
                    target[x] = source[x] if row[x] == label else nothing


@numba.njit(cache=True, nogil=True)
def _copy_windows(
    image: npt.NDArray[np.number],
    origin: npt.NDArray[np.int64],
    crops: npt.NDArray[np.number],
) -> None:
    """Copy what of each window lies inside the field."""
    size = crops.shape[-1]
    for i in range(origin.shape[0]):
        x0 = max(origin[i, 1], 0)
        x1 = min(origin[i, 1] + size, image.shape[2])
        for c in range(image.shape[0]):
            for y in range(max(origin[i, 0], 0), min(origin[i, 0] + size, image.shape[1])):
                source = image[c, y, x0:x1]
                target = crops[i, c, y - origin[i, 0], x0 - origin[i, 1] : x1 - origin[i, 1]]
                for x in range(source.size):
                    target[x] = source[x]
