"""Five ways to see that a profile moved, and one p-value for all.

One feature may move, or many; along a direction in which other conditions move too, or along one
of its own. No single statistic sees all of that, so five are asked, each is compared with its null,
and their p-values are averaged harmonically.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from i2r.kernels.conditions.noise import Floats, shrink_correlation

FLAT_WEIGHT = 0.1
"""Share of the weights that all features get alike, so that no feature is ruled out."""

STRONGEST = 4.0
"""Standard deviations beyond which a condition counts no more for what it says of features."""

PARTS = np.array([0.5, 0.5, 1.0, 1.5, 0.5])[:, None]
"""What each statistic counts in the combination. Features and their own directions ask nearly the
same; where all features move a little only two of the five see it."""

DENSE = 0.1
"""Weight of a direction in which no other condition moves."""

TAIL = 0.05
"""Share of the null beyond which its tail is exponential."""

LEAST = 1e-300
"""Smallest p-value that is given."""

NAMES = ("feature", "own direction", "replicates agree", "all features", "shared direction")


SUM_OF_ALL = NAMES.index("all features")
"""Which of the statistics sums all features alike."""


class Shape(NamedTuple):
    """What residuals and other conditions say about features, for the conditions of one fold.

    Attributes
    ----------
    whitening : (feature, feature) float64
        The correlation's inverse square root.
    log_weights, log_weights_white : (feature,) float64
        Of each feature, and of each whitened one.
    directions : (feature, feature) float64
        Directions in which other conditions move, as columns.
    gains : (feature,) float64
        What each direction counts, from `DENSE` up.
    """

    whitening: Floats
    log_weights: Floats
    log_weights_white: Floats
    directions: Floats
    gains: Floats


def learn_shape(residuals: Floats, others: Floats, correlation: Floats | None = None) -> Shape:
    """Learn how features hang together from residuals, and which move from other conditions.

    Parameters
    ----------
    residuals : (well, feature)
        In standard deviations, of wells outside the fold.
    others : (condition, feature)
        Standardised changes of the conditions outside the fold. What all have in common is taken
        out: it may be the error of the controls.
    correlation : (feature, feature), optional
        In place of that of the residuals.

    References
    ----------
    ZCA-cor whitening: Kessy, Lewin and Strimmer, Am. Stat. 72:309 (2018),
    doi:10.1080/00031305.2016.1277159. Weighted p-values: Genovese, Roeder and Wasserman, Biometrika
    93:509 (2006), doi:10.1093/biomet/93.3.509.
    """
    if correlation is None:
        correlation = shrink_correlation(residuals)
    d = len(correlation)
    values, vectors = np.linalg.eigh(correlation)
    values = np.maximum(values, 1e-6)
    whitening = (vectors / np.sqrt(values)) @ vectors.T
    if len(others) < 3:
        flat = np.full(d, -np.log(d))
        return Shape(whitening, flat, flat, np.eye(d), np.full(d, DENSE))
    centred = others - np.median(others, axis=0)
    white = centred @ whitening
    size = np.sqrt((centred**2).mean(axis=1))
    clipped = centred * np.minimum(1, STRONGEST / np.maximum(size, 1e-9))[:, None]
    gained, directions = np.linalg.eigh(clipped.T @ clipped / len(clipped) - correlation)
    gained = np.maximum(gained, 0)
    return Shape(
        whitening, _weigh(centred), _weigh(white), directions, DENSE + gained / (1 + gained)
    )


def _weigh(changes: Floats) -> Floats:
    """Weigh features by what squared changes exceed noise by; the logarithm, weights sum to 1."""
    excess = np.maximum(np.minimum(changes**2, STRONGEST**2).mean(axis=0) - 1, 0)
    total = excess.sum()
    flat = np.full(excess.size, 1 / excess.size)
    return np.log((1 - FLAT_WEIGHT) * excess / total + FLAT_WEIGHT * flat if total > 0 else flat)


def score_changes(changes: Floats, agreement: Floats, shape: Shape) -> Floats:
    """Score standardised changes in five ways, higher for more.

    Parameters
    ----------
    changes : (condition, feature)
        Changes in their standard deviations.
    agreement : (condition,)
        What pairs of replicates say in common, see `agree`.
    shape
        From `learn_shape`.

    Returns
    -------
    ndarray, shape (5, condition)
        In the order of `NAMES`.
    """
    white = changes @ shape.whitening
    single = np.log(2) + stats.norm.logsf(np.abs(changes)) - shape.log_weights
    single_white = np.log(2) + stats.norm.logsf(np.abs(white)) - shape.log_weights_white
    return np.stack(
        [
            -single.min(axis=1),
            -single_white.min(axis=1),
            agreement,
            (white**2).sum(axis=1),
            ((changes @ shape.directions) ** 2 * shape.gains).sum(axis=1),
        ]
    )


def agree(values: Floats, deviations: Floats, usual: float) -> Floats:
    """Sum the products of different replicates over features, of standardised wells.

    A well longer than usual counts as one of the usual length, so that a few wells with artefacts,
    each in a direction of its own, agree no better than noise does.

    Parameters
    ----------
    values : (condition, well, feature)
        Replicates, less their controls.
    deviations : (well, feature)
        Standard deviations.
    usual
        Mean square over features that counts as usual.

    Returns
    -------
    ndarray, shape (condition,)
    """
    z = values / deviations
    length = (z**2).mean(axis=2)
    z = z * np.sqrt(np.minimum(1, usual / np.maximum(length, 1e-12)))[:, :, None]
    return np.asarray((z.sum(axis=1) ** 2 - (z**2).sum(axis=1)).sum(axis=1))


def measure_tails(residuals: Floats) -> float:
    """Give the kurtosis of residuals, mean over features; 3 for normal ones, 0 for none."""
    squares = residuals**2
    usual = squares.mean(axis=0) if len(squares) else np.zeros(0)
    known = usual > 0
    if not known.any():
        return 0.0
    n = len(squares)
    return float(((squares[:, known] / usual[known]) ** 2).mean() * (n + 1) / max(n - 1, 1))


def extend_tail(observed: Floats, null: Floats) -> Floats:
    """Give the share of the null as high as each value; beyond its highest 5 % an exponential.

    Parameters
    ----------
    observed : (n,)
        Values.
    null : (draw,)
        Draws of the null, at least 40.
    """
    ordered = np.sort(null)
    first = int((1 - TAIL) * ordered.size)
    threshold = ordered[first]
    excess = max(float((ordered[first:] - threshold).mean()), 1e-12)
    above = ordered.size - np.searchsorted(ordered, observed)
    counted = (above + 1) / (ordered.size + 1)
    tail = TAIL * np.exp(-np.maximum(observed - threshold, 0) / excess)
    return np.asarray(np.maximum(np.where(observed > threshold, tail, counted), LEAST))


def combine(scores: Floats, null: Floats) -> Floats:
    """Combine statistics into one p-value: harmonic means of their p-values among the null's.

    Parameters
    ----------
    scores : (statistic, condition)
        Observed.
    null : (statistic, draw)
        Draws.

    References
    ----------
    Wilson, Proc. Natl. Acad. Sci. 116:1195 (2019), doi:10.1073/pnas.1814092116; here calibrated by
    the draws, so that no assumption on dependence is left.
    """
    observed = [extend_tail(own, draws) for own, draws in zip(scores, null, strict=True)]
    drawn = [extend_tail(draws, draws) for draws in null]
    sums = [np.log((PARTS / np.array(parts)).mean(axis=0)) for parts in (observed, drawn)]
    return extend_tail(sums[0], sums[1])
