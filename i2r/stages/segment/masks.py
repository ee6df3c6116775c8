"""Label images that another program made, in place of a segmentation."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, PrivateAttr

from i2r.errors import I2RError, InputError
from i2r.readers.images import stat_source
from i2r.readers.labels import read_mask
from i2r.readers.masks import MaskField, MaskMatches, check_headers, match_masks
from i2r.stages.base import WorkerKind
from i2r.stages.segment.options import Labeller, Segment
from i2r.store.experiment import Experiment

# Masks read whole before a run, to see whether nuclei have numbers.
SAMPLED_MASKS = 8


class ImportSegment(Segment):
    """Take label images that another program made."""

    method: Literal["import"] = "import"
    masks: str | None = Field(
        None,
        description="Label images: a folder, an OME-Zarr plate with "
        "labels (or PLATE.zarr/labels/NAME), or a name with {plate}, {well} and {field} in it",
        json_schema_extra={"path": True},
    )
    mask_parts: Literal["refuse", "label"] = Field(
        "refuse",
        description="Masks with one label of several parts, such as 0 and 255: refuse, or label "
        "each part",
    )

    group: ClassVar[WorkerKind] = "cpu"
    # What it changes is said in `fingerprint_inputs`.
    not_fingerprinted: ClassVar[frozenset[str]] = frozenset({"mask_parts"})
    # The masks of an experiment's fields, found once.
    _matches: tuple[Experiment, MaskMatches] | None = PrivateAttr(default=None)

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse a channel that no plate has, and masks that are missing or unusable."""
        problems = super().check(experiment)
        if self.masks is None:
            return [*problems, f"stage {self.title!r}: method 'import' needs 'masks', a folder."]
        return problems or self._find_mask_problems(experiment)

    def fingerprint_inputs(self, experiment: Experiment, key: str) -> object:
        """Describe the well's fields and masks."""
        masks = self._masks(experiment, key)
        stamps = {f: (url, *stat_source(url)) if url else None for f, url in masks.items()}
        described = [super(Segment, self).fingerprint_inputs(experiment, key), stamps]
        return [*described, self.mask_parts] if self.mask_parts != "refuse" else described

    def external_files(self, experiment: Experiment) -> object:
        """Give nothing for all units together: each has masks of its own."""
        return None

    def _masks(self, experiment: Experiment, key: str) -> dict[str, str | None]:
        """Find the user's mask of every field; nothing where no folder is named."""
        if self.masks is None:
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
        if self.masks is None:
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

    def labeller_of_well(self, experiment: Experiment, key: str, fields: Sequence[str]) -> Labeller:
        """Open the user's masks; a missing one fails the well, because it would look like none."""
        masks = self._masks(experiment, key)
        found = {field: url for field in fields if (url := masks.get(field))}
        missing = [field for field in fields if field not in found]
        if missing:
            raise I2RError(
                f"{key} field {missing[0]}: no mask in {self.masks} with the name of the field's "
                f"image of channel {self.channel!r} ({len(missing)} fields without). Add it, or "
                "exclude the field in the stage 'quality'."
            )
        shape = experiment.locate(key)[0].shape[1:]
        return partial(read_masks, urls=found, shape=shape, label_parts=self.mask_parts == "label")


def read_masks(
    fields: Sequence[str],
    planes: Sequence[np.ndarray],
    *,
    urls: Mapping[str, str],
    shape: tuple[int, int],
    label_parts: bool,
) -> Iterator[np.ndarray]:
    """Read the masks of fields, by their names; see `Labeller`."""
    for field in fields:
        yield read_mask(urls[field], shape=shape, label_parts=label_parts)
