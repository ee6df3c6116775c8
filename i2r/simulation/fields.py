"""Fields of view composed of nuclei, as a camera sees them."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from i2r.simulation.nuclei import NO_EFFECT, PATCH_PX, Nuclei, Phenotype, draw_nucleus

NUCLEI_PER_PX = 117 / (520 * 696)
"""Nuclei per pixel of area: the mean of BBBC039's training images."""

# Centres keep this distance, so that few nuclei touch: they are 29 px wide on average.
MIN_DISTANCE_PX = 31.0
# Counts of the camera: background and noise of BBBC039's images, photons from BBBC039's variance.
BACKGROUND, READ_NOISE, COUNTS_PER_PHOTON = 200.0, 6.0, 1.5


class Surroundings(NamedTuple):
    """What differs between wells without any perturbation; the default is an ideal well.

    Attributes
    ----------
    gain
        Factor on the intensity of nuclei.
    background
        Factor on the background.
    blur_px
        Standard deviation of the blur of a well that is out of focus.
    size, density
        Factors on the nuclei's diameter and number.
    debris
        Mean number of bright specks and of blurred clouds in a field (Poisson).
    """

    gain: float = 1.0
    background: float = 1.0
    blur_px: float = 0.0
    size: float = 1.0
    density: float = 1.0
    debris: float = 0.0


IDEAL = Surroundings()


def compose_field(
    seed: int | np.random.SeedSequence,
    *,
    shape: tuple[int, int],
    phenotype: Phenotype = NO_EFFECT,
    surroundings: Surroundings = IDEAL,
    nuclei: Nuclei | None = None,
) -> npt.NDArray[np.uint16]:
    """Compose a field of real nuclei.

    Parameters
    ----------
    seed
        Decides everything that is random.
    shape
        Rows and columns in pixels of 0.65 um.
    phenotype
        What the perturbation does.
    surroundings
        What the plate and the position do.
    nuclei
        What is composed; default: the nuclei that ship with i2r.

    Returns
    -------
    ndarray of uint16
        Shape (y, x). Nuclei may be cut by the border; where nuclei overlap, the brighter shows.
    """
    random = np.random.default_rng(seed)
    density = NUCLEI_PER_PX * phenotype.density * surroundings.density
    image = np.zeros((shape[0] + PATCH_PX, shape[1] + PATCH_PX), dtype=np.float32)
    # Half a patch of margin on each side: nuclei there are cut by the border.
    for y, x in _place_centres(random, shape, density):
        patch = draw_nucleus(random, phenotype, size=surroundings.size, nuclei=nuclei)
        here = image[y : y + PATCH_PX, x : x + PATCH_PX]
        np.maximum(here, patch, out=here)
    half = PATCH_PX // 2
    image = image[half : half + shape[0], half : half + shape[1]] * np.float32(surroundings.gain)
    image += _draw_debris(random, shape, surroundings.debris)
    if surroundings.blur_px > 0:
        image = ndimage.gaussian_filter(image, surroundings.blur_px)
    image += BACKGROUND * surroundings.background
    noise = np.sqrt(COUNTS_PER_PHOTON * image + READ_NOISE**2)
    seen = image + noise * random.standard_normal(shape, dtype=np.float32)
    return np.clip(np.rint(seen), 0, np.iinfo(np.uint16).max).astype(np.uint16)


def _place_centres(
    random: np.random.Generator, shape: tuple[int, int], density: float
) -> npt.NDArray[np.intp]:
    """Draw centres that keep a distance, as rows of (y, x); crowded fields take fewer."""
    number = int(random.poisson(density * shape[0] * shape[1]))
    placed = np.empty((number, 2))
    n_placed = 0
    for _ in range(20 * number):
        if n_placed == number:
            break
        centre = random.uniform(0, shape)
        distance = np.hypot(*(placed[:n_placed] - centre).T)
        if not (distance < MIN_DISTANCE_PX).any():
            placed[n_placed] = centre
            n_placed += 1
    return placed[:n_placed].astype(np.intp)


def _draw_debris(
    random: np.random.Generator, shape: tuple[int, int], mean: float
) -> npt.NDArray[np.float32]:
    """Draw bright specks, a few pixels wide, and dim clouds far from the focus."""
    debris = np.zeros(shape, dtype=np.float32)
    y, x = np.ogrid[: shape[0], : shape[1]]
    for widths, heights in (((0.8, 2.0), (500.0, 3000.0)), ((15.0, 40.0), (30.0, 150.0))):
        for _ in range(int(random.poisson(mean))):
            centre_y, centre_x = random.uniform(0, shape)
            width, height = random.uniform(*widths), random.uniform(*heights)
            square = (y - centre_y) ** 2 + (x - centre_x) ** 2
            debris += (height * np.exp(-square / (2 * width**2))).astype(np.float32)
    return debris
