"""Gene perturbation embeddings, the image side: means over the nuclei of each gene's wells."""

from collections.abc import Sequence

import numpy as np

from i2r.errors import InputError
from i2r.store.arrays import read_array
from i2r.store.experiment import Experiment
from i2r.store.gene_tables import GeneVectors


def list_treated_wells(experiment: Experiment, embed: str) -> tuple[list[str], list[str]]:
    """List the embeddings of wells that a gene was perturbed in.

    Parameters
    ----------
    embed
        Name of the stage that embedded them.

    Returns
    -------
    urls, genes : list of str
        One per well that is done and whose role is 'treated' or 'positive_control'.
    """
    done = set(experiment.ledger.done_keys(embed))
    layout = experiment.layout_by_key
    treated = layout["role"].isin(["treated", "positive_control"])
    wells = layout[treated & layout["gene"].astype(bool) & layout.index.isin(done)]
    return (
        [experiment.embeddings_url(embed, str(key)) for key in wells.index],
        [str(gene).upper() for gene in wells["gene"]],
    )


def average_wells(urls: Sequence[str], genes: Sequence[str]) -> GeneVectors:
    """Average the nuclei of each gene over its wells; genes without a nucleus are left out.

    Raises
    ------
    InputError
        If no gene has a nucleus.
    """
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    for url, gene in zip(urls, genes, strict=True):
        rows = read_array(url)
        if len(rows):
            total = rows.sum(axis=0, dtype=np.float64)
            sums[gene] = sums[gene] + total if gene in sums else total
            counts[gene] = counts.get(gene, 0) + len(rows)
    if not sums:
        raise InputError(
            "no well with a gene has an embedded nucleus. Fill the column 'gene' of the layout."
        )
    names = sorted(sums)
    values = np.stack([sums[gene] / counts[gene] for gene in names])
    return GeneVectors(names, values, [f"d{i}" for i in range(values.shape[1])])
