"""Flat-field profiles of Harmony: polynomials, in an index or in a file beside the images."""

import json
import re
from collections.abc import Iterator
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt

from i2r.errors import InputError
from i2r.readers.xml import read_elements
from i2r.store import files

# Stands between the file and the channel in the place of a profile.
_MARK = "#channel="
# Harmony fits polynomials of degree 4.
MOST_TERMS = 12


def name_profile(url: str, channel: str) -> str:
    """Name the profile of one channel in a file of several."""
    return f"{url}{_MARK}{quote(channel, safe='')}"


def is_profile(url: str) -> bool:
    """Tell whether a place is one that `name_profile` made."""
    return _MARK in url


def locate_profile(url: str) -> str:
    """Give the file of a function: without the channel that `name_profile` added."""
    return url.rpartition(_MARK)[0] or url


def list_profiles(url: str) -> Iterator[tuple[str, str]]:
    """List the profiles in a file: the channel's ID, and the text of its profile.

    Raises
    ------
    InputError
        If the file is no XML.
    FileNotFoundError
        If there is no such file.
    """
    for element in read_elements(url, {"Entry"}):
        texts = {name.lower(): text for name, text in element.texts.items()}
        if texts.get("flatfieldprofile"):
            yield element.attributes.get("ChannelID", ""), texts["flatfieldprofile"]


def read_profile(url: str, *, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Draw the profile of a channel: images are divided by it.

    Parameters
    ----------
    url
        As `name_profile` gives it.
    shape
        Of the plate's fields (y, x). Where pixels were binned, the sensor that the profile
        belongs to is a whole number of times as large.

    Returns
    -------
    ndarray
        Shape (y, x). The sum of c[n][k] * x**(n - k) * y**k, with x and y counted from the
        profile's origin and multiplied by its scale. 1 everywhere for a profile that Harmony
        calls flat.

    Raises
    ------
    ValueError
        If the file has none of the channel, or it is none of a plane of this shape.
    FileNotFoundError
        If there is no such file.
    """
    place, _, channel = url.rpartition(_MARK)
    wanted = unquote(channel)
    # Profiles come before the images of an index, of which there may be a million.
    text = next((text for number, text in list_profiles(place) if number == wanted), None)
    if text is None:
        raise ValueError(f"it has no flat-field profile of channel {wanted[:20]!r}")
    for section in ("Foreground", "Background"):
        found = re.search(rf"\b{section}\s*:\s*\{{", text)
        profile = re.search(r"Profile\s*:\s*\{([^{}]*)\}", text[found.end() :]) if found else None
        if found and profile and "{" not in text[found.end() :][: profile.start()]:
            return _draw(profile[1], shape)
    if re.search(r"Character\s*:\s*Flat\b", text):
        return np.ones(shape)
    raise ValueError("its flat-field profile has no coefficients")


def _draw(text: str, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    coefficients: list[list[float]] = []
    for degree, row in enumerate(_read_list(text, "Coefficients")[: MOST_TERMS + 1]):
        if not isinstance(row, list) or len(row) != degree + 1 or not np.isfinite(row).all():
            raise ValueError("its coefficients are no polynomial in two variables")
        coefficients.append([float(value) for value in row])
    if not 0 < len(coefficients) <= MOST_TERMS:
        raise ValueError("its coefficients are no polynomial in two variables")
    dims, origin, scale = (_read_pair(text, name) for name in ("Dims", "Origin", "Scale"))
    axes = []
    for size, n_sensor, start, factor in zip(shape[::-1], dims, origin, scale, strict=True):
        binning = round(n_sensor / size)
        if binning < 1 or binning * size != n_sensor:
            raise ValueError(f"its profile is of {dims[0]:g} x {dims[1]:g} px")
        centres = binning * np.arange(size) + (binning - 1) / 2
        axes.append((centres - start) * factor)
    x, y = axes[0][None, :], axes[1][:, None]
    total = np.zeros(shape)
    for degree, row in enumerate(coefficients):
        for power, value in enumerate(row):
            total += value * x ** (degree - power) * y**power
    return total


def _read_list(text: str, name: str) -> list[object]:
    """Read the numbers behind a name, in brackets."""
    found = re.search(rf"\b{name}\s*:\s*(\[[-+0-9.eE,\[\]\s]*\])", text)
    try:
        values = json.loads(found[1]) if found else None
    except ValueError:
        values = None
    if not isinstance(values, list):
        raise ValueError(f"its profile has no {name}")
    return values


def _read_pair(text: str, name: str) -> tuple[float, float]:
    values = _read_list(text, name)
    if len(values) != 2 or not all(isinstance(value, int | float) for value in values):
        raise ValueError(f"its profile's {name} is not two numbers")
    return float(values[0]), float(values[1])  # type: ignore[arg-type]


def find_profiles(folder: str) -> dict[str, str]:
    """Find the profiles that lie beside a measurement's images, by the channel's ID.

    Parameters
    ----------
    folder
        Of the index. Harmony exports them to the folder ``FFC_Profile`` in it or beside it.
    """
    for place in (folder, files.parent_url(folder)):
        for name in files.list_folder(place):
            if name.lower() != "ffc_profile":
                continue
            urls = [f"{place}/{name}/{own}" for own in files.list_folder(f"{place}/{name}")]
            found: dict[str, str] = {}
            for url in sorted(own for own in urls if own.lower().endswith(".xml")):
                try:
                    for channel, _ in list_profiles(url):
                        found.setdefault(channel, name_profile(url, channel))
                except InputError:  # images can be read without; 'illuminate' is then refused
                    continue
            return found
    return {}
