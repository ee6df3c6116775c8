"""How the screen trains the published network for one condition and fold."""

from hashlib import sha256
from typing import TYPE_CHECKING

from dask import delayed
from dask.delayed import Delayed

from i2r.lazy.contrasts import Contrast
from i2r.lazy.ensembles import EnsemblePlan, score_ensemble
from i2r.stages.base import seed_sequence
from i2r.stages.screen.plan import choose_wells
from i2r.stages.starts import bind_files, find_weights
from i2r.store.experiment import Experiment
from i2r.store.pools import Window, count_crops, plan_pool
from i2r.store.regions import RegionView
from i2r.store.scores import write_scores

if TYPE_CHECKING:
    from i2r.stages.screen import Screen

# Published: the edge of the region around a nucleus, in pixels of the field.
REGION_PX = 448


def build_published(
    screen: "Screen", experiment: Experiment, contrast: Contrast, fold: int
) -> Delayed:
    """Train the published network on all folds but one and score that one.

    The more numerous class is sampled down to the other's number of nuclei, as published, but
    evenly over its wells; a draw of controls has no more nuclei than what it copies.
    """
    pieces = zip(contrast.keys, contrast.fields, contrast.folds, strict=True)
    folds = tuple((f"{key}/{field}" if field else key, number) for key, field, number in pieces)
    treated = set(contrast.treated_keys)
    crop = screen.needed("crop")
    usable = choose_wells(experiment, crop, contrast)
    keys = [key for key in dict.fromkeys(contrast.keys) if key in usable]
    most = screen.limit_nuclei(experiment, contrast, by_field=False)
    counts = {
        key: min(count_crops(experiment, crop, key), most.get(experiment.wells[key].plate, 2**31))
        if key in treated
        else count_crops(experiment, crop, key)
        for key in keys
    }
    taken = balance_classes(counts, treated)
    window = Window(REGION_PX, screen.halve_regions) if "region" in screen.view else None
    pool = plan_pool(
        experiment,
        keys,
        crop=crop,
        segment=screen.needed("segment"),
        channels=screen.channels,
        n_taken=[taken[key] for key in keys],
        seed=screen.seed,
        window=window,
    )
    n_channels = len(screen.channels)
    plan = EnsemblePlan(
        pool=pool,
        wells=tuple(keys),
        is_treated=tuple(key in treated for key in keys),
        folds=folds,
        fold=fold,
        by_field=screen.split_by == "field",
        settings={
            "view": screen.view, "channels": screen.channels, "nucleus_px": screen.input_px,
            "region_px": screen.input_px, "window_px": REGION_PX, "halved": screen.halve_regions,
            "low": (0.0,) * n_channels, "high": (65535.0,) * n_channels,
        },
        max_epochs=screen.max_epochs,
    )  # fmt: skip
    key = f"{contrast.condition}/{fold}"
    weights = find_weights(screen.weights, imagenet=screen.imagenet)
    url = experiment.model_url(screen.title, key)
    # Named by all that decides the training, so that no other one's checkpoint is ever taken.
    decided = repr((plan, screen.seed, screen.outside(experiment)))
    stamp = sha256(decided.encode()).hexdigest()[:32]
    checkpoint = f"{url}.{stamp}.checkpoint"
    scored = score_ensemble(
        plan,
        bind_files(weights, checkpoint),
        seed=seed_sequence(screen.seed, screen.title, key),
    )
    return delayed(write_scores)(
        scored,
        condition=contrast.condition,
        kind=contrast.kind,
        fold=fold,
        urls={
            name: experiment.part_url(f"{screen.title}{name}", key)
            for name in ("-scores", "-calls")
        },
        model=url,
    )


def count_beside_crops(screen: "Screen", experiment: Experiment, wells: set[str]) -> int:
    """Bound the memory for the fields of some wells, both networks with their gradients, and torch.

    Adam keeps two numbers beside every weight and its gradient: 0.4 GB for 24 million weights. The
    activations of 32 nuclei in both branches take up to 4 GB at 224 px.
    """
    fields = 0
    if "region" in screen.view:
        channels = (0,) * len(screen.channels)
        view = RegionView(channels, REGION_PX, halved=screen.halve_regions)
        fields = sum(
            experiment.n_fields(key) * view.count_field_bytes(experiment.locate(key)[0].shape[1:])
            for key in wells
        )
    return 2 * fields + 2**30 + round(2**32 * (screen.input_px / 224) ** 2)


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
