"""The user's own label masks: one per field, or none; what is unclear is reported."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from i2r.errors import FieldError, I2RError, InputError
from i2r.readers.labels import (
    EXTENSIONS,
    ArrayLabels,
    find_array_labels,
    read_labels_header,
)
from i2r.store import files
from i2r.types import parse_well

# What programs put around the image's name: cellpose, CellProfiler, StarDist, ilastik, QuPath.
_AFTER = re.compile(
    r"[ _.\-]+(?:cp[ _]?)?(?:mask[ _]?(?:s|nuclei|nucleus)?|labels?|label[ _]?image|seg|"
    r"segmentation|nuclei|nucleus|objects|stardist|cellpose|instances?)$",
    re.IGNORECASE,
)
_BEFORE = re.compile(r"^(?:masks?|labels?|seg|segmentation|nuclei|nucleus)[ _.\-]+", re.IGNORECASE)
# A mask named by plate, well and field, the plate and the letter before the field as they like.
_PLACE = re.compile(
    r"^(?:(?P<plate>.+)[/ _.\-])?(?P<well>[a-z]{1,2}\d{1,2}|r\d{1,2}c\d{1,2})"
    r"(?:[/ _.\-]*(?:s|f|p|fld|field|site|fov|pos|position)[ _.\-]*|[/ _.\-]+)"
    r"0*(?P<field>[a-z0-9]+)$"
)
# Headers that are looked at together, as network drives answer late.
_THREADS = 16
# The longest lists of problems end after these.
_EXAMPLES = 3


class MaskField(NamedTuple):
    """A field that wants a mask, and its image."""

    plate: str
    well: str
    field: str
    image_url: str

    @property
    def name(self) -> str:
        """The field, for messages."""
        return f"plate {self.plate!r} well {self.well} field {self.field}"


Place = tuple[str, str, str]


class MaskMatches(NamedTuple):
    """The masks of fields.

    Attributes
    ----------
    urls
        By plate, well and field; fields without a mask are not in it.
    doubts
        By plate, well and field: why a mask can't be told to be the field's.
    """

    urls: dict[Place, str]
    doubts: dict[Place, str]


def match_masks(masks: str, fields: Sequence[MaskField]) -> MaskMatches:
    """Find the one mask of every field.

    Parameters
    ----------
    masks
        A folder of label images, an OME-Zarr plate with label groups (or
        ``PLATE.zarr/labels/NAME``, where it has several), or a file's name with ``{plate}``,
        ``{well}`` and ``{field}`` in it.
    fields
        All fields there are: a mask that could be of two of them is of neither.

    Returns
    -------
    MaskMatches
        A file of a folder belongs to the image whose path ends like its own: same name, and the
        same folders as far as it lies in any (``P1/Images/a.tif``). Upper and lower case, the
        extension, and endings such as ``_cp_masks`` don't count. Or it is named by plate, well
        and field: ``P1/A01_1.tif``, ``P1_A01_s1.png``; with one plate alone, without it.

    Raises
    ------
    InputError
        If there is nothing, or a plate has several labels.
    """
    if "{" in masks:
        return _match_template(masks, fields)
    if (found := find_array_labels(masks)) is not None:
        return _match_arrays(found, fields)
    listed = [
        file.path
        for file in files.find_files(masks, lambda path: path.lower().endswith(EXTENSIONS))
    ]
    if not listed:
        raise InputError(
            f"masks {masks}: no such folder, or no label image in it, expected files ending in "
            f"{', '.join(EXTENSIONS)}, or an OME-Zarr plate with labels. Correct 'masks'."
        )
    return _match_names(masks, listed, fields)


def _match_template(template: str, fields: Sequence[MaskField]) -> MaskMatches:
    missing = [name for name in ("{well}", "{field}") if name not in template]
    if len({f.plate for f in fields}) > 1 and "{plate}" not in template:
        missing.append("{plate}")
    if missing:
        raise InputError(
            f"masks {template}: found no {missing[0]} in the name, expected one file per plate, "
            "well and field. Add it."
        )
    urls = {}
    for f in fields:
        url = template.replace("{plate}", f.plate).replace("{well}", f.well)
        url = url.replace("{field}", f.field)
        if files.exists(url):
            urls[f.plate, f.well, f.field] = url
    return MaskMatches(urls, {})


def _match_arrays(found: Sequence[ArrayLabels], fields: Sequence[MaskField]) -> MaskMatches:
    """Take the labels in an image's own group, or those of another plate's same field."""
    groups = {labels.group: labels.url for labels in found}
    places: dict[Place, list[str]] = defaultdict(list)
    for labels in found:
        places[labels.place].append(labels.url)
    urls, doubts = {}, {}
    for f in fields:
        place = (f.plate, f.well, f.field)
        own = files.parent_url(files.parent_url(f.image_url))
        if own in groups:
            urls[place] = groups[own]
        elif len(places[place]) > 1:
            doubts[place] = (
                f"{f.name}: found {len(places[place])} label images "
                f"({', '.join(places[place][:_EXAMPLES])}), expected one. Name one plate."
            )
        elif places[place]:
            urls[place] = places[place][0]
    return MaskMatches(urls, doubts)


def _match_names(masks: str, listed: Sequence[str], fields: Sequence[MaskField]) -> MaskMatches:
    """Match by the images' paths, and else by plate, well and field."""
    by_path: dict[tuple[str, ...], set[str]] = defaultdict(set)
    by_place: dict[tuple[str | None, str, str], set[str]] = defaultdict(set)
    for path in listed:
        *folders, name = path.split("/")
        for stem in _list_stems(name):
            by_path[*map(str.lower, folders), stem].add(path)
            if place := _read_place("/".join([*folders, stem])):
                by_place[place].add(path)
    deepest = max(len(key) for key in by_path)
    claims: dict[str, list[MaskField]] = defaultdict(list)
    wanted: dict[Place, list[tuple[int, set[str]]]] = {}
    for f in fields:
        *folders, name = f.image_url.lower().split("/")
        own = _strip_extension(name)
        found = []
        for depth in range(min(deepest, len(folders) + 1)):
            key = (*folders[len(folders) - depth :], own)
            if paths := by_path.get(key):
                found.append((depth + 1, paths))
        number = f.field.lower().lstrip("0") or "0"
        for plate in (f.plate.lower(), None):
            if paths := by_place.get((plate, f.well.lower(), number)):
                found.append((0, paths))
                break
        wanted[f.plate, f.well, f.field] = found
        for path in set().union(*(paths for _, paths in found)):
            claims[path].append(f)
    return _decide(masks, fields, wanted, claims)


def _decide(
    masks: str,
    fields: Sequence[MaskField],
    wanted: Mapping[Place, list[tuple[int, set[str]]]],
    claims: Mapping[str, list[MaskField]],
) -> MaskMatches:
    """Take the mask whose path says most; refuse two for one field, and one for two fields."""
    urls: dict[Place, str] = {}
    doubts: dict[Place, str] = {}
    for f in fields:
        place = (f.plate, f.well, f.field)
        if not wanted[place]:
            continue
        _, paths = max(wanted[place], key=lambda found: found[0])
        if len(paths) > 1:
            doubts[place] = (
                f"{f.name}: found {len(paths)} masks ({', '.join(sorted(paths)[:_EXAMPLES])}), "
                "expected one. Move the others away."
            )
            continue
        (path,) = paths
        if len(claims[path]) > 1:
            others = [other.name for other in claims[path] if other != f]
            doubts[place] = (
                f"{f.name}: the mask {path} could be its own or that of {others[0]}: both images "
                "have that name. Put masks into folders like the images' own, or name them by "
                "plate, well and field (P1/A01_1.tif)."
            )
            continue
        urls[place] = files.join_url(masks, *path.split("/"))
    return MaskMatches(urls, doubts)


def _list_stems(name: str) -> list[str]:
    """List the names of an image that a mask of this name may belong to, in lower case."""
    stem = _strip_extension(name.lower())
    bare = _BEFORE.sub("", _AFTER.sub("", stem))
    return list(dict.fromkeys([stem, _AFTER.sub("", stem), _BEFORE.sub("", stem), bare]))


def _strip_extension(name: str) -> str:
    return name.rpartition(".")[0].removesuffix(".ome") if "." in name else name


def _read_place(path: str) -> tuple[str | None, str, str] | None:
    """Read plate, well and field from a mask's path; None where it has no such names."""
    match = _PLACE.match(path.lower())
    if match is None:
        return None
    try:
        well = parse_well(match["well"]).name.lower()
    except ValueError:
        return None
    plate = match["plate"].rpartition("/")[2] if match["plate"] else None
    return plate, well, match["field"].lstrip("0") or "0"


def find_mask(folder: str, *, image_url: str) -> str | None:
    """Find the mask of an image alone.

    Parameters
    ----------
    folder
        Where the masks are: directly, or in a subfolder named like the image's own folder.
    image_url
        The image that was segmented.

    Returns
    -------
    str or None
        The mask with the image's name, see `match_masks`; None if there is none.

    Raises
    ------
    InputError
        If there are several.
    """
    parent, _, name = image_url.rpartition("/")
    own = _strip_extension(name.lower())
    for place in (f"{folder}/{parent.rpartition('/')[2]}", folder):
        # The usual case, without a listing.
        if name.lower().endswith(EXTENSIONS) and files.exists(f"{place}/{name}"):
            return f"{place}/{name}"
        if not files.exists(place):
            continue
        found = [
            candidate
            for candidate in files.list_folder(place)
            if candidate.lower().endswith(EXTENSIONS) and own in _list_stems(candidate)
        ]
        if len(found) > 1:
            raise InputError(
                f"{place}: found {len(found)} masks of {name} ({', '.join(found[:_EXAMPLES])}), "
                "expected one. Move the others away."
            )
        if found:
            return f"{place}/{found[0]}"
    return None


def check_headers(urls: Iterable[str], *, shapes: Mapping[str, tuple[int, int]]) -> dict[str, str]:
    """Look at the headers of masks.

    Parameters
    ----------
    urls
        The masks.
    shapes
        The shape (y, x) of each one's image.

    Returns
    -------
    dict
        By URL, what is wrong; sound ones are not in it.
    """

    def look(url: str) -> str:
        try:
            read_labels_header(url, shape=shapes[url])
        except (FieldError, I2RError) as error:
            return str(error)
        except OSError:  # a network's error is said when the mask is read
            return ""
        return ""

    listed = list(urls)
    with ThreadPoolExecutor(_THREADS) as pool:
        return {url: text for url, text in zip(listed, pool.map(look, listed), strict=True) if text}
