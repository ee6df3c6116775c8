"""What a screen compares, planned once per run."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import pandas as pd

from i2r.analysis.screen.condition_blocks import Block, plan_blocks
from i2r.analysis.screen.condition_tests import TestedWells
from i2r.analysis.screen.contrasts import (
    UNCONTROLLED,
    ScreenPlan,
    find_lacking,
    find_uncontrolled,
    plan_contrasts,
)
from i2r.analysis.screen.held_out import (
    COMPARED,
    Contrast,
    SplitBy,
    list_compared,
    list_sides,
)
from i2r.analysis.screen.plate_plans import PlatePlans
from i2r.stages.base import seed_sequence
from i2r.store.catalog import list_texts
from i2r.store.experiment import Experiment
from i2r.store.pools import count_crops


class _Layout:
    """The layout as a key of a cache: equal only to itself, which holds while a run lasts."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table

    def __hash__(self) -> int:
        return id(self.table)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Layout) and other.table is self.table


def plan_screen(
    layout: pd.DataFrame,
    split_by: SplitBy,
    n_folds: int,
    n_draws: int,
    seed: int,
    *,
    shared_controls: bool,
) -> ScreenPlan:
    """Plan a screen, once for the same wells and options; see `contrasts.plan_contrasts`."""
    return _plan(_Layout(layout), split_by, n_folds, n_draws, seed, shared_controls)


@lru_cache(maxsize=8)
def _plan(
    layout: _Layout, split_by: SplitBy, n_folds: int, n_draws: int, seed: int, shared: bool
) -> ScreenPlan:
    return plan_contrasts(
        layout.table,
        group=split_by,
        n_folds=n_folds,
        n_draws=n_draws,
        seed=seed_sequence(seed, "screen", "folds"),
        shared_controls=shared,
    )


class PassPlan(NamedTuple):
    """Comparisons of the fast screen, cut into plates.

    Attributes
    ----------
    compared
        Keys of all wells of all comparisons, sorted.
    plates
        By plate, in the order of these wells.
    digest
        Of all that, and of the layout behind it.
    blocks
        What is tested together; one for all where wells are few.
    n_comparisons
        Of the screen.
    """

    compared: tuple[str, ...]
    plates: PlatePlans
    digest: str
    blocks: tuple[Block, ...]
    n_comparisons: int

    @property
    def rest(self) -> list[int]:
        """Numbers of the comparisons that lie in several blocks."""
        within = {number for block in self.blocks for number in block.comparisons}
        return [number for number in range(self.n_comparisons) if number not in within]


def plan_passes(
    layout: pd.DataFrame, split_by: SplitBy, n_folds: int, n_draws: int, seed: int
) -> PassPlan:
    """Plan a fast screen. Asked for again, it is there."""
    return _plan_passes(_Layout(layout), split_by, n_folds, n_draws, seed)


@lru_cache(maxsize=8)
def _plan_passes(
    layout: _Layout, split_by: SplitBy, n_folds: int, n_draws: int, seed: int
) -> PassPlan:
    plan = _plan(layout, split_by, n_folds, n_draws, seed, True)
    contrasts = tuple(plan.contrasts.values())
    compared = list_compared(contrasts)
    roles = layout.table["role"].reindex(compared)
    is_control = [not compares for compares in roles.isin(COMPARED)]
    plates = PlatePlans(compared, is_control, contrasts, by_field=split_by == "field")
    names = [column for column in ("condition", "role", "gene", "batch") if column in layout.table]
    content = sha256(repr(list_texts(layout.table, names)).encode())
    for plan_of_plate in plates.values():
        content.update(repr(plan_of_plate).encode())
    held = layout.table["condition"].reindex(compared).astype(str)
    conditions = np.where(is_control, "", held).tolist()
    blocks = plan_blocks(compared, conditions, contrasts)
    return PassPlan(tuple(compared), plates, content.hexdigest()[:32], blocks, len(contrasts))


def choose_wells(experiment: Experiment, crop: str, contrast: Contrast) -> set[str]:
    """Give the wells of a comparison that have crops and, on their plates, controls that have."""
    done = {key for key in contrast.keys if experiment.ledger.result(crop, key) is not None}
    counts = {key: count_crops(experiment, crop, key) for key in done}
    return done - find_uncontrolled(contrast, counts)


def list_unused(
    experiment: Experiment, source: str, contrasts: Iterable[Contrast]
) -> list[tuple[str, str, str]]:
    """List the wells that were to be compared and are not: what, where, reason.

    Parameters
    ----------
    experiment
        The experiment.
    source
        The stage whose crops, features or embeddings are compared.
    contrasts
        All comparisons.
    """
    compared = list(contrasts)
    results = {key: experiment.ledger.result(source, key) for key in list_compared(compared)}
    counts = {key: int((result or {}).get("nuclei", 0)) for key, result in results.items()}
    reasons = {
        key: f"not done in stage {source!r}" if results[key] is None else "no nuclei"
        for key, count in counts.items()
        if not count
    }
    lacking = {id(side): find_lacking(side, counts) for side in list_sides(compared)}
    uncontrolled = [
        key
        for contrast in compared
        if contrast.kind != "control_draw"
        for key in contrast.treated_keys
        if key.rpartition("/")[0] in lacking[id(contrast.controls)]
    ]
    reasons = dict.fromkeys(uncontrolled, UNCONTROLLED) | reasons
    return [("well", key, reasons[key]) for key in sorted(reasons)]


def list_counted(
    experiment: Experiment, crop: str, needs: Sequence[str], contrasts: Iterable[Contrast]
) -> TestedWells:
    """List the wells of all comparisons with their numbers of nuclei, and no profiles."""
    compared = list_compared(contrasts)
    keys = [key for key in compared if experiment.ledger.result(crop, key) is not None]
    rows = experiment.layout_by_key.loc[keys]
    return TestedWells(
        keys=keys,
        plates=rows["plate"].astype(str).tolist(),
        positions=rows["well"].astype(str).tolist(),
        conditions=[
            str(condition) if role in COMPARED else ""
            for condition, role in zip(rows["condition"], rows["role"], strict=True)
        ],
        doses=pd.to_numeric(rows["dose"], errors="coerce").astype(float).tolist(),
        compounds=rows["perturbation"].astype(str).tolist(),
        n_fields=[len(experiment.fields(key, needs)) for key in keys],
        names=("",),
        means=np.zeros((len(keys), 1)),
        variances=np.ones((len(keys), 1)),
        counts=np.array([count_crops(experiment, crop, key) for key in keys], dtype=np.intp),
    )
