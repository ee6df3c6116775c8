"""What ranks of left-out genes are worth: curves, scores with intervals, and p-values."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.analysis.regulation.gene_mapping import FIXED, NESTED, Ranked
from i2r.kernels import ranking

Floats = npt.NDArray[np.float64]
AREAS = (5, 10, 20, 50)
# Fewer candidates without a label make no p-value.
MIN_UNLABELLED = 10


def tabulate_curves(ranked: Ranked, null: Floats, n_candidates: int, k_max: int) -> pd.DataFrame:
    """Make the top-k curves: method, selection, k, accuracy, low, high (95 %, over genes).

    'random' is exact, k over the candidates; 'shuffled link' is the mean of the permutations with
    the range of 95 % of them.
    """
    rows = []
    ks = range(1, min(k_max, n_candidates) + 1)
    for method, (ranks, selection) in ranked.items():
        n = len(ranks)
        for k in ks:
            hits = int((ranks <= k).sum())
            rows.append((method, selection, k, hits / n, *ranking.hit_interval(hits, n)))
    rows += [("random", FIXED, k, k / n_candidates, np.nan, np.nan) for k in ks]
    if len(null):
        curves = ranking.top_k_curve(null, max(ks))
        low, high = np.percentile(curves, (2.5, 97.5), axis=0)
        mean = curves.mean(axis=0)
        rows += [
            ("shuffled link", NESTED, k, mean[k - 1], low[k - 1], high[k - 1]) for k in ks
        ]  # fmt: skip
    return pd.DataFrame(rows, columns=["method", "selection", "k", "accuracy", "low", "high"])


def tabulate_query_curves(queries: pd.DataFrame, k_max: int) -> pd.DataFrame:
    """Make the top-k curves of queries whose gene is known: a fixed split.

    Queries that the map was made without, because it had learned from their gene, are curves of
    their own: they say what leaving out says. Abstentions count by the rank they would have had.

    Parameters
    ----------
    queries
        rank_true (NaN where the gene is not known), n_candidates, left_out.

    Returns
    -------
    DataFrame
        queries ('new' or 'left out'), count, k, accuracy, low, high (95 %, over queries), chance.
    """
    columns = ["queries", "count", "k", "accuracy", "low", "high", "chance"]
    rows: list[tuple[object, ...]] = []
    known = queries[queries["rank_true"].notna()]
    is_old = known["left_out"].astype(bool)
    for name, own in (("new", known[~is_old]), ("left out", known[is_old])):
        if len(own):
            ranks, candidates = own["rank_true"].to_numpy(float), int(own["n_candidates"].iloc[0])
            for k in range(1, min(k_max, candidates) + 1):
                hits = int((ranks <= k).sum())
                low, high = ranking.hit_interval(hits, len(ranks))
                rows.append((name, len(own), k, hits / len(own), low, high, k / candidates))
    return pd.DataFrame(rows, columns=columns)


class Unlabelled(NamedTuple):
    """Ranks among candidates without a label, of the map and with shuffled links, and how many."""

    ranks: Floats
    null: Floats
    n_candidates: int


def tabulate_scores(
    ranked: Ranked,
    null: Floats,
    n_candidates: int,
    *,
    seed: int,
    unlabelled: Unlabelled | None = None,
) -> pd.DataFrame:
    """Sum every method up in a row.

    Parameters
    ----------
    ranked, null, n_candidates
        Ranks of the genes, and with shuffled links, (draws, n).
    seed
        Of the bootstrap.
    unlabelled
        What p-values are of where genes have labels, see `Problem`.

    Returns
    -------
    DataFrame
        method, selection, genes, candidates, median_rank, mean_reciprocal_rank, top_decile (share
        of genes among the best tenth of candidates, 0.1 by chance), log_score with its 95 %
        interval over genes and its value by chance, the published areas auc_5 to auc_50,
        p_chance (binomial, of the top decile), and for the map p_permutation (of log_score),
        p_auc_50 and p_top_decile against shuffled links.
    """
    decile = int(np.ceil(n_candidates / 10))
    # NaN where nearly every gene has a label: nothing is left to be ranked among.
    enough = unlabelled is None or unlabelled.n_candidates >= MIN_UNLABELLED
    rows = []
    for method, (ranks, selection) in ranked.items():
        hits = int((ranks <= decile).sum())
        values = 1 - np.log(ranks) / np.log(n_candidates)
        score = float(ranking.score_log_ranks(ranks, n_candidates))
        low, high = ranking.bootstrap_mean(values, seed=seed)
        row: dict[str, object] = {
            "method": method, "selection": selection, "genes": len(ranks),
            "candidates": n_candidates, "median_rank": float(np.median(ranks)),
            "mean_reciprocal_rank": float((1 / ranks).mean()), "top_decile": hits / len(ranks),
            "log_score": score, "log_score_low": low, "log_score_high": high,
            "log_score_chance": ranking.chance_log_score(n_candidates),
        }  # fmt: skip
        row |= {f"auc_{k}": float(ranking.published_auc(ranks, k)) for k in AREAS}
        row["p_chance"] = ranking.chance_pvalue(hits, len(ranks), decile / n_candidates)
        row |= dict.fromkeys(("p_permutation", "p_auc_50", "p_top_decile"), np.nan)
        if method == "map" and len(null) and enough:
            row |= compare_with_null(*(unlabelled or (ranks, null, n_candidates)))
        rows.append(row)
    return pd.DataFrame(rows)


def compare_with_null(ranks: Floats, null: Floats, n_candidates: int) -> Mapping[str, float]:
    """Compare ranks with those of shuffled links: three p-values, see `tabulate_scores`."""
    names = ("p_permutation", "p_auc_50", "p_top_decile")
    observed, expected = _sum_up(ranks, n_candidates), _sum_up(null, n_candidates)
    return {
        name: ranking.sequential_pvalue(float(o), e)
        for name, o, e in zip(names, observed, expected, strict=True)
    }


def is_told(ranks: Floats, null: Sequence[Floats], n_candidates: int) -> bool:
    """Say whether further shuffled links would change no p-value of `compare_with_null`."""
    if len(null) < ranking.ENOUGH:
        return False
    observed, expected = _sum_up(ranks, n_candidates), _sum_up(np.stack(null), n_candidates)
    reached = [int((e >= o - ranking.TIE).sum()) for o, e in zip(observed, expected, strict=True)]
    return min(reached) >= ranking.ENOUGH


def _sum_up(ranks: Floats, n_candidates: int) -> tuple[Floats, Floats, Floats]:
    """Give the statistics that are compared with shuffled links."""
    decile = int(np.ceil(n_candidates / 10))
    return (
        ranking.score_log_ranks(ranks, n_candidates),
        ranking.published_auc(ranks, 50),
        (ranks <= decile).mean(axis=-1),
    )
