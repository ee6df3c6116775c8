"""Counts of single cells: tables, 10x folders (matrix market) and AnnData files."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.errors import InputError
from i2r.store import files
from i2r.store.gene_tables import read_columns, read_text, to_numbers
from i2r.store.interactions import clean_symbols

Counts = npt.NDArray[np.float64]
# What 10x calls a feature that is a gene.
_GENE = "Gene Expression"
# Counts are held whole. A small file may declare any size: what is larger is never allocated.
MAX_BYTES = 2**35


def read_counts(
    url: str, symbols: Mapping[str, str] | None = None
) -> tuple[list[str], Counts, pd.DataFrame]:
    """Read counts of single cells.

    Parameters
    ----------
    url
        A table of cells by genes whose first column names the cell; a 10x matrix
        (``matrix.mtx`` or ``.mtx.gz``, with ``features.tsv`` or ``genes.tsv`` beside it); or an
        AnnData file (``.h5ad``; needs the extra ``omics``), whose ``X`` holds counts.
    symbols
        From `i2r.store.interactions.read_symbols`.

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
    name, other = url.lower(), list[tuple[str, str]]()
    if name.endswith((".mtx", ".mtx.gz")):
        names, counts, other = _read_10x(url)
    elif name.endswith(".h5ad"):
        names, counts, other = _read_anndata(url)
    else:
        header, table = read_columns(url)
        names, counts = header[1:], to_numbers(table.iloc[:, 1:])
    if counts.shape[1] != len(names):
        raise InputError(
            f"counts {url}: {counts.shape[1]} genes in the matrix, {len(names)} names. "
            "Export both again."
        )
    genes, kept, dropped = clean_symbols(names, symbols)
    dropped += other
    counts = np.ascontiguousarray(counts[:, kept])
    bad = ~(np.isfinite(counts) & (counts >= 0))
    if bad.any():
        row, column = (int(i[0]) for i in np.nonzero(bad))
        value = counts[row, column]
        found = "missing or no number" if np.isnan(value) else f"{value:g}"
        raise InputError(
            f"counts {url} cell {row + 1} gene {genes[column]}: {found}, expected 0 or more. "
            "Give raw counts."
        )
    return genes, counts, pd.DataFrame(dropped, columns=["symbol", "reason"], dtype=str)


def _read_10x(url: str) -> tuple[list[str], Counts, list[tuple[str, str]]]:
    """Read a matrix of genes by cells, and the genes' symbols (second column) beside it.

    Where the third column says what a feature is, such as an antibody, genes alone are taken; the
    others are listed with what they are.
    """
    folder = files.parent_url(url)
    beside = [f"{stem}.tsv{end}" for stem in ("features", "genes") for end in ("", ".gz")]
    listed = next((f for n in beside if files.exists(f := files.join_url(folder, n))), "")
    if not listed:
        raise InputError(f"counts {url}: no features.tsv beside it. Keep the 10x folder together.")
    try:
        matrix = _parse_matrix(_unpack(url), url)
    except FileNotFoundError as error:
        raise InputError(f"counts {url}: no such file. Give the path of one.") from error
    except (ValueError, OverflowError) as error:
        detail = str(error).splitlines()[0][:120]
        raise InputError(f"counts {url}: no matrix market file ({detail}). Check it.") from error
    rows = [line.split("\t") for line in read_text(listed).splitlines() if line.strip()]
    names = [row[min(1, len(row) - 1)] for row in rows]
    kinds = [row[2].strip() if len(row) > 2 else _GENE for row in rows]
    return _keep_genes(names, kinds, matrix.T)


def _keep_genes(
    names: list[str], kinds: list[str], counts: Counts
) -> tuple[list[str], Counts, list[tuple[str, str]]]:
    """Keep the features (columns) that are genes, where there are any; list the others."""
    is_told = len(names) == len(kinds) == counts.shape[1] and _GENE in kinds
    if not is_told or set(kinds) == {_GENE}:
        return names, counts, []
    genes = np.array([kind == _GENE for kind in kinds])
    other = [(n, f"no gene: {k}") for n, k in zip(names, kinds, strict=True) if k != _GENE]
    return [n for n, yes in zip(names, genes, strict=True) if yes], counts[:, genes], other


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
    _check_size(url, (n_rows, n_columns), (n_entries, 3))
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


def _check_size(url: str, *shapes: Sequence[int]) -> None:
    """Refuse arrays that take more memory than there is, before any of it is taken."""
    n_bytes = sum(8 * math.prod(map(int, shape)) for shape in shapes)
    if n_bytes > MAX_BYTES:
        raise InputError(
            f"counts {url}: take {n_bytes / 2**30:.3g} GiB as numbers, expected {MAX_BYTES >> 30} "
            "at most. Give a sample of the cells, or only the genes of the interactome."
        )


def _unpack(url: str) -> bytes:
    return files.unpack(files.read_bytes(url), f"counts {url}")


def _read_anndata(url: str) -> tuple[list[str], Counts, list[tuple[str, str]]]:
    """Read ``X`` and the names of ``var``; anndata itself is not needed for that.

    Where ``var`` has scanpy's ``feature_types``, genes alone are taken.
    """
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            f"counts {url}: reading AnnData needs h5py. Install i2r with the extra 'omics'."
        ) from error
    from scipy.sparse import csc_matrix, csr_matrix

    try:
        with h5py.File(io.BytesIO(files.read_bytes(url)), "r") as file:
            var, x = file["var"], file["X"]
            index, is_dense = var[var.attrs["_index"]], isinstance(x, h5py.Dataset)
            # Strings that may be missing have their values beside a mask.
            index = index if isinstance(index, h5py.Dataset) else index["values"]
            of_x = (
                [x.shape] if is_dense else [x.attrs["shape"], *(part.shape for part in x.values())]
            )
            _check_size(url, index.shape, *of_x)
            names, kinds = _read_names(index), []
            if "feature_types" in var:
                column = var["feature_types"]
                if isinstance(column, h5py.Dataset):
                    kinds = _read_names(column)
                else:
                    categories = _read_names(column["categories"])
                    kinds = [categories[code] if code >= 0 else "" for code in column["codes"][:]]
            if is_dense:
                return _keep_genes(names, kinds, np.asarray(x[:], dtype=np.float64))
            kind = csc_matrix if x.attrs["encoding-type"] == "csc_matrix" else csr_matrix
            stored = (x["data"][:], x["indices"][:], x["indptr"][:])
            matrix = kind(stored, shape=x.attrs["shape"])
            # Compiled code would write beyond the array where an index is out of range.
            matrix.check_format(full_check=True)
            return _keep_genes(names, kinds, np.asarray(matrix.toarray(), np.float64))
    except FileNotFoundError as error:
        raise InputError(f"counts {url}: no such file. Give the path of one.") from error
    except InputError:
        raise
    except Exception as error:  # a damaged file may end anywhere in HDF5's reader
        detail = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise InputError(
            f"counts {url}: no readable AnnData file ({detail}). Write it with anndata 0.8 or "
            "newer."
        ) from error


def _read_names(column: Any) -> list[str]:
    """Read a column of text."""
    return [name.decode() if isinstance(name, bytes) else str(name) for name in column[:]]
