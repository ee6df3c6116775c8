"""Cellpose and StarDist as methods of i2r: functions from an image and its pixel size to labels.

Both libraries are imported when a worker calls the function for the first time, and each worker
keeps its model.
"""

from functools import cache
from typing import Any

import numpy as np

# Taken where nobody knows the pixel size.
DEFAULT_PIXEL_UM = 0.65
# Typical diameter of a nucleus; Cellpose rescales images by it.
NUCLEUS_UM = 18.0
# StarDist's model has seen nuclei of about this pixel size.
STARDIST_PIXEL_UM = 0.5


def cellpose_nuclei(image: np.ndarray, pixel_size_um: float | None) -> np.ndarray:
    """Label the nuclei of one plane with Cellpose.

    Parameters
    ----------
    image
        Shape (y, x), uint8 or uint16.
    pixel_size_um
        Edge of a pixel; None where it is not known.

    Returns
    -------
    ndarray of integers, shape (y, x)
        0 is background.

    References
    ----------
    Stringer et al. 2021, Nature Methods 18:100, https://doi.org/10.1038/s41592-020-01018-x.
    """
    diameter_px = NUCLEUS_UM / (pixel_size_um or DEFAULT_PIXEL_UM)
    masks = _load_cellpose().eval(image, diameter=diameter_px, channels=[0, 0])[0]
    return np.asarray(masks)


def stardist_nuclei(image: np.ndarray, pixel_size_um: float | None) -> np.ndarray:
    """Label the nuclei of one plane with StarDist; see `cellpose_nuclei`.

    References
    ----------
    Schmidt et al. 2018, MICCAI, https://doi.org/10.1007/978-3-030-00934-2_30.
    """
    from csbdeep.utils import normalize

    scale = (pixel_size_um or STARDIST_PIXEL_UM) / STARDIST_PIXEL_UM
    labels, _ = _load_stardist().predict_instances(normalize(image, 1, 99.8), scale=scale)
    return np.asarray(labels)


@cache
def _load_cellpose() -> Any:
    """Load the model for nuclei of Cellpose 3; the weights are downloaded the first time."""
    from cellpose import core, models

    return models.CellposeModel(gpu=core.use_gpu(), model_type="nuclei")


@cache
def _load_stardist() -> Any:
    """Load the model for fluorescent nuclei; the weights are downloaded the first time."""
    from stardist.models import StarDist2D

    return StarDist2D.from_pretrained("2D_versatile_fluo")
