"""The null of held-out scores: sets of control wells, and the conditions that score below chance.

Few control wells give few sets that share none, and what is learned of the null from few sets is
rough. Conditions tell more of it: a classifier that learns nothing scores below chance as often as
above, and one that learns something does not score below. So the lower half of all conditions says
how far scores scatter, whatever share of the conditions does something.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

CHANCE = 0.5
"""Balanced accuracy of a classifier that learned nothing."""

LEAST_FREEDOM = 6.0
"""Degrees of freedom of the null below which there is no p-value."""

MIDDLE = 8
"""Conditions from which on their median tells what all of them differ from controls by."""


EXTREME = 0.002
"""Distance from 0 and 1 that scores keep when they are stretched."""


def stretch_scores(scores: npt.ArrayLike) -> Floats:
    """Give scores on the scale of distances in what a classifier sees; `CHANCE` and its slope stay.

    Accuracies saturate: one of 0.95 is further from chance than twice one of 0.725. Distances
    between normal distributions do not (the sensitivity index of signal detection).

    Parameters
    ----------
    scores
        Balanced accuracies; NaN stays NaN.
    """
    values = np.clip(np.asarray(scores, dtype=np.float64), EXTREME, 1 - EXTREME)
    return np.asarray(CHANCE + stats.norm.pdf(0) * stats.norm.ppf(values))


class ScoreNull(NamedTuple):
    """How scores scatter that mean nothing.

    Attributes
    ----------
    centre
        Their mean, at least `CHANCE`.
    spread, deviation
        The standard deviation of scores, and of one more with the centre's error.
    freedom
        Degrees of freedom of both.
    """

    centre: float
    spread: float
    deviation: float
    freedom: float


def learn_null(
    draws: npt.ArrayLike, scores: npt.ArrayLike, *, n_independent: int, follows_middle: bool = False
) -> ScoreNull:
    """Learn how scores scatter that mean nothing.

    Parameters
    ----------
    draws
        Shape (draw,): scores of sets of control wells; NaN are left out.
    scores
        Shape (condition,): scores of conditions whose wells lie alike; NaN are left out.
    n_independent
        Draws that could be made without sharing a well.
    follows_middle
        Whether the median of `MIDDLE` or more conditions is the least centre: where controls lie
        at other places than conditions, places alone raise all scores.

    Returns
    -------
    ScoreNull
        NaN deviations with no degree of freedom or no scatter.
    """
    drawn, found = (np.asarray(v, dtype=np.float64).ravel() for v in (draws, scores))
    drawn, found = drawn[~np.isnan(drawn)], found[~np.isnan(found)]
    b = min(n_independent, drawn.size)
    centre, squares, freedom = CHANCE, 0.0, 0.0
    if b >= 2:
        # Sets that share wells say less than as many that share none.
        centre = max(centre, float(drawn.mean()))
        squares, freedom = (b - 1) * float(drawn.var(ddof=1)), b - 1.0
    if follows_middle and found.size >= MIDDLE:
        centre = max(centre, float(np.median(found)))
    below = found[found < centre] - centre
    squares, freedom = squares + float(below @ below), freedom + below.size
    if squares <= 0:
        return ScoreNull(centre, float("nan"), float("nan"), freedom)
    spread = float(np.sqrt(squares / freedom))
    wider = float(np.sqrt(1 + 1 / (b if b >= 2 else freedom + 1)))
    return ScoreNull(centre, spread, spread * wider, freedom)


def compare_scores(scores: npt.ArrayLike, null: ScoreNull) -> Floats:
    """Give the probability that one more score which means nothing is as high.

    Parameters
    ----------
    scores
        Shape (n,); NaN gives NaN.
    null
        From `learn_null`; with fewer than `LEAST_FREEDOM` degrees of freedom all are NaN.

    Returns
    -------
    ndarray, shape (n,)
        From Student's t: the prediction of one more normal value (Meeker, Hahn and Escobar,
        Statistical Intervals, 2nd ed., Wiley 2017, doi:10.1002/9781118594841).
    """
    observed = np.asarray(scores, dtype=np.float64)
    if np.isnan(null.deviation) or null.freedom < LEAST_FREEDOM:
        return np.full(observed.shape, np.nan)
    return np.asarray(stats.t.sf((observed - null.centre) / null.deviation, null.freedom))
