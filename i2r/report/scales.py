"""From values to colours and places in a drawing."""

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.ticker import MaxNLocator

COLOUR_MAP = "viridis"
# Blue below zero, red above, as readers of heat maps expect.
DIVERGING_MAP = "RdBu_r"


class _Scale:
    """Colours of places between 0 and 1; scales say where on it a value is."""

    def __init__(self, colours: str) -> None:
        self._map = colormaps[colours]

    def share(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Give the places of values on the scale, 0 to 1."""
        raise NotImplementedError

    def colour(self, value: float) -> str:
        """Give the colour of a value as ``#rrggbb``."""
        return str(to_hex(self._map(float(self.share(value)))))

    def rgba(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
        """Colour an array; NaN is transparent. Shape (..., 4)."""
        shares = np.ma.masked_invalid(self.share(values))
        pixels: npt.NDArray[np.uint8] = self._map(shares, bytes=True)
        return pixels

    @property
    def gradient(self) -> str:
        """The scale as a CSS background, low values left."""
        stops = ", ".join(to_hex(self._map(share)) for share in np.linspace(0, 1, 9))
        return f"linear-gradient(to right, {stops})"


class ColourScale(_Scale):
    """One scale of colours for all wells of a measure, legible with any colour vision.

    Parameters
    ----------
    values
        All values that will be shown; NaN are left out. The scale goes from their 1st to their
        99th percentile, so that one odd well does not hide the others; a count starts at 0.
    from_zero
        Start at 0.
    """

    def __init__(self, values: npt.ArrayLike, *, from_zero: bool = False) -> None:
        super().__init__(COLOUR_MAP)
        known = np.asarray(values, dtype=float)
        known = known[np.isfinite(known)]
        low, high = np.percentile(known, (1, 99)) if known.size else (0.0, 1.0)
        self.low = 0.0 if from_zero else float(low)
        self.high = float(high) if high > self.low else self.low + (abs(self.low) or 1.0)

    def share(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Give the places of values on the scale, 0 to 1."""
        return np.clip((np.asarray(values) - self.low) / (self.high - self.low), 0, 1)


class DivergingScale(_Scale):
    """A scale of colours around zero, white in its middle.

    Parameters
    ----------
    values
        All values that will be shown; it reaches as far as 98 % of them, NaN left out.
    """

    def __init__(self, values: npt.ArrayLike) -> None:
        super().__init__(DIVERGING_MAP)
        known = np.abs(np.asarray(values, dtype=float))
        known = known[np.isfinite(known)]
        limit = float(np.percentile(known, 98)) if known.size else 1.0
        self.limit = limit if limit > 0 else 1.0

    def share(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Give the places of values on the scale, 0 to 1; that of 0 is its middle."""
        return np.clip(0.5 + 0.5 * np.asarray(values) / self.limit, 0, 1)


def find_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Choose round values between two limits for the marks of an axis."""
    ticks = MaxNLocator(nbins=count, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [float(round(tick, 10)) for tick in ticks if low <= tick <= high]


def place_on(limits: tuple[float, float], pixels: tuple[float, float]) -> Callable[[float], float]:
    """Make the function that places a value on an axis, rounded to a tenth of a pixel."""
    (low, high), (first, last) = limits, pixels

    def place(value: float) -> float:
        return round(first + (value - low) / (high - low) * (last - first), 1)

    return place


def choose_bar(width_um: float) -> tuple[float, float]:
    """Choose a scale bar for a picture: 1, 2 or 5 times a power of ten, up to a quarter of it.

    Parameters
    ----------
    width_um
        Of the picture, above 0.

    Returns
    -------
    length_um, percent : float
        The bar's length, and its share of the picture's width.
    """
    power = 10.0 ** np.floor(np.log10(width_um / 4))
    length = power * max(step for step in (1, 2, 5) if step * power <= width_um / 4)
    return float(length), float(100 * length / width_um)


def score_limits(scores: Iterable[float]) -> tuple[float, float]:
    """Choose the range of an axis of scores: 0.4 to 1, wider where scores are lower."""
    known = [value for value in scores if np.isfinite(value)]
    lowest = min([0.45, *known]) - 0.02
    return float(max(0.0, np.floor(lowest * 20) / 20)), 1.0
