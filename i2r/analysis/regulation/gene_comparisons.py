"""What gene embeddings are compared with: each other, gene sets of neighbours, a background."""

from collections.abc import Mapping, Sequence, Set
from itertools import combinations

import numpy as np
import pandas as pd

from i2r.kernels import gene_clusters as clusters
from i2r.kernels.enrichment import MAX_SIZE, MIN_SIZE, Enrichment, measure_enrichment

Collections = Mapping[str, Mapping[str, Set[str]]]
MAX_CLUSTERS = 15
# Nearest genes that are tested for gene sets, and sets that are listed for each gene.
NEAREST, LISTED = 20, 3
# Every gene's neighbours of larger networks would take longer than the embeddings.
MOST_GENES = 1000
SET_COLUMNS = ("collection", "gene_set", "size", "overlap", "odds_ratio", "p_value", "fdr", "genes",
               "universe")  # fmt: skip


def compare_numbers(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Compare the clusters of every two seeds, any number in one with any number in the other.

    Returns
    -------
    DataFrame
        k_a, k_b (numbers of clusters, from 2), ami: adjusted mutual information, mean over the
        pairs of seeds. No rows for a single seed, or for more than `MOST_GENES` genes.
    """
    from sklearn.metrics import adjusted_mutual_info_score

    columns = ["k_a", "k_b", "ami"]
    rows = [p[[n for n in p if str(n).startswith("e")]].to_numpy(dtype=float) for p in parts]
    if len(rows) < 2 or not 2 < len(rows[0]) <= MOST_GENES:
        return pd.DataFrame({"k_a": [], "k_b": [], "ami": []}).astype({"k_a": int, "k_b": int})
    numbers = list(range(2, min(MAX_CLUSTERS, len(rows[0]) - 1) + 1))
    cuts = [clusters.cluster_rows(clusters.condense_distances(r), numbers) for r in rows]
    pairs = list(combinations(range(len(rows)), 2))
    compared = [
        (a, b, float(np.mean([
            adjusted_mutual_info_score(cuts[one][i], cuts[other][j]) for one, other in pairs
        ])))
        for i, a in enumerate(numbers) for j, b in enumerate(numbers)
    ]  # fmt: skip
    return pd.DataFrame(compared, columns=columns)


def enrich_network(genes: Set[str], background: Set[str], collections: Collections) -> pd.DataFrame:
    """Test the gene sets of every collection in a whole network.

    Parameters
    ----------
    genes
        The network's.
    background
        The genes that it was chosen from: those of the pruned interactome.
    collections
        Gene sets by name, by collection.

    Returns
    -------
    DataFrame
        One row per set with an overlap, best first: `SET_COLUMNS`. No rows where the background
        is the network itself.
    """
    rows = []
    if background > genes:
        for name, gene_sets in collections.items():
            tested = measure_enrichment(genes, background, gene_sets)
            for i in np.argsort(tested.pvalues, kind="stable").tolist():
                if tested.overlaps[i]:
                    common = gene_sets[tested.names[i]] & genes
                    rows.append((name, *_list_test(tested, i, common, len(background))))
    return pd.DataFrame(rows, columns=list(SET_COLUMNS))


def enrich_neighbours(table: pd.DataFrame, collections: Collections) -> pd.DataFrame:
    """Test the gene sets of every collection among the nearest genes of every gene.

    The gene itself is not among its nearest. The universe is all other genes that have an
    embedding.

    Parameters
    ----------
    table
        gene, e0, ...
    collections
        Gene sets by name, by collection.

    Returns
    -------
    DataFrame
        gene and `SET_COLUMNS`, the best sets of every gene and collection. No rows for more than
        `MOST_GENES` genes.
    """
    genes = table["gene"].astype(str).to_numpy()
    rows: list[tuple[object, ...]] = []
    if NEAREST < len(genes) - 1 < MOST_GENES and collections:
        universe = set(genes.tolist())
        # Sets that can't be tested are looked at once, not for every gene.
        kept = {name: _keep_testable(sets, universe) for name, sets in collections.items()}
        values = table[[n for n in table if str(n).startswith("e")]].to_numpy(dtype=float)
        near = clusters.list_nearest(values, NEAREST)
        for place, gene in enumerate(genes.tolist()):
            chosen = set(genes[near[place]].tolist())
            for name, gene_sets in kept.items():
                tested = measure_enrichment(chosen, universe - {gene}, gene_sets)
                best = np.argsort(tested.pvalues, kind="stable")[:LISTED].tolist()
                for i in best:
                    if tested.overlaps[i]:
                        common = gene_sets[tested.names[i]] & chosen
                        listed = _list_test(tested, i, common, len(universe) - 1)
                        rows.append((gene, name, *listed))
    return pd.DataFrame(rows, columns=["gene", *SET_COLUMNS])


def _keep_testable(gene_sets: Mapping[str, Set[str]], universe: Set[str]) -> dict[str, Set[str]]:
    """Keep the sets of a size that is tested, or would be without one gene."""
    inside = {name: genes & universe for name, genes in gene_sets.items()}
    return {name: own for name, own in inside.items() if MIN_SIZE <= len(own) <= MAX_SIZE + 1}


def _list_test(
    tested: Enrichment, i: int, common: Set[str], universe: int
) -> tuple[str, int, int, float, float, float, str, int]:
    return (
        tested.names[i], int(tested.sizes[i]), int(tested.overlaps[i]),
        float(tested.odds_ratios[i]), float(tested.pvalues[i]), float(tested.fdrs[i]),
        " ".join(sorted(common)), universe,
    )  # fmt: skip
