"""The screen with a small network for every condition and fold."""

from functools import partial
from typing import Literal

from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.analysis.embedding.datasets import open_crops
from i2r.lazy.training import FoldPlan, score_fold
from i2r.stages.base import seed_sequence
from i2r.stages.screen.folds import FoldScreen
from i2r.stages.screen.plan import choose_wells
from i2r.store.experiment import Experiment
from i2r.store.features import choose_crops
from i2r.store.nuclei import read_channels
from i2r.store.scores import write_scores


class CnnScreen(FoldScreen):
    """Train a small network on the crops for every perturbation and fold."""

    method: Literal["cnn"] = "cnn"
    scale: Literal["plate", "nucleus"] = Field(
        "plate",
        description="Scaling of crops: 'plate' keeps intensities, 'nucleus' stretches each to "
        "8 bit as published, which discards absolute intensity",
    )
    passes: float = Field(8.0, gt=0, description="Times each treated nucleus is seen in training")
    max_steps: int = Field(600, ge=1, description="Most minibatches of a training")

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Train on all folds but one and score that one."""
        condition, _, fold = key.rpartition("/")
        contrast = self.find_contrast(experiment, key)
        crop = self.source
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
                most=most.get(experiment.wells[well].plate) if treated else None,
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
            urls=self.name_parts(experiment, key),
        )
