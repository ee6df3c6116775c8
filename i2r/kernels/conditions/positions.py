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
    shrink_correlation,
)

PRIOR = 15.0
"""Control positions that the common ratio of position noise to well noise counts as."""


class PositionNoise(NamedTuple):
    """What positions do that plates share.

    Attributes
    ----------
    known : bool
        Whether plates repeat positions.
    variance : (feature,) float64
        Variance over positions; 0 where plates do not repeat them.
    correlation, root : (feature, feature) float64
        Of positions; white noise times ``root`` is what positions do.
    reference : (feature,) float64
        Variance that it adds to the mean of the controls.
    places : (well,) intp
        Number of each well's position; wells of one number share it.
    """

    known: bool
    variance: Floats
    correlation: Floats
    root: Floats
    reference: Floats
    places: Indices

    def sum_variance(self, rows: Indices, shares: Floats) -> Floats:
        """Give what repeated positions add to the variance of means: (condition, feature)."""
        if not self.known:
            return np.zeros((len(shares), self.variance.size))
        _, which, counts = np.unique(self.places[rows], return_inverse=True, return_counts=True)
        at = np.zeros((len(shares), counts.size))
        for column, place in enumerate(which.tolist()):
            at[:, place] += shares[:, column]
        return np.asarray((at[:, counts > 1] ** 2).sum(axis=1)[:, None] * self.variance)

    def draw(self, rows: Indices, n_draws: int, random: np.random.Generator) -> Floats:
        """Draw what repeated positions do to wells: (draw, well, feature)."""
        found = np.zeros((n_draws, rows.size, self.variance.size))
        if not self.known:
            return found
        _, which, counts = np.unique(self.places[rows], return_inverse=True, return_counts=True)
        for place in np.flatnonzero(counts > 1).tolist():
            shared = random.standard_normal((n_draws, self.variance.size)) @ self.root
            found[:, which == place] = shared[:, None]
        return found

    def mix(self, correlation: Floats, of_wells: Floats) -> Floats:
        """Give the correlation of means at one position, whose wells alone scatter by so much."""
        deviation = np.sqrt(self.variance)
        both = correlation * np.sqrt(np.outer(of_wells, of_wells))
        both = both + self.correlation * np.outer(deviation, deviation)
        scale = np.sqrt(np.diag(both))
        return np.asarray(both / np.outer(scale, scale))


def find_repeats(wells: Wells, rows: Indices) -> bool:
    """Tell whether a condition's wells repeat a position on several plates."""
    places = _number_places(wells)[rows]
    return bool(np.unique(places).size < rows.size) and bool((wells.rows[rows] >= 0).all())


def _number_places(wells: Wells) -> Indices:
    known = (wells.rows >= 0) & (wells.columns >= 0)
    own = wells.rows * 1000 + wells.columns
    return np.where(known, own, -1 - np.arange(len(own)))


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
    places, d = _number_places(wells), centred.shape[1]
    none = PositionNoise(False, np.zeros(d), np.eye(d), np.eye(d), np.zeros(d), places)
    repeated = [
        number for number in range(wells.n_conditions)
        if find_repeats(wells, np.flatnonzero(wells.which == number))
    ]  # fmt: skip
    if wells.n_plates < 2 or not repeated:
        return none
    unit = np.median(noise.variances, axis=0)
    means, excess, vectors = [], [], []
    controls = np.flatnonzero(wells.is_control)
    for place in np.unique(places[controls]):
        rows = controls[places[controls] == place]
        if rows.size > 1:
            share = noise.trusted[rows] / noise.trusted[rows].sum()
            means.append(share @ centred[rows])
            excess.append(means[-1] ** 2 - share**2 @ noise.variances[rows])
    n_own = len(excess)
    of_controls = np.mean(excess, axis=0) * n_own / max(n_own - 1, 1) if n_own > 1 else np.zeros(d)
    vectors += [m / np.sqrt(unit) for m in means]
    n_others, of_others = 0.0, np.zeros(d)
    if borrows and len(repeated) >= 8:
        found, within = [], []
        for number in repeated:
            rows = np.flatnonzero(wells.which == number)
            mean, share = average_replicates(
                centred[rows][None], noise.variances[rows], noise.weights[rows], noise.usual
            )
            found.append(mean[0])
            within.append(share[0] ** 2 @ noise.variances[rows])
        changes = np.array(found) - np.median(found, axis=0)
        spread = np.median(changes**2, axis=0) / MEDIAN_OF_SQUARES
        of_others = spread - np.median(within, axis=0)
        n_others = len(repeated) / 2
        z = changes / np.sqrt(unit)
        size = np.sqrt((z**2).mean(axis=1))
        vectors += list(z * np.minimum(1, np.median(size) / np.maximum(size, 1e-9))[:, None])
    if n_own < 2 and not n_others:
        return none
    n_own_counted = float(n_own if n_own > 1 else 0)
    if n_others and not uses_controls:
        n_own_counted = 0.0
    pooled = (n_own_counted * of_controls + n_others * of_others) / (n_own_counted + n_others)
    ratio = max(float((pooled / unit).mean()), 0.0)
    known = n_own_counted + n_others
    variance = np.maximum(
        (known * pooled + PRIOR * ratio * unit) / (known + PRIOR), 0.25 * ratio * unit
    )
    reference = variance / max(n_own, 1) if n_own else np.zeros(d)
    correlation = shrink_correlation(np.array(vectors))
    root = root_of(correlation) * np.sqrt(variance)
    return PositionNoise(True, variance, correlation, root, reference, places)


def root_of(correlation: Floats) -> Floats:
    """Give a matrix whose product with white noise has this correlation."""
    values, vectors = np.linalg.eigh(correlation)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)
