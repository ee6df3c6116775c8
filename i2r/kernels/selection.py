"""Choosing a map for every gene without it, and what the choice is worth with shuffled links."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from i2r.kernels import kernel_regression as regression
from i2r.kernels.links import Floats, Ints, Link
from i2r.kernels.mapping import (
    Configuration,
    inverse_for,
    measure_cosines,
    rank_all_ways,
    rank_left_out,
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
    inner = score_without(configurations, inverses, link)
    return Selection(ranks, inner, choose_best(inner))


def score_without(
    configurations: Sequence[Configuration], inverses: Sequence[Floats], link: Link
) -> Floats:
    """Score configurations by the others' ranks when gene i is held out, shape (g, n).

    NaN for a single one: the inner regressions would decide nothing.
    """
    inner = np.full((len(configurations), len(link.truth)), np.nan)
    if len(configurations) == 1:
        return inner

    # Centred or not, a kernel with a penalty has one inverse.
    def share(at: int) -> tuple[object, ...]:
        return configurations[at][:3]

    groups = [list(same) for _, same in groupby(sorted(range(len(inner)), key=share), key=share)]
    ranked = rank_all_ways(
        [inverses[places[0]] for places in groups],
        link,
        [[configurations[at].centre for at in places] for places in groups],
    )
    for places, ways in zip(groups, ranked, strict=True):
        for at, found in zip(places, ways, strict=True):
            inner[at] = score_log_ranks(found, link.n_candidates)
    return inner


def choose_best(inner: Floats) -> Ints:
    """Choose for every gene the first configuration with the best inner score, shape (n,)."""
    if len(inner) == 1:
        return np.zeros(inner.shape[1], dtype=np.int64)
    return np.argmax(inner, axis=0).astype(np.int64)


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
            scores[genes] = score_candidates(weights[genes], link, genes)
            continue
        for gene in genes:
            own_inverse = inverse_for(inverse, int(gene))
            others = regression.leave_two_out_weights(own_inverse, int(gene), centre=centre)
            reference = measure_cosines(np.delete(others, gene, axis=0), link, int(gene))
            own = measure_cosines(weights[[gene]], link, int(gene))
            scores[gene] = correct_hubs(own, reference)[0]
    return scores


def rank_selected(
    configurations: Sequence[Configuration],
    inverses: Sequence[Floats],
    link: Link,
    *,
    correct: bool = False,
    hidden: npt.NDArray[np.bool_] | None = None,
) -> list[Floats]:
    """Choose options for every gene without it and rank it by them; see `shuffle_links`.

    Returns
    -------
    list of ndarray of float64, shape (n,)
        Ranks among all candidates, and with ``hidden`` those among the ones that are left.
    """
    chosen = choose_best(score_without(configurations, inverses, link))
    scores = score_selected(configurations, inverses, link, chosen, correct=correct)
    ranks = [rank_truth(scores, link.truth)]
    if hidden is not None:
        ranks.append(rank_truth(np.where(hidden, -np.inf, scores), link.truth))
    return ranks


def shuffle_links(
    configurations: Sequence[Configuration],
    inverses: Sequence[Floats],
    link: Link,
    *,
    seed: np.random.SeedSequence,
    draws: int,
    correct: bool = False,
    hidden: npt.NDArray[np.bool_] | None = None,
    is_enough: Callable[[list[Floats]], bool] | None = None,
) -> list[Floats]:
    """Repeat everything with inputs dealt to the genes at random, choice of options included.

    Parameters
    ----------
    correct
        As in `score_selected`.
    hidden
        Shape (n, c): candidates that a gene is not ranked among; None for none.
    is_enough
        Asked after every draw with the ranks so far, whether that is enough of them; see
        `i2r.kernels.ranking.sequential_pvalue`. The first are the same whether or not they are
        the last.

    Returns
    -------
    list of ndarray of float64, shape (draws, n)
        Left-out ranks of each shuffled link; with ``hidden`` also those among the candidates that
        are left.
    """
    random = np.random.default_rng(seed)
    drawn: list[Floats] = []
    seen_drawn: list[Floats] = []
    for _ in range(draws):
        order = random.permutation(len(link.truth))
        moved = [move_inputs(inverse, order) for inverse in inverses]
        ranks, *seen = rank_selected(configurations, moved, link, correct=correct, hidden=hidden)
        drawn.append(ranks)
        seen_drawn += seen
        if is_enough is not None and is_enough(drawn if hidden is None else seen_drawn):
            break
    return [np.stack(found) for found in (drawn, seen_drawn) if found]


def move_inputs(inverse: Floats, order: npt.NDArray[np.int64]) -> Floats:
    """Give the inverse for inputs in another order; what was made without one moves along."""
    if inverse.ndim == 2:
        return inverse[np.ix_(order, order)]
    return inverse[np.ix_(order, order, order)]
