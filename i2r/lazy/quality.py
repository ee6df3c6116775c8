"""Image quality of the fields of a well."""

from collections.abc import Sequence

import dask.array as da
import numpy as np
import pandas as pd
from dask import delayed
from dask.delayed import Delayed

from i2r.kernels.quality import measure_quality
from i2r.lazy.blocks import split_fields

COLUMNS = ("focus", "saturated_fraction", "mean", "background")


def measure_fields(
    images: da.Array, *, plate: str, well: str, fields: Sequence[str], channels: Sequence[str]
) -> Delayed:
    """Measure every field and channel of a well.

    Parameters
    ----------
    images
        Shape (field, c, y, x).
    plate, well, fields, channels
        Names for the table.

    Returns
    -------
    Delayed
        Of a DataFrame with one row per field and channel.
    """
    blocks = [
        delayed(measure_block)(block, fields=names, channels=list(channels))
        for block, names in split_fields(images, fields)
    ]
    return delayed(_join)(blocks, plate=plate, well=well)


def measure_block(
    images: np.ndarray, *, fields: Sequence[str], channels: Sequence[str]
) -> pd.DataFrame:
    """Measure the fields of one chunk, shape (field, c, y, x)."""
    rows = [
        (field, channel, *measure_quality(plane))
        for field, image in zip(fields, images, strict=True)
        for channel, plane in zip(channels, image, strict=True)
    ]
    table = pd.DataFrame(rows, columns=["field", "channel", *COLUMNS])
    return table.astype({"field": object, "channel": object, **dict.fromkeys(COLUMNS, float)})


def _join(blocks: Sequence[pd.DataFrame], *, plate: str, well: str) -> pd.DataFrame:
    table = pd.concat(blocks, ignore_index=True)
    table.insert(0, "plate", pd.Series(plate, index=table.index, dtype=object))
    table.insert(1, "well", pd.Series(well, index=table.index, dtype=object))
    return table
