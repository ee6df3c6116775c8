"""Measure chromatin and shape features of every nucleus that has a crop, or import others'."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.analysis.features import measure_features
from i2r.stages.counts import count_nuclei
from i2r.stages.import_options import Importing
from i2r.stages.imports import (
    describe_matches,
    import_well,
    incoming_url,
    remove_incoming,
)
from i2r.stages.methods import ByMethod
from i2r.stages.outputs import Output
from i2r.stages.written.images import FEATURES
from i2r.store import tables
from i2r.store.experiment import Experiment
from i2r.store.plate import StoredFields


class Features(ByMethod):
    """Measure features: about 80 numbers of shape, chromatin and neighbourhood per nucleus.

    They are defined, each with its unit and source, in `i2r.kernels.outlines`, `chromatin`,
    `moments`, `texture` and `neighbourhood`; area, axes, eccentricity and solidity are the
    segmentation's. The lengths are those of the published baseline (Image2Reg, Paysan et al.,
    Cell Systems 2025: curvature over 5 px, texture at 1, 5 and 20 px) at 0.656 um per pixel.

    The method 'import' takes a table that another program made, with a row per nucleus or per
    well: columns plate and well (field and nucleus where there are any), as i2r, CellProfiler,
    CytoTable or pycytominer name them (Metadata_Plate, Metadata_Well), and one column of numbers
    per feature. With a 'layout' the pipeline begins here, without any image; without one, rows
    are joined to the nuclei of 'segment', by centroid where the table has one, else by number.
    """

    stage: Literal["features"] = "features"
    method: Literal["measure", "import"] = Field(
        "measure", description="Measure nuclei, or take the features from a table"
    )
    outputs: ClassVar[tuple[Output, ...]] = FEATURES
    version: ClassVar[int] = 2
    # `external_files` says how features were made.
    not_fingerprinted: ClassVar[frozenset[str]] = frozenset({"method"})
    # Earlier one class had the options of both methods.
    settled: ClassVar[dict[str, object]] = {
        "stage": "features", "threads": 1, "channels": ["DNA"], "curvature_step_um": 3.3,
        "radius_um": 50.0, "texture_um": [0.66, 3.3, 13.1],
    }  # fmt: skip
    upstream_verbs: ClassVar[Mapping[str, bool]] = {
        "convert": True,
        "illuminate": False,
        "quality": False,
        "segment": True,
        "crop": True,
    }

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Merge the tables."""
        return delayed(tables.merge_tables)(self.merges(experiment, keys))

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """A well's images and labels, and 170 numbers of each nucleus, four times."""
        plate, _ = experiment.locate(key)
        n_fields, pixels = experiment.n_fields(key), plate.shape[1] * plate.shape[2]
        crop = self.upstream_title("crop") or self.upstream_title("segment")
        measured = 4 * 170 * 4 * count_nuclei(experiment, crop, key)
        return n_fields * (2 * plate.field_bytes() + 8 * pixels) + measured + 2**27

    def bytes_out(self, experiment: Experiment, key: str) -> int:
        """About 150 nuclei in every field, 80 numbers each."""
        return experiment.n_fields(key) * 150 * 80 * 4


class MeasureFeatures(Features):
    """Measure the nuclei that have a crop."""

    method: Literal["measure"] = "measure"
    channels: tuple[str, ...] = Field(
        ("DNA",), description="Channels whose intensities and textures are measured"
    )
    curvature_step_um: float = Field(
        3.3, gt=0, description="Reach of the boundary's curvature to both sides"
    )
    radius_um: float = Field(50.0, gt=0, description="Radius of the neighbourhood for its density")
    texture_um: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (0.66, 3.3, 13.1), description="Distances of the texture"
    )

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse channels that are not there, and needs that leave out nuclei or crops."""
        problems = self.list_missing_channels(experiment, self.channels)
        return problems + self.list_lacking("segment", "crop")

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Measure the nuclei of one well."""
        plate, _ = experiment.locate(key)
        segment, crop = self.upstream_title("segment"), self.upstream_title("crop")
        fields = experiment.fields(key, self.needs)
        # What the crops were corrected with, where 'needs' doesn't name it.
        behind_crops = experiment.ledger.report(crop, key).after
        work = partial(
            measure_well,
            plate.find_images(key, fields, after=(*behind_crops, *self.needs)),
            plate.find_labels(key, fields, name=segment),
            nuclei_url=experiment.part_url(segment, key),
            crops_url=experiment.part_url(crop, key),
            part_url=experiment.part_url(self.title, key),
            fields=fields,
            channels={name: plate.channels.index(name) for name in self.channels},
            pixel_size_um=plate.pixel_size_um,
            curvature_step_um=self.curvature_step_um,
            radius_um=self.radius_um,
            texture_um=self.texture_um,
        )
        return delayed(work)()


class ImportFeatures(Features, Importing):
    """Take the features from a table that another program made."""

    method: Literal["import"] = "import"

    not_fingerprinted: ClassVar[frozenset[str]] = Importing.not_fingerprinted

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse a table that can't be read, or needs that leave out the nuclei it is joined to."""
        return self.list_unreadable() or ([] if self.layout else self.list_lacking("segment"))

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Take the rows of one well."""
        plate, _ = experiment.locate(key)
        segment = self.upstream_title("segment")
        return delayed(import_well)(
            incoming_url(experiment, self.title, key),
            key=key,
            part_url=experiment.part_url(self.title, key),
            fields=experiment.fields(key, self.needs),
            segment_url=experiment.part_url(segment, key) if segment else "",
            reach_px=self.max_distance_um / plate.pixel_size_um,
        )

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Merge the tables."""
        return delayed(finish_tables)(
            self.merges(experiment, keys), url=experiment.url, title=self.title,
            notes=describe_matches(experiment, self.title, keys),
        )  # fmt: skip


Features.methods = {"measure": MeasureFeatures, "import": ImportFeatures}


def finish_tables(
    merges: Mapping[str, Sequence[str]], *, url: str, title: str, notes: Sequence[str]
) -> dict[str, Any]:
    """Merge the tables, and remove the rows that waited for their wells."""
    tables.merge_tables(merges)
    remove_incoming(url, title)
    return {"notes": list(notes)} if notes else {}


def measure_well(
    images: StoredFields,
    labels: StoredFields,
    *,
    nuclei_url: str,
    crops_url: str,
    part_url: str,
    fields: Sequence[str],
    **options: Any,
) -> dict[str, Any]:
    """Measure the nuclei of a well, and write its part of the table; see `measure_features`."""
    table = measure_features(
        images, labels, tables.read_table(nuclei_url), tables.read_table(crops_url),
        fields=fields, **options,
    )  # fmt: skip
    tables.write_table(part_url, table)
    return {"fields": len(fields), "nuclei": len(table)}
