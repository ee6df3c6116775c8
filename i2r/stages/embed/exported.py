"""Embeddings by a network that PyTorch exported to a file."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.analysis.embedding.datasets import share_memory
from i2r.analysis.embedding.exported_encoders import describe_misfit, run_exported
from i2r.errors import I2RError, InputError
from i2r.stages.embed.encode import digest_file
from i2r.stages.embed.options import Embed, count_written, write_well
from i2r.store import files
from i2r.store.experiment import Experiment
from i2r.store.pools import PoolPlan, plan_pool, read_pool

if TYPE_CHECKING:
    from i2r.models.exported import ExportedNetwork


class ExportedEmbed(Embed):
    """Embed nuclei with a network of torch.export.

    It sees raw crops (n, c, y, x) as float32, and gives one row per crop. The file is read as data:
    only operators of PyTorch's ATen are called, and nothing is unpickled or evaluated.
    """

    method: Literal["exported"] = "exported"
    network: str = Field(
        description="File that torch.export.save wrote, with PyTorch 2.8 or newer",
        json_schema_extra={"path": True},
    )
    channels: tuple[str, ...] = Field(("DNA",), description="Channels that it sees, in its order")

    upstream_verbs: ClassVar[Mapping[str, bool]] = {"segment": True, "crop": True}

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse a file that is not such a network, and one for other channels."""
        problems = self.list_lacking("segment", "crop") + super().check(experiment)
        problems += self.list_missing_channels(experiment, self.channels)
        try:
            network = open_network(self.network, digest_file(self.network))
        except I2RError as error:
            return [*problems, f"stage {self.title!r}: {error}"]
        misfit = describe_misfit(network, (len(self.channels), None, None))
        return problems + [f"stage {self.title!r}: network {self.network} {misfit}"] * bool(misfit)

    def external_files(self, experiment: Experiment) -> object:
        """Give the content of the file."""
        return ["exported", digest_file(self.network)]

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Embed one well."""
        crop, segment = self.upstream_title("crop"), self.upstream_title("segment")
        plan = plan_pool(experiment, [key], crop=crop, segment=segment, channels=self.channels)
        return delayed(embed_well)(
            plan,
            network_url=self.network,
            digest=digest_file(self.network),
            url=experiment.embeddings_url(self.title, key),
            crops=crop,
            where=key,
        )


def open_network(url: str, digest: str) -> "ExportedNetwork":
    """Read an exported network; each is read once per worker.

    Raises
    ------
    InputError
        If the file is none.
    """
    from i2r.models.exported import decode_exported
    from i2r.models.pools import open_cache

    def load() -> "ExportedNetwork":
        try:
            return decode_exported(files.read_bytes(url))
        except ValueError as error:
            raise InputError(f"{url}: {error}. Name another file.") from error

    return open_cache(share_memory()).get(("exported", url, digest), load)


def embed_well(
    plan: PoolPlan, *, network_url: str, digest: str, url: str, crops: str, where: str
) -> dict[str, Any]:
    """Embed a well by the network of that digest, and write that."""
    embeddings = run_exported(
        open_network(network_url, digest), read_pool(plan).crops,
        name=network_url.rpartition("/")[2], where=where,
    )  # fmt: skip
    written: Sequence[tuple[int, int]] = [write_well(embeddings, url=url, crops=crops)]
    return count_written(written, encoders=[""], trained_by="")
