"""Profiles of wells on the scale of their plate's control wells."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from i2r.kernels.profiles import SPHERING_RIDGE

Floats = npt.NDArray[np.float64]
Normalisation = Literal["none", "standardise", "robust", "sphering"]

# Standard deviations over median absolute deviations of a normal distribution.
NORMAL = 1.4826


def normalise_wells(
    profiles: npt.ArrayLike,
    plates: npt.ArrayLike,
    is_control: npt.ArrayLike,
    method: Normalisation,
) -> Floats:
    """Bring profiles of wells to the scale of the control wells of their plate.

    Parameters
    ----------
    profiles
        Shape (well, feature).
    plates, is_control
        Shape (well,).
    method
        ``none``; ``standardise``: less the controls' mean, over their standard deviation;
        ``robust``: less their median, over 1.4826 times their median absolute deviation;
        ``sphering``: standardised, then turned and scaled so that the controls of all plates
        together have the identity for a covariance, with a ridge (ZCA-cor).

    Returns
    -------
    ndarray of float64, shape (well, feature)
        A feature that is constant in the controls of a plate is 0 there. NaN for wells of plates
        with fewer than two controls.

    References
    ----------
    Caicedo et al., Nat. Methods 14:849 (2017), doi:10.1038/nmeth.4397. Sphering: Kessy, Lewin and
    Strimmer, Am. Stat. 72:309 (2018), doi:10.1080/00031305.2016.1277159.
    """
    values, control = np.asarray(profiles, np.float64), np.asarray(is_control, bool)
    if method == "none":
        return values.copy()
    plate = np.unique(np.asarray(plates), return_inverse=True)[1]
    out = np.full(values.shape, np.nan)
    for number in range(plate.max(initial=-1) + 1):
        here = plate == number
        own = values[here & control]
        own = own[np.isfinite(own).all(axis=1)]
        if len(own) < 2:
            continue
        if method == "robust":
            middle = np.median(own, axis=0)
            spread = NORMAL * np.median(np.abs(own - middle), axis=0)
        else:
            middle, spread = own.mean(axis=0), own.std(axis=0, ddof=1)
        # Rounding leaves a little spread in constants.
        usable = spread > 1e-6 * (np.abs(middle) + 1e-12)
        factor = np.divide(1, spread, out=np.zeros_like(spread), where=usable)
        out[here] = (values[here] - middle) * factor
    if method == "sphering":
        known = control & np.isfinite(out).all(axis=1)
        out = out @ _whiten(out[known])
    return out


def _whiten(controls: Floats) -> Floats:
    """Give the matrix that makes the controls' covariance the identity."""
    if len(controls) < 2:
        return np.eye(controls.shape[1])
    covariance = controls.T @ controls / len(controls)
    variances, axes = np.linalg.eigh(covariance)
    ridge = SPHERING_RIDGE * max(float(variances.mean()), 1e-12)
    return np.asarray((axes / np.sqrt(np.maximum(variances, 0) + ridge)) @ axes.T)
