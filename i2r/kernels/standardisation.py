"""Features on one scale over plates: relative to the plate's negative controls.

The rule against leaks: a well is never part of its own standard. Treated wells are compared with
all control wells of their plate, a control well with all others. So a control well looks like a
treated well without effect would, whether it is in training, in test, or stands in for a
perturbation.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

LIMIT = 6.0
"""Standardised values are cut here: debris and merged nuclei have no more say than this."""


def invert_spread(
    mean: npt.NDArray[np.float64], spread: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Give what centred features are multiplied by, (feature,): 0 where there is no spread.

    Parameters
    ----------
    mean, spread
        Shape (feature,): mean and standard deviation of control nuclei. Rounding leaves a little
        spread in constants: below a millionth of the mean it counts as none.
    """
    usable = spread > 1e-6 * (np.abs(mean) + 1e-12)
    return np.divide(1.0, spread, out=np.zeros_like(spread), where=usable)


class ControlSums(NamedTuple):
    """What the control wells of one plate add up to.

    Attributes
    ----------
    origin : (feature,) float64
        Mean of their nuclei. Sums are of what is left: far from 0 the sums of squares would lose
        what they are for.
    nuclei : (control well,) float64
        Nuclei.
    total, square : (control well, feature) float64
        Sums, and sums of squares.
    """

    origin: Floats
    nuclei: Floats
    total: Floats
    square: Floats


def sum_controls(wells: Sequence[npt.NDArray[np.floating]], n_features: int) -> ControlSums:
    """Add up the nuclei of the control wells of one plate, each (nucleus, feature) and finite.

    Wells are taken twice, one after another: a sequence that reads them need not hold them.
    """
    nuclei, sums = np.zeros(len(wells)), np.zeros(n_features)
    for number, values in enumerate(wells):
        nuclei[number] = len(values)
        sums = sums + values.sum(axis=0, dtype=np.float64)
    origin = sums / max(nuclei.sum(), 1)
    total, square = np.zeros((len(wells), n_features)), np.zeros((len(wells), n_features))
    for number, values in enumerate(wells):
        rows = values - origin
        total[number], square[number] = rows.sum(axis=0), (rows**2).sum(axis=0)
    return ControlSums(origin, nuclei, total, square)


def standardise_well(
    values: npt.NDArray[np.floating], controls: ControlSums, *, own: int | None = None
) -> Singles:
    """Subtract the mean and divide by the standard deviation of a plate's other control wells.

    Parameters
    ----------
    values
        Shape (nucleus, feature): finite.
    controls
        Of the plate.
    own
        Which of the controls the well is; None for a treated well.

    Returns
    -------
    ndarray of float32, shape (nucleus, feature)
        From -`LIMIT` to `LIMIT`. A feature that is constant in the controls is 0. All are, where
        the other controls have fewer than two nuclei.
    """
    n, total = float(controls.nuclei.sum()), controls.total.sum(axis=0)
    square = controls.square.sum(axis=0)
    if own is not None:
        n -= float(controls.nuclei[own])
        total, square = total - controls.total[own], square - controls.square[own]
    if n < 2:
        return np.zeros(values.shape, dtype=np.float32)
    mean = total / n
    scale = np.sqrt(np.maximum(square / n - mean**2, 0))
    factor = invert_spread(mean + controls.origin, scale)
    rows = values - (controls.origin + mean)
    return np.clip(rows * factor, -LIMIT, LIMIT).astype(np.float32)


def standardise_wells(
    features: npt.NDArray[np.floating],
    start: npt.NDArray[np.intp],
    plates: npt.NDArray[np.intp],
    is_control: npt.NDArray[np.bool_],
) -> Singles:
    """Standardise the wells of several plates, each to its own plate (`standardise_well`).

    Parameters
    ----------
    features
        Shape (nucleus, feature): finite.
    start
        Shape (well + 1,): the nuclei of well i are rows start[i] to start[i + 1].
    plates, is_control
        Shape (well,): plate from 0, and whether the well is a negative control.

    Returns
    -------
    ndarray of float32, shape (nucleus, feature)
    """
    values = np.asarray(features)
    out = np.zeros(values.shape, dtype=np.float32)
    rows = [slice(first, last) for first, last in pairwise(start.tolist())]
    for plate in np.unique(plates):
        here = np.flatnonzero(plates == plate).tolist()
        of_control = [well for well in here if is_control[well]]
        controls = sum_controls([values[rows[well]] for well in of_control], values.shape[1])
        for well in here:
            own = of_control.index(well) if is_control[well] else None
            out[rows[well]] = standardise_well(values[rows[well]], controls, own=own)
    return out


def find_axes(covariance: Floats, *, n_axes: int) -> Singles:
    """Find the axes of largest variance, each scaled so that what lies along it has variance 1.

    Parameters
    ----------
    covariance
        Shape (feature, feature): of the nuclei that decide; the controls, so that no effect does.
    n_axes
        Axes kept.

    Returns
    -------
    ndarray of float32, shape (feature, n_axes)
        0 along axes without variance.
    """
    values, vectors = np.linalg.eigh(covariance)
    largest = slice(-1, -n_axes - 1, -1)
    variance, axes = values[largest], vectors[:, largest]
    scale = np.zeros(len(variance))
    np.divide(1, np.sqrt(np.maximum(variance, 0)), out=scale, where=variance > 1e-9)
    # The sign of a component is arbitrary: its largest loading is positive.
    sign = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(len(variance))])
    return np.asarray(axes * scale * sign, dtype=np.float32)
