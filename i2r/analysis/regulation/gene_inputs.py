"""What gene embeddings are made of: targets, the links of a network, features of its genes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.errors import InputError
from i2r.formats.gene_tables import GeneVectors, read_gene_sets, read_vectors
from i2r.store.contradictions import split_genes
from i2r.store.experiment import Experiment
from i2r.store.networks import read_network
from i2r.store.vocabulary import Vocabulary, read_symbols, read_vocabulary, translate

# A tenth of the links is kept for validation: one at least.
_MIN_LINKS = 10


def list_impactful_genes(experiment: Experiment, screen: str) -> list[str]:
    """List the genes with a perturbation that a screen calls impactful, upper case and sorted.

    Perturbations without a gene are left out; each of several targets of one (``A|B``) counts.
    """
    ranking = experiment.table(screen)
    return _list_genes(ranking[ranking["impactful"].fillna(False).astype(bool)])


def list_screened_genes(experiment: Experiment, screen: str) -> list[str]:
    """List the genes of all perturbations of a screen, as `list_impactful_genes`."""
    return _list_genes(experiment.table(screen))


def _list_genes(ranking: pd.DataFrame) -> list[str]:
    cells = ranking["gene"].fillna("").astype(str)
    return sorted({gene.upper() for cell in cells for gene in split_genes(cell)})


class Naming(NamedTuple):
    """Where what genes are called is from; empty text for nowhere.

    Attributes
    ----------
    vocabulary
        Table of the stage that made the network.
    symbols
        The user's table, for a network or embeddings of theirs.
    network, embeddings
        Those: what has a name of its own there keeps it, see `Vocabulary.keep_apart`.
    """

    vocabulary: str
    symbols: str = ""
    network: str = ""
    embeddings: str = ""


def read_naming(naming: Naming) -> Vocabulary | None:
    """Read what genes are called; None where nothing says so."""
    if not naming.symbols:
        return read_vocabulary(naming.vocabulary) if naming.vocabulary else None
    names: Iterable[object] = ()
    if naming.network:
        names = read_network(naming.network)
    elif naming.embeddings:
        names = read_vectors(naming.embeddings).genes
    return read_symbols(naming.symbols).keep_apart(str(name).upper() for name in names)


def translate_vectors(vectors: GeneVectors, symbols: Mapping[str, str] | None) -> GeneVectors:
    """Name vectors by symbols; where two names are one symbol the mean counts."""
    names = [translate(gene, symbols) or gene for gene in vectors.genes]
    if names == vectors.genes:
        return vectors
    means = pd.DataFrame(vectors.values).groupby(np.array(names), sort=True).mean()
    return GeneVectors(
        [str(gene) for gene in means.index], means.to_numpy(dtype=float), vectors.names
    )


def translate_labels(
    labels: Mapping[str, str], symbols: Mapping[str, str] | None
) -> dict[str, str]:
    """Name labels by symbols.

    Raises
    ------
    InputError
        If two names of one gene have different labels.
    """
    found: dict[str, str] = {}
    for name, label in labels.items():
        symbol = translate(name, symbols) or name
        if found.setdefault(symbol, label) != label:
            raise InputError(
                f"labels: {symbol!r} has the labels {found[symbol]!r} and {label!r} under two "
                "names, expected one. Keep one."
            )
    return found


def translate_sets(
    sets: Mapping[str, frozenset[str]], symbols: Mapping[str, str] | None
) -> dict[str, frozenset[str]]:
    """Name the genes of sets by symbols."""
    return {
        name: frozenset(translate(gene, symbols) or gene for gene in genes)
        for name, genes in sets.items()
    }


def read_edges(
    url: str, symbols: Mapping[str, str] | None = None
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Read a network as arrays.

    Parameters
    ----------
    url
        GraphML.
    symbols
        What its names are translated by; genes without a symbol are left out.

    Returns
    -------
    genes : list of str
        Upper case, sorted.
    edges : (m, 2) int64
        Positions of the two genes, smaller first; each link once, sorted.

    Raises
    ------
    InputError
        If it can't be read, or has too few links to learn from.
    """
    graph = read_network(url)
    named = {node: translate(str(node), symbols) for node in graph}
    genes = sorted({name for name in named.values() if name})
    place = {gene: row for row, gene in enumerate(genes)}
    linked = [(named[a], named[b]) for a, b in graph.edges]
    pairs = {tuple(sorted((place[a], place[b]))) for a, b in linked if a and b}
    edges = np.array(sorted(p for p in pairs if p[0] != p[1]), dtype=np.int64).reshape(-1, 2)
    if len(edges) < _MIN_LINKS:
        raise InputError(
            f"network {url}: {len(edges)} links between {len(genes)} genes, expected "
            f"{_MIN_LINKS} or more: a tenth is kept for validation. Take a larger network."
        )
    return genes, edges


def read_features(
    genes: Sequence[str],
    vectors_url: str,
    sets_url: str,
    symbols: Mapping[str, str] | None = None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Read features of the genes of a network: numbers, and membership in gene sets.

    Parameters
    ----------
    genes
        The genes, in upper case.
    vectors_url, sets_url
        A table of numbers and a GMT file; empty for none.
    symbols
        What their names are translated by: the network's vocabulary.

    Returns
    -------
    features : (n, f) float64
        Genes that the table lacks have the mean of the others. Without files there are none.
    known : (n,) bool
        Whether a gene is in the table or in a set.

    Raises
    ------
    InputError
        If a file can't be read, or knows none of the genes.
    """
    columns, known = [np.empty((len(genes), 0))], np.zeros(len(genes), dtype=bool)
    place = {gene: row for row, gene in enumerate(genes)}
    if vectors_url:
        vectors = translate_vectors(read_vectors(vectors_url), symbols)
        shared = [gene for gene in vectors.genes if gene in place]
        _require_overlap(vectors_url, vectors.genes, shared)
        rows, own = [place[gene] for gene in shared], vectors.take(shared)
        values = np.repeat(own.mean(axis=0, keepdims=True), len(genes), axis=0)
        values[rows] = own
        known[rows] = True
        columns.append(values)
    if sets_url:
        sets = translate_sets(read_gene_sets(sets_url), symbols)
        member = np.array([[gene in own for own in sets.values()] for gene in genes], dtype=float)
        named = sorted(frozenset().union(*sets.values()))
        _require_overlap(sets_url, named, [gene for gene in genes if member[place[gene]].any()])
        known |= member.any(axis=1)
        columns.append(member)
    return np.concatenate(columns, axis=1), known


def _require_overlap(url: str, names: Sequence[str], shared: Collection[str]) -> None:
    """Refuse a file that knows none of the genes."""
    if not shared:
        raise InputError(
            f"{url}: none of its genes is in the network (it has {', '.join(names[:3])}, ...), "
            "expected the network's symbols. Translate them."
        )
