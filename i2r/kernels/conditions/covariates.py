"""What a condition's number of nuclei, or another measure of its wells, explains of its change."""

import numpy as np

from i2r.kernels.conditions.noise import (
    Floats,
    Wells,
    centre_on_controls,
    estimate_noise,
)

ROUNDS = 5
"""Rounds of the robust regression."""


def explain_by(
    wells: Wells, covariate: Floats, *, n_folds: int = 5, seed: int | np.random.SeedSequence = 0
) -> Floats:
    """Predict profiles from a covariate, each condition by what the others show.

    The regression (to the second order, of differences from each plate's controls) is fitted to
    the wells of other conditions and the controls; conditions far from it count less. Terms that
    explain no more than noise are shrunk to nothing. So a condition whose nuclei change for their
    number alone is explained where others with as few nuclei change alike, and one of its own is
    not.

    Parameters
    ----------
    wells
        All wells.
    covariate : (well,)
        Finite, for example the logarithm of the number of nuclei per field.
    n_folds
        Sets of conditions that are left out in turn.
    seed
        Of the sets.

    Returns
    -------
    ndarray, shape (well, feature)
        To be subtracted from the wells' means.
    """
    flat = np.minimum(wells.counts, 50.0)
    centred, _ = centre_on_controls(wells.means, wells, flat)
    noise = estimate_noise(centred, wells)
    centred, _ = centre_on_controls(wells.means, wells, noise.weights)
    x, errors = centre_on_controls(covariate[:, None], wells, noise.weights)
    usable = np.isfinite(errors)[wells.plates]
    spread = x[usable & wells.is_control].std() if (usable & wells.is_control).any() else 0.0
    if spread <= 1e-9 and not (np.abs(x) > 1e-9).any():
        return np.zeros_like(centred)
    x = x[:, 0] / max(float(np.abs(x).max()), 1e-12)
    basis = np.column_stack([x, x * np.abs(x)])
    random = np.random.default_rng(seed)
    n_folds = max(1, min(n_folds, wells.n_conditions))
    fold_of = random.permutation(wells.n_conditions) % n_folds
    fold = np.where(wells.is_control, -1, fold_of[np.maximum(wells.which, 0)])
    fitted = np.zeros_like(centred)
    for number in range(n_folds):
        slopes = _fit_robustly(centred, basis, usable & (fold != number), wells, noise.weights,
                               noise.variances)  # fmt: skip
        here = fold == number
        fitted[here] = basis[here] @ slopes
    own = wells.is_control
    fitted[own] = basis[own] @ _fit_robustly(
        centred, basis, usable, wells, noise.weights, noise.variances
    )
    return fitted


def _fit_robustly(
    values: Floats, basis: Floats, used: np.ndarray[tuple[int], np.dtype[np.bool_]], wells: Wells,
    weights: Floats, variances: Floats,
) -> Floats:  # fmt: skip
    """Regress profiles on the basis, through 0; groups of replicates far from it count less."""
    rows = np.flatnonzero(used)
    groups = np.where(wells.is_control, wells.n_conditions + np.arange(len(used)), wells.which)[
        rows
    ]
    names, inverse = np.unique(groups, return_inverse=True)
    members = np.bincount(inverse)
    trust = np.ones(names.size)
    slopes = np.zeros((basis.shape[1], values.shape[1]))
    for _ in range(ROUNDS):
        root = np.sqrt(weights[rows] * trust[inverse])[:, None]
        q, r = np.linalg.qr(root * basis[rows])
        able = np.abs(np.diag(r)) > 1e-6 * max(float(np.abs(np.diag(r)).max()), 1e-12)
        coefficients = q.T @ (root * values[rows])
        scatter = np.median(variances[rows] * weights[rows][:, None], axis=0)
        # Wells of a condition are not independent: what they share counts as their number.
        size = (coefficients**2 / scatter).mean(axis=1) / max(float(members.mean()), 1.0)
        kept = np.where(able, np.maximum(0, 1 - 1 / np.maximum(size, 1e-9)), 0)
        slopes = np.linalg.pinv(r) @ (coefficients * kept[:, None])
        rest = values[rows] - basis[rows] @ slopes
        means = np.zeros((names.size, values.shape[1]))
        np.add.at(means, inverse, rest / np.sqrt(variances[rows]))
        distance = (means**2).mean(axis=1) / members
        usual = float(np.median(distance)) * 2
        trust = np.minimum(1, usual / np.maximum(distance, 1e-12)) ** 2
    return slopes
