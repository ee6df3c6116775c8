"""Predictions: sets that hold the truth, answers withheld from shuffled links, and messages."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from i2r.errors import InputError
from i2r.store.experiment import Experiment
from tests.stages.test_map import run, write_sides


def predict(
    sides: dict[str, str], target: Path, queries: str, *, grid: str = "chosen", **options: Any
) -> Experiment:
    more = {"stage": "predict", "queries": queries, "permutations": 99, **options}
    return run(sides, target, more, grid=grid)


def test_known_genes_are_answered_without_themselves_and_sets_hold_the_truth(
    tmp_path: Path,
) -> None:
    sides = write_sides(tmp_path)
    experiment = predict(sides, tmp_path / "e", sides["images"])
    queries = experiment.table("predict-queries")
    map_ranks = experiment.table("map").set_index("gene")["rank"]
    assert queries["left_out"].all()
    # The map's own left-out ranks, by another road.
    found = queries.set_index("gene")["rank_true"]
    np.testing.assert_array_equal(found, map_ranks[found.index])
    answered = queries[queries["answer"] == "ranked"]
    assert len(answered) >= 0.6 * len(queries)
    assert answered["in_set"].mean() >= 0.85
    assert (answered["set_size"] < 60).any()
    ranked = experiment.table("predict")
    assert set(ranked["query"]) == set(answered["query"])
    for _, rows in ranked.groupby("query"):
        assert rows["confidence"].is_monotonic_increasing
        assert rows.loc[rows["in_set"], "confidence"].iloc[-1] >= 0.9
        assert rows["score"].is_monotonic_decreasing


def test_shuffled_links_are_not_answered(tmp_path: Path) -> None:
    abstained = []
    for seed in range(4):
        sides = write_sides(tmp_path / str(seed), link=False, seed=seed)
        experiment = predict(sides, tmp_path / f"e{seed}", sides["images"], grid="plain")
        queries = experiment.table("predict-queries")
        abstained += (queries["answer"] == "abstained").tolist()
        silent = queries[queries["answer"] == "abstained"]
        assert (silent["set_size"] == 60).all()
        assert (silent["reason"] != "").all()
        assert not set(experiment.table("predict")["query"]) & set(silent["query"])
    assert np.mean(abstained) >= 0.9


def test_new_queries_and_genes_beyond_the_network(tmp_path: Path) -> None:
    """A gene that has features but no place in the network is found for its own images."""
    sides = write_sides(tmp_path)
    genes, images = pd.read_csv(sides["genes"]), pd.read_csv(sides["images"])
    # Features are the regulatory embedding seen through noise; one perturbed gene leaves.
    random = np.random.default_rng(5)
    features = genes.copy()
    features.iloc[:, 1:] += 0.1 * random.standard_normal((60, 6))
    gone = images["gene"].iloc[0]
    features.to_csv(tmp_path / "features.csv", index=False)
    genes[genes["gene"] != gone].to_csv(sides["genes"], index=False)
    query = images[images["gene"] == gone].drop(columns="gene")
    query.insert(0, "query", "unknown")
    query[query.columns[::-1]].to_csv(tmp_path / "q.csv", index=False)
    images[images["gene"] != gone].to_csv(sides["images"], index=False)
    experiment = predict(
        sides, tmp_path / "e", str(tmp_path / "q.csv"), candidates=str(tmp_path / "features.csv")
    )
    row = experiment.table("predict-queries").iloc[0]
    assert (row["answer"], row["gene"], row["left_out"]) == ("ranked", "", False)
    assert row["n_candidates"] == 60
    ranked = experiment.table("predict")
    beyond = ranked[ranked["beyond_network"]]
    assert beyond["candidate"].tolist() == [gone]
    assert beyond["place"].iloc[0] <= 15


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,v0\nA,1\n", "no column 'query'"),
        ("query,v0\nA,1\nA,2\n", "'A' comes twice"),
        ("query,v0\nA,x\n", "1 of 1 values"),
        ("", "no table"),
    ],
)
def test_wrong_queries_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "q.csv").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        predict(write_sides(tmp_path), tmp_path / "e", str(tmp_path / "q.csv"))
    assert len(str(caught.value).splitlines()) == 1


def test_queries_of_another_encoder_fail_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("query,v0,v1\nA,1,2\n")
    with pytest.raises(AssertionError, match="lacks 38 of the 40 columns"):
        predict(write_sides(tmp_path), tmp_path / "e", str(tmp_path / "q.csv"))
