"""The network that 'segment' finds nuclei with: i2r's own weights, or a file of the user."""

from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

from i2r.errors import InputError
from i2r.store import files

if TYPE_CHECKING:
    from i2r.models.unet import NucleusUNet


def hash_weights(weights: str | None) -> str:
    """Give the SHA-256 of a network's weights: the user's file, or i2r's own for None.

    Raises
    ------
    InputError
        If the file can't be read.
    """
    if weights is None:
        return _hash_packaged_weights()
    return sha256(_read_weights(weights)).hexdigest()


@lru_cache(maxsize=1)
def _hash_packaged_weights() -> str:
    from i2r.models.unet_inference import read_packaged_weights

    return sha256(read_packaged_weights()).hexdigest()


@lru_cache(maxsize=4)
def load_network(weights: str | None, digest: str) -> "NucleusUNet":
    """Load a network once per process: on its GPU, or on the CPU where it has none.

    Parameters
    ----------
    weights
        A file of 'train-segmenter'; None for i2r's own.
    digest
        Of the weights (`hash_weights`), so that changed ones are loaded anew.

    Raises
    ------
    InputError
        If the file can't be read or holds no weights of this network.
    """
    import torch

    from i2r.models import unet_inference as maps

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return maps.load_network(read_weights(weights), device=device)


def read_weights(weights: str | None) -> bytes:
    """Read a network's weights.

    Parameters
    ----------
    weights
        A file of 'train-segmenter' or 'adapt-segmenter'; None for i2r's own.

    Raises
    ------
    InputError
        If the file can't be read or holds no weights of this network.
    """
    from i2r.models.unet_inference import read_packaged_weights, unpack_weights

    if weights is None:
        return read_packaged_weights()
    content = _read_weights(weights)
    try:
        unpack_weights(content)
    except ValueError as error:
        raise InputError(
            f"weights {weights}: found {error}, expected a file of 'i2r train-segmenter'. Train "
            "again, or leave the option out to use i2r's own."
        ) from error
    return content


def _read_weights(weights: str) -> bytes:
    try:
        return files.read_bytes(weights)
    except OSError as error:
        raise InputError(
            f"weights {weights}: can't be read ({error.strerror or error}), expected a file of "
            "'i2r train-segmenter'. Check the path."
        ) from error
