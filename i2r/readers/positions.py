"""Where fields lie in their well, as vendors' files say it."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from i2r.readers.units import convert_length

if TYPE_CHECKING:
    from i2r.readers.planes import Plane

# Centre of a field in microns, x to the right and y down; NaN where nobody said.
Position = tuple[float, float]
NOWHERE: Position = (math.nan, math.nan)


def read_position(x: object, y: object, x_unit: object, y_unit: object) -> Position:
    """Read a position in any units of length; nowhere for others, such as a stage's own steps."""
    found = convert_length(x, x_unit), convert_length(y, y_unit)
    return found if is_known(found) else NOWHERE


def is_known(position: Position) -> bool:
    """Tell whether a position was said."""
    return math.isfinite(position[0]) and math.isfinite(position[1])


def place_in_wells(planes: Sequence["Plane"]) -> list["Plane"]:
    """Give planes their field's place in the well where only the stage's position is known.

    The stage counts from a corner of its own; here the first field along either axis is at 0.
    """
    corners: dict[tuple[Any, ...], list[float]] = {}
    for plane in planes:
        if is_known(plane.stage_um):
            corner = corners.setdefault(plane[:2], [math.inf, math.inf])
            corner[:] = np.minimum(corner, plane.stage_um).tolist()
    placed = []
    for plane in planes:
        at = plane.position_um
        if not is_known(at) and is_known(plane.stage_um):
            corner = corners[plane[:2]]
            at = plane.stage_um[0] - corner[0], plane.stage_um[1] - corner[1]
        placed.append(plane._replace(position_um=at))
    return placed


def find_first_pixel(
    x_um: float, y_um: float, *, shape: tuple[int, int], pixel_size_um: float
) -> tuple[float, float] | None:
    """Say where a field's first pixel lies (y, x), in microns; None where nobody said.

    Parameters
    ----------
    x_um, y_um
        The field's centre.
    shape
        Of the field (y, x).
    pixel_size_um
        Edge of a pixel.
    """
    if not (is_known((x_um, y_um)) and math.isfinite(pixel_size_um) and pixel_size_um > 0):
        return None
    height, width = ((n - 1) / 2 * pixel_size_um for n in shape)
    return y_um - height, x_um - width
