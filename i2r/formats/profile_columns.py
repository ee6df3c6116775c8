"""Which columns of somebody's table say where a row is from, and which are features."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from i2r.errors import InputError

# Spellings of what a row is, first choice first; compared in lower case without '_', '.', ' '.
# 'Metadata_' in front is CellProfiler's, CytoTable's and pycytominer's way.
SPELLINGS = {
    "plate": (
        "plate", "metadata_plate", "image_metadata_plate", "metadata_platename", "metadata_barcode",
        "metadata_assay_plate_barcode", "metadata_plate_barcode", "barcode",
    ),
    "well": (
        "well", "metadata_well", "image_metadata_well", "metadata_well_position",
        "metadata_wellid", "metadata_wellname", "well_position",
    ),
    "field": (
        "field", "site", "fov", "metadata_site", "metadata_field", "metadata_fieldid",
        "metadata_fov", "image_metadata_site", "image_metadata_field",
    ),
    "nucleus": (
        "nucleus", "label", "metadata_objectnumber", "metadata_nuclei_number_object_number",
        "nuclei_number_object_number", "nuclei_objectnumber", "objectnumber", "object_number",
        "metadata_cells_number_object_number", "cells_number_object_number", "metadata_cell_id",
    ),
    "x": (
        "x_px", "metadata_nuclei_location_center_x", "nuclei_location_center_x",
        "nuclei_areashape_center_x", "metadata_location_center_x", "location_center_x", "x",
    ),
    "y": (
        "y_px", "metadata_nuclei_location_center_y", "nuclei_location_center_y",
        "nuclei_areashape_center_y", "metadata_location_center_y", "location_center_y", "y",
    ),
    "count": (
        "n_nuclei", "metadata_object_count", "metadata_count_nuclei", "metadata_count_cells",
        "metadata_cell_count", "metadata_nuclei_count", "count_nuclei", "count_cells",
        "cell_count", "n_cells",
    ),
}  # fmt: skip

# Columns that number, locate or describe: they measure no nucleus.
_DESCRIBES = re.compile(
    r"^(image_)?metadata|^image_|^(file|path)name_|^url_|^unnamed: ?\d+$|^__index_level"
    r"|^(index|crop)$"
    r"|^(perturbation|gene|condition|dose|role|replicate|batch)$"
    r"|(^|_)(time_?stamp|datetime|date|barcode|uuid)$"
    r"|(^|_)(plate|well|field|site|fov|batch|replicate)_?(id|nr|no|num|number|index|row|col|column)$",
    re.I,
)
_NUMBERS = re.compile(
    r"^(row|col|column|id|uid)$|(^|_)(cell|object|nucleus|nuclei|track|image|roi)_?(id|nr|no|index)$"
    r"|(^|_)(imagenumber|tablenumber|objectnumber)$|number_object_number|(^|_)parent_|(^|_)children_"
    r"|(^|_)location_|areashape_(center|boundingbox)(min|max)?imum|areashape_center_"
    r"|areashape_boundingbox|neighbors_(first|second)closestobjectnumber",
    re.I,
)


class ProfileColumns(NamedTuple):
    """What the columns of a table mean.

    Attributes
    ----------
    places : dict
        The table's column by our name for it: plate, well, field, nucleus, x, y, count.
    features : tuple of str
        Columns with measured numbers, in the table's order.
    left_out : tuple of (str, str)
        Columns that are neither, with the reason.
    """

    places: dict[str, str]
    features: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]


def sort_columns(
    names: Sequence[str], dtypes: Sequence[np.dtype[np.generic]], *, where: str
) -> ProfileColumns:
    """Tell features from columns that describe.

    Parameters
    ----------
    names, dtypes
        Of the table's columns.
    where
        The table, for messages.

    Raises
    ------
    InputError
        If a column is there twice, no column names the well, or none is a feature.
    """
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise InputError(f"{where}: the column {twice[0]!r} is there twice. Rename one.")
    known = {_plain(name): name for name in reversed(names)}
    places = {
        name: known[found[0]]
        for name, spellings in SPELLINGS.items()
        if (found := [s for s in map(_plain, spellings) if s in known])
    }
    if "well" not in places:
        raise InputError(
            f"{where}: no column for the well, found {', '.join(map(repr, names[:6]))}. Name it "
            "'well' or 'Metadata_Well'."
        )
    features, left_out = [], list[tuple[str, str]]()
    for name, dtype in zip(names, dtypes, strict=True):
        if name in places.values():
            continue
        if _DESCRIBES.search(name):
            left_out.append((name, "describes a row"))
        elif dtype.kind not in "iuf":
            left_out.append((name, "no numbers"))
        elif _NUMBERS.search(name):
            left_out.append((name, "numbers or locates an object"))
        else:
            features.append(name)
    if not features:
        raise InputError(
            f"{where}: no column with features, found {', '.join(map(repr, names[:6]))}. Give one "
            "column of numbers per feature."
        )
    return ProfileColumns(places, tuple(features), tuple(left_out))


def _plain(name: str) -> str:
    """Write a name without case, spaces, dots and underscores."""
    return re.sub(r"[\s._]+", "", name.lower())
