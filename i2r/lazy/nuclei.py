"""Nuclei of the fields of a well: their measurements and crops, field by field."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from i2r.kernels.crops import REASONS, cut_crops, select_nuclei
from i2r.kernels.frozen import freeze
from i2r.kernels.nuclei import measure_nuclei
from i2r.kernels.resampling import resample_tiles

BOX = ("bbox_y0", "bbox_x0", "bbox_y1", "bbox_x1")
INTENSITIES = ("mean", "std", "min", "max")
# What nuclei are chosen and cut by.
MEASURED = (
    "plate", "well", "field", "label", *BOX, "area_px", "solidity", "major_axis_px",
    "minor_axis_px", "touches_border",
)  # fmt: skip

# By code; a nucleus that has a crop has no reason.
_REASON_NAMES = np.array(["", *(REASONS[code] for code in sorted(REASONS) if code)], dtype=object)


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


class Place(NamedTuple):
    """Names that lead every row of a table of nuclei."""

    plate: str
    well: str


def measure_fields(
    images: Stack,
    labels: Iterable[np.ndarray],
    *,
    place: Place,
    fields: Sequence[str],
    channels: Sequence[str],
    pixel_size_um: float,
) -> pd.DataFrame:
    """Measure every nucleus of some fields.

    Parameters
    ----------
    images, labels
        Shapes (field, c, y, x) and (field, y, x).
    place, fields, channels
        Names for the table.
    pixel_size_um
        Edge of a pixel.

    Returns
    -------
    DataFrame
        One row per nucleus: place, geometry in pixels and microns, and intensities ``mean_DNA``,
        ``std_DNA``, ... of every channel.
    """
    return pd.DataFrame(
        tabulate_nuclei(
            [
                measure_nuclei(freeze(plane), freeze(image))
                for plane, image in zip(labels, images, strict=True)
            ],
            place=place,
            fields=fields,
            channels=channels,
            dtype=images.dtype,
            pixel_size_um=pixel_size_um,
        )
    )


def tabulate_nuclei(
    measured: Sequence[Mapping[str, np.ndarray]],
    *,
    place: Place,
    fields: Sequence[str],
    channels: Sequence[str],
    dtype: "np.dtype[Any]",
    pixel_size_um: float,
) -> dict[str, np.ndarray]:
    """Make the table of a well's nuclei, by columns, of what was measured in each of its fields.

    Parameters
    ----------
    measured
        For each field what `i2r.kernels.nuclei.measure_nuclei` gives.
    place, fields, channels, pixel_size_um
        See `measure_fields`.
    dtype
        Of the images.
    """
    # An empty field first: it gives the columns their types where there are no nuclei.
    nothing, unlabelled = np.zeros((len(channels), 1, 1), dtype), np.zeros((1, 1), np.int32)
    measured = [measure_nuclei(freeze(unlabelled), freeze(nothing)), *measured]
    joined = {name: np.concatenate([part[name] for part in measured]) for name in measured[0]}
    counts = [len(part["label"]) for part in measured]
    columns: dict[str, np.ndarray] = {
        "plate": np.full(sum(counts), place.plate, dtype=object),
        "well": np.full(sum(counts), place.well, dtype=object),
        "field": np.repeat(np.array(["", *fields], dtype=object), counts),
        "label": joined.pop("label"),
        "area_px": joined["area_px"],
        "area_um2": joined.pop("area_px") * pixel_size_um**2,
    }
    intensities = {kind: joined.pop(f"intensity_{kind}") for kind in INTENSITIES}
    columns |= joined
    for kind, values in intensities.items():
        columns |= {f"{kind}_{name}": values[:, index] for index, name in enumerate(channels)}
    return columns


def crop_fields(
    images: Stack,
    labels: Iterable[np.ndarray],
    nuclei: pd.DataFrame | Mapping[str, np.ndarray],
    *,
    fields: Sequence[str],
    limits: Mapping[str, Any],
    size: int,
    masked: bool,
    cut_px: int,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Cut the crops of some fields and say for every nucleus whether it has one.

    Parameters
    ----------
    images, labels
        Shapes (field, c, y, x) and (field, y, x).
    nuclei
        The well's measured nuclei, of these fields and possibly others: a table with `MEASURED`.
    fields
        Names along the first axis.
    limits
        Keyword arguments of `i2r.kernels.crops.select_nuclei`.
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
            freeze(image),
            freeze(label_image),
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
