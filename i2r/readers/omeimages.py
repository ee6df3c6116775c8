"""OME metadata of Zarr groups (NGFF 0.4 and 0.5), and the planes of an image by its channels."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from i2r.errors import InputError
from i2r.readers.arrays import find_array
from i2r.readers.sources import refuse_times
from i2r.store import files
from i2r.store.documents import read_json

# Of one field: channels and focal planes.
MOST_PLANES = 10_000
# Where a group says what it is: Zarr v3 and v2.
_GROUP_DOCUMENTS = ("zarr.json", ".zattrs")


def read_ome(group: str) -> dict[str, Any]:
    """Read a group's OME metadata; nothing where it has none."""
    for name in _GROUP_DOCUMENTS:
        try:
            content: Any = read_json(f"{group}/{name}")
        except (FileNotFoundError, NotADirectoryError, ValueError):
            continue
        for key in ("attributes", "ome") if name == "zarr.json" else ():
            content = content.get(key) if isinstance(content, dict) else None
        return content if isinstance(content, dict) else {}
    return {}


def list_planes(field: str) -> Iterator[tuple[str, int, int, str]]:
    """List the planes of an image.

    Parameters
    ----------
    field
        The image's group.

    Yields
    ------
    tuple
        Channel, focal plane, number counted over the axes before y and x, and the document of the
        array at full resolution; nothing where the array isn't there.

    Raises
    ------
    InputError
        For several time points, and axes other than t, c, z, y, x.
    """
    ome = read_ome(field)
    where = files.without_secrets(field)
    multiscales = ome.get("multiscales") or [{}]
    datasets = multiscales[0].get("datasets") or [{}]
    array = find_array(files.join_url(field, str(datasets[0].get("path", "0"))))
    if array is None:
        return
    document, shape = array
    axes = [str(axis["name"]) for axis in multiscales[0].get("axes", [])]
    sizes = dict(zip(axes, shape, strict=False))
    if axes[-2:] != ["y", "x"] or len(axes) != len(shape) or set(axes) - set("tczyx"):
        raise InputError(
            f"{where}: found the axes {axes} of {shape}, expected t, c, z, y, x. Export it again."
        )
    refuse_times(where, sizes.get("t", 1))
    if math.prod(shape[:-2]) > MOST_PLANES:
        raise InputError(
            f"{where}: says it has the shape {shape}, expected at most {MOST_PLANES} planes per "
            "field. Write it again."
        )
    names = [str(c.get("label", "")) for c in ome.get("omero", {}).get("channels", [])]
    n_channels = sizes.get("c", 1)
    if len(names) != n_channels or len(set(names)) != n_channels or "" in names:
        names = [str(number) for number in range(n_channels)]
    leading = axes[:-2]
    for page, place in enumerate(np.ndindex(*shape[:-2])):
        at = dict(zip(leading, place, strict=True))
        yield names[at.get("c", 0)], at.get("z", 0), page, document
