"""An OME-Zarr plate (0.1 to 0.5), or a folder of them; images without a plate, with a pattern."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from i2r.errors import InputError
from i2r.readers import ReaderOptions, Sources, sheets
from i2r.readers.arrays import stat_array
from i2r.readers.images import GONE
from i2r.readers.names import Found
from i2r.readers.omeimages import ZarrImage, read_image, read_ome
from i2r.readers.pattern_search import compile_pattern, search_name
from i2r.readers.plate_names import tell_apart
from i2r.readers.sources import build_sources, list_places
from i2r.store import files
from i2r.types import find_format

# What bioformats2raw writes into a group of several images.
_COLLECTION = "bioformats2raw.layout"


def recognises(source: str) -> bool:
    """Tell whether a source is an OME-Zarr plate or image, or a folder with one."""
    if sheets.is_sheet(source):
        return False
    return bool(find_plates(source) or _find_images(source))


def takes_pattern(source: str) -> bool:
    """Tell whether a source has OME-Zarr images without a plate, which a pattern may read.

    Folders elsewhere are not listed for that: they have to be named ``.zarr`` themselves.
    """
    is_here = files.is_local(source) or source.rstrip("/").endswith(".zarr")
    return is_here and not sheets.is_sheet(source) and bool(_find_images(source))


def scan(source: str, options: ReaderOptions) -> Sources:
    """List the fields of a plate as its own metadata do.

    Parameters
    ----------
    source
        A plate group, or a folder that holds some; or a folder of images without a plate.
    options
        As for all readers. Images without a plate need a `pattern`, which is searched for in
        their paths (``A01_s1.zarr``, and ``A01_s1.zarr/0`` of several in one).

    Returns
    -------
    Sources
        ``url`` is the document of a field's array, ``page`` the number of its plane, counted over
        the axes before y and x. Size and time are those of all the array's files; an image that
        is listed and isn't there has size -1, and so have those of a listed well without any.

    Raises
    ------
    InputError
        If there is no plate, for several acquisitions, for time points of which none is chosen,
        for other axes than t, c, z, y, x, for metadata that isn't OME-Zarr's, and for all that
        `build_sources` refuses.
    """
    plates = find_plates(source)
    images = [] if plates else _find_images(source)
    if not plates and not images:
        raise InputError(
            f"{files.without_secrets(source)}: found no OME-Zarr plate. Give the folder with its "
            "zarr.json or .zattrs."
        )
    if images and not options.pattern:
        raise InputError(
            f"{files.without_secrets(source)}: found {len(images)} OME-Zarr images without a "
            f"plate ({', '.join(path for path, _ in images[:3])}), expected a plate, or a pattern "
            "that reads wells from their names. Set 'pattern' (init: --pattern)."
        )
    found: list[Found] = []
    names, notes = tell_apart([(name_plate(url, plate), url) for url, plate in plates])
    listed = zip(names, plates, strict=True)
    for name, (url, plate) in listed if plates else [("", (files.normalise_url(source), {}))]:
        try:
            found += (
                _list_plate(url, plate, name, options) if plates else _list_images(images, options)
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(
                f"{files.without_secrets(url)}: its metadata is not that of an OME-Zarr plate "
                f"({type(error).__name__}: {error}). Write the plate again."
            ) from error
    return build_sources(found, options, where=source, notes=notes)


def find_plates(source: str) -> list[tuple[str, dict[str, Any]]]:
    """Find plates: the source itself, or what it holds."""
    plates = [(place, read_ome(place).get("plate")) for place in list_places(source)]
    return [(place, plate) for place, plate in plates if isinstance(plate, dict)]


def _find_images(source: str) -> list[tuple[str, str]]:
    """Find images without a plate, in ``.zarr`` folders: their paths and groups."""
    base = files.normalise_url(source)
    own = base.rpartition("/")[2]
    if own.endswith(".zarr"):
        return _list_groups(own, base)
    places = [place for place in list_places(base)[1:] if place.endswith(".zarr")]
    return [found for url in places for found in _list_groups(url.rpartition("/")[2], url)]


def _list_groups(name: str, url: str) -> list[tuple[str, str]]:
    ome = read_ome(url)
    if "multiscales" in ome:
        return [(name, url)]
    if _COLLECTION not in ome or "plate" in ome:
        return []
    numbers = sorted((n for n in files.list_folder(url) if n.isdecimal()), key=int)
    return [(f"{name}/{number}", f"{url}/{number}") for number in numbers]


def _list_images(images: list[tuple[str, str]], options: ReaderOptions) -> Iterator[Found]:
    """Read the places of images from their paths."""
    pattern = compile_pattern(str(options.pattern))
    n_found = 0
    for path, group in images:
        match, image = search_name(pattern, path), read_image(group, time=options.time)
        if match is None or image is None:
            continue
        n_found += 1
        values = {name: value or "" for name, value in match.groupdict().items()}
        well = values.get("well") or sheets.join_well(
            values.get("row", ""), values.get("column", "")
        )
        place = (values.get("plate", ""), well, values.get("field", ""))
        yield from _list_planes(place, image, channel=values.get("channel", ""))
    if not n_found:
        raise InputError(
            f"the pattern '{options.pattern}' matches none of {len(images)} OME-Zarr images "
            f"({', '.join(path for path, _ in images[:3])}). Correct the pattern."
        )


def name_plate(url: str, plate: Mapping[str, Any]) -> str:
    """Name a plate as its metadata do, or else as its folder."""
    name = str(plate.get("name") or url.rpartition("/")[2].removesuffix(".zarr"))
    return name.removesuffix(".ome")


def _list_plate(
    url: str, plate: dict[str, Any], name: str, options: ReaderOptions
) -> Iterator[Found]:
    """List the planes of a plate; what is listed and isn't there is expected to be as usual."""
    listed: list[tuple[tuple[str, str, str], str, ZarrImage | None]] = []
    empty: list[tuple[str, str]] = []
    fields: Counter[tuple[str, ...]] = Counter()
    for well in plate.get("wells", []):
        group = files.join_url(url, well["path"])
        row, _, column = well["path"].partition("/")
        at = sheets.join_well(row, column)
        images = read_ome(group).get("well", {}).get("images", [])
        numbers = sorted({image.get("acquisition", 0) for image in images})
        if options.acquisition is not None:
            images = [i for i in images if i.get("acquisition", 0) == options.acquisition]
        elif len(numbers) > 1:
            raise InputError(
                f"{files.without_secrets(group)}: found several acquisitions "
                f"({', '.join(map(str, numbers))}), expected one. Set 'acquisition' "
                "(init: --acquisition) to one of them."
            )
        if not images:
            empty.append((at, group))
            continue
        fields[tuple(str(image["path"]) for image in images)] += 1
        for image in images:
            field = files.join_url(group, image["path"])
            listed.append(((name, at, image["path"]), field, read_image(field, time=options.time)))
    if not listed and options.acquisition is not None:
        raise InputError(
            f"{files.without_secrets(url)}: no well has the acquisition {options.acquisition}. "
            "Set 'acquisition' to another one."
        )
    for at, group in empty if fields else ():
        for path in fields.most_common(1)[0][0]:
            listed.append(((name, at, path), files.join_url(group, path), None))
    usual, own = next(((image, field) for _, field, image in listed if image), (None, ""))
    wells_of_plate = find_format(len(plate.get("rows", [])), len(plate.get("columns", [])))
    for place, field, image in listed:
        if image is not None:
            yield from _list_planes(place, image, plate_format=wells_of_plate)
        elif usual is not None:
            document = field + usual.document.removeprefix(own)
            for plane in usual.planes:
                yield Found(*place, plane.channel, str(plane.z), document, GONE, plane.page)


def _list_planes(
    place: tuple[str, str, str], image: ZarrImage, *, channel: str = "", plate_format: int = 0
) -> Iterator[Found]:
    """List an image's planes; a channel that the name gives counts where it has one alone."""
    names = {plane.channel for plane in image.planes}
    if channel and len(names) > 1:
        raise InputError(
            f"{files.without_secrets(image.document)}: holds {len(names)} channels "
            f"({', '.join(sorted(names)[:6])}), but its name says that it is {channel!r}. Leave "
            "the channel out of the pattern."
        )
    stat = stat_array(image.document)
    for plane in image.planes:
        yield Found(
            *place,
            channel or plane.channel,
            str(plane.z),
            image.document,
            stat,
            plane.page,
            pixel_size_um=image.pixel_size_um,
            plate_format=plate_format,
            position_um=image.position_um,
        )
