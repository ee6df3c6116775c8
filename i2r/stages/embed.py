"""Turn nuclei into embeddings with an encoder, and these into profiles of wells and genes."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field, field_validator

from i2r.errors import I2RError, InputError
from i2r.lazy.datasets import share_memory
from i2r.lazy.encoders import embed_nuclei
from i2r.lazy.installed_encoders import call_encoder, find_encoder, list_encoders
from i2r.lazy.profiles import DESCRIBED, TABLES, ProfilePlan, profile_wells
from i2r.stages.base import FINISH, Group, Stage, seed_sequence
from i2r.stages.import_options import Importing
from i2r.stages.imports import (
    describe_matches,
    import_embeddings,
    incoming_url,
    remove_incoming,
)
from i2r.stages.outputs import Output
from i2r.stages.train import IMPORTED
from i2r.stages.written.networks import EMBED
from i2r.store import files, tables
from i2r.store.arrays import read_array
from i2r.store.experiment import Experiment
from i2r.store.nuclei import CONTROL, name_classes
from i2r.store.pools import PoolArrays, PoolPlan, Window, plan_pool, read_pool
from i2r.store.write import write_embeddings

# Which nuclei imported embeddings are of, in a table of this name behind the stage's.
NUCLEI = "-nuclei"

# What i2r embeds with itself.
METHODS = ("encode", "import")

# Options that only the last unit uses: changing them embeds nothing anew.
OF_FINISH = ("class_by", "aggregate", "correction", "correct_by", "umap", "seed")


class Embed(Importing):
    """Embed every nucleus that has a crop, of any well, and profile wells and conditions.

    The encoder is what the stage 'train' before it made: of several folds the one with the best
    validation accuracy, of encoders without a class every one; or it is a file: an encoder of
    i2r, or torchvision's weights of a ResNet-18, whose 512 features are the embedding then.

    The published profile is the plain mean over nuclei without correction (Paysan et al., Cell
    Systems 2025), which is the default; corrections learn from the nuclei of negative controls.

    The method 'import' takes embeddings that another program made: a table with a row per nucleus
    or per well, as for the method 'import' of 'features'; with a 'layout' no image is needed.
    Packages add methods by the entry point 'i2r.encoders': functions that take a batch of crops,
    the edge of their pixels in microns and their channels.
    """

    stage: Literal["embed"] = "embed"
    method: str = Field(
        "encode",
        description="encode (an encoder of i2r, or a ResNet-18), import (a table), or the name of "
        "an encoder that another package offers",
    )
    encoder: str | None = Field(
        None,
        description="File of an encoder, or of torchvision's ResNet-18 weights",
        json_schema_extra={"path": True},
    )
    channels: tuple[str, ...] = Field(
        ("DNA",), description="Channels for encoders from elsewhere; i2r's own name theirs"
    )
    class_by: Literal["condition", "gene"] = Field(
        "condition", description="What profiles are made for: conditions, or the genes they act on"
    )
    aggregate: Literal["mean", "median"] = Field("mean", description="Nuclei to profiles")
    correction: Literal["none", "standardize-to-controls", "sphering"] = Field(
        "none", description="Correction by the controls of each plate or batch"
    )
    correct_by: str = Field(
        "plate", description="Column of the layout whose values are corrected apart"
    )
    umap: bool = Field(
        True,
        description="Lay wells out in two dimensions, by UMAP where umap-learn is installed, by "
        "principal components elsewhere",
    )
    seed: int = Field(0, ge=0, description="Seed of nulls (default: the pipeline's)")

    outputs: ClassVar[tuple[Output, ...]] = EMBED
    version: ClassVar[int] = 3
    reads: ClassVar[Mapping[str, bool]] = {"train": False, "segment": True, "crop": True}
    group: ClassVar[Group] = "gpu"
    layout_columns: ClassVar[tuple[str, ...]] = ("perturbation", "gene", "dose", "role")

    def version_of(self, key: str) -> int:
        """Wells are embedded as before version 3; p-values of retrieval have changed."""
        return type(self).version if key == FINISH else 2

    @field_validator("method")
    @classmethod
    def _check_method(cls, value: str) -> str:
        if value not in METHODS and value not in list_encoders():
            known = ", ".join([*METHODS, *list_encoders()])
            raise ValueError(f"found {value!r}, expected one of {known}")
        return value

    @property
    def is_installed(self) -> bool:
        """Whether the encoder is another package's."""
        return self.method not in METHODS

    @property
    def wanted(self) -> Mapping[str, bool]:
        """Nuclei, crops and an encoder; or for an import that names no layout, nuclei to join."""
        if self.method == "import":
            return self.joined
        if self.is_installed:
            return {"segment": True, "crop": True}
        return self.reads

    @property
    def worker_group(self) -> Group:
        """Only encoders want GPUs."""
        return "cpu" if self.method == "import" else "gpu"

    @property
    def needs_torch(self) -> bool:
        """Another package's encoder brings what it needs."""
        return self.method == "encode"

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse a file that is no encoder, and channels or columns that are not there."""
        of_import = () if self.layout else ("segment",)
        needed = of_import if self.method == "import" else ("segment", "crop")
        problems = self.list_lacking(*needed)
        if self.correct_by not in experiment.layout.columns:
            problems.append(
                f"stage {self.title!r}: the layout has no column {self.correct_by!r}, found "
                f"{', '.join(map(str, experiment.layout.columns))}. Set 'correct_by'."
            )
        if self.method == "import":
            return problems + self.list_unreadable()
        problems += self.list_misplaced()
        if self.is_installed:
            if self.encoder is not None:
                problems.append(
                    f"stage {self.title!r}: 'encoder' belongs to the method 'encode', found "
                    f"{self.method!r}. Leave one out."
                )
            return problems + self.list_missing_channels(experiment, self.channels)
        train = self.needed("train")
        if self.encoder is None:
            if not train:
                problems.append(
                    f"stage {self.title!r}: no encoder. Name a file in 'encoder', or put a stage "
                    "'train' before it."
                )
            return problems
        if train:
            others = ", ".join(name for name in self.needs if name != train)
            problems.append(
                f"stage {self.title!r}: an encoder in a file and one of {train!r}. Leave one out: "
                f"'needs: [{others}]' reads the file alone."
            )
        try:
            encoder = load_encoder(self.encoder, channels=self.channels, device="cpu")
        except I2RError as error:
            return [*problems, f"stage {self.title!r}: {error}"]
        return problems + [
            f"stage {self.title!r}: the encoder sees {channel!r}, plate {plate.name!r} has "
            f"{', '.join(plate.channels)}. Name other channels or another encoder."
            for plate in experiment.plates.values()
            for channel in encoder.settings.channels
            if channel not in plate.channels
        ]

    def fingerprint(self, experiment: Experiment, key: str, upstream: Mapping[str, str]) -> str:
        """Identify a unit's inputs; wells don't depend on how they are summarised."""
        if key == FINISH:
            return super().fingerprint(experiment, key, upstream)
        defaults = {name: type(self).model_fields[name].default for name in OF_FINISH}
        return Stage.fingerprint(self.model_copy(update=defaults), experiment, key, upstream)

    def whole_layout(self, experiment: Experiment) -> object:
        """Give the layout with the column that is corrected by."""
        column = experiment.layout_by_key[self.correct_by].astype(str).tolist()
        return [super().whole_layout(experiment), column]

    def outside(self, experiment: Experiment) -> object:
        """Give the content of an encoder's file."""
        if self.method == "import":
            return self.describe_import()
        if self.is_installed:
            point = find_encoder(self.method)
            weights = getattr(point.load(), "weights", None)
            version = point.dist.version if point.dist else ""
            return [point.value, version, digest_file(str(weights)) if weights else ""]
        return digest_file(self.encoder) if self.encoder else ""

    def encoders(self, experiment: Experiment) -> dict[str, str]:
        """List the encoders by name; the name of a single one is empty."""
        if self.method != "encode":
            return {"": ""}
        if self.encoder is not None:
            return {"": self.encoder}
        train = self.needed("train")
        keys = self._list_trained(experiment)
        left_out = [key for key in keys if "/without-" in key]
        if left_out:
            return {key: experiment.model_url(train, key) for key in left_out}
        if not keys:
            raise I2RError(f"stage {self.title!r}: {train!r} trained no encoder. See its table.")
        if len(keys) > 1:
            scores = experiment.table(train).set_index("unit")["validation_balanced_accuracy"]
            keys.sort(key=lambda key: -np.nan_to_num(scores[key]))
        return {"": experiment.model_url(train, keys[0])}

    def _list_trained(self, experiment: Experiment) -> list[str]:
        """List the trainings that made an encoder, of those that the stage has by its options.

        The ledger also knows those that it had by other options, before.
        """
        train = self.needed("train")
        return [
            key
            for key in sorted(experiment.table(train)["unit"])
            if (experiment.ledger.result(train, key) or {}).get("trained")
        ]

    def _is_imported(self, experiment: Experiment) -> bool:
        """Tell whether the encoder is from elsewhere, so that it knows nothing of this screen."""
        return (
            self.is_installed
            or self.encoder is not None
            or self._list_trained(experiment) == [IMPORTED]
        )

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Embed one well with every encoder, or take its rows of the table."""
        crop, segment = self.needed("crop"), self.needed("segment")
        plate, _ = experiment.locate(key)
        if self.method == "import":
            return delayed(import_embeddings)(
                incoming_url(experiment, self.title, key),
                url=experiment.embeddings_url(self.title, key),
                part_url=experiment.part_url(f"{self.title}{NUCLEI}", key),
                nuclei=f"{self.title}{NUCLEI}",
                key=key,
                fields=experiment.fields(key, self.needs),
                segment_url=experiment.part_url(segment, key) if segment else "",
                reach_px=self.max_distance_um / plate.pixel_size_um,
            )
        if self.is_installed:
            plan = plan_pool(experiment, [key], crop=crop, segment=segment, channels=self.channels)
            return delayed(embed_well)(
                plan,
                name=self.method,
                pixel_size_um=plate.pixel_size_um,
                channels=self.channels,
                url=experiment.embeddings_url(self.title, key),
                crops=crop,
                where=key,
            )
        plan = plan_pool(experiment, [key], crop=crop, segment=segment, channels=())
        # Asked once per well: the table of trainings is read for it.
        encoders, written = self.encoders(experiment), []
        for name, url in encoders.items():
            encoder = delayed(open_encoder)(url, digest_file(url), self.channels)
            arrays = delayed(read_for_encoder)(encoder, plan, names=plate.channels, where=key)
            written.append(
                delayed(write_well)(
                    embed_nuclei(encoder, arrays, where=key),
                    url=experiment.embeddings_url(self.title, key, encoder=name),
                    crops=crop,
                )
            )
        return delayed(count_written)(
            written,
            encoders=sorted(encoders),
            trained_by="" if self._is_imported(experiment) else self.needed("train"),
        )

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Profile wells and conditions, and say what the profiles are worth."""
        done = set(keys)
        layout = experiment.layout_by_key.loc[[k for k in experiment.well_keys if k in done]]
        is_control = layout["role"] == "negative_control"
        classes = name_classes(layout, self.class_by)
        wells = (
            layout[DESCRIBED]
            .astype(str)
            .assign(
                **{
                    "class": classes.mask(is_control, CONTROL).mask(layout["role"] == "empty", ""),
                    "control": is_control,
                    "group": layout[self.correct_by].astype(str),
                }
            )
        )
        urls = {
            name: tuple(
                experiment.embeddings_url(self.title, key, encoder=name) for key in wells.index
            )
            for name in self.encoders(experiment)
        }
        plan = ProfilePlan(wells, urls, self.aggregate, self.correction, self.umap)
        found = profile_wells(plan, read_array, seed=seed_sequence(self.seed, self.title, "*"))
        targets = {name: experiment.table_url(f"{self.title}{name}") for name in TABLES}
        imported = (experiment.url, self.title) if self.method == "import" else ()
        notes = describe_matches(experiment, self.title, keys) if imported else []
        return delayed(write_profiles)(found, urls=targets, imported=imported, notes=notes)

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """A well's crops and fields, a batch in the network, and torch itself."""
        return 2 * experiment.well_bytes(key) + 2**30

    def bytes_out(self, experiment: Experiment, key: str) -> int:
        """About 150 nuclei in every field."""
        return experiment.n_fields(key) * 150 * 512 * 4


def digest_file(url: str) -> str:
    """Hash a file's content; read once for each version of it."""
    try:
        return _digest_version(url, *files.stat(url))
    except FileNotFoundError as error:
        raise InputError(f"{url}: no such file, expected an encoder. Name another.") from error


@lru_cache(maxsize=256)
def _digest_version(url: str, size_bytes: int, mtime_ns: int) -> str:
    return sha256(files.read_bytes(url)).hexdigest()


def load_encoder(url: str, *, channels: tuple[str, ...], device: str) -> Any:
    """Read an encoder.

    Parameters
    ----------
    url
        The file.
    channels
        See `i2r.models.weights.decode_encoder`.
    device
        Where it goes.

    Raises
    ------
    InputError
        If the file is none.
    """
    from i2r.models.weights import decode_encoder

    try:
        return decode_encoder(files.read_bytes(url), channels=channels, device=device)
    except FileNotFoundError as error:
        raise InputError(f"{url}: no such file, expected an encoder. Name another.") from error
    except ValueError as error:
        raise InputError(
            f"{url}: {error}. Name a file that 'train' wrote or torchvision's ResNet-18 weights."
        ) from error


def open_encoder(url: str, digest: str, channels: tuple[str, ...]) -> Any:
    """Give an encoder on the GPU where there is one; each is read once per worker."""
    import torch

    from i2r.models.pools import open_cache

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return open_cache(share_memory()).get(
        (url, digest, channels, device), lambda: load_encoder(url, channels=channels, device=device)
    )


def read_for_encoder(
    encoder: Any, plan: PoolPlan, *, names: Sequence[str], where: str
) -> PoolArrays:
    """Read of a well what an encoder sees."""
    settings = encoder.settings
    missing = [channel for channel in settings.channels if channel not in names]
    if missing:
        raise I2RError(
            f"{where}: no channel {missing[0]!r}, which the encoder sees. Name another encoder."
        )
    window = Window(settings.window_px, settings.halved) if "region" in settings.view else None
    channels = tuple(names.index(channel) for channel in settings.channels)
    return read_pool(plan._replace(channels=(channels,), window=window))


def embed_well(
    plan: PoolPlan,
    *,
    name: str,
    pixel_size_um: float,
    channels: Sequence[str],
    url: str,
    crops: str,
    where: str,
) -> dict[str, Any]:
    """Embed a well by another package's encoder, and write that."""
    found = read_pool(plan).crops
    # Tiles of finer pixels were resampled; how many of the field's pixels they show is noted.
    document = json.loads(files.read_bytes(f"{plan.crops[0]}/zarr.json"))
    cut_px = document["attributes"].get("cut_px", found.shape[-1])
    embeddings = call_encoder(
        found,
        name=name,
        pixel_size_um=pixel_size_um * cut_px / found.shape[-1],
        channels=channels,
        where=where,
    )
    return count_written(
        [write_well(embeddings, url=url, crops=crops)], encoders=[""], trained_by=""
    )


def write_well(embeddings: np.ndarray, *, url: str, crops: str) -> tuple[int, int]:
    """Write a well's embeddings; return the numbers of nuclei and of bytes."""
    return len(embeddings), write_embeddings(url, embeddings, attributes={"crops": crops})


def count_written(
    written: Sequence[tuple[int, int]], *, encoders: Sequence[str], trained_by: str
) -> dict[str, Any]:
    """Describe what was written for a well."""
    return {
        "nuclei": written[0][0],
        "bytes_out": sum(n_bytes for _, n_bytes in written),
        "encoders": list(encoders),
        "trained_by": trained_by,
    }


def write_profiles(
    found: Mapping[str, pd.DataFrame],
    *,
    urls: Mapping[str, str],
    imported: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the tables of profiles; of imports also remove the rows that waited."""
    for name, table in found.items():
        tables.write_table(urls[name], table)
    if imported:
        remove_incoming(*imported)
    return {"notes": list(notes)} if notes else {}
