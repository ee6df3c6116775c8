"""What users have per gene: vectors (embeddings, signatures, features), labels and gene sets.

Symbols are compared in upper case throughout.
"""

import re
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.errors import InputError
from i2r.formats.gctx import read_signatures
from i2r.formats.scales import find_counters
from i2r.store import files
from i2r.store.frames import UNNAMED, read_frame, read_text

# What others call the column of genes, in lower case.
_GENE_COLUMNS = ("gene", "symbol", "gene_symbol", "gene symbol", "genesymbol", "hgnc_symbol")
# What labels are called, here and in published files.
_LABEL_COLUMNS = ("label", "labels")
# Columns of whole numbers that name something, whatever they are beside.
_IDENTIFIER = re.compile(r"(^|[\W_])(id|ids|index|idx|entrez\w*|geneid|row|rownames?)$", re.I)
# Squares of values outside of this and its inverse are 0 or infinite.
_SMALLEST = 1e-100
# Columns of our own tables that are not numbers of a vector.
NOT_VALUES = ("gene", "held_out", "perturbation", "condition", "n_nuclei", "n_wells", "role")


class GeneVectors(NamedTuple):
    """One vector per gene.

    Attributes
    ----------
    genes : list of str
        Symbols in upper case, sorted, each once.
    values : (n, d) float64
        Finite; the mean where a gene had several rows.
    names : list of str
        Names of the columns.
    """

    genes: list[str]
    values: npt.NDArray[np.float64]
    names: list[str]

    def take(self, genes: list[str]) -> npt.NDArray[np.float64]:
        """Give the vectors of some genes, all of which are there, in their order."""
        place = {gene: row for row, gene in enumerate(self.genes)}
        return self.values[[place[gene] for gene in genes]]


def read_vectors(url: str, *, info: str = "") -> GeneVectors:
    """Read vectors of genes from a CSV, TSV, Parquet or GCTX file.

    Parameters
    ----------
    url
        A table with the column ``gene`` and columns of numbers, or with genes in a first column
        without a name, as pandas and R write an index; or signatures of the Connectivity Map, see
        `i2r.formats.gctx.read_signatures`.
    info
        Of a GCTX file, the table of its signatures (sig_info).

    Raises
    ------
    InputError
        If there is no such file, no column ``gene``, several values of ``held_out``, a column
        that is neither numbers nor one of i2r's own descriptions, no row, or a value that is
        missing.
    """
    if url.lower().endswith(".gctx"):
        return GeneVectors(*read_signatures(url, info=info))
    return gather_vectors(read_frame(url), where=url)


def read_spaces(url: str, *, info: str = "") -> dict[str, GeneVectors]:
    """Read vectors of genes, also as encoders that never saw a gene make them.

    Parameters
    ----------
    url, info
        As in `read_vectors`; a column ``held_out`` names the gene that an encoder never saw,
        empty for one that saw all.

    Returns
    -------
    dict of str to GeneVectors
        By held-out gene, upper case; '' first where there is one. All have the same genes.

    Raises
    ------
    InputError
        If it can't be read, or one encoder lacks a gene that another has.
    """
    if url.lower().endswith(".gctx"):
        return {"": read_vectors(url, info=info)}
    table = name_genes(read_frame(url))
    if "held_out" not in table:
        return {"": gather_vectors(table, where=url)}
    held_out = table["held_out"].astype("string").fillna("").str.strip().str.upper()
    spaces = {
        str(name): gather_vectors(rows, where=f"{url} held_out {str(name)!r}")
        for name, rows in table.groupby(held_out.to_numpy(dtype=object), sort=True)
    }
    first_name, first = next(iter(spaces.items()))
    for name, own in spaces.items():
        lacking = sorted(set(first.genes) ^ set(own.genes))
        if lacking:
            raise InputError(
                f"{url}: gene {lacking[0]!r} has a row for only one of held_out {first_name!r} and "
                f"{name!r}, expected one from every encoder. Embed all genes with each."
            )
    return spaces


def gather_vectors(table: pd.DataFrame, *, where: str) -> GeneVectors:
    """Make vectors of a table; see `read_vectors`."""
    table = name_genes(table)
    if "gene" not in table:
        raise InputError(
            f"{where}: no column 'gene', found {', '.join(map(str, table.columns[:5]))}. Name the "
            "column with gene symbols 'gene'."
        )
    spaces = len(set(table["held_out"].astype("string").fillna(""))) if "held_out" in table else 1
    if spaces > 1:
        raise InputError(
            f"{where}: column 'held_out' has {spaces} values, each from an encoder of its own, "
            "expected one here: embeddings of different encoders can't be averaged. Keep rows of "
            "one value, such as those where 'held_out' is empty."
        )
    columns = [name for name in table.columns if str(name) not in NOT_VALUES]
    wrong = [n for n in columns if not pd.api.types.is_numeric_dtype(table[n])]
    if wrong or not columns:
        what = f"column {wrong[0]!r} is not a number" if wrong else "no column of numbers"
        raise InputError(f"{where}: {what}, expected 'gene' and numbers. Leave other columns out.")
    symbols = table["gene"].astype("string").str.strip().str.upper()
    named = symbols.notna() & (symbols != "")
    table, symbols = table[named], symbols[named].astype(str)
    if not len(table):
        raise InputError(f"{where}: no row with a gene. Give one row per gene.")
    values = table[columns].to_numpy(dtype=float)
    bad = ~np.isfinite(values)
    if bad.any():
        row, column = (int(i[0]) for i in np.nonzero(bad))
        raise InputError(
            f"{where}: gene {symbols.iloc[row]!r} has no finite value in {columns[column]!r} "
            f"({int(bad.sum())} such values in all). Fill them or leave the gene out."
        )
    _check_sizes(values, where)
    whole = [pd.api.types.is_integer_dtype(table[name]) for name in columns]
    named = [n for n, yes in zip(columns, whole, strict=True) if yes and _IDENTIFIER.search(str(n))]
    if named:
        raise InputError(
            f"{where}: column {named[0]!r} is an identifier by its name, expected a measurement. "
            "Leave it out, or rename it."
        )
    numbered = find_counters(values, columns)
    if numbered:
        raise InputError(
            f"{where}: column {numbered[0]!r} numbers the rows, expected a measurement. It is an "
            "index that was saved: leave it out."
        )
    means = pd.DataFrame(values).groupby(symbols.to_numpy(), sort=True).mean()
    return GeneVectors(
        [str(g) for g in means.index], means.to_numpy(dtype=float), [str(c) for c in columns]
    )


def _check_sizes(values: npt.NDArray[np.float64], where: str) -> None:
    """Refuse values whose squares are not numbers any more, and vectors that are all the same."""
    largest = float(np.abs(values).max())
    if largest > 1 / _SMALLEST or 0 < largest < _SMALLEST:
        raise InputError(
            f"{where}: values up to {largest:g} in size, expected {_SMALLEST:g} to "
            f"{1 / _SMALLEST:g}. Scale them."
        )
    if len(values) > 1 and (values == values[0]).all():
        raise InputError(
            f"{where}: every gene has the same vector, so none can be told from another. Export "
            "it again."
        )


def name_genes(table: pd.DataFrame) -> pd.DataFrame:
    """Name the column of genes 'gene': Gene, symbol and the like, or an index of pandas or R.

    Not where there is a column of that name, or several that may be meant: which one is can't be
    told. An index is a first column of text without a name.
    """
    if "gene" in table:
        return table
    meant = [name for name in table if str(name).strip().lower() in _GENE_COLUMNS]
    if len(meant) == 1:
        return table.rename(columns={meant[0]: "gene"})
    first = table.columns[0] if len(table.columns) else ""
    is_index = str(first) == UNNAMED and not pd.api.types.is_numeric_dtype(table[first])
    return table.rename(columns={first: "gene"}) if is_index else table


def read_labels(url: str) -> dict[str, str]:
    """Read the label of genes from a table with the columns ``gene`` and ``label``.

    Also as published: the column ``labels``, genes as in `name_genes`.

    Rows without a gene or a label say nothing: such a gene is one whose label is not known.

    Raises
    ------
    InputError
        If there is no such file, a column is missing, or a gene has two labels.
    """
    table = name_genes(read_frame(url))
    column = next((name for name in _LABEL_COLUMNS if name in table), "label")
    missing = [name for name in ("gene", column) if name not in table]
    if missing:
        raise InputError(
            f"{url}: no column {missing[0]!r}, expected 'gene' and 'label'. Name them."
        )
    found: dict[str, str] = {}
    genes, labels = (["" if pd.isna(v) else str(v) for v in table[n]] for n in ("gene", column))
    for gene, label in zip(genes, labels, strict=True):
        symbol = gene.strip().upper()
        if not symbol or not label.strip():
            continue
        if found.setdefault(symbol, label) != label:
            raise InputError(
                f"{url}: gene {symbol!r} has the labels {found[symbol]!r} and {label!r}, expected "
                "one. Keep one row per gene."
            )
    return found


def read_gene_sets(url: str) -> dict[str, frozenset[str]]:
    """Read gene sets from a GMT file: name, description, genes, separated by tabs.

    Line ends of any system are read, empty lines and fields ignored; a gene's weight after a comma
    (as Enrichr writes it) is dropped.

    Raises
    ------
    InputError
        If there is no such file, a line has fewer than three fields, or a name comes twice.
    """
    found: dict[str, frozenset[str]] = {}
    for number, line in enumerate(read_text(url).splitlines(), start=1):
        if not line.strip():
            continue
        name, *rest = (field.strip() for field in line.split("\t"))
        genes = frozenset(g.partition(",")[0].strip().upper() for g in rest[1:]) - {""}
        if not genes or not name:
            raise InputError(
                f"{url} line {number}: {len(rest) + 1} field(s), expected name, description and "
                "genes, separated by tabs. Export it as GMT."
            )
        if name in found:
            raise InputError(f"{url} line {number}: gene set {name!r} comes twice. Rename one.")
        found[name] = genes
    if not found:
        raise InputError(f"{url}: no gene set in it. Give a GMT file.")
    return found


def digest_files(*urls: str) -> list[str]:
    """Hash the content of files given by the user, for fingerprints; '' and lost ones stay.

    Of a folder (10x's, or a Zarr store) the names and contents of all its files count.
    """
    return [_digest_file(url) if url and files.exists(url) else url for url in urls]


def _digest_file(url: str) -> str:
    listed = list(files.find_files(url, lambda path: True))
    if not listed:
        return sha256(files.read_bytes(url)).hexdigest()[:32]
    digest = sha256()
    for found in listed:
        content = sha256(files.read_bytes(files.join_url(url, found.path))).digest()
        digest.update(found.path.encode(errors="surrogateescape") + b"\0" + content)
    return digest.hexdigest()[:32]
