"""Predictions with an encoder for every gene: equal to one encoder's where they are one."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from i2r.analysis.regulation.gene_mapping import Problem, pose_problem
from i2r.analysis.regulation.gene_prediction import Answers, describe_answers, predict_genes
from i2r.analysis.regulation.queries import Queries, arrange_profiles
from i2r.errors import I2RError
from i2r.kernels.mapping import Configuration, invert_kernels
from i2r.kernels.ranking import rank_truth
from i2r.kernels.selection import score_selected, select_nested

GENES, CANDIDATES, DIMS = 12, 30, 5
CONFIGURATIONS = (Configuration("ntk", "raw", 1.0), Configuration("rbf", "unit", 0.1, centre=True))


def pose(x: np.ndarray) -> Problem:
    random = np.random.default_rng(1)
    names = [f"G{i}" for i in range(CANDIDATES)]
    regulatory = pd.DataFrame(random.standard_normal((CANDIDATES, 4)), columns=list("abcd"))
    regulatory = regulatory.add_prefix("e")
    regulatory.insert(0, "gene", names)
    return pose_problem(names[:GENES], x, regulatory)


def answer(problem: Problem, queries: Queries, **given: Any) -> Answers:
    options = {"correct": False, "level": 0.9, "alpha": 1.0, "draws": 19, "top": CANDIDATES}
    return predict_genes(
        problem, CONFIGURATIONS, queries, p_map=0.01, seed=np.random.SeedSequence(0),
        **(options | given),
    )  # fmt: skip


@pytest.mark.parametrize("correct", [False, True])
def test_many_encoders_that_are_one_answer_as_one(correct: bool) -> None:
    random = np.random.default_rng(0)
    x, new = random.standard_normal((GENES, DIMS)), random.standard_normal((2, DIMS))
    queries = Queries(["known", "unknown"], ["G3", ""], new)
    one = answer(pose(x), queries, correct=correct)
    stacked = queries._replace(x=np.repeat(new[:, None], GENES, axis=1))
    many = answer(pose(np.repeat(x[None], GENES, axis=0)), stacked, correct=correct)
    pd.testing.assert_frame_equal(one.queries, many.queries)
    pd.testing.assert_frame_equal(one.ranked, many.ranked)


@pytest.mark.parametrize("correct", [False, True])
def test_a_known_gene_is_judged_by_the_encoder_that_never_saw_it(correct: bool) -> None:
    """Its rank is the map's own left-out one, by another road."""
    random = np.random.default_rng(2)
    x = random.standard_normal((GENES, GENES, DIMS))
    problem = pose(x)
    # For gene i's own query every encoder sees the images as it saw them in the map.
    queries = Queries(problem.genes, problem.genes, x.transpose(1, 0, 2))
    found = answer(problem, queries, correct=correct).queries["rank_true"]
    inverses = invert_kernels(CONFIGURATIONS, problem.x)
    chosen = select_nested(CONFIGURATIONS, inverses, problem.link).chosen
    scores = score_selected(CONFIGURATIONS, inverses, problem.link, chosen, correct=correct)
    np.testing.assert_array_equal(found, rank_truth(scores, problem.link.truth))


def test_what_is_said_of_a_query_does_not_depend_on_the_others() -> None:
    random = np.random.default_rng(4)
    problem = pose(random.standard_normal((GENES, DIMS)))
    queries = Queries(list("abc"), ["G1", "", "NEW"], random.standard_normal((3, DIMS)))
    together = answer(problem, queries).queries
    turned = Queries(*(part[::-1] for part in queries))
    for others in (turned, Queries(*(part[2:] for part in queries))):
        found = answer(problem, others).queries
        expected = together.set_index("query").loc[found["query"]].reset_index()
        pd.testing.assert_frame_equal(found, expected)
    assert together["in_set"].isna().tolist() == [False, True, True], "no rank, nothing to hold"


def test_a_map_without_a_p_value_answers_nothing_and_says_why() -> None:
    problem = pose(np.random.default_rng(5).standard_normal((GENES, DIMS)))
    queries = Queries(["a"], [""], np.ones((1, DIMS)))
    found = predict_genes(
        problem, CONFIGURATIONS, queries, p_map=np.nan, seed=np.random.SeedSequence(0),
        correct=False, level=0.9, alpha=1.0, draws=19, top=5,
    ).queries  # fmt: skip
    assert found["reason"].tolist() == ["the map was not compared with shuffled links"]


def test_what_a_screen_does_not_call_is_not_answered() -> None:
    random = np.random.default_rng(3)
    problem = pose(random.standard_normal((GENES, DIMS)))
    queries = Queries(["a", "b"], ["", ""], random.standard_normal((2, DIMS)))
    found = answer(problem, queries, uncalled={"b"})
    assert found.queries["answer"].tolist() == ["ranked", "abstained"]
    assert found.queries["reason"].tolist() == ["", "the screen does not call it"]
    assert found.queries["set_size"].tolist()[1] == CANDIDATES
    assert set(found.ranked["query"]) == {"a"}
    lines = describe_answers(found, level=0.9)
    assert lines[0] == "1 of 2 queries answered"
    assert lines[1].startswith(f"a: nearest {found.queries['best'].iloc[0]}, ")
    assert lines[2] == "b: no answer, the screen does not call it"
    # What is said of the first does not depend on it.
    pd.testing.assert_frame_equal(answer(problem, queries).queries.iloc[:1], found.queries.iloc[:1])


def test_profiles_are_arranged_by_column_and_encoder() -> None:
    rows = pd.DataFrame(
        [("q", "", "b", 1, 20.0, 2.0), ("q", "", "a", 1, 10.0, 1.0), ("r", "J", "a", 1, 0.0, 3.0),
         ("r", "J", "b", 1, 0.0, 4.0)],
        columns=["query", "gene", "encoder", "n_nuclei", "d1", "d0"],
    )  # fmt: skip
    encoders = {"": "a", "J": "b"}
    found = arrange_profiles(rows, ["d0", "d1"], encoders=encoders, genes=["J", "K"], where="here")
    assert (found.names, found.genes) == (["q", "r"], ["", "J"])
    np.testing.assert_array_equal(found.x, [[[2, 20], [1, 10]], [[4, 0], [3, 0]]])
    with pytest.raises(I2RError, match=r"here: query 'q' has 1 profile\(s\), the map learned"):
        arrange_profiles(rows.iloc[[0]], ["d0"], encoders=encoders, genes=["J", "K"], where="here")
    with pytest.raises(I2RError, match="here: lacks 1 of the 2 columns"):
        arrange_profiles(rows, ["d0", "d2"], encoders={}, genes=["J"], where="here")
