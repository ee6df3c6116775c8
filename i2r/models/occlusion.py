"""Which parts of an image an encoder's call rests on."""

from collections.abc import Mapping
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from i2r.models.encoder import Encoder


def map_occlusion(
    encoder: Encoder, images: Mapping[str, Tensor], classes: npt.NDArray[np.int64], *, grid: int = 8
) -> dict[str, npt.NDArray[np.float32]]:
    """Hide one part of an image after the other and see how far the class' probability falls.

    Parameters
    ----------
    encoder
        In evaluation mode.
    images
        By branch, (n, c, y, x), from `i2r.models.views.prepare_images`.
    classes
        Shape (n,): the class whose probability is looked at.
    grid
        Parts along each axis.

    Returns
    -------
    dict of ndarray of float32, shape (n, grid, grid)
        By branch: the logarithm of the probability with everything shown, minus that with the
        part hidden, in nats. Positive parts speak for the class. Hidden parts take the image's
        own darkest values, so parts that are dark already have 0.

    References
    ----------
    Zeiler and Fergus, ECCV 2014, doi:10.1007/978-3-319-10590-1_53.
    """
    encoder.eval()
    n = len(classes)
    maps = {name: np.zeros((n, grid, grid), np.float32) for name in images}
    with torch.inference_mode():
        for index in range(n):
            own = {name: image[index : index + 1] for name, image in images.items()}
            whole = _log_probability(encoder, own, int(classes[index]))
            for name, image in own.items():
                hidden = _hide_parts(image[0], grid)
                shown = {
                    other: hidden if other == name else part.expand(len(hidden), -1, -1, -1)
                    for other, part in own.items()
                }
                fallen = whole - _log_probability(encoder, shown, int(classes[index]))
                maps[name][index] = fallen.view(grid, grid).cpu().numpy()
    return maps


def _log_probability(encoder: Encoder, images: Mapping[str, Tensor], wanted: int) -> Tensor:
    logits = cast(Tensor, encoder(images))
    return torch.log_softmax(logits, dim=1)[:, wanted]


def _hide_parts(image: Tensor, grid: int) -> Tensor:
    """Make a copy of an image for each part, with that part at its darkest."""
    side = image.shape[-1]
    edges = torch.linspace(0, side, grid + 1).round().long().tolist()
    darkest = image.amin(dim=(1, 2))[:, None, None]
    copies = image.expand(grid * grid, -1, -1, -1).clone()
    for part in range(grid * grid):
        y, x = divmod(part, grid)
        copies[part, :, edges[y] : edges[y + 1], edges[x] : edges[x + 1]] = darkest
    return copies
