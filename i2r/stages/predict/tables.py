"""Queries that are a table of embeddings."""

from typing import Literal

from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.analysis.regulation.query_wells import read_queries
from i2r.errors import I2RError
from i2r.formats.gene_tables import digest_files
from i2r.stages.predict.options import Predict
from i2r.stages.predict.worker import write_profiles
from i2r.store.experiment import Experiment


class PredictTable(Predict):
    """Answer the rows of a table."""

    method: Literal["queries"] = "queries"
    queries: str = Field(
        "",
        description="Table of embeddings to ask about: query, gene (optional) and numbers",
        json_schema_extra={"path": True},
    )

    @property
    def where(self) -> str:
        """The table."""
        return self.queries

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse a table that can't be read."""
        problems = super().check(experiment)
        if not self.queries:
            return [*problems, f"stage {self.title!r}: no table. Name it in 'queries'."]
        try:
            read_queries(self.queries)
        except I2RError as error:
            problems.append(f"stage {self.title!r}: {error}")
        return problems

    def external_files(self, experiment: Experiment) -> object:
        """Give the content of the tables."""
        return [digest_files(self.queries, self.candidates), []]

    def fingerprint_inputs(self, experiment: Experiment, key: str) -> object:
        """Describe the table by its content."""
        return [[], digest_files(self.queries)]

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Take the profiles of all queries."""
        url = experiment.part_url(f"{self.title}-profiles", key)
        return delayed(write_profiles)(self.queries, None, url=url)
