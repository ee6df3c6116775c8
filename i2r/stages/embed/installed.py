"""Embeddings by an encoder that another package offers."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from dask import delayed
from dask.delayed import Delayed
from pydantic import Field, field_validator

from i2r.analysis.embedding.installed_encoders import call_encoder, find_encoder, list_encoders
from i2r.stages.embed.encode import digest_file
from i2r.stages.embed.options import Embed, count_written, write_well
from i2r.store import files
from i2r.store.experiment import Experiment
from i2r.store.pools import PoolPlan, plan_pool, read_pool


class InstalledEmbed(Embed):
    """Embed nuclei with an encoder of the entry point group 'i2r.encoders'."""

    method: str = Field(description="Name of the encoder")
    channels: tuple[str, ...] = Field(("DNA",), description="Channels that it sees")

    upstream_verbs: ClassVar[Mapping[str, bool]] = {"segment": True, "crop": True}

    @field_validator("method")
    @classmethod
    def _check_method(cls, value: str) -> str:
        if value not in list_encoders():
            known = ", ".join([*cls.methods, *list_encoders()])
            raise ValueError(f"found {value!r}, expected one of {known}")
        return value

    @property
    def needs_torch(self) -> bool:
        """Another package's encoder brings what it needs."""
        return False

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse channels and columns that are not there."""
        problems = self.list_lacking("segment", "crop") + super().check(experiment)
        return problems + self.list_missing_channels(experiment, self.channels)

    def external_files(self, experiment: Experiment) -> object:
        """Give the package, and the content of its weights."""
        point = find_encoder(self.method)
        weights = getattr(point.load(), "weights", None)
        version = point.dist.version if point.dist else ""
        return [point.value, version, digest_file(str(weights)) if weights else ""]

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Embed one well."""
        crop, segment = self.upstream_title("crop"), self.upstream_title("segment")
        plate, _ = experiment.locate(key)
        plan = plan_pool(experiment, [key], crop=crop, segment=segment, channels=self.channels)
        return delayed(embed_well)(
            plan,
            name=self.method,
            pixel_size_um=plate.pixel_size_um,
            channels=self.channels,
            url=experiment.embeddings_url(self.title, key),
            crops=crop,
            where=key,
        )


def embed_well(
    plan: PoolPlan,
    *,
    name: str,
    pixel_size_um: float,
    channels: Sequence[str],
    url: str,
    crops: str,
    where: str,
) -> dict[str, Any]:
    """Embed a well by another package's encoder, and write that."""
    found = read_pool(plan).crops
    # Tiles of finer pixels were resampled; how many of the field's pixels they show is noted.
    document = json.loads(files.read_bytes(f"{plan.crops[0]}/zarr.json"))
    cut_px = document["attributes"].get("cut_px", found.shape[-1])
    embeddings = call_encoder(
        found,
        name=name,
        pixel_size_um=pixel_size_um * cut_px / found.shape[-1],
        channels=channels,
        where=where,
    )
    return count_written(
        [write_well(embeddings, url=url, crops=crops)], encoders=[""], trained_by=""
    )
