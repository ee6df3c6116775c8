"""Crops of an experiment as labelled arrays, opened lazily."""

import json
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pandas as pd

from i2r.errors import InputError
from i2r.store import files, tables
from i2r.store.arrays import read_array
from i2r.store.catalog import Catalog

if TYPE_CHECKING:
    import xarray


# What is known of each nucleus from its well.
OF_WELL = ("perturbation", "gene", "condition", "role")
# Columns of the layout that i2r adds, of images and not of wells.
OF_IMAGES = (
    "fields", "n_fields", "height_px", "width_px", "dtype", "stored_dtype", "pixel_size_um",
    "channels", "plate_format",
)  # fmt: skip
# What a user's own column of the layout can't be called beside nuclei: their columns, and the
# names of axes and variables.
_TAKEN = {
    *("field", "label", "crop", "x_um", "y_um"),
    *("nucleus", "dim", "c", "y", "x", "image", "embedding"),
}


def open_crops(experiment: Catalog, name: str) -> "xarray.Dataset":
    """Open the crops that a stage cut; no pixel is read before it is used.

    Parameters
    ----------
    experiment
        The experiment.
    name
        The stage's name.

    Returns
    -------
    xarray.Dataset
        The variable ``image``, (nucleus, c, y, x), raw values, one dask chunk per well, wells in
        the layout's order. Coordinates: the channels' names along ``c``; along nucleus plate,
        well, field, label, crop (its index in the well), and what the layout says of the well:
        see `describe_well`.

    Raises
    ------
    InputError
        If there are none, or of plates with other channels or pixel types.
    """
    import xarray  # half a second

    done = set(experiment.ledger.done_keys(name))
    blocks, described, kinds = [], [], {}
    for key in experiment.well_keys:
        url = experiment.crops_url(name, key)
        if key not in done or not files.exists(f"{url}/zarr.json"):
            continue
        document = json.loads(files.read_bytes(f"{url}/zarr.json"))
        channels = tuple(document["attributes"].get("channels", ()))
        kinds[document["data_type"], channels, *document["shape"][1:]] = key
        blocks.append(open_lazily(url, tuple(document["shape"]), document["data_type"]))
        described.append(describe_nuclei(experiment, name, key))
    if not blocks:
        raise InputError(f"{experiment.url}: no crops {name!r}. See what 'i2r status' lists.")
    if len(kinds) > 1:
        first, second, *_ = kinds
        raise InputError(
            f"{experiment.url}: crops {name!r} are {first} in {kinds[first]}, {second} in "
            f"{kinds[second]}, expected one kind. Open them plate by plate: plate.crops(well)."
        )
    nuclei = tables.concatenate(described)
    coords: dict[str, Any] = {n: ("nucleus", nuclei[n].to_numpy()) for n in nuclei}
    return xarray.Dataset(
        {"image": (("nucleus", "c", "y", "x"), da.concatenate(blocks))},
        coords={**coords, "c": list(next(iter(kinds))[1])},
        attrs={"stage": name},
    )


def open_lazily(url: str, shape: tuple[int, ...], dtype: Any) -> da.Array:
    """Open an array of known shape as one dask chunk."""
    from dask import delayed

    return da.from_delayed(delayed(read_array)(url), shape=shape, dtype=np.dtype(dtype))


def describe_nuclei(experiment: Catalog, stage: str, key: str) -> pd.DataFrame:
    """Make one row per crop of a well, in the order of the crops, with its well's perturbation.

    Parameters
    ----------
    experiment
        The experiment.
    stage
        The stage that cut the crops.
    key
        The well.
    """
    columns = ["plate", "well", "field", "label", "crop"]
    table = tables.read_table(experiment.part_url(stage, key), columns=columns)
    table = table[table["crop"] >= 0].sort_values("crop", ignore_index=True)
    return table.assign(**describe_well(experiment, key))


def describe_well(experiment: Catalog, key: str) -> dict[str, str | float]:
    """Say what the layout does of a well.

    Returns
    -------
    dict
        perturbation, gene, condition, role, replicate, dose (a number), and the user's own columns
        as text. One of those that is called like a column of nuclei or an axis has ``layout_``
        before its name.
    """
    well = experiment.layout_by_key.loc[key]
    described: dict[str, str | float] = {}
    described |= {name: str(well[name]) for name in (*OF_WELL, "replicate") if name in well}
    if "dose" in well:
        described["dose"] = float(well["dose"])
    for name, value in well.items():
        if name not in (*described, "plate", "well", *OF_IMAGES):
            described[f"layout_{name}" if name in _TAKEN else str(name)] = str(value)
    return described
