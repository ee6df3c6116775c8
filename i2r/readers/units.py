"""Lengths in microns, from the many ways in which files write their unit."""

import math

_MICRONS = {
    "m": 1e6, "meter": 1e6, "metre": 1e6, "dm": 1e5, "cm": 1e4, "centimeter": 1e4, "mm": 1e3,
    "millimeter": 1e3, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0,
    "micrometre": 1.0, "nm": 1e-3, "nanometer": 1e-3, "pm": 1e-6, "å": 1e-4, "angstrom": 1e-4,
    "in": 25400.0, "inch": 25400.0,
}  # fmt: skip
# No microscope of a screen has larger pixels; smaller ones are nobody's either.
LEAST_UM, GREATEST_UM = 0.005, 50.0


def to_microns(value: object, unit: object) -> float:
    """Give a length in microns; NaN for an unknown unit, or for what is not a pixel's length.

    ``µm`` in either of its two characters, and as ImageJ escapes it, is a micron.
    """
    microns = convert_length(value, unit)
    return microns if LEAST_UM <= microns <= GREATEST_UM else math.nan


def convert_length(value: object, unit: object) -> float:
    """Give any length in microns; NaN for a unit that is none."""
    name = str(unit).strip().replace("\\u00B5", "u").replace("µ", "u").replace("μ", "u").lower()
    try:
        return float(str(value)) * _MICRONS[name]
    except (KeyError, ValueError):
        return math.nan


def is_oblong(width_um: float, height_um: float) -> bool:
    """Tell whether a pixel's width and height are known and differ by over 2 %.

    Lengths and shapes would be wrong by as much along one axis.
    """
    return abs(width_um - height_um) > 0.02 * max(width_um, height_um)
