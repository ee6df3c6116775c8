"""What a position does on every plate again, where plates repeat a layout.

A condition that sits at one position of all plates differs from controls by what that position
does. Its replicates share it, so they do not show it; control wells at other positions do, and so
do the other conditions where most do nothing.
"""

from typing import NamedTuple

import numpy as np

from i2r.kernels.conditions.noise import (
    MEDIAN_OF_SQUARES,
    Floats,
    Indices,
    Noise,
    Wells,
    average_replicates,
    number_places,
    shrink_correlation,
)

PRIOR = 15.0
"""Control positions that the common ratio of position noise to well noise counts as."""

FAR_OUT = 2.5
"""Standard deviations beyond which a mean's coordinate is put down to its condition."""

KEPT = 0.912
"""Mean square of a standard normal value that is brought back to 1 where it is beyond `FAR_OUT`."""

LONG = 1.5
"""Times the median square length that means of positions have at most."""

FOLDS = 4
"""Sets of positions that are left out in turn."""

FEW = 8
"""Places that conditions repeat with fewer of which they don't help."""

CLEANING = 4
"""Rounds in which means of conditions are cleaned of their effects."""


class PositionNoise(NamedTuple):
    """What positions do that plates share.

    Attributes
    ----------
    known : bool
        Whether plates repeat positions.
    at_places : bool
        Whether the noise of wells is that at one place, so that every place adds its own; else
        only places that a condition repeats do.
    variance : (feature,) float64
        Variance over positions; 0 where plates do not repeat them.
    correlation, root : (feature, feature) float64
        Of positions; white noise times ``root`` is what positions do.
    reference : (feature,) float64
        Variance that it adds to the mean of the controls.
    widening : float
        Mean squared length of positions that did not tell the correlation, where those that did
        have 1: few positions leave directions in which the controls' mean is further off.
    places : (well,) intp
        Number of each well's position; wells of one number share it.
    freedom : float
        Degrees of freedom of the variance.
    """

    known: bool
    at_places: bool
    variance: Floats
    correlation: Floats
    root: Floats
    reference: Floats
    widening: float
    places: Indices
    freedom: float

    @property
    def least(self) -> int:
        """Wells at one place from which on it counts."""
        return 1 if self.at_places else 2

    def sum_variance(self, rows: Indices, shares: Floats) -> Floats:
        """Give what positions add to the variance of means: (condition, feature)."""
        if not self.known:
            return np.zeros((len(shares), self.variance.size))
        _, which, counts = np.unique(self.places[rows], return_inverse=True, return_counts=True)
        at = np.zeros((len(shares), counts.size))
        for column, place in enumerate(which.tolist()):
            at[:, place] += shares[:, column]
        return np.asarray((at[:, counts >= self.least] ** 2).sum(axis=1)[:, None] * self.variance)

    def applies(self, rows: Indices) -> bool:
        """Tell whether a condition's wells have places that count."""
        counts = np.unique(self.places[rows], return_counts=True)[1]
        return self.known and bool((counts >= self.least).any())

    def share(self, rows: Indices) -> float:
        """Give what of a position's variance is left in the mean of wells that count alike."""
        counts = np.unique(self.places[rows], return_counts=True)[1] / rows.size
        return float((counts[counts * rows.size >= self.least] ** 2).sum())

    def draw(self, rows: Indices, n_draws: int, random: np.random.Generator) -> Floats:
        """Draw what repeated positions do to wells: (draw, well, feature)."""
        found = np.zeros((n_draws, rows.size, self.variance.size))
        if not self.known:
            return found
        _, which, counts = np.unique(self.places[rows], return_inverse=True, return_counts=True)
        for place in np.flatnonzero(counts >= self.least).tolist():
            shared = random.standard_normal((n_draws, self.variance.size)) @ self.root
            found[:, which == place] = shared[:, None]
        return found

    def mix(self, correlation: Floats, of_wells: Floats, share: float) -> Floats:
        """Give the correlation of means of conditions.

        Parameters
        ----------
        correlation, of_wells
            Of the noise of wells, and the variance that it gives a mean.
        share
            What of a position's variance is left in a mean.
        """
        deviation = np.sqrt(self.variance * share)
        both = correlation * np.sqrt(np.outer(of_wells, of_wells))
        both = both + self.correlation * np.outer(deviation, deviation)
        scale = np.sqrt(np.diag(both))
        return np.asarray(both / np.outer(scale, scale))


def estimate_positions(
    centred: Floats, wells: Wells, noise: Noise, *, borrows: bool, uses_controls: bool = True
) -> PositionNoise:
    """Estimate what repeated positions do.

    The covariance of control wells at one position of different plates, with that of conditions
    where most of them may be taken to do nothing. Ratios to the noise of wells are moderated
    towards their mean over features, because few positions are known.

    Parameters
    ----------
    centred : (well, feature)
        Profiles less controls.
    wells, noise
        Where they belong, and what they scatter by.
    borrows
        Whether conditions may help.
    uses_controls
        Whether controls count where conditions do. Controls at the rim decide the field there, so
        that they seem to differ by less than they do.
    """
    places, d = number_places(wells), centred.shape[1]
    none = PositionNoise(
        False, noise.at_places, np.zeros(d), np.eye(d), np.eye(d), np.zeros(d), 1.0, places, 0.0
    )
    repeated = _list_sets(wells, places, np.flatnonzero(~wells.is_control), least=2)
    if wells.n_plates < 2 or not repeated:
        return none
    unit = np.median(noise.variances, axis=0)
    of_wells = shrink_correlation(noise.residuals[noise.has_residual])
    controls = np.flatnonzero(wells.is_control)
    sets = _list_sets(wells, places, controls, least=1 if noise.at_places else 2)
    own, own_part = _average_sets(sets, centred, noise)
    n_own = float(len(own)) if len(own) > 1 else 0.0
    n_others = len(repeated) / 2 if borrows and len(repeated) >= FEW else 0.0
    if not n_own and not n_others:
        return none
    of_controls = np.zeros(d)
    if n_own:
        of_controls = (own**2).mean(axis=0) / unit * n_own / (n_own - 1) - own_part
    counted, pooled, part, means = n_own, of_controls, own_part, own / np.sqrt(unit)
    if n_others:
        others, part = _average_sets(repeated, centred, noise)
        others = (others - np.median(others, axis=0)) / np.sqrt(unit)
        both = _take_out_effects(np.concatenate([own / np.sqrt(unit), others]), of_wells)
        means, of_others = both, (both[len(own) :] ** 2).mean(axis=0) - part
        counted = n_own if uses_controls else 0.0
        pooled = (counted * of_controls + n_others * of_others) / (counted + n_others)
    ratio, known = max(float(pooled.mean()), 0.0), counted + n_others
    variance = np.maximum((known * pooled + PRIOR * ratio) / (known + PRIOR), 0.25 * ratio)
    correlation = _separate(means, of_wells, part, variance)
    variance = variance * unit
    reference = variance * _share_places(wells, places, controls, least=1 if noise.at_places else 2)
    root = root_of(correlation) * np.sqrt(variance)
    widening = _cross_validate(means, of_wells)
    return PositionNoise(
        True,
        noise.at_places,
        variance,
        correlation,
        root,
        reference,
        widening,
        places,
        known + PRIOR,
    )


def _list_sets(wells: Wells, places: Indices, rows: Indices, *, least: int) -> list[Indices]:
    """List the sets of wells of one condition, or of controls, at one place; `least` or more."""
    both = np.column_stack([wells.which, places])[rows]
    _, at, counts = np.unique(both, axis=0, return_inverse=True, return_counts=True)
    found = np.split(rows[np.argsort(at.ravel(), kind="stable")], np.cumsum(counts)[:-1])
    return [own for own in found if own.size >= least]


def _share_places(wells: Wells, places: Indices, controls: Indices, *, least: int) -> float:
    """Give the variance of the controls' mean for a variance of 1 of places that repeat.

    Each plate's mean counts alike. Where controls lie at new places on every plate hardly any
    place repeats, and what places do is in the noise of wells.
    """
    per_plate = np.bincount(wells.plates[controls], minlength=wells.n_plates)
    parts = 1 / (per_plate[wells.plates[controls]] * max(int((per_plate > 0).sum()), 1))
    _, inverse, counts = np.unique(places[controls], return_inverse=True, return_counts=True)
    return float((np.bincount(inverse, parts)[counts >= least] ** 2).sum())


def _average_sets(sets: list[Indices], centred: Floats, noise: Noise) -> tuple[Floats, float]:
    """Average sets of wells; give the means, and the variance of one if that of a well is 1."""
    means, parts = np.zeros((len(sets), centred.shape[1])), []
    for number, rows in enumerate(sets):
        found, share = average_replicates(
            centred[rows][None], noise.variances[rows], noise.weights[rows], noise.usual
        )
        means[number] = found[0]
        relative = np.median(noise.variances[rows] / np.median(noise.variances, axis=0), axis=1)
        parts.append(float(share[0] ** 2 @ relative))
    return means, float(np.mean(parts)) if parts else 0.0


def _take_out_effects(means: Floats, aim: Floats) -> Floats:
    """Bring means of conditions that do something back to the size that means usually have.

    In coordinates that do not hang together a value far out is brought back to the usual one, so
    that neither many conditions that move a few features nor a few that move many count as what
    positions do. Normal means of no condition lose a little by that too, the more the fewer they
    are: what drawn ones lose is given back.
    """
    cleaned = _bring_back(means, aim)
    correlation = shrink_correlation(cleaned, aim)
    drawn = np.random.default_rng(0).standard_normal(means.shape) @ root_of(correlation)
    lost = (_bring_back(drawn, aim) ** 2).mean() / (drawn**2).mean()
    return np.asarray(cleaned / np.sqrt(min(lost, 1.0)))


def _bring_back(means: Floats, aim: Floats) -> Floats:
    """Bring coordinates far out back, see `_take_out_effects`."""
    scale = np.sqrt(np.maximum(np.median(means**2, axis=0) / MEDIAN_OF_SQUARES, 1e-12))
    z = means / scale
    cleaned = z
    for _ in range(CLEANING):
        values, vectors = np.linalg.eigh(shrink_correlation(cleaned, aim))
        values = np.maximum(values, 1e-6)
        white = z @ (vectors / np.sqrt(values)) @ vectors.T
        size = np.sqrt(np.maximum(np.median(white**2, axis=0) / MEDIAN_OF_SQUARES, 1e-12))
        white = white / size
        white = np.where(np.abs(white) > FAR_OUT, np.sign(white), white) / np.sqrt(KEPT)
        length = (white**2).mean(axis=1)
        longest = LONG * max(float(np.median(length)), 1e-12)
        white = white * np.sqrt(np.minimum(1, longest / np.maximum(length, 1e-12)))[:, None]
        cleaned = (white * size) @ (vectors * np.sqrt(values)) @ vectors.T
    return np.asarray(cleaned * scale)


def _cross_validate(means: Floats, aim: Floats) -> float:
    """Give the mean squared length of means in coordinates that others of them tell, 1 or more."""
    n = len(means)
    fold, lengths = np.arange(n) % FOLDS, []
    for number in range(FOLDS) if n >= 2 * FOLDS else ():
        others = means[fold != number]
        correlation = shrink_correlation(others, aim)
        z = means[fold == number] / np.sqrt(np.maximum((others**2).mean(axis=0), 1e-12))
        solved = np.linalg.lstsq(correlation, z.T, rcond=None)[0]
        lengths.append(float((z.T * solved).sum() / z.size))
    return max(1.0, float(np.mean(lengths))) if lengths else 1.0


def _separate(means: Floats, of_wells: Floats, part: float, variance: Floats) -> Floats:
    """Estimate the correlation of what positions do from means, which also hold wells' noise.

    Parameters
    ----------
    means : (position, feature)
        In standard deviations of a well.
    of_wells : (feature, feature)
        Correlation of the noise of wells.
    part
        Variance of the mean over a position's wells, where that of a well is 1.
    variance : (feature,)
        Of what positions do.
    """
    deviation = np.sqrt(variance + part)
    values, vectors = np.linalg.eigh(shrink_correlation(means, of_wells))
    # Shrinking takes from the directions in which positions do most: they keep what they have.
    z = means / np.sqrt(np.maximum((means**2).mean(axis=0), 1e-12))
    values = np.maximum(values, ((z @ vectors) ** 2).mean(axis=0))
    total = (vectors * values) @ vectors.T * np.outer(deviation, deviation)
    values, vectors = np.linalg.eigh(total - part * of_wells)
    alone = (vectors * np.maximum(values, 0)) @ vectors.T
    scale = np.sqrt(np.maximum(np.diag(alone), 1e-12))
    alone = alone / np.outer(scale, scale)
    np.fill_diagonal(alone, 1.0)
    return np.asarray(alone)


def root_of(correlation: Floats) -> Floats:
    """Give a matrix whose product with white noise has this correlation."""
    values, vectors = np.linalg.eigh(correlation)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)
