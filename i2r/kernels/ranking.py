"""Where the true gene stands among all candidates, and what that is worth.

Ranks count from 1, the best. Candidates that tie with the true one count half, so a prediction
that says nothing gets the middle rank and not the first. Published figures of Image2Reg (Paysan et
al., Cell Systems 2025) are top-k curves and their area; intervals, nulls and the check for hubs are
added here.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

# Scores that differ by less than this part of their size are equal: identical embeddings reach the
# score of a prediction in different orders of summation.
TIE = 1e-9
# The same of scores by numbers of single precision.
SINGLE_TIE = 1e-5


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


def rank_truth(scores: npt.ArrayLike, truth: npt.ArrayLike) -> Floats:
    """Rank each query's true candidate by its score.

    Parameters
    ----------
    scores
        Shape (q, c), higher is better. A row with NaN gives NaN.
    truth
        Shape (q,): position of the true candidate of each query.

    Returns
    -------
    ndarray of float64, shape (q,)
        1 to c; whole or half numbers.
    """
    scores = np.asarray(scores, dtype=float)
    own = np.take_along_axis(scores, np.asarray(truth)[:, None], axis=1)
    tolerance = TIE * np.maximum(np.abs(own), 1)
    better = (scores > own + tolerance).sum(axis=1)
    tied = (np.abs(scores - own) <= tolerance).sum(axis=1)
    ranks = 1 + better + (tied - 1) / 2
    return np.where(np.isnan(scores).any(axis=1), np.nan, ranks)


def top_k_curve(ranks: npt.ArrayLike, k_max: int = 50) -> Floats:
    """Give the share of queries whose true candidate is among the best k, k = 1 to ``k_max``.

    Parameters
    ----------
    ranks
        Shape (..., q).

    Returns
    -------
    ndarray of float64, shape (..., k_max)
        NaN where there are no queries.
    """
    ranks = np.asarray(ranks, dtype=float)
    if not ranks.shape[-1]:
        return np.full((*ranks.shape[:-1], k_max), np.nan)
    hits = ranks[..., None, :] <= np.arange(1, k_max + 1)[:, None]
    curve: Floats = hits.mean(axis=-1)
    return curve


def published_auc(ranks: npt.ArrayLike, k_max: int) -> Floats:
    """Give the "k-NN AUC" as published: top-k accuracies to ``k_max`` summed, over ``k_max + 1``.

    Half ranks of ties count for the k above them.
    """
    area: Floats = top_k_curve(ranks, k_max).sum(axis=-1) / (k_max + 1)
    return area


def score_log_ranks(ranks: npt.ArrayLike, n_candidates: int) -> Floats:
    """Score ranks between 1 (all first) and 0 (all last) on a logarithmic scale.

    The mean of ``1 - log(rank) / log(n_candidates)``: smooth where top-k accuracies of a few dozen
    queries jump, and heaviest at the top, so options are chosen by it and nulls compared on it.

    Parameters
    ----------
    ranks
        Shape (..., q); NaN are left out.
    n_candidates
        At least 2.
    """
    values = 1 - np.log(np.asarray(ranks, dtype=float)) / np.log(n_candidates)
    known = ~np.isnan(values)
    count = known.sum(axis=-1)
    total = np.where(known, values, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def chance_log_score(n_candidates: int) -> float:
    """Give the expected `score_log_ranks` of guessing."""
    ranks = np.arange(1, n_candidates + 1)
    return float(1 - np.log(ranks).mean() / np.log(n_candidates))


def hit_interval(hits: int, n: int) -> Interval:
    """Give the exact 95 % interval of a share of queries (Clopper and Pearson 1934).

    References
    ----------
    Clopper and Pearson 1934, Biometrika 26:404. https://doi.org/10.1093/biomet/26.4.404
    """
    low = float(stats.beta.ppf(0.025, hits, n - hits + 1)) if hits else 0.0
    high = float(stats.beta.ppf(0.975, hits + 1, n - hits)) if hits < n else 1.0
    return Interval(low, high)


def chance_pvalue(hits: int, n: int, share: float) -> float:
    """Give the probability of at least so many hits of n when each has the chance ``share``."""
    return float(stats.binom.sf(hits - 1, n, share))


def bootstrap_mean(values: npt.ArrayLike, *, seed: int, draws: int = 2000) -> Interval:
    """Give the 95 % percentile interval of a mean over genes, genes drawn with replacement.

    References
    ----------
    Efron 1979, Annals of Statistics 7:1. https://doi.org/10.1214/aos/1176344552
    """
    values = np.asarray(values, dtype=float)
    if not values.size:
        return Interval(float("nan"), float("nan"))
    random = np.random.default_rng(seed)
    means = values[random.integers(0, values.size, (draws, values.size))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(float(low), float(high))


def permutation_pvalue(observed: float, null: npt.ArrayLike) -> float:
    """Give the share of null values at least as large, the observed one counted among them.

    References
    ----------
    Phipson and Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39.
    https://doi.org/10.2202/1544-6115.1585
    """
    null = np.asarray(null, dtype=float)
    return float((1 + (null >= observed - TIE).sum()) / (1 + null.size))


# A null that has reached the observed value so often is enough: the p-value is above this number
# over as many draws as were wanted.
ENOUGH = 10


def sequential_pvalue(observed: float, null: npt.ArrayLike) -> float:
    """Give the p-value of null values drawn one after another until `ENOUGH` reach the observed.

    Where so many do, their number over that of the draws until then; otherwise, with all draws
    made, `permutation_pvalue`. Both are valid, and a link that is nothing takes a few draws.

    References
    ----------
    Besag and Clifford 1991, Biometrika 78:301. https://doi.org/10.1093/biomet/78.2.301
    """
    reached = np.asarray(null, dtype=float) >= observed - TIE
    at = np.flatnonzero(reached)
    if len(at) >= ENOUGH:
        return float(ENOUGH / (at[ENOUGH - 1] + 1))
    return float((1 + len(at)) / (1 + reached.size))


class Hubness(NamedTuple):
    """How unevenly candidates appear among the nearest of all queries.

    Attributes
    ----------
    skewness
        Third standardised moment of the occurrences; near 0 where none is favoured, 2 and more
        where a few hubs take most places.
    occurrences
        Shape (c,): in how many queries' best k each candidate is.
    top_share
        Share of all places taken by the tenth of candidates that appear most.
    """

    skewness: float
    occurrences: npt.NDArray[np.int64]
    top_share: float


def diagnose_hubs(scores: npt.ArrayLike, k: int = 10) -> Hubness:
    """Count how often each candidate is among the best k of the queries.

    Parameters
    ----------
    scores
        Shape (q, c), higher is better.

    References
    ----------
    Radovanovic, Nanopoulos and Ivanovic 2010, Hubs in space, JMLR 11:2487.
    """
    scores = np.asarray(scores, dtype=float)
    n_candidates = scores.shape[1]
    k = min(k, n_candidates)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    counts = np.bincount(best.ravel(), minlength=n_candidates).astype(np.int64)
    is_even = counts.min() == counts.max()
    most = np.sort(counts)[::-1][: max(1, n_candidates // 10)].sum()
    return Hubness(
        0.0 if is_even else float(stats.skew(counts)), counts, float(most / max(counts.sum(), 1))
    )


def correct_hubs(similarity: npt.ArrayLike, reference: npt.ArrayLike, k: int = 10) -> Floats:
    """Lower the similarity of candidates that are near to every prediction.

    Cross-domain similarity local scaling: a candidate's mean similarity to the k reference
    predictions nearest to it counts against it.

    Parameters
    ----------
    similarity
        Shape (q, c): cosines between predictions and candidates.
    reference
        Shape (r, c): cosines between other predictions, at least one, and the candidates.

    Returns
    -------
    ndarray of float64, shape (q, c)
        ``2 cosine - mean of k``; the query's own term is the same for all candidates and left out.

    References
    ----------
    Conneau et al. 2018, Word translation without parallel data, ICLR.
    https://doi.org/10.48550/arXiv.1710.04087
    """
    reference = np.asarray(reference, dtype=float)
    k = min(k, len(reference))
    nearest = np.partition(reference, len(reference) - k, axis=0)[len(reference) - k :]
    corrected: Floats = 2 * np.asarray(similarity, dtype=float) - nearest.mean(axis=0)
    return corrected


def conformal_size(calibration: npt.ArrayLike, n_candidates: int, level: float) -> int:
    """Say how many of the best candidates hold the true one with the wanted probability.

    The conformal quantile of the ranks of genes that were left out: for a new gene that is like
    them, the best so many candidates hold the true one with at least the probability ``level``.

    Parameters
    ----------
    calibration
        Shape (n,): ranks of left-out genes; NaN are left out.
    n_candidates
        The answer where the ranks are too few for the level.
    level
        Wanted probability, between 0 and 1.

    References
    ----------
    Vovk, Gammerman and Shafer 2005, Algorithmic learning in a random world.
    https://doi.org/10.1007/b106715
    """
    ranks = _sort_known(calibration)
    position = int(np.ceil((len(ranks) + 1) * level - 1e-12))
    return n_candidates if position > len(ranks) else int(np.ceil(ranks[position - 1]))


def rank_confidence(calibration: npt.ArrayLike, n_candidates: int) -> Floats:
    """Give the calibrated probability that the true gene is among the best k, for every k.

    The share of left-out genes found within k, one unseen gene counted as never found: the
    largest level whose `conformal_size` is at most k.

    Returns
    -------
    ndarray of float64, shape (n_candidates,)
        For k = 1, 2, ...; rises, and is 1 at the end, where all candidates are in.
    """
    ranks = _sort_known(calibration)
    within = np.searchsorted(ranks, np.arange(1, n_candidates + 1), side="right")
    confidence: Floats = within / (len(ranks) + 1)
    confidence[-1:] = 1.0
    return confidence


def _sort_known(ranks: npt.ArrayLike | Sequence[float]) -> Floats:
    values = np.asarray(ranks, dtype=float)
    known: Floats = np.sort(values[~np.isnan(values)])
    return known


def average_precision(truth: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Give the mean precision at every true pair, pairs taken by falling score.

    Equal scores enter together. NaN where nothing is true.

    Parameters
    ----------
    truth
        Shape (n,), bool.
    scores
        Shape (n,), higher means more likely true.

    References
    ----------
    Zhu 2004, Recall, precision and average precision, University of Waterloo.
    """
    is_true, scores = np.asarray(truth, dtype=bool), np.asarray(scores, dtype=float)
    if not is_true.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(is_true[order])
    # The last place of each group of equal scores.
    last = np.append(np.diff(scores[order]) != 0, True)
    precision = hits[last] / (np.nonzero(last)[0] + 1)
    gained = np.diff(hits[last], prepend=0)
    return float((precision * gained).sum() / is_true.sum())
