"""From files found to a checked table of sources: the rules that all readers share."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import pandas as pd

from i2r.errors import InputError, count_words, join_problems, name_some
from i2r.readers import ReaderOptions, Sources
from i2r.readers.images import GONE
from i2r.readers.names import EXAMPLES, Found, natural_key, read_names
from i2r.readers.planes import Plane, expand_planes, place_in_wells
from i2r.readers.plate_names import tell_apart
from i2r.readers.selection import choose_channels, choose_z, find_thin_stacks
from i2r.readers.units import is_oblong
from i2r.store import files

# Readers of other packages import `Found` from here.
__all__ = ["COLUMNS", "Found", "build_sources", "list_places"]

COLUMNS = ("plate", "well", "field", "channel", "z", "url", "page", "size_bytes", "mtime_ns",
           "illumination", "problem", "inverted", "dtype", "height_px", "width_px",
           "pixel_size_um", "oblong", "plate_format", "x_um", "y_um")  # fmt: skip


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
    planes, renamed = read_names(found, options, where)
    planes, paged = expand_planes(planes, options, where)
    planes, ignored = choose_channels(planes, options, where)
    planes = choose_z(planes, options, where)
    planes, told = tell_planes_apart(planes)
    planes = place_in_wells(planes)
    _refuse_duplicates(planes, where)
    said = [
        *notes,
        *told,
        *_list_missing(planes),
        *_list_repeated(planes),
        *renamed,
        *paged,
        *ignored,
        *find_thin_stacks(planes),
    ]
    planes.sort(key=lambda p: (p.plate, p.well, natural_key(p.field), p.channel, p.z))
    oblong = [is_oblong(p.pixel_size_um, p.pixel_height_um) for p in planes]
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
        "pixel_size_um": [
            0.0 if is_odd or math.isnan(p.pixel_size_um) else p.pixel_size_um
            for p, is_odd in zip(planes, oblong, strict=True)
        ],
        "oblong": [
            f"{p.pixel_size_um:.4g} um wide and {p.pixel_height_um:.4g} um high" if is_odd else ""
            for p, is_odd in zip(planes, oblong, strict=True)
        ],
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
    names = [_name_file(files.without_secrets(plane.url)) for plane in gone]
    are = "is" if len(gone) == 1 else "are"
    lines = [
        f"{len(gone)} of {count_words(len(by_url), 'file')} {are} missing",
        f"missing files: {name_some(names, EXAMPLES)}",
    ]
    there = {(p.plate, p.well) for p in by_url.values() if p.stat != GONE}
    wells = list(dict.fromkeys((p.plate, p.well) for p in gone if (p.plate, p.well) not in there))
    if wells:
        first = name_some([f"{plate}/{well.name}" for plate, well in wells], EXAMPLES)
        have = count_words(len(wells), "well has", "wells have")
        lines.append(f"{have} no image at all: {first}")
    return lines


def _list_repeated(planes: Sequence[Plane]) -> list[str]:
    """Say which images stand for several fields: they would count as often, as if independent."""
    fields = defaultdict(set)
    for plane in planes:
        if plane.stat != GONE:
            fields[plane.url, plane.page].add((plane.plate, plane.well.name, plane.field))
    repeated = {place: taken for place, taken in fields.items() if len(taken) > 1}
    if not repeated:
        return []
    (url, _), taken = next(iter(repeated.items()))
    shown = ", ".join(f"{plate}/{well} field {field}" for plate, well, field in sorted(taken)[:3])
    return [
        f"WARNING {count_words(len(repeated), 'image stands', 'images stand')} for several fields,"
        f" for example {_name_file(files.without_secrets(url))} for {shown}: the same cells "
        "would count as often. Correct the index or the table"
    ]


def list_places(source: str) -> list[str]:
    """Name a source and all that lies in it, for what may be one of a kind or a folder of some."""
    source = files.normalise_url(source)
    try:
        return [source, *(f"{source}/{name}" for name in files.list_folder(source))]
    except InputError:
        if files.exists(source):  # a file holds nothing
            return [source]
        raise


def tell_planes_apart(planes: list[Plane]) -> tuple[list[Plane], list[str]]:
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
        "Correct the pattern (end it with '$'), the table or the index, or remove the copies."
        for (plate, well, field, channel, z), names in urls.items()
    ]
    raise InputError(join_problems(problems))
