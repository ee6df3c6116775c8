"""Single-cell profiles as AnnData: an .h5ad file that anndata and scanpy open.

Written after the description of the format, https://anndata.readthedocs.io/en/stable/
fileformat-prose.html, with h5py alone: anndata itself allows no pandas 3.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from i2r.errors import InputError
from i2r.exports import written_whole
from i2r.exports.profiles import Profiles

if TYPE_CHECKING:
    import h5py

# Rows per chunk of X: about a megabyte of 512 features.
_CHUNK_ROWS = 512


def write_h5ad(profiles: Profiles, target: Path, *, unstructured: Mapping[str, Any]) -> int:
    """Write profiles as AnnData, the matrix well by well.

    Parameters
    ----------
    profiles
        What to write: ``X`` holds the values (float32), ``obs`` what is known of each nucleus,
        with ``plate/well/field/label`` as its name, ``var`` the features' names.
    target
        The file; it is there only when it is complete.
    unstructured
        Plain values to keep in ``uns`` as JSON, by name.

    Returns
    -------
    int
        The number of nuclei.

    Raises
    ------
    InputError
        If h5py is not installed, or there is no nucleus at all.
    """
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            "h5ad: needs h5py, which is not installed. Install it: pip install 'i2r[omics]'."
        ) from error
    described = []
    with written_whole(target) as partial, h5py.File(partial, "w") as file:
        _mark(file, "anndata", "0.1.0")
        matrix = file.create_dataset(
            "X", shape=(0, len(profiles.names)), maxshape=(None, len(profiles.names)),
            dtype=np.float32, chunks=(_CHUNK_ROWS, max(1, len(profiles.names))),
            compression="gzip", compression_opts=1,
        )  # fmt: skip
        _mark(matrix, "array", "0.2.0")
        for block in profiles.blocks():
            start = len(matrix)
            matrix.resize(start + len(block.values), axis=0)
            matrix[start:] = block.values
            described.append(block.described)
        if not len(matrix):
            raise InputError(f"stage {profiles.name!r}: no nuclei to write. See 'i2r status'.")
        rows = pd.concat(described, ignore_index=True)
        named = rows["plate"] + "/" + rows["well"] + "/" + rows["field"].astype(str)
        _write_frame(file, "obs", rows, index=named + "/" + rows["label"].astype(str))
        _write_frame(file, "var", pd.DataFrame(index=range(len(profiles.names))), profiles.names)
        for name in ("layers", "obsm", "obsp", "varm", "varp"):
            _mark(file.create_group(name), "dict", "0.1.0")
        uns = _mark(file.create_group("uns"), "dict", "0.1.0")
        for name, value in unstructured.items():
            _mark(uns.create_dataset(name, data=json.dumps(value)), "string", "0.2.0")
    return len(rows)


def _mark(node: Any, kind: str, version: str) -> Any:
    """Say what a node of the file encodes."""
    node.attrs["encoding-type"], node.attrs["encoding-version"] = kind, version
    return node


def _write_frame(
    file: "h5py.File", name: str, frame: pd.DataFrame, index: "pd.Series | list[str]"
) -> None:
    """Write a table: repeated texts as categories, numbers as they are."""
    import h5py

    text = h5py.string_dtype()
    group = _mark(file.create_group(name), "dataframe", "0.2.0")
    group.attrs["_index"] = "_index"
    group.attrs.create("column-order", [str(column) for column in frame], dtype=text)
    names = group.create_dataset("_index", data=np.asarray(index, dtype=object), dtype=text)
    _mark(names, "string-array", "0.2.0")
    for column in frame:
        values = frame[column]
        if values.dtype.kind in "iuf":
            _mark(group.create_dataset(str(column), data=values.to_numpy()), "array", "0.2.0")
            continue
        coded = pd.Categorical(values.astype(str))
        category = _mark(group.create_group(str(column)), "categorical", "0.2.0")
        category.attrs["ordered"] = False
        _mark(category.create_dataset("codes", data=coded.codes), "array", "0.2.0")
        known = np.asarray(coded.categories, dtype=object)
        categories = category.create_dataset("categories", data=known, dtype=text)
        _mark(categories, "string-array", "0.2.0")
