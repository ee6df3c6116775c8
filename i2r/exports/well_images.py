"""The images of a well as viewers want them: its fields one by one, or fused into one image."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.store import ngff
from i2r.store.arrays import read_array
from i2r.store.documents import read_json
from i2r.store.experiment import Experiment

# Positions that need a larger image than this many times the fields' own pixels are not used:
# most of it would be empty.
SPARSEST = 8.0


class FieldInfo(NamedTuple):
    """What a field's metadata says: position in microns (y, x) or None, windows per channel."""

    position_um: tuple[float, float] | None
    windows: list[tuple[float, float]]


class Slots(NamedTuple):
    """Where the fields of a plate's wells lie in fused images, which are all of one size.

    Attributes
    ----------
    shape
        Of a fused image (y, x), in pixels.
    offsets
        First pixel (y, x) of each field, by well and field.
    origin_um
        Where the fused image's first pixel lies in the well (y, x); None without positions.
    """

    shape: tuple[int, int]
    offsets: dict[tuple[str, str], tuple[int, int]]
    origin_um: tuple[float, float] | None


class WellImage(NamedTuple):
    """One image of a well with its labels.

    Attributes
    ----------
    name
        Its path in the well.
    image
        Shape (c, y, x).
    labels
        Shape (y, x) each, by name.
    position_um
        Where its first pixel lies in the well (y, x), or None.
    fields
        Name, first pixel (y, x), and what was added to labels, by their name, of every field in it.
    """

    name: str
    image: npt.NDArray[Any]
    labels: dict[str, npt.NDArray[np.int32]]
    position_um: tuple[float, float] | None
    fields: list[tuple[str, tuple[int, int], dict[str, int]]]

    def select(self, nuclei: pd.DataFrame, label_name: str) -> pd.DataFrame:
        """Take the nuclei of this image from a well's table; ``label`` is that of its labels."""
        parts = []
        for field, _, added in self.fields:
            rows = nuclei[nuclei["field"] == field]
            parts.append(rows.assign(label=rows["label"] + added.get(label_name, 0)))
        return pd.concat(parts, ignore_index=True)


def read_info(experiment: Experiment, key: str, field: str) -> FieldInfo:
    """Read what the metadata of a field's image says."""
    document = read_json(f"{experiment.image_url(key, field)}/zarr.json")
    channels = document["attributes"]["ome"]["omero"]["channels"]
    windows = [(float(c["window"]["start"]), float(c["window"]["end"])) for c in channels]
    return FieldInfo(ngff.read_position(document), windows)


def join_windows(infos: Sequence[FieldInfo]) -> list[tuple[float, float]]:
    """Choose one window per channel for many fields, so that wells can be compared by eye."""
    windows = np.array([info.windows for info in infos])  # field, channel, (start, end)
    starts, ends = np.median(windows[..., 0], axis=0), np.quantile(windows[..., 1], 0.95, axis=0)
    return [(float(a), float(max(b, a + 1))) for a, b in zip(starts, ends, strict=True)]


def place_fields(
    infos: Mapping[tuple[str, str], FieldInfo], *, shape: tuple[int, int], pixel_size_um: float
) -> Slots:
    """Place the fields of a plate's wells: where they were taken, or side by side.

    Parameters
    ----------
    infos
        By well and field, fields of every well in their order.
    shape
        Of a field (y, x).
    pixel_size_um
        Edge of a pixel.
    """
    positions = {key: info.position_um for key, info in infos.items()}
    known = {key: at for key, at in positions.items() if at is not None}
    most = max(pd.Series([well for well, _ in infos]).value_counts())
    if len(known) == len(positions) and pixel_size_um > 0:
        origin = tuple(min(at[axis] for at in known.values()) for axis in (0, 1))
        offsets = {
            key: (
                round((at[0] - origin[0]) / pixel_size_um),
                round((at[1] - origin[1]) / pixel_size_um),
            )
            for key, at in known.items()
        }
        height, width = (max(at[axis] for at in offsets.values()) + shape[axis] for axis in (0, 1))
        if height * width <= SPARSEST * most * shape[0] * shape[1]:
            return Slots((height, width), offsets, (origin[0], origin[1]))
    names = list(dict.fromkeys(field for _, field in infos))
    columns = math.ceil(math.sqrt(len(names)))
    rows = math.ceil(len(names) / columns)
    slots = {
        name: (n // columns * shape[0], n % columns * shape[1]) for n, name in enumerate(names)
    }
    offsets = {(well, field): slots[field] for well, field in infos}
    return Slots((rows * shape[0], columns * shape[1]), offsets, None)


def read_fields(
    experiment: Experiment, key: str, fields: Mapping[str, FieldInfo], labels: Sequence[str]
) -> Iterator[WellImage]:
    """Read the fields of a well one after another."""
    for field, info in fields.items():
        url = experiment.image_url(key, field)
        found = {name: read_array(f"{url}/labels/{name}/0") for name in labels}
        image = read_array(f"{url}/0")
        yield WellImage(field, image, found, info.position_um, [(field, (0, 0), {})])


def fuse_fields(
    experiment: Experiment, key: str, fields: Sequence[str], labels: Sequence[str], slots: Slots
) -> WellImage:
    """Put a well's fields into one image; of overlapping pixels those of the later field are seen.

    Labels of a field get the number of the largest one of the fields before added, so that each
    nucleus keeps a label of its own.
    """
    plate, _ = experiment.locate(key)
    fused = np.zeros((plate.shape[0], *slots.shape), plate.dtype)
    masks = {name: np.zeros(slots.shape, np.int32) for name in labels}
    highest = dict.fromkeys(labels, 0)
    placed = []
    for field in fields:
        url = experiment.image_url(key, field)
        top, left = slots.offsets[key, field]
        window = np.s_[top : top + plate.shape[1], left : left + plate.shape[2]]
        fused[:, *window] = read_array(f"{url}/0")
        for name, mask in masks.items():
            found = read_array(f"{url}/labels/{name}/0")
            mask[window] = np.where(found > 0, found + highest[name], 0)
        placed.append((field, (top, left), dict(highest)))
        for name in labels:
            part = masks[name][window]
            highest[name] = max(highest[name], int(part.max(initial=0)))
    return WellImage("0", fused, masks, slots.origin_um, placed)
