"""Where fields lie in their well, as vendors' files say it."""

import math

from i2r.readers.units import convert_length

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
