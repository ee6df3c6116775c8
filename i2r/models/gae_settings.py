"""Settings of graph autoencoders: those of i2r, and the published ones."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class AutoencoderSettings:
    """What is the same for all models that train together.

    Attributes
    ----------
    hidden, latent
        Widths of the two convolutions, and of the embedding.
    feature_hidden
        Width of the hidden layer that decodes features.
    learning_rate
        Of Adam (Kingma and Ba 2015, doi:10.48550/arXiv.1412.6980).
    epochs
        At most so many, after pre-training.
    patience
        Stop after so many epochs without a lower validation loss; the best weights are kept.
    pretraining
        Epochs on edges (and features) alone before labels come in, one training for all variants
        of a seed: it has seen no label, so whatever is held out later was held out of it.
    validation, test
        Shares of edges that are kept from training.
    messages
        Edges along which messages pass in training: 'training' edges, or 'all'.
    """

    hidden: int = 32
    latent: int = 32
    feature_hidden: int = 32
    learning_rate: float = 1e-2
    epochs: int = 100
    patience: int = 30
    pretraining: int = 200
    validation: float = 0.05
    test: float = 0.1
    messages: Literal["training", "all"] = "training"


COMPACT = AutoencoderSettings()

PUBLISHED = AutoencoderSettings(
    hidden=1024, latent=1024, feature_hidden=1024, learning_rate=1e-5, epochs=10_000, patience=100,
    pretraining=0, validation=0.1, test=0.2,
)  # fmt: skip
"""Widths and training of Paysan et al. 2025; the loss weights are 1 (edges), 0, 1 (labels)."""
