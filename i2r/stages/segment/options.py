"""What all methods of 'segment' share: a well's labels, written and measured."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.analysis.nuclei import (
    Place,
    describe_flags,
    flag_fields,
    tabulate_evidence,
    tabulate_nuclei,
)
from i2r.kernels.nuclei import measure_nuclei
from i2r.kernels.quality import measure_evidence
from i2r.stages.base import WorkerKind
from i2r.stages.methods import ByMethod
from i2r.stages.outputs import Output
from i2r.stages.written.images import SEGMENT
from i2r.store import files, tables
from i2r.store.experiment import Experiment
from i2r.store.images import write_labels
from i2r.store.plate import StoredFields

# The table with one row per field: what it and its labels say about each other.
FIELDS = "-fields"
# Above this a well's images are read in blocks of fields.
BLOCK_BYTES = 512 * 2**20

Labeller = Callable[[Sequence[str], Sequence[np.ndarray]], Iterable[np.ndarray]]
"""From the names of some fields and their planes (y, x) to their label images (y, x), int32."""


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
        "BBBC039), unet (0.940 there; needs PyTorch), import, or an installed segmenter",
    )
    channel: str = Field("DNA", description="Channel to segment")

    outputs: ClassVar[tuple[Output, ...]] = SEGMENT
    version: ClassVar[int] = 5
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
        """Versions 4 and 5 changed thresholds alone."""
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
        # One task: what a step makes of a field, the next has at hand, and no array is copied.
        work = partial(
            segment_well,
            plate.find_images(key, fields, after=self.needs),
            plate.find_images(key, fields) if self.upstream_title("illuminate") else None,
            label=self.labeller_of_well(experiment, key, fields),
            channel=plate.channels.index(self.channel),
            fields=fields,
            image_urls=[experiment.image_url(key, field) for field in fields],
            name=self.title,
            place=Place(plate.name, well),
            channels=plate.channels,
            pixel_size_um=plate.pixel_size_um,
            nuclei_url=experiment.part_url(self.title, key),
            fields_url=experiment.part_url(f"{self.title}{FIELDS}", key),
        )
        return delayed(work)()

    def labeller_of_well(self, experiment: Experiment, key: str, fields: Sequence[str]) -> Labeller:
        """Make the function that labels a well's fields; see `Labeller`."""
        return self.labeller(experiment.locate(key)[0].pixel_size_um)

    def labeller(self, pixel_size_um: float) -> Labeller:
        """Make the function that labels fields of whatever origin; see `Labeller`."""
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


def segment_well(
    images: StoredFields,
    raw: StoredFields | None,
    *,
    label: Labeller,
    channel: int,
    fields: Sequence[str],
    image_urls: Sequence[str],
    name: str,
    place: Place,
    channels: Sequence[str],
    pixel_size_um: float,
    nuclei_url: str,
    fields_url: str,
) -> dict[str, Any]:
    """Label, measure and judge the fields of a well, and write labels and tables.

    Parameters
    ----------
    images
        The fields' images.
    raw
        The same before correction; None where they are not corrected.
    label
        Makes the label images.
    channel
        Index of the channel to segment.
    fields, image_urls
        The fields' names and image groups.
    name
        Of the label images.
    place, channels, pixel_size_um
        For the table of nuclei; see `i2r.analysis.nuclei.measure_fields`.
    nuclei_url, fields_url
        The well's parts of the tables of nuclei and of fields.

    Returns
    -------
    dict
        For the ledger: fields, nuclei (how many).
    """
    measured, evidence = [], []
    per_block = max(1, BLOCK_BYTES // max(1, math.prod(images.shape[1:]) * images.dtype.itemsize))
    for first in range(0, len(fields), per_block):
        last = min(first + per_block, len(fields))
        block = list(images.cut(first, last))
        before = block if raw is None else raw.cut(first, last)
        found = label(fields[first:last], [image[channel] for image in block])
        for url, image, untouched, labels in zip(
            image_urls[first:last], block, before, found, strict=True
        ):
            labels.setflags(write=False)  # nobody changes them: `i2r.store.recent` needs no copy
            write_labels(url, name, labels, pixel_size_um=pixel_size_um)
            measured.append(measure_nuclei(labels, image))
            measured_first = None if raw is None else untouched[channel]
            evidence.append(measure_evidence(image[channel], labels, raw=measured_first))
    table = tabulate_nuclei(
        measured,
        place=place,
        fields=fields,
        channels=channels,
        dtype=images.dtype,
        pixel_size_um=pixel_size_um,
    )
    tables.write_table(nuclei_url, table)
    tables.write_table(fields_url, tabulate_evidence(evidence, place=place, fields=fields))
    return {"fields": len(fields), "nuclei": len(table["label"]), "wrote": "labels"}


def label_planes(
    fields: Sequence[str],
    planes: Sequence[np.ndarray],
    *,
    segment: Callable[[np.ndarray], np.ndarray],
) -> Iterator[np.ndarray]:
    """Label plane after plane, each when it is its turn; see `Labeller`."""
    return map(segment, planes)


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
            flagged.append(
                flag_fields(tables.concatenate(known), partial(read_areas, merges[nuclei]))
            )
            tables.write_table(url, flagged[-1])
    notes = describe_flags(pd.concat(flagged, ignore_index=True)) if flagged else []
    return {"notes": notes} if notes else {}


def read_areas(parts: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Read the areas of a plate's nuclei, well by well."""
    for part in parts:
        yield tables.read_table(part, columns=["well", "field", "area_px"])
