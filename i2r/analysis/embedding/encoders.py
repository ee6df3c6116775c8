"""Encoders: one trained on nuclei of many wells, and the nuclei of one well embedded."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from i2r.analysis.embedding.datasets import Dataset, Read, make_pool
from i2r.errors import I2RError
from i2r.kernels.folds import TRAIN, VALIDATION
from i2r.kernels.pools import PoolArrays

if TYPE_CHECKING:
    from i2r.models.encoder import EncoderSettings
    from i2r.models.train_encoder import TrainedEncoder


class Files(NamedTuple):
    """How a training reads and writes; each is called with nothing but the data.

    Attributes
    ----------
    read
        Reads the nuclei.
    load_weights
        Gives the bytes of the weights to start from, or None.
    load, save
        Give the last checkpoint or None, and keep one.
    """

    read: Read
    load_weights: Callable[[], bytes | None]
    load: Callable[[], bytes | None]
    save: Callable[[bytes], None]


def fit_encoder(
    data: Dataset,
    labels: np.ndarray,
    parts: np.ndarray,
    *,
    settings: "EncoderSettings",
    training: Mapping[str, Any],
    files: Files,
    seed: np.random.SeedSequence,
    device: str,
    hint: str,
) -> "TrainedEncoder":
    """Train an encoder on one part of the nuclei and choose its epoch on another; on a worker.

    Parameters
    ----------
    data
        The nuclei.
    labels, parts
        Shape (nucleus,): class, and part of the split (`i2r.kernels.folds`).
    settings, training
        The encoder, and fields of `i2r.models.train_encoder.EncoderTraining`.
    files
        Where weights and checkpoints come from, and where these go.
    seed
        Of this training.
    device
        Where the network runs.
    hint
        What to look at where it can't be trained.

    Raises
    ------
    I2RError
        If fewer than two classes are trained on, weights do not fit, or the training diverged.
    """
    from i2r.models.train_encoder import EncoderTraining, Parts, train_encoder
    from i2r.models.weights import decode_state

    weights = files.load_weights()
    try:
        return train_encoder(
            data.pool,
            labels,
            Parts(np.flatnonzero(parts == TRAIN), np.flatnonzero(parts == VALIDATION)),
            settings=settings,
            training=EncoderTraining(**training),
            seed=seed,
            device=device,
            pretrained=None if weights is None else decode_state(weights),
            checkpoint=files.load(),
            save=files.save,
        )
    except (ValueError, FloatingPointError) as error:
        raise I2RError(f"{error}. {hint}") from error


def embed_nuclei(encoder: Any, arrays: PoolArrays, *, where: str) -> np.ndarray:
    """Embed the nuclei of one well.

    Parameters
    ----------
    encoder
        An `i2r.models.encoder.Encoder` on its device.
    arrays
        What was read of the well, the encoder's channels.
    where
        How to name the well in messages.

    Returns
    -------
    (nucleus, dim) float32
        In the order of the crops.

    Raises
    ------
    I2RError
        If a value is not finite.
    """
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
