"""What an image file holds: its planes by channel, focal plane and time, from its headers alone."""

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import IO, Any, NamedTuple

import numpy as np
import tifffile

from i2r.errors import FieldError, name_some
from i2r.readers.arrays import is_array, read_array_header
from i2r.readers.bioimages import MOST_PLANES, Scene, is_bioimage, list_scenes
from i2r.readers.headers import (
    JPEG_SIGNATURE,
    PNG_SIGNATURE,
    check_directories,
    count_stated,
    find_stack,
    has_own_axes,
    parse_header,
    unreadable,
)
from i2r.readers.images import open_image
from i2r.readers.ometiff import OmeImage, find_companion, find_images, find_uuid, list_files
from i2r.readers.positions import NOWHERE, Position, read_position
from i2r.readers.units import to_microns
from i2r.store import files

# Axes whose meaning is known, and those of pages that nothing describes.
_KNOWN, _UNKNOWN = "CZT", "QI"
_CENTIMETRE = 3
# How the file is called that has the OME-XML of a set, and the most of one of a whole plate.
COMPANION = ".companion.ome"
_MAX_COMPANION_BYTES = 2**28


class PlaneAt(NamedTuple):
    """One plane of a file: its page, and what it shows.

    ``channel`` is a name, or a number from 0 where the file has no names; empty where it has one
    channel without a name.
    """

    page: int
    channel: str = ""
    z: int = 0
    time: int = 0


class Series(NamedTuple):
    """Planes of one size that belong together: one image of a file.

    Attributes
    ----------
    planes
        In the order of their pages.
    unknown
        Whether nothing says what its several pages are; they are numbered as focal planes then.
    axes
        The sizes by axis, for messages.
    pixel_size_um, pixel_height_um
        NaN where the file doesn't say.
    position_um
        Centre in the stage's coordinates.
    by_companion
        Whether another file says all this.
    set_names
        The files of the set that the file belongs to, as its own OME-XML has them; empty without.
    """

    planes: tuple[PlaneAt, ...]
    unknown: bool = False
    axes: str = ""
    pixel_size_um: float = math.nan
    position_um: Position = NOWHERE
    by_companion: bool = False
    pixel_height_um: float = math.nan
    set_names: tuple[str, ...] = ()


class Contents(NamedTuple):
    """What a file's headers say.

    Attributes
    ----------
    series
        The file's images; thumbnails are none.
    shape, dtype
        Of the first image's planes (y, x), as stored.
    white_is_zero
        Whether the file says that 0 is white.
    is_array
        Whether it is a Zarr array: its reader knows the planes, and ``series`` is empty.
    """

    series: tuple[Series, ...]
    shape: tuple[int, int]
    dtype: str
    white_is_zero: bool = False
    is_array: bool = False


def read_contents(url: str) -> Contents:
    """Read what a file holds, without decoding a pixel.

    Raises
    ------
    FieldError
        As `i2r.readers.images.read_shape`, and with the reason ``ambiguous`` for axes that are no
        channel, focal plane or time.
    """
    if is_array(url):
        shape, dtype = read_array_header(url)
        return Contents((), shape, dtype.name, is_array=True)
    if is_bioimage(url):
        return _read_bioimage(url)
    with open_image(url) as (file, n_bytes):
        header = parse_header(file, n_bytes, url, 0)
        file.seek(0)
        is_tiff = not file.read(8).startswith((PNG_SIGNATURE, JPEG_SIGNATURE))
        series: tuple[Series, ...] = (Series((PlaneAt(0),)),)
        if is_tiff:
            check_directories(file, n_bytes, url)
            series = read_series(file, url)
    return Contents(series, header.shape, header.dtype.name, header.white_is_zero)


def _read_bioimage(url: str) -> Contents:
    """Take the scenes that bioio finds."""
    scenes = [Scene(url, number) for number in range(len(list_scenes(url)))]
    series = []
    for number, scene in enumerate(scenes):
        n_channels = scene.sizes["C"]
        names = name_channels(scene.channels, n_channels)
        places = np.ndindex(scene.sizes["T"], n_channels, scene.sizes["Z"])
        planes = tuple(
            PlaneAt(number * MOST_PLANES + page, names[c] if n_channels > 1 else "", z, time)
            for page, (time, c, z) in enumerate(places)
        )
        series.append(
            Series(
                planes,
                axes=describe_planes(planes),
                pixel_size_um=scene.pixel_size_um,
                pixel_height_um=scene.pixel_height_um,
            )
        )
    return Contents(tuple(series), scenes[0].shape, scenes[0].dtype.name)


def describe_planes(planes: tuple[PlaneAt, ...]) -> str:
    """Say for a message what planes there are: ``3 channels (DAPI, GFP, RFP), 5 focal planes``."""
    channels = list(dict.fromkeys(plane.channel for plane in planes))
    parts = []
    if len(channels) > 1:
        parts.append(f"{len(channels)} channels ({name_some(channels, 6)})")
    for number, what in (
        (len({plane.z for plane in planes}), "focal planes"),
        (len({plane.time for plane in planes}), "time points"),
    ):
        if number > 1:
            parts.append(f"{number} {what}")
    return ", ".join(parts) or "1 plane"


def read_series(file: IO[bytes], url: str) -> tuple[Series, ...]:
    """Read the images of an open TIFF file, whose directories form no loop; see `read_contents`."""
    try:
        with tifffile.TiffFile(file) as tiff:
            if tiff.is_ome:
                return _read_ome(tiff, url)
            n_pages = len(tiff.pages)
            (width, height), at = _read_pixel_size(tiff), _read_stage(tiff)
            found = [Series((PlaneAt(0),))]
            if n_pages > 1 or has_own_axes(tiff):
                found = _read_pages(tiff, url)
            stated = count_stated(tiff)
            if (held := sum(len(series.planes) for series in found)) < stated:
                raise unreadable(url, f"its description lists {stated} planes, it holds {held}")
            return tuple(
                s._replace(pixel_size_um=width, pixel_height_um=height, position_um=at)
                for s in found
            )
    except FieldError:
        raise
    except Exception as error:  # a later page's tags, texts of any kind: as for a header
        raise unreadable(url, str(error) or type(error).__name__) from error


def _read_ome(tiff: tifffile.TiffFile, url: str) -> tuple[Series, ...]:
    """Take the planes that an OME-XML says are in this file."""
    text, uuid = str(tiff.pages[0].aspage().description), ""
    if companion := find_companion(text):
        uuid = find_uuid(text)
        text = _read_companion(url, companion)
    name = url.rpartition("/")[2]
    images = find_images(text, uuid=uuid, file_name=name, n_directories=len(tiff.pages))
    if not images:
        raise FieldError(
            f"ambiguous: {files.without_secrets(url)} has an OME-XML that lists planes of other "
            "files and none of this one. Give it its old name again, or export it anew."
        )
    listed = [] if companion else list_files(text)
    names = _share_names(tuple(listed)) if len(listed) > 1 else ()
    return tuple(
        _take_image(image)._replace(by_companion=bool(companion), set_names=names)
        for image in images
    )


@lru_cache(maxsize=16)
def _share_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Give the first of equal tuples: each file of a set lists all of them."""
    return names


def read_ome_text(url: str) -> str:
    """Read the OME-XML of a file: its own, or that of the companion it names; empty for none.

    Raises
    ------
    FieldError
        If it can't be read; reason ``ambiguous`` where the companion isn't there.
    OSError
        If there is no such file.
    """
    text = _read_own_text(url)
    companion = find_companion(text) if text else ""
    return _read_companion(url, companion) if companion else text


def _read_companion(url: str, companion: str) -> str:
    """Read the OME-XML that stands for a file's own."""
    place = files.join_url(files.parent_url(url), *companion.replace("\\", "/").split("/"))
    try:
        return _read_shared_text(place)
    except (OSError, FieldError) as error:
        known = files.exists(place)
        why = "it can't be read" if known else "there is no such file"
        raise FieldError(
            f"ambiguous: {files.without_secrets(place)} has the OME-XML of the images beside it, "
            f"but {why}. Copy it again."
        ) from error


def _read_own_text(url: str) -> str:
    """Read what a TIFF's first page or a companion says; empty where it is no OME-XML."""
    if url.lower().endswith(COMPANION):
        if files.stat(url).size_bytes > _MAX_COMPANION_BYTES:
            raise unreadable(url, f"it is over {_MAX_COMPANION_BYTES} bytes of XML")
        return files.read_bytes(url).decode("utf-8", errors="replace")
    with open_image(url) as (file, n_bytes):
        check_directories(file, n_bytes, url, last=0)
        try:
            with tifffile.TiffFile(file) as tiff:
                return str(tiff.pages[0].aspage().description) if tiff.is_ome else ""
        except Exception as error:  # tags of any kind, as for a header
            raise unreadable(url, str(error) or type(error).__name__) from error


# A set of files has hundreds, and one text.
_read_shared_text = lru_cache(maxsize=4)(_read_own_text)


def _take_image(image: OmeImage) -> Series:
    names = name_channels(image.channels, max((p.channel for p in image.planes), default=0) + 1)
    planes = tuple(PlaneAt(p.directory, names[p.channel], p.z, p.time) for p in image.planes)
    if len(names) == 1 and image.channels[:1] != names:
        planes = tuple(plane._replace(channel="") for plane in planes)
    return Series(
        planes,
        axes=describe_planes(planes),
        pixel_size_um=image.pixel_size_um,
        pixel_height_um=image.pixel_height_um,
        position_um=image.position_um,
    )


def name_channels(given: list[str], number: int) -> list[str]:
    """Name channels: as given, with the number where two have one name, else by their number."""
    if len(given) < number or "" in given[:number]:
        return [str(n) for n in range(number)]
    return [f"{name} ({n})" if given.count(name) > 1 else name for n, name in enumerate(given)]


def _read_pages(tiff: tifffile.TiffFile, url: str) -> list[Series]:
    """Take the series that tifffile finds: of ImageJ, of its own files, or pages of one size."""
    found = list(tiff.series)
    first = found[0]
    plane_shape = _find_plane(first)
    like = [series for series in found if _find_plane(series) == plane_shape]
    if any(math.prod(_find_plane(s)) > math.prod(plane_shape) for s in found):
        raise FieldError(
            f"ambiguous: {files.without_secrets(url)} has pages of several sizes, "
            f"{', '.join(str(_find_plane(s)) for s in found[:4])}, the first of them not the "
            "largest. Export one image per file."
        )
    if len(like) > 1 and all(len(series.shape) == 2 for series in like):
        pages = [page.index for series in like for page in series.pages if page is not None]
        return [_make_unknown(pages)]
    return [_take_series(series, tiff, url) for series in like]


def _find_plane(series: tifffile.TiffPageSeries) -> tuple[int, ...]:
    sizes = dict(zip(series.axes, series.shape, strict=True))
    return (int(sizes.get("Y", 1)), int(sizes.get("X", 1)))


def _take_series(series: tifffile.TiffPageSeries, tiff: tifffile.TiffFile, url: str) -> Series:
    leading = [
        (axis, int(size))
        for axis, size in zip(series.axes, series.shape, strict=True)
        if axis not in "YX" and size > 1
    ]
    sizes = dict(leading)
    pages = [page.index for page in series.pages if page is not None]
    number = math.prod(size for _, size in leading)
    if len(pages) != number:  # without directories of their own
        stack = find_stack(tiff)
        end = stack.offset + number * stack.plane_bytes if stack else math.inf
        if end > tiff.filehandle.size:
            raise unreadable(url, f"its description lists {number} planes, it holds fewer")
        pages = list(range(number))
    axes = ", ".join(f"{axis} {size}" for axis, size in leading)
    if len(leading) == 1 and set(sizes) <= set(_UNKNOWN):
        return _make_unknown(pages)
    if set(sizes) - set(_KNOWN) or len(sizes) < len(leading):
        raise FieldError(
            f"ambiguous: {files.without_secrets(url)} has the axes {axes}, expected C, Z and T "
            "for channels, focal planes and times. Export one image per file."
        )
    names = name_channels(_find_names(tiff), sizes.get("C", 1))
    planes = []
    for page, place in zip(pages, np.ndindex(*sizes.values()), strict=True):
        at = dict(zip(sizes, map(int, place), strict=True))
        channel = names[at["C"]] if "C" in at else ""
        planes.append(PlaneAt(page, channel, at.get("Z", 0), at.get("T", 0)))
    return Series(tuple(sorted(planes)), axes=axes)


def _make_unknown(pages: list[int]) -> Series:
    planes = tuple(PlaneAt(page, "", number, 0) for number, page in enumerate(pages))
    return Series(planes, unknown=len(pages) > 1, axes=f"{len(pages)} pages")


def _find_names(tiff: tifffile.TiffFile) -> list[str]:
    """Give the channels' names that Micro-Manager or tifffile's own metadata have."""
    summary: Any = {}
    if tiff.is_micromanager:
        summary = (tiff.micromanager_metadata or {}).get("Summary") or {}
    elif tiff.is_shaped:
        summary = (tiff.shaped_metadata or ({},))[0]
    names = summary.get("ChNames") if isinstance(summary, Mapping) else None
    if names is None and isinstance(summary, Mapping):
        channel = summary.get("Channel")
        names = channel.get("Name") if isinstance(channel, Mapping) else None
    if isinstance(names, str) and names.startswith("["):
        names = json.loads(names)
    return [str(name) for name in names] if isinstance(names, list | tuple) else []


def _read_stage(tiff: tifffile.TiffFile) -> Position:
    """Give the stage's position that MetaMorph and MetaXpress write, in microns."""
    if not tiff.is_metaseries:
        return NOWHERE
    plane = (tiff.metaseries_metadata or {}).get("PlaneInfo", {})
    return read_position(plane.get("stage-position-x"), plane.get("stage-position-y"), "um", "um")


def _read_pixel_size(tiff: tifffile.TiffFile) -> tuple[float, float]:
    """Give the width and height of a pixel that ImageJ, MetaMorph or a page's tags state; NaN."""
    page = tiff.pages[0].aspage()
    if tiff.is_metaseries:
        plane = (tiff.metaseries_metadata or {}).get("PlaneInfo", {})
        known = plane.get("spatial-calibration-state", True) in (True, "on")
        unit = plane.get("spatial-calibration-units", "um") if known else None
        across, down = (to_microns(plane.get(f"spatial-calibration-{a}"), unit) for a in "xy")
        return across, down
    stated: object = None
    if tiff.is_imagej:
        stated = (tiff.imagej_metadata or {}).get("unit")
    elif "ResolutionUnit" in page.tags and page.resolutionunit == _CENTIMETRE:
        stated = "cm"
    across, down = (_read_resolution(page, f"{a}Resolution", stated) for a in "XY")
    return across, down


def _read_resolution(page: tifffile.TiffPage, tag: str, unit: object) -> float:
    """Give the length of a pixel along an axis; NaN where nothing says it."""
    if unit is None or tag not in page.tags:
        return math.nan
    number, per = page.tags[tag].value
    return to_microns(per / number, unit) if number else math.nan
