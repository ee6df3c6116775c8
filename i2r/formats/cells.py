"""Counts of single cells: tables, 10x folders (matrix market), 10x's HDF5 and AnnData."""

import os
from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from i2r.errors import InputError
from i2r.formats.cell_containers import (
    GENE,
    CountsRead,
    keep_genes,
    read_10x_h5,
    read_anndata,
)
from i2r.formats.cell_matrices import Counts, compress, read_matrix_market, take_columns
from i2r.formats.gctx import read_measurements
from i2r.formats.panels import clean_symbols
from i2r.formats.scales import check_counts
from i2r.store import files
from i2r.store.frames import read_columns, read_text, to_numbers
from i2r.store.vocabulary import is_identifier, tabulate_translations, translate

_NOT_READ = (
    ".loom", ".h5seurat", ".rds", ".rdata", ".robj", ".h5mu", ".tar", ".tar.gz", ".tgz", ".zip",
)  # fmt: skip
# Names of columns in a list of features that has a header.
_HEADER = {
    "id", "gene_id", "ensembl", "ensembl_id", "feature_id", "symbol", "gene", "name", "gene_name",
    "gene_symbol", "feature", "feature_name", "feature_type", "type", "",
}  # fmt: skip


def read_counts(
    url: str,
    symbols: Mapping[str, str] | None = None,
    *,
    layer: str = "",
    names: str = "",
    known: Collection[str] = (),
    scale: str = "any",
    log: list[pd.DataFrame] | None = None,
) -> tuple[list[str], Counts, pd.DataFrame]:
    """Read counts of single cells.

    Parameters
    ----------
    url
        A table of cells by genes whose first column names the cell, or of genes by cells where
        the genes in ``known`` say so; a 10x matrix (``matrix.mtx`` or ``.mtx.gz``, with
        ``features.tsv`` or ``genes.tsv`` beside it, all with one prefix as GEO has them), or the
        folder that it is in; 10x's ``.h5``; or AnnData (``.h5ad``, or a ``.zarr`` folder).
        ``.h5`` and ``.h5ad`` need the extra ``omics``. Or signatures of the Connectivity Map
        (``.gctx``), which stand for cells.
    symbols
        From `i2r.store.vocabulary.read_symbols`.
    layer
        Of AnnData: what to take, 'raw' or a layer's name; empty for ``X``.
    names
        Of AnnData: the column of ``var`` with symbols; empty for its index, or, where that has
        identifiers, for one of the usual columns.
    known
        Symbols of the network, to tell genes from cells in a table.
    scale
        'counts' refuses what is not a whole number, see `i2r.formats.scales.check_counts`;
        'signatures' takes values below 0.
    log
        Takes the table of names that were translated.

    Returns
    -------
    genes
        Symbols in upper case; of several of one symbol the first counts.
    counts : (cell, gene) sparse array by columns, float32 or float64
        The counts, in single precision where that holds them exactly.
    dropped
        What was left out: symbol, reason.

    Raises
    ------
    InputError
        If it is none of these, or a count is negative, missing or no number.
    """
    read = _read_any(url, symbols, layer, names, frozenset(known))
    if read.counts.shape[1] != len(read.names):
        raise InputError(
            f"counts {url}: {read.counts.shape[1]} genes in the matrix, {len(read.names)} names. "
            "Export both again."
        )
    if not all(read.counts.shape):
        raise InputError(
            f"counts {url}: {read.counts.shape[0]} cells and {read.counts.shape[1]} genes, "
            "expected a table of cells by genes. Export it again."
        )
    if log is not None:
        log.append(tabulate_translations(read.names, symbols, table="cells"))
    genes, kept, dropped = clean_symbols(read.names, symbols)
    dropped += read.other
    elsewhere = read.elsewhere
    counts = take_columns(read.counts, kept)
    del read
    signed = scale == "signatures"
    bad = ~np.isfinite(counts.data) | ((counts.data < 0) & (not signed))
    if bad.any():
        at = int(np.argmax(bad))
        row, value = int(counts.indices[at]), counts.data[at]
        column = int(np.searchsorted(counts.indptr, at, side="right")) - 1
        found = "missing or no number" if np.isnan(value) else f"{value:g}"
        raise InputError(
            f"counts {url} cell {row + 1} gene {genes[column]}: {found}, expected 0 or more. "
            f"{elsewhere or 'Give raw counts.'}"
        )
    if scale == "counts":
        check_counts(counts, where=f"counts {url}", elsewhere=elsewhere)
    return genes, counts, pd.DataFrame(dropped, columns=["symbol", "reason"], dtype=str)


def _read_any(
    url: str, symbols: Mapping[str, str] | None, layer: str, names: str, known: frozenset[str]
) -> CountsRead:
    """Read counts by what a file's name says it is."""
    name = url.lower().rstrip("/")
    if name.endswith(_NOT_READ):
        raise InputError(
            f"counts {url}: a format that i2r does not read, expected AnnData (.h5ad or .zarr), "
            "10x's .h5 or matrix.mtx, or a table. Unpack it, or export one of these."
        )
    if name.endswith((".h5ad", ".zarr")):
        return read_anndata(url, layer=layer, names=names)
    if name.endswith(".gctx"):
        measured, values = read_measurements(url)
        return CountsRead(measured, compress(values), [])
    if layer or names:
        raise InputError(
            f"counts {url}: no AnnData, so 'cells_layer' and 'cells_names' mean nothing. Leave "
            "them out."
        )
    if name.endswith((".mtx", ".mtx.gz")):
        return _read_10x(url)
    if name.endswith((".h5", ".hdf5")):
        return read_10x_h5(url)
    if files.is_local(url) and os.path.isdir(files.local_path(url)):
        listed = sorted(files.list_folder(url))
        found = [n for n in listed if n.endswith(("matrix.mtx", "matrix.mtx.gz"))]
        if len(found) != 1:
            raise InputError(
                f"counts {url}: a folder with {len(found)} files matrix.mtx, expected one; found "
                f"{', '.join(map(repr, (found or listed)[:4])) or 'nothing'}. Name the file, or "
                "the folder that it is in."
            )
        return _read_10x(files.join_url(url, found[0]))
    return _read_table(url, symbols, known)


def _read_table(url: str, symbols: Mapping[str, str] | None, known: frozenset[str]) -> CountsRead:
    """Read cells by genes, or genes by cells where known genes are in the first column."""
    header, table = read_columns(url, keep_marks=True)
    columns = [str(name).strip() for name in header[1:]]
    numbers = to_numbers(table.iloc[:, 1:])
    if known:
        rows = ["" if pd.isna(cell) else str(cell) for cell in table.iloc[:, 0]]
        across = sum(translate(column, symbols) in known for column in columns)
        down = sum(translate(row, symbols) in known for row in rows)
        if down > across:
            return CountsRead(rows, compress(numbers.T), [])
    return CountsRead(columns, compress(numbers), [])


def _read_10x(url: str) -> CountsRead:
    """Read a matrix of genes by cells, and the genes' symbols beside it.

    Symbols are in the second column, or in the first where the second has identifiers. Where the
    third says what a feature is, such as an antibody, genes alone are taken; the others are listed
    with what they are.
    """
    if not files.exists(url):
        raise InputError(f"counts {url}: no such file. Give the path of one.")
    folder, _, file = url.rpartition("/")
    prefix = file[: file.lower().rindex("matrix.mtx")] if "matrix.mtx" in file.lower() else ""
    beside = [
        f"{own}{stem}.tsv{end}"
        for own in dict.fromkeys((prefix, ""))
        for stem in ("features", "genes")
        for end in ("", ".gz")
    ]
    listed = next((f for n in beside if files.exists(f := files.join_url(folder, n))), "")
    if not listed:
        raise InputError(
            f"counts {url}: no {prefix}features.tsv beside it. Keep the 10x folder together."
        )
    try:
        matrix = read_matrix_market(url)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"counts {url}: no such file. Give the path of one.") from error
    except (ValueError, OverflowError) as error:
        detail = str(error).splitlines()[0][:120]
        raise InputError(f"counts {url}: no matrix market file ({detail}). Check it.") from error
    rows = [line.split("\t") for line in read_text(listed).splitlines() if line.strip()]
    is_named = rows and {cell.strip().lower() for cell in rows[0]} <= _HEADER
    if len(rows) - 1 in matrix.shape and (is_named or len(rows) not in matrix.shape):
        rows = rows[1:]
    if not len(rows) == matrix.shape[1] != matrix.shape[0]:
        matrix = matrix.T  # now cells by genes
    second = [row[min(1, len(row) - 1)] for row in rows]
    n_identifiers = sum(is_identifier(name.strip().upper()) for name in second)
    is_first = n_identifiers > len(rows) / 2 and not is_identifier(rows[0][0].strip().upper())
    names = [row[0] for row in rows] if is_first else second
    kinds = [row[2].strip() if len(row) > 2 else GENE for row in rows]
    return keep_genes(names, kinds, compress(matrix))
