"""An OME-Zarr plate (NGFF 0.4 or 0.5), or a folder of them, its images at full resolution."""

from collections.abc import Iterator, Mapping
from typing import Any

from i2r.errors import InputError
from i2r.readers import ReaderOptions, Sources, sheets
from i2r.readers.arrays import stat_array
from i2r.readers.images import GONE
from i2r.readers.omeimages import list_planes, read_ome
from i2r.readers.sources import Found, build_sources, list_places
from i2r.store import files


def recognises(source: str) -> bool:
    """Tell whether a source is an OME-Zarr plate, or a folder with one."""
    return not sheets.is_sheet(source) and bool(find_plates(source))


def scan(source: str, options: ReaderOptions) -> Sources:
    """List the fields of a plate as its own metadata do.

    Parameters
    ----------
    source
        A plate group, or a folder that holds some.
    options
        As for all readers.

    Returns
    -------
    Sources
        ``url`` is the document of a field's array, ``page`` the number of its plane, counted over
        the axes before y and x. Size and time are those of all the array's files; an image that
        is listed and isn't there has size -1.

    Raises
    ------
    InputError
        If there is no plate, for several acquisitions or time points, for other axes than t, c,
        z, y, x, for metadata that isn't OME-Zarr's, and for all that `build_sources` refuses.
    """
    plates = find_plates(source)
    if not plates:
        raise InputError(
            f"{files.without_secrets(source)}: found no OME-Zarr plate. Give the folder with its "
            "zarr.json or .zattrs."
        )
    found: list[Found] = []
    for url, plate in plates:
        try:
            found += _list_plate(url, plate)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(
                f"{files.without_secrets(url)}: its metadata is not that of an OME-Zarr plate "
                f"({type(error).__name__}: {error}). Write the plate again."
            ) from error
    return build_sources(found, options, where=source)


def find_plates(source: str) -> list[tuple[str, dict[str, Any]]]:
    """Find plates: the source itself, or what it holds."""
    plates = [(place, read_ome(place).get("plate")) for place in list_places(source)]
    return [(place, plate) for place, plate in plates if isinstance(plate, dict)]


def name_plate(url: str, plate: Mapping[str, Any]) -> str:
    """Name a plate as its metadata do, or else as its folder."""
    name = str(plate.get("name") or url.rpartition("/")[2].removesuffix(".zarr"))
    return name.removesuffix(".ome")


def _list_plate(url: str, plate: dict[str, Any]) -> Iterator[Found]:
    """List the planes of a plate; an image that isn't there is expected to be like the others."""
    name = name_plate(url, plate)
    listed = []
    for well in plate.get("wells", []):
        group = files.join_url(url, well["path"])
        row, _, column = well["path"].partition("/")
        images = read_ome(group).get("well", {}).get("images", [])
        if len({image.get("acquisition", 0) for image in images}) > 1:
            raise InputError(
                f"{files.without_secrets(group)}: found several acquisitions, expected one. "
                "Write them as plates of their own."
            )
        for image in images:
            place = (name, sheets.join_well(row, column), image["path"])
            field = files.join_url(group, image["path"])
            listed.append((place, field, list(list_planes(field))))
    usual = next((planes for _, _, planes in listed if planes), [])
    for place, field, planes in listed:
        stat = stat_array(planes[0][3]) if planes else GONE
        for channel, z, page, array in planes or usual:
            document = array if planes else f"{field}/{array.rpartition('/')[2]}"
            yield Found(*place, channel, str(z), document, stat, page)
