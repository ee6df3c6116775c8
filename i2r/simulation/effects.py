"""Planted effects: what a perturbation changes, and how much of it."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from i2r.simulation.nuclei import Phenotype

Effect = Literal["size", "texture", "spots", "density", "elongation", "brightness", "none"]

EFFECT_SIZE: Mapping[Effect, float] = {
    "size": 0.10,
    "texture": 0.60,
    "spots": 1.0,
    "density": -0.40,
    "elongation": 0.30,
    "brightness": 0.30,
    "none": 0.0,
}
"""Effects at strength 1: relative change of the diameter, of the fine contrast, foci per nucleus,
relative change of the number of nuclei, of the ratio of a nucleus's axes and of its intensity."""

ALONE: tuple[Effect, ...] = ("size", "texture", "spots", "density")
"""What genes do in turn where every gene does one thing."""

KINDS: tuple[Effect, ...] = tuple(kind for kind in EFFECT_SIZE if kind != "none")
"""The axes of the space that the effects of modules are directions in."""

# There are no fewer than no spots, and a nucleus stretched the other way is elongated too.
_ONE_SIDED = [KINDS.index("spots"), KINDS.index("elongation")]
_CANDIDATES = 200


def make_phenotype(changes: Mapping[Effect, float]) -> Phenotype:
    """Say what changes do to nuclei.

    Parameters
    ----------
    changes
        By kind of effect, in the units of `EFFECT_SIZE`; kinds that are absent change nothing.
    """
    return Phenotype(
        size=1 + changes.get("size", 0.0),
        texture=1 + changes.get("texture", 0.0),
        foci=changes.get("spots", 0.0),
        density=1 + changes.get("density", 0.0),
        elongation=1 + changes.get("elongation", 0.0),
        brightness=1 + changes.get("brightness", 0.0),
    )


def draw_directions(number: int, random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw directions that are far from each other, one for each module.

    Parameters
    ----------
    number
        How many.
    random
        Of some sets that are drawn from it, the one is taken whose two nearest directions are
        farthest apart.

    Returns
    -------
    ndarray of float64, shape (number, kind)
        Rows of length 1, `KINDS` in order; spots and elongation are not negative.
    """
    drawn = random.standard_normal((_CANDIDATES, number, len(KINDS)))
    drawn[:, :, _ONE_SIDED] = np.abs(drawn[:, :, _ONE_SIDED])
    drawn /= np.linalg.norm(drawn, axis=2, keepdims=True)
    cosines = drawn @ drawn.transpose(0, 2, 1) - 2 * np.eye(number)
    chosen: npt.NDArray[np.float64] = drawn[cosines.max(axis=(1, 2)).argmin()]
    return chosen


def vary_direction(
    direction: npt.NDArray[np.float64], variation: float, random: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Draw a gene's own direction near that of its module.

    Parameters
    ----------
    direction
        Shape (kind,), length 1.
    variation
        Length of what is particular to the gene, relative to what it shares; 0 for nothing.
    random
        Of what is particular.

    Returns
    -------
    ndarray of float64, shape (kind,)
        Length 1; spots and elongation are not negative.
    """
    own = direction + variation / np.sqrt(len(KINDS)) * random.standard_normal(len(KINDS))
    own[_ONE_SIDED] = np.maximum(own[_ONE_SIDED], 0)
    length = np.linalg.norm(own)
    return own / length if length > 0 else direction


def list_changes(direction: npt.NDArray[np.float64], strength: float) -> dict[Effect, float]:
    """Give the changes of an effect of a strength in a direction, in the units of `EFFECT_SIZE`.

    A step along an axis multiplies, so that steps forth and back undo each other; spots, of which
    there are none without, add up.
    """
    steps = dict(zip(KINDS, (strength * direction).tolist(), strict=True))
    return {
        kind: EFFECT_SIZE[kind] * step
        if kind == "spots"
        else float((1 + EFFECT_SIZE[kind]) ** step - 1)
        for kind, step in steps.items()
    }
