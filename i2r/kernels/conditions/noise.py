"""How much wells differ that hold the same: the noise against which conditions are judged.

Replicates of a condition hold the same, whatever the condition does, and so do the control wells of
a plate. What they differ by is noise, and a screen of many conditions knows it well even where
control wells are few.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

MEDIAN_OF_SQUARES = 0.4549
"""Median of a squared standard normal value."""

BOUND = 4.0
"""Squared standard deviations beyond which a square counts as that much for the noise."""

MEAN_BELOW_BOUND = 0.9205
"""Mean of squared standard normal values, those beyond `BOUND` counted as that."""

EFFICIENCY = 0.88
"""Degrees of freedom left of those of a mean of squares when squares beyond `BOUND` are cut."""

LEAST_EXCESS = 0.02
"""Share of a well's variance that is never put down to counting nuclei."""

WORSE_PLATE = 1.5
"""Plates whose wells scatter less than this many times as much as usual count as usual."""

MOST = 0.5
"""Share of treated wells beyond which places are repeated by plan."""

USUAL = 0.9
"""Share of the wells whose distance from their replicates counts as usual."""

FAR = 2.0
"""Times the median distance that counts as usual at most, where many wells have artefacts."""


class Wells(NamedTuple):
    """Mean profiles of wells, and what they are means of.

    Attributes
    ----------
    means, variances : (well, feature) float64
        Mean and variance of the nuclei of each well, features on comparable scales over plates.
    counts : (well,) float64
        Nuclei, 1 or more.
    plates : (well,) intp
        From 0.
    rows, columns : (well,) intp
        From 0; -1 where a place is not known.
    which : (well,) intp
        0, 1, ... for conditions, -1 for negative controls.
    """

    means: Floats
    variances: Floats
    counts: Floats
    plates: Indices
    rows: Indices
    columns: Indices
    which: Indices

    @property
    def is_control(self) -> Flags:
        """Whether each well is a negative control."""
        return self.which < 0

    @property
    def n_conditions(self) -> int:
        """The number of conditions."""
        return int(self.which.max(initial=-1)) + 1

    @property
    def n_plates(self) -> int:
        """The number of plates."""
        return int(self.plates.max(initial=-1)) + 1


class Noise(NamedTuple):
    """What wells that hold the same differ by.

    Attributes
    ----------
    variances : (well, feature) float64
        Of each well's mean: its own scatter, more where it has few nuclei or its plate is bad.
    weights : (well,) float64
        Precision of each well, in units of the nuclei's variance.
    nucleus : (feature,) float64
        Variance of the nuclei of a well.
    residuals : (well, feature) float64
        Differences from replicates in standard deviations; 0 where there are none.
    has_residual : (well,) bool
        Whether it has replicates, or other controls on its plate.
    usual : float
        Mean squared residual of a well that all but a tenth stay below.
    freedom : float
        Degrees of freedom of the residuals.
    trust : (well,) float64
        1, or less for wells far from two or more replicates, as artefacts are.
    at_places : bool
        Whether this is what wells at one place differ by, see `group_replicates`.
    """

    variances: Floats
    weights: Floats
    nucleus: Floats
    residuals: Floats
    has_residual: Flags
    usual: float
    freedom: float
    trust: Floats
    at_places: bool

    @property
    def trusted(self) -> Floats:
        """The precision of each well, less where it is far from its replicates."""
        return self.weights * self.trust


def number_places(wells: Wells) -> Indices:
    """Number places: wells of one number share it on several plates; unknown ones have their own.

    Numbers are 0 or more only where places are known.
    """
    known = (wells.rows >= 0) & (wells.columns >= 0)
    own = wells.rows * 1000 + wells.columns
    return np.where(known, own, -1 - np.arange(len(own)))


def group_replicates(wells: Wells) -> tuple[Indices, bool]:
    """Group wells that hold the same: a condition's, and the controls of each plate.

    Where most wells repeat their place on other plates, those of one condition and one place: what
    a place does is no noise there, and is told from places that controls and conditions repeat.

    Returns
    -------
    groups : (well,) intp
        From 0.
    at_places : bool
        Whether groups are of one place.
    """
    groups = np.where(wells.is_control, wells.n_conditions + wells.plates, wells.which)
    places = number_places(wells)
    both = np.column_stack([wells.which, places])
    _, own, counts = np.unique(both, axis=0, return_inverse=True, return_counts=True)
    treated = ~wells.is_control
    at_places = bool(treated.any()) and float((counts[own][treated] > 1).mean()) > MOST
    return (np.asarray(own).ravel(), True) if at_places else (groups, False)


def centre_on_controls(values: Floats, wells: Wells, weights: Floats) -> tuple[Floats, Floats]:
    """Subtract the weighted mean of each plate's controls.

    Parameters
    ----------
    values : (well, feature)
        Profiles.
    wells, weights
        Where they belong, and the precision of each.

    Returns
    -------
    centred : (well, feature)
    errors : (plate,)
        Variance of each plate's mean in units of the nuclei's, infinite without controls.
    """
    centred, errors = values.copy(), np.full(wells.n_plates, np.inf)
    for plate in range(wells.n_plates):
        here = wells.plates == plate
        own = np.flatnonzero(here & wells.is_control)
        if own.size:
            errors[plate] = 1 / weights[own].sum()
            centred[here] -= weights[own] @ values[own] * errors[plate]
    return centred, errors


def estimate_noise(centred: Floats, wells: Wells) -> Noise:
    """Estimate the noise of wells from replicates and controls.

    A well's variance has two parts: that of a mean of so few nuclei, known from the nuclei, and
    that of wells. The second is the mean of squared residuals, the largest cut, less the first, so
    that a few wells with artefacts do not decide it. The median over features says how much a well
    with few nuclei counts beside one with many.

    Parameters
    ----------
    centred : (well, feature)
        Profiles less their plate's controls.
    wells
        Where they belong.

    Returns
    -------
    Noise
        With as many degrees of freedom as the wells of conditions with replicates, and of
        controls, have left.
    """
    counts = wells.counts
    nucleus = np.maximum(np.average(wells.variances, axis=0, weights=counts), 1e-12)
    ratio, scale, trust = 0.03, np.ones(wells.n_plates), np.ones(len(counts))
    for _ in range(3):
        weights = 1 / (ratio + 1 / counts) / scale[wells.plates]
        residuals, left = _subtract_replicates(centred, wells, weights * trust)
        has = left > 0.02
        squares = residuals[has] ** 2 / left[has, None] / scale[wells.plates[has], None]
        share = 1 / counts[has]
        # Wells of a dead plate have many times the share of the others.
        most = min(np.quantile(share, 0.7), 2 * np.median(share)) if has.any() else 0.0
        typical = share <= most
        total = _estimate_squares(squares[typical])
        of_wells = np.maximum(total - nucleus * share[typical].mean(), LEAST_EXCESS * total)
        of_wells = np.maximum(of_wells, 1e-12)
        ratio = max(float(np.median(of_wells / nucleus)), 1e-4)
        variances = of_wells + nucleus / counts[:, None]
        scale = _scale_plates(centred, wells, variances)
        trust, usual = _find_artefacts(centred, wells, variances * scale[wells.plates, None])
    variances = (of_wells + nucleus / counts[:, None]) * scale[wells.plates, None]
    weights = 1 / (ratio + 1 / counts) / scale[wells.plates]
    residuals, left = _subtract_replicates(centred, wells, weights * trust)
    has = left > 0.02
    residuals[has] /= np.sqrt(left[has, None] * variances[has])
    residuals[~has] = 0
    return Noise(variances, weights, nucleus, residuals, has, usual, float(left[has].sum()), trust,
                 group_replicates(wells)[1])  # fmt: skip


def _estimate_squares(squares: Floats) -> Floats:
    """Estimate the mean of squared normal values, (feature,), where a few are far too large.

    Squares beyond `BOUND` times the mean count as that much (Huber's proposal 2 about zero), from
    the median on.
    """
    found = np.maximum(np.median(squares, axis=0) / MEDIAN_OF_SQUARES, 1e-300)
    for _ in range(10):
        found = found * np.minimum(squares / found, BOUND).mean(axis=0) / MEAN_BELOW_BOUND
        found = np.maximum(found, 1e-300)  # a measure that never varies has none
    return np.asarray(found)


def _find_artefacts(centred: Floats, wells: Wells, variances: Floats) -> tuple[Floats, float]:
    """Say how far wells are from the median of their replicates: trust, and the usual distance."""
    groups, at_places = group_replicates(wells)
    if at_places and np.bincount(groups).max() < 3:
        groups = np.where(wells.is_control, wells.n_conditions + wells.plates, wells.which)
    distance = np.full(len(groups), np.nan)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        if rows.size >= 3:
            middle = np.median(centred[rows], axis=0)
            distance[rows] = ((centred[rows] - middle) ** 2 / variances[rows]).mean(axis=1)
            distance[rows] *= rows.size / (rows.size - 1)
    known = ~np.isnan(distance)
    if not known.any():
        return np.ones(len(groups)), 1.0
    found = distance[known]
    usual = max(float(min(np.quantile(found, USUAL), FAR * np.median(found))), 1e-9)
    trust = np.ones(len(groups))
    trust[known] = np.minimum(1, usual / np.maximum(found, 1e-9))
    return trust, usual


def _subtract_replicates(centred: Floats, wells: Wells, weights: Floats) -> tuple[Floats, Floats]:
    """Subtract the mean of each well's replicates, and of each plate; say what variance is left."""
    groups, at_places = group_replicates(wells)
    sums = np.bincount(groups, weights)
    members = np.bincount(groups)
    left = np.where(members[groups] > 1, 1 - weights / sums[groups], 0.0)
    residuals = np.where(left[:, None] > 0, centred, 0.0)
    treated = (left > 0) & (~wells.is_control | at_places)
    on_plate = np.bincount(wells.plates[treated], weights[treated], wells.n_plates)
    many = np.bincount(wells.plates[treated], minlength=wells.n_plates)
    if wells.n_plates > 1:
        # What all wells of a plate have in common is the error of its controls' mean.
        left[treated] *= 1 - 1 / np.maximum(many[wells.plates[treated]], 2)
    for _ in range(3):
        residuals -= _average(residuals, groups, weights, sums)[groups] * (left > 0)[:, None]
        if wells.n_plates > 1:
            means = _average(residuals[treated], wells.plates[treated], weights[treated], on_plate)
            residuals[treated] -= means[wells.plates[treated]]
    residuals -= _average(residuals, groups, weights, sums)[groups] * (left > 0)[:, None]
    return residuals, left


def _average(values: Floats, groups: Indices, weights: Floats, sums: npt.ArrayLike) -> Floats:
    """Average rows by group."""
    whole = np.asarray(sums, dtype=np.float64)
    total = np.zeros((whole.size, values.shape[1]))
    np.add.at(total, groups, values * weights[:, None])
    return total / np.maximum(whole, 1e-12)[:, None]


def _scale_plates(centred: Floats, wells: Wells, variances: Floats) -> Floats:
    """Say how many times the usual variance the wells of each plate have."""
    found = np.ones(wells.n_plates)
    for plate in range(wells.n_plates):
        rows = np.flatnonzero(wells.plates == plate)
        if rows.size >= 8:
            middle = np.median(centred[rows], axis=0)
            found[plate] = np.median(((centred[rows] - middle) ** 2 / variances[rows]).mean(axis=1))
    relative = found / max(float(np.median(found)), 1e-12)
    return np.where(relative > WORSE_PLATE, relative, 1.0)


def average_replicates(
    values: Floats, variances: Floats, weights: Floats, usual: float
) -> tuple[Floats, Floats]:
    """Average the wells of conditions; wells far from their replicates count less.

    From three wells on: the mean starts at the median, and a well whose mean squared distance from
    it is beyond the usual one counts less by that ratio.

    Parameters
    ----------
    values : (condition, well, feature)
        Wells of conditions with equally many.
    variances : (well, feature)
        Of each.
    weights : (well,)
        Precision of each.
    usual
        Distance in variances that counts as usual.

    Returns
    -------
    means : (condition, feature)
    shares : (condition, well)
        The part of each well, which sum to 1.
    """
    shares = np.broadcast_to(weights / weights.sum(), values.shape[:2])
    if values.shape[1] < 3:
        return np.einsum("kw,kwd->kd", shares, values), np.array(shares)
    means = np.median(values, axis=1)
    for _ in range(2):
        distance = ((values - means[:, None]) ** 2 / variances).mean(axis=2)
        distance /= np.maximum(1 - shares, 0.2)
        shares = weights * np.minimum(1, usual / np.maximum(distance, 1e-9))
        shares = shares / shares.sum(axis=1, keepdims=True)
        means = np.einsum("kw,kwd->kd", shares, values)
    return means, shares


def measure_scatter(
    values: Floats, means: Floats, shares: Floats, variances: Floats, usual: float
) -> Floats:
    """Say how many times the expected variance a condition's own wells scatter by, 1 or more.

    The sandwich estimate of the variance of a weighted mean, mean over features. Where artefacts
    are in most wells of a condition no well can be told from the others, but they scatter.

    Parameters
    ----------
    values : (condition, well, feature)
        Wells.
    means, shares
        From `average_replicates`.
    variances : (well, feature)
        Of each.
    usual
        Scatter that counts as usual.

    Returns
    -------
    ndarray, shape (condition,)

    References
    ----------
    MacKinnon and White, J. Econom. 29:305 (1985), doi:10.1016/0304-4076(85)90158-7.
    """
    if values.shape[1] < 2:
        return np.ones(len(values))
    distance = ((values - means[:, None]) ** 2 / variances).mean(axis=2)
    distance /= np.maximum(1 - shares, 0.2)
    found = (shares**2 * distance).sum(axis=1) / (shares**2).sum(axis=1)
    return np.asarray(np.maximum(1.0, found / usual))


def shrink_correlation(rows: Floats, target: Floats | None = None) -> Floats:
    """Estimate a correlation matrix, shrunk towards another one by the rows' own scatter.

    Parameters
    ----------
    rows : (row, feature)
        Centred at 0.
    target : (feature, feature), optional
        Correlation matrix; default: none.

    Returns
    -------
    ndarray, shape (feature, feature)

    References
    ----------
    Schafer and Strimmer, Stat. Appl. Genet. Mol. Biol. 4:32 (2005), doi:10.2202/1544-6115.1175.
    """
    n, d = rows.shape
    aim = np.eye(d) if target is None else target
    if n < 3 or d < 2:
        return aim
    z = rows / np.maximum(np.sqrt((rows**2).mean(axis=0)), 1e-12)
    correlation = z.T @ z / n
    variance = ((z**2).T @ (z**2) / n - correlation**2) / (n - 1)
    off = ~np.eye(d, dtype=bool)
    apart = ((correlation - aim)[off] ** 2).sum()
    much = float(np.clip(variance[off].sum() / max(apart, 1e-12), 0, 1))
    correlation = (1 - much) * correlation + much * aim
    np.fill_diagonal(correlation, 1.0)
    return np.asarray(correlation)
