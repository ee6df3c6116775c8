"""Gene perturbation embeddings, the image side: profiles of wells, averaged by gene.

The profiles are those of an embed stage's table of wells: its 'aggregate' and 'correction' count.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.analysis.regulation.gene_inputs import translate_vectors
from i2r.errors import InputError
from i2r.formats.gene_tables import GeneVectors, read_spaces
from i2r.store import tables
from i2r.store.experiment import Experiment
from i2r.store.vocabulary import translate
from i2r.types import unit_key


class TreatedWells(NamedTuple):
    """Embedded wells that a gene was perturbed in.

    Attributes
    ----------
    table : str
        URL of the embed stage's table of wells.
    genes : dict
        By well, ``PLATE/B03``, its gene, upper case.
    encoders : tuple of str
        Names of the encoders; that of a single one is empty.
    left_out : dict
        By gene, the encoder that never saw it.
    """

    table: str
    genes: dict[str, str]
    encoders: tuple[str, ...]
    left_out: dict[str, str]


def translate_wells(wells: TreatedWells, symbols: Mapping[str, str] | None) -> TreatedWells:
    """Name the genes of wells by the symbols of a network's vocabulary."""
    genes = {key: translate(gene, symbols) or gene for key, gene in wells.genes.items()}
    left_out = {translate(g, symbols) or g: name for g, name in wells.left_out.items()}
    return wells._replace(genes=genes, left_out=left_out)


class SeenVectors(NamedTuple):
    """Perturbation embeddings, also as encoders that never saw a gene see them.

    Attributes
    ----------
    vectors : GeneVectors
        Of one encoder: the only one, or the first.
    without : (n, n, d) float64 or None
        At i, the vectors of all genes by the encoder that never saw gene i; None for one encoder.
    """

    vectors: GeneVectors
    without: npt.NDArray[np.float64] | None = None


def read_seen(url: str, symbols: Mapping[str, str] | None = None, *, info: str = "") -> SeenVectors:
    """Read vectors from a table, with a space per gene where its column 'held_out' has several.

    A gene that no encoder left out is seen by the first one.

    Parameters
    ----------
    url, info
        See `i2r.formats.gene_tables.read_spaces`.
    symbols
        What genes are called, see `i2r.store.vocabulary`.
    """
    spaces = {
        translate(name, symbols) or name: translate_vectors(own, symbols)
        for name, own in read_spaces(url, info=info).items()
    }
    first = next(iter(spaces.values()))
    if len(spaces) == 1:
        return SeenVectors(first)
    without = [spaces.get(gene, first).values for gene in first.genes]
    return SeenVectors(first, np.stack(without))


def name_treated_wells(experiment: Experiment) -> dict[str, str]:
    """Name the gene, upper case, of every well that one was perturbed in, by unit key."""
    layout = experiment.layout_by_key
    treated = layout["role"].isin(["treated", "positive_control"])
    genes = layout["gene"].fillna("").astype(str).str.upper()[treated]
    return {str(key): gene for key, gene in genes.items() if gene}


def list_treated_wells(experiment: Experiment, embed: str) -> TreatedWells:
    """List the wells that are embedded and whose role is 'treated' or 'positive_control'.

    Of encoders that each leave out a class, those of the first view are taken.

    Parameters
    ----------
    embed
        Name of the stage that embedded them.
    """
    ledger = experiment.ledger
    done = set(ledger.done_keys(embed))
    layout = experiment.layout_by_key
    wells = layout[layout.index.isin(name_treated_wells(experiment)) & layout.index.isin(done)]
    names = {
        str(name)
        for key in wells.index
        for name in (ledger.result(embed, str(key)) or {}).get("encoders", [""])
    }
    views = sorted({name.partition("/without-")[0] for name in names})
    encoders = [name for name in sorted(names) if name.partition("/without-")[0] == views[0]]
    # A class is a condition or a gene; either way it stands for its gene.
    gene_of = {
        str(label): str(gene).upper()
        for column in ("gene", "condition")
        for label, gene in zip(wells[column], wells["gene"], strict=True)
    }
    left_out = {
        gene_of[label]: name
        for name in encoders
        if (label := name.partition("/without-")[2]) in gene_of
    }
    genes = {str(key): str(gene).upper() for key, gene in wells["gene"].items()}
    return TreatedWells(experiment.table_url(embed), genes, tuple(encoders), left_out)


def average_genes(wells: TreatedWells) -> SeenVectors:
    """Average the wells of each gene by their nuclei; genes without a nucleus are left out.

    Raises
    ------
    InputError
        If no gene has a nucleus.
    """
    if not wells.encoders:
        raise InputError("no embedded well has a gene. Fill the column 'gene' of the layout.")
    table = tables.read_table(wells.table)
    by_encoder = {name: average_wells(table, wells.genes, encoder=name) for name in wells.encoders}
    default = wells.encoders[0]
    first = by_encoder[default]
    if len(by_encoder) == 1:
        return SeenVectors(first)
    without = [by_encoder[wells.left_out.get(gene, default)].values for gene in first.genes]
    return SeenVectors(first, np.stack(without))


def average_wells(table: pd.DataFrame, names: Mapping[str, str], *, encoder: str) -> GeneVectors:
    """Average the profiles of wells that have a name in common, each by its nuclei.

    Parameters
    ----------
    table
        An embed stage's table of wells: encoder, plate, well, n_nuclei, e0, ...
    names
        By well, ``PLATE/B03``; wells without a name, or without a nucleus, are left out.
    encoder
        Whose profiles.

    Raises
    ------
    InputError
        If no well with a name has a nucleus.
    """
    rows = table[(table["encoder"] == encoder) & (table["n_nuclei"] > 0)]
    columns = [name for name in rows if str(name)[:1] == "e" and str(name)[1:].isdigit()]
    keys = [unit_key(plate, well) for plate, well in zip(rows["plate"], rows["well"], strict=True)]
    own = np.array([names.get(key, "") for key in keys], dtype=object)
    known = sorted({name for name in own if name})
    if not known:
        raise InputError(
            "no well with a gene has an embedded nucleus. See the reasons in the table of 'crop'."
        )
    values, counts = rows[columns].to_numpy(dtype=float), rows["n_nuclei"].to_numpy(dtype=float)
    means = [np.average(values[own == name], axis=0, weights=counts[own == name]) for name in known]
    return GeneVectors(known, np.stack(means), [f"d{i}" for i in range(len(columns))])
