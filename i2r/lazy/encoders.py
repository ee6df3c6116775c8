"""The tasks of an encoder: one training, or the nuclei of one well embedded."""

from typing import Any

import numpy as np
from dask import delayed
from dask.delayed import Delayed

from i2r.errors import I2RError


def embed_crops(encoder: Delayed, crops: Delayed, *, where: str) -> Delayed:
    """Embed the crops of one well.

    Parameters
    ----------
    encoder
        Delayed `i2r.models.ensemble.Encoder` on its device.
    crops
        Delayed array (nucleus, c, y, x), the encoder's channels.
    where
        How to name the well in messages.

    Returns
    -------
    Delayed
        Of float32 (nucleus, dim), in the order of the crops. It raises `I2RError` if a value is
        not finite.
    """
    return delayed(_embed)(encoder, crops, where=where)


def _embed(encoder: Any, crops: np.ndarray, *, where: str) -> np.ndarray:
    from i2r.models.embedding import embed_nuclei

    embeddings = embed_nuclei(encoder, crops)
    wrong = np.logical_not(np.isfinite(embeddings).all(axis=1))
    if wrong.any():
        raise I2RError(
            f"{where}: embeddings of {int(wrong.sum())} of {len(wrong)} nuclei are not finite "
            f"(the first is crop {int(wrong.argmax())}), expected numbers. The encoder's weights "
            "are damaged or its training diverged: train it again or name another file."
        )
    return embeddings
