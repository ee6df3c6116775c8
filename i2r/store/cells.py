"""Counts of single cells: tables, 10x folders (matrix market), 10x's HDF5 and AnnData."""

import io
import os
from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from i2r.errors import InputError
from i2r.store import files
from i2r.store.cell_containers import (
    GENE,
    Counts,
    CountsRead,
    check_size,
    keep_genes,
    read_10x_h5,
    read_anndata,
)
from i2r.store.frames import read_columns, read_text, to_numbers
from i2r.store.panels import clean_symbols
from i2r.store.scales import check_counts
from i2r.store.vocabulary import is_identifier, tabulate_translations, translate

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
        ``.h5`` and ``.h5ad`` need the extra ``omics``.
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
        'counts' refuses what is no whole number, see `i2r.store.scales.check_counts`.
    log
        Takes the table of names that were translated.

    Returns
    -------
    genes
        Symbols in upper case; of several of one symbol the first counts.
    counts : (cell, gene) float64
        The counts.
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
    if log is not None:
        log.append(tabulate_translations(read.names, symbols, table="cells"))
    genes, kept, dropped = clean_symbols(read.names, symbols)
    dropped += read.other
    counts = np.ascontiguousarray(read.counts[:, kept])
    bad = ~(np.isfinite(counts) & (counts >= 0))
    if bad.any():
        row, column = (int(i[0]) for i in np.nonzero(bad))
        value = counts[row, column]
        found = "missing or no number" if np.isnan(value) else f"{value:g}"
        raise InputError(
            f"counts {url} cell {row + 1} gene {genes[column]}: {found}, expected 0 or more. "
            f"{read.elsewhere or 'Give raw counts.'}"
        )
    if scale == "counts":
        check_counts(counts, where=f"counts {url}", elsewhere=read.elsewhere)
    return genes, counts, pd.DataFrame(dropped, columns=["symbol", "reason"], dtype=str)


def _read_any(
    url: str, symbols: Mapping[str, str] | None, layer: str, names: str, known: frozenset[str]
) -> CountsRead:
    """Read counts by what a file's name says it is."""
    name = url.lower().rstrip("/")
    if name.endswith((".h5ad", ".zarr")):
        return read_anndata(url, layer=layer, names=names)
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
        found = [n for n in files.list_folder(url) if n.endswith(("matrix.mtx", "matrix.mtx.gz"))]
        if len(found) != 1:
            raise InputError(
                f"counts {url}: a folder with {len(found)} files matrix.mtx, expected one. Name "
                "the file."
            )
        return _read_10x(files.join_url(url, found[0]))
    header, table = read_columns(url, keep_marks=True)
    columns = [str(name).strip() for name in header[1:]]
    if known:
        rows = ["" if pd.isna(cell) else str(cell) for cell in table.iloc[:, 0]]
        across = sum(translate(column, symbols) in known for column in columns)
        down = sum(translate(row, symbols) in known for row in rows)
        if down > across:
            return CountsRead(rows, to_numbers(table.iloc[:, 1:]).T, [])
    return CountsRead(columns, to_numbers(table.iloc[:, 1:]), [])


def _read_10x(url: str) -> CountsRead:
    """Read a matrix of genes by cells, and the genes' symbols beside it.

    Symbols are in the second column, or in the first where the second has identifiers. Where the
    third says what a feature is, such as an antibody, genes alone are taken; the others are listed
    with what they are.
    """
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
        matrix = _parse_matrix(_unpack(url), url)
    except FileNotFoundError as error:
        raise InputError(f"counts {url}: no such file. Give the path of one.") from error
    except (ValueError, OverflowError) as error:
        detail = str(error).splitlines()[0][:120]
        raise InputError(f"counts {url}: no matrix market file ({detail}). Check it.") from error
    rows = [line.split("\t") for line in read_text(listed).splitlines() if line.strip()]
    is_named = rows and {cell.strip().lower() for cell in rows[0]} <= _HEADER
    if len(rows) - 1 in matrix.shape and (is_named or len(rows) not in matrix.shape):
        rows = rows[1:]
    if len(rows) == matrix.shape[1] != matrix.shape[0]:
        matrix = matrix.T  # cells by genes
    second = [row[min(1, len(row) - 1)] for row in rows]
    n_identifiers = sum(is_identifier(name.strip().upper()) for name in second)
    is_first = n_identifiers > len(rows) / 2 and not is_identifier(rows[0][0].strip().upper())
    names = [row[0] for row in rows] if is_first else second
    kinds = [row[2].strip() if len(row) > 2 else GENE for row in rows]
    return keep_genes(names, kinds, matrix.T)


def _parse_matrix(data: bytes, url: str) -> Counts:
    """Parse a matrix of coordinates as 10x writes it; SciPy's parser can crash on a damaged one.

    Raises
    ------
    ValueError, OverflowError
        If it is none.
    """
    from scipy.sparse import coo_matrix

    stream = io.BytesIO(data)
    words = stream.readline().lower().split()
    if words[:3] != [b"%%matrixmarket", b"matrix", b"coordinate"] or words[4:] != [b"general"]:
        raise ValueError("it does not begin with '%%MatrixMarket matrix coordinate ... general'")
    line = stream.readline()
    while line.startswith(b"%"):
        line = stream.readline()
    n_rows, n_columns, n_entries = map(int, line.split())
    if min(n_rows, n_columns, n_entries) < 0:
        raise ValueError(f"a size below 0 in {line.decode().strip()!r}")
    check_size(url, (n_rows, n_columns), (n_entries, 3))
    if not n_entries:
        return np.zeros((n_rows, n_columns))
    table = pd.read_csv(stream, sep=r"\s+", header=None, usecols=[0, 1, 2], dtype=np.float64)
    row, column, count = table.to_numpy().T
    inside = (row >= 1) & (row <= n_rows) & (column >= 1) & (column <= n_columns)
    inside &= (row == np.floor(row)) & (column == np.floor(column))
    if len(table) != n_entries or not inside.all():
        raise ValueError(
            f"{len(table)} entries, {int((~inside).sum())} of them outside the matrix, expected "
            f"{n_entries} in {n_rows} x {n_columns}"
        )
    places = (row.astype(np.int64) - 1, column.astype(np.int64) - 1)
    dense: Counts = coo_matrix((count, places), shape=(n_rows, n_columns)).toarray()
    return dense


def _unpack(url: str) -> bytes:
    return files.unpack(files.read_bytes(url), f"counts {url}")
