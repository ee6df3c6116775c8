"""What is known of the nuclei of one well: their crops, features or embeddings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from i2r.store import files, tables
from i2r.store.arrays import read_array
from i2r.store.nuclei import read_channels

PLACE = ("plate", "well", "field", "label", "crop")


def read_piece(
    url: str, *, channels: Sequence[int], part_url: str, field: str
) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Read some channels of a well's crops, shape (nucleus, c, y, x); of one field, if named."""
    crops = read_channels(url, channels=channels)
    if not field:
        return crops
    table = tables.read_table(part_url, columns=["field", "crop"])
    return crops[table.loc[(table["field"] == field) & (table["crop"] >= 0), "crop"].to_numpy()]


def read_features(
    table_url: str, embeddings_url: str
) -> tuple[tuple[str, ...], npt.NDArray[np.float32], npt.NDArray[np.str_]]:
    """Read a well's table of features, or its embeddings where there is no such table.

    Returns
    -------
    names, values, fields
        Of the features (nucleus, feature); the nuclei's fields are empty for embeddings.
    """
    if files.exists(table_url):
        table = tables.read_table(table_url)
        names = tuple(str(name) for name in table.columns if name not in PLACE)
        fields = table["field"].to_numpy(dtype=str)
        return names, table[list(names)].to_numpy(dtype=np.float32), fields
    values = read_array(embeddings_url)
    names = tuple(f"e{number}" for number in range(values.shape[1]))
    return names, values, np.full(len(values), "", dtype="<U1")
