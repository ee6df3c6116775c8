"""Regulatory gene embeddings: from a network and features of its genes to tables."""

from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.kernels import gene_clusters as clusters
from i2r.kernels.classification import measure_area_under_curve
from i2r.kernels.enrichment import MAX_SIZE, MIN_SIZE, measure_enrichment
from i2r.kernels.network_embedding import embed_spectrally, embed_walks
from i2r.kernels.ranking import average_precision

if TYPE_CHECKING:
    from i2r.models.edges import EdgeSplit

Floats = npt.NDArray[np.float64]
MAX_CLUSTERS = 15
# Walks in closed form take the third power of the number of genes.
MAX_WALK_GENES = 3000
# The order of neighbours is compared between seeds for this many genes, evenly taken, at most.
MAX_COMPARED_GENES = 2000
# Of the baselines, as many as the compact autoencoder has.
DIMENSIONS = 32


class Network(NamedTuple):
    """A network as arrays: genes sorted by name, each edge once."""

    genes: list[str]
    edges: npt.NDArray[np.int64]


class TrainingTables(NamedTuple):
    """What one seed gave: embeddings by held-out gene, quality of the links, and losses."""

    embeddings: pd.DataFrame
    quality: pd.DataFrame
    losses: pd.DataFrame


def embed_links(network: Network, method: Literal["spectral", "node2vec"]) -> Floats:
    """Embed a network by its links alone, rows of unit length; genes without links are zero."""
    embed = {"spectral": embed_spectrally, "node2vec": embed_walks}[method]
    rows = embed(network.edges, len(network.genes), dimensions=DIMENSIONS)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Floats = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return unit


def reduce_features(values: Floats, components: int) -> Floats:
    """Standardise columns and keep the strongest principal components, total variance one.

    Columns without variance are dropped. Signs are such that each component's largest entry is
    positive.
    """
    spread = values.std(axis=0)
    varied = spread > 1e-12
    standard = (values[:, varied] - values[:, varied].mean(axis=0)) / spread[varied]
    left, singular, _ = np.linalg.svd(standard, full_matrices=False)
    scores = (left * singular)[:, :components]
    largest = np.abs(scores).argmax(axis=0)
    scores = scores * np.sign(scores[largest, np.arange(scores.shape[1])])
    total = np.sqrt((scores**2).sum(axis=1).mean())
    return scores / total if total > 0 else scores


def scale_as_published(values: Floats) -> Floats:
    """Scale every column to 0 to 1 over the genes; constant columns become 0."""
    low, span = values.min(axis=0), np.ptp(values, axis=0)
    scaled: Floats = np.divide(
        values - low, span, out=np.zeros_like(values), where=np.broadcast_to(span > 0, values.shape)
    )
    return scaled


def draw_features(n: int, width: int, seed: int) -> Floats:
    """Draw features for genes of which nothing is known: they tell genes apart, no more."""
    random = np.random.default_rng(seed)
    return random.standard_normal((n, width)) / np.sqrt(width)


def label_by_clusters(
    vectors: Floats,
    number: int,
    held_out: int | None,
    distance_of: Literal["euclidean", "cosine"] = "euclidean",
) -> npt.NDArray[np.int64]:
    """Label genes by clusters of their perturbation vectors, made without the held-out gene.

    Agglomerative, complete linkage; as published Euclidean for vectors of images, and cosine for
    signatures of expression. The held-out gene gets -1.
    """
    from scipy.spatial.distance import pdist, squareform

    rows = np.arange(len(vectors))
    kept = rows if held_out is None else np.delete(rows, held_out)
    labels = np.full(len(vectors), -1, dtype=np.int64)
    if distance_of == "cosine":
        distance = clusters.measure_cosine_distance(vectors[kept])
    else:
        distance = squareform(pdist(vectors[kept]))
    labels[kept] = clusters.cluster_rows(distance, [min(number, len(kept))])[0]
    return labels


def train_seed(
    network: Network,
    features: Floats,
    labels: Mapping[str, npt.NDArray[np.int64]],
    *,
    seed: int,
    settings: Literal["compact", "published"],
    loss_weights: tuple[float, float, float],
) -> TrainingTables:
    """Train the models of one seed, all at once, and judge the links they predict.

    Parameters
    ----------
    labels
        By held-out gene ('' for none): the class of every gene of the network, -1 for unknown.
    settings
        Named settings of `i2r.models.gae`.
    loss_weights
        Of edges, features and labels.
    """
    from i2r.models.gae import Variant, train_autoencoders
    from i2r.models.gae_settings import COMPACT, PUBLISHED

    trained = train_autoencoders(
        network.edges,
        features,
        [Variant(own, *loss_weights) for own in labels.values()],
        seeds=[seed],
        settings=PUBLISHED if settings == "published" else COMPACT,
    )
    embeddings = pd.concat(
        [
            tabulate_embeddings(network.genes, rows).assign(held_out=held_out)
            for held_out, rows in zip(labels, trained.embeddings[0], strict=True)
        ],
        ignore_index=True,
    )
    quality = [
        _judge("autoencoder", held_out, scores)
        for held_out, scores in zip(labels, trained.test_scores[0], strict=True)
    ]
    if "" in labels:
        quality += _judge_baselines(network, trained.splits[0])
    losses = pd.DataFrame(
        {
            "epoch": np.arange(trained.losses.shape[2]),
            "training": trained.losses[0, 0, :, 0].astype(float),
            "validation": trained.losses[0, 0, :, 1].astype(float),
            **{
                f"{part}_{kind}": trained.components[0, 0, :, i, j].astype(float)
                for i, part in enumerate(("training", "validation"))
                for j, kind in enumerate(("links", "features", "labels"))
            },
        }
    ).dropna(ignore_index=True)
    best = [int(epoch) for epoch in trained.best_epoch[0]]
    judged = pd.DataFrame(quality)
    judged["best_epoch"] = [*best, *[-1] * (len(judged) - len(best))]
    return TrainingTables(embeddings, judged.assign(seed=seed), losses.assign(seed=seed))


def _judge(method: str, held_out: str, scores: npt.NDArray[Any]) -> dict[str, object]:
    """Measure how well scores tell test edges (first half) from non-edges (second half)."""
    truth = np.arange(len(scores)) < len(scores) // 2
    return {
        "method": method,
        "held_out": held_out,
        "auc": measure_area_under_curve(truth, scores.astype(float)),
        "average_precision": average_precision(truth, scores),
    }


def _judge_baselines(network: Network, split: "EdgeSplit") -> list[dict[str, object]]:
    """Judge embeddings made from the same training edges alone, on the same pairs."""
    n, pairs = len(network.genes), np.concatenate([split.test, split.test_non_edges])
    made = {"spectral": embed_spectrally(split.training, n, dimensions=DIMENSIONS)}
    if n <= MAX_WALK_GENES:
        made["node2vec"] = embed_walks(split.training, n, dimensions=DIMENSIONS)
    return [
        _judge(name, "", (z[pairs[:, 0]] * z[pairs[:, 1]]).sum(axis=1)) for name, z in made.items()
    ]


def tabulate_embeddings(genes: Sequence[str], rows: npt.NDArray[Any]) -> pd.DataFrame:
    """Make the table of embeddings: gene, e0, e1, ... in single precision."""
    columns = {f"e{i}": rows[:, i].astype(np.float32) for i in range(rows.shape[1])}
    return pd.DataFrame({"gene": list(genes), **columns})


def join_seeds(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put the embeddings of several seeds beside each other, rows still of unit length.

    Cosines of joined rows are means over seeds, so no single start decides who is near whom.

    Parameters
    ----------
    parts
        One per seed: held_out, gene, e0, ...; the same rows in the same order.
    """
    names = [[n for n in part if str(n).startswith("e")] for part in parts]
    rows = [part[own].to_numpy() for part, own in zip(parts, names, strict=True)]
    joined = np.concatenate(rows, axis=1) / np.sqrt(len(rows))
    table = tabulate_embeddings(parts[0]["gene"].tolist(), joined)
    table.insert(0, "held_out", parts[0]["held_out"].to_numpy())
    return table


def choose_clusters(
    table: pd.DataFrame, number: int, degrees: Mapping[str, int]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cluster genes and measure every number of clusters.

    Parameters
    ----------
    table
        gene, e0, ...
    number
        Wanted clusters; 0 takes the number with the best silhouette.
    degrees
        Neighbours of each gene in the network, for the table.

    Returns
    -------
    clusters : DataFrame
        gene, cluster (0 is the largest), silhouette, degree.
    curves : DataFrame
        k, silhouette, calinski_harabasz, distortion, chosen.
    """
    rows = table[[n for n in table if str(n).startswith("e")]].to_numpy(dtype=float)
    numbers = list(range(1, min(max(MAX_CLUSTERS, number), len(rows)) + 1))
    cuts = clusters.cluster_rows(clusters.condense_distances(rows), numbers)
    silhouettes = clusters.measure_cosine_silhouettes(rows, cuts)
    measured = [
        clusters.measure_clusters(rows, own, cut)
        for own, cut in zip(silhouettes, cuts, strict=True)
    ]
    curves = pd.DataFrame(measured)
    curves.insert(0, "k", numbers)
    best = number or int(
        curves["k"].iloc[curves["silhouette"].iloc[1:].idxmax()] if len(curves) > 1 else 1
    )
    best = min(best, len(rows))
    curves["chosen"] = curves["k"] == best
    labels = cuts[best - 1]
    described = pd.DataFrame(
        {
            "gene": table["gene"].to_numpy(),
            "cluster": labels,
            "silhouette": silhouettes[best - 1],
            "degree": [degrees.get(str(gene), 0) for gene in table["gene"]],
        }
    )
    return described, curves


def enrich_clusters(
    described: pd.DataFrame, collections: Mapping[str, Mapping[str, Set[str]]]
) -> pd.DataFrame:
    """Test the gene sets of every collection in every cluster.

    The universe is all genes that have an embedding: a cluster is compared with the other clusters,
    not with the genome.

    Returns
    -------
    DataFrame
        One row per cluster and set with an overlap, best first within a cluster and collection:
        cluster, collection, gene_set, size, overlap, odds_ratio, p_value, fdr, genes, universe.
    """
    universe = set(described["gene"].astype(str))
    rows = []
    for cluster, own in described.groupby("cluster")["gene"]:
        chosen = set(own.astype(str))
        for name, gene_sets in collections.items():
            tested = measure_enrichment(chosen, universe, gene_sets)
            for i in np.argsort(tested.pvalues, kind="stable"):
                if not tested.overlaps[i]:
                    continue
                title = tested.names[i]
                rows.append(
                    (
                        int(cluster), name, title, int(tested.sizes[i]), int(tested.overlaps[i]),
                        float(tested.odds_ratios[i]), float(tested.pvalues[i]),
                        float(tested.fdrs[i]), " ".join(sorted(gene_sets[title] & chosen)),
                        len(universe),
                    )
                )  # fmt: skip
    columns = ["cluster", "collection", "gene_set", "size", "overlap", "odds_ratio", "p_value"]
    return pd.DataFrame(rows, columns=[*columns, "fdr", "genes", "universe"])


def note_gaps(
    described: pd.DataFrame, collections: Mapping[str, Mapping[str, Set[str]]]
) -> list[str]:
    """Say what a user may have counted on: features of all genes, sets that can be tested.

    Parameters
    ----------
    described
        gene, has_features.
    collections
        Gene sets by name, by collection.
    """
    genes, known = set(described["gene"]), described["has_features"].astype(bool)
    notes = []
    if known.any() and not known.all():
        without = described.loc[~known, "gene"]
        notes.append(
            f"{len(without)} of {len(genes)} genes are not in the features, such as "
            f"{without.iloc[0]}: only their links speak for them"
        )
    for name, sets in collections.items():
        sizes = [len(own & genes) for own in sets.values()]
        if not any(MIN_SIZE <= size <= MAX_SIZE for size in sizes):
            notes.append(
                f"{name}: no set is tested, the largest has {max(sizes)} of the network's genes "
                f"(sets of {MIN_SIZE} to {MAX_SIZE} are)"
            )
    return notes


def compare_seeds(parts: Sequence[pd.DataFrame], seeds: Sequence[int], number: int) -> pd.DataFrame:
    """Compare the embeddings of every two seeds: clusters, neighbours, and spread of ranks.

    Returns
    -------
    DataFrame
        One row per pair: seed_a, seed_b, ari, ami (of their clusters, as many in each),
        neighbour_overlap (mean share of the ten nearest genes in common), rank_spread (over the
        pair, see `i2r.kernels.gene_clusters.measure_rank_spread`; of up to
        `MAX_COMPARED_GENES` genes).
    """
    from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

    rows = [p[[n for n in p if str(n).startswith("e")]].to_numpy(dtype=float) for p in parts]
    cuts = [
        clusters.cluster_rows(clusters.condense_distances(r), [min(number, len(r))])[0]
        for r in rows
    ]
    n = len(rows[0])
    some = np.unique(np.linspace(0, n - 1, min(n, MAX_COMPARED_GENES)).astype(int))
    compared = [
        (
            seeds[a], seeds[b], adjusted_rand_score(cuts[a], cuts[b]),
            adjusted_mutual_info_score(cuts[a], cuts[b]),
            clusters.compare_neighbours(rows[a], rows[b]),
            float(clusters.measure_rank_spread(np.stack([rows[a], rows[b]]), some).mean()),
        )
        for a in range(len(rows)) for b in range(a)
    ]  # fmt: skip
    columns = ["seed_a", "seed_b", "ari", "ami", "neighbour_overlap", "rank_spread"]
    return pd.DataFrame(compared, columns=columns)
