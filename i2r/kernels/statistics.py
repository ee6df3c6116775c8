"""From p-values to false discovery rates, intervals of scores, trends and calls."""

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

PRIOR_FREEDOM = 6.0
"""Degrees of freedom that the scatter of all conditions' wells counts as, beside a condition's."""


def adjust_pvalues(p_values: npt.ArrayLike, *, depend: bool = False) -> Floats:
    """Adjust p-values so that calling those below a level bounds the false discovery rate by it.

    Parameters
    ----------
    p_values
        Shape (n,), in [0, 1]; NaN stays NaN and counts as no test.
    depend
        Whether the bound has to hold however the p-values depend on one another: stricter by the
        sum of 1, 1/2, ... 1/n.

    Returns
    -------
    ndarray
        Shape (n,): the smallest level at which each is called.

    Raises
    ------
    ValueError
        If a value lies outside [0, 1].

    References
    ----------
    Benjamini and Hochberg, J. R. Stat. Soc. B 57:289 (1995),
    doi:10.1111/j.2517-6161.1995.tb02031.x. Benjamini and Yekutieli, Ann. Stat. 29:1165 (2001),
    doi:10.1214/aos/1013699998.
    """
    values = np.asarray(p_values, dtype=np.float64)
    known = ~np.isnan(values)
    if ((values[known] < 0) | (values[known] > 1)).any():
        raise ValueError("p-values: found some outside [0, 1]")
    adjusted = np.full(values.shape, np.nan)
    if known.any():
        method: Literal["bh", "by"] = "by" if depend else "bh"
        adjusted[known] = stats.false_discovery_control(values[known], method=method)
    return adjusted


def combine_pvalues(p_values: npt.ArrayLike) -> float:
    """Combine p-values that may depend on one another, as those of reagents of a gene do.

    Parameters
    ----------
    p_values
        Shape (n,), in (0, 1]; NaN are left out.

    Returns
    -------
    float
        NaN without any.

    References
    ----------
    Cauchy combination: Liu and Xie, J. Am. Stat. Assoc. 115:393 (2020),
    doi:10.1080/01621459.2018.1554485.
    """
    values = np.asarray(p_values, dtype=np.float64)
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan")
    # Below 1e-15 the tangent is 1 / (p pi) to the last digit.
    small = values < 1e-15
    inner = np.clip(values, 1e-15, 1 - 1e-15)
    terms = np.where(small, 1 / (np.maximum(values, 1e-300) * np.pi), np.tan((0.5 - inner) * np.pi))
    mean = float(terms.mean())
    return 1 / (mean * np.pi) if mean > 1e15 else float(stats.cauchy.sf(mean))


def interval_accuracies(
    n_called: npt.ArrayLike,
    n_nuclei: npt.ArrayLike,
    is_treated: npt.ArrayLike,
    conditions: npt.ArrayLike,
) -> tuple[Floats, Floats]:
    """Give 95 % confidence intervals of balanced accuracies for wells like these.

    Nuclei of a well are not independent, so wells are what scatters. A condition has two to six of
    them, too few to tell their scatter: it is moderated towards that of all conditions, on the
    scale of the arcsine, where it does not depend on the share itself. Drawing wells anew (the
    bootstrap) covers 64 to 88 % with so few.

    Parameters
    ----------
    n_called, n_nuclei
        Shape (well,): nuclei called treated, and nuclei in all, of every held-out well.
    is_treated
        Shape (well,): True where the well holds the condition, False for its controls.
    conditions
        Shape (well,): 0, 1, ...

    Returns
    -------
    low, high : (condition,) float64
        NaN where a class has no well with nuclei, or no condition has two treated wells.

    References
    ----------
    Moderated variances: Smyth, Stat. Appl. Genet. Mol. Biol. 3:3 (2004),
    doi:10.2202/1544-6115.1027; arcsine with counts: Anscombe, Biometrika 35:246 (1948),
    doi:10.1093/biomet/35.3-4.246.
    """
    called, nuclei = np.asarray(n_called, dtype=np.float64), np.asarray(n_nuclei, dtype=np.float64)
    which, treated = np.asarray(conditions, dtype=np.intp), np.asarray(is_treated, dtype=bool)
    n = int(which.max(initial=-1)) + 1
    shares, variances = [], []
    freedom = np.zeros(n)
    for is_own in (True, False):
        rows = np.flatnonzero((treated == is_own) & (nuclei > 0))
        of = which[rows]
        wells = np.bincount(of, minlength=n).astype(np.float64)
        total = np.bincount(of, nuclei[rows], n)
        share = np.divide(
            np.bincount(of, called[rows], n), total, out=np.full(n, np.nan), where=total > 0
        )
        angle = np.arcsin(np.sqrt((called[rows] + 0.375) / (nuclei[rows] + 0.75)))
        mean = np.bincount(of, angle, n) / np.maximum(wells, 1)
        own = np.maximum(wells - 1, 0)
        squares = np.bincount(of, (angle - mean[of]) ** 2, n)
        if own.sum() == 0:
            return np.full(n, np.nan), np.full(n, np.nan)
        prior = min(PRIOR_FREEDOM, float(own.sum()))
        variance = (squares + prior * squares.sum() / own.sum()) / (own + prior)
        # Counting alone scatters by 1 / 4 n.
        variance = np.maximum(variance, wells / np.maximum(4 * total, 1))
        # What a share moves by as its angle does; at 0 and 1 as much as one nucleus does.
        slope = 2 * np.sqrt(np.maximum(share * (1 - share), 0.25 / np.maximum(total, 1)))
        shares.append(share)
        variances.append(variance / np.maximum(wells, 1) * slope**2)
        if is_own:
            freedom = own + prior
    half = stats.t.ppf(0.975, np.maximum(freedom, 1)) * np.sqrt(sum(variances)) / 2
    middle = (shares[0] + 1 - shares[1]) / 2
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def measure_trend(doses: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[float, float]:
    """Measure whether scores rise with the dose, in whatever shape.

    Kendall's rank correlation, which for one score per dose is the test of Jonckheere and
    Terpstra. Under the null that the dose plays no part, all orders of the scores are equally
    likely, though they share their controls.

    Parameters
    ----------
    doses, scores
        Shape (n,): in any order; pairs with NaN are left out.

    Returns
    -------
    tau, p_value
        From -1 (falls at every step) to 1 (rises at every step), and the probability of so high a
        tau by chance: exact without ties, from the normal approximation with them. NaN for fewer
        than three scores, or where all doses or all scores are the same.

    References
    ----------
    Kendall, Biometrika 30:81 (1938), doi:10.1093/biomet/30.1-2.81; Jonckheere, Biometrika 41:133
    (1954), doi:10.1093/biomet/41.1-2.133.
    """
    x, y = np.asarray(doses, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    known = ~(np.isnan(x) | np.isnan(y))
    if known.sum() < 3 or np.ptp(x[known]) == 0 or np.ptp(y[known]) == 0:
        return float("nan"), float("nan")
    found = stats.kendalltau(x[known], y[known], alternative="greater")
    return float(found.statistic), float(found.pvalue)


def find_knee(scores: npt.ArrayLike, *, sensitivity: float = 2.0) -> int:
    """Find the knee of a falling convex curve of scores: how many stand above the rest.

    Parameters
    ----------
    scores
        Shape (n,): in any order; NaN are left out.
    sensitivity
        Kneedle's S, in steps of the curve: how far the curve has to fall behind its knee. Image2Reg
        uses 2.

    Returns
    -------
    int
        How many scores lie before the knee; 0 for fewer than three scores, a constant curve, or
        one without a knee.

    References
    ----------
    Satopaa et al., Finding a "Kneedle" in a haystack, ICDCSW 2011, doi:10.1109/ICDCSW.2011.20.
    """
    curve = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    curve = curve[~np.isnan(curve)][::-1]
    if curve.size < 3 or curve[0] == curve[-1]:
        return 0
    x = np.linspace(0, 1, curve.size)
    # How far the curve lies below the straight line between its ends, each scaled to [0, 1].
    below = 1 - x - (curve - curve[-1]) / (curve[0] - curve[-1])
    step = 1 / (curve.size - 1)
    inner = np.arange(1, curve.size - 1)
    peaks = inner[(below[inner] >= below[inner - 1]) & (below[inner] > below[inner + 1])]
    for place, peak in enumerate(peaks):
        end = peaks[place + 1] if place + 1 < peaks.size else curve.size
        if below[peak] > 0 and below[peak:end].min() < below[peak] - sensitivity * step:
            return int(peak)
    return 0
