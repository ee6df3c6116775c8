"""One OME-TIFF, or the companion of a set of them: every image of its OME-XML."""

import re
from collections.abc import Iterator

from i2r.errors import FieldError, InputError
from i2r.readers import ReaderOptions, Sources, sheets
from i2r.readers.contents import COMPANION, read_ome_text
from i2r.readers.images import stat_source
from i2r.readers.names import Found
from i2r.readers.ometiff import OmeField, list_fields
from i2r.readers.pattern_search import read_place
from i2r.readers.sources import build_sources
from i2r.readers.suggestions import suggest_naming
from i2r.store import files

_TIFF = (".tif", ".tiff", ".tf8", ".btf", ".ome")


def recognises(source: str) -> bool:
    """Tell whether a source is one file with an OME-XML."""
    if not source.lower().endswith((*_TIFF, COMPANION)):
        return False
    try:
        return bool(read_ome_text(files.normalise_url(source)))
    except FieldError as error:
        return str(error).startswith("ambiguous")  # the scan says what is missing
    except (InputError, ValueError, OSError):
        return False


def takes_pattern(source: str) -> bool:
    """Tell whether a source is one file with an OME-XML: its images have names."""
    return recognises(source)


def scan(source: str, options: ReaderOptions) -> Sources:
    """List the images of an OME-TIFF.

    Parameters
    ----------
    source
        An OME-TIFF, or a ``.companion.ome`` whose files lie beside it.
    options
        Where the OME-XML describes no plate, `pattern` is searched for in the names of the file
        and of the image: ``file.ome.tif/Well A1, field 2``. Without one, a usual form of names.

    Returns
    -------
    Sources
        The plate, wells and fields that the OME-XML describes, or those of the names.

    Raises
    ------
    InputError
        If there is no OME-XML, or an image's well is told neither by it nor by names, and for all
        that `build_sources` refuses.
    """
    base = files.normalise_url(source)
    where, folder = files.without_secrets(base), files.parent_url(base)
    try:
        text = read_ome_text(base)
        listed = list_fields(text) if text else []
    except FieldError as error:
        raise InputError(str(error).partition(": ")[2]) from error
    except (ValueError, OSError) as error:
        raise InputError(f"{where}: {error}") from error
    if not listed:
        raise InputError(f"{where}: has no OME-XML. Give the folder with the images.")
    own = base.rpartition("/")[2]
    urls = {
        image.file_name: files.join_url(folder, *image.file_name.replace("\\", "/").split("/"))
        if image.file_name
        else base
        for image in listed
    }
    stats = {name: stat_source(url) for name, url in urls.items()}
    found = []
    for image, place in zip(listed, _find_places(listed, own, options, where), strict=True):
        url, stat = urls[image.file_name], stats[image.file_name]
        found.append(Found(*place, z="", url=url, stat=stat, series=str(image.series)))
    title = re.sub(r"(?i)(\.companion)?(\.ome)?(\.[a-z0-9]+)?$", "", own)
    return build_sources(found, options, where=f"{folder}/{title or own}")


def _find_places(
    listed: list[OmeField], own: str, options: ReaderOptions, where: str
) -> Iterator[tuple[str, str, str, str]]:
    """Give plate, well, field and channel of every image: by the OME-XML, or else by names."""
    if all(image.row for image in listed) and not options.pattern:
        for image in listed:
            well = sheets.join_well(image.row, image.column)
            yield image.plate, well, image.field, ""
        return
    names = [f"{image.file_name or own}/{image.name}".rstrip("/") for image in listed]
    pattern = options.pattern
    if not pattern:  # forms of names end as files' do
        endless = [f"{name.removesuffix('.tif')}.tif" for name in names]
        naming = suggest_naming(endless)
        if naming and not naming.others:
            pattern, names = naming.pattern, endless
    matches = [re.search(pattern, name) if pattern else None for name in names]
    if None in matches:
        raise InputError(
            f"{where}: its OME-XML describes no plate, and "
            f"{'the pattern does not read' if pattern else 'no well is known of'} "
            f"{names[matches.index(None)]!r}. Set 'pattern' (init: --pattern) to one that reads "
            "the file's and the image's name."
        )
    for said in [read_place(match) for match in matches if match]:
        yield said["plate"], said["well"], said["field"], said["channel"]
