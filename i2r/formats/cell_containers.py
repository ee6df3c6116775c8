"""Counts of single cells in HDF5 and Zarr: AnnData, and 10x's own files."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np

from i2r.errors import InputError
from i2r.formats.cell_matrices import (
    Counts,
    check_size,
    compress,
    read_compressed,
    read_dense,
    take_columns,
)
from i2r.store import files
from i2r.store.vocabulary import is_identifier

# What 10x calls a feature that is a gene.
GENE = "Gene Expression"
# Columns of ``var`` with symbols, where its index has identifiers.
_SYMBOLS = (
    "feature_name", "gene_symbols", "gene_symbol", "symbol", "gene_name", "gene_names",
    "gene_short_name", "hgnc_symbol", "SYMBOL", "Symbol",
)  # fmt: skip


class CountsRead(NamedTuple):
    """Counts as a file has them: names of genes, (cell, gene), and features that are not genes."""

    names: list[str]
    counts: Counts
    other: list[tuple[str, str]]
    # What to tell of where else the file has counts.
    elsewhere: str = ""


def read_anndata(url: str, *, layer: str = "", names: str = "") -> CountsRead:
    """Read a matrix of AnnData and the names of its genes; anndata itself is not needed for that.

    Where ``var`` has scanpy's ``feature_types``, genes alone are taken.

    Parameters
    ----------
    url
        An ``.h5ad`` file, or a ``.zarr`` folder.
    layer
        'raw', a layer's name, or empty for ``X``.
    names
        The column of ``var`` with symbols; empty: see `i2r.formats.cells.read_counts`.

    Raises
    ------
    InputError
        If it is no AnnData, or has no such matrix or column.
    """
    where = f"counts {url}"
    try:
        with _open(url) as root:
            layers = sorted(root["layers"]) if "layers" in root else []
            others = [*(["raw"] if "raw" in root else []), *layers]
            place = "raw/X" if layer == "raw" else f"layers/{layer}" if layer else "X"
            if place not in root:
                raise InputError(
                    f"{where}: no {layer or 'X'}, found {', '.join(map(repr, others)) or 'no'} "
                    "layers. Set 'cells_layer' to the one that has counts."
                )
            var = root["raw/var" if layer == "raw" else "var"]
            # 'raw' and layers are looked at for counts, and named where X has none.
            elsewhere = "" if layer else _find_counts(root, others)
            return _read_matrix(root[place], var, names, where, elsewhere)
    except FileNotFoundError as error:
        raise InputError(f"{where}: no such file. Give the path of one.") from error
    except InputError:
        raise
    except Exception as error:  # a damaged file may end anywhere in its reader
        detail = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise InputError(
            f"{where}: no readable AnnData file ({detail}). Write it with anndata 0.8 or newer."
        ) from error


def read_10x_h5(url: str) -> CountsRead:
    """Read 10x's ``filtered_feature_bc_matrix.h5``, of Cell Ranger 2 and newer.

    Raises
    ------
    InputError
        If it is none, or has several genomes.
    """
    where = f"counts {url}"
    try:
        with _open(url) as root:
            groups = [name for name in root if "indptr" in root[name]]
            if len(groups) != 1:
                raise InputError(
                    f"{where}: {len(groups)} matrices ({', '.join(map(repr, [*root][:4]))}), "
                    "expected one of 10x's Cell Ranger. Give a matrix.mtx or AnnData."
                )
            group = root[groups[0]]
            shape = tuple(int(n) for n in group["shape"][:])
            check_size(url, *(group[n].shape for n in ("data", "indices", "indptr")))
            if "features" in group:
                names = _read_column(group["features"]["name"])
                kinds = _read_column(group["features"]["feature_type"])
            else:
                names = _read_column(group["gene_names"])
                kinds = [GENE] * len(names)
            matrix = read_compressed(group, "csc", shape)
            return keep_genes(names, kinds, compress(matrix.T))
    except FileNotFoundError as error:
        raise InputError(f"{where}: no such file. Give the path of one.") from error
    except InputError:
        raise
    except Exception as error:  # a damaged file may end anywhere in its reader
        detail = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise InputError(f"{where}: no readable 10x file ({detail}). Export it again.") from error


def count_values(url: str, *, layer: str = "") -> int:
    """Count the values of a local HDF5 or Zarr file of counts by its header; 0 if unknown."""
    if not files.is_local(url):
        return 0
    try:
        with _open(url) as root:
            place = "raw/X" if layer == "raw" else f"layers/{layer}" if layer else "X"
            found = [root[place]] if place in root else [root[name] for name in root]
            x = next(own for own in found if hasattr(own, "dtype") or "data" in own)
            return int(np.prod(x.shape)) if hasattr(x, "dtype") else int(x["data"].shape[0])
    except Exception:  # what is wrong with it is said where it is read
        return 0


def keep_genes(names: list[str], kinds: list[str], counts: Counts) -> CountsRead:
    """Keep the features (columns) that are genes, where there are any; list the others."""
    is_told = len(names) == len(kinds) == counts.shape[1] and GENE in kinds
    if not is_told or set(kinds) == {GENE}:
        return CountsRead(names, counts, [])
    genes = np.array([kind == GENE for kind in kinds])
    other = [(n, f"no gene: {k}") for n, k in zip(names, kinds, strict=True) if k != GENE]
    kept = [n for n, yes in zip(names, genes, strict=True) if yes]
    return CountsRead(kept, take_columns(counts, np.flatnonzero(genes).tolist()), other)


@contextmanager
def _open(url: str) -> Iterator[Any]:
    """Open an HDF5 file, or a Zarr store, as a group."""
    if url.lower().rstrip("/").endswith(".zarr"):
        import zarr

        if files.is_local(url):
            path = files.local_path(url)
            if not os.path.isdir(path):
                raise FileNotFoundError(path)
            if not os.listdir(path):
                raise InputError(f"counts {url}: an empty folder, expected AnnData. Copy it again.")
            yield zarr.open_group(path, mode="r")
        else:
            yield zarr.open_group(url, mode="r")
        return
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            f"counts {url}: reading it needs h5py. Install i2r with the extra 'omics'."
        ) from error
    if files.is_local(url):
        # Parts are read as they are needed. A stream, not a path: links to other files stay shut.
        with files.open_file(url) as stream, h5py.File(stream, "r") as file:
            yield file
        return
    with h5py.File(io.BytesIO(files.read_bytes(url)), "r") as file:
        yield file


def _read_matrix(x: Any, var: Any, names: str, where: str, elsewhere: str) -> CountsRead:
    """Read a dense or sparse matrix, and who its columns are."""
    is_dense = hasattr(x, "dtype")
    if hasattr(var, "dtype"):  # before anndata 0.7: one table of records
        if not var.dtype.names:
            raise ValueError("'var' is not a table")
        index = var[var.dtype.names[0]]
        genes, kinds = [_to_text(name) for name in index], list[str]()
    else:
        index = var[str(var.attrs["_index"])]
        if not is_dense:
            parts = [x[part].shape for part in ("data", "indices", "indptr") if part in x]
            check_size(where.removeprefix("counts "), *parts)
        if names and names not in var:
            raise InputError(
                f"{where}: 'var' has no column {names!r}, found {', '.join([*var][:8])}. Correct "
                "'cells_names'."
            )
        genes = _read_column(var[names] if names else index)
        n_identifiers = sum(is_identifier(name.upper()) for name in genes)
        if not names and n_identifiers > len(genes) / 2:
            column = next((name for name in _SYMBOLS if name in var), "")
            genes = _read_column(var[column]) if column else genes
        kinds = _read_column(var["feature_types"]) if "feature_types" in var else []
    if is_dense:
        read = keep_genes(genes, kinds, read_dense(x, where.removeprefix("counts ")))
        return read._replace(elsewhere=elsewhere)
    encoding = x.attrs.get("encoding-type") or f"{x.attrs.get('h5sparse_format', 'csr')}_matrix"
    kind: Literal["csr", "csc"] = "csc" if _to_text(encoding) == "csc_matrix" else "csr"
    matrix = read_compressed(x, kind, tuple(int(n) for n in x.attrs["shape"]))
    return keep_genes(genes, kinds, compress(matrix))._replace(elsewhere=elsewhere)


def _find_counts(root: Any, others: list[str]) -> str:
    """Say which other matrix of AnnData has whole numbers, by some of its values."""
    for name in others:
        x = root["raw/X" if name == "raw" else f"layers/{name}"]
        values = x[:10] if hasattr(x, "dtype") else x["data"][:1000]
        values = np.asarray(values, dtype=np.float64)
        if values.size and (values == np.floor(values)).all() and (values >= 0).all():
            return f"{name!r} has whole numbers: set 'cells_layer' to it."
    return ""


def _read_column(column: Any) -> list[str]:
    """Read a column of text, also as categories, or as values beside a mask."""
    if hasattr(column, "dtype"):
        return [_to_text(name) for name in column[:]]
    if "categories" in column:
        known = [_to_text(name) for name in column["categories"][:]]
        return [known[code] if code >= 0 else "" for code in column["codes"][:]]
    return [_to_text(name) for name in column["values"][:]]


def _to_text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
