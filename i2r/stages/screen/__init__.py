"""Score every perturbation: how well its nuclei can be told from the controls'."""

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import median
from typing import ClassVar, Literal

import pandas as pd
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.lazy.condition_tests import warn_of_places
from i2r.lazy.contrasts import (
    Contrast,
    Group,
    ScreenPlan,
    describe_conditions,
    list_copied,
)
from i2r.lazy.datasets import open_crops
from i2r.lazy.ranking import Rule
from i2r.lazy.training import FoldPlan, score_fold
from i2r.stages.base import FINISH, Stage, seed_sequence
from i2r.stages.base import Group as Workers
from i2r.stages.screen.fast import (
    ALL,
    build_fast,
    estimate_bytes,
    find_teacher,
    list_followed,
    list_read,
    list_units,
)
from i2r.stages.screen.plan import (
    PassPlan,
    choose_wells,
    list_unused,
    plan_passes,
    plan_screen,
    write_ranking,
)
from i2r.stages.screen.published import build_published, count_beside_crops
from i2r.stages.starts import explain_start, find_weights
from i2r.store import files
from i2r.store.experiment import Experiment
from i2r.store.features import choose_crops
from i2r.store.nuclei import read_channels
from i2r.store.pools import count_crops
from i2r.store.scores import write_scores

TABLES = (
    "", "-folds", "-scores", "-calls", "-statistics", "-left-out", "-features", "-wells", "-genes",
)  # fmt: skip


class Screen(Stage):
    """Screen: each perturbation against the negative controls.

    For every perturbation (and dose, where there are several) a classifier learns to tell its
    nuclei from those of the negative controls of the same plates; wells are held out whole. The
    score is the mean held-out balanced accuracy, 0.5 for nothing learned, with an interval for
    wells like these. Sets of negative-control wells, placed like the perturbations, go the same
    way: for networks they are the null of the p-values. Conditions whose wells lie alike (as many
    positions and wells) share their sets, which have no more nuclei than these conditions' wells.

    'cnn' trains a small network on the crops for every perturbation and fold. 'fast' fits linear
    heads to the table of 'features', or to embeddings, all at once, and tests the wells' mean
    profiles against what replicates and controls differ by: seconds for a screen, and more power
    where features show the effect. It says which features moved, whether the number of nuclei
    explains a call, and what the layout can't answer. 'published' is
    the network of Image2Reg for every perturbation and fold: two ResNet-18 on nucleus and region,
    512 + 512 features to an embedding of 512, Adam 1e-5, weight decay 5e-4, batches of 32, class
    weights, mirrored images, patience 5 on the balanced accuracy of validation wells.
    """

    stage: Literal["screen"] = "screen"
    method: Literal["cnn", "fast", "published"] = Field(
        "cnn",
        description="A small network for every perturbation and fold, linear heads on features or "
        "embeddings, or the published network",
    )
    channels: tuple[str, ...] = Field(("DNA",), description="Channels that the network sees")
    scale: Literal["plate", "nucleus"] = Field(
        "plate",
        description="Scaling of crops: 'plate' keeps intensities, 'nucleus' stretches each to "
        "8 bit as published, which discards absolute intensity; 'published' always does",
    )
    split_by: Group = Field(
        "well",
        description="What is held out whole; by position, plate or the layout's column 'batch' is "
        "stricter, by field is as published, and leaks",
    )
    n_folds: int = Field(4, ge=2, le=20, description="Folds; fewer where there are fewer wells")
    control_draws: int = Field(
        20,
        ge=0,
        description="Sets of control wells scored like a perturbation, for the null; those of "
        "rarer layouts come on top",
    )
    permutations: int = Field(
        400, ge=50, description="Draws of the null of 'fast', in each of its five folds"
    )
    impactful: Rule = Field(
        "fdr",
        description="What makes a perturbation impactful: a false discovery rate below 'level', "
        "being among the 'top' scores, or a score before the knee of their curve",
    )
    level: float = Field(0.05, gt=0, lt=1, description="False discovery rate")
    min_change: float = Field(
        0.0,
        ge=0,
        description="Least change of an impactful condition of 'fast': of the feature that moved "
        "most, in standard deviations of control wells",
    )
    top: int = Field(41, ge=1, description="Perturbations that 'impactful: top' takes")
    passes: float = Field(8.0, gt=0, description="Times each treated nucleus is seen in training")
    max_steps: int = Field(600, ge=1, description="Most minibatches of a training")
    view: Literal["nucleus+region", "nucleus", "region"] = Field(
        "nucleus+region", description="What the network of 'published' is shown"
    )
    weights: str | None = Field(
        None,
        description="File of weights of a ResNet-18 that 'published' starts from",
        json_schema_extra={"path": True},
    )
    imagenet: bool = Field(
        True,
        description="Without 'weights' start 'published' from ImageNet's, downloaded once (47 MB) "
        "where there is a network; otherwise from random ones",
    )
    input_px: int = Field(
        224, ge=32, description="Edge that 'published' resizes nuclei and regions to"
    )
    halve_regions: bool = Field(
        False,
        description="Cut the regions of 'published' from fields of half size: a quarter of the "
        "memory",
    )
    max_epochs: int = Field(
        300, ge=1, description="Most passes of 'published' over the training nuclei"
    )
    seed: int = Field(
        0, ge=0, description="Seed of folds, draws and trainings (default: the pipeline's)"
    )

    version: ClassVar[int] = 6
    added_later: ClassVar[tuple[str, ...]] = ("min_change",)
    reads: ClassVar[Mapping[str, bool]] = {"crop": True}
    group: ClassVar[Workers] = "gpu"
    layout_columns: ClassVar[tuple[str, ...]] = ("perturbation", "gene", "dose", "role")

    @property
    def wanted(self) -> Mapping[str, bool]:
        """Crops for networks, and places for the published; features or embeddings for heads."""
        if self.method == "published":
            return {"segment": True, "crop": True}
        return self.reads if self.method == "cnn" else {"features": False, "embed": False}

    @property
    def worker_group(self) -> Workers:
        """Only networks want GPUs."""
        return "cpu" if self.method == "fast" else "gpu"

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse what is not there, and layouts with too few controls."""
        where = f"stage {self.title!r}"
        seen = self.channels if self.method != "fast" else ()
        problems = self.list_missing_channels(experiment, seen)
        if self.method == "published":
            problems += self.list_lacking("segment", "crop")
            if self.weights and not files.exists(self.weights):
                problems.append(
                    f"{self.weights}: no such file, expected weights. Name another, or leave "
                    "'weights' out."
                )
        if self.method == "fast" and not self.needed(*self.wanted):
            problems.append(
                f"{where}: 'fast' needs a stage 'features' or 'embed' before it. Add one, or take "
                "the method 'cnn'."
            )
        if self.method != "fast" and self.min_change > 0:
            problems.append(
                f"{where}: 'min_change' needs the method 'fast': networks name no features. Leave "
                "it out, or take 'fast'."
            )
        if self.split_by == "batch" and "batch" not in experiment.layout:
            problems.append(
                f"{where}: the layout has no column 'batch', found "
                f"{', '.join(experiment.layout.columns[:7])}. Add it, or split by something else."
            )
            return problems
        n_controls = int((experiment.layout["role"] == "negative_control").sum())
        if n_controls < 2:
            problems.append(
                f"{where}: the layout has {n_controls} negative control well, "
                "expected 2 or more: wells are held out whole, so one has to be left for training."
            )
        elif not self.contrasts(experiment):
            notes = list(self.plan(experiment).notes.items())[:3]
            reasons = "; ".join(f"{name}: {note}" for name, note in notes) or "nothing is treated"
            problems.append(
                f"{where}: no perturbation can be compared ({reasons}). Each needs two wells or "
                "more, on plates with negative controls."
            )
        return problems

    def notes(self, experiment: Experiment) -> list[str]:
        """Say what the layout can't answer, and where ResNets start from nothing."""
        said = [
            f"stage {self.title!r}: {words}" for words in warn_of_places(experiment.layout_by_key)
        ]
        if self.method == "published":
            said += explain_start(self.title, self.weights, imagenet=self.imagenet)
        return said

    # ------------------------------------------------------------------ units

    def version_of(self, key: str) -> int:
        """Networks train as before version 5; only the ranking at the end has changed."""
        return type(self).version if self.method == "fast" or key == FINISH else 4

    def plan(self, experiment: Experiment) -> ScreenPlan:
        """List what is compared, and what is not, with the fold of every well."""
        return plan_screen(
            experiment.layout_by_key, self.split_by, self.n_folds, self.control_draws, self.seed,
            shared_controls=self.method == "fast",
        )  # fmt: skip

    def contrasts(self, experiment: Experiment) -> dict[str, Contrast]:
        """List what is compared, by condition."""
        return self.plan(experiment).contrasts

    def keys(self, experiment: Experiment) -> list[str]:
        """One unit per condition and fold; passes over plates for the fast screen."""
        if self.method == "fast":
            return list_units(self.plan_passes(experiment))
        return [
            f"{contrast.condition}/{fold}"
            for contrast in self.contrasts(experiment).values()
            for fold in range(contrast.n_folds)
        ]

    def used_keys(self, experiment: Experiment, key: str, upstream: Stage) -> Sequence[str]:
        """The wells of the perturbation and its controls; for draws those that they copy too."""
        if self.method == "fast":
            return list_read(self.plan_passes(experiment), key)
        contrast = self.contrasts(experiment)[key.rpartition("/")[0]]
        copied = list_copied(self.contrasts(experiment).values(), contrast)
        return tuple(dict.fromkeys([*contrast.keys, *copied]))

    def follows(self, experiment: Experiment, key: str) -> Sequence[str]:
        """The earlier passes of the fast screen over plates."""
        if self.method != "fast":
            return ()
        return list_followed(self.plan_passes(experiment), key)

    def inputs(self, experiment: Experiment, key: str) -> object:
        """Describe which wells are compared and how they are folded."""
        if self.method == "fast":
            passes = self.plan_passes(experiment)
            few = len(list_units(passes)) == 1
            return self.whole_layout(experiment) if few else passes.digest
        contrast = self.contrasts(experiment)[key.rpartition("/")[0]]
        compared = [contrast.keys, contrast.fields, contrast.is_treated, contrast.folds]
        return [*compared, self.outside(experiment)]

    def outside(self, experiment: Experiment) -> object:
        """Give the stamp of the weights that a published network starts from."""
        if self.method != "published":
            return []
        weights = find_weights(self.weights, imagenet=self.imagenet)
        return [weights, *files.stat(weights)] if weights else []

    def plan_passes(self, experiment: Experiment) -> PassPlan:
        """Cut the comparisons of the fast screen into plates."""
        return plan_passes(
            experiment.layout_by_key, self.split_by, self.n_folds, self.control_draws, self.seed
        )

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Train on all folds but one and score that one; 'fast' does a pass over a plate."""
        if self.method == "fast":
            return build_fast(self, experiment, key)
        condition, _, fold = key.rpartition("/")
        contrast = self.contrasts(experiment)[condition]
        if self.method == "published":
            return build_published(self, experiment, contrast, int(fold))
        crop = self.needed("crop")
        wells = choose_wells(experiment, crop, contrast)
        found = {well: experiment.ledger.entry(crop, well) for well in wells}
        stamps = {well: entry.fingerprint for well, entry in found.items() if entry is not None}
        usable = [
            piece
            for piece in zip(
                contrast.keys, contrast.fields, contrast.is_treated, contrast.folds, strict=True
            )
            if piece[0] in stamps
        ]
        plate, _ = experiment.locate(contrast.keys[0])
        plan = FoldPlan(
            urls=tuple(experiment.crops_url(crop, well) for well, *_ in usable),
            wells=tuple(f"{well}/{field}" if field else well for well, field, *_ in usable),
            is_treated=tuple(treated for _, _, treated, _ in usable),
            folds=tuple(number for *_, number in usable),
            fold=int(fold),
            channels=tuple(plate.channels.index(channel) for channel in self.channels),
        )
        most = self.limit_nuclei(experiment, contrast, by_field=self.split_by == "field")
        crops = [
            delayed(choose_crops)(
                delayed(open_crops)(
                    (url, plan.channels, stamps[well]),
                    partial(read_channels, url, channels=plan.channels),
                ),
                part_url=experiment.part_url(crop, well), field=field,
                most=most.get(_split(experiment, well)[0]) if treated else None,
                seed=seed_sequence(self.seed, self.title, f"{condition}/{well}/{field}"),
            )
            for url, (well, field, treated, _) in zip(plan.urls, usable, strict=True)
        ]  # fmt: skip
        scored = score_fold(
            delayed(list)(crops),
            plan,
            scale=self.scale,
            passes=self.passes,
            max_steps=self.max_steps,
            seed=seed_sequence(self.seed, self.title, key),
        )
        return delayed(write_scores)(
            scored,
            condition=condition,
            kind=contrast.kind,
            fold=int(fold),
            urls={
                name: experiment.part_url(f"{self.title}{name}", key)
                for name in ("-scores", "-calls")
            },
        )

    def limit_nuclei(
        self, experiment: Experiment, draw: Contrast, *, by_field: bool
    ) -> dict[str, int]:
        """Give by plate how many nuclei the wells, or fields, that a draw copies typically have."""
        counts: dict[str, list[float]] = {}
        for key in list_copied(self.contrasts(experiment).values(), draw):
            n_pieces = experiment.n_fields(key) if by_field else 1
            found = count_crops(experiment, self.needed("crop"), key) / n_pieces
            counts.setdefault(_split(experiment, key)[0], []).append(found)
        return {plate: max(1, round(median(found))) for plate, found in counts.items()}

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Rank the perturbations; write folds, scores of every fold and how p-values are made."""
        plan = self.plan(experiment)
        keys = [ALL] if self.method == "fast" else sorted(keys)
        source = self.needed(*self.wanted) if self.method == "fast" else self.needed("crop")
        folds = pd.DataFrame(
            [
                (c.condition, c.kind, *_split(experiment, well), field, treated, fold)
                for c in plan.contrasts.values()
                for well, field, treated, fold in zip(
                    c.keys, c.fields, c.is_treated, c.folds, strict=True
                )
            ],
            columns=["condition", "kind", "plate", "well", "field", "is_treated", "fold"],
        )
        return delayed(write_ranking)(
            {
                name: [experiment.part_url(f"{self.title}{name}", key) for key in keys]
                for name in (
                    "-scores",
                    "-calls",
                    "-tests",
                    "-left-out",
                    "-features",
                    "-wells",
                    "-layout",
                )
            },
            described=describe_conditions(experiment.layout_by_key, plan),
            folds=folds,
            plan=plan._replace(contrasts={}),
            unused=list_unused(experiment, source, plan.contrasts.values()),
            teacher=find_teacher(experiment, source) if self.method == "fast" else "",
            options=self,
            urls={name: experiment.table_url(f"{self.title}{name}") for name in TABLES},
        )

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """Crops of the wells compared, at most 2,000 each, fields, and torch; or a plate's."""
        if self.method == "fast":
            return estimate_bytes(self, experiment, key)
        contrast = self.contrasts(experiment)[key.rpartition("/")[0]]
        wells = set(contrast.keys)
        crops = len(wells) * 2000 * len(self.channels) * 64 * 64 * 4
        if self.method == "published":
            return crops + count_beside_crops(self, experiment, wells)
        return crops + 2**29

    def bytes_in(self, experiment: Experiment, key: str) -> int:
        """About 150 nuclei in every field."""
        if self.method == "fast":
            read = list_read(self.plan_passes(experiment), key)
            return 150 * 85 * 4 * sum(map(experiment.n_fields, read))
        contrast = self.contrasts(experiment)[key.rpartition("/")[0]]
        fields = sum(experiment.n_fields(well) for well in set(contrast.keys))
        return fields * 150 * len(self.channels) * 64 * 64


def _split(experiment: Experiment, key: str) -> tuple[str, str]:
    record = experiment.wells[key]
    return record.plate, record.well
