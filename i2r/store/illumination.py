"""Illumination functions on disk: one stage writes them, reading images divides by them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from i2r.store import ngff
from i2r.store.arrays import read_array, write_array, write_document


def write_illumination(
    url: str, function: npt.NDArray[np.float32], typical: npt.NDArray[np.float32]
) -> int:
    """Write the function of a plate's channel, and the typical field that it corrects.

    Parameters
    ----------
    url
        A group (`i2r.store.experiment.Experiment.illumination_url`); of two arrays.
    function
        Shape (y, x): images are divided by it.
    typical
        Shape (y, x) in blocks of a field's pixels.

    Returns
    -------
    int
        The number of bytes written.
    """
    written = write_document(url, ngff.group_document())
    for name, array in (("function", function), ("typical", typical)):
        written += write_array(f"{url}/{name}", array, chunk=array.shape, axes=("y", "x"))
    return written


def correct_image(
    image: npt.NDArray[np.unsignedinteger[Any]], functions: Mapping[int, npt.NDArray[np.float32]]
) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Divide the channels of a field by their functions.

    Parameters
    ----------
    image
        Shape (c, y, x).
    functions
        Shape (y, x), by the channel's index; other channels stay as they are.
    """
    # Compiled kernels take long to import, and opening an experiment needs none.
    from i2r.kernels.illumination import correct_plane

    corrected = image.copy()
    for index, function in functions.items():
        corrected[index] = correct_plane(image[index], function)
    return corrected


def read_functions(urls: Mapping[int, str]) -> dict[int, npt.NDArray[np.float32]]:
    """Read functions, by the channel's index."""
    return {index: read_array(url) for index, url in urls.items()}
