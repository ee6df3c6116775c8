"""p-values of networks' scores come from draws of the same shape, wider for few nuclei."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from i2r.lazy.contrasts import DRAW
from i2r.lazy.ranking import (
    CallRule,
    compare_positions,
    describe_statistics,
    rank_conditions,
    sum_calls,
)
from tests.benchmarks.nulls import rank_screen, simulate_wells

NULLS = {"1+1": [0.45, 0.5, 0.52, 0.55], "1+1+1": [0.49, 0.5, 0.5, 0.51]}


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
        perturbation=table["condition"], gene="", dose=np.nan, n_wells=2, note=""
    )
    scores = table[["condition", "balanced_accuracy"]].assign(
        auc=0.5, n_test_treated=table["n"] // 2, note=""
    )
    return rank_conditions(
        pd.concat([scores, scores]), described,
        pd.DataFrame(columns=["condition", "is_treated", "n_nuclei", "n_called"]), pd.DataFrame(),
        rule=CallRule("fdr", 0.05, 1), n_independent={"1+1": 3, "1+1+1": 4},
    )  # fmt: skip


def test_a_score_is_compared_with_draws_of_its_own_shape() -> None:
    found = rank().set_index("condition")["p_value"]
    for shape, b in (("1+1", 3), ("1+1+1", 4)):
        null = np.array(NULLS[shape])
        expected = stats.t.sf((0.56 - null.mean()) / null.std(ddof=1) / np.sqrt(1 + 1 / b), b - 1)
        assert found[shape] == pytest.approx(expected)
    assert np.isnan(found["2"]), "no draw is like it"


def test_few_nuclei_widen_the_null_by_what_counting_adds() -> None:
    null = np.array(NULLS["1+1"])
    few = rank(n_nuclei=20).set_index("condition").loc["1+1", "p_value"]
    # Two folds of 10 nuclei against two of 100: a mean of two halves of binomial shares.
    variance = null.var(ddof=1) + (1 / 10 - 1 / 100) * 2 / (4 * 4 * 4)
    expected = stats.t.sf((0.56 - null.mean()) / np.sqrt(variance) / np.sqrt(1 + 1 / 3), 2)
    assert few == pytest.approx(expected)
    many = rank(n_nuclei=2000).set_index("condition").loc["1+1", "p_value"]
    assert many == pytest.approx(rank().set_index("condition").loc["1+1", "p_value"])


def test_the_statistics_name_the_commonest_shape_and_how_many_there_are() -> None:
    ranking = rank()
    row = describe_statistics(
        ranking, pd.DataFrame(), rule=CallRule("fdr", 0.05, 1), method="cnn", group="well",
        repeats=False, n_independent={"1+1": 3, "1+1+1": 4},
    ).iloc[0]  # fmt: skip
    assert row["n_shapes"] == 2
    assert (row["n_draws"], row["n_drawn_wells"]) in ((4, 2), (4, 3))
    assert row["smallest_counted"] == pytest.approx(1 / 5)


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
    """Rows of fields are no wells: drawn one by one they would make the interval too narrow."""
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
    assert stats.kstest(genes["p_value"], "uniform").pvalue > 0.01
    few = genes["n_nuclei"] < genes["n_nuclei"].median() / 2
    assert stats.kstest(genes.loc[few, "p_value"], "uniform").pvalue > 0.01
