"""Encoders of other packages: functions from crops to embeddings, found by their entry point.

An encoder takes a batch of crops (n, c, y, x), raw values, the edge of their pixels in microns and
the names of their channels, and gives (n, dim) numbers. Packages offer theirs under the entry point
group ``i2r.encoders``; its name is then a method of the stage 'embed'. A function with an attribute
``weights``, the path of a file, has that file's content in the stage's fingerprint.
"""

from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint

import numpy as np
import numpy.typing as npt

from i2r.errors import I2RError
from i2r.extensions import find_extension, list_extensions

Crops = npt.NDArray[np.unsignedinteger]
InstalledEncoder = Callable[[Crops, float, Sequence[str]], npt.ArrayLike]

GROUP = "i2r.encoders"
# Crops given at once: 4 MB per channel at 64 px and 16 bit.
BATCH_SIZE = 512


def list_encoders() -> list[str]:
    """List the names of the encoders that other packages offer."""
    return list_extensions(GROUP)


def find_encoder(name: str) -> EntryPoint:
    """Find an encoder of another package; see `find_extension`."""
    return find_extension(GROUP, name, what="encoder")


def call_encoder(
    crops: Crops, *, name: str, pixel_size_um: float, channels: Sequence[str], where: str
) -> npt.NDArray[np.float32]:
    """Call another package's encoder batch by batch and check what it gives.

    Parameters
    ----------
    crops
        Shape (nucleus, c, y, x), raw values.
    name
        Of the entry point.
    pixel_size_um
        Edge of a pixel of the crops.
    channels
        Names along the second axis.
    where
        How to name the crops in messages.

    Returns
    -------
    ndarray of float32, shape (nucleus, dim)
        Shape (0, 0) for no crops.

    Raises
    ------
    I2RError
        If a batch does not give one row of finite numbers per crop, always as many.
    """
    encode: InstalledEncoder = find_encoder(name).load()
    return encode_batches(
        lambda batch: encode(batch, pixel_size_um, tuple(channels)), crops, name=name, where=where
    )


def encode_batches(
    encode: Callable[[Crops], npt.ArrayLike],
    crops: Crops,
    *,
    name: str,
    where: str,
    batch_size: int = BATCH_SIZE,
) -> npt.NDArray[np.float32]:
    """Call an encoder batch by batch and check what it gives; see `call_encoder`."""
    found: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(crops), batch_size):
        batch = crops[start : start + batch_size]
        rows = np.asarray(encode(batch))
        wide = found[0].shape[1] if found else None
        problem = ""
        if rows.ndim != 2 or len(rows) != len(batch) or not rows.shape[1]:
            problem = f"an array of shape {rows.shape}, expected ({len(batch)}, dim)"
        elif not np.issubdtype(rows.dtype, np.number) or np.iscomplexobj(rows):
            problem = f"values of type {rows.dtype}, expected numbers"
        elif wide is not None and rows.shape[1] != wide:
            problem = f"{rows.shape[1]} dimensions after {wide} of the batch before"
        elif not np.isfinite(rows).all():
            problem = "values that are not finite"
        if problem:
            raise I2RError(f"{where}: encoder {name!r} gave {problem}. Change the encoder.")
        found.append(rows.astype(np.float32))
    return np.concatenate(found) if found else np.empty((0, 0), np.float32)
