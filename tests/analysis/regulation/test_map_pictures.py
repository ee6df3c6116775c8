"""Pictures of a map, whether both spaces join genes, and curves of queries with a known gene."""

import numpy as np
import pandas as pd

from i2r.analysis.regulation.gene_mapping import leave_genes_out, pose_problem
from i2r.analysis.regulation.map_pictures import compare_clusters, place_predictions
from i2r.analysis.regulation.map_scores import tabulate_query_curves
from i2r.kernels import mapping


def test_predictions_lie_by_their_genes_where_images_follow_the_network() -> None:
    random = np.random.default_rng(0)
    group = np.repeat(np.arange(3), 10)
    rows = 5 * np.eye(3)[group] + random.standard_normal((30, 3)) / 4
    genes = [f"G{i:02d}" for i in range(30)]
    regulatory = pd.DataFrame({"gene": genes, **{f"e{i}": rows[:, i] for i in range(3)}})
    seen = np.arange(0, 30, 2)
    x = rows[seen] @ random.standard_normal((3, 6))
    problem = pose_problem([genes[i] for i in seen], x, regulatory)
    left_out = leave_genes_out(
        problem, [mapping.PUBLISHED], correct=False, published_grid=False, seed=0
    )
    places = place_predictions(problem, left_out)
    assert places["kind"].value_counts().to_dict() == {
        "candidate": 15, "left out": 15, "predicted": 15,
    }  # fmt: skip
    by_kind = {kind: own.set_index("gene")[["x", "y"]] for kind, own in places.groupby("kind")}
    true = by_kind["left out"].loc[problem.genes].to_numpy()
    made = by_kind["predicted"].loc[problem.genes].to_numpy()
    away = np.linalg.norm(made[:, None] - true[None], axis=2)
    own = group[seen]
    assert (own[away.argmin(axis=1)] == own).all()
    joined = compare_clusters(problem, seed=0)
    three = joined[(joined["clusters_seen"] == 3) & (joined["clusters_regulatory"] == 3)]
    assert three["p_value"].item() == 1 / 1001


def test_curves_of_queries_keep_new_genes_apart() -> None:
    queries = pd.DataFrame(
        {
            "rank_true": [1, 3, 2, np.nan], "n_candidates": [4, 4, 4, 4],
            "left_out": [False, False, True, False],
        }
    )  # fmt: skip
    curves = tabulate_query_curves(queries, 50)
    new = curves[curves["queries"] == "new"]
    assert new["k"].tolist() == [1, 2, 3, 4]
    assert new["accuracy"].tolist() == [0.5, 0.5, 1, 1]
    assert new["chance"].tolist() == [0.25, 0.5, 0.75, 1]
    assert set(new["count"]) == {2}
    assert curves[curves["queries"] == "left out"]["accuracy"].tolist() == [0, 1, 1, 1]
    assert not len(tabulate_query_curves(queries.assign(rank_true=np.nan), 50))
