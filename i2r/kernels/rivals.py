"""Tests that others use for profiles, to be shown beside valid ones: mAP and energy distance."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Orders drawn at random for a null.
N_DRAWS = 2000


def score_average_precision(
    values: npt.ArrayLike,
    conditions: npt.ArrayLike,
    plates: npt.ArrayLike,
    *,
    seed: int = 0,
) -> Floats:
    """Test each condition by the mean average precision of its wells among controls.

    As copairs defines it: every well of a condition asks; the condition's other wells are right,
    controls of the same plates are wrong; the null draws orders at random for every well.

    Parameters
    ----------
    values
        Shape (well, feature): centred and scaled to the plate's controls.
    conditions, plates
        Shape (well,): 0, 1, ... for conditions, -1 for controls.
    seed
        Of the null.

    Returns
    -------
    ndarray, shape (condition,)
        NaN for conditions with one well, or without controls on its plates.

    References
    ----------
    Kalinin et al., Nat. Commun. 16:5181 (2025), doi:10.1038/s41467-025-60306-2.
    """
    y, which, plate = np.asarray(values, np.float64), np.asarray(conditions), np.asarray(plates)
    y = y / np.maximum(np.linalg.norm(y, axis=1, keepdims=True), 1e-12)
    random = np.random.default_rng(seed)
    found = np.full(int(which.max(initial=-1)) + 1, np.nan)
    nulls: dict[tuple[int, int], Floats] = {}
    for condition in range(found.size):
        own = np.flatnonzero(which == condition)
        controls = np.flatnonzero((which < 0) & np.isin(plate, plate[own]))
        if own.size < 2 or not controls.size:
            continue
        shape = (own.size, controls.size)
        if shape not in nulls:
            draws = random.random((N_DRAWS, own.size, own.size - 1 + controls.size))
            nulls[shape] = _average_precision(draws, own.size - 1).mean(axis=1)
        asked = [y[np.concatenate([own[own != well], controls])] @ y[well] for well in own]
        observed = _average_precision(np.array(asked), own.size - 1).mean()
        null = nulls[shape]
        found[condition] = (1 + (null >= observed - 1e-12).sum()) / (1 + null.size)
    return found


def _average_precision(similarity: Floats, n_right: int) -> Floats:
    """Give the average precision of queries; the first of the last axis are right."""
    right = np.argsort(-similarity, axis=-1, kind="stable") < n_right
    precision = np.cumsum(right, axis=-1) / np.arange(1, right.shape[-1] + 1)
    return np.asarray((precision * right).sum(axis=-1) / n_right)


def score_energy_distance(
    values: npt.ArrayLike,
    conditions: npt.ArrayLike,
    *,
    seed: int = 0,
    n_draws: int = 199,
    most: int = 400,
) -> Floats:
    """Test each condition by its energy distance from the controls, rows taken for independent.

    Parameters
    ----------
    values
        Shape (row, feature). Rows may be nuclei, as in single-cell work, where those of one well
        are anything but independent.
    conditions
        Shape (row,): 0, 1, ... and -1 for controls.
    seed, n_draws
        Of the permutations of labels.
    most
        Rows taken of a condition and of the controls, at random.

    Returns
    -------
    ndarray, shape (condition,)
        P-values, NaN for fewer than two rows.

    References
    ----------
    Szekely and Rizzo, J. Stat. Plan. Inference 143:1249 (2013), doi:10.1016/j.jspi.2013.03.018;
    for perturbations Peidli et al., Nat. Methods 21:531 (2024), doi:10.1038/s41592-023-02144-y.
    """
    y, which = np.asarray(values, np.float64), np.asarray(conditions)
    random = np.random.default_rng(seed)

    def take(condition: int) -> Floats:
        rows = np.flatnonzero(which == condition)
        return np.asarray(y[random.permutation(rows)[:most]])

    controls = take(-1)
    found = np.full(int(which.max(initial=-1)) + 1, np.nan)
    if len(controls) < 2:
        return found
    for condition in range(found.size):
        own = take(condition)
        if len(own) < 2:
            continue
        rows = np.concatenate([own, controls])
        squares = (rows**2).sum(axis=1)
        apart = np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0)
        distance = np.sqrt(apart)
        is_own = np.zeros((n_draws + 1, len(rows)))
        is_own[0, : len(own)] = 1
        order = random.random((n_draws, len(rows))).argsort(axis=1)[:, : len(own)]
        np.put_along_axis(is_own[1:], order, 1.0, axis=1)
        sums = is_own @ distance
        m, n = len(own), len(controls)
        within, across = (sums * is_own).sum(axis=1), (sums * (1 - is_own)).sum(axis=1)
        rest = distance.sum() - within - 2 * across
        energy = 2 * across / (m * n) - within / m**2 - rest / n**2
        found[condition] = (energy >= energy[0] - 1e-12).mean()
    return found
