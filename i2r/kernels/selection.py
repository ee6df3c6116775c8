"""Choosing a map for every gene without it, and what the choice is worth with shuffled links."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from i2r.kernels import kernel_regression as regression
from i2r.kernels.mapping import (
    Configuration,
    Floats,
    Ints,
    Link,
    inverse_for,
    measure_cosines,
    rank_left_out,
    rank_left_two_out,
    score_candidates,
    weigh_left_out,
)
from i2r.kernels.ranking import correct_hubs, rank_truth, score_log_ranks


class Selection(NamedTuple):
    """Left-out ranks of all configurations, and what was chosen for each gene without it.

    Attributes
    ----------
    ranks : (g, n) float64
        Of every configuration.
    inner_scores : (g, n) float64
        What each configuration reaches on the others when gene i is held out.
    chosen : (n,) int64
        The configuration with the best inner score; the first of equal ones.
    """

    ranks: Floats
    inner_scores: Floats
    chosen: Ints

    @property
    def nested(self) -> Floats:
        """Ranks with the configuration chosen without the gene that is ranked, shape (n,)."""
        return self.ranks[self.chosen, np.arange(self.ranks.shape[1])]


def select_nested(
    configurations: Sequence[Configuration], inverses: Sequence[Floats], link: Link
) -> Selection:
    """Rank every gene left out, with the configuration chosen on the other genes alone.

    Parameters
    ----------
    configurations, inverses
        From `invert_kernels`.
    link
        Training genes and candidates.
    """
    ranks = np.stack(
        [
            rank_left_out(inverse, link, centre=c.centre)
            for c, inverse in zip(configurations, inverses, strict=True)
        ]
    )
    if len(configurations) == 1:
        # Nothing to choose from: the inner regressions would decide nothing.
        return Selection(ranks, np.full_like(ranks, np.nan), np.zeros(len(link.truth), np.int64))
    inner = np.stack(
        [
            score_log_ranks(rank_left_two_out(inverse, link, centre=c.centre), link.n_candidates)
            for c, inverse in zip(configurations, inverses, strict=True)
        ]
    )
    return Selection(ranks, inner, np.argmax(inner, axis=0).astype(np.int64))


def score_selected(
    configurations: Sequence[Configuration],
    inverses: Sequence[Floats],
    link: Link,
    chosen: Ints,
    *,
    correct: bool = False,
) -> Floats:
    """Score all candidates for every gene left out, by the configuration chosen for it.

    Parameters
    ----------
    chosen
        Shape (n,): from `select_nested`.
    correct
        Correct for hubs (`i2r.kernels.ranking.correct_hubs`), by the predictions of the other
        genes that saw neither them nor the gene that is scored.

    Returns
    -------
    ndarray of float64, shape (n, c)
        Higher is nearer.
    """
    n = len(link.truth)
    scores = np.empty((n, link.n_candidates))
    for place in np.unique(chosen):
        inverse, centre = inverses[place], configurations[place].centre
        genes = np.nonzero(chosen == place)[0]
        weights = weigh_left_out(inverse, centre=centre)
        if not correct:
            scores[genes] = score_candidates(weights, link)[genes]
            continue
        for gene in genes:
            own_inverse = inverse_for(inverse, int(gene))
            others = regression.leave_two_out_weights(own_inverse, int(gene), centre=centre)
            reference = measure_cosines(np.delete(others, gene, axis=0), link, int(gene))
            own = measure_cosines(weights[[gene]], link, int(gene))
            scores[gene] = correct_hubs(own, reference)[0]
    return scores


def shuffle_links(
    configurations: Sequence[Configuration],
    inverses: Sequence[Floats],
    link: Link,
    *,
    seed: np.random.SeedSequence,
    draws: int,
    correct: bool = False,
    hidden: npt.NDArray[np.bool_] | None = None,
) -> Floats:
    """Repeat everything with inputs dealt to the genes at random, choice of options included.

    Parameters
    ----------
    correct
        As in `score_selected`.
    hidden
        Shape (n, c): candidates that a gene is not ranked among; None for none.

    Returns
    -------
    ndarray of float64, shape (draws, n)
        Left-out ranks of each shuffled link.
    """
    random = np.random.default_rng(seed)
    shuffled = np.empty((draws, len(link.truth)))
    for draw in range(draws):
        order = random.permutation(len(link.truth))
        moved = [move_inputs(inverse, order) for inverse in inverses]
        selection = select_nested(configurations, moved, link)
        shuffled[draw] = selection.nested
        if correct or hidden is not None:
            scores = score_selected(configurations, moved, link, selection.chosen, correct=correct)
            seen = scores if hidden is None else np.where(hidden, -np.inf, scores)
            shuffled[draw] = rank_truth(seen, link.truth)
    return shuffled


def move_inputs(inverse: Floats, order: npt.NDArray[np.int64]) -> Floats:
    """Give the inverse for inputs in another order; what was made without one moves along."""
    if inverse.ndim == 2:
        return inverse[np.ix_(order, order)]
    return inverse[np.ix_(order, order, order)]
