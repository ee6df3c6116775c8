"""Nuclei to embeddings, batch by batch, in as much memory as there is."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from i2r.models.cnn import Precision, choose_precision, mix_precision
from i2r.models.encoder import Encoder
from i2r.models.pools import NucleusPool

# Nuclei at a time: 64 MB of the widest layer of a ResNet-18 at 224 px per 20 nuclei.
BATCH_SIZE = 256


def run_in_parts(
    function: Callable[[slice], None], length: int, *, part: int, device: torch.device | str = "cpu"
) -> int:
    """Go over a length in parts, and in half as large ones whenever memory runs out.

    Parameters
    ----------
    function
        Called with consecutive slices; it may raise `torch.OutOfMemoryError`, and is then called
        again with the first half.
    length
        What the slices cover.
    part
        Length of a slice to begin with.
    device
        Where the memory is.

    Returns
    -------
    int
        The length of a part that fitted.

    Raises
    ------
    torch.OutOfMemoryError
        If one element alone doesn't fit.
    """
    start = 0
    while start < length:
        stop = min(length, start + part)
        try:
            function(slice(start, stop))
        except torch.OutOfMemoryError:
            if stop - start == 1:
                raise
            part = (stop - start + 1) // 2
        else:
            start = stop
            continue
        # Outside of the handler, whose traceback would keep the tensors of the failed try.
        if torch.device(device).type == "cuda":
            torch.cuda.empty_cache()
    return part


def embed_pool(
    encoder: Encoder,
    pool: NucleusPool,
    *,
    batch_size: int = BATCH_SIZE,
    precision: Precision = "auto",
) -> npt.NDArray[np.float32]:
    """Embed the nuclei of a well.

    Parameters
    ----------
    encoder
        In evaluation mode, on the device that shall do the work.
    pool
        The well's nuclei, the encoder's channels.
    batch_size
        Nuclei at a time, fewer where memory runs out; batches start at the well's first nucleus,
        so results don't depend on what else is embedded.
    precision
        See `i2r.models.cnn.choose_precision`.

    Returns
    -------
    ndarray of float32, shape (nucleus, n_dims)
        Empty for no nuclei. On one kind of processor the same bits each time; between batch
        sizes, and between CPU and GPU, equal to within rounding of the precision.
    """
    device = next(encoder.parameters()).device
    n_nuclei = len(pool.crops)
    embeddings = np.empty((n_nuclei, encoder.n_dims), dtype=np.float32)
    rows = torch.arange(n_nuclei, device=pool.device)

    def embed(part: slice) -> None:
        images = pool.draw(encoder.settings, rows[part], device=device)
        embeddings[part] = encoder.embed(images).cpu().numpy()

    dtype = choose_precision(device, precision)
    with torch.inference_mode(), mix_precision(device, dtype):
        run_in_parts(embed, n_nuclei, part=batch_size, device=device)
    return embeddings
