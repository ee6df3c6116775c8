"""Single-cell profiles as AnnData: an .h5ad file or a .zarr store that anndata and scanpy open.

Written after the description of the format, https://anndata.readthedocs.io/en/stable/
fileformat-prose.html, with h5py or zarr alone: anndata itself allows no pandas 3.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from i2r.errors import InputError
from i2r.exports import written_whole
from i2r.exports.containers import Container, open_container
from i2r.exports.profiles import Profiles


def write_anndata(profiles: Profiles, target: Path, *, unstructured: Mapping[str, Any]) -> int:
    """Write profiles as AnnData, the matrix well by well.

    Parameters
    ----------
    profiles
        What to write: ``X`` holds the values (float32), ``obs`` what is known of each nucleus,
        with ``plate/well/field/label`` as its name, ``var`` the features' names, and
        ``obsm["spatial"]`` x and y of its centre in its field, in microns.
    target
        The file, or the folder of a Zarr store if its name ends in ``.zarr``; it is there only
        when it is complete.
    unstructured
        Plain values to keep in ``uns`` as JSON, by name.

    Returns
    -------
    int
        The number of nuclei.

    Raises
    ------
    InputError
        If h5py is not installed, there is no nucleus at all, or the target is a folder that is
        no AnnData.
    """
    is_zarr = target.suffix == ".zarr"
    if target.is_dir() and not (is_zarr and _is_anndata(target)):
        raise InputError(f"{target}: a folder that is no AnnData. Name another one.")
    described, positions = [], []
    with written_whole(target) as partial, open_container(partial, is_zarr=is_zarr) as container:
        root = _mark(container.root, "anndata", "0.1.0")
        matrix = _mark(container.add_matrix("X", len(profiles.names)), "array", "0.2.0")
        for block in profiles.blocks():
            start = matrix.shape[0]
            matrix.resize((start + len(block.values), len(profiles.names)))
            matrix[start:] = block.values
            described.append(block.described)
            positions.append(block.positions)
        if not matrix.shape[0]:
            raise InputError(f"stage {profiles.name!r}: no nuclei to write. See 'i2r status'.")
        rows = pd.concat(described, ignore_index=True)
        named = rows["plate"] + "/" + rows["well"] + "/" + rows["field"].astype(str)
        named += "/" + rows["label"].astype(str)
        _write_frame(container, "obs", rows, named.tolist())
        _write_frame(
            container, "var", pd.DataFrame(index=range(len(profiles.names))), profiles.names
        )
        for name in ("layers", "obsm", "obsp", "varm", "varp"):
            group = _mark(root.create_group(name), "dict", "0.1.0")
            if name == "obsm":
                places = np.concatenate(positions)
                _mark(container.add_numbers(group, "spatial", places), "array", "0.2.0")
        uns = _mark(root.create_group("uns"), "dict", "0.1.0")
        for name, value in unstructured.items():
            _mark(container.add_text(uns, name, json.dumps(value)), "string", "0.2.0")
    return len(rows)


def _is_anndata(folder: Path) -> bool:
    """Tell whether a folder is what this module writes."""
    try:
        document = json.loads((folder / "zarr.json").read_bytes())
        return bool(document["attributes"]["encoding-type"] == "anndata")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _mark(node: Any, kind: str, version: str) -> Any:
    """Say what a node encodes."""
    node.attrs["encoding-type"], node.attrs["encoding-version"] = kind, version
    return node


def _write_frame(container: Container, name: str, frame: pd.DataFrame, index: list[str]) -> None:
    """Write a table: repeated texts as categories, numbers as they are."""
    group = _mark(container.root.create_group(name), "dataframe", "0.2.0")
    group.attrs["_index"] = "_index"
    container.list_names(group, "column-order", [str(column).replace("/", "_") for column in frame])
    _mark(container.add_texts(group, "_index", index), "string-array", "0.2.0")
    for own in map(str, frame):
        values, column = frame[own], own.replace("/", "_")  # '/' would make a group
        if values.dtype.kind in "iuf":
            _mark(container.add_numbers(group, column, values.to_numpy()), "array", "0.2.0")
            continue
        coded = pd.Categorical(values.astype(str))
        category = _mark(group.create_group(column), "categorical", "0.2.0")
        category.attrs["ordered"] = False
        _mark(container.add_numbers(category, "codes", coded.codes), "array", "0.2.0")
        known = container.add_texts(category, "categories", list(coded.categories))
        _mark(known, "string-array", "0.2.0")
