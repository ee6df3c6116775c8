"""What genes are asked for: a table of the user's, or wells of the experiment."""

from collections import Counter
from typing import NamedTuple

import numpy as np
import pandas as pd

from i2r.analysis.regulation.feature_profiles import FeatureWells, average_features
from i2r.analysis.regulation.signatures import average_wells
from i2r.errors import InputError
from i2r.formats.gene_tables import NOT_VALUES, name_genes
from i2r.store import tables
from i2r.store.frames import read_frame, to_numbers


class QueryWells(NamedTuple):
    """Wells that are asked about.

    Attributes
    ----------
    names : dict
        By well, ``PLATE/B03``, its query.
    genes : dict
        By query, its gene, '' for none.
    table : str
        URL of the embed stage's table of wells; empty where profiles are of features.
    encoders : tuple of str
        Whose profiles are wanted.
    features : FeatureWells or None
        The same wells and controls, where profiles are of features.
    """

    names: dict[str, str]
    genes: dict[str, str]
    table: str
    encoders: tuple[str, ...]
    features: FeatureWells | None


def read_queries(url: str) -> pd.DataFrame:
    """Read queries: query, gene, encoder (empty), n_nuclei (NaN where not given) and numbers.

    A table that `i2r.formats.gene_tables.read_vectors` reads is one of queries, too.

    Raises
    ------
    InputError
        If there is no name for a query, a name comes twice, or a value is missing.
    """
    table = name_genes(read_frame(url))
    named = next((name for name in ("query", "perturbation", "gene") if name in table), None)
    if named is None:
        raise InputError(f"{url}: no column 'query' or 'gene'. Name the rows in one of them.")
    names = table[named].astype("string").str.strip().fillna("").astype(str).tolist()
    if "" in names:
        raise InputError(
            f"{url} row {names.index('') + 2}: no name in {named!r}, expected one for every query. "
            "Add it, or leave the row out."
        )
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise InputError(f"{url}: query {repeated[0]!r} comes twice. Give one row per query.")
    genes = (
        table["gene"].astype(object).fillna("") if "gene" in table else pd.Series([""] * len(table))
    )
    columns = [name for name in table if str(name) not in ("query", *NOT_VALUES)]
    numbers = to_numbers(table[columns])
    if not np.isfinite(numbers).all() or not columns or not names:
        raise InputError(
            f"{url}: {int((~np.isfinite(numbers)).sum())} of {numbers.size} values are not finite "
            "numbers, expected query, gene and numbers. Fill them or leave the rows out."
        )
    symbols = genes.astype(str).str.strip().str.upper().tolist()
    counts = to_numbers(table[["n_nuclei"]])[:, 0] if "n_nuclei" in table else np.nan
    described = {"query": names, "gene": symbols, "encoder": "", "n_nuclei": counts}
    profiles = pd.DataFrame(numbers, columns=[str(name) for name in columns])
    return pd.concat([pd.DataFrame(described), profiles], axis=1)


def average_queries(wells: QueryWells) -> pd.DataFrame:
    """Average the nuclei of every query's wells; columns as those of `read_queries`."""
    table = tables.read_table(wells.table) if wells.table else pd.DataFrame()
    parts = []
    for encoder in wells.encoders:
        if wells.features is not None:
            found = average_features(wells.features)
        else:
            found = average_wells(table, wells.names, encoder=encoder)
        described = {"query": found.genes, "gene": [wells.genes[name] for name in found.genes]}
        part = pd.DataFrame({**described, "encoder": encoder, "n_nuclei": np.nan})
        parts.append(pd.concat([part, pd.DataFrame(found.values, columns=found.names)], axis=1))
    return pd.concat(parts, ignore_index=True)
