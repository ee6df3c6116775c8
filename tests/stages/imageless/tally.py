"""Count letters: a stage that reads no other, in an experiment that has no images."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import pandas as pd
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.stages.base import Stage
from i2r.store import tables
from i2r.store.experiment import Experiment


class Tally(Stage):
    """Tally: the letters of some words."""

    stage: Literal["tally"] = "tally"
    words: tuple[str, ...] = Field(("ab", "cab"), description="Words to count")

    uses_layout: ClassVar[bool] = False

    def keys(self, experiment: Experiment) -> list[str]:
        """One unit per word."""
        return list(self.words)

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Count the letters of one word."""
        row = pd.DataFrame({"word": [key], "letters": [len(key)]})
        return delayed(write)(experiment.part_url(self.title, key), row)

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Merge the counts."""
        parts = [experiment.part_url(self.title, key) for key in sorted(keys)]
        return delayed(tables.merge_tables)({experiment.table_url(self.title): parts})


def write(url: str, row: pd.DataFrame) -> dict[str, int]:
    """Write one row."""
    return {"bytes_out": tables.write_table(url, row)}
