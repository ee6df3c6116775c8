"""Embeddings of an experiment as one labelled array, opened lazily."""

import json
from typing import NamedTuple

import dask.array as da
import numpy as np
import pandas as pd
import xarray

from i2r.errors import InputError
from i2r.store import files, tables
from i2r.store.catalog import Catalog
from i2r.store.crops import describe_nuclei, open_lazily


class _Well(NamedTuple):
    key: str
    url: str
    n_nuclei: int
    n_dims: int
    crops: str


def open_embeddings(experiment: Catalog, name: str, *, encoder: str = "") -> xarray.Dataset:
    """Open the nucleus embeddings that a stage made; no value is read before it is used.

    Parameters
    ----------
    experiment
        The experiment.
    name
        The stage's name.
    encoder
        Which encoder's, where the stage used several.

    Returns
    -------
    xarray.Dataset
        The variable ``embedding``, float32, (nucleus, dim), one dask chunk per well, wells in the
        layout's order and nuclei in the order of their crops. Coordinates along nucleus: plate,
        well, field, label, crop (its index in the well), and what the layout says of the well: see
        `i2r.store.crops.describe_well`.

    Raises
    ------
    InputError
        If there are none, or of different lengths because wells are half redone.
    """
    wells = _list_wells(experiment, name, encoder)
    widths = {well.n_dims for well in wells}
    if len(widths) > 1:
        raise InputError(
            f"{experiment.url}: embeddings {name!r} have {sorted(widths)} dimensions in different "
            "wells, expected one number. Run the stage again."
        )
    blocks = [open_lazily(w.url, (w.n_nuclei, w.n_dims), np.float32) for w in wells]
    described = tables.concatenate([_describe_nuclei(experiment, well) for well in wells])
    return xarray.Dataset(
        {"embedding": (("nucleus", "dim"), da.concatenate(blocks))},
        coords={column: ("nucleus", described[column].to_numpy()) for column in described},
        attrs={"stage": name, "encoder": encoder},
    )


def _list_wells(experiment: Catalog, name: str, encoder: str) -> list[_Well]:
    """List the wells that have embeddings, as the ledger knows them."""
    wells = []
    for key in experiment.well_keys:
        result = experiment.ledger.result(name, key)
        if result is None or encoder not in result.get("encoders", [""]):
            continue
        url = experiment.embeddings_url(name, key, encoder=encoder)
        document = json.loads(files.read_bytes(f"{url}/zarr.json"))
        n_nuclei, n_dims = document["shape"]
        wells.append(_Well(key, url, n_nuclei, n_dims, document["attributes"]["crops"]))
    if not wells:
        of_encoder = f" of the encoder {encoder!r}" if encoder else ""
        raise InputError(
            f"{experiment.url}: no embeddings {name!r}{of_encoder}. See what 'i2r status' lists."
        )
    return wells


def _describe_nuclei(experiment: Catalog, well: _Well) -> pd.DataFrame:
    """Make one row per nucleus of a well, in the order of its crops."""
    table = describe_nuclei(experiment, well.crops, well.key)
    if len(table) != well.n_nuclei:
        raise InputError(
            f"{well.key}: {well.n_nuclei} embeddings of {len(table)} crops: the crops changed. "
            "Run the stage again."
        )
    return table
