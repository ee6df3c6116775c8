"""Networks in files of `torch.export`: what they are shown, and what they give for a well."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from i2r.analysis.embedding.installed_encoders import BATCH_SIZE, Crops, encode_batches
from i2r.errors import I2RError

if TYPE_CHECKING:
    from i2r.models.exported import ExportedNetwork


def run_exported(
    network: "ExportedNetwork", crops: Crops, *, name: str, where: str
) -> npt.NDArray[np.float32]:
    """Embed crops by an exported network.

    Parameters
    ----------
    network
        Sees raw values as float32, on the GPU where there is one. One that was exported for a fixed
        number of crops gets as many, the last batch filled up with zeros.
    crops
        Shape (nucleus, c, y, x), raw values.
    name, where
        The file, and the well, for messages.

    Returns
    -------
    ndarray of float32, shape (nucleus, dim)

    Raises
    ------
    I2RError
        If the network sees images of another shape, or gives no embeddings.
    """
    import torch

    if len(crops) and (problem := describe_misfit(network, crops.shape[1:])):
        raise I2RError(f"{where}: encoder {name!r} {problem}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network.to(device)
    fixed = network.shape[0]

    def encode(batch: Crops) -> npt.ArrayLike:
        images = torch.from_numpy(batch.astype(np.float32)).to(device)
        if fixed is not None and len(batch) < fixed:
            missing = torch.zeros((fixed - len(batch), *images.shape[1:]), device=device)
            images = torch.cat([images, missing])
        try:
            found = network(images)
        except ValueError as error:
            raise I2RError(f"{where}: encoder {name!r}: {error}. Export it anew.") from error
        return found[: len(batch)].float().cpu().numpy() if found.ndim else found.cpu().numpy()

    return encode_batches(encode, crops, name=name, where=where, batch_size=fixed or BATCH_SIZE)


def describe_misfit(network: "ExportedNetwork", shape: Sequence[int | None]) -> str:
    """Say why a network can't see crops of a shape (c, y, x), None for any number; "" if it can."""
    expected = network.shape[1:]
    if all(a is None or b is None or a == b for a, b in zip(expected, shape, strict=True)):
        return ""
    shown = " x ".join("any" if number is None else str(number) for number in expected)
    found = " x ".join("any" if number is None else str(number) for number in shape)
    return (
        f"sees images of {shown} (channels, y, x), found crops of {found}. Set 'channels', or "
        "export the network for these."
    )
