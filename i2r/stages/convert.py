"""Turn a plate's raw image files into OME-Zarr, checking every file."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.errors import FieldError
from i2r.formats.platemaps import choose_plates, read_platemap
from i2r.readers import ReaderOptions, Sources, find_reader
from i2r.readers.images import read_field, read_shape, refuse_changed
from i2r.readers.nucleus_size import list_doubts
from i2r.readers.plates import check_channels, describe_formats
from i2r.readers.surveys import describe_plates
from i2r.stages.base import FINISH, Stage, Survey
from i2r.stages.outputs import Output
from i2r.stages.written.images import CONVERT
from i2r.store import files, tables
from i2r.store.catalog import quote_name, well_path
from i2r.store.experiment import Experiment
from i2r.store.images import write_image, write_plate, write_well
from i2r.store.layout import join_images
from i2r.types import parse_well, smallest_format


class Convert(Stage):
    """Convert raw plates to OME-Zarr.

    Reads the image files that a reader finds at the source, one OME-Zarr image per field with
    all its channels. A file that is missing, truncated, in colour or of another size excludes
    its field, with the reason in the table 'convert'; everything else goes on.
    """

    stage: Literal["convert"] = "convert"
    source: str = Field(
        description="Folder of images, an OME-Zarr plate, or a CSV table that lists files",
        json_schema_extra={"path": True},
    )
    layout: str = Field(
        description="Table (CSV, TSV, .xlsx) with well, perturbation, role, ... of every well; or "
        "JUMP's barcode_platemap.csv, with the plate maps beside it",
        json_schema_extra={"path": True},
    )
    layout_names: dict[str, str] = Field(
        {},
        description="For a plate map with columns of its own: its columns by the layout's names, "
        "e.g. perturbation=GeneSymbol; role=pert_type+control_type joins two",
    )
    layout_roles: dict[str, str] = Field(
        {},
        description="Roles by the values of the plate map's column role, e.g. "
        "Untreated=negative_control; * stands for all others",
    )
    layout_join: tuple[str, ...] = Field(
        (),
        description="More tables, joined to the plate map by the columns that both have",
        json_schema_extra={"path": True},
    )
    control_name: str = Field(
        "", description="Perturbation of negative controls that have none, e.g. DMSO"
    )
    plates: tuple[str, ...] = Field(
        (), description="Plates to take, of the images and of the layout (default: all)"
    )
    pixel_size_um: float | None = Field(
        None, gt=0, le=50, description="Edge of a pixel in microns (default: as the files say)"
    )
    reader: str = Field(
        "auto",
        description="Reader: auto, imagexpress, loaddata, omefile, omezarr, pattern, phenix, "
        "samplesheet, vendors, yokogawa",
    )
    pattern: str | None = Field(
        None,
        description="Regular expression with the groups plate, well (or row, column), field, "
        "channel, z, time, for the reader 'pattern'",
    )
    channels: dict[str, str] = Field(
        {}, description="Channel names by their raw names; lists the channels to take"
    )
    plate: str | None = Field(None, description="Plate name where the source has none")
    z: Literal["refuse", "max"] | int = Field(
        "refuse", description="Focal planes: refuse, max (projection) or the index of one"
    )
    time: Literal["refuse"] | int = Field(
        "refuse", description="Times of files that hold several: refuse, or the index of one"
    )
    plate_format: int | None = Field(
        None,
        description="Wells of the physical plates: 6, 12, 24, 48, 96, 384 or 1536 (default: as the "
        "microscope's files say, else the smallest that holds the wells)",
    )
    acquisition: int | None = Field(None, description="Acquisition to take of a plate's several")
    pages: Literal["refuse", "z", "channel", "time"] = Field(
        "refuse",
        description="What the pages of a file are that doesn't say so (default: refuse; focal "
        "planes where 'z' is set)",
    )
    white_is_zero: Literal["invert", "keep", "refuse"] = Field(
        "invert",
        description="Files that say that 0 is white: turn black and white, keep the values as "
        "stored, or refuse",
    )
    scale: float | None = Field(
        None,
        gt=0,
        description="What floats are multiplied by to become 16-bit pixels (default: 1 for whole "
        "numbers, 65535 for values from 0 to 1)",
    )
    files_root: str | None = Field(
        None,
        description="Folder that replaces the recorded one in a CSV table of files",
        json_schema_extra={"path": True},
    )

    outputs: ClassVar[tuple[Output, ...]] = CONVERT
    not_fingerprinted: ClassVar[frozenset[str]] = frozenset(
        {
            "source", "layout", "layout_names", "layout_roles", "layout_join", "control_name",
            "plates", "reader", "pattern", "plate", "files_root",
            # Shows in the plates' metadata alone: see `whole_layout`.
            "plate_format",
            # These show in the files' rows: see `fingerprint_inputs`.
            "time", "acquisition", "pages", "white_is_zero", "scale",
        }
    )  # fmt: skip

    # ------------------------------------------------------------------ before a run

    def scan(self) -> Sources:
        """List the image files that the reader finds at the source, and what to say of them."""
        options = ReaderOptions(
            pattern=self.pattern,
            channels=self.channels,
            plate=self.plate,
            z=self.z,
            files_root=self.files_root,
            time=self.time,
            acquisition=self.acquisition,
            pages=self.pages,
            white_is_zero=self.white_is_zero,
        )
        scan = find_reader(self.reader, self.source, pattern=self.pattern)
        return scan(self.source, options)

    def survey(self) -> Survey:
        """Scan the source, read the layout, and check that they belong together."""
        images, notes = self.scan()
        check_channels(images, list(self.channels.values()), self.source)
        said: list[str] = []
        layout = read_platemap(
            self.layout,
            columns=self.layout_names,
            roles=self.layout_roles,
            join=self.layout_join,
            plates=self.plates,
            control_name=self.control_name,
            notes=said,
        )
        if self.plates:
            images = choose_plates(images, self.plates, where=self.source)
        layout, more = join_images(layout, images, url=self.layout)
        images = images.merge(layout[["plate", "well"]], on=["plate", "well"])
        described = describe_plates(
            layout,
            images,
            channels=tuple(self.channels.values()),
            scale=self.scale,
            pixel_size_um=self.pixel_size_um,
            plate_format=self.plate_format,
        )
        return Survey(described.layout, described.images, (*notes, *said, *more, *described.notes))

    def find_bad_fields(self, experiment: Experiment) -> list[str]:
        """List what is wrong by the files' headers, one line per field (for --strict)."""
        problems = []
        for key, sources in experiment.sources_by_key.items():
            plate = experiment.plates[str(sources["plate"].iloc[0])]
            stored = plate.stored_dtype
            for row in sources.itertuples():
                try:
                    if row.problem:
                        raise FieldError(str(row.problem))
                    shape, dtype = read_shape(str(row.url), page=int(row.page))
                    if (shape, dtype) != (plate.shape[1:], stored):
                        usual = f"the plate's others {plate.shape[1:]} {stored}"
                        raise FieldError(f"shape: image is {shape} {dtype}, {usual}")
                except FieldError as error:
                    problems.append(f"{key} field {row.field} channel {row.channel}: {error}")
        return problems

    def notes(self, experiment: Experiment) -> list[str]:
        """Doubt a pixel size that no file states and that would make nuclei implausible."""
        if self.pixel_size_um is None or self.title in experiment.ledger.stages:
            return []
        return list_doubts(experiment.sources, self.pixel_size_um)

    # ------------------------------------------------------------------ units

    def fingerprint_inputs(self, experiment: Experiment, key: str) -> object:
        """Describe a well's source files: paths, sizes, times, and the shape they should have."""
        url, mtime = "url", "mtime_ns"
        if "recorded_url" in experiment.sources:  # files that were relocated
            url, mtime = "recorded_url", "recorded_mtime_ns"
        columns = ["field", "channel", "z", url, "page", "size_bytes", mtime]
        plate, _ = experiment.locate(key)
        described = [
            experiment.sources_by_key.tabulate(key, columns),
            plate.channels,
            plate.shape,
            str(plate.dtype),
        ]
        # What is not as in most plates stands beside it, so that theirs stays what it was.
        if self.pixel_size_um is None:
            described.append(["pixel_size_um", plate.pixel_size_um])
        turned = experiment.sources_by_key.tabulate(key, ["problem", "inverted", "factor"])
        if any(row != ["", False, 1.0] for row in turned):
            described.append(turned)
        if plate.stored_dtype != plate.dtype:
            described.append([str(plate.stored_dtype), self.scale])
        return described

    def external_files(self, experiment: Experiment) -> object:
        """Nothing: files are looked at when they are surveyed."""
        return []

    def whole_layout(self, experiment: Experiment) -> object:
        """List the wells, and the plates whose physical format is not the smallest that fits."""
        wells = super().whole_layout(experiment)
        larger = {
            plate.name: plate.format_size
            for plate in experiment.plates.values()
            if plate.format_size
            and plate.format_size != smallest_format(map(parse_well, plate.wells))
        }
        return [wells, larger] if larger else wells

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Read, check and write the fields of one well."""
        plate, well = experiment.locate(key)
        # One task: a task per field would cost the client more than anything else it does.
        return delayed(convert_well)(
            experiment.sources_by_key.take(key),
            experiment_url=experiment.url,
            well_url=files.join_url(experiment.plate_url(plate.name), *well_path(well)),
            part_url=experiment.part_url(self.title, key),
            channels=plate.channels,
            shape=plate.shape[1:],
            dtype=plate.stored_dtype,
            pixel_size_um=plate.pixel_size_um,
            exact=self.scale is None,
        )

    def replaces(self, experiment: Experiment, key: str) -> list[tuple[str, str]]:
        """List the label images too that lie in the well's fields, of whatever pipeline."""
        if key == FINISH:
            return []
        entries = (experiment.ledger.entry(name, key) for name in experiment.ledger.stages)
        nested = [(e.stage, key) for e in entries if e and e.result.get("wrote") == "labels"]
        return [*super().replaces(experiment, key), *nested]

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Write the plates' metadata, merge the tables, look at the source files once more."""
        wells: dict[str, list[str]] = {plate: [] for plate in experiment.plates}
        for key in keys:
            plate, well = experiment.locate(key)
            wells[plate.name].append(well)
        seen = experiment.sources[["url", "size_bytes", "mtime_ns"]].drop_duplicates()
        return delayed(finish_plates)(
            {
                experiment.plate_url(name): (name, found, experiment.plates[name].format_size)
                for name, found in wells.items()
                if found
            },
            field_count=int(experiment.layout["n_fields"].max()),
            merges=self.merges(experiment, keys),
            sources=seen,
        )

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """One field, its encoded form and the file it comes from."""
        return 3 * experiment.locate(key)[0].field_bytes() + 2**27

    def finish_peak_bytes(self, experiment: Experiment) -> int:
        """Merged tables, and the list of all source files, which are looked at once more."""
        return super().finish_peak_bytes(experiment) + 512 * len(experiment.sources)

    def bytes_in(self, experiment: Experiment, key: str) -> int:
        """The size of the well's files."""
        return int(experiment.sources_by_key[key]["size_bytes"].clip(lower=0).sum())

    def bytes_out(self, experiment: Experiment, key: str) -> int:
        """About as much as LZW files take: two thirds of the pixels."""
        return 2 * experiment.well_bytes(key) // 3


def convert_well(
    sources: pa.Table,
    *,
    experiment_url: str,
    well_url: str,
    part_url: str,
    channels: Sequence[str],
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    pixel_size_um: float,
    exact: bool = True,
) -> dict[str, Any]:
    """Convert the fields of a well, one after another, and write its group and its table.

    The table has the source files with ``sha256``, ``reason`` (empty where all is well) and
    ``message``. What was there of the well before is removed.

    Parameters
    ----------
    sources
        The well's rows of `Survey.sources`: one per field, channel and focal plane.
    experiment_url, well_url, part_url
        The experiment, the well's group in it, and the well's part of the table.
    channels
        Names in the order of the images.
    shape, dtype
        Of every plane (y, x) of the plate as it is stored; a field with another one is excluded.
    pixel_size_um
        Edge of a pixel, in microns.
    exact
        Whether fractions are refused that a factor of 1 would round.

    Returns
    -------
    dict
        For the ledger: fields (how many were written), excluded (reason by field), bytes.

    Raises
    ------
    I2RError
        If a file is not what it was when the run began.
    """
    # Labels of the fields' old pixels go with them.
    files.remove_tree(experiment_url, well_url.removeprefix(f"{experiment_url}/"))
    written, n_bytes = list[str](), 0
    excluded: dict[str, str] = {}
    reports: list[tuple[int, str, str, str]] = []
    by_field: dict[object, list[tuple[int, Any]]] = {}
    for numbered in enumerate(tables.list_rows(sources)):
        by_field.setdefault(numbered[1].field, []).append(numbered)
    for field, members in by_field.items():
        rows = [row for _, row in members]
        digests: Mapping[str, str] = {}
        reason = message = ""
        folder = quote_name(str(field))
        try:
            image, digests = read_field(
                rows, channels=channels, expected=(shape, dtype), exact=exact
            )
            image.setflags(write=False)  # nobody changes it: `i2r.store.recent` needs no copy
            write_image(
                files.join_url(well_url, folder),
                image,
                channels=channels,
                pixel_size_um=pixel_size_um,
                position_um=find_first_pixel(rows[0], shape=shape, pixel_size_um=pixel_size_um),
            )
            written.append(folder)
            n_bytes += image.nbytes
        except FieldError as error:
            # What was sound when the run began is not a bad field: it may come back.
            refuse_changed(rows)
            reason, _, message = str(error).partition(": ")
            excluded[str(field)] = reason
        reports += [(n, digests.get(row.url, ""), reason, message) for n, row in members]
    write_well(well_url, written)
    order, digest, reason_of, message_of = map(list, zip(*reports, strict=True))
    report = {"sha256": digest, "reason": reason_of, "message": message_of}
    tables.write_table(part_url, tables.add_texts(sources.take(order), report))
    return {
        "fields": len(written),
        "excluded": excluded,
        "wrote": "source",
        "bytes": n_bytes,
    }


def finish_plates(
    wells: Mapping[str, tuple[str, list[str], tuple[int, int] | None]],
    *,
    field_count: int,
    merges: Mapping[str, Sequence[str]],
    sources: pd.DataFrame,
) -> dict[str, Any]:
    """Write plate and row groups, merge the tables, and check that no source file changed."""
    for url, (name, found, size) in wells.items():
        parsed = [parse_well(well) for well in found]
        write_plate(url, name=name, wells=parsed, field_count=field_count, size=size)
    tables.merge_tables(merges)
    refuse_changed(sources.itertuples())
    unsaid = {
        name: [parse_well(well) for well in found]
        for name, found, size in wells.values()
        if not size
    }
    return {"notes": describe_formats(unsaid)}


def find_first_pixel(
    row: Any, *, shape: tuple[int, int], pixel_size_um: float
) -> tuple[float, float] | None:
    """Say where a field's first pixel lies (y, x), in microns; None where nobody said.

    Parameters
    ----------
    row
        The first of the field's files. ``x_um`` and ``y_um`` are the field's centre; readers that
        know no places, and earlier surveys, have neither.
    shape
        Of the field (y, x).
    pixel_size_um
        Edge of a pixel.
    """
    centre = getattr(row, "y_um", math.nan), getattr(row, "x_um", math.nan)
    y, x = (um - (n - 1) / 2 * pixel_size_um for um, n in zip(centre, shape, strict=True))
    return (y, x) if math.isfinite(y) and math.isfinite(x) else None
