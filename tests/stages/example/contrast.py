"""Measure the contrast of every field: an example of a stage, to copy."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.stages.base import Stage
from i2r.store import tables
from i2r.store.experiment import Experiment


class Contrast(Stage):
    """Contrast: spread of the pixels over their mean, per field of one channel."""

    stage: Literal["contrast"] = "contrast"
    channel: str = Field("DNA", description="Channel to measure")
    upstream_verbs: ClassVar[Mapping[str, bool]] = {"convert": True, "quality": False}

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Measure the fields of one well."""
        plate, well = experiment.locate(key)
        fields = experiment.fields(key, self.needs)
        images = plate.images(well, fields=fields)[:, plate.channels.index(self.channel)]
        place = {"plate": plate.name, "well": well, "field": fields}
        return delayed(write_contrast)(images, place, experiment.part_url(self.title, key))

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Merge the tables."""
        return delayed(tables.merge_tables)(self.merges(experiment, keys))


def write_contrast(images: np.ndarray, place: dict[str, Any], part_url: str) -> dict[str, Any]:
    """Write one row per field; images have the shape (field, y, x)."""
    mean = images.mean(axis=(1, 2))
    contrast = np.divide(images.std(axis=(1, 2)), mean, where=mean > 0, out=np.zeros_like(mean))
    tables.write_table(part_url, pd.DataFrame({**place, "contrast": contrast}))
    return {"fields": len(images)}
