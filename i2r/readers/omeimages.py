"""OME metadata of Zarr groups (OME-Zarr 0.1 to 0.5), and the planes of an image by its channels."""

import json
import math
from typing import Any, Literal, NamedTuple

import numpy as np

from i2r.errors import InputError
from i2r.readers.arrays import find_array
from i2r.readers.positions import NOWHERE, Position, read_position
from i2r.readers.units import to_microns
from i2r.store import files

# Where a group says what it is: Zarr v3 and v2.
_GROUP_DOCUMENTS = ("zarr.json", ".zattrs")
# OME-Zarr 0.1 and 0.2 name no axes: there are always these.
_FIRST_AXES = "tczyx"
# More than any microscope writes into one image; a damaged description may say 10 ** 9.
MAX_PLANES = 1_000_000


class ZarrPlane(NamedTuple):
    """A plane of an image: its number counts over all axes before y and x."""

    channel: str
    z: int
    page: int


class ZarrImage(NamedTuple):
    """An image of an OME-Zarr.

    Attributes
    ----------
    planes
        By channel and focal plane.
    document
        Of the array at full resolution.
    pixel_size_um, pixel_height_um
        NaN where they aren't stated with a unit of length.
    position_um
        Centre in the coordinates of the image's own translation (x, y); nowhere without.
    """

    planes: list[ZarrPlane]
    document: str
    pixel_size_um: float
    pixel_height_um: float
    position_um: Position = NOWHERE


def read_ome(group: str) -> dict[str, Any]:
    """Read a group's OME metadata; nothing where it has none."""
    for name in _GROUP_DOCUMENTS:
        try:
            content = json.loads(files.read_bytes(f"{group}/{name}"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            continue
        for key in ("attributes", "ome") if name == "zarr.json" else ():
            content = content.get(key) if isinstance(content, dict) else None
        return content if isinstance(content, dict) else {}
    return {}


def read_image(group: str, *, time: Literal["refuse"] | int = "refuse") -> ZarrImage | None:
    """List the planes of an image.

    Parameters
    ----------
    group
        The image's group.
    time
        Which time to take of several, from 0; or refuse them.

    Returns
    -------
    ZarrImage or None
        None where the array isn't there.

    Raises
    ------
    InputError
        For several time points, and axes other than t, c, z, y, x.
    """
    ome = read_ome(group)
    where = files.without_secrets(group)
    multiscale = (ome.get("multiscales") or [{}])[0]
    dataset = (multiscale.get("datasets") or [{}])[0]
    array = find_array(files.join_url(group, *str(dataset.get("path", "0")).split("/")))
    if array is None:
        return None
    document, shape = array
    axes = _read_axes(multiscale, shape, where)
    sizes = dict(zip(axes, shape, strict=True))
    n_times = sizes.get("t", 1)
    if time == "refuse":
        if n_times > 1:
            raise InputError(
                f"{where}: found {n_times} time points, expected one. Set 'time' to one of 0 to "
                f"{n_times - 1}."
            )
    elif n_times > 1 and not 0 <= time < n_times:
        raise InputError(
            f"{where}: no time {time}, found 0 to {n_times - 1}. Set 'time' to one of them."
        )
    if math.prod(shape[:-2]) > MAX_PLANES:
        raise InputError(
            f"{where}: found an array of more than {MAX_PLANES:,} planes, expected those of one "
            "image. Its description is damaged: export it again."
        )
    names = _read_names(ome, sizes.get("c", 1))
    wanted = time if isinstance(time, int) and n_times > 1 else 0
    planes = []
    for page, place in enumerate(np.ndindex(*shape[:-2])):
        at = dict(zip(axes, place, strict=False))
        if at.get("t", 0) == wanted:
            planes.append(ZarrPlane(names[at.get("c", 0)], at.get("z", 0), page))
    width, height = _read_pixel_size(multiscale, dataset, axes)
    position = _read_position(multiscale, dataset, axes, shape)
    return ZarrImage(planes, document, width, height, position)


def _read_axes(multiscale: dict[str, Any], shape: tuple[int, ...], where: str) -> list[str]:
    """Name an array's axes: by name since 0.4, as text in 0.3, always the same before."""
    given = multiscale.get("axes")
    if given is None:
        axes = list(_FIRST_AXES[-len(shape) :])
        # Axes of length 1 may be any: those of fewer than five are of no version.
        known = len(shape) == len(_FIRST_AXES) or (
            2 <= len(shape) < len(_FIRST_AXES) and math.prod(shape[:-2]) == 1
        )
    else:
        axes = [str(axis["name"] if isinstance(axis, dict) else axis) for axis in given]
        known = axes[-2:] == ["y", "x"] and len(axes) == len(shape) and set(axes) <= set("tczyx")
        known = known and len(set(axes)) == len(axes)
    if not known:
        version = multiscale.get("version", "of no version")
        raise InputError(
            f"{where}: found the axes {given} of {shape} (OME-Zarr {version}), expected t, c, z, "
            "y, x. Export it again."
        )
    return axes


def _read_names(ome: dict[str, Any], number: int) -> list[str]:
    """Name the channels: by their labels where all have one of their own, else by number."""
    omero = ome.get("omero")
    channels = omero.get("channels", []) if isinstance(omero, dict) else []
    names = [str(channel.get("label", "")) for channel in channels]
    if len(names) != number or len(set(names)) != number or "" in names:
        return [str(n) for n in range(number)]
    return names


def _read_position(
    multiscale: dict[str, Any], dataset: dict[str, Any], axes: list[str], shape: tuple[int, ...]
) -> Position:
    """Read where the middle of an image lies: its translation is that of the first pixel."""
    if multiscale.get("coordinateTransformations"):  # of the whole: rare, and seldom a place
        return NOWHERE
    steps = dataset.get("coordinateTransformations") or []
    scale = next((s["scale"] for s in steps if isinstance(s.get("scale"), list)), None)
    shift = next((s["translation"] for s in steps if isinstance(s.get("translation"), list)), None)
    if scale is None or shift is None or not len(scale) == len(shift) == len(axes):
        return NOWHERE
    units = {a["name"]: a.get("unit") for a in multiscale["axes"] if isinstance(a, dict)}
    x, y = (
        float(shift[n]) + (shape[n] - 1) / 2 * float(scale[n])
        for n in (axes.index("x"), axes.index("y"))
    )
    return read_position(x, y, units.get("x"), units.get("y"))


def _read_pixel_size(
    multiscale: dict[str, Any], dataset: dict[str, Any], axes: list[str]
) -> tuple[float, float]:
    """Read a pixel's width and height: the scale of the array times that of the whole image."""
    units = {a["name"]: a.get("unit") for a in multiscale.get("axes") or [] if isinstance(a, dict)}
    sizes, is_scaled = {"x": 1.0, "y": 1.0}, False
    for holder in (dataset, multiscale):
        for transformation in holder.get("coordinateTransformations") or []:
            scale = transformation.get("scale")
            if isinstance(scale, list) and len(scale) == len(axes):
                sizes = {a: size * float(scale[axes.index(a)]) for a, size in sizes.items()}
                is_scaled = True
    if not is_scaled:
        return math.nan, math.nan
    return to_microns(sizes["x"], units.get("x")), to_microns(sizes["y"], units.get("y"))
