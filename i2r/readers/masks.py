"""The user's own label masks: found by the names of the images, checked when read."""

import numpy as np

from i2r.errors import I2RError
from i2r.readers.images import read_plane
from i2r.store import files

EXTENSIONS = (".tif", ".tiff", ".png")


def find_mask(folder: str, *, image_url: str) -> str | None:
    """Find the mask of an image.

    Parameters
    ----------
    folder
        Where the masks are: directly, or in a subfolder named like the image's own folder.
    image_url
        The image that was segmented.

    Returns
    -------
    str or None
        The mask with the image's name and any of the extensions .tif, .tiff, .png; None if
        there is none.
    """
    parent, _, name = image_url.rpartition("/")
    stem, dot, extension = name.rpartition(".")
    names = [name, *(f"{stem if dot else name}{e}" for e in EXTENSIONS if e != f".{extension}")]
    for place in (f"{folder}/{parent.rpartition('/')[2]}", folder):
        for candidate in names:
            if files.exists(f"{place}/{candidate}"):
                return f"{place}/{candidate}"
    return None


def read_mask(url: str, *, shape: tuple[int, int]) -> np.ndarray:
    """Read a label image.

    Returns
    -------
    ndarray
        Shape (y, x), int32, 0 = background.

    Raises
    ------
    I2RError
        If it is no label image of the field's shape.
    """
    mask = read_plane(url)
    if mask.shape != tuple(shape):
        raise I2RError(
            f"mask {url}: found {mask.shape}, its image is {tuple(shape)}. Export the mask at the "
            "image's own size."
        )
    return mask.astype(np.int32)
