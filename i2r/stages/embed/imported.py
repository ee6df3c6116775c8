"""Embeddings that another program made, in place of an encoder's."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from dask import delayed
from dask.delayed import Delayed

from i2r.stages.base import WorkerKind
from i2r.stages.embed.options import Embed
from i2r.stages.import_options import Importing
from i2r.stages.imports import (
    describe_matches,
    import_embeddings,
    incoming_url,
    remove_incoming,
)
from i2r.store.experiment import Experiment

# Which nuclei imported embeddings are of, in a table of this name behind the stage's.
NUCLEI = "-nuclei"


class ImportEmbed(Embed, Importing):
    """Take embeddings that another program made: a table with a row per nucleus, or per well."""

    method: Literal["import"] = "import"

    group: ClassVar[WorkerKind] = "cpu"
    not_fingerprinted: ClassVar[frozenset[str]] = Importing.not_fingerprinted

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse a table that can't be read, and columns that are not there."""
        problems = [] if self.layout else self.list_lacking("segment")
        return problems + Embed.check(self, experiment) + self.list_unreadable()

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Take one well's rows of the table."""
        segment = self.upstream_title("segment")
        plate, _ = experiment.locate(key)
        return delayed(import_embeddings)(
            incoming_url(experiment, self.title, key),
            url=experiment.embeddings_url(self.title, key),
            part_url=experiment.part_url(f"{self.title}{NUCLEI}", key),
            nuclei=f"{self.title}{NUCLEI}",
            key=key,
            fields=experiment.fields(key, self.needs),
            segment_url=experiment.part_url(segment, key) if segment else "",
            reach_px=self.max_distance_um / plate.pixel_size_um,
        )

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Profile wells and conditions; the rows that waited for their wells are removed."""
        return delayed(end_import)(
            Embed.finish(self, experiment, keys),
            url=experiment.url,
            title=self.title,
            notes=describe_matches(experiment, self.title, keys),
        )


def end_import(
    written: Mapping[str, Any], *, url: str, title: str, notes: Sequence[str]
) -> dict[str, Any]:
    """Remove the rows that waited for their wells, once a stage's tables are written."""
    remove_incoming(url, title)
    return {**written, "notes": list(notes)} if notes else dict(written)
