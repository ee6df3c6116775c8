"""From new perturbation embeddings to ranked genes, with a confidence and the right to abstain."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.analysis.regulation.gene_mapping import Problem
from i2r.analysis.regulation.queries import Queries
from i2r.errors import InputError
from i2r.kernels import kernel_regression as regression
from i2r.kernels import mapping, ranking
from i2r.kernels import selection as selecting
from i2r.kernels.links import Space

Floats = npt.NDArray[np.float64]
# Shuffled links that are multiplied at a time.
_AT_ONCE = 25
# Queries and genes that a summary names.
SHOWN, NEAREST = 8, 3


class Answers(NamedTuple):
    """What is answered: one row per query, and the ranked genes of those with an answer."""

    queries: pd.DataFrame
    ranked: pd.DataFrame


def predict_genes(
    problem: Problem,
    configurations: Sequence[mapping.Configuration],
    queries: Queries,
    *,
    correct: bool,
    uncalled: Collection[str] = (),
    p_map: float,
    level: float,
    alpha: float,
    draws: int,
    top: int,
    seed: np.random.SeedSequence,
) -> Answers:
    """Rank candidates for every query, or abstain.

    A query is answered when two nulls are beaten: the map as a whole finds left-out genes better
    than maps with shuffled links (``p_map``), and the training genes that this query resembles
    agree on a place among the regulatory embeddings better than randomly assigned ones do. A query
    of which a screen says that it does nothing is not answered either.

    Parameters
    ----------
    problem, configurations, correct
        As for the map; the ranks of left-out genes are what confidence is calibrated on.
    uncalled
        Queries that a screen does not call.
    p_map
        Permutation p-value of the map; NaN (no permutations, or hardly a candidate without a
        label) abstains from everything.
    level
        Probability with which a set of candidates is to hold the true gene.
    alpha
        Both nulls are beaten at p-values up to this.
    draws
        Shuffled links of the second null.
    top
        Candidates to list per query; the whole set is listed where it is larger.

    Returns
    -------
    Answers
        ``queries``: query, gene, answer ('ranked' or 'abstained'), reason, best, p_query, p_map,
        set_size (all candidates where abstained), n_candidates, left_out, rank_true (NaN where the
        gene is not known or no candidate), in_set (of the true gene; missing where its rank is).
        ``ranked``: query, place, candidate, score, confidence (calibrated probability that the true
        gene is at this place or before), in_set, beyond_network.
    """
    if queries.x.shape[-1] != problem.x.shape[-1]:
        raise InputError(
            f"predict: queries have {queries.x.shape[-1]} numbers each, the map learned from "
            f"{problem.x.shape[-1]}. Embed them with the same encoder."
        )
    inverses = mapping.invert_kernels(configurations, problem.x)
    selection = selecting.select_nested(configurations, inverses, problem.link)
    arguments = configurations, inverses, problem.link, selection.chosen
    left_out = selecting.score_selected(*arguments, correct=correct)
    calibration = ranking.rank_truth(left_out, problem.link.truth)
    whole = int(np.argmax(ranking.score_log_ranks(selection.ranks, len(problem.candidates))))
    place = {gene: row for row, gene in enumerate(problem.genes)}
    rows, ranked = [], []
    for name, gene, x in zip(*queries, strict=True):
        own = place.get(gene)
        chosen = whole if own is None else int(selection.chosen[own])
        weights = _weigh(problem, configurations[chosen], inverses[chosen], x, own)
        kept = np.arange(len(problem.genes)) != (-1 if own is None else own)
        products, squared = _space(problem, own)
        scores = 2 * weights @ products - squared
        if correct:
            centre = configurations[chosen].centre
            scores = _correct(problem, inverses[chosen], weights, own, centre=centre)
        own_products = products[kept][:, problem.link.truth[kept]]
        # The same orders for every query: what is said of one doesn't depend on the others.
        random = np.random.default_rng(seed)
        p_query = measure_agreement(weights[kept], products[kept], own_products, random, draws)
        answer = _answer(
            problem, scores, calibration[kept], gene=gene, level=level, alpha=alpha, p_map=p_map,
            p_query=p_query, is_called=name not in uncalled,
        )  # fmt: skip
        rows.append({"query": name, "gene": gene, **answer, "left_out": own is not None})
        if not answer["reason"]:
            ranked.append(_list_best(problem, name, scores, calibration[kept], answer, top))
    told = pd.DataFrame(rows).astype({"in_set": "boolean"})
    return Answers(told, pd.concat(ranked, ignore_index=True) if ranked else _list_nothing())


def describe_answers(answers: Answers, *, level: float) -> list[str]:
    """Say in a few lines what was answered: how many queries, and the first `SHOWN` of them."""
    queries = answers.queries
    n_answered = int((queries["answer"] == "ranked").sum())
    lines = [f"{n_answered} of {len(queries)} queries answered"]
    for row in queries.head(SHOWN).itertuples():
        if row.reason:
            lines.append(f"{row.query}: no answer, {row.reason}")
            continue
        own = answers.ranked[answers.ranked["query"] == row.query]
        best = own.loc[own["place"] <= NEAREST, "candidate"]
        lines.append(
            f"{row.query}: nearest {', '.join(best)}; {row.set_size} of {row.n_candidates} genes "
            f"make the {level:.0%} set"
        )
    return lines


def measure_agreement(
    weights: Floats, products: Floats, own: Floats, random: np.random.Generator, draws: int
) -> float:
    """Test whether the training genes a query resembles agree on a place, by shuffled links.

    Where they agree, their weighted sum points at some candidate; the null deals the same weights
    to the same genes in random order.

    Parameters
    ----------
    weights
        Shape (n,): of the training genes in the query's prediction.
    products, own
        Shapes (n, c) and (n, n): inner products of training genes with candidates and with each
        other; candidates have unit length.
    draws
        Random orders.

    Returns
    -------
    float
        The p-value of the largest cosine; 1 where the weights are all equal, so that order does
        not matter.
    """

    def point(some: Floats) -> Floats:
        length = np.sqrt(np.maximum(np.einsum("bi,ij,bj->b", some, own, some, optimize=True), 0))
        largest = (some @ products).max(axis=1)
        cosine: Floats = np.divide(largest, length, out=np.zeros_like(length), where=length > 0)
        return cosine

    observed = float(point(weights[None])[0])
    null = []
    for start in range(0, draws, _AT_ONCE):
        orders = [random.permutation(len(weights)) for _ in range(min(_AT_ONCE, draws - start))]
        null.append(point(weights[np.array(orders)]))
    return ranking.permutation_pvalue(observed, np.concatenate(null) if null else [])


def _weigh(
    problem: Problem,
    configuration: mapping.Configuration,
    inverse: Floats,
    x: Floats,
    own: int | None,
) -> Floats:
    """Weigh the training genes for one query, (n,); its own gene gets none.

    With an encoder for every gene, the query's own gene has the one that never saw it. None saw an
    unknown gene: all of them predict, and the mean of predictions is that of their weights.
    """
    n = len(problem.genes)
    if own is None:
        against = x[None] if problem.x.ndim == 2 else x
        trained = problem.x[None] if problem.x.ndim == 2 else problem.x
        inverses = inverse[None] if problem.x.ndim == 2 else inverse
        weights = [
            regression.ridge_weights(
                mapping.compute_kernel(configuration, query[None], seen),
                i,
                centre=configuration.centre,
            )[0]
            for query, seen, i in zip(against, trained, inverses, strict=True)
        ]
        mean: Floats = np.mean(weights, axis=0)
        return mean
    if problem.x.ndim == 3:
        x, inverse = x[own], inverse[own]
    trained = problem.x if problem.x.ndim == 2 else problem.x[own]
    rest = np.delete(np.arange(n), own)
    # The inverse without a row, from that of all rows.
    block = inverse[np.ix_(rest, rest)]
    block = block - np.outer(inverse[rest, own], inverse[own, rest]) / inverse[own, own]
    against = mapping.compute_kernel(configuration, x[None], trained[rest])
    known = np.zeros(n)
    known[rest] = regression.ridge_weights(against, block, centre=configuration.centre)[0]
    return known


def _space(problem: Problem, own: int | None) -> Space:
    """Give the products and squared lengths of the space that a query is judged in."""
    if own is not None:
        return problem.link.space(own)
    z = problem.embeddings
    return Space(z[problem.link.truth] @ z.T, (z * z).sum(axis=1))


def _correct(
    problem: Problem, inverse: Floats, weights: Floats, own: int | None, *, centre: bool
) -> Floats:
    """Score candidates corrected for hubs, by predictions of training genes left out as well."""
    space, truth = _space(problem, own), problem.link.truth
    if own is None:
        others = mapping.weigh_left_out(inverse, centre=centre)
    else:
        left_two = regression.leave_two_out_weights(
            mapping.inverse_for(inverse, own), own, centre=centre
        )
        others = np.delete(left_two, own, 0)
    reference = mapping.measure_space_cosines(others, space, truth)
    return ranking.correct_hubs(
        mapping.measure_space_cosines(weights[None], space, truth), reference
    )[0]


def _answer(
    problem: Problem,
    scores: Floats,
    calibration: Floats,
    *,
    gene: str,
    level: float,
    alpha: float,
    p_map: float,
    p_query: float,
    is_called: bool,
) -> dict[str, Any]:
    """Decide on one query."""
    n = len(problem.candidates)
    reasons = []
    if np.isnan(p_map):
        reasons.append("the map was not compared with shuffled links")
    elif p_map > alpha:
        reasons.append(f"the map finds genes no better than shuffled links (p = {p_map:.2g})")
    if not p_query <= alpha:
        reasons.append(f"the genes it resembles do not agree (p = {p_query:.2g})")
    if not is_called:
        reasons.append("the screen does not call it")
    size = n if reasons else ranking.conformal_size(calibration, n, level)
    known = gene in problem.candidates
    rank = (
        float(ranking.rank_truth(scores[None], [problem.candidates.index(gene)])[0])
        if known
        else np.nan
    )
    return {
        "answer": "abstained" if reasons else "ranked",
        "reason": "; ".join(reasons),
        "best": "" if reasons else problem.candidates[int(np.argmax(scores))],
        "p_query": p_query,
        "p_map": p_map,
        "set_size": size,
        "n_candidates": n,
        "rank_true": rank,
        "in_set": rank <= size if known else None,
    }


def _list_best(
    problem: Problem,
    name: str,
    scores: Floats,
    calibration: Floats,
    answer: Mapping[str, Any],
    top: int,
) -> pd.DataFrame:
    """List the nearest candidates of a query, at least its whole set."""
    n = len(problem.candidates)
    order = np.argsort(-scores, kind="stable")[: max(top, answer["set_size"])]
    confidence = ranking.rank_confidence(calibration, n)
    inside = n - problem.n_beyond
    return pd.DataFrame(
        {
            "query": name,
            "place": np.arange(1, len(order) + 1),
            "candidate": [problem.candidates[i] for i in order],
            "score": scores[order],
            "confidence": confidence[: len(order)],
            "in_set": np.arange(1, len(order) + 1) <= answer["set_size"],
            "beyond_network": order >= inside,
        }
    )


def _list_nothing() -> pd.DataFrame:
    """Make the table of ranked genes when every query was abstained from."""
    return pd.DataFrame(
        {
            "query": pd.Series(dtype=str), "place": pd.Series(dtype=int),
            "candidate": pd.Series(dtype=str), "score": pd.Series(dtype=float),
            "confidence": pd.Series(dtype=float), "in_set": pd.Series(dtype=bool),
            "beyond_network": pd.Series(dtype=bool),
        }
    )  # fmt: skip
