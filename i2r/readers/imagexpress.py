"""ImageXpress: trees and exports of MetaXpress, with their .HTD where there is one."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from i2r.errors import count_words
from i2r.readers import ReaderOptions, Sources, sheets
from i2r.readers.htd import Settings
from i2r.readers.images import GONE
from i2r.readers.metaxpress import NAME, Image, read_tree
from i2r.readers.names import Found
from i2r.readers.plate_names import tell_apart
from i2r.readers.sources import build_sources
from i2r.store import files
from i2r.types import parse_well


def recognises(source: str) -> bool:
    """Tell whether a folder holds a .HTD, thumbnails, or images with the instrument's own names."""

    def accept(path: str) -> bool:
        match = NAME.search(path)
        return path.lower().endswith(".htd") or bool(match and (match["guid"] or match["thumb"]))

    if sheets.is_sheet(source):
        return False
    return accept(source.rpartition("/")[2]) or any(True for _ in files.find_files(source, accept))


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
        or well that the .HTD lists and that has no file at all has size -1.

    Raises
    ------
    InputError
        If nothing has such a name, or there are several time points, and for all that
        `build_sources` refuses.
    """
    base = files.normalise_url(source)
    if base.lower().endswith((".htd", ".tif", ".tiff")):  # the file itself stands for its folder
        base = source = files.parent_url(base)
    images, settings, n_thumbs, others = read_tree(base, options)
    gaps = list(_find_gaps(images, settings))
    places = list(dict.fromkeys((image.prefix, image.folder) for image in images))
    names, told = tell_apart(places)
    plates = dict(zip(places, names, strict=True))
    in_planes = {image[:5] for image in images if image.z != "0"}
    found = []
    for image in [*images, *gaps]:
        if options.z == "max" and image.z == "0" and image[:5] in in_planes:
            continue
        # Some screens give all plates one name: then the plate's folder tells them apart.
        plate = plates[image.prefix, image.folder]
        waves = settings[image.folder].waves if image.folder in settings else {}
        channel = waves.get(image.wave, f"w{image.wave}")
        place = (plate, image.well, image.site, channel, image.z)
        number = settings[image.folder].plate_format if image.folder in settings else 0
        found.append(Found(*place, image.url, image.stat, plate_format=number))
    notes = [*told, *([f"{n_thumbs} thumbnails passed over"] if n_thumbs else [])]
    if others:
        notes.append(
            f"{count_words(len(others), 'image is', 'images are')} left out, not named as "
            f"MetaXpress does, for example {others[0]}: give a pattern to read them"
        )
    return build_sources(found, options, where=source, notes=notes)


def _find_gaps(images: list[Image], settings: Mapping[str, Settings]) -> Iterator[Image]:
    """Name the planes of sites that were imaged elsewhere on a plate, but not in a listed well."""
    wells: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    planes: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    for image in images:
        wells[image[:3]].add(image.site)
        planes[image.folder][image.wave, image.z] = files.parent_url(image.url)
    imaged = {folder: {i.site for i in images if i.folder == folder} for folder in settings}
    for folder, prefix in {(image.folder, image.prefix) for image in images}:
        for listed_well in settings[folder].wells if folder in settings else ():
            wells.setdefault((folder, prefix, listed_well.name), set())
    for (folder, prefix, well), sites in wells.items():
        if folder not in settings or parse_well(well) not in settings[folder].wells:
            continue
        listed = {str(number) for number in range(1, settings[folder].n_sites + 1)}
        for site in sorted(listed & imaged[folder] - sites):
            for (wave, z), place in planes[folder].items():
                url = f"{place}/{prefix}_{well}_s{site}_w{wave}.TIF"
                yield Image(folder, prefix, well, site, wave, z, url, GONE)
