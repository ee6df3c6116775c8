"""From scores of folds and tests to the ranking: intervals, p-values, and who is called."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from i2r.analysis.screen.explanations import EXPLANATIONS
from i2r.analysis.screen.score_tests import run_score_tests
from i2r.kernels.scores import learn_null, stretch_scores
from i2r.kernels.statistics import adjust_pvalues, find_knee, interval_accuracies

Rule = Literal["fdr", "top", "knee"]
ORDER = [
    "rank", "condition", "perturbation", "gene", "dose", "kind", "score", "spread", "ci_low",
    "ci_high", "auc", "p_value", "fdr", "impactful", "n_folds", "n_wells", "n_nuclei", "feature",
    "change", "explained", "p_place", "p_count", "count_change", "count_p", "count_fdr", "p_focus",
    "focus_change", "focus_p", "p_dna", "dna_change", "dna_p", "position_calls", "shape", "note",
]  # fmt: skip


# What the fast screen's tests say of a condition (`condition_tests.ConditionTests`).
TESTED = [
    "p_value", "feature", "change", "explained", "p_place", "test_note",
    *(name for w in EXPLANATIONS for name in (f"p_{w}", f"{w}_change", f"{w}_p")),
]  # fmt: skip


class CallRule(NamedTuple):
    """Which conditions count as impactful.

    Attributes
    ----------
    by
        ``fdr``: false discovery rate below ``level``; ``top``: the ``top`` highest scores;
        ``knee``: scores before the knee of their curve.
    level, top
        See ``by``.
    min_change
        Least change of the feature that moved most, in standard deviations of control wells.
    """

    by: Rule
    level: float
    top: int
    min_change: float = 0.0

    @property
    def words(self) -> str:
        """The rule as the output names it."""
        words = {"fdr": f"fdr < {self.level:g}", "top": f"top {self.top}", "knee": "knee"}
        least = f", change of {self.min_change:g} or more" if self.min_change > 0 else ""
        return words[self.by] + least


def rank_conditions(
    scores: pd.DataFrame,
    described: pd.DataFrame,
    called: pd.DataFrame,
    tests: pd.DataFrame,
    *,
    rule: CallRule,
    n_independent: Mapping[str, int],
    displaced: bool = False,
) -> pd.DataFrame:
    """Average the folds of each condition, rank and call what is not a draw of controls.

    Parameters
    ----------
    scores
        One row per condition and fold.
    described
        One row per condition; those without scores keep their place at the end.
    called
        One row per condition; see `summarise_calls`.
    tests
        One row per tested condition (see `screening.FastScores`). Without a column
        ``p_value`` the p-value is that of the score (`i2r.analysis.screen.score_tests`).
    rule
        Who is called.
    n_independent
        By shape: how many of its draws there could be without a well in common.
    displaced
        Whether controls lie at other places than conditions, for p-values of scores.

    Returns
    -------
    DataFrame
        What is impactful first, each part sorted by score: rank (0 for draws), condition,
        perturbation, gene, dose, kind, score (mean held-out balanced accuracy over folds), spread
        (their standard deviation), ci_low and ci_high (95 %, see `interval_accuracies`), auc,
        p_value, fdr (over the conditions of one kind: Benjamini-Hochberg, of scores
        Benjamini-Yekutieli), impactful, n_folds, n_wells and n_nuclei (treated wells with nuclei
        that were held out and called, and these nuclei), feature and change (what moved
        most, in standard deviations of control wells; features only), explained (what a call may
        be owed to: ``own``, ``count``, ``focus``, ``dna``; ``position`` for what would be called
        if places were not taken out), p_place (p-value with places left in), p_count, p_focus and
        p_dna (with the number of nuclei, the focus, the DNA content taken out), count_change and
        count_p, ... (how these have changed themselves: nuclei per field in doublings, the others
        in standard deviations of control wells), count_fdr, position_calls (see
        `compare_positions`),
        shape (how its wells lie, see `i2r.kernels.nulls.name_shape`), note.
    """
    scored = scores.groupby("condition").agg(
        score=("balanced_accuracy", "mean"),
        spread=("balanced_accuracy", "std"),
        auc=("auc", "mean"),
        n_folds=("balanced_accuracy", "count"),
        n_nuclei=("n_test_treated", "sum"),
        fold_notes=("note", "max"),
        noise=("n_test_treated", _sum_noise),
    )
    ranking = described.merge(scored, on="condition", how="left")
    ranking = ranking.merge(called, on="condition", how="left")
    extra = tests.reindex(columns=["condition", *TESTED])
    words = dict.fromkeys(("feature", "explained", "test_note"), object)
    ranking = ranking.merge(
        extra.astype({name: words.get(name, float) for name in TESTED}), on="condition", how="left"
    )
    for name in ("feature", "explained", "test_note"):
        ranking[name] = [text if isinstance(text, str) else "" for text in ranking[name]]
    is_draw = ranking["kind"] == "control_draw"
    by_score = "p_value" not in tests
    if by_score:
        tested = run_score_tests(ranking, n_independent, displaced=displaced)
        ranking[list(tested)] = tested
    # What could not be held out has no score, and is not called by the one well that it has.
    # Where wells have one row each nothing has a score, and the test of profiles is all there is.
    has_scores = bool(ranking["score"].notna().any())
    judged = "score" if has_scores else "p_value"
    ranking.loc[is_draw | ranking[judged].isna(), "p_value"] = np.nan
    ranking.loc[ranking["score"].isna(), ["ci_low", "ci_high"]] = np.nan
    for name, tested in (("fdr", "p_value"), ("count_fdr", "count_p")):
        ranking[name] = np.nan
        for kind in ("treated", "positive_control"):
            of_kind = ranking["kind"] == kind
            # Scores are all compared with the same sets of control wells, which are few.
            ranking.loc[of_kind, name] = adjust_pvalues(
                ranking.loc[of_kind, tested], depend=by_score and name == "fdr"
            )
    _join_notes(ranking)
    for name in ("n_folds", "n_wells", "n_nuclei"):
        ranking[name] = ranking[name].fillna(0).astype(int)
    ranking = ranking.sort_values(
        [judged, "condition"], ascending=[not has_scores, True], na_position="last",
        ignore_index=True,
    )  # fmt: skip
    counts = (ranking["kind"] != "control_draw") & ranking[judged].notna()
    ranking.insert(0, "rank", np.where(counts, counts.cumsum(), 0))
    ranking["impactful"] = _call(ranking, rule)
    # What is called stands above what is not: a table read from the top says nothing else.
    ranking = ranking.sort_values(
        "impactful", ascending=False, kind="stable", ignore_index=True
    )  # fmt: skip
    ranked = ranking["rank"] > 0
    ranking["rank"] = np.where(ranked, ranked.cumsum(), 0)
    return ranking[ORDER]


def summarise_calls(calls: pd.DataFrame) -> pd.DataFrame:
    """Say in one row per condition how the nuclei of its wells were called.

    Parameters
    ----------
    calls
        One row per condition and held-out well: condition, plate, well, is_treated, n_nuclei,
        n_called.

    Returns
    -------
    DataFrame
        condition, ci_low and ci_high (`interval_accuracies`), n_wells (treated, with nuclei),
        position_calls (`compare_positions`).
    """
    found = _list_intervals(calls)
    filled = calls[calls["is_treated"].astype(bool) & (calls["n_nuclei"] > 0)]
    found["n_wells"] = found["condition"].map(filled.groupby("condition").size())
    found["position_calls"] = found["condition"].map(compare_positions(calls)).astype(float)
    return found


def sum_calls(calls: pd.DataFrame) -> pd.DataFrame:
    """Add up the calls of a well's pieces, which are in several folds where fields are held out.

    Parameters
    ----------
    calls
        condition, plate, well, is_treated, n_nuclei, n_called, in any number of rows per well.

    Returns
    -------
    DataFrame
        The same columns, one row per condition and well, in the order of their first rows.
    """
    by = ["condition", "plate", "well", "is_treated"]
    return calls.groupby(by, sort=False, as_index=False)[["n_nuclei", "n_called"]].sum()


def compare_positions(calls: pd.DataFrame) -> dict[str, float]:
    """Compare control wells at a condition's positions with other control wells.

    A condition that sits at the same place on several plates may be called for its place. The
    control wells at this place on others of its plates are the test set that tells: they hold
    nothing, and are held out like all.

    Parameters
    ----------
    calls
        One row per condition and held-out well: condition, well, is_treated, n_nuclei, n_called.

    Returns
    -------
    dict
        By condition: the share of nuclei called treated in control wells at its positions, minus
        that share in its other control wells; near 0 where position plays no part. Only
        conditions with nuclei in both: where all plates have one layout there are none.
    """
    codes, names = pd.factorize(calls["condition"])
    wells, well_names = pd.factorize(calls["well"])
    places = codes.astype(np.int64) * max(len(well_names), 1) + wells
    treated = calls["is_treated"].to_numpy(dtype=bool)
    here = np.isin(places, places[treated])
    sums = np.zeros((2, 2, len(names)))
    for is_here in (False, True):
        rows = ~treated & (here == is_here)
        for row, column in enumerate(("n_called", "n_nuclei")):
            values = calls[column].to_numpy(dtype=np.float64)[rows]
            sums[int(is_here), row] = np.bincount(codes[rows], values, len(names))
    both = (sums[:, 1] > 0).all(axis=0)
    away, at = sums[:, 0, both] / sums[:, 1, both]
    return dict(zip(map(str, names[both]), (at - away).tolist(), strict=True))


def _sum_noise(n_nuclei: "pd.Series[int]") -> float:
    """Give the variance that counting so few held-out treated nuclei adds to a score of chance.

    A fold's balanced accuracy is half the share of its treated nuclei that are called, a binomial
    share of variance 1 / (4 n) at a chance of one half; the score is the mean over folds.
    """
    return float((1 / n_nuclei.clip(lower=1)).sum() / (16 * len(n_nuclei) ** 2))


def _list_intervals(calls: pd.DataFrame) -> pd.DataFrame:
    """Give every condition the interval of its balanced accuracy."""
    codes, names = pd.factorize(calls["condition"])
    low, high = interval_accuracies(
        calls["n_called"], calls["n_nuclei"], calls["is_treated"].astype(bool), codes
    )
    return pd.DataFrame({"condition": names, "ci_low": low, "ci_high": high})


def _join_notes(ranking: pd.DataFrame) -> None:
    """Put together what is to be said of each condition."""
    missing = ranking["score"].notna() & ranking["p_value"].isna()
    missing &= ranking["kind"] != "control_draw"
    reasons = ranking.pop("test_note").replace("", "too few control wells to copy its wells")
    untested = np.where(missing, "no p-value: " + reasons.astype(str), "")
    parts = (ranking["note"], ranking.pop("fold_notes").fillna(""), untested)
    ranking["note"] = ["; ".join(p for p in texts if p) for texts in zip(*parts, strict=True)]


def _call(ranking: pd.DataFrame, rule: CallRule) -> "pd.Series[bool]":
    """Call conditions; draws of controls and what has no score are never called."""
    able = (ranking["rank"] > 0) & (ranking["kind"] == "treated")
    large = ranking["change"].abs().ge(rule.min_change) | (rule.min_change == 0)
    if rule.by == "fdr":
        listed = ranking["kind"].isin(["treated", "positive_control"]) & (ranking["rank"] > 0)
        return listed & (ranking["fdr"] < rule.level) & large
    order = able.cumsum()
    most = rule.top if rule.by == "top" else find_knee(ranking.loc[able, "score"])
    return able & (order <= most) & large


def describe_statistics(
    ranking: pd.DataFrame,
    layout: pd.DataFrame,
    *,
    rule: CallRule,
    method: str,
    group: str,
    repeats: bool,
    n_independent: Mapping[str, int],
    teacher: str = "",
) -> pd.DataFrame:
    """Say in one row how p-values came about.

    Parameters
    ----------
    ranking
        From `rank_conditions`.
    layout
        One row of what the layout can answer (`layouts.describe_layout`), or none.
    rule, method, group, repeats, n_independent, teacher
        See the columns.

    Returns
    -------
    DataFrame
        method, group, is_leaking (splits by field, or a teacher), teacher (the stage that trained
        the encoder behind the embeddings on this screen's own labels, or empty), layout_repeats,
        impactful (the rule), tail (the model of p-values), n_shapes (of how the conditions' wells
        lie, each with draws of its own), n_draws and n_independent (of the shape with most draws),
        n_drawn_wells (in one of these), freedom (degrees of freedom of the null), n_tests (the
        treated conditions that have a p-value), needed (the p-value at
        which a single one of them has a false discovery rate of the level); and the columns of
        ``layout``.
    """
    drawn = ranking[(ranking["kind"] == "control_draw") & ranking["score"].notna()]
    sizes = drawn["shape"].value_counts()
    shape = str(sizes.index[0]) if len(sizes) else ""
    n_tests = int(ranking.loc[ranking["kind"] == "treated", "p_value"].notna().sum())
    fast = method == "fast"
    lies = layout.iloc[0].to_dict() if len(layout) else {}
    harmonic = 1.0 if fast else float(sum(1 / k for k in range(1, max(n_tests, 1) + 1)))
    row = {
        "method": method, "group": group, "is_leaking": group == "field" or teacher != "",
        "teacher": teacher, "layout_repeats": repeats,
        "impactful": rule.words, "tail": "exponential" if fast else "student",
        "n_shapes": len(sizes), "n_draws": int(sizes.max() if len(sizes) else 0),
        "n_independent": 0 if fast else n_independent.get(shape, 0),
        "n_drawn_wells": sum(map(int, shape.split("+"))) if shape else 0,
        "n_tests": n_tests,
        "needed": rule.level / max(n_tests, 1) / harmonic, "freedom": np.nan, "displaced": np.nan,
        "field": np.nan, "common": np.nan, "doses_along": "", "borrows": False, "warning": "",
    } | lies  # fmt: skip
    if not fast:
        # The layout's row is of the test of counts; what is drawn, and known, is of scores.
        alike = ranking[(ranking["shape"] == shape) & (ranking["kind"] == "treated")]
        null = learn_null(
            stretch_scores(drawn.loc[drawn["shape"] == shape, "score"]),
            stretch_scores(alike["score"]),
            n_independent=n_independent.get(shape, 0),
        )  # fmt: skip
        n_draws = int(sizes.max() if len(sizes) else 0)
        row |= {"n_draws": n_draws, "freedom": null.freedom, "field": np.nan, "common": np.nan}
    return pd.DataFrame([row])
