"""What is known of the nuclei of one well: their crops, features or embeddings."""

from typing import Any

import numpy as np
import numpy.typing as npt

from i2r.store import files, tables
from i2r.store.arrays import read_array

PLACE = ("plate", "well", "field", "label", "crop")


def choose_crops(
    crops: npt.NDArray[np.unsignedinteger[Any]],
    *,
    part_url: str,
    field: str,
    most: int | None = None,
    seed: np.random.SeedSequence | None = None,
) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Choose of a well's crops, shape (nucleus, c, y, x), those that a comparison uses.

    Parameters
    ----------
    crops
        All of the well.
    part_url, field
        The well's part of the crop table, and the one field that is wanted; "" for all.
    most, seed
        The most nuclei wanted, drawn from the seed, in their order; None for all.
    """
    if field:
        table = tables.read_table(part_url, columns=["field", "crop"])
        here = (table["field"] == field) & (table["crop"] >= 0)
        crops = crops[table.loc[here, "crop"].to_numpy()]
    if most is None or len(crops) <= most:
        return crops
    return crops[np.sort(np.random.default_rng(seed).permutation(len(crops))[:most])]


def read_features(
    table_url: str, embeddings_url: str, *, crops_url: str = ""
) -> tuple[tuple[str, ...], npt.NDArray[np.float32], npt.NDArray[np.str_]]:
    """Read a well's table of features, or its embeddings where there is no such table.

    Parameters
    ----------
    table_url, embeddings_url
        The well's.
    crops_url
        Its part of the table of crops that were embedded, where their fields are asked for.

    Returns
    -------
    names, values, fields
        Of the features (nucleus, feature); the fields of embedded nuclei are empty without
        ``crops_url``.
    """
    if files.exists(table_url):
        table = tables.read_table(table_url)
        names = tuple(str(name) for name in table.columns if name not in PLACE)
        fields = table["field"].to_numpy(dtype=str)
        return names, table[list(names)].to_numpy(dtype=np.float32), fields
    values = read_array(embeddings_url)
    names = tuple(f"e{number}" for number in range(values.shape[1]))
    if not crops_url:
        return names, values, np.full(len(values), "", dtype="<U1")
    crops = tables.read_table(crops_url, columns=["field", "crop"])
    cropped = crops[crops["crop"] >= 0].sort_values("crop")
    return names, values, cropped["field"].to_numpy(dtype=str)
