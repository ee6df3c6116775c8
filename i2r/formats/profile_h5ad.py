"""Profiles in AnnData files: columns of ``obs`` and the matrix ``X``, read in slices."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from i2r.errors import InputError
from i2r.store import files


def read_anndata_columns(url: str) -> tuple[list[str], list["np.dtype[np.generic]"]]:
    """List the columns of ``obs``, which describe, and the features of ``X``, with their types.

    Raises
    ------
    InputError
        If h5py is missing, or the file is no AnnData.
    """
    with _open(url) as file:
        obs, names = list(_list_obs(file)), _read_features(file)
        # Numbers of obs describe a nucleus, such as its dose: they are not features.
        kinds = [np.dtype(object)] * len(obs) + [np.dtype(np.float64)] * len(names)
        return obs + names, kinds


def read_anndata_batches(url: str, wanted: list[str], *, rows: int) -> Iterator[pd.DataFrame]:
    """Read some columns, so many rows at once; see `read_anndata_columns`."""
    with _open(url) as file:
        described = {
            name: _read_column(file["obs"][name]) for name in _list_obs(file) if name in wanted
        }
        names = _read_features(file)
        chosen = [number for number, name in enumerate(names) if name in wanted]
        n_rows = _count_rows(file["X"])
        for start in range(0, n_rows, rows):
            stop = min(start + rows, n_rows)
            frame = pd.DataFrame({name: column[start:stop] for name, column in described.items()})
            if chosen:
                values = _read_rows(file["X"], start, stop)[:, chosen]
                features = pd.DataFrame(values, columns=[names[number] for number in chosen])
                frame = pd.concat([frame, features], axis=1)
            yield frame


@contextmanager
def _open(url: str) -> Iterator[Any]:
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            f"{url}: reading AnnData needs h5py. Install i2r with the extra 'omics'."
        ) from error
    try:
        with files.open_file(url) as stream, h5py.File(stream, "r") as file:
            yield file
    except FileNotFoundError as error:
        raise InputError(f"{url}: no such file. Give the path of a table.") from error
    except (KeyError, OSError, ValueError, RuntimeError) as error:
        detail = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise InputError(f"{url}: no AnnData file ({detail}). Write it again.") from error


def _list_obs(file: Any) -> Iterator[str]:
    index = file["obs"].attrs.get("_index", "_index")
    return (str(name) for name in file["obs"] if name != index and not str(name).startswith("__"))


def _read_features(file: Any) -> list[str]:
    var = file["var"]
    return [str(name) for name in _read_column(var[var.attrs.get("_index", "_index")])]


def _read_column(node: Any) -> "np.ndarray[Any, np.dtype[np.generic]]":
    """Read a column of a table: plain values, categories, or values beside a mask."""
    if hasattr(node, "keys"):
        if "codes" in node:
            categories = [*_read_column(node["categories"]).tolist(), None]
            return np.array(categories, dtype=object)[node["codes"][:]]
        values = _read_column(node["values"]).astype(object)
        values[node["mask"][:].astype(bool)] = None
        return values
    values = node.asstr()[:] if node.dtype.kind == "O" else node[:]
    return np.char.decode(values, "utf-8") if values.dtype.kind == "S" else np.asarray(values)


def _count_rows(x: Any) -> int:
    return int(x.shape[0] if hasattr(x, "shape") else x.attrs["shape"][0])


def _read_rows(x: Any, start: int, stop: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Read rows of a matrix, dense or of compressed rows."""
    if hasattr(x, "shape"):
        return np.asarray(x[start:stop], dtype=np.float32)
    if x.attrs.get("encoding-type") != "csr_matrix":
        raise ValueError("X is sparse by columns, expected a dense matrix")
    from scipy.sparse import csr_matrix

    bounds = x["indptr"][start : stop + 1]
    part = slice(int(bounds[0]), int(bounds[-1]))
    stored = (x["data"][part], x["indices"][part], bounds - bounds[0])
    matrix = csr_matrix(stored, shape=(stop - start, int(x.attrs["shape"][1])))
    # Compiled code would write beyond the array where an index is out of range.
    matrix.check_format(full_check=True)
    return np.asarray(matrix.toarray(), dtype=np.float32)
