"""ImageXpress: trees and exports of MetaXpress, with their .HTD where there is one."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from i2r.errors import InputError
from i2r.readers import ReaderOptions, Sources, sheets
from i2r.readers.htd import Settings, read_settings
from i2r.readers.images import GONE
from i2r.readers.sources import Found, build_sources, normalise_number
from i2r.store import files
from i2r.types import parse_well

# Plate_B02_s1_w1.TIF in exports, Plate_B02_s1_w1<GUID>.tif in the instrument's own trees.
_NAME = re.compile(
    r"(?P<prefix>[^/]+?)_(?P<well>[A-Z]{1,2}\d\d)(?:_s(?P<site>\d+))?(?:_w(?P<wave>\d{1,2}?))?"
    r"(?P<thumb>_thumb)?(?P<guid>[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12})?\.tiff?$",
    re.IGNORECASE,
)
_STEPS = re.compile(r"(?:^|/)(?:TimePoint_(?P<time>\d+)|ZStep_(?P<z>\d+))", re.IGNORECASE)


class _Image(NamedTuple):
    """An image by what its path says: the plate's folder, the plane, and the file."""

    folder: str
    prefix: str
    well: str
    site: str
    wave: str
    z: str
    url: str
    stat: files.Stat


def recognises(source: str) -> bool:
    """Tell whether a folder holds a .HTD, or images with the instrument's own names."""

    def accept(path: str) -> bool:
        match = _NAME.search(path)
        return path.lower().endswith(".htd") or bool(match and match["guid"])

    return not sheets.is_sheet(source) and any(True for _ in files.find_files(source, accept))


def scan(source: str, options: ReaderOptions) -> Sources:
    """Read plate, well, site, wavelength and focal plane from the names that MetaXpress gives.

    Parameters
    ----------
    source
        A folder of one or several plates; thumbnails in it are passed over.
    options
        With ``z: max``, projections that the microscope made (those outside any ``ZStep_n``, or
        in ``ZStep_0``) are used only where there are no planes; ``z: 0`` chooses them.

    Returns
    -------
    Sources
        Channels have the wavelengths' names of the .HTD, or ``w1`` and so on without one. A site
        that the .HTD lists for an imaged well and that has no file at all has size -1.

    Raises
    ------
    InputError
        If nothing has such a name, or there are several time points, and for all that
        `build_sources` refuses.
    """
    base = files.normalise_url(source)
    images, settings, n_thumbs = _read_tree(base)
    gaps = list(_find_gaps(images, settings))
    folders = defaultdict(set)
    for image in images:
        folders[image.prefix].add(image.folder)
    in_planes = {image[:5] for image in images if image.z != "0"}
    found = []
    for image in [*images, *gaps]:
        if options.z == "max" and image.z == "0" and image[:5] in in_planes:
            continue
        # Some screens give all plates one name: then the plate's folder tells them apart.
        last = image.folder.rpartition("/")[2]
        plate = f"{image.prefix}_{last}" if len(folders[image.prefix]) > 1 else image.prefix
        waves = settings[image.folder].waves if image.folder in settings else {}
        channel = waves.get(image.wave, f"w{image.wave}")
        place = (plate, image.well, image.site, channel, image.z)
        found.append(Found(*place, image.url, image.stat))
    notes = [f"{n_thumbs} thumbnails passed over"] if n_thumbs else []
    notes += [f"{len(gaps)} images of sites that the .HTD lists are missing"] if gaps else []
    return build_sources(found, options, where=source, notes=notes)


def _read_tree(base: str) -> tuple[list[_Image], dict[str, Settings], int]:
    """Read all names below a folder: images, settings by plate folder, number of thumbnails."""
    images: list[_Image] = []
    settings: dict[str, Settings] = {}
    times, n_thumbs = set[str](), 0
    for file in files.find_files(base, lambda p: p.lower().endswith((".tif", ".tiff", ".htd"))):
        url, above = f"{base}/{file.path}", file.path.rpartition("/")[0]
        steps = {k: v for m in _STEPS.finditer(above) for k, v in m.groupdict().items() if v}
        folder = f"{base}/{_STEPS.split(above)[0]}".rstrip("/")
        if file.path.lower().endswith(".htd"):
            settings.setdefault(folder, read_settings(url))
        elif match := _NAME.search(file.path):
            times.add(steps.get("time", "1"))
            site, wave = (normalise_number(match[name] or "1") for name in ("site", "wave"))
            place = (folder, match["prefix"], parse_well(match["well"]).name, site, wave)
            n_thumbs += bool(match["thumb"])
            if not match["thumb"]:
                z = normalise_number(steps.get("z", "0"))
                images.append(_Image(*place, z, url, file.stat))
    where = files.without_secrets(base)
    if not images:
        raise InputError(
            f"{where}: found no file named like Plate_B02_s1_w1.TIF. Give the folder of a plate, "
            "or a pattern."
        )
    if len(times) > 1:
        raise InputError(
            f"{where}: found the time points {', '.join(sorted(times))}, expected one. Give the "
            "folder of one of them as the source."
        )
    return images, settings, n_thumbs


def _find_gaps(images: list[_Image], settings: Mapping[str, Settings]) -> Iterator[_Image]:
    """Name the planes of sites that were imaged elsewhere on a plate, but not in this well."""
    wells: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    planes: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    for image in images:
        wells[image[:3]].add(image.site)
        planes[image.folder][image.wave, image.z] = files.parent_url(image.url)
    imaged = {folder: {i.site for i in images if i.folder == folder} for folder in settings}
    for (folder, prefix, well), sites in wells.items():
        if folder not in settings or parse_well(well) not in settings[folder].wells:
            continue
        listed = {str(number) for number in range(1, settings[folder].n_sites + 1)}
        for site in sorted(listed & imaged[folder] - sites):
            for (wave, z), place in planes[folder].items():
                url = f"{place}/{prefix}_{well}_s{site}_w{wave}.TIF"
                yield _Image(folder, prefix, well, site, wave, z, url, GONE)
