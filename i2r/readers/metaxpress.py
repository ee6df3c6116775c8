"""Names that MetaXpress gives to folders and files, read for all images below a folder."""

import re
from typing import NamedTuple

from i2r.errors import InputError
from i2r.readers import ReaderOptions
from i2r.readers.htd import Settings, read_settings
from i2r.readers.names import normalise_number
from i2r.readers.selection import choose_time
from i2r.store import files
from i2r.types import parse_well

# Plate_B02_s1_w1.TIF in exports, Plate_B02_s1_w1<GUID>.tif in the instrument's own trees.
NAME = re.compile(
    r"(?P<prefix>[^/]+?)_(?P<well>[A-Z]{1,2}\d\d)(?:_s(?P<site>\d+))?(?:_w(?P<wave>\d{1,2}?))?"
    r"(?P<thumb>_thumb)?(?:_?[\[{]?(?P<guid>[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12})[\]}]?)?"
    r"\.tiff?$",
    re.IGNORECASE,
)
_STEPS = re.compile(r"(?:^|/)(?:TimePoint_(?P<time>\d+)|ZStep_(?P<z>\d+))", re.IGNORECASE)


class Image(NamedTuple):
    """An image by what its path says: the plate's folder, the plane, and the file."""

    folder: str
    prefix: str
    well: str
    site: str
    wave: str
    z: str
    url: str
    stat: files.Stat


class Tree(NamedTuple):
    """What a folder holds: images, settings by the plate's folder, and what was passed over."""

    images: list[Image]
    settings: dict[str, Settings]
    n_thumbs: int
    others: list[str]


def read_tree(base: str, options: ReaderOptions) -> Tree:
    """Read all names below a folder.

    Parameters
    ----------
    base
        A folder of one or several plates.
    options
        Of them `time`.

    Returns
    -------
    Tree
        ``images`` without thumbnails; ``settings`` as the .HTD files say; ``others`` are the paths
        of images with names of other kinds.

    Raises
    ------
    InputError
        If nothing has such a name, or there are several time points.
    """
    images: list[Image] = []
    settings: dict[str, Settings] = {}
    times: list[str] = []
    others: list[str] = []
    n_thumbs = 0
    for file in files.find_files(base, lambda p: p.lower().endswith((".tif", ".tiff", ".htd"))):
        url, above = f"{base}/{file.path}", file.path.rpartition("/")[0]
        steps = {k: v for m in _STEPS.finditer(above) for k, v in m.groupdict().items() if v}
        folder = f"{base}/{_STEPS.split(above)[0]}".rstrip("/")
        if file.path.lower().endswith(".htd"):
            settings.setdefault(folder, read_settings(url))
        elif match := NAME.search(file.path):
            site, wave = (normalise_number(match[name] or "1") for name in ("site", "wave"))
            try:
                well = parse_well(match["well"]).name
            except ValueError:  # of another instrument: "..._CH01.tif"
                others.append(file.path)
                continue
            place = (folder, match["prefix"], well, site, wave)
            n_thumbs += bool(match["thumb"])
            if not match["thumb"]:
                z = normalise_number(steps.get("z", "0"))
                images.append(Image(*place, z, url, file.stat))
                times.append(steps.get("time", "1"))
        else:
            others.append(file.path)
    where = files.without_secrets(base)
    if not images:
        raise InputError(
            f"{where}: found no file named like Plate_B02_s1_w1.TIF. Give the folder of a plate, "
            "or a pattern."
        )
    chosen = choose_time(where, times, options)
    images = [image for image, time in zip(images, times, strict=True) if time == chosen]
    return Tree(images, settings, n_thumbs, others)
