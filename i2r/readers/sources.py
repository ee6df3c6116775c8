"""From files found to a checked table of sources: the rules that all readers share."""

import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from i2r.errors import InputError, SeveralPlanesError, join_problems
from i2r.readers import ReaderOptions, Sources, did_you_mean
from i2r.readers.images import GONE
from i2r.readers.planes import Plane, expand_planes, place_in_wells
from i2r.readers.plate_names import tell_apart
from i2r.readers.positions import NOWHERE, Position
from i2r.store import files
from i2r.types import Well, parse_well

COLUMNS = ("plate", "well", "field", "channel", "z", "url", "page", "size_bytes", "mtime_ns",
           "illumination", "problem", "inverted", "dtype", "height_px", "width_px",
           "pixel_size_um", "plate_format", "x_um", "y_um")  # fmt: skip
# A table of millions of rows has a few thousand wells; notes name the first of them.
_EXAMPLES = 4
# Of a field's name, which becomes a folder.
LONGEST_FIELD = 100


class Found(NamedTuple):
    """One plane as the source describes it; text as written there, empty where it says nothing.

    ``illumination`` is the place of the function by which the plane is to be divided;
    ``pixel_size_um`` what the source says of the pixels, NaN for nothing; ``frame`` and ``series``
    say which plane of which image in the file it is, where the source says so. ``plate_format`` is
    the number of wells of the physical plate, 0 where the source doesn't say; ``position_um`` the
    centre of the field in its well, x to the right and y down.
    """

    plate: str
    well: str
    field: str
    channel: str
    z: str
    url: str
    stat: files.Stat
    page: int = 0
    illumination: str = ""
    pixel_size_um: float = math.nan
    frame: str = ""
    series: str = ""
    plate_format: int = 0
    position_um: Position = NOWHERE


def build_sources(
    found: Iterable[Found], options: ReaderOptions, *, where: str, notes: Sequence[str] = ()
) -> Sources:
    """Normalise names, choose channels and focal planes, refuse duplicates, and sort.

    Parameters
    ----------
    found
        The files; wells as the instrument writes them, fields with or without leading zeros.
        Without plate, field, channel or z they belong to the plate of the options, or else of the
        source's name, to field ``1``, to channel ``channel`` and to plane 0.
    options
        Names, channels and focal planes that the user wants.
    where
        The source, for messages and for the default name of the plate.
    notes
        What the reader has to say first; how many files are missing follows.

    Raises
    ------
    InputError
        For names that are none, channels that aren't there, several focal planes with
        ``z: refuse``, planes that occur twice.
    """
    found = list(found)
    planes, renamed = _read_names(found, options, where)
    planes, paged = expand_planes(planes, options, where)
    planes, ignored = _choose_channels(planes, options, where)
    planes = _choose_z(planes, options, where)
    planes, told = _tell_plates_apart(planes)
    planes = place_in_wells(planes)
    _refuse_duplicates(planes, where)
    said = [
        *notes,
        *told,
        *_list_missing(planes),
        *renamed,
        *paged,
        *ignored,
        *_find_thin_stacks(planes),
    ]
    planes.sort(key=lambda p: (p.plate, p.well, natural_key(p.field), p.channel, p.z))
    table = {
        "plate": [p.plate for p in planes],
        "well": [p.well.name for p in planes],
        "field": [p.field for p in planes],
        "channel": [p.channel for p in planes],
        "z": [p.z for p in planes],
        "url": [p.url for p in planes],
        "page": [p.page for p in planes],
        "size_bytes": [p.stat.size_bytes for p in planes],
        "mtime_ns": [p.stat.mtime_ns for p in planes],
        "illumination": [p.illumination for p in planes],
        "problem": [p.problem for p in planes],
        "inverted": [p.inverted for p in planes],
        "dtype": [p.dtype for p in planes],
        "height_px": [p.shape[0] for p in planes],
        "width_px": [p.shape[1] for p in planes],
        "pixel_size_um": [0.0 if math.isnan(p.pixel_size_um) else p.pixel_size_um for p in planes],
        "plate_format": [p.plate_format for p in planes],
        "x_um": [p.position_um[0] for p in planes],
        "y_um": [p.position_um[1] for p in planes],
    }
    return Sources(pd.DataFrame(table, columns=list(COLUMNS)), tuple(said))


def _name_file(url: str) -> str:
    """Name a file; of a Zarr array, whose document has the same name everywhere, its place."""
    parts = url.split("/")
    return "/".join(parts[-5:-1]) if parts[-1] in ("zarr.json", ".zarray") else parts[-1]


def _list_missing(planes: Sequence[Plane]) -> list[str]:
    """Say which files are listed and aren't there: how many, the first, and wells without any."""
    by_url = {plane.url: plane for plane in planes}
    gone = [plane for plane in by_url.values() if plane.stat == GONE]
    if not gone:
        return []
    names = [_name_file(files.without_secrets(plane.url)) for plane in gone[:_EXAMPLES]]
    more = ", ..." if len(gone) > _EXAMPLES else ""
    lines = [
        f"{len(gone)} of {len(by_url)} files are missing",
        f"missing files: {', '.join(names)}{more}",
    ]
    there = {(p.plate, p.well) for p in by_url.values() if p.stat != GONE}
    wells = list(dict.fromkeys((p.plate, p.well) for p in gone if (p.plate, p.well) not in there))
    if wells:
        first = ", ".join(f"{plate}/{well.name}" for plate, well in wells[:_EXAMPLES])
        more = ", ..." if len(wells) > _EXAMPLES else ""
        lines.append(f"{len(wells)} wells have no image at all: {first}{more}")
    return lines


def list_places(source: str) -> list[str]:
    """Name a source and all that lies in it, for what may be one of a kind or a folder of some."""
    source = files.normalise_url(source)
    try:
        return [source, *(f"{source}/{name}" for name in files.list_folder(source))]
    except InputError:
        if files.exists(source):  # a file holds nothing
            return [source]
        raise


def choose_time(where: str, times: Iterable[str], options: ReaderOptions) -> str:
    """Choose one of a source's time points, as it writes them.

    Raises
    ------
    InputError
        If there are several and none is chosen, or the chosen one isn't there.
    """
    known = sorted(set(times), key=natural_key)
    if len(known) < 2:  # times inside the files are their reader's matter
        return known[0] if known else ""
    if options.time == "refuse":
        raise InputError(
            f"{where}: found {len(known)} time points, expected one. Set 'time' (init: --time) to "
            f"the index of one, 0 to {len(known) - 1}, and give each as a source of its own."
        )
    if options.time >= len(known):
        raise InputError(
            f"{where}: found {len(known)} time points, expected one of the index {options.time}. "
            f"Set 'time' to 0 to {len(known) - 1}."
        )
    return known[options.time]


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key in which ``2`` comes before ``10`` and ``s2`` before ``s10``."""
    parts = re.findall(r"\d+|\D+", text)
    # By length first: numbers of thousands of digits are not converted.
    digits = (p.lstrip("0") if p.isdecimal() else None for p in parts)
    return tuple(
        (1, 0, p) if number is None else (0, len(number), number)
        for p, number in zip(parts, digits, strict=True)
    )


def plate_name(options: ReaderOptions, source: str) -> str:
    """Name the plate of a source that has no name for it: the option, or else the folder's name."""
    return options.plate or os.path.basename(files.normalise_url(source)) or "plate"


def normalise_number(text: str) -> str:
    """Write a number in one way: ``01``, ``1`` and ``1.0`` are ``1``; other text stays."""
    match = re.fullmatch(r"0*(\d+)(?:\.0*)?", text.strip())
    return match[1] if match else text.strip()


def _read_names(
    found: list[Found], options: ReaderOptions, where: str
) -> tuple[list[Plane], list[str]]:
    """Read wells, fields and planes; collect what can't be read."""
    default = plate_name(options, where)
    wells: dict[str, Well] = {}
    fields: dict[str, str] = {}
    problems: dict[str, None] = {}
    planes = []
    for file in found:
        field = fields.get(file.field) or name_field(file.field)
        fields[file.field] = field
        try:
            well = wells.get(file.well) or parse_well(file.well)
            z = int(normalise_number(file.z) or "0")
            frame, series = (_read_place(text) for text in (file.frame, file.series))
            if not (field.isascii() and field.isalnum()):
                raise ValueError(f"the field is {file.field!r}, expected letters and digits only")
            if len(field) > LONGEST_FIELD:
                raise ValueError(
                    f"the field is {field[:20]}... of {len(field)} characters, expected at most "
                    f"{LONGEST_FIELD}"
                )
        except ValueError as error:
            name = files.without_secrets(file.url).removeprefix(f"{files.without_secrets(where)}/")
            problems[f"{files.without_secrets(where)}: {name}: {error}. Correct the name."] = None
            continue
        wells[file.well] = well
        plate = file.plate.strip() or default
        planes.append(
            Plane(
                plate,
                well,
                field,
                file.channel.strip(),
                z,
                url=file.url,
                page=file.page,
                stat=file.stat,
                illumination=file.illumination,
                # Readers write 0 where there is but one.
                has_z=z > 0,
                frame=frame,
                series=series,
                pixel_size_um=file.pixel_size_um,
                plate_format=file.plate_format,
                position_um=file.position_um,
            )
        )
    called: dict[str, set[str]] = defaultdict(set)
    for raw, field in fields.items():
        called[field].add(normalise_number(raw) or "1")
    problems.update(
        (f"{files.without_secrets(where)}: the fields {' and '.join(map(repr, sorted(raws)))} are "
         f"both {field!r} without what is no letter or digit. Correct the names.", None)
        for field, raws in called.items()
        if len(raws) > 1
    )  # fmt: skip
    if problems:
        raise InputError(join_problems(list(problems)))
    notes = []
    if others := [f"{next(iter(raws))!r} is {field}" for field, raws in called.items()
                  if {field} != raws]:  # fmt: skip
        more = f" and {len(others) - _EXAMPLES} more" if len(others) > _EXAMPLES else ""
        notes.append(f"fields renamed: {', '.join(others[:_EXAMPLES])}{more}")
    renamed = [f"{raw!r} is {well.name}" for raw, well in wells.items() if raw != well.name]
    if not renamed:
        return planes, notes
    more = f" and {len(renamed) - _EXAMPLES} more" if len(renamed) > _EXAMPLES else ""
    return planes, [*notes, f"wells renamed: {', '.join(renamed[:_EXAMPLES])}{more}"]


def name_field(text: str) -> str:
    """Write a field's name with letters and digits only, which paths and keys are made of.

    ``01`` is ``1``, ``0_1`` of a grid is ``0x1``, and ``0_illum_corr`` is ``0illumcorr``.
    """
    name = normalise_number(text) or "1"
    return re.sub(r"[ _.-]", "", re.sub(r"(?<=\d)[ _.-]+(?=\d)", "x", name))


def _read_place(text: str) -> int | None:
    """Read the number of a frame or series, counted from 0; None for empty text."""
    number = normalise_number(text)
    if number and not number.isdecimal():
        raise ValueError(f"the frame or series is {text!r}, expected a number from 0")
    return int(number) if number else None


def _choose_channels(
    planes: list[Plane], options: ReaderOptions, where: str
) -> tuple[list[Plane], list[str]]:
    """Rename channels and drop those that weren't asked for."""
    if not options.channels:
        return planes, []
    counts = Counter(plane.channel for plane in planes)
    wanted = _resolve_numbers(planes, options.channels)
    absent = [raw for raw in wanted if raw not in counts]
    if absent:
        hints = "".join(did_you_mean(raw, counts) for raw in absent[:1])
        raise InputError(
            f"{files.without_secrets(where)}: channels {', '.join(map(repr, absent))} of the "
            f"option 'channels' are nowhere; found {', '.join(map(repr, sorted(counts)))}.{hints}"
        )
    names = Counter(options.channels.values())
    if twice := [name for name, n in names.items() if n > 1]:
        raise InputError(
            f"channels: the name {twice[0]!r} is given to several channels, expected one each. "
            "Give them different names."
        )
    chosen = [p._replace(channel=wanted[p.channel]) for p in planes if p.channel in wanted]
    left_out = [f"{raw} ({n} files)" for raw, n in sorted(counts.items()) if raw not in wanted]
    return chosen, [f"channels left out: {', '.join(left_out)}"] if left_out else []


def _resolve_numbers(planes: list[Plane], channels: Mapping[str, str]) -> dict[str, str]:
    """Put the names of files' channels in place of their numbers, counted from 0."""
    names = {plane.channel for plane in planes}
    numbers = [raw for raw in channels if raw not in names and raw.isdecimal()]
    if not numbers:
        return dict(channels)
    # The order of a file's channels, where all files have the same.
    by_file: dict[str, dict[str, None]] = defaultdict(dict)
    for plane in planes:
        by_file[plane.url][plane.channel] = None
    orders = {tuple(found) for found in by_file.values()}
    order = orders.pop() if len(orders) == 1 else ()
    return {
        order[int(raw)] if raw in numbers and int(raw) < len(order) else raw: name
        for raw, name in channels.items()
    }


def _choose_z(planes: list[Plane], options: ReaderOptions, where: str) -> list[Plane]:
    """Apply the option `z`."""
    if isinstance(options.z, int):
        chosen = [plane for plane in planes if plane.z == options.z]
        if planes and not chosen:
            known = ", ".join(map(str, sorted({plane.z for plane in planes})[:10]))
            raise InputError(
                f"{files.without_secrets(where)}: no focal plane {options.z}, found {known}. "
                "Set 'z' to one of them or to 'max'."
            )
        return chosen
    if options.z == "refuse":
        several = defaultdict(set)
        for plane in planes:
            several[plane[:4]].add(plane.z)
        for (plate, well, field, channel), numbers in several.items():
            if len(numbers) > 1:
                raise SeveralPlanesError(
                    f"plate {plate!r} well {well.name!r} field {field} channel {channel!r}: found "
                    f"{len(numbers)} focal planes ({', '.join(map(str, sorted(numbers)[:5]))}), "
                    "expected one. Set 'z: max' for the maximum over planes, or 'z' to one of them."
                )
    return planes


def _find_thin_stacks(planes: list[Plane]) -> list[str]:
    """Name the fields that have fewer focal planes of a channel than most of its plate."""
    counts = Counter(plane[:4] for plane in planes)
    usual: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    for (plate, _, _, channel), n_planes in counts.items():
        usual[plate, channel][n_planes] += 1
    thin = [
        f"plate {plate!r} well {well.name} field {field} channel {channel!r} has {n_planes} focal "
        f"planes, most have {most}"
        for (plate, well, field, channel), n_planes in counts.items()
        if n_planes < (most := usual[plate, channel].most_common(1)[0][0])
    ]
    more = [f"{len(thin) - _EXAMPLES} more fields have fewer focal planes than most"]
    return [*thin[:_EXAMPLES], *(more if len(thin) > _EXAMPLES else [])]


def _tell_plates_apart(planes: list[Plane]) -> tuple[list[Plane], list[str]]:
    """Tell plates of one name apart by the folders they lie in, where their images collide.

    A plate may well lie in several folders, one for each well or batch of wells. But two images
    of one plane are of two plates, if the same folder of their paths tells all of them apart.
    """
    counts = Counter(plane[:5] for plane in planes)
    if len(counts) == len(planes):
        return planes, []
    urls: dict[tuple[object, ...], list[list[str]]] = defaultdict(list)
    for plane in planes:
        if counts[plane[:5]] > 1:
            urls[plane[:5]].append(plane.url.split("/"))
    depths: dict[str, set[int | None]] = defaultdict(set)
    for (plate, *_), paths in urls.items():
        depths[str(plate)].add(_find_difference(paths))
    known = {plate: found.copy().pop() for plate, found in depths.items() if len(found) == 1}
    apart = {plate: depth for plate, depth in known.items() if depth is not None}
    places = [
        "/".join(plane.url.split("/")[: apart[plane.plate] + 1]) if plane.plate in apart else ""
        for plane in planes
    ]
    names, notes = tell_apart([(p.plate, place) for p, place in zip(planes, places, strict=True)])
    told = [plane._replace(plate=name) for plane, name in zip(planes, names, strict=True)]
    return told, notes


def _find_difference(paths: list[list[str]]) -> int | None:
    """Find the one folder in which paths differ; None where they differ in more, or in names."""
    if len({len(path) for path in paths}) > 1:
        return None
    differing = [
        depth for depth, names in enumerate(zip(*paths, strict=True)) if len(set(names)) > 1
    ]
    is_folder = len(differing) == 1 and differing[0] < len(paths[0]) - 1
    return (
        differing[0] if is_folder and len({p[differing[0]] for p in paths}) == len(paths) else None
    )


def _refuse_duplicates(planes: list[Plane], where: str) -> None:
    counts = Counter(plane[:5] for plane in planes)
    if len(counts) == len(planes):
        return
    urls = defaultdict(list)
    for plane in planes:
        if counts[plane[:5]] > 1:
            urls[plane[:5]].append(files.without_secrets(plane.url))
    problems = [
        f"{files.without_secrets(where)}: plate {plate!r} well {well.name!r} field {field} channel "
        f"{channel!r} z {z}: found {len(names)} files ({', '.join(names[:3])}), expected one. "
        "Correct the pattern (end it with '$') or the table, or remove the copies."
        for (plate, well, field, channel, z), names in urls.items()
    ]
    raise InputError(join_problems(problems))
