"""Fields of known nuclei under uneven light: hills, bowls, lamps, ramps, stripes, vignettes."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

LIGHTS = ("flat", "ramp", "hill", "bowl", "lamp", "two stripes", "three stripes", "vignette")
"""Kinds of light; a vignette dims what is seen, all others add to it."""

RADIUS_PX = {"10x": 6.0, "20x": 12.0, "40x": 24.0}
PIXEL_SIZE_UM = {"10x": 1.3, "20x": 0.65, "40x": 0.325}


class LitField(NamedTuple):
    """A field and what is in it.

    Attributes
    ----------
    image : (y, x) uint16
    truth : (y, x) int32
        Nuclei as drawn, 0 elsewhere.
    """

    image: npt.NDArray[np.uint16]
    truth: npt.NDArray[np.int32]


def draw_light(kind: str, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Draw a light of 0 to 1 over a field, shape (y, x)."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    if kind == "ramp":
        return np.asarray((x + 1) / 2)
    if kind in ("hill", "bowl", "vignette"):
        bowl = (x**2 + y**2) / 2
        return np.asarray(1 - bowl if kind == "hill" else bowl)
    if kind == "lamp":
        return np.asarray(np.exp(-((x - 1) ** 2 + (y + 1) ** 2)))
    if kind == "flat":
        return np.zeros(shape)
    n_stripes = {"two stripes": 2, "three stripes": 3}[kind]
    return np.asarray((1 - np.cos(np.pi * n_stripes * (x + 1))) / 2)


def draw_lit_field(
    kind: str,
    *,
    strength: float,
    n_nuclei: int,
    objective: str = "20x",
    blur_px: float = 1.0,
    level: float = 1000.0,
    size_px: int = 1080,
    seed: int = 0,
) -> LitField:
    """Draw nuclei under a light, with a camera's offset and noise, and shot noise.

    Parameters
    ----------
    kind : str
        One of `LIGHTS`.
    strength : float
        Height of the light, in heights of a nucleus; a vignette leaves ``1 / (1 + strength)`` of
        what is seen in the corners.
    n_nuclei : int
        Fewer if the field is full.
    objective : str
        Of `RADIUS_PX`: how large nuclei are.
    blur_px : float
        Standard deviation of the lens's blur.
    level : float
        Electrons of a nucleus per pixel, above the background of a tenth of that.
    size_px : int
        Side of the field.
    seed : int
        Of the random numbers.
    """
    random = np.random.default_rng([seed, n_nuclei, LIGHTS.index(kind)])
    shape = (size_px, size_px)
    radius = RADIUS_PX[objective]
    reach = int(2 * radius) + 2
    truth = np.zeros(shape, dtype=np.int32)
    signal = np.zeros(shape)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    centres = np.zeros((0, 2))
    for _ in range(40 * n_nuclei):
        centre = random.uniform(0, size_px, 2)
        if ((centres - centre) ** 2).sum(axis=1).min(initial=np.inf) < (2.3 * radius) ** 2:
            continue
        centres = np.vstack([centres, centre])
        angle, long, short = random.uniform((0, 0.9, 0.7), (np.pi, 1.2, 1.0))
        cy, cx = centre.astype(int)
        u = (x - centre[1] % 1) * np.cos(angle) + (y - centre[0] % 1) * np.sin(angle)
        v = (y - centre[0] % 1) * np.cos(angle) - (x - centre[1] % 1) * np.sin(angle)
        inside = (u / (long * radius)) ** 2 + (v / (short * radius)) ** 2 <= 1
        texture = 1 + 0.1 * ndimage.gaussian_filter(random.normal(size=inside.shape), 2) * 4
        top, left = max(cy - reach, 0), max(cx - reach, 0)
        window = np.s_[top : cy + reach + 1, left : cx + reach + 1]
        seen = np.s_[top - cy + reach :, left - cx + reach :]
        inside, texture = (
            part[seen][: size_px - top, : size_px - left] for part in (inside, texture)
        )
        signal[window][inside] = (random.uniform(0.6, 1.4) * texture)[inside]
        truth[window][inside] = len(centres)
        if len(centres) == n_nuclei:
            break
    signal = level * (0.1 + ndimage.gaussian_filter(signal, blur_px))
    light = draw_light(kind, shape)
    if kind == "vignette":
        signal /= 1 + strength * light
    else:
        signal += level * strength * light
    image = 100 + random.poisson(np.maximum(signal, 0)) + random.normal(0, 3, shape)
    return LitField(np.clip(image, 0, 65535).astype(np.uint16), truth)
