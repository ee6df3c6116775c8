"""The training of encoders: which nuclei, which classes, and one unit per encoder."""

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field, field_validator

from i2r.analysis.embedding.encoder_training import TrainPlan, train_unit
from i2r.errors import I2RError
from i2r.stages.base import seed_sequence
from i2r.stages.starts import bind_files, explain_start, find_weights
from i2r.stages.train.options import Train
from i2r.store import files
from i2r.store.encoders import (
    TABLES,
    skip_unit,
    write_trained,
)
from i2r.store.experiment import Experiment
from i2r.store.nuclei import CONTROL, list_classes, name_classes
from i2r.store.pools import PoolPlan, Window, count_crops, plan_pool
from i2r.store.regions import RegionView

Architecture = Literal["small", "resnet18"]
VIEWS = ("nucleus", "binary-nucleus", "region", "nucleus+region")


class _Unit(NamedTuple):
    """What a unit's key stands for: a view, and a fold or the class that is left out."""

    view: str
    fold: int
    without: str


class TrainEncoders(Train):
    """Train an encoder for each fold, or for each class without that class."""

    method: Literal["train"] = "train"
    imagenet: bool = Field(
        True,
        description="Without 'weights' start a ResNet-18 from ImageNet's, downloaded once (47 MB) "
        "where there is a network; otherwise from random ones",
    )
    classes: tuple[str, ...] = Field(
        (), description="Classes, controls aside (default: what the screen calls impactful)"
    )
    class_by: Literal["condition", "gene"] = Field(
        "condition", description="What makes a class: the condition, or the gene it acts on"
    )
    hold_out: Literal["folds", "classes"] = Field(
        "folds", description="An encoder for every fold, or one without each class"
    )
    split_by: Literal["well", "plate", "field"] = Field(
        "well", description="What is held out together; by field, as published, wells leak"
    )
    n_folds: int = Field(4, ge=2, le=20, description="Folds, of which one tests")
    views: tuple[str, ...] = Field(
        ("nucleus",), description=f"What encoders see, one or more of {', '.join(VIEWS)}"
    )
    scale: Literal["plate", "nucleus"] = Field(
        "plate", description="Scaling of crops: keep intensities, or stretch each as published"
    )
    architecture: Architecture = Field("small", description="Network of every branch")
    widths: tuple[int, ...] = Field(
        (32, 64, 128, 128), description="Channels of the layers of 'small'"
    )
    nucleus_px: int = Field(64, ge=8, le=512, description="Edge that crops are resized to")
    region_px: int = Field(
        448, ge=8, multiple_of=4, description="Edge of the region around a nucleus, in the field"
    )
    region_input_px: int = Field(224, ge=8, description="Edge that regions are resized to")
    halve_regions: bool = Field(
        True, description="Cut regions from fields of half size, a quarter of the memory"
    )
    embedding_dim: int = Field(128, ge=2, le=4096, description="Length of the embedding")
    optimizer: Literal["adam", "adamw"] = Field("adamw", description="Optimiser")
    learning_rate: float = Field(2e-3, gt=0, description="Learning rate")
    decay: bool = Field(True, description="Let the rate fall to zero over 'max_epochs'")
    weight_decay: float = Field(0.02, ge=0, description="Weight decay")
    batch_size: int = Field(64, ge=2, description="Nuclei in a step")
    max_epochs: int = Field(30, ge=1, description="Most passes over the training nuclei")
    patience: int = Field(
        5, ge=0, description="Stop when more epochs in a row did not improve on the best"
    )
    augmentation: Literal["none", "flips", "full"] = Field(
        "full", description="Mirror nuclei, or also turn them and vary their brightness"
    )
    surest_nuclei: int = Field(
        4, ge=0, le=50, description="Held-out nuclei per class to explain by occlusion"
    )
    seed: int = Field(0, ge=0, description="Seed of folds and trainings (default: the pipeline's)")

    @field_validator("views")
    @classmethod
    def _check_views(cls, views: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [view for view in views if view not in VIEWS]
        if unknown or not views or len(set(views)) < len(views):
            raise ValueError(f"expected one or more of {', '.join(VIEWS)}, each once")
        return views

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse channels, files and classes that are not there, and weights of no ResNet."""
        problems = super().check(experiment)
        if self.weights and self.architecture != "resnet18":
            problems.append(
                f"stage {self.title!r}: weights of a ResNet-18 can't start a network "
                f"{self.architecture!r}. Set 'architecture: resnet18' or leave them out."
            )
        known = set(list_classes(experiment, self.class_by)["class"])
        problems += [
            f"stage {self.title!r}: no class {name!r} with two wells in the layout, found "
            f"{', '.join(sorted(known - {CONTROL}))}. Set 'classes'."
            for name in self.classes
            if name not in known
        ]
        if len(known) < 2:
            problems.append(
                f"stage {self.title!r}: the layout has {len(known)} class(es) of two wells or "
                "more, controls included, expected two: nothing to tell apart."
            )
        return problems

    def notes(self, experiment: Experiment) -> list[str]:
        """Say that a ResNet starts from nothing, and that folds by field leak."""
        notes = []
        if self.architecture == "resnet18":
            notes += explain_start(self.title, self.weights, imagenet=self.imagenet)
        if self.split_by == "field":
            notes.append(
                f"stage {self.title!r}: folds by field leak, wells are in training and test; the "
                "report marks its accuracies."
            )
        return notes

    # ------------------------------------------------------------------ units

    def _units(self, experiment: Experiment) -> dict[str, _Unit]:
        """List what is trained, by key."""
        if self.hold_out == "folds":
            return {
                f"{view}/fold-{fold}": _Unit(view, fold, "")
                for view in self.views
                for fold in range(self.n_folds)
            }
        known = list_classes(experiment, self.class_by)["class"].drop_duplicates()
        names = [name for name in known if name != CONTROL and name in (self.classes or {*known})]
        return {
            f"{view}/without-{name}": _Unit(view, 0, name) for view in self.views for name in names
        }

    def keys(self, experiment: Experiment) -> list[str]:
        """One unit per view and fold, or per view and class that may be left out."""
        return list(self._units(experiment))

    def external_files(self, experiment: Experiment) -> object:
        """Give the stamp of the weights."""
        weights = self._find_weights()
        return list(files.stat(weights)) if weights else []

    def _find_weights(self) -> str | None:
        """Give the file that ResNets start from; None for none."""
        wanted = self.imagenet and self.architecture == "resnet18"
        return find_weights(self.weights, imagenet=wanted)

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Train one encoder."""
        url = experiment.model_url(self.title, key)
        unit = self._units(experiment)[key]
        wells, notes = self._choose_wells(experiment)
        described = {"unit": key, "view": unit.view, "fold": unit.fold, "without": unit.without}
        if unit.without and unit.without not in set(wells["class"]):
            return delayed(skip_unit)(
                described, note="no class of the others", url=experiment.part_url(self.title, key)
            )
        classes = sorted({*wells["class"]} - {CONTROL, unit.without})
        controls = [CONTROL] if CONTROL in set(wells["class"]) else []
        plan = TrainPlan(
            pool=self._plan_pool(experiment, wells),
            wells=tuple(wells.index),
            plates=tuple(wells["plate"]),
            labels=tuple(wells["class"]),
            classes=(*controls, *classes),
            group=self.split_by,
            n_folds=self.n_folds,
            fold=unit.fold,
            control=CONTROL,
            settings={
                "architecture": self.architecture,
                "view": unit.view,
                "channels": self.channels,
                "embedding_dim": self.embedding_dim,
                "nucleus_px": self.nucleus_px,
                "region_px": self.region_input_px,
                "window_px": self.region_px,
                "halved": self.halve_regions,
                "scale": self.scale,
                "widths": self.widths,
            },
            training={name: getattr(self, name) for name in TRAINING},
            n_surest=self.surest_nuclei,
        )
        checkpoint = f"{url}.{self._stamp(experiment, key)}.checkpoint"
        weights = self._find_weights()
        trained = delayed(train_unit)(
            plan,
            bind_files(weights, checkpoint),
            split_seed=seed_sequence(self.seed, self.title, "folds"),
            seed=seed_sequence(self.seed, self.title, key),
        )
        start = weights or "drawn from the seed"
        return delayed(write_trained)(
            trained,
            described={**described, "start": start, "note": "; ".join(notes)},
            url=url,
            part_urls={
                name: experiment.part_url(f"{self.title}-{name}" if name else self.title, key)
                for name in ("", *TABLES)
            },
        )

    def _stamp(self, experiment: Experiment, key: str) -> str:
        """Fingerprint a training, so that no other one's checkpoint is taken for its own."""
        upstream = {
            f"{entry.stage}:{entry.key}": entry.fingerprint
            for name in self.needs
            for entry in experiment.ledger.entries(name)
            if entry.event == "done"
        }
        return self.fingerprint(experiment, key, upstream)

    def _choose_wells(self, experiment: Experiment) -> tuple[pd.DataFrame, list[str]]:
        """List the wells that are used, with their classes, and notes on what is not."""
        wells = list_classes(experiment, self.class_by)
        chosen = set(self.classes) or self._find_impactful(experiment)
        if chosen is not None:
            wells = wells[wells["class"].isin(chosen | {CONTROL})]
        crop = self.upstream_title("crop")
        wells = wells.assign(n_nuclei=[count_crops(experiment, crop, key) for key in wells.index])
        empty = wells[wells["n_nuclei"] == 0]
        notes = [f"wells without nuclei: {', '.join(empty.index)}"] if len(empty) else []
        wells = wells[wells["n_nuclei"] > 0]
        left = sorted((chosen or set()) - set(wells["class"]) - {CONTROL})
        notes += [f"classes without two wells or without nuclei: {', '.join(left)}"] if left else []
        if wells["class"].nunique() < 2 + (self.hold_out == "classes"):
            raise I2RError(
                f"stage {self.title!r}: {wells['class'].nunique()} class(es) with nuclei, controls "
                "included, expected more: nothing to tell apart. List 'classes', or look at what "
                "the screen calls impactful."
            )
        return wells, notes

    def _find_impactful(self, experiment: Experiment) -> set[str] | None:
        """Give the classes that the screen calls impactful; None without such a screen."""
        screen = self.upstream_title("screen")
        if not screen:
            return None
        table = experiment.table(screen)
        found = table[table["impactful"].fillna(False).astype(bool)]
        return set(name_classes(found, self.class_by))

    def _count_taken(self, wells: pd.DataFrame) -> np.ndarray:
        """Count the nuclei that are read of each well."""
        is_control = (wells["class"] == CONTROL).to_numpy()
        counts = wells["n_nuclei"].to_numpy()
        if not is_control.any() or is_control.all():
            return counts
        largest = wells[~is_control].groupby("class")["n_nuclei"].sum().max()
        share = -(-int(largest) // int(is_control.sum()))
        return np.where(is_control, np.minimum(counts, share), counts)

    def _plan_pool(self, experiment: Experiment, wells: pd.DataFrame) -> PoolPlan:
        """Say which nuclei are read: all, and of controls as many as the largest class has."""
        taken = self._count_taken(wells)
        shows_regions = any("region" in view for view in self.views)
        return plan_pool(
            experiment,
            list(wells.index),
            crop=self.upstream_title("crop"),
            segment=self.upstream_title("segment"),
            channels=self.channels,
            n_taken=taken.tolist(),
            seed=self.seed,
            window=Window(self.region_px, self.halve_regions) if shows_regions else None,
        )

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """The nuclei and fields of the wells that are used as far as is known, network, and torch.

        Which classes are used is known once the screen is done; a unit is asked again when it is
        about to run.
        """
        wells = self._list_known_wells(experiment)
        crops = int(self._count_taken(wells).sum()) * len(self.channels) * 64 * 64 * 2
        fields = 0
        if any("region" in view for view in self.views):
            view = RegionView((0,) * len(self.channels), self.region_px, halved=self.halve_regions)
            fields = sum(
                experiment.n_fields(key)
                * view.count_field_bytes(experiment.locate(key)[0].shape[1:])
                for key in wells.index
            )
        return crops + 2 * fields + 2**30

    def _list_known_wells(self, experiment: Experiment) -> pd.DataFrame:
        """List the wells that will be used: class and nuclei, 2,000 where they are not cut yet."""
        wells, crop = list_classes(experiment, self.class_by), self.upstream_title("crop")
        screen = self.upstream_title("screen")
        if not self.classes and screen and not experiment.ledger.is_merged(screen):
            wells = wells[:0]
        chosen = set(self.classes) or (self._find_impactful(experiment) if len(wells) else None)
        if chosen is not None:
            wells = wells[wells["class"].isin(chosen | {CONTROL})]
        counts = [
            count_crops(experiment, crop, key) if experiment.ledger.result(crop, key) else 2000
            for key in wells.index
        ]
        return wells.assign(n_nuclei=counts)

    def bytes_in(self, experiment: Experiment, key: str) -> int:
        """About 150 nuclei in every field."""
        wells = list_classes(experiment, self.class_by).index
        return sum(experiment.n_fields(k) for k in wells) * 150 * len(self.channels) * 64 * 64

    def bytes_out(self, experiment: Experiment, key: str) -> int:
        """The weights, and the optimiser's state beside them while it lasts."""
        return 4 * 2**22 if self.architecture == "small" else 4 * 2**27


# Fields that are options of a training; see `i2r.models.train_encoder.EncoderTraining`.
TRAINING = (
    "optimizer", "learning_rate", "decay", "weight_decay", "batch_size", "max_epochs", "patience",
    "augmentation",
)  # fmt: skip
