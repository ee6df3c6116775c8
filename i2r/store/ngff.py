"""The documents of OME-Zarr (NGFF 0.5 on Zarr v3) as plain values: what each zarr.json says.

Specification: https://ngff.openmicroscopy.org/0.5/. Written as JSON directly, because opening
groups through a library costs more than writing the pixels of a small field.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from i2r.errors import InputError
from i2r.types import Well, smallest_format

VERSION = "0.5"

Document = dict[str, Any]

# Display colours by what a stain's name contains, first match wins; viewers refuse a '#'.
_STAIN_COLOURS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("dna", "dapi", "hoechst", "draq", "nucle"), "0000FF"),
    (("er", "cona", "concanavalin"), "00FF00"),
    (("gfp", "fitc", "488"), "00FF00"),
    (("rna", "syto"), "FFFF00"),
    (("agp", "actin", "phalloidin", "wga", "golgi"), "FF8000"),
    (("mito",), "FF0000"),
    (("rfp", "tritc", "cy3", "mcherry", "568", "555"), "FF0000"),
    (("cy5", "647", "tubulin"), "FF00FF"),
    (("bright", "phase", "bf", "trans"), "FFFFFF"),
)
# Too short to be looked for inside other words ("marker" is no ER).
_WHOLE_NAMES = {"er", "bf"}
_OTHER_COLOURS = ("00FFFF", "FF00FF", "FFFFFF", "80FF00", "FF0080", "0080FF")


def group_document(ome: Mapping[str, Any] | None = None, **attributes: Any) -> Document:
    """Describe a Zarr v3 group.

    Parameters
    ----------
    ome
        The OME metadata without its version; None for a plain group such as a plate's row.
    **attributes
        Other attributes of the group, beside ``ome``.
    """
    own = {} if ome is None else {"ome": {"version": VERSION, **ome}}
    return {"zarr_format": 3, "node_type": "group", "attributes": {**own, **attributes}}


def plate_document(
    name: str,
    wells: Sequence[Well],
    *,
    field_count: int,
    size: tuple[int, int] | None = None,
) -> Document:
    """Describe a plate with all its physical rows and columns, also the empty ones.

    Parameters
    ----------
    name
        The plate's name for people.
    wells
        The wells that have images, at least one.
    field_count
        The largest number of fields in one well, at least one.
    size
        Rows and columns of the plate; None takes the smallest usual format that holds the wells.

    Raises
    ------
    InputError
        If a well lies outside the plate.
    """
    n_rows, n_columns = size or smallest_format(wells)
    outside = [w.name for w in wells if w.row > n_rows or w.column > n_columns]
    if outside:
        raise InputError(
            f"plate {name!r}: found well {', '.join(sorted(outside)[:5])}, expected {n_rows} rows "
            f"and {n_columns} columns. Correct the well or the plate's format."
        )
    return group_document(
        {
            "plate": {
                "version": VERSION,
                "name": name,
                "field_count": field_count,
                "rows": [{"name": Well(row, 1).row_name} for row in range(1, n_rows + 1)],
                "columns": [{"name": str(column)} for column in range(1, n_columns + 1)],
                "wells": [
                    {"path": well.path, "rowIndex": well.row - 1, "columnIndex": well.column - 1}
                    for well in sorted(set(wells))
                ],
            }
        }
    )


def well_document(fields: Sequence[str]) -> Document:
    """Describe a well by its fields' names, which are the paths of the image groups.

    Raises
    ------
    InputError
        If a name isn't made of letters and digits only, as the specification wants it.
    """
    for field in fields:
        if not (field.isascii() and field.isalnum()):
            raise InputError(
                f"field {field!r}: expected a name of letters and digits only (OME-Zarr's rule). "
                "Rename it."
            )
    return group_document({"well": {"version": VERSION, "images": [{"path": f} for f in fields]}})


def image_document(
    channels: Sequence[str],
    *,
    pixel_size_um: float | None = None,
    factors: Sequence[int] = (1,),
    dtype: npt.DTypeLike = np.uint16,
    windows: Sequence[tuple[float, float]] | None = None,
    name: str = "",
    position_um: tuple[float, float] | None = None,
) -> Document:
    """Describe one field's image, axes (c, y, x), and how viewers show it at first.

    Parameters
    ----------
    channels
        The stains' names, one per plane of the first axis.
    pixel_size_um
        Edge of a pixel of level 0 in microns; None or NaN, when nobody said, gives 1 without unit.
    factors
        How many pixels of level 0 lie along the edge of a pixel of each level.
    dtype
        Pixel type: its range limits the display.
    windows
        Darkest and brightest shown value per channel; None shows the type's whole range.
    name
        What viewers call the image.
    position_um
        Where the field's first pixel lies in its well (y, x), y pointing down, in microns; None
        where nobody said.
    """
    top = float(np.iinfo(np.dtype(dtype)).max)
    shown = windows or [(0.0, top)] * len(channels)
    omero = {
        "channels": [
            {
                "label": channel,
                "color": colour,
                "active": True,
                "window": {"min": 0.0, "max": top, "start": float(start), "end": float(end)},
            }
            for channel, colour, (start, end) in zip(
                channels, stain_colours(channels), shown, strict=True
            )
        ]
    }
    multiscale = _multiscale(
        name, pixel_size_um, factors, position_um=position_um, channel_axis=True, type_="mean"
    )
    return group_document({"multiscales": [multiscale], "omero": omero})


def labels_document(names: Sequence[str]) -> Document:
    """Describe the group ``labels`` of an image by the names of its label images."""
    return group_document({"labels": list(names)})


def label_image_document(
    *,
    pixel_size_um: float | None = None,
    factors: Sequence[int] = (1,),
    name: str = "",
    position_um: tuple[float, float] | None = None,
) -> Document:
    """Describe one label image, axes (y, x), of the image two folders up.

    Parameters are those of `image_document`; the levels must be the image's.
    """
    multiscale = _multiscale(
        name, pixel_size_um, factors, position_um=position_um, channel_axis=False, type_="nearest"
    )
    return group_document(
        {"multiscales": [multiscale], "image-label": {"source": {"image": "../../"}}}
    )


def _multiscale(
    name: str,
    pixel_size_um: float | None,
    factors: Sequence[int],
    *,
    position_um: tuple[float, float] | None = None,
    channel_axis: bool,
    type_: str,
) -> Document:
    """List axes and levels."""
    known = pixel_size_um is not None and math.isfinite(pixel_size_um)
    pixel = float(pixel_size_um) if pixel_size_um is not None and known else 1.0
    space = {"type": "space", "unit": "micrometer"} if known else {"type": "space"}
    first = [{"name": "c", "type": "channel"}] if channel_axis else []
    return {
        "name": name,
        "type": type_,
        "axes": [*first, {"name": "y", **space}, {"name": "x", **space}],
        "datasets": list_levels(factors, pixel=pixel, position=position_um, n_axes=len(first) + 2),
    }


def list_levels(
    factors: Sequence[int],
    *,
    pixel: float,
    position: tuple[float, float] | None = None,
    n_axes: int,
) -> list[Document]:
    """List the levels of an image; a coarse pixel lies in the middle of those it covers.

    Parameters
    ----------
    factors
        As for `image_document`.
    pixel
        Edge of a pixel of level 0.
    position
        Where the first pixel lies (y, x), in the same unit; None where nobody said.
    n_axes
        Number of axes; y and x are the last.
    """
    levels = []
    for number, factor in enumerate(factors):
        first = n_axes - 2
        steps: list[Document] = [
            {"type": "scale", "scale": [1.0] * first + [pixel * factor] * 2},
        ]
        shift = [at + pixel * (factor - 1) / 2 for at in position or (0.0, 0.0)]
        if number or position is not None:
            steps.append({"type": "translation", "translation": [0.0] * first + shift})
        levels.append({"path": str(number), "coordinateTransformations": steps})
    return levels


def read_factors(document: Document) -> list[int]:
    """Read from the document of an image or label image what `list_levels` was given."""
    datasets = document["attributes"]["ome"]["multiscales"][0]["datasets"]
    pixels = [level["coordinateTransformations"][0]["scale"][-1] for level in datasets]
    return [round(pixel / pixels[0]) for pixel in pixels]


def read_position(document: Document) -> tuple[float, float] | None:
    """Read where the first pixel of an image lies (y, x); None where nobody said."""
    level = document["attributes"]["ome"]["multiscales"][0]["datasets"][0]
    steps = level["coordinateTransformations"][1:]
    if not steps:
        return None
    y, x = steps[0]["translation"][-2:]
    return float(y), float(x)


def with_levels(document: Document, factors: Sequence[int]) -> Document:
    """Give the document of an image or label image other levels; all else stays."""
    attributes = document["attributes"]
    multiscale, *others = attributes["ome"]["multiscales"]
    scale = multiscale["datasets"][0]["coordinateTransformations"][0]["scale"]
    levels = list_levels(
        factors, pixel=scale[-1], position=read_position(document), n_axes=len(scale)
    )
    ome = attributes["ome"] | {"multiscales": [multiscale | {"datasets": levels}, *others]}
    return document | {"attributes": attributes | {"ome": ome}}


def stain_colours(channels: Sequence[str]) -> list[str]:
    """Choose a colour for each channel by the stain's name, six hexadecimal digits without '#'.

    Names that say nothing get colours by their place.
    """
    return [_colour(channel, place) for place, channel in enumerate(channels)]


def _colour(channel: str, place: int) -> str:
    name = channel.lower()
    for words, colour in _STAIN_COLOURS:
        if any(name == word if word in _WHOLE_NAMES else word in name for word in words):
            return colour
    return _OTHER_COLOURS[place % len(_OTHER_COLOURS)]
