"""Cut one tile per nucleus; every nucleus is accounted for with a reason."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.lazy.nuclei import crop_fields
from i2r.stages.base import Stage
from i2r.store import tables
from i2r.store.experiment import Experiment
from i2r.store.write import write_crops


class Crop(Stage):
    """Cut crops: tiles of one size centred on the nuclei, all channels, raw values.

    The limits are those of Image2Reg (Paysan et al., Cell Systems 2025) at 0.656 um per pixel:
    area 400 to 4,000 px, bounding box up to 4,000 px, solidity and aspect ratio at least 0.1,
    and both sides of the bounding box within the tile. Every labelled nucleus is a row of the
    table, those without a crop with the reason.
    """

    stage: Literal["crop"] = "crop"
    mask: bool = Field(True, description="Set everything outside the nucleus to zero")
    size_px: int = Field(64, ge=8, le=512, description="Edge of a crop")
    min_area_um2: float = Field(172.0, ge=0, description="Smaller nuclei get no crop")
    max_area_um2: float = Field(1720.0, gt=0, description="Larger nuclei get no crop")
    max_bbox_um2: float = Field(1720.0, gt=0, description="Larger bounding boxes get no crop")
    min_solidity: float = Field(0.1, ge=0, le=1, description="Area over convex area")
    min_aspect_ratio: float = Field(0.1, ge=0, le=1, description="Minor over major axis")
    exclude_border: bool = Field(
        True, description="Leave out nuclei that the edge of the field cuts"
    )

    reads: ClassVar[Mapping[str, bool]] = {
        "convert": True,
        "illuminate": False,
        "quality": False,
        "segment": True,
    }

    def limits(self, pixel_size_um: float) -> dict[str, Any]:
        """Give the limits in pixels, as `i2r.kernels.crops.select_nuclei` takes them."""
        pixel_um2 = pixel_size_um**2
        return {
            "min_area_px": self.min_area_um2 / pixel_um2,
            "max_area_px": self.max_area_um2 / pixel_um2,
            "max_bbox_area_px": self.max_bbox_um2 / pixel_um2,
            "min_solidity": self.min_solidity,
            "min_aspect_ratio": self.min_aspect_ratio,
            "exclude_border": self.exclude_border,
        }

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Cut the crops of one well."""
        plate, well = experiment.locate(key)
        segment = self.needed("segment")
        fields = experiment.fields(key, self.needs)
        nuclei = delayed(tables.read_table)(experiment.part_url(segment, key))
        cropped = crop_fields(
            plate.images(well, fields=fields, after=self.needs),
            plate.labels(well, name=segment, fields=fields),
            nuclei,
            fields=fields,
            limits=self.limits(plate.pixel_size_um),
            size=self.size_px,
            masked=self.mask,
        )
        return delayed(finish_well)(
            cropped,
            n_fields=len(fields),
            crops_url=experiment.crops_url(self.title, key),
            part_url=experiment.part_url(self.title, key),
            channels=plate.channels,
            after=self.needs,
        )

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Merge the tables."""
        return delayed(tables.merge_tables)(self.merges(experiment, keys))

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """A well's images and labels, and crops of as many nuclei as fit side by side."""
        plate, _ = experiment.locate(key)
        n_fields = experiment.n_fields(key)
        return n_fields * (4 * plate.field_bytes() + 8 * plate.shape[1] * plate.shape[2]) + 2**27

    def bytes_out(self, experiment: Experiment, key: str) -> int:
        """Masked crops take about a fifth of the field's pixels, whole tiles about half."""
        return experiment.well_bytes(key) // (5 if self.mask else 2)


def finish_well(
    cropped: tuple[np.ndarray, pd.DataFrame],
    *,
    n_fields: int,
    crops_url: str,
    part_url: str,
    channels: Sequence[str],
    after: Sequence[str],
) -> dict[str, Any]:
    """Write a well's crops and its part of the table; note the stages behind their pixels."""
    crops, table = cropped
    n_crops = int((table["crop"] >= 0).sum())
    assert n_crops == len(crops), "every crop is a row of the table, and the other way round"
    write_crops(crops_url, crops, attributes={"channels": list(channels)})
    tables.write_table(part_url, table)
    reasons = table["reason"].value_counts().to_dict()
    reasons.pop("", None)
    return {
        "after": list(after),
        "fields": n_fields,
        "nuclei": n_crops,
        "left_out": {str(k): int(v) for k, v in reasons.items()},
    }
