"""What networks start from: weights that are named, ImageNet's, or an encoder that exists."""

from functools import partial
from typing import Any

import pandas as pd

from i2r.analysis.embedding.encoders import Files
from i2r.errors import InputError
from i2r.store import files, tables
from i2r.store.encoders import read_optional, write_checkpoint
from i2r.store.pools import read_pool
from i2r.store.pretrained import fetch_imagenet, read_weights


def find_weights(given: str | None, *, imagenet: bool) -> str | None:
    """Give the file that ResNets start from; None where they start from random weights."""
    return given or (fetch_imagenet() if imagenet else None)


def explain_start(title: str, given: str | None, *, imagenet: bool) -> list[str]:
    """Say in a line that ResNets start from random weights, where they do."""
    if find_weights(given, imagenet=imagenet):
        return []
    why = "ImageNet's can't be downloaded here" if imagenet else "no 'weights'"
    return [
        f"stage {title!r}: {why}, so ResNets start from random ones; the published start from "
        "ImageNet's."
    ]


def bind_files(weights: str | None, checkpoint: str) -> Files:
    """Say what a training reads and writes: nuclei, what it starts from, and its checkpoint."""
    return Files(
        read=read_pool,
        load_weights=partial(read_weights, weights),
        load=partial(read_optional, checkpoint),
        save=partial(write_checkpoint, checkpoint),
    )


def import_encoder(
    weights: str, url: str, *, channels: tuple[str, ...], unit: str, part_url: str
) -> dict[str, Any]:
    """Take over an encoder that exists.

    Raises
    ------
    InputError
        If the file is none.
    """
    from i2r.models.weights import decode_encoder, encode_encoder

    try:
        encoder = decode_encoder(files.read_bytes(weights), channels=channels)
    except ValueError as error:
        raise InputError(
            f"{weights}: {error}. Name an encoder of i2r or torchvision's ResNet-18 weights."
        ) from error
    written = files.write_bytes(url, encode_encoder(encoder))
    row = {"unit": unit, "view": encoder.settings.view, "start": weights, "note": "imported"}
    tables.write_table(part_url, pd.DataFrame([row]))
    return {"bytes_out": written, "trained": True}
