"""The nuclei of many wells in one pool, as arrays."""

from typing import NamedTuple

import numpy as np


class PoolArrays(NamedTuple):
    """What was read for a plan.

    Attributes
    ----------
    crops
        Shape (nucleus, c, y, x).
    wells, crop_index, field_names
        Shape (nucleus,): index of the well in the plan, index of the crop in its well, and the
        field's name.
    fields, places, window_px
        See `i2r.models.pools.NucleusPool`; None and 0 without regions.
    """

    crops: np.ndarray
    wells: np.ndarray
    crop_index: np.ndarray
    field_names: np.ndarray
    fields: np.ndarray | None
    places: np.ndarray | None
    window_px: int
