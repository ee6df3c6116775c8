"""The nuclei of one well embedded."""

from typing import Any

import numpy as np
from dask import delayed
from dask.delayed import Delayed

from i2r.errors import I2RError
from i2r.lazy.datasets import Arrays, make_pool


def embed_nuclei(encoder: Delayed, arrays: Delayed, *, where: str) -> Delayed:
    """Embed the nuclei of one well.

    Parameters
    ----------
    encoder
        Delayed `i2r.models.ensemble.Encoder` on its device.
    arrays
        Delayed `i2r.lazy.datasets.Arrays`: what was read of the well, the encoder's channels.
    where
        How to name the well in messages.

    Returns
    -------
    Delayed
        Of float32 (nucleus, dim), in the order of the crops. It raises `I2RError` if a value is
        not finite.
    """
    return delayed(_embed)(encoder, arrays, where=where)


def _embed(encoder: Any, arrays: Arrays, *, where: str) -> np.ndarray:
    from i2r.models.embedding import embed_pool

    embeddings = embed_pool(encoder, make_pool(arrays))
    wrong = np.logical_not(np.isfinite(embeddings).all(axis=1))
    if wrong.any():
        raise I2RError(
            f"{where}: embeddings of {int(wrong.sum())} of {len(wrong)} nuclei are not finite "
            f"(the first is crop {int(wrong.argmax())}), expected numbers. The encoder's weights "
            "are damaged or its training diverged: train it again or name another file."
        )
    return embeddings
