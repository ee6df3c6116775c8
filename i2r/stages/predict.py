"""Say which gene was perturbed in new images, how sure that is, or that it can't be said."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal
from weakref import WeakKeyDictionary

import pandas as pd
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.errors import I2RError, InputError
from i2r.readers.masks import find_mask
from i2r.readers.pictures import group_pictures
from i2r.stages.answers import read_origin, write_predictions, write_profiles
from i2r.stages.base import FINISH, WHOLE, Group, Stage, seed_sequence
from i2r.stages.outputs import Output
from i2r.stages.pictures import Chain, list_encoders, open_chain, profile_pictures
from i2r.stages.references import list_controls
from i2r.stages.written.regulation import PREDICT
from i2r.store import feature_profiles, files
from i2r.store.experiment import Experiment
from i2r.store.gene_tables import digest_files, read_vectors
from i2r.store.queries import QueryWells, read_queries

# Options that only the last unit uses: changing them embeds no picture anew.
OF_FINISH = ("candidates", "uncalled", "level", "alpha", "permutations", "top", "seed")
IMAGES, CONTROLS = "images/", "controls"

# Pixels this much larger or smaller show nuclei as the map's encoder or features know them.
PIXEL_TOLERANCE = 0.02


class Predict(Stage):
    """Predict which gene was perturbed, from new images or from embeddings.

    New images are a folder: pictures directly in it are one query, and so are those of every
    folder in it. They are segmented (or come with 'masks'), cropped and embedded, or measured,
    with the options that the map's own images were. Name images of untreated cells of the same
    plate in 'controls': without them a difference between plates looks like an effect. Other
    queries are the rows of the file 'queries' (columns 'query', optionally 'gene', and numbers as
    the map learned from), or else the perturbations of the experiment.

    Each query gets its genes ranked, with the calibrated probability that the true one is at a
    place or before it and the set that holds it with the probability 'level', or no answer: where
    the map finds left-out genes no better than shuffled links do, the genes that a query resembles
    do not agree, or the experiment's screen does not call the perturbation. A query of a gene that
    the map learned from, such as a folder with the name of one, is answered by a map without that
    gene.

    Example: i2r predict EXPERIMENT --images new/ --controls new-controls/, then i2r table
    EXPERIMENT predict, and predict-queries for one row per query.
    """

    stage: Literal["predict"] = "predict"
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
    queries: str = Field(
        "",
        description="Table of embeddings to ask about: query, gene (optional) and numbers",
        json_schema_extra={"path": True},
    )
    by: Literal["perturbation", "well"] = Field(
        "perturbation", description="A query of the experiment is a perturbation, or a well"
    )
    uncalled: Literal["abstain", "answer"] = Field(
        "abstain",
        description="What to say of a perturbation that the experiment's screen does not call",
    )
    candidates: str = Field(
        "",
        description="Table of features (gene and numbers) of genes of the network and of others: "
        "the others become candidates too",
        json_schema_extra={"path": True},
    )
    level: float = Field(0.9, gt=0, lt=1, description="Probability that a set holds the gene")
    alpha: float = Field(0.05, gt=0, lt=1, description="Abstain where a p-value is above this")
    permutations: int = Field(199, ge=19, description="Shuffled links for each query")
    top: int = Field(50, ge=1, description="Candidates listed per query")
    seed: int = Field(0, ge=0, description="Seed of shuffled links (default: the pipeline's)")

    outputs: ClassVar[tuple[Output, ...]] = PREDICT
    version: ClassVar[int] = 4
    reads: ClassVar[Mapping[str, bool]] = {
        "map": True,
        "genes": True,
        "embed": False,
        "features": False,
        "screen": False,
    }
    layout_columns: ClassVar[tuple[str, ...]] = ("perturbation", "gene", "role", "dose")

    @property
    def wanted(self) -> Mapping[str, bool]:
        """A screen, where its perturbations are the queries."""
        asked = self.queries or self.images
        return {verb: must for verb, must in self.reads.items() if verb != "screen" or not asked}

    @property
    def worker_group(self) -> Group:
        """New images may meet a network, whatever else is asked meets none."""
        return "gpu" if self.images else "cpu"

    # ------------------------------------------------------------------ before a run

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse to run without queries, or with tables and images that can't be used."""
        where = f"stage {self.title!r}"
        problems = self.list_lacking("map", "genes")
        if self.queries and self.images:
            problems.append(
                f"{where}: found 'queries' and 'images', expected one. Give the other as ''."
            )
        if (self.masks or self.controls) and not self.images:
            problems.append(f"{where}: 'masks' and 'controls' belong to 'images'. Set it.")
        if not self.queries and not self.images and not self.needed("embed", "features"):
            problems.append(
                f"{where}: nothing to predict. Set 'images' or 'queries', or add a stage 'embed'."
            )
        sizes = sorted({plate.pixel_size_um for plate in experiment.plates.values()})
        size = self.pixel_size_um
        if self.images and not sizes:
            problems.append(
                f"{where}: the experiment has no images, so new ones can't be treated like them. "
                "Set 'queries'."
            )
        elif self.images and size and all(abs(size / s - 1) > PIXEL_TOLERANCE for s in sizes):
            problems.append(
                f"{where}: new images have {size:g} um per pixel, the experiment's "
                f"{', '.join(f'{s:g}' for s in sizes)}. Scale them to that size."
            )
        for read, url in (
            (read_queries, self.queries),
            (read_vectors, self.candidates),
            (group_pictures, self.images),
            (group_pictures, self.controls),
        ):
            try:
                if url:
                    read(url)
            except I2RError as error:
                problems.append(f"{where}: {error}")
        return problems

    def notes(self, experiment: Experiment) -> list[str]:
        """Say what new images are not: compared with their own controls, or corrected for light."""
        if not self.images:
            return []
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

    def whole_layout(self, experiment: Experiment) -> object:
        """Wells matter only where they are the queries; candidates matter to the last unit."""
        asked = self.queries or self.images
        wells = [] if asked else super().whole_layout(experiment)
        return [wells, digest_files(self.candidates)]

    def outside(self, experiment: Experiment) -> object:
        """Give the content of the tables, and the versions of pictures and masks."""
        keys = self.keys(experiment) if self.images else []
        return [
            digest_files(self.queries, self.candidates),
            [self._list_versions(experiment, key) for key in keys],
        ]

    def inputs(self, experiment: Experiment, key: str) -> object:
        """Describe tables by their content, pictures and masks by their versions."""
        if key != WHOLE:
            return self._list_versions(experiment, key)
        wells = [] if self.queries else super().whole_layout(experiment)
        return [wells, digest_files(self.queries)]

    def fingerprint(self, experiment: Experiment, key: str, upstream: Mapping[str, str]) -> str:
        """Identify a unit's inputs; profiles don't depend on how they are answered."""
        if key == FINISH:
            return super().fingerprint(experiment, key, upstream)
        defaults = {name: type(self).model_fields[name].default for name in OF_FINISH}
        return Stage.fingerprint(self.model_copy(update=defaults), experiment, key, upstream)

    def keys(self, experiment: Experiment) -> list[str]:
        """Folders of new images, and their controls; otherwise one unit for all queries."""
        if not self.images:
            return [WHOLE]
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

    def used_keys(self, experiment: Experiment, key: str, upstream: Stage) -> None:
        """Everything of the stages before."""
        return

    # ------------------------------------------------------------------ units

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Profile the pictures of one folder, or all queries that need no pictures."""
        url = experiment.part_url(f"{self.title}-profiles", key)
        made_by = read_origin(experiment, self.needed("map"))
        if key != WHOLE:
            chain = self._open_chain(experiment)
            return profile_pictures(
                experiment,
                chain if self.illumination == "experiment" else chain._replace(functions={}),
                self._list_pictures(experiment, key),
                where=key.removeprefix(IMAGES),
                pages=self.pages,
                masks=self.masks,
                encoders=list_encoders(made_by),
                are_controls=key == CONTROLS,
                url=url,
            )
        wells = None if self.queries else self._list_wells(experiment, made_by)
        return delayed(write_profiles)(self.queries, wells, url=url)

    def _open_chain(self, experiment: Experiment) -> Chain:
        """Find the stages that the map's images went through."""
        return open_chain(experiment, self.needed("map"), has_masks=bool(self.masks))

    def _list_wells(self, experiment: Experiment, made_by: Mapping[str, Any]) -> QueryWells:
        """List the wells of the experiment that are asked about."""
        stage = made_by["stage"] or self.needed("embed")
        layout = experiment.layout_by_key
        done = layout.index.isin(list(experiment.ledger.done_keys(stage)))
        asked = layout[layout["role"].isin(["treated", "positive_control"]) & done]
        by_key = self._name_wells(asked)
        genes = asked["gene"].fillna("").astype(str).str.upper()
        features = None
        if made_by["profiles"] == "features":
            features = feature_profiles.list_feature_wells(experiment, stage, by_key)
        return QueryWells(
            by_key,
            dict(zip(by_key.values(), genes, strict=True)),
            "" if features else experiment.table_url(stage),
            tuple(list_encoders(made_by)),
            features,
        )

    def _name_wells(self, wells: pd.DataFrame) -> dict[str, str]:
        """Name the query of every well, by unit key."""
        names = wells.index if self.by == "well" else wells["condition"]
        return {str(key): str(name) for key, name in zip(wells.index, names, strict=True)}

    def _read_calls(self, experiment: Experiment) -> dict[str, bool]:
        """Read by query whether the screen calls its perturbation; empty without a screen."""
        screen = self.needed("screen")
        if self.queries or self.images or not experiment.ledger.is_merged(screen):
            return {}
        ranking = experiment.table(screen).query("kind != 'control_draw'")
        called = dict(zip(ranking["condition"], ranking["impactful"].astype(bool), strict=True))
        layout = experiment.layout_by_key
        conditions = layout["condition"]
        return {
            name: called[conditions[key]]
            for key, name in self._name_wells(layout).items()
            if conditions[key] in called
        }

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Answer all queries."""
        map_stage, genes = self.needed("map"), self.needed("genes")
        parts = {key: experiment.part_url(f"{self.title}-profiles", key) for key in keys}
        controls = parts.pop(CONTROLS, "")
        if self.controls and not controls:
            raise I2RError(f"{self.title}: the control images could not be used. See 'i2r errors'.")
        reference = None
        if self.images:
            encoders = list_encoders(read_origin(experiment, map_stage))
            reference = list_controls(experiment, self._open_chain(experiment), encoders)
        return delayed(write_predictions)(
            self.model_dump(exclude={"needs", "name", "stage"}),
            profiles=list(parts.values()),
            controls=controls,
            reference=reference,
            calls=self._read_calls(experiment),
            sources={
                "inputs": experiment.table_url(f"{map_stage}-inputs"),
                "scores": experiment.table_url(f"{map_stage}-scores"),
                "regulatory": experiment.table_url(genes),
                "held_out": experiment.table_url(f"{genes}-heldout"),
                "vocabulary": experiment.table_url(f"{genes}-vocabulary"),
            },
            seed=seed_sequence(self.seed, "predict", WHOLE),
            urls=(experiment.table_url(self.title), experiment.table_url(f"{self.title}-queries")),
        )

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """As the map, and the embeddings of one well or picture at a time."""
        return 2**30


_FOUND: WeakKeyDictionary[Experiment, dict[str, dict[str, list[files.FoundFile]]]] = (
    WeakKeyDictionary()
)


def _find_pictures(experiment: Experiment, source: str) -> dict[str, list[files.FoundFile]]:
    """Group pictures; none where there are none any more, which `Predict.check` refuses.

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
