"""Illumination functions on disk: one stage writes them, reading images divides by them."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from i2r.errors import I2RError
from i2r.store import ngff
from i2r.store.arrays import read_array, write_array, write_document
from i2r.store.catalog import Catalog
from i2r.types import unit_key


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


def find_functions(experiment: Catalog, plate: str, stages: Iterable[str]) -> dict[int, str]:
    """Find the functions that images of a plate are divided by after some stages.

    Parameters
    ----------
    experiment
        The experiment.
    plate
        The plate's name.
    stages
        Names of the stages that count, in the order of the pipeline; others than 'illuminate'
        have no functions. The last one that has a channel's function counts.

    Returns
    -------
    dict
        The URL of the function by the channel's index; channels without are not corrected.

    Raises
    ------
    I2RError
        If a function was wanted but could not be made.
    """
    found: dict[int, str] = {}
    for stage in stages:
        for index, channel in enumerate(experiment.channels[plate]):
            key = unit_key(plate, channel)
            entry = experiment.ledger.entry(stage, key)
            if entry is None or key in experiment.wells:
                continue
            if entry.event != "done":
                raise I2RError(
                    f"plate {plate!r} channel {channel!r}: its illumination function is not done. "
                    "See 'i2r errors', then 'i2r retry'."
                )
            if entry.report.wrote == "illumination":
                found[index] = f"{experiment.illumination_url(stage, plate, channel)}/function"
    return found


def find_functions_of_crops(experiment: Catalog, crops: str, key: str) -> dict[int, str]:
    """Find the functions behind a well's crops, for whoever cuts more out of the same fields.

    Parameters
    ----------
    experiment
        The experiment.
    crops
        Name of the stage that cut the crops.
    key
        The well, ``PLATE/B03``.

    Returns
    -------
    dict
        As `find_functions`.
    """
    after = experiment.ledger.report(crops, key).after
    return find_functions(experiment, experiment.wells[key].plate, after)


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

    if not functions:
        return image
    corrected = image.copy()
    for index, function in functions.items():
        corrected[index] = correct_plane(image[index], function)
    return corrected


def read_functions(urls: Mapping[int, str]) -> dict[int, npt.NDArray[np.float32]]:
    """Read functions, by the channel's index."""
    return {index: read_array(url) for index, url in urls.items()}
