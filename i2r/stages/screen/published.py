"""The screen with the published network for every condition and fold."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Literal

from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.lazy.ensembles import EnsemblePlan, score_ensemble
from i2r.stages.base import seed_sequence
from i2r.stages.screen.folds import FoldScreen
from i2r.stages.screen.plan import choose_wells
from i2r.stages.starts import bind_files, explain_start, find_weights
from i2r.store import files
from i2r.store.experiment import Experiment
from i2r.store.pools import Window, count_crops, plan_pool
from i2r.store.regions import RegionView
from i2r.store.scores import write_scores

# Published: the edge of the region around a nucleus, in pixels of the field.
REGION_PX = 448


class PublishedScreen(FoldScreen):
    """Train the network of Image2Reg for every perturbation and fold.

    Two ResNet-18 on nucleus and region, 512 + 512 features to an embedding of 512, Adam 1e-5,
    weight decay 5e-4, batches of 32, class weights, mirrored images, patience 5 on the balanced
    accuracy of validation wells.
    """

    method: Literal["published"] = "published"
    view: Literal["nucleus+region", "nucleus", "region"] = Field(
        "nucleus+region", description="What the network is shown"
    )
    weights: str | None = Field(
        None,
        description="File of weights of a ResNet-18 to start from",
        json_schema_extra={"path": True},
    )
    imagenet: bool = Field(
        True,
        description="Without 'weights' start from ImageNet's, downloaded once (47 MB) where there "
        "is a network; otherwise from random ones",
    )
    input_px: int = Field(224, ge=32, description="Edge that nuclei and regions are resized to")
    halve_regions: bool = Field(
        False,
        description="Cut the regions from fields of half size: a quarter of the memory",
    )
    max_epochs: int = Field(300, ge=1, description="Most passes over the training nuclei")

    @property
    def chosen_upstream(self) -> Mapping[str, bool]:
        """Crops, and where their nuclei are in the fields."""
        return {"segment": True, **super().chosen_upstream}

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse what is not there: stages and weights."""
        problems = self.list_lacking("segment", "crop")
        if self.weights and not files.exists(self.weights):
            problems.append(
                f"{self.weights}: no such file, expected weights. Name another, or leave "
                "'weights' out."
            )
        return problems + super().check(experiment)

    def notes(self, experiment: Experiment) -> list[str]:
        """Say what the layout can't answer, and where ResNets start from nothing."""
        start = explain_start(self.title, self.weights, imagenet=self.imagenet)
        return [*super().notes(experiment), *start]

    def external_files(self, experiment: Experiment) -> object:
        """Give the stamp of the weights that the network starts from."""
        weights = find_weights(self.weights, imagenet=self.imagenet)
        return [weights, *files.stat(weights)] if weights else []

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Train the published network on all folds but one and score that one.

        The more numerous class is sampled down to the other's number of nuclei, as published, but
        evenly over its wells; a draw of controls has no more nuclei than what it copies.
        """
        contrast, fold = self.find_contrast(experiment, key), int(key.rpartition("/")[2])
        pieces = zip(contrast.keys, contrast.fields, contrast.folds, strict=True)
        folds = tuple((f"{key}/{field}" if field else key, number) for key, field, number in pieces)
        treated = set(contrast.treated_keys)
        crop = self.source
        usable = choose_wells(experiment, crop, contrast)
        keys = [key for key in dict.fromkeys(contrast.keys) if key in usable]
        most = self.limit_nuclei(experiment, contrast, by_field=False)
        counts = {
            key: min(
                count_crops(experiment, crop, key), most.get(experiment.wells[key].plate, 2**31)
            )
            if key in treated
            else count_crops(experiment, crop, key)
            for key in keys
        }
        taken = balance_classes(counts, treated)
        window = Window(REGION_PX, self.halve_regions) if "region" in self.view else None
        pool = plan_pool(
            experiment,
            keys,
            crop=crop,
            segment=self.upstream_title("segment"),
            channels=self.channels,
            n_taken=[taken[key] for key in keys],
            seed=self.seed,
            window=window,
        )
        n_channels = len(self.channels)
        plan = EnsemblePlan(
            pool=pool,
            wells=tuple(keys),
            is_treated=tuple(key in treated for key in keys),
            folds=folds,
            fold=fold,
            by_field=self.split_by == "field",
            settings={
                "view": self.view, "channels": self.channels, "nucleus_px": self.input_px,
                "region_px": self.input_px, "window_px": REGION_PX, "halved": self.halve_regions,
                "low": (0.0,) * n_channels, "high": (65535.0,) * n_channels,
            },
            max_epochs=self.max_epochs,
        )  # fmt: skip
        weights = find_weights(self.weights, imagenet=self.imagenet)
        url = experiment.model_url(self.title, key)
        # Named by all that decides the training, so that no other one's checkpoint is ever taken.
        decided = repr((plan, self.seed, self.external_files(experiment)))
        stamp = sha256(decided.encode()).hexdigest()[:32]
        checkpoint = f"{url}.{stamp}.checkpoint"
        scored = score_ensemble(
            plan,
            bind_files(weights, checkpoint),
            seed=seed_sequence(self.seed, self.title, key),
        )
        return delayed(write_scores)(
            scored,
            condition=contrast.condition,
            kind=contrast.kind,
            fold=fold,
            urls=self.name_parts(experiment, key),
            model=url,
        )

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """Bound the memory for crops, fields, both networks with their gradients, and torch.

        Adam keeps two numbers beside every weight and its gradient: 0.4 GB for 24 million weights.
        The activations of 32 nuclei in both branches take up to 4 GB at 224 px.
        """
        wells = set(self.find_contrast(experiment, key).keys)
        crops = len(wells) * 2000 * len(self.channels) * 64 * 64 * 4
        fields = 0
        if "region" in self.view:
            channels = (0,) * len(self.channels)
            view = RegionView(channels, REGION_PX, halved=self.halve_regions)
            fields = sum(
                experiment.n_fields(key)
                * view.count_field_bytes(experiment.locate(key)[0].shape[1:])
                for key in wells
            )
        return crops + 2 * fields + 2**30 + round(2**32 * (self.input_px / 224) ** 2)


def balance_classes(counts: dict[str, int], treated: set[str]) -> dict[str, int]:
    """Say how many nuclei to use of each well, so that both classes have about as many.

    Parameters
    ----------
    counts
        By well: its nuclei.
    treated
        The wells of one class; all others are of the other.

    Returns
    -------
    dict
        By well. Of the more numerous class every well gives at most the same number, the lowest
        with which the class still has as many nuclei as the other.
    """
    sides = [[k for k in counts if (k in treated) == side] for side in (True, False)]
    fewer, more = sorted(sides, key=lambda keys: sum(counts[k] for k in keys))
    wanted = sum(counts[key] for key in fewer)
    most, left = 0, wanted
    ascending = sorted(counts[key] for key in more)
    for number, count in enumerate(ascending):
        most = -(-left // (len(ascending) - number))
        if count >= most:
            break
        left -= count
    return {key: min(n, most) if key in more else n for key, n in counts.items()}
