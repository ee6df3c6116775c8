"""What a screen compares, planned once per run, and what its last unit writes."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from i2r.errors import I2RError
from i2r.lazy.contrasts import (
    COMPARED,
    UNCONTROLLED,
    Contrast,
    Group,
    ScreenPlan,
    find_uncontrolled,
    plan_contrasts,
)
from i2r.lazy.gene_tests import rank_genes
from i2r.lazy.plate_passes import PlatePlan
from i2r.lazy.ranking import CallRule, describe_statistics, rank_conditions, sum_calls
from i2r.lazy.screening import plan_plates
from i2r.stages.base import seed_sequence
from i2r.store import files, tables
from i2r.store.experiment import Experiment
from i2r.store.pools import count_crops

if TYPE_CHECKING:
    from i2r.stages.screen import Screen


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
    split_by: Group,
    n_folds: int,
    n_draws: int,
    seed: int,
    *,
    shared_controls: bool,
) -> ScreenPlan:
    """Plan a screen; see `i2r.lazy.contrasts.plan_contrasts`. Asked for again, it is there."""
    return _plan(_Layout(layout), split_by, n_folds, n_draws, seed, shared_controls)


@lru_cache(maxsize=8)
def _plan(
    layout: _Layout, split_by: Group, n_folds: int, n_draws: int, seed: int, shared: bool
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
    """

    compared: tuple[str, ...]
    plates: dict[str, PlatePlan]
    digest: str


def plan_passes(
    layout: pd.DataFrame, split_by: Group, n_folds: int, n_draws: int, seed: int
) -> PassPlan:
    """Plan a fast screen. Asked for again, it is there."""
    return _plan_passes(_Layout(layout), split_by, n_folds, n_draws, seed)


@lru_cache(maxsize=8)
def _plan_passes(
    layout: _Layout, split_by: Group, n_folds: int, n_draws: int, seed: int
) -> PassPlan:
    plan = _plan(layout, split_by, n_folds, n_draws, seed, True)
    contrasts = tuple(plan.contrasts.values())
    compared = sorted({key for contrast in contrasts for key in contrast.keys})
    roles = layout.table["role"].reindex(compared)
    is_control = [not compares for compares in roles.isin(COMPARED)]
    plates = plan_plates(compared, is_control, contrasts, by_field=split_by == "field")
    names = [column for column in ("condition", "role", "gene", "batch") if column in layout.table]
    content = sha256(repr(layout.table[names].astype(str).to_numpy().tolist()).encode())
    for plan_of_plate in plates.values():
        content.update(repr(plan_of_plate).encode())
    return PassPlan(tuple(compared), plates, content.hexdigest()[:32])


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
    results = {
        key: experiment.ledger.result(source, key)
        for key in dict.fromkeys(key for contrast in compared for key in contrast.keys)
    }
    counts = {key: int((result or {}).get("nuclei", 0)) for key, result in results.items()}
    reasons = {
        key: f"not done in stage {source!r}" if results[key] is None else "no nuclei"
        for key, count in counts.items()
        if not count
    }
    for contrast in compared:
        for key in find_uncontrolled(contrast, counts):
            if contrast.kind != "control_draw":
                reasons.setdefault(key, UNCONTROLLED)
    return [("well", key, reasons[key]) for key in sorted(reasons)]


def write_ranking(
    parts: Mapping[str, Sequence[str]],
    *,
    described: pd.DataFrame,
    folds: pd.DataFrame,
    plan: ScreenPlan,
    unused: Sequence[tuple[str, str, str]],
    teacher: str,
    options: "Screen",
    urls: Mapping[str, str],
) -> dict[str, Any]:
    """Write the ranking, and all it came from."""
    read = {
        name: tables.concatenate([tables.read_table(url) for url in given if files.exists(url)])
        for name, given in parts.items()
    }
    scores, tests = read["-scores"], read["-tests"]
    is_tested = len(tests) > 0 and tests["p_value"].notna().any()
    if not scores["balanced_accuracy"].notna().any() and not is_tested:
        raise I2RError(
            "no perturbation could be scored: there are too few nuclei everywhere. Look at the "
            "table 'crop'."
        )
    calls = sum_calls(read["-calls"])
    rule = CallRule(options.impactful, options.level, options.top, options.min_change)
    ranking = rank_conditions(
        scores, described, calls, tests,
        rule=rule, n_independent=plan.n_independent,
    )  # fmt: skip
    statistics = describe_statistics(
        ranking, read["-layout"], rule=rule, method=options.method, group=options.split_by,
        repeats=plan.repeats, n_independent=plan.n_independent, teacher=teacher,
    )  # fmt: skip
    lacking = pd.DataFrame(columns=["what", "where", "reason"], dtype=str)
    left_out = read["-left-out"] if len(read["-left-out"]) else lacking
    unscored = ranking[
        ranking["score"].isna() & ranking["p_value"].isna() & (ranking["kind"] != "control_draw")
    ]
    unscored = unscored[~unscored["condition"].isin(plan.notes)]
    notes = [
        *unused,
        *(
            ("condition", name, note)
            for name, note in [*plan.notes.items(), *unscored[["condition", "note"]].to_numpy()]
        ),
    ]
    noted = pd.DataFrame(notes, columns=["what", "where", "reason"], dtype=str)
    made = {
        "": ranking, "-folds": folds, "-scores": scores, "-calls": calls,
        "-statistics": statistics,
        **{name: read[name] for name in ("-features", "-wells") if len(read[name])},
        "-genes": rank_genes(ranking, read["-features"]),
        "-left-out": tables.concatenate([left_out, noted]).drop_duplicates(ignore_index=True),
    }  # fmt: skip
    for name, table in made.items():
        tables.write_table(urls[name], table)
    said = []
    if not scores["balanced_accuracy"].notna().any():
        said.append(
            f"stage {options.title!r}: wells have one row each, so their profiles are tested, and "
            "no nuclei are held out: there are p-values and no scores."
        )
    if teacher:
        said.append(
            f"stage {options.title!r}: {teacher!r} trained the encoder on wells of this screen and "
            "what is in them, so scores are too high and p-values too small. Screen features, or "
            "embed with an encoder from elsewhere."
        )
    return {"notes": said} if said else {}
