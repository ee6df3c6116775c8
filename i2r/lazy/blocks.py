"""The chunks of a well's images, each with the names of its fields."""

from collections.abc import Sequence

import dask.array as da
import numpy as np
from dask.delayed import Delayed


def split_fields(images: da.Array, fields: Sequence[str]) -> list[tuple[Delayed, list[str]]]:
    """Pair each chunk of fields with the fields' names.

    Parameters
    ----------
    images
        Split along its first axis (field) only; there may be no field at all.
    fields
        Names along that axis.
    """
    counts = images.chunks[0]
    starts = np.cumsum((0, *counts))
    blocks = images.to_delayed(optimize_graph=False).reshape(len(counts), -1)[:, 0]
    return [
        (block, list(fields[first:last]))
        for block, first, last in zip(blocks, starts[:-1], starts[1:], strict=True)
    ]
