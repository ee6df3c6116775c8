"""Single nuclei, real ones, changed by a planted effect."""

from functools import lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

PIXEL_SIZE_UM = 0.65
"""Edge of a pixel of the nuclei that ship with i2r (BBBC039, 20x)."""

CROP_PX = 48
"""Edge of the crops of nuclei that fields are composed of."""

# A nucleus is drawn on a square of this edge: a crop, turned by 45 degrees and half as large again.
PATCH_PX = 96
# What is finer than this is texture, what is coarser is the nucleus's shape and shading.
TEXTURE_SIGMA_PX = 2.0
# Standard deviation of a focus, and its height relative to the nucleus's mean intensity.
FOCUS_SIGMA_PX, FOCUS_HEIGHT = 1.3, 0.8


class Nuclei(NamedTuple):
    """Nuclei to draw; source and licence of those that ship with i2r are in ``data/README.md``.

    Attributes
    ----------
    crops : (nucleus, 48, 48) uint8
        Relative to the nucleus's peak, 0 outside of it.
    peaks : (nucleus,) float32
        Intensity of the peak above the background, in counts of the camera.
    """

    crops: npt.NDArray[np.uint8]
    peaks: npt.NDArray[np.float32]


class Phenotype(NamedTuple):
    """What a perturbation does to nuclei; the default does nothing.

    Attributes
    ----------
    size
        Factor on the diameter.
    texture
        Factor on the contrast of what is finer than two pixels.
    foci
        Mean number of bright spots that a nucleus gains (Poisson).
    density
        Factor on the number of nuclei in a field.
    elongation
        Factor on the ratio of two axes at right angles, the area stays.
    brightness
        Factor on the intensity.
    """

    size: float = 1.0
    texture: float = 1.0
    foci: float = 0.0
    density: float = 1.0
    elongation: float = 1.0
    brightness: float = 1.0


NO_EFFECT = Phenotype()


@lru_cache(maxsize=1)
def load_nuclei() -> Nuclei:
    """Load the nuclei that ship with i2r."""
    with (
        (files("i2r.simulation") / "data" / "nuclei.npz").open("rb") as file,
        np.load(file) as data,
    ):
        return Nuclei(data["crops"], data["peaks"])


def draw_nucleus(
    random: np.random.Generator,
    phenotype: Phenotype = NO_EFFECT,
    *,
    size: float = 1.0,
    nuclei: Nuclei | None = None,
) -> npt.NDArray[np.float32]:
    """Draw one nucleus: a real one, turned at random, with the phenotype.

    Parameters
    ----------
    random
        Source of everything random. The number of values drawn depends on the phenotype's foci
        alone, so that equal seeds show the same nuclei with and without.
    phenotype
        What was done to it; its density plays no part.
    size
        A further factor on the diameter, for what is not an effect.
    nuclei
        What is drawn from; default: those that ship with i2r.

    Returns
    -------
    ndarray of float32, shape (96, 96)
        Counts above the background, 0 outside the nucleus, which is in the centre.
    """
    nuclei = nuclei or load_nuclei()
    which = int(random.integers(len(nuclei.peaks)))
    angle, brightness = random.uniform(0, 2 * np.pi), np.exp(0.05 * random.standard_normal())
    peak = nuclei.peaks[which] * brightness * phenotype.brightness
    crop = nuclei.crops[which].astype(np.float32) * np.float32(peak / 255)
    crop = change_texture(crop, phenotype.texture)
    factor = phenotype.size * size
    cosine, sine = np.cos(angle) / factor, np.sin(angle) / factor
    # Elongated along one axis of the crop, in which nuclei lie any way round.
    stretch = np.sqrt(phenotype.elongation) ** np.array([[-1], [1]])
    matrix = stretch * np.array([[cosine, -sine], [sine, cosine]])
    centre = (np.array(crop.shape) - 1) / 2
    offset = centre - matrix @ np.full(2, (PATCH_PX - 1) / 2)
    patch: npt.NDArray[np.float32] = ndimage.affine_transform(
        crop, matrix, offset=offset, output_shape=(PATCH_PX, PATCH_PX), order=1
    )
    return add_foci(patch, int(random.poisson(phenotype.foci)), random)


def change_texture(crop: npt.NDArray[np.float32], factor: float) -> npt.NDArray[np.float32]:
    """Multiply the fine contrast inside a nucleus; its mean and its outline stay.

    Parameters
    ----------
    crop
        Shape (y, x): 0 outside the nucleus.
    factor
        1 changes nothing, 0 leaves a smooth nucleus.

    Returns
    -------
    ndarray of float32
        Like the crop, not below 0. A crop without a nucleus comes back as it is.
    """
    # Without the dim edge, which has no texture: three pixels of it lie outside the outline.
    body = ndimage.binary_erosion(crop > 0, iterations=4)
    if factor == 1 or not body.any():
        return crop
    weight = ndimage.gaussian_filter(body.astype(np.float32), TEXTURE_SIGMA_PX)
    coarse = ndimage.gaussian_filter(crop * body, TEXTURE_SIGMA_PX) / np.maximum(weight, 1e-6)
    fine = np.where(body, crop - coarse, 0)
    fine[body] -= fine[body].mean()
    return np.clip(crop + (factor - 1) * fine, 0, None).astype(np.float32)


def add_foci(
    patch: npt.NDArray[np.float32], number: int, random: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Add bright spots inside a nucleus, away from its edge.

    Parameters
    ----------
    patch
        Shape (y, x): 0 outside the nucleus.
    number
        How many; 0 changes and draws nothing.
    random
        Where.

    Returns
    -------
    ndarray of float32
        Like the patch. A patch without room for a spot comes back as it is.
    """
    if number == 0:
        return patch
    rows, columns = np.nonzero(ndimage.binary_erosion(patch > 0, iterations=5))
    if rows.size == 0:
        return patch
    height = FOCUS_HEIGHT * float(patch[patch > 0].mean())
    y, x = np.ogrid[: patch.shape[0], : patch.shape[1]]
    added: npt.NDArray[Any] = patch.copy()
    for place in random.integers(rows.size, size=number):
        square = (y - rows[place]) ** 2 + (x - columns[place]) ** 2
        added += height * np.exp(-square / (2 * FOCUS_SIGMA_PX**2))
    return np.where(patch > 0, added, 0).astype(np.float32)
