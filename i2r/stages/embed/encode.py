"""Embeddings by an encoder of i2r: one that was trained on the screen, or in a file."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any, Literal

import numpy as np
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field, PrivateAttr

from i2r.analysis.embedding.datasets import share_memory
from i2r.analysis.embedding.encoders import embed_nuclei
from i2r.errors import I2RError, InputError
from i2r.kernels.pools import PoolArrays
from i2r.stages.base import FINISH
from i2r.stages.embed.options import Embed, count_written, write_well
from i2r.stages.train.options import IMPORTED
from i2r.store import files
from i2r.store.experiment import Experiment
from i2r.store.ledger import Entry
from i2r.store.pools import PoolPlan, Window, plan_pool, read_pool


class EncodeEmbed(Embed):
    """Embed nuclei with an encoder of i2r, or a ResNet-18."""

    method: Literal["encode"] = "encode"
    encoder: str | None = Field(
        None,
        description="File of an encoder, or of torchvision's ResNet-18 weights",
        json_schema_extra={"path": True},
    )
    channels: tuple[str, ...] = Field(
        ("DNA",), description="Channels for encoders from elsewhere; i2r's own name theirs"
    )

    # The encoders of a training, by the ledger's entry of its table.
    _trained: tuple[Entry | None, dict[str, str]] | None = PrivateAttr(default=None)

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse a file that is not an encoder, and channels or columns that are not there."""
        problems = self.list_lacking("segment", "crop") + super().check(experiment)
        train = self.upstream_title("train")
        if self.encoder is None:
            if not train:
                problems.append(
                    f"stage {self.title!r}: no encoder. Name a file in 'encoder', or put a stage "
                    "'train' before it."
                )
            return problems
        if train:
            others = ", ".join(name for name in self.needs if name != train)
            problems.append(
                f"stage {self.title!r}: an encoder in a file and one of {train!r}. Leave one out: "
                f"'needs: [{others}]' reads the file alone."
            )
        try:
            encoder = load_encoder(self.encoder, channels=self.channels, device="cpu")
        except I2RError as error:
            return [*problems, f"stage {self.title!r}: {error}"]
        return problems + [
            f"stage {self.title!r}: the encoder sees {channel!r}, plate {plate.name!r} has "
            f"{', '.join(plate.channels)}. Name other channels or another encoder."
            for plate in experiment.plates.values()
            for channel in encoder.settings.channels
            if channel not in plate.channels
        ]

    def external_files(self, experiment: Experiment) -> object:
        """Give the content of an encoder's file."""
        return digest_file(self.encoder) if self.encoder else ""

    def encoders(self, experiment: Experiment) -> dict[str, str]:
        """List the encoders by name, with their files; the name of a single one is empty."""
        if self.encoder is not None:
            return {"": self.encoder}
        # Every well asks, so the table of trainings is read once for each version of it.
        entry = experiment.ledger.entry(self.upstream_title("train"), FINISH)
        if self._trained is None or self._trained[0] != entry:
            self._trained = entry, self._choose_trained(experiment)
        return self._trained[1]

    def _choose_trained(self, experiment: Experiment) -> dict[str, str]:
        """List every encoder without a class; of those of folds the best."""
        train = self.upstream_title("train")
        table = experiment.table(train).set_index("unit")
        # The ledger also knows the units that the stage had by other options, before.
        keys = [key for key in sorted(table.index) if experiment.ledger.report(train, key).trained]
        left_out = [key for key in keys if "/without-" in key]
        if left_out:
            return {key: experiment.model_url(train, key) for key in left_out}
        if not keys:
            raise I2RError(f"stage {self.title!r}: {train!r} trained no encoder. See its table.")
        if len(keys) > 1:
            scores = table["validation_balanced_accuracy"]
            keys.sort(key=lambda key: -np.nan_to_num(scores[key]))
        return {"": experiment.model_url(train, keys[0])}

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Embed one well with every encoder."""
        crop, segment = self.upstream_title("crop"), self.upstream_title("segment")
        plate, _ = experiment.locate(key)
        plan = plan_pool(experiment, [key], crop=crop, segment=segment, channels=())
        encoders, written = self.encoders(experiment), []
        for name, url in encoders.items():
            encoder = delayed(open_encoder)(url, digest_file(url), self.channels)
            arrays = delayed(read_for_encoder)(encoder, plan, names=plate.channels, where=key)
            written.append(
                delayed(write_well)(
                    delayed(embed_nuclei)(encoder, arrays, where=key),
                    url=experiment.embeddings_url(self.title, key, encoder=name),
                    crops=crop,
                )
            )
        return delayed(count_written)(
            written,
            encoders=sorted(encoders),
            trained_by=""
            if self._is_foreign(experiment, encoders)
            else self.upstream_title("train"),
        )

    def _is_foreign(self, experiment: Experiment, encoders: Mapping[str, str]) -> bool:
        """Tell whether the encoder is from elsewhere, so that it knows nothing of this screen."""
        if self.encoder is not None:
            return True
        return encoders == {"": experiment.model_url(self.upstream_title("train"), IMPORTED)}


def digest_file(url: str) -> str:
    """Hash a file's content; read once for each version of it."""
    try:
        return _digest_version(url, *files.stat(url))
    except FileNotFoundError as error:
        raise InputError(f"{url}: no such file, expected an encoder. Name another.") from error


@lru_cache(maxsize=256)
def _digest_version(url: str, size_bytes: int, mtime_ns: int) -> str:
    return sha256(files.read_bytes(url)).hexdigest()


def load_encoder(url: str, *, channels: tuple[str, ...], device: str) -> Any:
    """Read an encoder.

    Parameters
    ----------
    url
        The file.
    channels
        See `i2r.models.weights.decode_encoder`.
    device
        Where it goes.

    Raises
    ------
    InputError
        If the file is none.
    """
    from i2r.models.weights import decode_encoder

    try:
        return decode_encoder(files.read_bytes(url), channels=channels, device=device)
    except FileNotFoundError as error:
        raise InputError(f"{url}: no such file, expected an encoder. Name another.") from error
    except ValueError as error:
        raise InputError(
            f"{url}: {error}. Name a file that 'train' wrote or torchvision's ResNet-18 weights."
        ) from error


def open_encoder(url: str, digest: str, channels: tuple[str, ...]) -> Any:
    """Give an encoder on the GPU where there is one; each is read once per worker."""
    import torch

    from i2r.models.pools import open_cache

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return open_cache(share_memory()).get(
        (url, digest, channels, device), lambda: load_encoder(url, channels=channels, device=device)
    )


def read_for_encoder(
    encoder: Any, plan: PoolPlan, *, names: Sequence[str], where: str
) -> PoolArrays:
    """Read of a well what an encoder sees."""
    settings = encoder.settings
    missing = [channel for channel in settings.channels if channel not in names]
    if missing:
        raise I2RError(
            f"{where}: no channel {missing[0]!r}, which the encoder sees. Name another encoder."
        )
    window = Window(settings.window_px, settings.halved) if "region" in settings.view else None
    channels = tuple(names.index(channel) for channel in settings.channels)
    return read_pool(plan._replace(channels=(channels,), window=window))
