"""Find the nuclei of every field, or take the user's own masks."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

import dask.array as da
import numpy as np
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field, PrivateAttr, field_validator

from i2r.errors import I2RError, InputError
from i2r.kernels.segmentation import segment_nuclei
from i2r.lazy import plausibility
from i2r.lazy.blocks import split_fields
from i2r.lazy.nuclei import Place, measure_fields, segment_fields
from i2r.lazy.segmenters import (
    MAX_SIDE_PX,
    call_segmenter,
    find_segmenter,
    list_segmenters,
    segment_fields_by_network,
)
from i2r.readers.images import stat_source
from i2r.readers.labels import read_mask
from i2r.readers.masks import MaskField, MaskMatches, check_headers, match_masks
from i2r.stages.base import Group, Stage
from i2r.stages.labelled_wells import finish_plates, finish_well, write_block_labels
from i2r.stages.outputs import Output
from i2r.stages.segmenter_weights import hash_weights, load_network
from i2r.stages.written.images import SEGMENT
from i2r.store.experiment import Experiment

# The table with one row per field: what it and its labels say about each other.
FIELDS = "-fields"
METHODS = ("threshold", "unet", "import")
# Peak of a prediction in float32; bfloat16 takes 60 % of it.
NETWORK_BYTES_PER_PX = 350
# Below these, pixels decide and not microns: where they are larger than 0.67 um, each noisy pixel
# would cut a nucleus.
LEAST_SIGMA_PX = 0.75
LEAST_NECK_PX = 1.0
# Masks read whole before a run, to see whether nuclei have numbers.
SAMPLED_MASKS = 8


class Segment(Stage):
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
    masks: str | None = Field(
        None,
        description="Label images for the method 'import': a folder, an OME-Zarr plate with "
        "labels (or PLATE.zarr/labels/NAME), or a name with {plate}, {well} and {field} in it",
        json_schema_extra={"path": True},
    )
    weights: str | None = Field(
        None,
        description="Weights from 'train-segmenter', for the method 'unet' (default: i2r's own)",
        json_schema_extra={"path": True},
    )
    mask_parts: Literal["refuse", "label"] = Field(
        "refuse",
        description="Masks with one label of several parts, such as 0 and 255: refuse, or label "
        "each part",
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

    # What it changes is said in `inputs`.
    outputs: ClassVar[tuple[Output, ...]] = SEGMENT
    execution_only: ClassVar[frozenset[str]] = frozenset({"mask_parts"})
    # The masks of an experiment's fields, found once.
    _matches: tuple[Experiment, MaskMatches] | None = PrivateAttr(default=None)

    version: ClassVar[int] = 4
    reads: ClassVar[Mapping[str, bool]] = {"convert": True, "illuminate": False, "quality": False}

    @field_validator("method")
    @classmethod
    def _check_method(cls, value: str) -> str:
        if value not in METHODS and value not in list_segmenters():
            known = ", ".join([*METHODS, *list_segmenters()])
            raise ValueError(f"found {value!r}, expected one of {known}")
        return value

    @property
    def worker_group(self) -> Group:
        """Networks want GPUs, thresholds and masks do not."""
        return "cpu" if self.method in ("threshold", "import") else "gpu"

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse a channel that no plate has, an import without masks, and unusable weights."""
        problems = self.list_missing_channels(experiment, [self.channel], option="channel")
        if self.method == "import":
            if self.masks is None:
                problems.append(f"stage {self.title!r}: method 'import' needs 'masks', a folder.")
            elif not problems:
                problems += self._find_mask_problems(experiment)
        if self.weights is not None:
            if self.method != "unet":
                problems.append(f"stage {self.title!r}: 'weights' belong to the method 'unet'.")
            else:
                try:
                    load_network(self.weights, hash_weights(self.weights))
                except I2RError as error:
                    problems.append(f"stage {self.title!r}: {error}")
        return problems

    def version_of(self, key: str) -> int:
        """Networks and imports label as before version 4."""
        return type(self).version if self.method == "threshold" else 3

    def inputs(self, experiment: Experiment, key: str) -> object:
        """Describe the well's fields, and the masks, weights or package that labels come from."""
        masks = self._masks(experiment, key)
        stamps = {f: (url, *stat_source(url)) if url else None for f, url in masks.items()}
        described = [super().inputs(experiment, key), stamps]
        return [*described, self.mask_parts] if self.mask_parts != "refuse" else described

    def outside(self, experiment: Experiment) -> object:
        """Give the weights or the package that labels come from; of masks every unit is asked."""
        if self.method == "import":
            return None
        if self.method == "unet":
            return [hash_weights(self.weights)]
        if self.method in METHODS:
            return []
        point = find_segmenter(self.method)
        return [point.value, point.dist.version if point.dist else ""]

    def _masks(self, experiment: Experiment, key: str) -> dict[str, str | None]:
        """Find the user's mask of every field; nothing for other methods."""
        if self.method != "import" or self.masks is None:
            return {}
        record, urls = experiment.wells[key], self._match(experiment).urls
        return {field: urls.get((record.plate, record.well, field)) for field in record.fields}

    def _match(self, experiment: Experiment) -> MaskMatches:
        """Find the masks of all fields: a mask's name tells only beside all the others."""
        if self._matches is None or self._matches[0] is not experiment:
            self._matches = experiment, match_masks(str(self.masks), self._list_fields(experiment))
        return self._matches[1]

    def _list_fields(self, experiment: Experiment) -> list[MaskField]:
        sources = experiment.sources
        of_channel = sources[sources["channel"] == self.channel]
        first = of_channel.drop_duplicates(["plate", "well", "field"])
        columns = (first[name].astype(str) for name in ("plate", "well", "field", "url"))
        return [MaskField(*place) for place in zip(*columns, strict=True)]

    def _find_mask_problems(self, experiment: Experiment) -> list[str]:
        """Say before anything is converted what makes masks unusable."""
        try:
            urls, doubts = self._match(experiment)
        except InputError as error:
            return [f"stage {self.title!r}: {error}"]
        problems = list(doubts.values())
        with_masks = {plate for plate, _, _ in urls}
        for name in experiment.plates:
            if name not in with_masks and not any(place[0] == name for place in doubts):
                problems.append(
                    f"plate {name!r}: no mask in {self.masks} is of any of its fields, expected "
                    f"one with the name of each image of channel {self.channel!r}, or of plate, "
                    "well and field. Add them, or leave the plate out ('plates' of convert)."
                )
        if problems:
            return [f"stage {self.title!r}: {problem}" for problem in problems]
        return [f"stage {self.title!r}: {why}" for why in self._find_bad_masks(experiment, urls)]

    def _find_bad_masks(
        self, experiment: Experiment, urls: Mapping[tuple[str, str, str], str]
    ) -> list[str]:
        """Look at all masks' headers, and at the pixels of a few."""
        shapes = {url: experiment.plates[place[0]].shape[1:] for place, url in urls.items()}
        wrong = check_headers(shapes, shapes=shapes)
        sound = [url for url in shapes if url not in wrong]
        for url in sound[:: max(1, len(sound) // SAMPLED_MASKS)][:SAMPLED_MASKS]:
            try:
                read_mask(url, shape=shapes[url], label_parts=self.mask_parts == "label")
            except I2RError as error:
                wrong[url] = str(error)
        return list(wrong.values())

    def notes(self, experiment: Experiment) -> list[str]:
        """Name fields without a mask: their wells will fail."""
        if self.method != "import" or self.masks is None:
            return []
        urls = self._match(experiment).urls
        lacking = [
            f"{record.plate}/{record.well} field {field}"
            for record in experiment.wells.values()
            for field in record.fields
            if (record.plate, record.well, field) not in urls
        ]
        if not lacking:
            return []
        return [
            f"stage {self.title!r}: {len(lacking)} fields have no mask in {self.masks}, for "
            f"example {lacking[0]}: their wells will fail, unless the field is excluded before"
        ]

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Segment and measure the fields of one well."""
        plate, well = experiment.locate(key)
        fields = experiment.fields(key, self.needs)
        images = plate.images(well, fields=fields, after=self.needs)
        if self.method == "import":
            labels = self._import_labels(experiment, key, fields, shape=plate.shape[1:])
        else:
            labels = self.label(
                images,
                channel=plate.channels.index(self.channel),
                pixel_size_um=plate.pixel_size_um,
            )
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
            plate.images(well, fields=fields) if self.needed("illuminate") else None,
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

    def label(self, images: da.Array, *, channel: int, pixel_size_um: float) -> da.Array:
        """Label images (field, c, y, x) by a method that is no import: (field, y, x), int32."""
        if self.method == "unet":
            return segment_fields_by_network(
                images,
                channel=channel,
                load=partial(load_network, self.weights, hash_weights(self.weights)),
                pixel_size_um=pixel_size_um,
                min_area_um2=self.min_area_um2,
                max_hole_um2=self.max_hole_um2,
                threads=self.threads,
            )
        return segment_fields(images, channel=channel, segment=self.segmenter(pixel_size_um))

    def segmenter(self, pixel_size_um: float) -> Callable[[np.ndarray], np.ndarray]:
        """Make the function that labels one plane; lengths of the thresholds in pixels."""
        if self.method not in METHODS:
            return partial(call_segmenter, name=self.method, pixel_size_um=pixel_size_um)
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
        read = partial(delayed(read_mask), shape=shape, label_parts=self.mask_parts == "label")
        planes = [da.from_delayed(read(masks[f]), shape, dtype=np.int32) for f in fields]
        return da.stack(planes).rechunk((len(fields), *shape))

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
        if self.method == "unet":
            # Magnified at most four times.
            seen = min(16 * plane, MAX_SIDE_PX**2)
            network = 2**29 + int(NETWORK_BYTES_PER_PX * seen)
            return n_fields * (2 * plate.field_bytes() + 8 * plane) + network
        return n_fields * (2 * plate.field_bytes() + 8 * plane) + 32 * plane + 2**27

    def bytes_out(self, experiment: Experiment, key: str) -> int:
        """Labels compress to about a twentieth of a byte per pixel."""
        plate, _ = experiment.locate(key)
        n_fields = experiment.n_fields(key)
        return n_fields * plate.shape[1] * plate.shape[2] // 20
