"""Find the nuclei of every field, or take the user's own masks."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import dask.array as da
import numpy as np
import pandas as pd
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.errors import I2RError
from i2r.kernels.segmentation import segment_nuclei
from i2r.lazy.blocks import split_fields
from i2r.lazy.nuclei import Place, measure_fields, segment_fields
from i2r.readers.masks import find_mask, read_mask
from i2r.stages.base import Stage
from i2r.store import files, tables
from i2r.store.experiment import Experiment
from i2r.store.write import write_labels

# Below these, pixels decide and not microns: where they are larger than 0.67 um, each noisy pixel
# would cut a nucleus.
LEAST_SIGMA_PX = 0.75
LEAST_NECK_PX = 1.0


class Segment(Stage):
    """Find nuclei: one label image per field and one table row per nucleus.

    The method 'threshold' is classical and needs nothing but the pixel size; 'import' takes
    label images that some other program made, one file per field with the name of the
    channel's image file (any of .tif, .tiff, .png), 0 = background.
    """

    stage: Literal["segment"] = "segment"
    method: Literal["threshold", "import"] = Field("threshold", description="How nuclei are found")
    channel: str = Field("DNA", description="Channel to segment")
    masks: str | None = Field(
        None,
        description="Folder of label images, for the method 'import'",
        json_schema_extra={"path": True},
    )
    sigma_um: float = Field(
        0.5, gt=0, description="Smoothing before the threshold, 0.75 px or more"
    )
    window_um: float = Field(13.0, gt=0, description="Neighbourhood of the local threshold")
    min_area_um2: float = Field(10.0, ge=0, description="Smaller objects are debris")
    max_hole_um2: float = Field(85.0, ge=0, description="Holes up to this size are filled")
    min_neck_um: float = Field(
        0.7, ge=0, description="Shallower notches, and those of under 1 px, split no nucleus"
    )

    version: ClassVar[int] = 2
    reads: ClassVar[Mapping[str, bool]] = {"convert": True, "illuminate": False, "quality": False}

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse a channel that no plate has, and an import without masks."""
        problems = [
            f"stage {self.title!r}: plate {plate.name!r} has no channel {self.channel!r}, found "
            f"{', '.join(plate.channels)}. Set 'channel'."
            for plate in experiment.plates.values()
            if self.channel not in plate.channels
        ]
        if self.method == "import":
            if self.masks is None:
                problems.append(f"stage {self.title!r}: method 'import' needs 'masks', a folder.")
            elif not files.list_folder(self.masks):
                problems.append(
                    f"stage {self.title!r}: masks {self.masks}: no such folder, or empty."
                )
        return problems

    def inputs(self, experiment: Experiment, key: str) -> object:
        """Describe the well's fields, and the masks where they are the user's."""
        described = super().inputs(experiment, key)
        masks = self._masks(experiment, key)
        return [
            described,
            {f: (url, *files.stat(url)) if url else None for f, url in masks.items()},
        ]

    def _masks(self, experiment: Experiment, key: str) -> dict[str, str | None]:
        """Find the user's mask of every field; nothing for other methods."""
        if self.method != "import" or self.masks is None:
            return {}
        sources = experiment.sources_by_key[key]
        images = sources[sources["channel"] == self.channel].drop_duplicates("field")
        return {
            str(row.field): find_mask(self.masks, image_url=str(row.url))
            for row in images.itertuples()
        }

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Segment and measure the fields of one well."""
        plate, well = experiment.locate(key)
        fields = experiment.fields(key, self.needs)
        images = plate.images(well, fields=fields, after=self.needs)
        if self.method == "import":
            labels = self._import_labels(experiment, key, fields, shape=plate.shape[1:])
        else:
            labels = segment_fields(
                images,
                channel=plate.channels.index(self.channel),
                segment=self.segmenter(plate.pixel_size_um),
            )
        table = measure_fields(
            images,
            labels,
            place=Place(plate.name, well),
            fields=fields,
            channels=plate.channels,
            pixel_size_um=plate.pixel_size_um,
        )
        written = [
            delayed(write_block_labels)(
                block,
                urls=[experiment.image_url(key, field) for field in names],
                name=self.title,
                pixel_size_um=plate.pixel_size_um,
            )
            for block, names in split_fields(labels, fields)
        ]
        return delayed(finish_well)(
            table, written, n_fields=len(fields), part_url=experiment.part_url(self.title, key)
        )

    def segmenter(self, pixel_size_um: float) -> Callable[[np.ndarray], np.ndarray]:
        """Make the function that labels one plane, its lengths in pixels."""
        return partial(
            segment_nuclei,
            sigma_px=max(self.sigma_um / pixel_size_um, LEAST_SIGMA_PX),
            window_px=self.window_um / pixel_size_um,
            min_area_px=self.min_area_um2 / pixel_size_um**2,
            max_hole_area_px=self.max_hole_um2 / pixel_size_um**2,
            min_neck_depth_px=max(self.min_neck_um / pixel_size_um, LEAST_NECK_PX),
        )

    def _import_labels(
        self, experiment: Experiment, key: str, fields: Sequence[str], *, shape: tuple[int, int]
    ) -> da.Array:
        """Open the user's masks; a missing one fails the well, because it would look like none."""
        masks = self._masks(experiment, key)
        missing = [field for field in fields if not masks.get(field)]
        if missing:
            raise I2RError(
                f"{key} field {missing[0]}: no mask in {self.masks} with the name of the field's "
                f"image of channel {self.channel!r} ({len(missing)} fields without). Add it, or "
                "exclude the field in the stage 'quality'."
            )
        if not fields:
            return da.zeros((0, *shape), dtype=np.int32, chunks=(0, *shape))
        planes = [
            da.from_delayed(delayed(read_mask)(masks[f], shape=shape), shape, dtype=np.int32)
            for f in fields
        ]
        return da.stack(planes).rechunk((len(fields), *shape))

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Merge the tables."""
        return delayed(tables.merge_tables)(self.merges(experiment, keys))

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """A well's images and labels, and some float32 planes for the field at hand."""
        plate, _ = experiment.locate(key)
        n_fields = experiment.n_fields(key)
        plane = plate.shape[1] * plate.shape[2]
        return n_fields * (2 * plate.field_bytes() + 8 * plane) + 32 * plane + 2**27

    def bytes_out(self, experiment: Experiment, key: str) -> int:
        """Labels compress to about a twentieth of a byte per pixel."""
        plate, _ = experiment.locate(key)
        n_fields = experiment.n_fields(key)
        return n_fields * plate.shape[1] * plate.shape[2] // 20


def write_block_labels(
    labels: np.ndarray, *, urls: Sequence[str], name: str, pixel_size_um: float
) -> None:
    """Write the label images of one chunk of fields beside their images."""
    for url, plane in zip(urls, labels, strict=True):
        write_labels(url, name, plane, pixel_size_um=pixel_size_um)


def finish_well(
    table: pd.DataFrame, written: object, *, n_fields: int, part_url: str
) -> dict[str, Any]:
    """Write the well's nuclei, after its labels."""
    tables.write_table(part_url, table)
    return {"fields": n_fields, "nuclei": len(table), "wrote": "labels"}
