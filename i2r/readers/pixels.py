"""From stored values to pixels: uint8 and uint16 stay, other numbers become uint16."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from i2r.errors import FieldError
from i2r.readers.headers import UNSIGNED
from i2r.store import files

MAX_PIXEL = 65535


def pixel_type(stored: npt.DTypeLike) -> np.dtype[np.unsignedinteger[Any]]:
    """Name the type of pixels that stored values become: uint8 stays, all others are uint16."""
    return np.dtype(np.uint8) if np.dtype(stored) == np.uint8 else np.dtype(np.uint16)


def needs_factor(stored: npt.DTypeLike) -> bool:
    """Tell whether a factor has to be known: numbers with a fraction have no unit."""
    return np.dtype(stored).kind == "f"


def convert_values(
    plane: npt.NDArray[Any], *, url: str, factor: float = 1.0, exact: bool = True
) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Turn stored values into pixels.

    Parameters
    ----------
    plane
        Any shape; integers or floats.
    url
        For messages.
    factor
        What is neither uint8 nor uint16 is multiplied by it and rounded.
    exact
        Whether floats with the factor 1 have to be whole numbers: rounding them was not asked
        for.

    Returns
    -------
    ndarray
        uint8 and uint16 as they are, others as uint16.

    Raises
    ------
    FieldError
        With the reason ``range``: values below 0 or above 65,535, or not whole, or not finite.
    """
    if plane.dtype in UNSIGNED:
        return plane
    where = files.without_secrets(url)
    scaled = plane * factor if plane.dtype.kind == "f" or factor != 1 else plane
    low, high = (float(scaled.min()), float(scaled.max())) if scaled.size else (0.0, 0.0)
    if np.isnan(low):
        raise FieldError(
            f"range: {where} holds NaN in {int(np.isnan(plane).sum())} pixels, expected numbers. "
            "Export the raw image."
        )
    if not (low > -0.5 and high < MAX_PIXEL + 0.5):
        raise FieldError(
            f"range: {where} holds {plane.dtype} values which times {factor:g} are {low:g} to "
            f"{high:g}, expected 0 to {MAX_PIXEL}. Set 'scale', or export as 16 bit unsigned."
        )
    whole = np.rint(scaled) if scaled.dtype.kind == "f" else scaled
    if exact and factor == 1 and scaled.dtype.kind == "f" and (whole != scaled).any():
        raise FieldError(
            f"range: {where} holds fractions, {low:g} to {high:g}, the plate's others whole "
            "numbers. Set 'scale' to what they are to be multiplied by."
        )
    pixels: npt.NDArray[np.unsignedinteger[Any]] = whole.astype(np.uint16)
    return pixels


def find_factor(planes: Iterable[npt.NDArray[Any]]) -> tuple[float | None, float, float]:
    """Find what floats have to be multiplied by to be 16-bit pixels.

    Parameters
    ----------
    planes
        Some of a plate's planes.

    Returns
    -------
    factor : float or None
        1 for whole numbers from 0 to 65,535; 65,535 for values from 0 to 1, as programs write
        that divide by the largest number; None for anything else.
    low, high : float
        The least and the greatest value.
    """
    low, high, are_whole = np.inf, -np.inf, True
    for stored in planes:
        plane = stored[np.isfinite(stored)]  # what is none excludes its field
        if not plane.size:
            continue
        low, high = min(low, float(plane.min())), max(high, float(plane.max()))
        are_whole = are_whole and bool((np.rint(plane) == plane).all())
    if low > high:
        return None, low, high
    if are_whole and low >= 0 and 1 < high <= MAX_PIXEL:
        return 1.0, low, high
    if low >= 0 and high <= 1:
        return float(MAX_PIXEL), low, high
    return None, low, high


def invert_values(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Turn black and white: each value is taken from the greatest that its type has.

    Floats, and integers with a sign, have none that would be white: they change their sign, and
    then can't be pixels.
    """
    if plane.dtype.kind == "u":
        inverted: npt.NDArray[Any] = np.iinfo(plane.dtype).max - plane
        return inverted
    return -plane
