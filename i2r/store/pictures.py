"""Label images as TIFF files: for people and programs that have no plate."""

import io

import numpy as np
import numpy.typing as npt
import tifffile

from i2r.store import files


def write_label_tiff(url: str, labels: npt.NDArray[np.integer]) -> int:
    """Write a label image as a compressed TIFF file.

    Parameters
    ----------
    url
        Where to write.
    labels
        Shape (y, x), 0 and above.

    Returns
    -------
    int
        The number of bytes written. Pixels are uint16, or uint32 for labels above 65,535.
    """
    wide = labels.size and int(labels.max()) > np.iinfo(np.uint16).max
    file = io.BytesIO()
    tifffile.imwrite(
        file, labels.astype(np.uint32 if wide else np.uint16), compression="zlib", metadata=None
    )
    return files.write_bytes(url, file.getvalue())


def write_image_tiff(url: str, image: npt.NDArray[np.number]) -> int:
    """Write a plane as a compressed TIFF file of its own type.

    Parameters
    ----------
    url
        Where to write.
    image
        Shape (y, x), uint8, uint16 or float32.

    Returns
    -------
    int
        The number of bytes written.
    """
    file = io.BytesIO()
    tifffile.imwrite(file, image, compression="zlib", metadata=None, photometric="minisblack")
    return files.write_bytes(url, file.getvalue())
