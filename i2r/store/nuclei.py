"""Nuclei of many wells at once: which wells make a class, and their crops in one array."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd

from i2r.errors import I2RError
from i2r.kernels.regions import place_windows
from i2r.store import files, tables
from i2r.store.arrays import read_array
from i2r.store.regions import RegionView, read_framed_field

if TYPE_CHECKING:
    from i2r.store.experiment import Experiment

CONTROL = "negative control"


class Nuclei(NamedTuple):
    """Crops of many wells, and where they are from.

    Attributes
    ----------
    crops
        Shape (nucleus, c, y, x).
    wells
        Shape (nucleus,), int64: index of the well.
    crop_index
        Shape (nucleus,), int64: index of the crop in its well.
    fields
        Shape (nucleus,), str: the field.
    """

    crops: np.ndarray
    wells: np.ndarray
    crop_index: np.ndarray
    fields: np.ndarray


def name_classes(table: pd.DataFrame, by: Literal["condition", "gene"]) -> "pd.Series[str]":
    """Name what each row of a table with condition, perturbation and gene is of.

    By gene, a perturbation of which no gene is known goes by its own name.
    """
    if by == "condition":
        return table["condition"].astype(str)
    return table["gene"].where(table["gene"].astype(str) != "", table["perturbation"]).astype(str)


def list_classes(experiment: "Experiment", by: Literal["condition", "gene"]) -> pd.DataFrame:
    """List the wells of classes of two wells or more.

    Parameters
    ----------
    experiment
        The experiment.
    by
        What makes a class: the condition, or the gene it acts on (the perturbation's own name
        where no gene is given).

    Returns
    -------
    DataFrame
        By key: plate and class; all negative controls are one class. Classes of one well are left
        out: nothing of them could be held out.
    """
    layout = experiment.layout_by_key
    layout = layout[layout["role"].isin(["treated", "positive_control", "negative_control"])]
    names = name_classes(layout, by).mask(layout["role"] == "negative_control", CONTROL)
    wells = pd.DataFrame({"plate": layout["plate"].astype(str), "class": names})
    return wells[wells.groupby("class")["class"].transform("size") >= 2]


def read_channels(url: str, *, channels: Sequence[int]) -> np.ndarray:
    """Read some channels of a well's crops, shape (nucleus, c, y, x)."""
    everything = slice(None)
    return np.concatenate(
        [read_array(url, region=(everything, slice(c, c + 1))) for c in channels], axis=1
    )


def read_nuclei(
    crops: Sequence[str],
    parts: Sequence[str],
    *,
    channels: Sequence[Sequence[int]],
    chosen: Sequence[np.ndarray],
) -> Nuclei:
    """Read the nuclei of many wells into one array, well after well.

    Parameters
    ----------
    crops, parts
        Per well: where its crops and its part of the crop table are.
    channels
        Per well: indices of the channels.
    chosen
        Per well: indices of the crops to take, ascending.

    Raises
    ------
    I2RError
        If wells have crops of different size or type.
    """
    together: np.ndarray | None = None
    fields = [np.empty(0, dtype="<U1")]
    start = 0
    for url, part, own_channels, rows in zip(crops, parts, channels, chosen, strict=True):
        own = read_channels(url, channels=own_channels)[rows]
        if together is None:
            together = np.empty((sum(map(len, chosen)), *own.shape[1:]), own.dtype)
        if (own.shape[1:], own.dtype) != (together.shape[1:], together.dtype):
            raise I2RError(
                f"{files.without_secrets(url)}: crops are {own.dtype} {own.shape[1:]}, those of "
                f"other wells {together.dtype} {together.shape[1:]}, expected the same. Convert "
                "and cut all plates with the same options."
            )
        together[start : start + len(own)] = own
        start += len(own)
        table = tables.read_table(part, columns=["field", "crop"])
        cropped = table[table["crop"] >= 0].sort_values("crop")
        fields.append(cropped["field"].to_numpy(dtype=str)[rows])
    if together is None:
        raise I2RError("no wells to read nuclei of, expected one or more.")
    wells = np.repeat(np.arange(len(chosen)), [len(rows) for rows in chosen])
    numbers = np.concatenate([*chosen, np.empty(0, np.int64)]).astype(np.int64)
    return Nuclei(together, wells, numbers, np.concatenate(fields))


class Regions(NamedTuple):
    """Fields around nuclei, and where in them each nucleus' window starts.

    Attributes
    ----------
    fields
        Shape (field, c, y, x), uint8: scaled and framed; smaller ones are filled up with zeros
        that no window reaches.
    places
        Shape (nucleus, 3), int64: field, row and column.
    """

    fields: np.ndarray
    places: np.ndarray


def read_regions(
    nuclei: Nuclei,
    parts: Sequence[str],
    segments: Sequence[str],
    images: Sequence[Mapping[str, str]],
    functions: Sequence[Mapping[int, str]],
    *,
    channels: Sequence[Sequence[int]],
    size_px: int,
    halved: bool,
) -> Regions:
    """Read the fields of nuclei, each once.

    Parameters
    ----------
    nuclei
        From `read_nuclei`.
    parts, segments
        Per well: where its parts of the crop table and of the table of measured nuclei are.
    images
        Per well: the image groups by field.
    functions
        Per well: illumination functions by the channel's index.
    channels
        Per well: indices of the channels.
    size_px, halved
        See `i2r.store.regions.RegionView`.
    """
    places = np.zeros((len(nuclei.wells), 3), dtype=np.int64)
    framed: list[np.ndarray] = []
    for well in np.unique(nuclei.wells):
        rows = np.flatnonzero(nuclei.wells == well)
        cropped = tables.read_table(parts[well], columns=["field", "label", "crop"])
        cropped = cropped[cropped["crop"] >= 0].sort_values("crop").iloc[nuclei.crop_index[rows]]
        columns = ["field", "label", "centroid_y_px", "centroid_x_px"]
        measured = tables.read_table(segments[well], columns=columns)
        joined = cropped.merge(measured, on=["field", "label"], how="left", validate="1:1")
        places[rows, 1:] = place_windows(
            joined["centroid_y_px"].to_numpy(), joined["centroid_x_px"].to_numpy(), halved=halved
        )
        view = RegionView(tuple(channels[well]), size_px=size_px, halved=halved)
        names = joined["field"].to_numpy(dtype=str)
        for name in np.unique(names):
            places[rows[names == name], 0] = len(framed)
            framed.append(read_framed_field(images[well][name], view, functions=functions[well]))
    if not framed:
        return Regions(np.zeros((0, len(channels[0]), size_px, size_px), np.uint8), places)
    largest = np.max([field.shape for field in framed], axis=0)
    fields = np.zeros((len(framed), *largest), dtype=np.uint8)
    for number, field in enumerate(framed):
        fields[number, :, : field.shape[1], : field.shape[2]] = field
        framed[number] = field[:0]  # let go of one copy after the other
    return Regions(fields, places)
