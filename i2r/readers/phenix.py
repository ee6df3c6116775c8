"""Opera Phenix and Operetta: measurements exported by Harmony, with their Index.idx.xml."""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from i2r.errors import InputError, count_words
from i2r.readers import ReaderOptions, Sources, sheets
from i2r.readers.flatfield import find_profiles, name_profile
from i2r.readers.images import GONE
from i2r.readers.names import Found
from i2r.readers.plate_names import tell_apart
from i2r.readers.positions import Position, read_position
from i2r.readers.selection import choose_time
from i2r.readers.sources import build_sources, list_places
from i2r.readers.xml import read_elements
from i2r.store import files
from i2r.types import find_format

# Harmony 1 to 5 write the first, Harmony 6 and 7 the second; copies may have other capitals.
INDEX_NAMES = ("Index.idx.xml", "Index.xml")
_LOWER_NAMES = tuple(name.lower() for name in INDEX_NAMES)
_ELEMENTS = frozenset({"Image", "Plate", "Entry", "Well"})
# What is kept of an image's entry, in lower case; the rest is three quarters of an index.
_KEPT = (
    "url", "row", "col", "fieldid", "planeid", "timepointid", "channelid", "channelname",
    "imageresolutionx", "imageresolutiony", "positionx", "positiony",
)  # fmt: skip


def recognises(source: str) -> bool:
    """Tell whether a source is an index, or holds one in the usual places."""
    return not sheets.is_sheet(source) and bool(_find_indices(source))


def scan(source: str, options: ReaderOptions) -> Sources:
    """Read what the indices of one or several measurements list.

    Parameters
    ----------
    source
        An ``Index.idx.xml``, the folder ``Images`` with it, a measurement, or a folder of
        measurements.
    options
        As for all readers; `files_root` is not used, images lie beside their index.

    Returns
    -------
    Sources
        Every image that an index lists, by the index's names of plate and channels; images that
        aren't there have size -1. Flat-field profiles, of the index or of ``FFC_Profile``, are the
        illumination functions of their channels.

    Raises
    ------
    InputError
        If there is no index, if one can't be read or lists no images, several time points, or
        an image outside its folder, and for all that `build_sources` refuses.
    """
    indices = _find_indices(source)
    if not indices:
        raise InputError(
            f"{files.without_secrets(source)}: found no {INDEX_NAMES[0]} there, in 'Images', or "
            "one folder further down. Give the folder of a measurement."
        )
    found: list[Found] = []
    by_index: dict[str, list[Found]] = {}
    notes: dict[str, None] = {}
    for index in indices:
        by_index[index], said = _read_index(index, options)
        notes |= dict.fromkeys(said)
    # Several measurements may be of plates of one name.
    places = [(images[0].plate, index) for index, images in by_index.items()]
    names, told = tell_apart(places)
    for name, images in zip(names, by_index.values(), strict=True):
        found += [image._replace(plate=name) for image in images]
    return build_sources(found, options, where=source, notes=[*told, *notes])


def _find_indices(source: str) -> list[str]:
    """Find index files: the source itself, in it, in its Images, and the same one level down."""
    if source.rpartition("/")[2].lower() in _LOWER_NAMES:
        return [files.normalise_url(source)]
    own, *below = list_places(source)
    return _in_folder(own) or [index for folder in below for index in _in_folder(folder)]


def _in_folder(folder: str) -> list[str]:
    """Find the index of a measurement, the older name first; none in what is a file."""
    try:
        names = files.list_folder(folder)
    except InputError:
        return []
    images = [f"{folder}/{name}" for name in names if name.lower() == "images"]
    for place, listed in [(folder, names), *((i, files.list_folder(i)) for i in images)]:
        found = {name.lower(): f"{place}/{name}" for name in listed}
        if indices := [found[name] for name in _LOWER_NAMES if name in found]:
            return indices[:1]
    return []


def _read_index(index: str, options: ReaderOptions) -> tuple[list[Found], list[str]]:
    """Read one measurement; returns its images, and notes on pixels and flat-field profiles."""
    where, folder = files.without_secrets(index), files.parent_url(index)
    # Images without a plate's name are of the measurement: the folder above 'Images'.
    plate = re.sub(r"(?i)/images$", "", folder).rpartition("/")[2]
    images: list[dict[str, str]] = []
    wells: dict[tuple[int, int], None] = {}
    channels: dict[str, str] = {}
    profiles: dict[str, str] = {}
    wells_of_plate = 0
    for element in read_elements(index, _ELEMENTS):
        texts = {name.lower(): text for name, text in element.texts.items()}
        if element.name == "Plate":
            plate = texts.get("name") or plate
            wells_of_plate = find_format(texts.get("platerows"), texts.get("platecolumns"))
        elif element.name == "Well":
            number = element.attributes.get("id") or texts.get("id", "")
            if number.isdecimal() and len(number) == 4:  # row and column, two digits each
                wells[int(number[:2]), int(number[2:])] = None
        elif element.name == "Entry":
            number = element.attributes.get("ChannelID", "")
            if texts.get("channelname"):
                channels[number] = texts["channelname"]
            if texts.get("flatfieldprofile"):
                profiles[number] = name_profile(index, number)
        elif element.name == "Image" and texts.get("url"):
            images.append({name: texts.get(name, "") for name in _KEPT})
            if texts.get("channelname"):
                channels[texts.get("channelid", "")] = texts["channelname"]
    if not images:
        raise InputError(f"{where}: lists no images. Export the measurement again.")
    listed = {image["url"].replace("\\", "/") for image in images}
    time = choose_time(where, (image["timepointid"] for image in images), options)
    images = [image for image in images if image["timepointid"] == time]
    profiles = profiles or find_profiles(folder)
    stats = {file.path: file.stat for file in files.find_files(folder, lambda path: True)}
    places = _find_places(stats)
    names = list(channels.values())
    found = []
    width, height = (_read_pixel_size(images[0][f"imageresolution{a}"], where) for a in "xy")
    for image in [*images, *_find_gaps(images, wells)]:
        path, number = image["url"].replace("\\", "/"), image["channelid"]
        path = places.get(path, path)
        name = channels.get(number, f"ch{number}")
        found.append(
            Found(
                plate=plate,
                well=sheets.join_well(image["row"], image["col"]),
                field=image["fieldid"],
                # Two channels of one name are told apart by their numbers.
                channel=f"{name} ({number})" if names.count(name) > 1 else name,
                z=image["planeid"],
                url=files.join_url(folder, *path.split("/")),
                stat=stats.get(path, GONE),
                pixel_size_um=width,
                pixel_height_um=height,
                illumination=profiles.get(number, ""),
                plate_format=wells_of_plate,
                position_um=_read_position(image["positionx"], image["positiony"]),
            )
        )
    said = ["flat-field profiles are listed: stage 'illuminate', method 'given'"] * bool(profiles)
    said += _find_unlisted(stats, listed)
    return found, said


def _read_position(x_metres: str, y_metres: str) -> Position:
    """Read the centre of a field, from the middle of the well; Harmony's y points up."""
    x_um, y_um = read_position(x_metres, y_metres, "m", "m")
    return x_um, -y_um


def _find_unlisted(paths: Iterable[str], listed: Collection[str]) -> list[str]:
    """Say how many images lie there that the index doesn't list, at any time."""
    others = [
        path
        for path in paths
        if path.lower().endswith((".tif", ".tiff"))
        and path not in listed
        and path.rpartition("/")[2] not in listed
    ]
    if not others:
        return []
    said = count_words(len(others), "image is", "images are")
    return [f"{said} left out that the index does not list, such as {others[0]}"]


def _find_places(paths: Collection[str]) -> dict[str, str]:
    """Find files by their names alone, where one has the name.

    Harmony 7 may put the index above the folder of its images, which it doesn't name.
    """
    counts = Counter(path.rpartition("/")[2] for path in paths)
    places = {path.rpartition("/")[2]: path for path in paths}
    return {name: path for name, path in places.items() if counts[name] == 1 and name not in paths}


def _read_pixel_size(metres: str, where: str) -> float:
    """Read the edge of a pixel in microns; NaN where the index has none."""
    if not metres:
        return math.nan
    try:
        return float(metres) * 1e6
    except ValueError as error:
        raise InputError(
            f"{where}: ImageResolution is {metres[:40]!r}, expected metres. Export it again."
        ) from error


def _find_gaps(
    images: list[dict[str, str]], wells: Iterable[tuple[int, int]]
) -> Iterator[dict[str, str]]:
    """Name the images of wells that the index lists without any: like those of the first well."""
    imaged = {(image["row"], image["col"]) for image in images}
    known = {(int(r), int(c)) for r, c in imaged if r.isdecimal() and c.isdecimal()}
    like = [i for i in images if (i["row"], i["col"]) == (images[0]["row"], images[0]["col"])]
    for row, column in wells:
        if (row, column) not in known:
            for image in like:
                name = f"r{row:02d}c{column:02d} like {image['url'].rpartition('/')[2]}"
                yield {**image, "row": str(row), "col": str(column), "url": name}
