"""Gene sets of a network and of neighbours, and agreement over numbers of clusters."""

import numpy as np
import pandas as pd

from i2r.analysis.regulation import gene_comparisons as comparing
from i2r.analysis.regulation.gene_embeddings import label_by_clusters

GENES = [f"G{i:02d}" for i in range(60)]


def draw_table(seed: int) -> pd.DataFrame:
    """Embed 60 genes in three groups of twenty."""
    random = np.random.default_rng(seed)
    rows = 4 * np.eye(3)[np.repeat(np.arange(3), 20)] + random.standard_normal((60, 3)) / 2
    return pd.DataFrame({"gene": GENES, **{f"e{i}": rows[:, i] for i in range(3)}})


def test_neighbours_of_a_gene_have_its_set_and_not_the_gene_itself() -> None:
    sets = {f"S{g}": frozenset(GENES[20 * g : 20 * g + 20]) for g in range(3)}
    found = comparing.enrich_neighbours(draw_table(0), {"sets": {**sets, "few": {"G00"}}})
    best = found.sort_values("p_value").groupby("gene").first()
    assert (best["gene_set"] == [f"S{int(g[1:]) // 20}" for g in best.index]).all()
    assert len(best) == 60
    assert all(row.gene not in row.genes.split() for row in found.itertuples())
    assert set(found["universe"]) == {59}
    assert "few" not in set(found["gene_set"])


def test_a_network_is_compared_with_what_it_was_chosen_from() -> None:
    background = {*GENES, *(f"H{i:03d}" for i in range(200))}
    sets = {"inside": frozenset(GENES[:15]), "outside": frozenset(f"H{i:03d}" for i in range(15))}
    found = comparing.enrich_network(set(GENES), background, {"sets": sets})
    assert found["gene_set"].tolist() == ["inside"]
    assert found["universe"].tolist() == [260]
    assert found["p_value"].iloc[0] < 1e-6
    # Where the background is the network, there is nothing to compare with.
    assert not len(comparing.enrich_network(set(GENES), set(GENES), {"sets": sets}))


def test_trainings_agree_where_they_are_cut_into_the_true_number() -> None:
    found = comparing.compare_numbers([draw_table(seed) for seed in range(3)])
    wide = found.pivot(index="k_a", columns="k_b", values="ami")
    assert wide.loc[3, 3] == wide.to_numpy().max() == 1
    assert not len(comparing.compare_numbers([draw_table(0)]))


def test_labels_by_cosine_do_not_look_at_length() -> None:
    rows = np.array([[1.0, 0], [10, 0.5], [0, 1], [0.5, 10], [1, 0.1], [0.1, 1]])
    labels = label_by_clusters(rows, 2, None, "cosine")
    assert labels[0] == labels[1] == labels[4] != labels[2] == labels[3] == labels[5]
    assert not (labels == label_by_clusters(rows, 2, None)).all()
