"""Fields that regions around nuclei are cut from: read once, scaled, framed, never stored."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from i2r.kernels.illumination import correct_plane
from i2r.kernels.regions import frame_field, scale_field
from i2r.store.arrays import read_array


class RegionView(NamedTuple):
    """What is cut around a nucleus.

    Attributes
    ----------
    channels
        Indices of the channels, in the order wanted.
    size_px
        Edge of the window in pixels of the field. Published: 448.
    halved
        Whether fields are kept at half their resolution, windows too: 224 px then.
    """

    channels: tuple[int, ...]
    size_px: int = 448
    halved: bool = True

    def count_field_bytes(self, shape: tuple[int, int]) -> int:
        """Give the memory that a framed field of that height and width takes."""
        height, width = (n + self.size_px for n in shape)
        if self.halved:
            height, width = (height + 1) // 2, (width + 1) // 2
        return len(self.channels) * height * width


def read_framed_field(
    url: str, view: RegionView, *, functions: Mapping[int, str] | None = None
) -> npt.NDArray[np.uint8]:
    """Read a field, divide out its illumination, scale it to 8 bit and frame it.

    Parameters
    ----------
    url
        The field's image group (`i2r.store.experiment.Experiment.image_url`).
    view
        What will be cut.
    functions
        URLs of illumination functions by the channel's index
        (`i2r.store.plate.Plate.find_functions`); None for none.

    Returns
    -------
    ndarray
        Shape (c, y, x): the windows' starts in it are those of `place_windows`.

    Raises
    ------
    FileNotFoundError
        If there is no such field.
    """
    planes = [read_array(f"{url}/0", region=(slice(c, c + 1),))[0] for c in view.channels]
    for number, channel in enumerate(view.channels):
        if functions and channel in functions:
            planes[number] = correct_plane(planes[number], read_array(functions[channel]))
    return np.stack(
        [
            frame_field(scale_field(plane), size_px=view.size_px, halved=view.halved)
            for plane in planes
        ]
    )
