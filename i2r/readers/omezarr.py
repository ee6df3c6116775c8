"""An OME-Zarr plate (0.1 to 0.5), or a folder of them; images without a plate, with a pattern."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from i2r.errors import InputError, count_words, name_some
from i2r.readers import ReaderOptions, Sources, sheets
from i2r.readers.arrays import stat_array
from i2r.readers.images import GONE
from i2r.readers.names import Found
from i2r.readers.omeimages import ZarrImage, read_image, read_ome
from i2r.readers.pattern_search import compile_pattern, read_place, search_name
from i2r.readers.plate_names import tell_apart
from i2r.readers.sources import build_sources, list_places
from i2r.store import files
from i2r.types import find_format

# What bioformats2raw writes into a group of several images.
_COLLECTION = "bioformats2raw.layout"


class _Listed(NamedTuple):
    """An image of a plate: where it belongs (plate, well, field), and its group.

    ``image`` is None where it isn't there, or may not be read; ``refused`` says why not.
    ``channel`` is what its name says.
    """

    place: tuple[str, str, str]
    group: str
    image: ZarrImage | None = None
    stat: files.Stat = GONE
    channel: str = ""
    refused: str = ""


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
        where = files.without_secrets(url)
        try:
            its = (
                _list_plate(url, plate, name, options) if plates else _list_images(images, options)
            )
            wells = find_format(len(plate.get("rows", [])), len(plate.get("columns", [])))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(
                f"{where}: its metadata is not that of an OME-Zarr plate "
                f"({type(error).__name__}: {error}). Write the plate again."
            ) from error
        planes, said = _complete(its, where, plate_format=wells)
        found += planes
        notes += said
    return build_sources(found, options, where=source, notes=notes)


def find_plates(source: str) -> list[tuple[str, dict[str, Any]]]:
    """Find plates: the source itself, or what it holds."""
    base = files.normalise_url(source)
    if isinstance(own := read_ome(base).get("plate"), dict):
        return [(base, own)]
    plates = [(place, read_ome(place).get("plate")) for place in list_places(base)[1:]]
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


def _list_images(images: list[tuple[str, str]], options: ReaderOptions) -> list[_Listed]:
    """Read the places of images from their paths."""
    pattern = compile_pattern(str(options.pattern))
    listed = []
    for path, group in images:
        if match := search_name(pattern, path):
            said = read_place(match)
            place = (said["plate"], said["well"], said["field"])
            listed.append(_look_at(group, place, options, channel=said["channel"]))
    if not listed:
        raise InputError(
            f"the pattern '{options.pattern}' matches none of {len(images)} OME-Zarr images "
            f"({', '.join(path for path, _ in images[:3])}). Correct the pattern."
        )
    return listed


def name_plate(url: str, plate: Mapping[str, Any]) -> str:
    """Name a plate as its metadata do, or else as its folder."""
    name = str(plate.get("name") or url.rpartition("/")[2].removesuffix(".zarr"))
    return name.removesuffix(".ome")


def _list_plate(
    url: str, plate: dict[str, Any], name: str, options: ReaderOptions
) -> list[_Listed]:
    """List the images of a plate."""
    listed: list[_Listed] = []
    empty: list[tuple[str, str, str]] = []
    fields: Counter[tuple[str, ...]] = Counter()
    for well in plate.get("wells", []):
        group = files.join_url(url, well["path"])
        row, _, column = well["path"].partition("/")
        at = sheets.join_well(row, column)
        why = ""
        try:
            images = read_ome(group).get("well", {}).get("images", [])
        except PermissionError as error:
            images, why = [], _explain(error)
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
            empty.append((at, group, why))
            continue
        fields[tuple(str(image["path"]) for image in images)] += 1
        for image in images:
            field = files.join_url(group, image["path"])
            listed.append(_look_at(field, (name, at, image["path"]), options))
    if not listed and options.acquisition is not None:
        raise InputError(
            f"{files.without_secrets(url)}: no well has the acquisition {options.acquisition}. "
            "Set 'acquisition' to another one."
        )
    # A well that is listed and has none is expected to have what the others have.
    usual = fields.most_common(1)[0][0] if fields else ("0",)
    for at, group, why in empty if fields or any(why for _, _, why in empty) else ():
        for path in usual:
            listed.append(_Listed((name, at, path), files.join_url(group, path), refused=why))
    return listed


def _look_at(
    group: str, place: tuple[str, str, str], options: ReaderOptions, *, channel: str = ""
) -> _Listed:
    """Read what an image says of itself; of one that may not be read, why not."""
    try:
        image = read_image(group, time=options.time)
        stat = stat_array(image.document) if image else GONE
    except PermissionError as error:
        return _Listed(place, group, channel=channel, refused=_explain(error))
    return _Listed(place, group, image, stat, channel)


def _explain(error: PermissionError) -> str:
    return f"{error.filename}: {error.strerror}" if error.strerror else str(error)


def _complete(
    listed: Sequence[_Listed], where: str, *, plate_format: int = 0
) -> tuple[list[Found], list[str]]:
    """List the planes of images, and say which may not be read.

    What is listed and isn't there, or may not be read, is expected to be as the others are.
    """
    refused = {one.place[1]: one.refused for one in listed if one.refused}
    usual = next((one for one in listed if one.image), None)
    if usual is None or usual.image is None:
        if refused:
            raise InputError(f"{where}: no well may be read: {next(iter(refused.values()))}")
        return [], []
    found: list[Found] = []
    for one in listed:
        if one.image is not None:
            found += _list_planes(one, one.image, plate_format)
        else:
            document = one.group + usual.image.document.removeprefix(usual.group)
            found += [
                Found(*one.place, one.channel or plane.channel, str(plane.z), document, GONE,
                      plane.page)
                for plane in usual.image.planes
            ]  # fmt: skip
    if not refused:
        return found, []
    wells, (first, *_) = list(refused), refused.values()
    return found, [
        f"WARNING images of {count_words(len(wells), 'well')} ({name_some(wells)}) "
        f"may not be read and count as missing: {first.rstrip('.')}"
    ]


def _list_planes(one: _Listed, image: ZarrImage, plate_format: int) -> Iterator[Found]:
    """List an image's planes; a channel that the name gives counts where it has one alone."""
    names = {plane.channel for plane in image.planes}
    if one.channel and len(names) > 1:
        raise InputError(
            f"{files.without_secrets(image.document)}: holds {len(names)} channels "
            f"({', '.join(sorted(names)[:6])}), but its name says that it is {one.channel!r}. "
            "Leave the channel out of the pattern."
        )
    for plane in image.planes:
        yield Found(
            *one.place,
            one.channel or plane.channel,
            str(plane.z),
            image.document,
            one.stat,
            plane.page,
            pixel_size_um=image.pixel_size_um,
            pixel_height_um=image.pixel_height_um,
            plate_format=plate_format,
            position_um=image.position_um,
        )
