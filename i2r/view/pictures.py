"""Pictures for the page: sheets of crops, fields and their outlines, as PNG and JPEG."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from i2r.errors import InputError
from i2r.report.images import Window, find_outlines, find_window, shrink, to_grey
from i2r.report.nuclei import spread
from i2r.report.source import ReportSource
from i2r.store import tables
from i2r.store.arrays import read_array
from i2r.view.contents import find_key, list_control_wells

# Nuclei on a sheet, side by side; wells that nuclei of a condition are taken from.
MOST_NUCLEI, COLUMNS, MOST_WELLS = 240, 12, 6
# Control wells, and nuclei of each, that choose the contrast.
CONTRAST_WELLS, CONTRAST_NUCLEI = 3, 64
# A longer run of crops is read one by one.
AT_ONCE = 512
OUTLINE, CHOSEN = (255, 150, 0), (0, 200, 255)


class Nucleus(NamedTuple):
    """Where a nucleus is: its well, its crop's place in it, its field and label."""

    key: str
    crop: int
    field: str
    label: int


def list_nuclei(
    source: ReportSource,
    stage: str,
    keys: Sequence[str],
    *,
    count: int,
    offset: int = 0,
    everywhere: bool = False,
) -> tuple[list[Nucleus], int]:
    """List nuclei that have a crop: evenly over wells and nuclei, or one well's in their order.

    Parameters
    ----------
    source, stage
        The experiment and the stage that cut them.
    keys
        The wells; of more than six, six evenly spread ones.
    count, offset
        How many, and, of one well, from which on.
    everywhere
        Spread them over the nuclei of a single well too.

    Returns
    -------
    nuclei : list of Nucleus
    total : int
        How many all these wells have.
    """
    ledger = source.experiment.ledger
    counts = {key: ledger.report(stage, key).nuclei for key in keys}
    used = [key for key in keys if counts[key]]
    count = max(1, min(count, MOST_NUCLEI))
    if len(keys) == 1 and not everywhere:
        found = list_crops(source, stage, used[0]) if used else []
        return found[offset : offset + count], len(found)
    used = [used[i] for i in spread(len(used), MOST_WELLS)]
    shares = [len(part) for part in np.array_split(np.arange(count), max(1, len(used)))]
    chosen: list[Nucleus] = []
    for key, share in zip(used, shares, strict=False):
        own = list_crops(source, stage, key)
        chosen += [own[i] for i in spread(len(own), share)]
    return chosen, sum(counts.values())


def list_crops(source: ReportSource, stage: str, key: str) -> list[Nucleus]:
    """List the nuclei of a well that have crops, in the crops' order; none before they are cut."""
    if source.experiment.ledger.result(stage, key) is None:
        return []
    url = source.experiment.part_url(stage, key)
    table = tables.read_table(url, columns=["field", "label", "crop"])
    table = table[table["crop"] >= 0].sort_values("crop")
    rows = zip(table["crop"], table["field"], table["label"], strict=True)
    return [Nucleus(key, int(crop), str(field), int(label)) for crop, field, label in rows]


def draw_sheet(
    source: ReportSource,
    stage: str,
    chosen: Sequence[tuple[str, int]],
    *,
    channel: int,
    window: Window,
) -> bytes:
    """Draw crops of one channel on one PNG, row by row, twelve in a row.

    Parameters
    ----------
    source, stage
        The experiment and the stage that cut them.
    chosen
        Well and place of each crop, at least one.
    channel
        Index of the channel.
    window
        What is black and what is white.
    """
    if not chosen or len(chosen) > MOST_NUCLEI:
        raise InputError(f"{len(chosen)} nuclei asked for, expected 1 to {MOST_NUCLEI}.")
    tiles: list[npt.NDArray[np.uint8] | None] = [None] * len(chosen)
    wells: dict[str, list[tuple[int, int]]] = {}
    for place, (key, crop) in enumerate(chosen):
        wells.setdefault(find_key(source, key), []).append((place, crop))
    for key, asked in wells.items():
        crops = read_crops(source, stage, key, [crop for _, crop in asked], channel)
        for (place, _), crop_pixels in zip(asked, crops, strict=True):
            tiles[place] = to_grey(crop_pixels, window)
    size = max(tile.shape[0] for tile in tiles if tile is not None)
    rows = -(-len(tiles) // COLUMNS)
    sheet = np.zeros((rows * size, min(len(tiles), COLUMNS) * size), np.uint8)
    for place, tile in enumerate(tiles):
        if tile is not None:
            y, x = (n * size for n in divmod(place, COLUMNS))
            sheet[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return encode(Image.fromarray(sheet), "PNG")


def read_crops(
    source: ReportSource, stage: str, key: str, indices: Sequence[int], channel: int
) -> npt.NDArray[Any]:
    """Read one channel of some crops of a well, shape (nucleus, y, x).

    Raises
    ------
    InputError
        If there is no such crop.
    """
    result = source.experiment.ledger.result(stage, key)
    if result is None or min(indices) < 0 or max(indices) >= int(result.get("nuclei", 0)):
        raise InputError(f"{key}: no such crop of {stage!r} now. Load the page again.")
    url = source.experiment.crops_url(stage, key)
    first, last = min(indices), max(indices) + 1
    own = slice(channel, channel + 1)
    if last - first <= AT_ONCE:
        found = read_array(url, region=(slice(first, last), own))[:, 0]
        return found[np.asarray(indices) - first]
    # A chunk is decoded whole for one crop, so those of one chunk are read at once.
    order = sorted(set(indices))
    parts: dict[int, npt.NDArray[Any]] = {}
    while order:
        run = [i for i in order if i < order[0] + AT_ONCE]
        read = read_array(url, region=(slice(run[0], run[-1] + 1), own))[:, 0]
        parts.update({i: read[i - run[0]] for i in run})
        order = order[len(run) :]
    return np.stack([parts[i] for i in indices])


def find_contrast(source: ReportSource, stage: str) -> list[dict[str, float]]:
    """Choose black and white of every channel by nuclei of negative controls, or else of any.

    Returns
    -------
    list of dict
        By channel: ``black`` and ``white``, and ``most``, up to where a slider goes.
    """
    name = f"contrast of {stage}"
    if name not in source.kept:
        done = {
            key
            for key, result in source.results(stage).items()
            if int(result.get("nuclei", 0)) and key in source.experiment.wells
        }
        wells = source.wells
        controls = [k for k in wells.index[wells["role"] == "negative_control"] if k in done]
        keys = controls or [key for key in wells.index if key in done]
        keys = [keys[i] for i in spread(len(keys), CONTRAST_WELLS)]
        masked = any(s.title == stage and s.options.get("mask") for s in source.stages)
        found = []
        for channel in range(len(source.channels)):
            pixels = [_read_some(source, stage, key, channel).ravel() for key in keys]
            together = np.concatenate(pixels) if pixels else np.zeros(1)
            window = find_window(together, ignore_zero=masked)
            most = max(float(together.max(initial=1)), window.white) * 1.25
            found.append({"black": window.black, "white": window.white, "most": most})
        source.kept[name] = found
    contrast: list[dict[str, float]] = source.kept[name]
    return contrast


def _read_some(source: ReportSource, stage: str, key: str, channel: int) -> npt.NDArray[Any]:
    """Read the first crops of a well."""
    n = int((source.experiment.ledger.result(stage, key) or {}).get("nuclei", 0))
    return read_crops(source, stage, key, list(range(min(n, CONTRAST_NUCLEI))), channel)


def find_field_contrast(source: ReportSource, key: str) -> list[dict[str, float]]:
    """Choose black and white of every channel of fields, by a control field of the same plate."""
    plate, _ = source.experiment.locate(key)
    name = f"contrast of fields of {plate.name}"
    if name not in source.kept:
        done = set(_list_converted(source))
        control = next((k for k in list_control_wells(source, [key]) if k in done), key)
        field = next(iter(source.experiment.fields(control, [])), None)
        left_out = source.excluded_fields
        bad = set(left_out.loc[left_out["key"] == control, "field"])
        field = next((f for f in source.experiment.wells[control].fields if f not in bad), field)
        found = []
        for channel in range(plate.shape[0]):
            plane = read_field(source, control, str(field), channel)
            window = find_window(plane)
            most = max(float(plane.max(initial=1)), window.white) * 1.25
            found.append({"black": window.black, "white": window.white, "most": most})
        source.kept[name] = found
    contrast: list[dict[str, float]] = source.kept[name]
    return contrast


def _list_converted(source: ReportSource) -> list[str]:
    ledger = source.experiment.ledger
    return [key for s in source.stages_of("convert") for key in ledger.done_keys(s.title)]


def read_field(source: ReportSource, key: str, field: str, channel: int) -> npt.NDArray[Any]:
    """Read one channel of a field, shape (y, x).

    Raises
    ------
    InputError
        If it is not there, or not yet.
    """
    _check_field(source, key, field)
    url = f"{source.experiment.image_url(key, field)}/0"
    try:
        return read_array(url, region=(slice(channel, channel + 1),))[0]
    except FileNotFoundError as error:
        raise InputError(f"{key} field {field}: no image (yet).") from error


def read_labels(source: ReportSource, key: str, field: str, segment: str) -> npt.NDArray[Any]:
    """Read a field's label image, shape (y, x).

    Raises
    ------
    InputError
        If it is not there, or not yet.
    """
    _check_field(source, key, field)
    if source.experiment.ledger.result(segment, key) is None:
        raise InputError(f"{key}: {segment!r} is not done yet.")
    try:
        return source.labels(segment, key, field)
    except FileNotFoundError as error:
        raise InputError(f"{key} field {field}: no outlines of {segment!r}.") from error


def _check_field(source: ReportSource, key: str, field: str) -> None:
    """Refuse fields that the layout does not list: names are never taken as paths."""
    if field not in source.experiment.wells[find_key(source, key)].fields:
        raise InputError(f"{key}: no field {field!r} in the layout. Choose one of the well.")


def draw_field(plane: npt.NDArray[Any], window: Window, *, most_px: int) -> bytes:
    """Draw a field as JPEG, its longer side at most so many pixels."""
    factor = max(1, -(-max(plane.shape) // max(64, most_px)))
    return encode(Image.fromarray(to_grey(shrink(plane, factor), window)), "JPEG")


def draw_outlines(labels: npt.NDArray[Any], *, chosen: int, most_px: int) -> bytes:
    """Draw outlines as a see-through PNG of the size of `draw_field`, one nucleus in blue."""
    factor = max(1, -(-max(labels.shape) // max(64, most_px)))
    y, x = (n // factor for n in labels.shape)
    thin = labels[factor // 2 :: factor, factor // 2 :: factor][:y, :x]
    edges = find_outlines(thin)
    classes = edges.astype(np.uint8)
    classes[edges & (thin == chosen) & (chosen > 0)] = 2
    picture = Image.fromarray(classes)
    picture.putpalette([0, 0, 0, *OUTLINE, *CHOSEN])
    return encode(picture, "PNG", transparency=0)


def describe_nucleus(source: ReportSource, segment: str, place: Nucleus) -> dict[str, Any]:
    """Say where a nucleus is in its field, and what was measured of it when it was found."""
    if source.experiment.ledger.result(segment, find_key(source, place.key)) is None:
        return {}
    table = tables.read_table(source.experiment.part_url(segment, place.key))
    row = table[(table["field"].astype(str) == place.field) & (table["label"] == place.label)]
    if row.empty:
        return {}
    values: Mapping[str, Any] = row.iloc[0].to_dict()
    return {str(name): value for name, value in values.items() if not pd.isna(value)}


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """Encode a picture, quickly rather than small: it does not travel far."""
    buffer = io.BytesIO()
    quickly: dict[str, Any] = {"compress_level": 1} if kind == "PNG" else {"quality": 85}
    picture.save(buffer, kind, **quickly, **options)
    return buffer.getvalue()
