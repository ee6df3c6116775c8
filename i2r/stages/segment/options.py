"""What all methods of 'segment' share: a well's labels, written and measured."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import dask.array as da
import numpy as np
import pandas as pd
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.lazy import plausibility
from i2r.lazy.blocks import split_fields
from i2r.lazy.nuclei import Place, measure_fields
from i2r.stages.base import WorkerKind
from i2r.stages.methods import ByMethod
from i2r.stages.outputs import Output
from i2r.stages.written.images import SEGMENT
from i2r.store import files, tables
from i2r.store.experiment import Experiment
from i2r.store.write import write_labels

# The table with one row per field: what it and its labels say about each other.
FIELDS = "-fields"


class Segment(ByMethod):
    """Find nuclei: one label image per field and one table row per nucleus.

    The method 'threshold' is classical and needs nothing but the pixel size; 'unet' is a small
    network trained on annotated nuclei, more accurate where they touch; 'import' takes
    label images that some other program made: one per field, of any integer type, 0 =
    background. A file belongs to the image of the channel whose name it has, in the same folders
    as far as it lies in any; upper and lower case, the extension (.tif, .tiff, .png) and endings
    such as '_cp_masks' or '_MaskNuclei' don't count. Or it is named by plate, well and field
    ('P1/A01_1.tif'). A mask that could be of two fields is refused. Packages add methods by the
    entry point 'i2r.segmenters'.
    """

    stage: Literal["segment"] = "segment"
    method: str = Field(
        "threshold",
        description="How nuclei are found: threshold (mean F1 0.907 on the validation part of "
        "BBBC039), unet (0.923 on its test part; needs PyTorch), import, or an installed segmenter",
    )
    channel: str = Field("DNA", description="Channel to segment")

    outputs: ClassVar[tuple[Output, ...]] = SEGMENT
    version: ClassVar[int] = 4
    group: ClassVar[WorkerKind] = "gpu"
    upstream_verbs: ClassVar[Mapping[str, bool]] = {
        "convert": True,
        "illuminate": False,
        "quality": False,
    }
    # Earlier one class had the options of all methods.
    settled: ClassVar[dict[str, object]] = {
        "stage": "segment", "threads": 1, "method": "threshold", "channel": "DNA", "masks": None,
        "weights": None, "sigma_um": 0.5, "window_um": 13.0, "min_area_um2": 10.0,
        "max_hole_um2": 85.0, "min_neck_um": 0.7,
    }  # fmt: skip

    def version_of(self, key: str) -> int:
        """Version 4 changed thresholds alone."""
        return 3

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse a channel that no plate has."""
        return self.list_missing_channels(experiment, [self.channel], option="channel")

    def fingerprint_inputs(self, experiment: Experiment, key: str) -> object:
        """Describe the well's fields and what labels come from; there are no masks."""
        return [super().fingerprint_inputs(experiment, key), {}]

    def external_files(self, experiment: Experiment) -> object:
        """Give what labels come from besides options."""
        return []

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Segment and measure the fields of one well."""
        plate, well = experiment.locate(key)
        fields = experiment.fields(key, self.needs)
        images = plate.images(well, fields=fields, after=self.needs)
        labels = self.find_labels(experiment, key, images, fields)
        table = measure_fields(
            images,
            labels,
            place=Place(plate.name, well),
            fields=fields,
            channels=plate.channels,
            pixel_size_um=plate.pixel_size_um,
        )
        evidence = plausibility.measure_fields(
            images,
            plate.images(well, fields=fields) if self.upstream_title("illuminate") else None,
            labels,
            place=Place(plate.name, well),
            fields=fields,
            channel=plate.channels.index(self.channel),
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
            {
                experiment.part_url(self.title, key): table,
                experiment.part_url(f"{self.title}{FIELDS}", key): evidence,
            },
            written,
            n_fields=len(fields),
            n_nuclei=table.shape[0],
        )

    def find_labels(
        self, experiment: Experiment, key: str, images: da.Array, fields: Sequence[str]
    ) -> da.Array:
        """Give the labels of a well's images (field, c, y, x): (field, y, x), int32."""
        plate, _ = experiment.locate(key)
        channel = plate.channels.index(self.channel)
        return self.label(images, channel=channel, pixel_size_um=plate.pixel_size_um)

    def label(self, images: da.Array, *, channel: int, pixel_size_um: float) -> da.Array:
        """Label images (field, c, y, x): (field, y, x), int32."""
        raise TypeError(f"method {self.method!r} does not say how to label images")

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Merge the tables, and flag the fields whose nuclei can hardly be right."""
        merges = self.merges(experiment, keys)
        plates = {experiment.table_url(self.title, plate): plate for plate in experiment.plates}
        measured = {
            url: (
                experiment.table_url(f"{self.title}{FIELDS}", plates[url]),
                [
                    experiment.part_url(f"{self.title}{FIELDS}", key)
                    for key in keys
                    if experiment.wells[key].plate == plates[url]
                ],
            )
            for url in merges
        }
        return delayed(finish_plates)(merges, measured)

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """A well's images and labels, and some float32 planes for the field or tile at hand."""
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
    labels = labels.view()
    labels.setflags(write=False)  # nobody changes them: `i2r.store.recent` needs no copy
    for url, plane in zip(urls, labels, strict=True):
        write_labels(url, name, plane, pixel_size_um=pixel_size_um)


def finish_well(
    parts: Mapping[str, pd.DataFrame], written: object, *, n_fields: int, n_nuclei: int
) -> dict[str, Any]:
    """Write the well's tables, nuclei and fields, after its labels."""
    for url, table in parts.items():
        tables.write_table(url, table)
    return {"fields": n_fields, "nuclei": n_nuclei, "wrote": "labels"}


def finish_plates(
    merges: Mapping[str, Sequence[str]], measured: Mapping[str, tuple[str, Sequence[str]]]
) -> dict[str, Any]:
    """Merge the tables of nuclei; flag the fields of each plate, and say how many.

    Parameters
    ----------
    merges
        The parts of the tables of nuclei, by the merged table.
    measured
        The table of fields and its parts, by the same. Wells of an earlier version have no part.
    """
    tables.merge_tables(merges)
    flagged = []
    for nuclei, (url, parts) in measured.items():
        known = [tables.read_table(part) for part in parts if files.exists(part)]
        if known:
            areas = tables.read_table(nuclei, columns=["well", "field", "area_px"])
            flagged.append(plausibility.flag_fields(tables.concatenate(known), areas))
            tables.write_table(url, flagged[-1])
    notes = plausibility.describe_flags(pd.concat(flagged, ignore_index=True)) if flagged else []
    return {"notes": notes} if notes else {}
