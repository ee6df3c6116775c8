"""Which nuclei of which wells a network is shown: planned on the client, read on a worker."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from i2r.kernels.pools import PoolArrays
from i2r.store.nuclei import read_nuclei, read_regions

if TYPE_CHECKING:
    from i2r.store.experiment import Experiment


class Window(NamedTuple):
    """The region around a nucleus: its edge in pixels of the field, and whether that is halved."""

    size_px: int
    halved: bool

    @property
    def cut_px(self) -> int:
        """Edge of the windows as they are cut."""
        return self.size_px // 2 if self.halved else self.size_px


class PoolPlan(NamedTuple):
    """Which nuclei of which wells; equal plans read the same.

    Attributes
    ----------
    crops, crop_tables, segments
        Per well: where its crops, its part of the crop table and its part of the table of
        measured nuclei are.
    images
        Per well: names and image groups of its fields.
    functions
        Per well: index of a channel and URL of its illumination function, for those that the
        crops were corrected with.
    n_nuclei, n_taken
        Per well: how many crops there are, and how many of them are used.
    channels
        Per well: indices of the channels.
    stamp
        Version of all that is read.
    seed
        Of the choice of nuclei.
    window
        The region; None where no network is shown any.
    """

    crops: tuple[str, ...]
    crop_tables: tuple[str, ...]
    segments: tuple[str, ...]
    images: tuple[tuple[tuple[str, str], ...], ...]
    functions: tuple[tuple[tuple[int, str], ...], ...]
    n_nuclei: tuple[int, ...]
    n_taken: tuple[int, ...]
    channels: tuple[tuple[int, ...], ...]
    stamp: str
    seed: int
    window: Window | None


def plan_pool(
    experiment: "Experiment",
    keys: Sequence[str],
    *,
    crop: str,
    segment: str,
    channels: Sequence[str],
    n_taken: Sequence[int] | None = None,
    seed: int = 0,
    window: Window | None = None,
) -> PoolPlan:
    """Plan to read the nuclei of some wells.

    Parameters
    ----------
    experiment, keys
        The wells.
    crop, segment
        Names of the stages that cut and measured the nuclei.
    channels
        Names of the channels.
    n_taken
        Per well: how many nuclei to use; default: all.
    seed
        Of the choice of nuclei.
    window
        The region, where one is wanted.
    """
    located = [experiment.locate(key) for key in keys]
    counts = [count_crops(experiment, crop, key) for key in keys]
    entries = [experiment.ledger.entry(crop, key) for key in keys]
    return PoolPlan(
        crops=tuple(experiment.crops_url(crop, key) for key in keys),
        crop_tables=tuple(experiment.part_url(crop, key) for key in keys),
        segments=tuple(experiment.part_url(segment, key) for key in keys),
        images=tuple(
            tuple((name, experiment.image_url(key, name)) for name in experiment.wells[key].fields)
            for key in keys
        ),
        functions=tuple(
            tuple(sorted(plate.find_functions(experiment.ledger.report(crop, key).after).items()))
            for (plate, _), key in zip(located, keys, strict=True)
        ),
        n_nuclei=tuple(counts),
        n_taken=tuple(counts if n_taken is None else n_taken),
        channels=tuple(
            tuple(plate.channels.index(channel) for channel in channels) for plate, _ in located
        ),
        stamp=" ".join(entry.fingerprint if entry else "" for entry in entries),
        seed=seed,
        window=window,
    )


def count_crops(experiment: "Experiment", crop: str, key: str) -> int:
    """Count the crops of a well, as its stage reported them; 0 where it is not done."""
    return experiment.ledger.report(crop, key).nuclei


def choose_nuclei(plan: PoolPlan, well: int) -> np.ndarray:
    """Choose which crops of a well are used, ascending, the same for the same plan."""
    n_nuclei, n_taken = plan.n_nuclei[well], plan.n_taken[well]
    if n_taken >= n_nuclei:
        return np.arange(n_nuclei)
    random = np.random.default_rng(np.random.SeedSequence(plan.seed, spawn_key=(well,)))
    return np.sort(random.choice(n_nuclei, n_taken, replace=False))


def read_pool(plan: PoolPlan) -> PoolArrays:
    """Read the nuclei of a plan, and the fields around them where it has a window."""
    chosen = [choose_nuclei(plan, well) for well in range(len(plan.crops))]
    nuclei = read_nuclei(plan.crops, plan.crop_tables, channels=plan.channels, chosen=chosen)
    if plan.window is None:
        return PoolArrays(*nuclei, None, None, 0)
    regions = read_regions(
        nuclei,
        plan.crop_tables,
        plan.segments,
        [dict(images) for images in plan.images],
        [dict(functions) for functions in plan.functions],
        channels=plan.channels,
        size_px=plan.window.size_px,
        halved=plan.window.halved,
    )
    return PoolArrays(*nuclei, regions.fields, regions.places, plan.window.cut_px)
