"""Single-cell profiles as AnnData: an .h5ad file or a .zarr store that anndata and scanpy open.

Written after the description of the format, https://anndata.readthedocs.io/en/stable/
fileformat-prose.html, with h5py or zarr alone: anndata itself allows no pandas 3.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

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
            described.append(_pack(block.described))
            positions.append(block.positions)
        if not matrix.shape[0]:
            raise InputError(f"stage {profiles.name!r}: no nuclei to write. See 'i2r status'.")
        n_nuclei = matrix.shape[0]
        obs = _begin_frame(container, "obs", described[0].columns)
        index = container.add_text_parts(obs, "_index", n_nuclei, map(_name, described))
        _mark(index, "string-array", "0.2.0")
        for column in described[0]:
            _write_column(container, obs, str(column), [part[column] for part in described])
        var = _begin_frame(container, "var", ())
        _mark(container.add_texts(var, "_index", profiles.names), "string-array", "0.2.0")
        for name in ("layers", "obsm", "obsp", "varm", "varp"):
            group = _mark(root.create_group(name), "dict", "0.1.0")
            if name == "obsm":
                places = np.concatenate(positions)
                _mark(container.add_numbers(group, "spatial", places), "array", "0.2.0")
        uns = _mark(root.create_group("uns"), "dict", "0.1.0")
        for name, value in unstructured.items():
            _mark(container.add_text(uns, name, json.dumps(value)), "string", "0.2.0")
    return int(n_nuclei)


def _pack(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep repeated texts as numbers: a plate has half a million nuclei and few texts."""
    texts = [name for name in rows if rows[name].dtype.kind not in "iuf"]
    return rows.assign(**{name: pd.Categorical(rows[name].astype(str)) for name in texts})


def _name(rows: pd.DataFrame) -> list[str]:
    """Name the nuclei of one well."""
    parts = (rows[name].astype(str) for name in ("plate", "well", "field", "label"))
    return ["/".join(names) for names in zip(*parts, strict=True)]


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


def _begin_frame(container: Container, name: str, columns: Iterable[object]) -> Any:
    """Make the group of a table with these columns; each is written after it."""
    group = _mark(container.root.create_group(name), "dataframe", "0.2.0")
    group.attrs["_index"] = "_index"
    container.list_names(group, "column-order", [str(own).replace("/", "_") for own in columns])
    return group


def _write_column(
    container: Container, group: Any, own: str, parts: Sequence["pd.Series[Any]"]
) -> None:
    """Write a column: repeated texts as categories, numbers as they are."""
    column = own.replace("/", "_")  # '/' would make a group
    if not isinstance(parts[0].dtype, pd.CategoricalDtype):
        values = np.concatenate([part.to_numpy() for part in parts])
        _mark(container.add_numbers(group, column, values), "array", "0.2.0")
        return
    coded = union_categoricals([part.array for part in parts], sort_categories=True)
    category = _mark(group.create_group(column), "categorical", "0.2.0")
    category.attrs["ordered"] = False
    _mark(container.add_numbers(category, "codes", coded.codes), "array", "0.2.0")
    known = container.add_texts(category, "categories", list(coded.categories))
    _mark(known, "string-array", "0.2.0")
