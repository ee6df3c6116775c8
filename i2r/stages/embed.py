"""Turn nuclei into embeddings with an encoder."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any, ClassVar, Literal

import numpy as np
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.errors import I2RError, InputError
from i2r.lazy.encoders import embed_crops
from i2r.stages.base import Group, Stage
from i2r.store import files
from i2r.store.experiment import Experiment
from i2r.store.nuclei import read_channels
from i2r.store.write import write_embeddings


class Embed(Stage):
    """Embed every nucleus that has a crop, of any well, with an encoder.

    The encoder is a file: one that i2r trained, or torchvision's weights of a ResNet-18, whose
    512 features are the embedding then.
    """

    stage: Literal["embed"] = "embed"
    encoder: str | None = Field(
        None,
        description="File of an encoder, or of torchvision's ResNet-18 weights",
        json_schema_extra={"path": True},
    )
    channels: tuple[str, ...] = Field(
        ("DNA",), description="Channels for a ResNet-18 from elsewhere; i2r's encoders name theirs"
    )

    reads: ClassVar[Mapping[str, bool]] = {"crop": True}
    group: ClassVar[Group] = "gpu"

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse a file that is no encoder, and channels that are not there."""
        if not self.encoder:
            return [f"stage {self.title!r}: no encoder. Name a file in 'encoder'."]
        try:
            encoder = open_encoder(self.encoder, digest_file(self.encoder), self.channels, "cpu")
        except I2RError as error:
            return [f"stage {self.title!r}: {error}"]
        return [
            f"stage {self.title!r}: the encoder sees {channel!r}, plate {plate.name!r} has "
            f"{', '.join(plate.channels)}. Name other channels or another encoder."
            for plate in experiment.plates.values()
            for channel in encoder.settings.channels
            if channel not in plate.channels
        ]

    def inputs(self, experiment: Experiment, key: str) -> object:
        """Describe the encoder by its content."""
        return [super().inputs(experiment, key), digest_file(str(self.encoder))]

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Embed one well."""
        crop = self.needs[-1]
        plate, _ = experiment.locate(key)
        url = str(self.encoder)
        encoder = delayed(open_encoder)(url, digest_file(url), self.channels, "auto")
        crops = delayed(read_encoder_channels)(
            encoder, experiment.crops_url(crop, key), names=plate.channels
        )
        return delayed(write_well)(
            embed_crops(encoder, crops, where=key),
            url=experiment.embeddings_url(self.title, key),
            crops=crop,
        )

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """A well's crops, a batch in the network, and torch itself."""
        return experiment.well_bytes(key) + 2**30

    def bytes_out(self, experiment: Experiment, key: str) -> int:
        """About 150 nuclei in every field."""
        return experiment.n_fields(key) * 150 * 512 * 4


def digest_file(url: str) -> str:
    """Hash a file's content; read once for each version of it."""
    try:
        return _digest_version(url, *files.stat(url))
    except FileNotFoundError as error:
        raise InputError(f"{url}: no such file, expected an encoder. Name another.") from error


@lru_cache(maxsize=16)
def _digest_version(url: str, size_bytes: int, mtime_ns: int) -> str:
    return sha256(files.read_bytes(url)).hexdigest()


@lru_cache(maxsize=2)
def open_encoder(url: str, digest: str, channels: tuple[str, ...], device: str) -> Any:
    """Open an encoder, once per worker.

    Parameters
    ----------
    url, digest
        The file and the hash of its content.
    channels
        See `i2r.models.weights.decode_encoder`.
    device
        Where it goes; ``auto`` takes a GPU where there is one.

    Raises
    ------
    InputError
        If the file is none.
    """
    import torch

    from i2r.models.weights import decode_encoder

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return decode_encoder(files.read_bytes(url), channels=channels, device=device)
    except ValueError as error:
        raise InputError(
            f"{url}: {error}. Name a file that 'train' wrote or torchvision's ResNet-18 weights."
        ) from error


def read_encoder_channels(encoder: Any, url: str, *, names: Sequence[str]) -> np.ndarray:
    """Read those channels of a well's crops that the encoder sees."""
    return read_channels(url, channels=[names.index(c) for c in encoder.settings.channels])


def write_well(embeddings: np.ndarray, *, url: str, crops: str) -> dict[str, Any]:
    """Write a well's embeddings."""
    written = write_embeddings(url, embeddings, attributes={"crops": crops})
    return {"nuclei": len(embeddings), "bytes_out": written}
