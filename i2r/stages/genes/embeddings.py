"""The embeddings of a network's genes: one seed after another, joined, and their tables."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from i2r.analysis.regulation import gene_comparisons as comparing
from i2r.analysis.regulation import gene_embeddings as embedding
from i2r.analysis.regulation import signatures
from i2r.analysis.regulation.gene_inputs import (
    Naming,
    read_edges,
    read_features,
    read_naming,
    translate_labels,
    translate_sets,
    translate_vectors,
)
from i2r.errors import InputError
from i2r.formats.gene_tables import read_gene_sets, read_labels, read_spaces
from i2r.store import tables
from i2r.store.vocabulary import Vocabulary, translate, write_vocabulary

PARTS = ("-seeds", "-quality", "-training", "-genes")
TABLES = ("", "-heldout", "-clusters", "-curves", "-enrichment", "-background", "-neighbours",
          "-stability", "-agreement", "-quality", "-training", "-genes", "-vocabulary")  # fmt: skip


class _Options(NamedTuple):
    """The options of the stage, for a worker."""

    values: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        return self.values[name]


def embed_seed(
    options: Mapping[str, Any],
    *,
    network_url: str,
    naming: Naming,
    wells: signatures.TreatedWells | None,
    seed: int,
    without: str | None,
    urls: Mapping[str, str],
) -> dict[str, Any]:
    """Compute and write the embeddings of one seed.

    With ``without``, of that gene left out alone, '' for none; otherwise of all of them.
    """
    given = _Options(options)
    symbols = read_naming(naming)
    nothing = pd.DataFrame({"seed": pd.Series(dtype=int)})
    if given.method == "import":
        spaces = {
            translate(name, symbols) or name: translate_vectors(own, symbols)
            for name, own in read_spaces(given.embeddings).items()
        }
        made = pd.concat(
            [
                embedding.tabulate_embeddings(own.genes, own.values).assign(held_out=name)
                for name, own in spaces.items()
            ],
            ignore_index=True,
        )
        genes = next(iter(spaces.values())).genes
        described = pd.DataFrame({"gene": genes, "degree": 0, "has_features": False})
        trained = embedding.TrainingTables(made, nothing, nothing)
    else:
        network = embedding.Network(*read_edges(network_url, symbols))
        features, has_features = gather_features(network.genes, given, seed, symbols)
        labels = {"": np.full(len(network.genes), -1)}
        if given.method == "autoencoder":
            labels = gather_labels(network.genes, given, wells, symbols)
            if without is not None:
                name = translate(without, symbols) or without
                if name not in labels:
                    # No gene of the network: nothing knows its label.
                    return write_nothing(urls)
                labels = {name: labels[name]}
            trained = embedding.train_seed(
                network,
                features,
                labels,
                seed=seed,
                settings=given.settings,
                loss_weights=(given.edge_weight, given.feature_weight, given.class_weight),
            )
        else:
            rows = embedding.embed_links(network, given.method)
            made = embedding.tabulate_embeddings(network.genes, rows).assign(held_out="")
            trained = embedding.TrainingTables(made, nothing, nothing)
        degree = np.bincount(network.edges.ravel(), minlength=len(network.genes))
        described = pd.DataFrame(
            {"gene": network.genes, "degree": degree, "has_features": has_features}
        )
        if given.labels != "none" and given.method == "autoencoder":
            described["label"] = next(iter(labels.values()))
    tables.write_table(urls["-seeds"], trained.embeddings)
    tables.write_table(urls["-quality"], trained.quality)
    tables.write_table(urls["-training"], trained.losses)
    tables.write_table(urls["-genes"], described)
    return {"genes": len(described)}


def write_nothing(urls: Mapping[str, str]) -> dict[str, Any]:
    """Write the parts of a unit that has nothing to embed."""
    for url in urls.values():
        tables.write_table(url, pd.DataFrame({"held_out": pd.Series(dtype=str)}))
    return {"genes": 0}


def gather_features(
    genes: Sequence[str], given: _Options, seed: int, symbols: Mapping[str, str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Give the features of the genes of a network, and which genes have any of the user's."""
    values, known = read_features(genes, given.features, given.feature_sets, symbols)
    if not values.shape[1]:
        return embedding.draw_features(len(genes), given.feature_components, seed), known
    if given.settings == "published":
        return embedding.scale_as_published(values), known
    return embedding.reduce_features(values, given.feature_components), known


def gather_labels(
    genes: Sequence[str],
    given: _Options,
    wells: signatures.TreatedWells | None,
    symbols: Mapping[str, str] | None = None,
) -> dict[str, np.ndarray]:
    """Give the labels of all genes by held-out gene, '' for none held out.

    Raises
    ------
    InputError
        If fewer than three genes of the network have a label.
    """
    nothing = np.full(len(genes), -1, dtype=np.int64)
    if given.labels == "none":
        return {"": nothing}
    place = {gene: row for row, gene in enumerate(genes)}
    found: dict[str, np.ndarray] = {}
    if given.labels == "file":
        labels = translate_labels(read_labels(given.label_source), symbols)
        named = {g: v for g, v in labels.items() if g in place}
        classes = {label: i for i, label in enumerate(sorted(set(named.values())))}
        labelled = sorted(named)
        _require_labels(labelled)
        full = nothing.copy()
        full[[place[g] for g in labelled]] = [classes[named[g]] for g in labelled]
        for held_out in ("", *(labelled if given.held_out_labels == "masked" else ())):
            own = full.copy()
            own[[place[held_out]] if held_out else []] = -1
            found[held_out] = own
    else:
        if wells is None:
            seen = signatures.read_seen(given.label_source, symbols)
        else:
            seen = signatures.average_genes(signatures.translate_wells(wells, symbols))
        kept = [row for row, gene in enumerate(seen.vectors.genes) if gene in place]
        labelled = [seen.vectors.genes[row] for row in kept]
        _require_labels(labelled)
        rows = [place[gene] for gene in labelled]
        turns: list[tuple[int | None, str]] = [(None, "")]
        turns += enumerate(labelled) if given.held_out_labels == "masked" else []
        for number, held_out in turns:
            own = nothing.copy()
            # The encoder that never saw a gene makes the labels that are used without it.
            values = seen.vectors.values
            if seen.without is not None and number is not None:
                values = seen.without[kept[number]]
            own[rows] = embedding.label_by_clusters(
                values[kept], given.label_clusters, number, given.label_distance
            )
            found[held_out] = own
    return found


def _require_labels(labelled: Sequence[str]) -> None:
    """Refuse labels of fewer genes than can be left out and leave something to learn from."""
    if len(labelled) < 3:
        raise InputError(
            f"labels: {len(labelled)} gene(s) of the network have one, expected 3 or more. Check "
            "that symbols are the network's."
        )


def read_parts(urls: Sequence[str]) -> pd.DataFrame:
    """Read the parts of one seed, without those that are empty, under each other."""
    found = [table for url in urls if len(table := tables.read_table(url))]
    return tables.concatenate(found) if found else tables.read_table(urls[0])


def write_genes(
    parts: Mapping[str, Sequence[Sequence[str]]],
    *,
    seeds: Sequence[int],
    number: int,
    leaks: bool,
    gene_sets: Sequence[str],
    naming: Naming,
    pruned: str,
    urls: Mapping[str, str],
) -> dict[str, Any]:
    """Join the seeds and write all tables of the stage.

    ``pruned`` is the table of the genes that the network was chosen from; '' for none.
    """
    symbols = read_naming(naming)
    write_vocabulary(urls["-vocabulary"], symbols or Vocabulary({}))
    # Two names of one gene are two units of the same embedding.
    by_seed = [
        read_parts(urls).drop_duplicates(["held_out", "gene"], ignore_index=True)
        for urls in parts["-seeds"]
    ]
    joined = embedding.join_seeds(by_seed)
    plain = joined[joined["held_out"] == ""].drop(columns="held_out").reset_index(drop=True)
    described = tables.read_table(parts["-genes"][0][0])
    degrees = dict(zip(described["gene"], described["degree"].astype(int), strict=True))
    clusters, curves = embedding.choose_clusters(plain, number, degrees)
    collections: dict[str, Mapping[str, frozenset[str]]] = {}
    for url in gene_sets:
        name = url.rpartition("/")[2].removesuffix(".gmt")
        found = translate_sets(read_gene_sets(url), symbols)
        collections[url if name in collections else name] = found
    full = [part[part["held_out"] == ""] for part in by_seed]
    own = set(described["gene"].astype(str))
    # An imported network has none: its table of pruned genes is not written.
    background = set(tables.read_table(pruned)["gene"].astype(str)) if pruned else own
    chosen = int(curves.loc[curves["chosen"], "k"].iloc[0])
    written = {
        "": plain,
        "-heldout": joined[joined["held_out"] != ""].reset_index(drop=True),
        "-clusters": clusters,
        "-curves": curves,
        "-enrichment": embedding.enrich_clusters(clusters, collections),
        "-background": comparing.enrich_network(own, background, collections),
        "-neighbours": comparing.enrich_neighbours(plain, collections),
        "-stability": embedding.compare_seeds(full, seeds, chosen),
        "-agreement": comparing.compare_numbers(full),
        "-quality": tables.concatenate([read_parts(u) for u in parts["-quality"]]),
        "-training": tables.concatenate([tables.read_table(u[0]) for u in parts["-training"]]),
        "-genes": described,
    }
    known = described.loc[described["label"] >= 0, "gene"] if "label" in described else []
    seen = {"labels_seen": [str(gene) for gene in known]} if leaks else {}
    for name, table in written.items():
        tables.write_table(urls[name], table, metadata=None if name else seen)
    notes = embedding.note_gaps(described, collections)
    if seen:
        notes.append(
            f"embeddings were made with the labels of all {len(known)} genes that have one, as "
            "published: left out, these genes are not new to them"
        )
    return {"genes": len(plain), "clusters": chosen, "notes": notes}
