"""A stage: the brightest pixel of every field."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import pandas as pd
from dask import delayed
from dask.delayed import Delayed

from i2r.stages.base import Stage
from i2r.store import tables
from i2r.store.experiment import Experiment


class Brightest(Stage):
    """Brightest: the largest value of every field."""

    stage: Literal["brightest"] = "brightest"
    upstream_verbs: ClassVar[Mapping[str, bool]] = {"convert": True}

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Measure one well."""
        plate, well = experiment.locate(key)
        fields = experiment.fields(key, self.needs)
        found = plate.images(well, fields=fields).max(axis=(1, 2, 3))
        place = {"plate": plate.name, "well": well, "field": fields}
        return delayed(write)(found, place, experiment.part_url(self.title, key))

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Merge the tables."""
        return delayed(tables.merge_tables)(self.merges(experiment, keys))


def write(found: Any, place: dict[str, Any], url: str) -> dict[str, Any]:
    """Write a well's rows."""
    tables.write_table(url, pd.DataFrame({**place, "brightest": found}))
    return {"fields": len(found)}
