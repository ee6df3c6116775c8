"""How large the effects of a simulated screen are, in standard deviations of its control wells."""

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt

from i2r.analysis.features import PLACE, measure_features
from i2r.analysis.nuclei import Place, measure_fields
from i2r.errors import InputError
from i2r.kernels.segmentation import segment_nuclei
from i2r.simulation.designs import HIGHEST, ScreenDesign, draw_surroundings, plan_genes
from i2r.simulation.effects import EFFECT_SIZE, KINDS, Effect, make_phenotype
from i2r.simulation.fields import compose_field
from i2r.simulation.nuclei import PIXEL_SIZE_UM, Nuclei
from i2r.types import Well

Floats = npt.NDArray[np.float64]

CONTROLS, WELLS = 24, 8
"""Wells that are simulated without an effect, and with each kind of effect."""

COLUMNS = 12
"""Of the plate that they lie on."""


def find_strength(
    design: ScreenDesign, effect: float, *, nuclei: Nuclei | None = None, workers: int = 1
) -> float:
    """Find the strength at which the planted genes move a feature by so much, the median of them.

    Control wells and wells with every kind of effect are simulated and measured; what a gene does
    is the sum of its kinds, and counts in the feature that it moves most.

    Parameters
    ----------
    design
        The screen; its own strength does not matter.
    effect
        Wanted change, in standard deviations of control wells.
    nuclei
        What fields are composed of; default: the nuclei that ship with i2r.
    workers
        Processes; the result is the same for any number.

    Returns
    -------
    float
        With two digits after the point.

    Raises
    ------
    InputError
        If no strength that can be simulated does so much, or no gene does anything.
    """
    design.check()
    genes = plan_genes(design._replace(strength=1.0))
    planted = genes.loc[~genes["is_null"], [f"change_{kind}" for kind in KINDS]].to_numpy(float)
    if not len(planted):
        raise InputError("simulate: --effect, but no gene has an effect. Give fewer null genes.")
    steps = planted / np.array([EFFECT_SIZE[kind] for kind in KINDS])
    used = [kind for kind, column in zip(KINDS, steps.T, strict=True) if column.any()]
    moved = measure_kinds(design, used, nuclei=nuclei, workers=workers)
    changes = sum(np.outer(steps[:, KINDS.index(kind)], change) for kind, change in moved.items())
    at_one = float(np.median(np.abs(changes).max(axis=1)))
    strength = round(effect / at_one, 2)
    if strength > HIGHEST["strength"]:
        most = at_one * HIGHEST["strength"]
        raise InputError(
            f"simulate: --effect {effect:g}, found that planted genes move a feature by "
            f"{most:.1f} standard deviations of a control well at most. Give less, or more "
            "--fields, with which control wells differ less."
        )
    return strength


def measure_kinds(
    design: ScreenDesign, kinds: list[Effect], *, nuclei: Nuclei | None = None, workers: int = 1
) -> Mapping[Effect, Floats]:
    """Measure what each kind of effect does to the features at strength 1.

    Returns
    -------
    dict
        By kind: changes of the mean of wells, shape (feature,), in standard deviations of control
        wells.
    """
    nothing: list[Effect] = ["none"]
    wells = nothing * CONTROLS + [kind for kind in kinds for _ in range(WELLS)]
    # Kinds and controls lie all over the plate alike.
    places = np.random.default_rng(np.random.SeedSequence(design.seed, spawn_key=(5,)))
    order = places.permutation(len(wells)).tolist()
    measure = partial(_measure_well, design, nuclei)
    if workers > 1:
        # A fresh interpreter: threads of this one do not survive a fork.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            means = np.array(list(pool.map(measure, wells, order)))
    else:
        means = np.array(list(map(measure, wells, order)))
    controls = means[:CONTROLS]
    deviation = controls.std(axis=0, ddof=1)
    varies = deviation > 1e-9 * np.maximum(np.abs(controls).max(axis=0), 1e-12)
    changes = (means - controls.mean(axis=0))[:, varies] / deviation[varies]
    return {
        kind: changes[CONTROLS + WELLS * number : CONTROLS + WELLS * (number + 1)].mean(axis=0)
        for number, kind in enumerate(kinds)
    }


def _measure_well(design: ScreenDesign, nuclei: Nuclei | None, kind: Effect, number: int) -> Floats:
    """Compose a well at a place of the first plate and average its nuclei: (feature,)."""
    well = Well(number // COLUMNS + 1, number % COLUMNS + 1)
    phenotype = make_phenotype({kind: EFFECT_SIZE[kind]})
    images = np.stack(
        [
            compose_field(
                np.random.SeedSequence(design.seed, spawn_key=(6, number, field)),
                shape=(design.field_px, design.field_px),
                phenotype=phenotype,
                surroundings=draw_surroundings(design, 0, well),
                nuclei=nuclei,
            )
            for field in range(design.fields)
        ]
    )[:, None]
    labels = np.stack([segment_nuclei(image[0]) for image in images])
    names = [str(field) for field in range(design.fields)]
    found = measure_fields(
        images, labels, place=Place("P1", well.name), fields=names,
        channels=["DNA"], pixel_size_um=PIXEL_SIZE_UM,
    )  # fmt: skip
    inside = (found[["bbox_y0", "bbox_x0"]] > 0).all(axis=1) & (
        found[["bbox_y1", "bbox_x1"]] < design.field_px
    ).all(axis=1)
    crops = found[["plate", "well", "field", "label"]].assign(
        crop=np.where(inside, np.cumsum(inside) - 1, -1)
    )
    table = measure_features(
        images, labels, found, crops, fields=names, channels={"DNA": 0},
        pixel_size_um=PIXEL_SIZE_UM, curvature_step_um=3.3, radius_um=50.0,
        texture_um=(0.66, 3.3, 13.1),
    )  # fmt: skip
    values = table.drop(columns=PLACE).to_numpy(np.float64)
    return np.asarray(np.nanmean(values, axis=0)) if len(values) else np.full(values.shape[1], 0.0)
