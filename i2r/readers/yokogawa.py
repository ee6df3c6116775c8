"""CellVoyager (CV7000, CV8000): what a measurement's MeasurementData.mlf lists."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from i2r.errors import InputError, count_words, name_some
from i2r.readers import ReaderOptions, Sources, sheets
from i2r.readers.images import GONE
from i2r.readers.names import Found, normalise_number
from i2r.readers.plate_names import tell_apart
from i2r.readers.positions import NOWHERE, Position, read_position
from i2r.readers.selection import choose_time
from i2r.readers.sources import build_sources
from i2r.readers.xml import Element, read_elements
from i2r.store import files

LIST_NAME = "measurementdata.mlf"
DETAIL_NAME = "measurementdetail.mrf"
_NAMES = (LIST_NAME, DETAIL_NAME)


class _Record(NamedTuple):
    """A line of the list: an image, or with an empty name an error in its place."""

    well: str
    field: str
    channel: str
    z: str
    time: str
    action: str
    name: str
    position_um: Position = NOWHERE


class _Details(NamedTuple):
    """What the other files of a measurement say: the plate's name, pixels and channels."""

    plate: str
    pixel_sizes_um: dict[str, tuple[float, float]]
    channels: dict[str, str]


def recognises(source: str) -> bool:
    """Tell whether a source is a measurement's list, or a folder with one somewhere in it."""
    return not sheets.is_sheet(source) and bool(_find_lists(source))


def scan(source: str, options: ReaderOptions) -> Sources:
    """Read what the lists of one or several measurements name.

    Parameters
    ----------
    source
        A ``MeasurementData.mlf`` or ``MeasurementDetail.mrf``, or a folder of measurements.
    options
        As for all readers; `files_root` is not used, images lie beside their list.

    Returns
    -------
    Sources
        Every image that a list names; those that aren't there, and fields for which the
        instrument noted an error in place of an image, have size -1. The plate's name and the
        size of pixels are those of ``MeasurementDetail.mrf``. Channels have their numbers, or the
        names that the settings (``.mes``) give to their dyes, where each has its own.

    Raises
    ------
    InputError
        If there is no list, if one can't be read or names no images, and for all that
        `build_sources` refuses.
    """
    lists = _find_lists(source)
    if not lists:
        raise InputError(
            f"{files.without_secrets(source)}: found no MeasurementData.mlf there or in a folder "
            "below. Give the folder of a measurement."
        )
    by_list = [(place, *_read_measurement(place, options)) for place in lists]
    names, notes = tell_apart([(plate, place) for place, plate, _, _ in by_list])
    found: list[Found] = []
    for name, (_, _, images, said) in zip(names, by_list, strict=True):
        found += [image._replace(plate=name) for image in images]
        notes += said
    return build_sources(found, options, where=source, notes=notes)


def _find_lists(source: str) -> list[str]:
    """Find the lists of measurements: the source itself, or all below it."""
    base = files.normalise_url(source)
    if base.rpartition("/")[2].lower() in _NAMES:
        folder = files.parent_url(base)
        names = [name for name in files.list_folder(folder) if name.lower() == LIST_NAME]
        return [f"{folder}/{name}" for name in names]
    listed = files.find_files(base, lambda path: path.rpartition("/")[2].lower() == LIST_NAME)
    return sorted(f"{base}/{file.path}" for file in listed)


def _read_measurement(place: str, options: ReaderOptions) -> tuple[str, list[Found], list[str]]:
    """Read one measurement; returns the plate's name, its images and notes."""
    where, folder = files.without_secrets(place), files.parent_url(place)
    listed = {file.path: file.stat for file in files.find_files(folder, lambda path: True)}
    details = _read_details(folder, list(listed))
    records = [_take(element, where) for element in read_elements(place, {"MeasurementRecord"})]
    images = [record for record in records if record.name]
    if not images:
        raise InputError(f"{where}: lists no images. Copy the measurement again.")
    time = choose_time(where, (record.time for record in images), options)
    images = [record for record in images if record.time == time]
    imaged = {record[:4] for record in images}
    # The same plane by several actions: a stack and its projection, for example.
    several = len(imaged) < len(images)
    failed = list(_find_failed(records, images))
    notes = []
    if failed:
        wells = list(dict.fromkeys(record.well for record in failed))
        notes = [
            f"{where}: the instrument noted errors in place of "
            f"{count_words(len(failed), 'image')}, in {count_words(len(wells), 'well')}: "
            f"{name_some(wells, 4)}"
        ]
    found = []
    for record in [*images, *failed]:
        path = record.name.replace("\\", "/")
        channel = details.channels.get(record.channel, record.channel)
        width, height = details.pixel_sizes_um.get(record.channel, (math.nan, math.nan))
        found.append(
            Found(
                plate="",
                well=record.well,
                field=record.field,
                channel=f"{channel} {record.action}".strip() if several else channel,
                z=record.z,
                url=files.join_url(folder, *path.split("/")),
                stat=listed.get(path, GONE),
                pixel_size_um=width,
                pixel_height_um=height,
                position_um=record.position_um,
            )
        )
    return details.plate, found, notes


def _take(element: Element, where: str) -> _Record:
    """Read a record; attributes have the namespace of the instrument."""
    given = {name.rpartition(" ")[2]: text for name, text in element.attributes.items()}
    try:
        return _Record(
            well=sheets.join_well(given["Row"], given["Column"]),
            field=given["FieldIndex"],
            channel=normalise_number(given.get("Ch", "")),
            z=given.get("ZIndex", ""),
            time="-".join(given.get(name, "1") for name in ("TimelineIndex", "TimePoint")),
            action=given.get("Action", ""),
            name=element.text if given.get("Type") == "IMG" else "",
            position_um=_read_position(given.get("X"), given.get("Y")),
        )
    except KeyError as error:
        raise InputError(
            f"{where}: a record has no {error.args[0]}. Copy the measurement again."
        ) from error


def _read_position(x: str | None, y: str | None) -> Position:
    """Read the centre of a field in microns from the middle of the well; y points up."""
    x_um, y_um = read_position(x, y, "um", "um")
    return x_um, -y_um


def _find_failed(records: list[_Record], images: list[_Record]) -> Iterator[_Record]:
    """Name the images that errors took the place of: those that other fields have."""
    imaged = {(record.well, record.field, record.channel) for record in images}
    channels = {record.channel: record for record in images}
    places = dict.fromkeys((r.well, r.field) for r in records if not r.name)
    for well, field in places:
        for channel, like in channels.items():
            if (well, field, channel) not in imaged:
                name = f"{well} field {field} channel {channel} of the instrument's errors"
                yield like._replace(well=well, field=field, z="1", name=name)


def _read_details(folder: str, names: list[str]) -> _Details:
    """Read the plate's name, the sizes of pixels and the names of channels, where they are."""
    plate = folder.rpartition("/")[2]
    sizes: dict[str, tuple[float, float]] = {}
    dyes: dict[str, str] = {}
    for name in names:
        if name.lower() == DETAIL_NAME:
            elements = {"MeasurementSamplePlate", "MeasurementChannel"}
        elif name.lower().endswith(".mes") and "/" not in name:
            elements = {"Channel"}
        else:
            continue
        for element in read_elements(f"{folder}/{name}", elements):
            given = {key.rpartition(" ")[2]: text for key, text in element.attributes.items()}
            number = normalise_number(given.get("Ch", ""))
            if element.name == "MeasurementSamplePlate":
                plate = given.get("Name", "").strip() or plate
            elif element.name == "MeasurementChannel":
                sizes[number] = (
                    _read_size(given.get("HorizontalPixelDimension", "")),
                    _read_size(given.get("VerticalPixelDimension", "")),
                )
            else:
                dyes[number] = given.get("Fluorophore", "").strip()
    if "" in dyes.values() or len(set(dyes.values())) < len(dyes):
        dyes = {}
    return _Details(plate, sizes, dyes)


def _read_size(text: str) -> float:
    """Read the edge of a pixel in microns; NaN where it is none."""
    try:
        size = float(text)
    except ValueError:
        return math.nan
    return size if 0 < size < math.inf else math.nan
