"""What held-out scores of networks say of conditions: p-values, and what these may be owed to."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.analysis.screen.explanations import EXPLANATIONS, NOT_CALLED, STRICT, explain_conditions
from i2r.kernels.scores import LEAST_FREEDOM, ScoreNull, compare_scores, learn_null, stretch_scores

Floats = npt.NDArray[np.float64]

LEAST_ALIKE = 3
"""Other conditions with as large a change of count that tell what such a change does to scores."""


def run_score_tests(
    ranking: pd.DataFrame, n_independent: Mapping[str, int], *, displaced: bool
) -> pd.DataFrame:
    """Compare each condition's score with what scores by chance, among conditions that lie alike.

    A condition with fewer nuclei than the sets of control wells scatters more by counting alone:
    its distance from chance is measured in a standard deviation wider by that much.

    Parameters
    ----------
    ranking
        One row per condition and set of control wells: kind, shape, score, noise (variance that
        counting its nuclei adds), and for ``count`` and ``focus`` the columns ``<word>_change``
        and ``<word>_p`` (NaN where not known).
    n_independent
        By shape: how many sets could have no well in common.
    displaced
        Whether controls lie at other places than conditions, so that scores have to be high among
        the conditions' too.

    Returns
    -------
    DataFrame
        With the index of ``ranking``: p_value, p_count and p_focus (with what such a change does
        to other conditions' scores taken off), explained (`explain_conditions`), freedom,
        test_note (why there is no p-value).
    """
    words = [word for word in EXPLANATIONS if f"{word}_change" in ranking]
    found = pd.DataFrame(
        {"p_value": np.nan, "anywhere": np.nan, "freedom": 0.0, "test_note": "", "explained": ""},
        index=ranking.index,
    ).assign(**{f"p_{word}": np.nan for word in words})
    stretched = ranking.assign(score=stretch_scores(ranking["score"]))
    for shape, rows in stretched.groupby("shape", sort=False):
        if not shape:
            continue
        is_draw = rows["kind"] == "control_draw"
        draws, treated = rows[is_draw & rows["score"].notna()], rows[~is_draw]
        others = treated.loc[treated["kind"] == "treated", "score"]
        b = n_independent.get(str(shape), 0)
        first = learn_null(draws["score"], others, n_independent=b)
        excess = (treated["noise"] - draws["noise"].mean()).clip(lower=0).fillna(0)
        narrowed = np.sqrt(first.spread**2 / (first.spread**2 + excess)).fillna(1)
        scores = first.centre + (treated["score"] - first.centre) * narrowed
        own = scores[treated["kind"] == "treated"]
        null = learn_null(draws["score"], own, n_independent=b, follows_middle=displaced)
        at = treated.index
        found.loc[at, "p_value"] = compare_scores(scores, null)
        found.loc[at, "anywhere"] = compare_scores(
            scores, learn_null(draws["score"], own, n_independent=b)
        )
        for word in words:
            found.loc[at, f"p_{word}"] = _take_off(word, scores, treated, null)
        found.loc[at, "freedom"] = null.freedom
        if null.freedom < LEAST_FREEDOM or np.isnan(null.deviation):
            found.loc[at, "test_note"] = _say_what_lacks(null, str(shape))
    tests = found.assign(p_place=found.pop("anywhere"), **ranking[[f"{w}_p" for w in words]])
    strict = STRICT if displaced else 0.0
    for kind in ("treated", "positive_control"):
        own = tests[ranking["kind"] == kind]
        found.loc[own.index, "explained"] = explain_conditions(own, depend=True, strict=strict)
    return found


def _take_off(
    word: str, scores: "pd.Series[float]", treated: pd.DataFrame, null: ScoreNull
) -> Floats:
    """Give p-values of scores less what others score that changed at least half as much."""
    left = scores.to_numpy(dtype=np.float64, copy=True)
    moved = treated[f"{word}_change"].to_numpy(dtype=np.float64)
    changed = treated[f"{word}_p"].to_numpy(dtype=np.float64) < NOT_CALLED
    for k in np.flatnonzero(changed & ~np.isnan(left)).tolist():
        alike = (moved * np.sign(moved[k]) >= 0.5 * abs(moved[k])) & ~np.isnan(left)
        alike[k] = False
        if alike.sum() < LEAST_ALIKE:
            continue
        others = scores.to_numpy()[alike] - null.centre
        # The median of n values is known to 1.25 standard deviations over their square root.
        wider = np.sqrt(1 + 1.57 / others.size)
        usual = max(float(np.median(others)), 0.0)
        left[k] = null.centre + (left[k] - null.centre - usual) / wider
    return compare_scores(left, null)


def _say_what_lacks(null: ScoreNull, shape: str) -> str:
    """Say why conditions have no p-value, and how many control wells would do."""
    sets = int(np.ceil(LEAST_FREEDOM - null.freedom))
    if sets <= 0:
        return "all scores of control wells are the same"
    n_wells = sum(map(int, shape.split("+"))) * sets
    return (
        f"{null.freedom:.0f} degrees of freedom tell how scores scatter by chance, "
        f"{LEAST_FREEDOM:.0f} are needed: about {n_wells} more control wells on its plates"
    )
