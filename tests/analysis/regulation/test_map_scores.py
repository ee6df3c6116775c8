"""P-values of a map whose regulatory embeddings were made with labels from the same images."""

import numpy as np
import pandas as pd

from i2r.analysis.regulation.gene_mapping import (
    NESTED,
    Problem,
    leave_genes_out,
    pose_problem,
    tabulate_genes,
)
from i2r.analysis.regulation.map_scores import Unlabelled, tabulate_scores
from i2r.kernels.mapping import PUBLISHED, invert_kernels
from i2r.kernels.ranking import published_auc
from i2r.kernels.selection import shuffle_links

CANDIDATES, GENES, CLUSTERS, DRAWS, SEEDS = 120, 24, 3, 39, 40


def pose_shuffled(seed: int) -> Problem:
    """Draw images that know nothing of the network, and embeddings with labels from the images."""
    random = np.random.default_rng(seed)
    names = [f"G{i:02d}" for i in range(CANDIDATES)]
    network = random.standard_normal((CANDIDATES, 6)) / np.sqrt(6)
    label = random.integers(0, CLUSTERS, GENES)
    images = np.eye(CLUSTERS)[label] + 0.2 * random.standard_normal((GENES, CLUSTERS))

    def embed(held_out: int | None) -> pd.DataFrame:
        pulled = np.zeros((CANDIDATES, CLUSTERS))
        pulled[:GENES] = np.eye(CLUSTERS)[label]
        if held_out is not None:
            pulled[held_out] = 0
        rows = np.concatenate([network, pulled], axis=1)
        table = pd.DataFrame(rows, columns=[f"e{i}" for i in range(rows.shape[1])])
        table.insert(0, "gene", names)
        return table.assign(held_out="" if held_out is None else names[held_out])

    without = pd.concat([embed(gene) for gene in range(GENES)], ignore_index=True)
    return pose_problem(names[:GENES], images, embed(None).drop(columns="held_out"), without)


def test_labels_from_the_images_are_no_evidence_of_a_link() -> None:
    fair, naive = [], []
    for seed in range(SEEDS):
        problem = pose_shuffled(seed)
        assert problem.hidden is not None
        assert (~problem.hidden).sum(axis=1).tolist() == [CANDIDATES - GENES + 1] * GENES
        found = leave_genes_out(problem, [PUBLISHED], correct=False, published_grid=False, seed=0)
        table = tabulate_genes(problem, found)
        assert (table["rank_unlabelled"] <= table["rank"]).all()
        arguments = [PUBLISHED], invert_kernels([PUBLISHED], problem.x), problem.link
        drawn = shuffle_links(
            *arguments, seed=np.random.SeedSequence(seed), draws=DRAWS, hidden=problem.hidden
        )
        among = Unlabelled(
            table["rank_unlabelled"].to_numpy(), drawn[1], int(table["candidates_unlabelled"][0])
        )
        for known, values in ((None, naive), (among, fair)):
            scores = tabulate_scores(found.ranks, drawn[0], CANDIDATES, seed=0, unlabelled=known)
            values.append(scores["p_permutation"].iloc[0])
    few = among._replace(n_candidates=9)
    scores = tabulate_scores(found.ranks, drawn[0], CANDIDATES, seed=0, unlabelled=few)
    assert scores["p_permutation"].isna().all()
    # Genes that look alike find each other's label, which all candidates' ranks take for a link.
    assert np.mean(naive) < 0.3
    assert np.mean(np.array(fair) <= 0.05) <= 0.125
    assert 0.35 < np.mean(fair) < 0.65


def test_the_published_grid_is_chosen_from_without_the_gene_where_that_is_asked_for() -> None:
    random = np.random.default_rng(0)
    names = [f"G{i:02d}" for i in range(12)]
    genes = pd.DataFrame(random.standard_normal((12, 4)), columns=[f"e{i}" for i in range(4)])
    genes.insert(0, "gene", names)
    problem = pose_problem(names[:7], random.standard_normal((7, 5)), genes, None)
    plain, nested = (
        leave_genes_out(problem, [PUBLISHED], correct=False, published_grid=asked, seed=0)
        for asked in (True, "nested")
    )
    more = set(nested.ranks) - set(plain.ranks)
    assert more == {"published grid, nested"}
    np.testing.assert_array_equal(
        nested.ranks["published grid"][0], plain.ranks["published grid"][0]
    )
    ranks, how = nested.ranks["published grid, nested"]
    assert how == NESTED
    every = nested.grid[nested.grid["published"]]
    assert len(every) == 1440
    # No choice that leaves the gene out can beat the one made on what is reported.
    reported = nested.ranks["published grid"][0]
    areas = [published_auc(r, 20) + published_auc(r, 50) for r in (ranks, reported)]
    assert areas[0] <= areas[1]
