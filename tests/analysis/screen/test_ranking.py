"""p-values of networks' scores come from draws of the same shape, wider for few nuclei."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from i2r.analysis.screen.contrasts import DRAW
from i2r.analysis.screen.ranking import (
    CallRule,
    compare_positions,
    describe_statistics,
    rank_conditions,
    sum_calls,
    summarise_calls,
)
from i2r.analysis.screen.score_tests import run_score_tests
from i2r.kernels.scores import CHANCE, compare_scores, learn_null, stretch_scores
from tests.benchmarks.nulls import rank_screen, simulate_wells

NULLS = {
    "1+1": [0.45, 0.5, 0.52, 0.55, 0.47, 0.51, 0.49, 0.53],
    "1+1+1": [0.49, 0.5, 0.5, 0.51, 0.495, 0.505, 0.503, 0.497],
}
INDEPENDENT = {"1+1": 7, "1+1+1": 8}


def rank(n_nuclei: int = 200) -> pd.DataFrame:
    """Rank a condition of each shape with a score of 0.56, and one that no draw is like."""
    rows = [(shape, shape, "treated", 0.56, n_nuclei) for shape in (*NULLS, "2")]
    rows += [
        (f"{DRAW} {shape} {n}", shape, "control_draw", score, 200)
        for shape, scores in NULLS.items()
        for n, score in enumerate(scores)
    ]
    table = pd.DataFrame(rows, columns=["condition", "shape", "kind", "balanced_accuracy", "n"])
    described = table[["condition", "shape", "kind"]].assign(
        perturbation=table["condition"], gene="", dose=np.nan, note=""
    )
    scores = table[["condition", "balanced_accuracy"]].assign(
        auc=0.5, n_test_treated=table["n"] // 2, note=""
    )
    return rank_conditions(
        pd.concat([scores, scores]), described,
        summarise_calls(pd.DataFrame(columns=["condition", "well", "is_treated", "n_nuclei", "n_called"])), pd.DataFrame(),
        rule=CallRule("fdr", 0.05, 1), n_independent=INDEPENDENT,
    )  # fmt: skip


def test_a_score_is_compared_with_draws_of_its_own_shape() -> None:
    ranking = rank().set_index("condition")
    for shape, b in INDEPENDENT.items():
        null = stretch_scores(NULLS[shape])
        score = stretch_scores(0.56)
        expected = stats.t.sf((score - null.mean()) / null.std(ddof=1) / np.sqrt(1 + 1 / b), b - 1)
        assert ranking.loc[shape, "p_value"] == pytest.approx(expected)
    assert np.isnan(ranking.loc["2", "p_value"]), "no draw is like it"
    assert "12 more control wells" in ranking.loc["2", "note"]


def test_conditions_below_chance_tell_the_null_where_controls_are_few() -> None:
    """Whatever share of the conditions does something: those score above."""
    random = np.random.default_rng(0)
    for n_active in (0, 30):
        p_values = []
        for _ in range(200):
            scores = 0.5 + 0.05 * random.standard_normal(60)
            scores[:n_active] += 0.3
            null = learn_null([], scores, n_independent=0)
            assert null.centre == CHANCE
            p_values.append(compare_scores(scores, null))
        found = np.array(p_values)
        assert (found[:, n_active:] < 0.05).mean() == pytest.approx(0.05, abs=0.015)
        assert (found[:, :n_active] < 0.001).mean() > 0.9 if n_active else True
    few = learn_null([0.4, 0.6], [0.45, 0.7], n_independent=2)
    assert few.freedom == 2
    assert np.isnan(compare_scores([0.9], few)).all()


def test_where_controls_lie_elsewhere_scores_have_to_be_high_among_conditions() -> None:
    random = np.random.default_rng(1)
    scores = 0.6 + 0.03 * random.standard_normal(40)
    draws = 0.5 + 0.03 * random.standard_normal(12)
    lenient = learn_null(draws, scores, n_independent=12)
    strict = learn_null(draws, scores, n_independent=12, follows_middle=True)
    assert (compare_scores(scores, lenient) < 0.05).mean() > 0.8
    assert (compare_scores(scores, strict) < 0.05).mean() < 0.15


@pytest.mark.parametrize("effect", [0.0, 0.2])
def test_scores_of_dying_cells_are_owed_to_the_count(effect: float) -> None:
    """Half of the conditions lose nuclei and score for that alone, or the more for it."""
    random = np.random.default_rng(2)
    n = 40
    moved = np.where(np.arange(n) < 20, -2.0, 0.0)
    scores = 0.5 + 0.02 * random.standard_normal(n) + 0.1 * (moved < 0)
    scores[0] += effect
    ranking = pd.DataFrame(
        {
            "kind": "treated", "shape": "1+1+1", "score": scores, "noise": 0.0,
            "count_change": moved, "count_p": np.where(moved < 0, 1e-6, 0.7),
        }
    )  # fmt: skip
    draws = ranking.iloc[:12].assign(
        kind="control_draw", score=0.5 + 0.02 * random.standard_normal(12), count_p=np.nan
    )
    both = pd.concat([ranking, draws], ignore_index=True)
    found = run_score_tests(both, {"1+1+1": 12}, displaced=False)
    words = found["explained"].tolist()
    assert words[0] == ("own" if effect else "count")
    assert words[1:20].count("count") >= 18
    assert found.loc[n:, "p_value"].isna().all(), "draws are the null, not tested"


def test_what_is_called_stands_above_what_is_not() -> None:
    """Calls follow p-values, so a condition with a lower score may be the one that is called."""
    names = ["loud", "sure", "quiet"]
    described = pd.DataFrame(
        {
            "condition": names, "shape": "1+1", "kind": "treated", "perturbation": names,
            "gene": "", "dose": np.nan, "note": "",
        }
    )  # fmt: skip
    scores = pd.DataFrame(
        {
            "condition": names, "balanced_accuracy": [0.8, 0.7, 0.6], "auc": 0.5,
            "n_test_treated": 50, "note": "",
        }
    )  # fmt: skip
    tests = pd.DataFrame({"condition": names, "p_value": [0.5, 1e-6, 0.9]})
    ranking = rank_conditions(
        scores, described, summarise_calls(pd.DataFrame(columns=["condition", "well", "is_treated", "n_nuclei", "n_called"])),
        tests, rule=CallRule("fdr", 0.05, 1), n_independent={},
    )  # fmt: skip
    assert ranking["condition"].tolist() == ["sure", "loud", "quiet"]
    assert ranking["rank"].tolist() == [1, 2, 3]
    assert ranking["impactful"].tolist() == [True, False, False]


def test_few_nuclei_widen_the_null_by_what_counting_adds() -> None:
    null, score = stretch_scores(NULLS["1+1"]), stretch_scores(0.56)
    few = rank(n_nuclei=20).set_index("condition").loc["1+1", "p_value"]
    # Two folds of 10 nuclei against two of 100: a mean of two halves of binomial shares.
    variance = null.var(ddof=1) + (1 / 10 - 1 / 100) * 2 / (4 * 4 * 4)
    expected = stats.t.sf((score - null.mean()) / np.sqrt(variance) / np.sqrt(1 + 1 / 7), 6)
    assert few == pytest.approx(expected)
    many = rank(n_nuclei=2000).set_index("condition").loc["1+1", "p_value"]
    assert many == pytest.approx(rank().set_index("condition").loc["1+1", "p_value"])


def test_the_statistics_name_the_commonest_shape_and_how_many_there_are() -> None:
    ranking = rank()
    row = describe_statistics(
        ranking, pd.DataFrame(), rule=CallRule("fdr", 0.05, 1), method="cnn", group="well",
        repeats=False, n_independent=INDEPENDENT,
    ).iloc[0]  # fmt: skip
    assert row["n_shapes"] == 2
    assert (row["n_draws"], row["n_drawn_wells"]) in ((8, 2), (8, 3))
    assert row["freedom"] == INDEPENDENT["1+1" if row["n_drawn_wells"] == 2 else "1+1+1"] - 1


def test_control_wells_at_a_condition_s_positions_are_a_test_set_of_their_own() -> None:
    rows = [
        ("a", "P1", "A01", True, 10, 9), ("a", "P2", "A01", True, 10, 8),
        ("a", "P3", "A05", True, 10, 7), ("a", "P3", "A01", False, 8, 6), ("a", "P1", "A05", False, 2, 1),
        ("a", "P1", "A07", False, 30, 3), ("a", "P2", "A07", False, 10, 1),
        ("sister", "P1", "A02", True, 10, 9), ("sister", "P2", "A02", True, 10, 9),
        ("sister", "P1", "A07", False, 10, 1),
        ("empty", "P1", "A03", True, 9, 1), ("empty", "P2", "A03", False, 0, 0),
        ("empty", "P2", "A07", False, 9, 1),
    ]  # fmt: skip
    names = ["condition", "plate", "well", "is_treated", "n_nuclei", "n_called"]
    found = compare_positions(pd.DataFrame(rows, columns=names))
    assert found == {"a": pytest.approx(7 / 10 - 4 / 40)}, "the others have no such wells"
    assert compare_positions(pd.DataFrame(columns=names)) == {}


def test_a_well_whose_fields_are_in_several_folds_is_drawn_whole() -> None:
    """Rows of fields are not wells: drawn one by one they would make the interval too narrow."""
    names = ["condition", "plate", "well", "is_treated", "n_nuclei", "n_called"]
    wells = pd.DataFrame(
        [
            ("a", "P1", f"A{n:02d}", n < 4, 40, called)
            for n, called in enumerate((4, 36, 8, 32) * 2)
        ],
        columns=names,
    )
    fields = pd.concat([wells.assign(n_nuclei=10, n_called=wells["n_called"] // 4)] * 4)
    summed = sum_calls(fields)
    pd.testing.assert_frame_equal(summed, wells)
    assert not len(sum_calls(wells.iloc[:0]))


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["shuffled", "sister"])
def test_p_values_of_genes_that_do_nothing_are_uniform(layout: str) -> None:
    """Genes differ in wells, plates and nuclei; a linear classifier stands in for the network."""
    found = pd.concat(
        [rank_screen(simulate_wells(seed, layout), seed, networks=False) for seed in range(20)]
    )
    genes = found[(found["kind"] == "treated") & found["p_value"].notna()]
    assert len(genes) > 450
    assert genes["shape"].nunique() == 3
    # Too large is no harm: the centre of the null is never below chance.
    assert stats.kstest(genes["p_value"], "uniform", alternative="greater").pvalue > 0.01
    assert (genes["p_value"] < 0.05).mean() < 0.06
    few = genes["n_nuclei"] < genes["n_nuclei"].median() / 2
    assert stats.kstest(genes.loc[few, "p_value"], "uniform", alternative="greater").pvalue > 0.01
