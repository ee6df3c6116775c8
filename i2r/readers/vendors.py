"""Files of .czi, .nd2 and .lif, read by bioio (extra i2r[vendors])."""

import re
from collections.abc import Sequence

from i2r.errors import FieldError, InputError, join_problems
from i2r.readers import ReaderOptions, Sources, sheets
from i2r.readers.bioimages import PLUGINS, explain_missing, is_bioimage, list_scenes
from i2r.readers.images import stat_source
from i2r.readers.names import Found
from i2r.readers.pattern import SUFFIXES
from i2r.readers.pattern_search import read_place
from i2r.readers.sources import build_sources
from i2r.readers.suggestions import suggest_naming
from i2r.store import files

_ELSE = (
    "Or export TIFF with the microscope's program, or convert with bioformats2raw, which makes an "
    "OME-Zarr plate that i2r reads"
)


def recognises(source: str) -> bool:
    """Tell whether a source is such a file, or a folder with some and without other images."""
    base = files.normalise_url(source)
    if is_bioimage(base):
        return True
    if sheets.is_sheet(source) or not files.is_local(base):
        return False
    found = files.find_files(base, lambda p: is_bioimage(p) or p.lower().endswith(SUFFIXES))
    kinds = {is_bioimage(file.path) for file in found}
    return kinds == {True}


def takes_pattern(source: str) -> bool:
    """Tell whether the files of a source have scenes that a pattern may read."""
    return recognises(source)


def scan(source: str, options: ReaderOptions) -> Sources:
    """List the scenes of all files.

    Parameters
    ----------
    source
        A file, or a folder of files.
    options
        `pattern` is searched for in the path below the source and the scene's name,
        ``day1/P1.nd2/A01_0000``. Without one, a usual form of these, or of the files' names alone:
        then a file's scenes are the fields of its well.

    Returns
    -------
    Sources
        ``page`` is as in `i2r.readers.bioimages.read_bioimage_plane`.

    Raises
    ------
    InputError
        If bioio or its plug-in is not installed, a file can't be read, or names tell no wells,
        and for all that `build_sources` refuses.
    """
    base = files.normalise_url(source)
    where = files.without_secrets(base)
    if is_bioimage(base):
        paths = {base.rpartition("/")[2]: base}
    else:
        listed = files.find_files(base, is_bioimage)
        paths = {file.path: f"{base}/{file.path}" for file in listed}
    if not paths:
        raise InputError(f"{where}: found no {', '.join(PLUGINS)} files. Correct the source.")
    endings = sorted({path[path.rfind(".") :].lower() for path in paths})
    if lacking := [ending for ending in endings if explain_missing(ending)]:
        n_files = sum(path.lower().endswith(lacking[0]) for path in paths)
        raise InputError(
            f"{where}: found {n_files} {lacking[0]} file{'s' if n_files != 1 else ''}, "
            f"{explain_missing(lacking[0])}. {_ELSE}."
        )
    scenes: list[tuple[str, int, str]] = []
    problems = []
    for path, url in paths.items():
        try:
            scenes += [(path, number, name) for number, name in enumerate(list_scenes(url))]
        except FieldError as error:
            problems.append(str(error).partition(": ")[2])
    if problems:
        raise InputError(f"{where}: {join_problems(problems)}")
    found = []
    for (path, number, _), place in zip(
        scenes, _read_places(scenes, options.pattern, where), strict=True
    ):
        url = paths[path]
        at = place["plate"], place["well"], place["field"], place["channel"]
        found.append(Found(*at, z="", url=url, stat=stat_source(url), series=str(number)))
    return build_sources(found, options, where=re.sub(r"\.[A-Za-z0-9]{3}$", "", base))


def _read_places(
    scenes: Sequence[tuple[str, int, str]], pattern: str | None, where: str
) -> list[dict[str, str]]:
    """Read plate, well, field and channel of every scene."""
    names = [f"{path}/{name}" for path, _, name in scenes]
    by_file = False
    if not pattern:
        # Forms of names end as files' do.
        for texts in ([f"{name}.tif" for name in names], [f"{p[:-4]}.tif" for p, _, _ in scenes]):
            naming = suggest_naming(list(dict.fromkeys(texts)))
            if naming and not naming.others:
                pattern, by_file, names = naming.pattern, texts[0] != f"{names[0]}.tif", texts
                break
    matches = [re.search(pattern, name) if pattern else None for name in names]
    if None in matches:
        raise InputError(
            f"{where}: {'the pattern does not read' if pattern else 'no well is known of'} "
            f"{names[matches.index(None)]!r}, a file and its scene. Set 'pattern' (init: "
            "--pattern), which is searched for in such names."
        )
    places = [read_place(match) for match in matches if match]
    if by_file and not any(place["field"] for place in places):
        fields = [str(number + 1) for _, number, _ in scenes]
        places = [{**p, "field": field} for p, field in zip(places, fields, strict=True)]
    return places
