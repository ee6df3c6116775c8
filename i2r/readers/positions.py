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
