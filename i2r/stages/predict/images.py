"""Queries that are folders of new images."""

from typing import Any, ClassVar, Literal
from weakref import WeakKeyDictionary

from dask.delayed import Delayed
from pydantic import Field

from i2r.errors import I2RError, InputError
from i2r.formats.gene_tables import digest_files
from i2r.readers.masks import find_mask
from i2r.readers.pictures import group_pictures
from i2r.stages.base import WorkerKind
from i2r.stages.predict.options import CONTROLS, Predict
from i2r.stages.predict.query_images import Chain, list_encoders, open_chain, profile_pictures
from i2r.stages.predict.references import Reference, list_controls
from i2r.stages.predict.worker import read_origin
from i2r.store import files
from i2r.store.experiment import Experiment

IMAGES = "images/"

# Pixels this much larger or smaller show nuclei as the map's encoder or features know them.
PIXEL_TOLERANCE = 0.02


class PredictImages(Predict):
    """Answer folders of new images."""

    method: Literal["images"] = "images"
    images: str = Field(
        "",
        description="Folder of new grey images, one file per field, with a folder for each query; "
        "or a pattern, such as 'new/*/*_w1.tif'",
        json_schema_extra={"path": True},
    )
    masks: str = Field(
        "",
        description="Folder of label images with the new images' names (default: new images are "
        "segmented as the experiment's were)",
        json_schema_extra={"path": True},
    )
    controls: str = Field(
        "",
        description="Folder or pattern of images of untreated cells from the new images' plate",
        json_schema_extra={"path": True},
    )
    pages: dict[str, int] = Field(
        {},
        description="Page of the new files, from 0, that shows a channel (default: page 0 shows "
        "the channel that is segmented)",
    )
    pixel_size_um: float | None = Field(
        None, gt=0, description="Edge of a pixel of the new images (default: the experiment's)"
    )
    illumination: Literal["experiment", "none"] = Field(
        "experiment",
        description="Divide new images by the experiment's illumination functions, averaged over "
        "plates, where its own images were; or take them as they are",
    )

    # New images may meet a network.
    group: ClassVar[WorkerKind] = "gpu"

    @property
    def where(self) -> str:
        """The folder."""
        return self.images

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse images that can't be treated like the experiment's."""
        where = f"stage {self.title!r}"
        problems = super().check(experiment)
        if not self.images:
            return [*problems, f"{where}: no new images. Name their folder in 'images'."]
        sizes = sorted({plate.pixel_size_um for plate in experiment.plates.values()})
        size = self.pixel_size_um
        if not sizes:
            problems.append(
                f"{where}: the experiment has no images, so new ones can't be treated like them. "
                "Set 'queries'."
            )
        elif size and all(abs(size / s - 1) > PIXEL_TOLERANCE for s in sizes):
            problems.append(
                f"{where}: new images have {size:g} um per pixel, the experiment's "
                f"{', '.join(f'{s:g}' for s in sizes)}. Scale them to that size."
            )
        for url in (self.images, self.controls):
            try:
                if url:
                    group_pictures(url)
            except I2RError as error:
                problems.append(f"{where}: {error}")
        return problems

    def notes(self, experiment: Experiment) -> list[str]:
        """Say what new images are not: compared with their own controls, or corrected for light."""
        notes = []
        if not self.controls:
            notes.append(
                f"{self.title}: no control images. What the new plate differs in from the "
                "experiment's looks like an effect; name images of its untreated cells in "
                "'controls'."
            )
        entries = (experiment.last_pipeline() or {}).get("stages", [])
        if any(entry["stage"] == "illuminate" for entry in entries):
            corrected = "new images are divided by the experiment's illumination functions"
            notes.append(
                f"{self.title}: {corrected}, as images of its microscope. Set 'illumination' to "
                "'none' if they are of another."
                if self.illumination == "experiment"
                else f"{self.title}: the experiment's images were corrected for their "
                "illumination, new ones are taken as they are."
            )
        return notes

    def external_files(self, experiment: Experiment) -> object:
        """Give the content of the candidates, and the versions of pictures and masks."""
        versions = [self._list_versions(experiment, key) for key in self.keys(experiment)]
        return [digest_files("", self.candidates), versions]

    def fingerprint_inputs(self, experiment: Experiment, key: str) -> object:
        """Describe pictures and masks by their versions."""
        return self._list_versions(experiment, key)

    def keys(self, experiment: Experiment) -> list[str]:
        """Folders of new images, and their controls."""
        folders = [f"{IMAGES}{folder}" for folder in _find_pictures(experiment, self.images)]
        return [*folders, CONTROLS] if self.controls else folders

    def _list_pictures(self, experiment: Experiment, key: str) -> list[files.FoundFile]:
        """List the pictures of a unit."""
        if key == CONTROLS:
            groups = _find_pictures(experiment, self.controls).values()
            return [file for group in groups for file in group]
        return _find_pictures(experiment, self.images).get(key.removeprefix(IMAGES), [])

    def _list_versions(self, experiment: Experiment, key: str) -> list[list[Any]]:
        """Give path, size and time of a unit's pictures and their masks."""
        found = []
        for file in self._list_pictures(experiment, key):
            mask = find_mask(self.masks, image_url=file.path) if self.masks else None
            found.append([file.path, *file.stat, mask, *(files.stat(mask) if mask else ())])
        return found

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Profile the pictures of one folder."""
        chain = self._open_chain(experiment)
        return profile_pictures(
            experiment,
            chain if self.illumination == "experiment" else chain._replace(functions={}),
            self._list_pictures(experiment, key),
            where=key.removeprefix(IMAGES),
            pages=self.pages,
            masks=self.masks,
            encoders=list_encoders(read_origin(experiment, self.upstream_title("map"))),
            are_controls=key == CONTROLS,
            url=experiment.part_url(f"{self.title}-profiles", key),
        )

    def has_controls(self) -> bool:
        """Tell whether there are control images."""
        return bool(self.controls)

    def find_reference(self, experiment: Experiment) -> Reference:
        """Give what new images are compared with."""
        encoders = list_encoders(read_origin(experiment, self.upstream_title("map")))
        return list_controls(experiment, self._open_chain(experiment), encoders)

    def _open_chain(self, experiment: Experiment) -> Chain:
        """Find the stages that the map's images went through."""
        return open_chain(experiment, self.upstream_title("map"), has_masks=bool(self.masks))


_FOUND: WeakKeyDictionary[Experiment, dict[str, dict[str, list[files.FoundFile]]]] = (
    WeakKeyDictionary()
)


def _find_pictures(experiment: Experiment, source: str) -> dict[str, list[files.FoundFile]]:
    """Group pictures; none where there are none any more, which `PredictImages.check` refuses.

    The folder is looked through once for an experiment as it was opened, so once in a run, however
    many queries it holds.
    """
    known = _FOUND.setdefault(experiment, {})
    if source not in known:
        try:
            known[source] = group_pictures(source)
        except InputError:
            known[source] = {}
    return known[source]
