"""Linear heads as the fast screen had them while it held all nuclei at once: an oracle.

A head is Fisher's linear discriminant between a perturbation's nuclei and the controls', with a
ridge. All heads of a fold share the controls' covariance, so there is one factorisation per fold
and one product per fold for all calls, instead of one training per perturbation and fold.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import linalg

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]

RIDGE = 0.1
"""Share of the mean variance that is added to every variance; chosen on simulated screens."""

MAX_MARGINS = 2**24
"""Control nuclei times comparisons that are called at once: 64 MB."""


class Blocks(NamedTuple):
    """The pieces that are held out whole: wells, or fields of wells.

    Attributes
    ----------
    start : (block + 1,) intp
        The nuclei of block i are rows start[i] to start[i + 1] of the features.
    plate, fold : (block,) intp
        Its plate, from 0, and the fold in which it is held out.
    is_control : (block,) bool
        Whether it holds negative controls.
    """

    start: Indices
    plate: Indices
    fold: Indices
    is_control: npt.NDArray[np.bool_]


class HeldOutCalls(NamedTuple):
    """What the heads say about nuclei they were not trained on.

    Attributes
    ----------
    balanced_accuracy, area_under_curve : (comparison, fold) float64
        NaN for folds that hold no nuclei of one kind, or leave none for training.
    n_called : (comparison, block) float64
        Nuclei called treated; NaN for blocks that the comparison does not hold out.
    """

    balanced_accuracy: Floats
    area_under_curve: Floats
    n_called: Floats


def score_heads(
    features: Singles,
    blocks: Blocks,
    treated: list[Indices],
) -> HeldOutCalls:
    """Train a head for every comparison on all folds but one, call that one; for every fold.

    Parameters
    ----------
    features
        Shape (nucleus, feature): standardised to the controls of each plate, so that controls of
        different plates are alike.
    blocks
        Where the nuclei belong.
    treated
        For each comparison the blocks that count as treated. All other control blocks of the same
        plates are its controls; control blocks may be treated, as draws are. Blocks of a class
        count equally in its mean.

    Returns
    -------
    HeldOutCalls
        A nucleus is called treated where the head is nearer to the treated mean.

    References
    ----------
    Fisher 1936, Ann. Eugen. 7:179, doi:10.1111/j.1469-1809.1936.tb02137.x; with a ridge: Friedman
    1989, J. Am. Stat. Assoc. 84:165, doi:10.1080/01621459.1989.10478752.
    """
    n_blocks, n_folds = len(blocks.plate), int(blocks.fold.max(initial=-1)) + 1
    counts = np.diff(blocks.start)
    means, gram, n_controls = _sum_blocks(features, blocks, n_folds)
    calls = HeldOutCalls(
        np.full((len(treated), n_folds), np.nan),
        np.full((len(treated), n_folds), np.nan),
        np.full((len(treated), n_blocks), np.nan),
    )
    # A control of a plate without treated blocks differs by more than the treatment.
    on_plates = np.zeros((len(treated), int(blocks.plate.max(initial=-1)) + 1), dtype=bool)
    is_treated = np.zeros((len(treated), n_blocks), dtype=bool)
    for number, own in enumerate(treated):
        on_plates[number, blocks.plate[own]] = True
        is_treated[number, own] = True
    filled = counts > 0
    is_other = on_plates[:, blocks.plate] & blocks.is_control & ~is_treated & filled
    is_treated &= filled
    for fold in range(n_folds):
        held = blocks.fold == fold
        trains = [_average(kind & ~held, means) for kind in (is_treated, is_other)]
        n_training = n_controls.sum() - n_controls[fold]
        if n_training < 2:
            continue
        covariance = (gram.sum(axis=0) - gram[fold]) / n_training
        mean_variance = max(float(np.trace(covariance)), 1e-12) / len(covariance)
        covariance[np.diag_indices_from(covariance)] += RIDGE * mean_variance
        factor = linalg.cho_factor(covariance, lower=True)
        # Comparisons that lack a class keep NaN in the middle, and are passed over.
        differences = np.nan_to_num(trains[0] - trains[1])
        directions = linalg.cho_solve(factor, differences.T).T
        middle = ((trains[0] + trains[1]) / 2 * directions).sum(axis=1)
        heads = directions, middle
        _call_fold(features, blocks, held, (is_treated, is_other), heads, calls, fold)
    return calls


def _sum_blocks(features: Singles, blocks: Blocks, n_folds: int) -> tuple[Floats, Floats, Indices]:
    """Average each block; sum the outer products of control nuclei, and count them, per fold."""
    d = features.shape[1]
    means = np.zeros((len(blocks.plate), d))
    gram, n_controls = np.zeros((n_folds, d, d)), np.zeros(n_folds, dtype=np.intp)
    for block, (first, last) in enumerate(zip(blocks.start[:-1], blocks.start[1:], strict=True)):
        if last > first:
            means[block] = features[first:last].mean(axis=0, dtype=np.float64)
    for fold in range(n_folds):
        chosen = np.flatnonzero((blocks.fold == fold) & blocks.is_control)
        rows = [features[blocks.start[b] : blocks.start[b + 1]] for b in chosen]
        if rows:
            nuclei = np.concatenate(rows)
            gram[fold] = nuclei.T @ nuclei
            n_controls[fold] = len(nuclei)
    return means, gram, n_controls


def _average(chosen: npt.NDArray[np.bool_], means: Floats) -> Floats:
    """Average the blocks chosen for each comparison; NaN without any."""
    n = chosen.sum(axis=1)
    total = chosen.astype(np.float64) @ means
    return np.divide(total, n[:, None], out=np.full(total.shape, np.nan), where=n[:, None] > 0)


def _call_fold(
    features: Singles,
    blocks: Blocks,
    held: npt.NDArray[np.bool_],
    kinds: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
    heads: tuple[Floats, Floats],
    calls: HeldOutCalls,
    fold: int,
) -> None:
    """Call the nuclei of the held-out blocks; results go into `calls`."""
    directions, middle = heads[0].astype(np.float32), heads[1].astype(np.float32)
    counts = np.diff(blocks.start)
    controls = np.flatnonzero(held & blocks.is_control & (counts > 0))
    pieces = [features[blocks.start[b] : blocks.start[b + 1]] for b in controls]
    empty = np.zeros((0, features.shape[1]), np.float32)
    nuclei = np.concatenate([*pieces, empty])
    # Of all controls for all comparisons at once a screen of many plates has no memory.
    at_once = max(1, MAX_MARGINS // max(1, len(nuclei)))
    ends = np.cumsum([0, *counts[controls]])
    of_control = dict(zip(controls.tolist(), pairwise(ends), strict=True))
    is_treated, is_other = kinds
    for number in range(len(directions)):
        if number % at_once == 0:
            now = slice(number, number + at_once)
            margins = nuclei @ directions[now].T - middle[now]
        own = np.flatnonzero(is_treated[number] & held)
        others = np.flatnonzero(is_other[number] & held)
        if not np.isfinite(middle[number]) or not own.size or not others.size:
            continue
        parts: list[list[Singles]] = [[], []]
        for side, chosen in enumerate((own, others)):
            for block in chosen.tolist():
                if block in of_control:
                    first, last = of_control[block]
                    margin = margins[first:last, number % at_once]
                else:
                    rows = features[blocks.start[block] : blocks.start[block + 1]]
                    margin = rows @ directions[number] - middle[number]
                calls.n_called[number, block] = int((margin > 0).sum())
                parts[side].append(margin)
        above, below = np.concatenate(parts[0]), np.concatenate(parts[1])
        calls.balanced_accuracy[number, fold] = ((above > 0).mean() + (below <= 0).mean()) / 2
        below.sort()
        n_below = np.searchsorted(below, above, side="left").sum(dtype=np.int64)
        n_below += np.searchsorted(below, above, side="right").sum(dtype=np.int64)
        calls.area_under_curve[number, fold] = n_below / (2 * above.size * below.size)
