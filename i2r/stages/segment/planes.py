"""Segmentation of single images, without a plate: what 'segment' does to a field."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from i2r.analysis.segmenters import (
    DEFAULT_PIXEL_UM,
    call_segmenter,
    find_segmenter,
    segment_by_network,
)
from i2r.errors import InputError
from i2r.stages.segment.threshold import ThresholdSegment
from i2r.stages.segmenter_weights import hash_weights, load_network

PlaneSegmenter = Callable[[npt.NDArray[Any]], npt.NDArray[np.int32]]


def segment(
    image: npt.ArrayLike,
    *,
    pixel_size_um: float | None = None,
    method: str = "threshold",
    weights: str | None = None,
) -> npt.NDArray[np.int32]:
    """Find the nuclei of one image, as the stage 'segment' does.

    Parameters
    ----------
    image
        Shape (y, x), of DNA, any integer or float type.
    pixel_size_um
        Edge of a pixel in microns; None takes 0.65 for 'threshold', and for 'unet' the size at
        which nuclei look like those it was trained on.
    method
        'threshold', 'unet', or the name of an installed segmenter.
    weights
        File of weights for 'unet'; None takes those that ship with i2r.

    Returns
    -------
    ndarray of int32, shape (y, x)
        1, 2, ... within nuclei, 0 elsewhere.

    Raises
    ------
    InputError
        If the image is not of two dimensions, or there is no such method or file.
    """
    plane = np.asarray(image)
    if plane.ndim != 2:
        raise InputError(
            f"segment: found an image of shape {plane.shape}, expected (y, x). Give one plane."
        )
    return choose_segmenter(method, pixel_size_um, weights)(plane)


def choose_segmenter(
    method: str, pixel_size_um: float | None, weights: str | None
) -> PlaneSegmenter:
    """Make the function that labels one plane; see `segment`."""
    if weights is not None and method != "unet":
        raise InputError(f"weights: belongs to the method unet, found {method!r}. Leave it out.")
    if method == "threshold":
        return ThresholdSegment().segmenter(pixel_size_um or DEFAULT_PIXEL_UM)
    if method == "unet":
        network = load_network(weights, hash_weights(weights))

        def segment_plane(plane: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
            return segment_by_network(plane[None], network, pixel_size_um=pixel_size_um)[0]

        return segment_plane
    find_segmenter(method)
    return partial(call_segmenter, name=method, pixel_size_um=pixel_size_um)
