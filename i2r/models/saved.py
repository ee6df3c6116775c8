"""Files that torch wrote: tensors and plain values, never code, and never more than they hold."""

import io
import zipfile
from typing import Any

import torch


def load_tensors(data: bytes) -> Any:
    """Load what `torch.save` wrote, on the CPU.

    Only weights are unpickled (``weights_only``): a file from a stranger can't run code. torch
    packs nothing, so a file whose parts say that they are larger than the file itself was made to
    fill the memory: it is refused before any part is unpacked.

    Parameters
    ----------
    data
        The file's bytes.

    Raises
    ------
    ValueError
        If a part is larger than the file.
    Exception
        Whatever torch's readers stumble over.
    """
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            n_bytes = sum(part.file_size for part in archive.infolist())
        if n_bytes > len(data):
            raise ValueError(
                f"{n_bytes} bytes when unpacked from {len(data)}; torch's files are not packed"
            )
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
