"""Gene perturbation embeddings, the image side: means over the nuclei of each gene's wells."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from i2r.errors import InputError
from i2r.store.arrays import read_array
from i2r.store.experiment import Experiment
from i2r.store.gene_tables import GeneVectors


class TreatedWells(NamedTuple):
    """Embedded wells that a gene was perturbed in.

    Attributes
    ----------
    genes : tuple of str
        The gene of each well, upper case.
    urls : dict
        By encoder, the embeddings of every well; the name of a single encoder is empty.
    left_out : dict
        By gene, the encoder that never saw it.
    """

    genes: tuple[str, ...]
    urls: dict[str, tuple[str, ...]]
    left_out: dict[str, str]


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
    urls = {
        name: tuple(experiment.embeddings_url(embed, str(key), encoder=name) for key in wells.index)
        for name in encoders
    }
    return TreatedWells(tuple(str(gene).upper() for gene in wells["gene"]), urls, left_out)


def average_genes(wells: TreatedWells) -> SeenVectors:
    """Average the nuclei of each gene over its wells; genes without a nucleus are left out.

    Raises
    ------
    InputError
        If no gene has a nucleus.
    """
    by_encoder = {name: average_wells(urls, wells.genes) for name, urls in wells.urls.items()}
    if not by_encoder:
        raise InputError("no embedded well has a gene. Fill the column 'gene' of the layout.")
    first = next(iter(by_encoder.values()))
    if len(by_encoder) == 1:
        return SeenVectors(first)
    default = next(iter(by_encoder))
    without = [by_encoder[wells.left_out.get(gene, default)].values for gene in first.genes]
    return SeenVectors(first, np.stack(without))


def average_wells(
    urls: tuple[str, ...] | list[str], names: tuple[str, ...] | list[str]
) -> GeneVectors:
    """Average the nuclei of wells that have a name in common.

    Raises
    ------
    InputError
        If no well has a nucleus.
    """
    sums: dict[str, npt.NDArray[np.float64]] = {}
    counts: dict[str, int] = {}
    for url, name in zip(urls, names, strict=True):
        rows = read_array(url)
        if len(rows):
            total = rows.sum(axis=0, dtype=np.float64)
            sums[name] = sums[name] + total if name in sums else total
            counts[name] = counts.get(name, 0) + len(rows)
    if not sums:
        raise InputError(
            "no well with a gene has an embedded nucleus. See the reasons in the table of 'crop'."
        )
    known = sorted(sums)
    values = np.stack([sums[name] / counts[name] for name in known])
    return GeneVectors(known, values, [f"d{i}" for i in range(values.shape[1])])
