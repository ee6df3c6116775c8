"""ImageNet's weights of a ResNet-18: a file that is named, or torchvision's own, fetched once."""

import os
import urllib.request
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from i2r.errors import InputError
from i2r.store import files

# Seconds to wait for an answer: without a network there is none.
TIMEOUT_S = 10.0


class Source(NamedTuple):
    """Where weights are and how the SHA-256 of their file begins, which is in its name too."""

    url: str
    digest: str


# torchvision's ResNet18_Weights.IMAGENET1K_V1, BSD 3-Clause
# (https://docs.pytorch.org/vision/stable/models.html).
IMAGENET = Source("https://download.pytorch.org/models/resnet18-f37072fd.pth", "f37072fd")


def fetch_imagenet(source: Source = IMAGENET) -> str | None:
    """Give the path of ImageNet's weights, downloaded where torch keeps such files.

    Parameters
    ----------
    source
        Where they are.

    Returns
    -------
    str or None
        None where they are not there yet and can't be had: no network, or another file than
        expected. The answer lasts as long as the process.
    """
    folder = os.environ.get("TORCH_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"), "torch"
    )
    return _fetch(source, folder)


@cache
def _fetch(source: Source, folder: str) -> str | None:
    path = Path(folder) / "hub" / "checkpoints" / source.url.rpartition("/")[2]
    if path.exists():
        return str(path)
    try:
        with urllib.request.urlopen(source.url, timeout=TIMEOUT_S) as answer:
            data = answer.read()
        if not sha256(data).hexdigest().startswith(source.digest):
            return None
        files.write_bytes(str(path), data)
    except OSError:
        return None
    return str(path)


def read_weights(url: str | None) -> bytes | None:
    """Read a file of weights; None for none.

    Raises
    ------
    InputError
        If this machine can't read it: a training must not start from other weights unnoticed.
    """
    try:
        return files.read_bytes(url) if url else None
    except FileNotFoundError as error:
        raise InputError(
            f"{url}: no such file on this worker, expected weights. Put them where all workers "
            "can read them."
        ) from error
