"""The fast screen: heads from the sums of plates; scores, calls and tests from their calls."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import compress
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from i2r.analysis.screen.condition_tests import ConditionTests, TestedWells, run_condition_tests
from i2r.analysis.screen.contrasts import HALVES, Contrast
from i2r.analysis.screen.plate_passes import (
    MAX_FEATURES,
    MAX_MISSING,
    MAX_TESTED,
    PlateCalls,
    PlateHeads,
    PlatePlan,
    PlateSums,
    Reader,
    call_controls,
    call_treated,
    differ,
    has_standard,
    sum_plate,
)
from i2r.analysis.screen.ranking import sum_calls
from i2r.errors import I2RError
from i2r.kernels.heads import HeadSums, fit_heads
from i2r.kernels.standardisation import find_axes

Flags = npt.NDArray[np.bool_]


class FastPlan(NamedTuple):
    """What the fast screen compares.

    Attributes
    ----------
    keys, plates, positions, n_fields
        Of every well that takes part, in a fixed order; fields are those that were used.
    conditions
        Of every well; "" for negative controls.
    contrasts
        All comparisons.
    by_field
        Whether fields are held out in place of whole wells.
    doses, compounds
        Of every well: dose and perturbation; NaN where there is none.
    """

    keys: tuple[str, ...]
    plates: tuple[str, ...]
    positions: tuple[str, ...]
    n_fields: tuple[int, ...]
    conditions: tuple[str, ...]
    contrasts: tuple[Contrast, ...]
    by_field: bool
    doses: tuple[float, ...] = ()
    compounds: tuple[str, ...] = ()


class FastScores(NamedTuple):
    """Tables of the fast screen.

    Attributes
    ----------
    scores
        One row per comparison and fold: condition, kind, fold, balanced_accuracy, auc,
        n_test_treated, n_test_control, note.
    calls
        One row per comparison and held-out well: condition, plate, well, is_treated, n_nuclei,
        n_called.
    tests, features, wells, layout
        See `i2r.analysis.screen.condition_tests.ConditionTests`.
    left_out
        What was not used, and why: what, where, reason.
    """

    scores: pd.DataFrame
    calls: pd.DataFrame
    tests: pd.DataFrame
    left_out: pd.DataFrame
    features: pd.DataFrame
    wells: pd.DataFrame
    layout: pd.DataFrame


class Fitted(NamedTuple):
    """What a screen's heads say beside their directions.

    Attributes
    ----------
    tested : (feature,) str
        Names of what is tested.
    left_out : (row, 3) str
        What, where, reason.
    has_nuclei : (1,) bool
        Whether any well has several nuclei: heads need them.
    """

    tested: npt.NDArray[np.str_]
    left_out: npt.NDArray[np.str_]
    has_nuclei: Flags


def plan_plates(
    keys: Sequence[str],
    is_control: Sequence[bool],
    contrasts: Sequence[Contrast],
    *,
    by_field: bool,
) -> dict[str, PlatePlan]:
    """Cut a screen's comparisons into plates.

    Parameters
    ----------
    keys, is_control
        Of every well that takes part, in the screen's order.
    contrasts
        All comparisons; a piece is in the same fold in all of them.
    by_field
        Whether fields are held out in place of whole wells.

    Returns
    -------
    dict
        By plate, in the order of their first wells.
    """
    n_folds = 1 + max((fold for contrast in contrasts for fold in contrast.folds), default=0)
    own: dict[str, list[int]] = {}
    for number, key in enumerate(keys):
        own.setdefault(key.rpartition("/")[0], []).append(number)
    plans = {
        plate: PlatePlan(
            tuple(keys[n] for n in numbers), tuple(is_control[n] for n in numbers),
            by_field, {}, {}, n_folds,
        )
        for plate, numbers in own.items()
    }  # fmt: skip
    known = {key: plans[key.rpartition("/")[0]] for key in keys}
    seen: set[frozenset[str]] = set()
    for number, contrast in enumerate(contrasts):
        pieces: Iterable[tuple[str, str, bool, int]] = zip(
            contrast.keys, contrast.fields, contrast.is_treated, contrast.folds, strict=True
        )
        on = frozenset(key.rpartition("/")[0] for key in contrast.treated_keys)
        if on in seen and contrast.kind != "control_draw":
            # The controls of these plates are known already, two hundred for one condition.
            pieces = compress(pieces, contrast.is_treated)
        elif contrast.kind != "control_draw":
            seen.add(on)
        for key, field, is_treated, fold in pieces:
            if key not in known:
                continue
            plan, piece = known[key], (key, field)
            plan.folds[piece] = fold  # type: ignore[index]
            if is_treated:
                before = plan.comparisons.get(piece, ())
                plan.comparisons[piece] = (*before, number)  # type: ignore[index]
    return plans


def score_plates(
    plan: FastPlan, readers: Sequence[Reader], *, n_draws: int, seed: np.random.SeedSequence
) -> FastScores:
    """Score and test a screen of a few plates, one after another.

    Parameters
    ----------
    plan, readers
        What is compared, and what reads the features of each of its wells.
    n_draws, seed
        Of the null of the tests.

    Raises
    ------
    I2RError
        If wells have different features, or the controls no nuclei.
    """
    is_control = [condition == "" for condition in plan.conditions]
    plans = plan_plates(plan.keys, is_control, plan.contrasts, by_field=plan.by_field)
    of_well = dict(zip(plan.keys, readers, strict=True))
    of_plate = {name: [of_well[key] for key in own.keys] for name, own in plans.items()}
    sums = {name: sum_plate(own, of_plate[name]) for name, own in plans.items()}
    fitted, found = fit_screen(
        plans,
        lambda name: sums[name],
        lambda name, usable: sum_plate(plans[name], of_plate[name], usable=usable),
        n_comparisons=len(plan.contrasts),
    )
    heads = dict(found)
    treated = {name: call_treated(own, of_plate[name], heads[name]) for name, own in plans.items()}
    controls = {
        name: call_controls(own, of_plate[name], heads[name], lambda other: treated[other])
        for name, own in plans.items()
    }
    calls = (part for name in plans for part in (treated[name], controls[name]))
    names = [name for name in plans for _ in range(2)]
    return finish_screen(
        plan, plans, fitted, zip(names, calls, strict=True), n_draws=n_draws, seed=seed
    )


# --------------------------------------------------------------------------- heads


def fit_screen(
    plans: Mapping[str, PlatePlan],
    load: Callable[[str], PlateSums],
    again: Callable[[str, Flags], PlateSums],
    *,
    n_comparisons: int,
) -> tuple[Fitted, Iterator[tuple[str, PlateHeads]]]:
    """Fit all heads from the sums of plates.

    Parameters
    ----------
    plans
        By plate.
    load
        Gives the sums of a plate by name.
    again
        Adds a plate up anew with the features that the screen uses; asked only for plates where
        nuclei lack features, and others than in the whole screen.
    n_comparisons
        Of the screen.

    Returns
    -------
    fitted : Fitted
    heads : iterator of (str, PlateHeads)
        Plate by plate.

    Raises
    ------
    I2RError
        If plates have different features, or the controls no nuclei.
    """
    usable, left_out, has_nuclei = _choose_features(plans, load)
    d = int(usable.sum())
    n_folds = next(iter(plans.values())).n_folds
    total = _Total(n_comparisons, len(plans), n_folds, d)
    standards: dict[str, PlateSums] = {}
    for number, (name, plan) in enumerate(plans.items()):
        sums = load(name)
        if not np.array_equal(sums.usable, usable):
            sums = again(name, usable) if sums.missing.any() else sums.keep(usable)
        total.add(number, plan, sums)
        bare = np.zeros((0, 0))
        standards[name] = sums._replace(means=bare, gram=bare, everyone=bare)
    axes, tested = np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32)
    names = next(iter(standards.values())).names[usable]
    if d > MAX_FEATURES:
        n_controls = max(float(total.n_control.sum()), 1.0)
        axes = find_axes(total.gram.sum(axis=0) / n_controls, n_axes=MAX_FEATURES)
    if d > MAX_TESTED:
        tested = find_axes(total.everyone / max(total.n_everyone, 1), n_axes=MAX_TESTED)
        names = np.array([f"component {number}" for number in range(1, MAX_TESTED + 1)])
    sums_of_heads = total.sum_heads()
    heads = fit_heads(sums_of_heads.project(axes) if axes.size else sums_of_heads)
    plates = np.array(list(plans), dtype=np.str_)
    on_plate = sums_of_heads.on_plate

    def cut() -> Iterator[tuple[str, PlateHeads]]:
        by_plate = on_plate.tocsc()
        for number, name in enumerate(plans):
            own = np.sort(by_plate.indices[by_plate.indptr[number] : by_plate.indptr[number + 1]])
            standard = standards[name]
            sets: dict[tuple[int, ...], int] = {}
            lies = [
                sets.setdefault(tuple(on_plate.indices[first:last].tolist()), len(sets))
                for first, last in zip(on_plate.indptr[own], on_plate.indptr[own + 1], strict=True)
            ]
            yield (
                name,
                PlateHeads(
                    own.astype(np.intp), heads.directions[own], heads.middle[own],
                    np.array(["/".join(plates[list(lie)].tolist()) for lie in sets], dtype=np.str_),
                    np.array(lies, dtype=np.intp), usable, axes, tested,
                    standard.origin, standard.nuclei, standard.total, standard.square,
                ),
            )  # fmt: skip

    rows = [left_out, *(own.left_out for own in standards.values())]
    return Fitted(names, np.concatenate(rows), np.array([has_nuclei])), cut()


def _choose_features(
    plans: Mapping[str, PlatePlan], load: Callable[[str], PlateSums]
) -> tuple[Flags, npt.NDArray[np.str_], bool]:
    """Choose the features that hardly any nucleus lacks; say which are left out."""
    first, names = "", np.zeros(0, dtype=np.str_)
    missing, n_nuclei = np.zeros(0, dtype=np.intp), 0
    has_nuclei = has_controls = is_controlled = False
    for name, plan in plans.items():
        sums = load(name)
        if not first:
            first, names, missing = name, sums.names, np.zeros(len(sums.names), dtype=np.intp)
        if not np.array_equal(sums.names, names):
            raise differ(plan.keys[0], len(sums.names), plans[first].keys[0], len(names))
        missing = missing + sums.missing
        n_nuclei += int(sums.n_rows.sum())
        has_nuclei |= bool((sums.n_rows > 1).any())
        has_controls |= bool(sums.n_rows[np.array(plan.is_control, dtype=bool)].any())
        is_controlled |= has_standard(sums.nuclei)
    if not has_controls:
        raise I2RError(
            "all control wells are without nuclei: nothing to compare with. Look at their images "
            "and at the table 'crop'."
        )
    share = missing / max(n_nuclei, 1)
    usable = share <= MAX_MISSING
    if not usable.any():
        raise I2RError(
            f"every feature is missing (NaN) in more than {MAX_MISSING:.0%} of the nuclei, "
            "expected numbers. Look at the stage that made them."
        )
    if not is_controlled:
        raise I2RError(
            "no plate has two control wells with nuclei: nothing to compare with. Look at their "
            "images and at the table 'crop'."
        )
    rows = [
        ("feature", str(name), f"missing in {value:.1%} of the nuclei")
        for name, value, good in zip(names, share, usable, strict=True)
        if not good
    ]
    return usable, np.array(rows, dtype=np.str_).reshape(-1, 3), has_nuclei


class _Total:
    """Adds up plates."""

    def __init__(self, n_comparisons: int, n_plates: int, n_folds: int, d: int) -> None:
        shape = (n_comparisons, n_folds)
        self.treated, self.n_treated = np.zeros((*shape, d)), np.zeros(shape)
        self.copied: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.controls = np.zeros((n_plates, n_folds, d))
        self.n_controls = np.zeros((n_plates, n_folds))
        self.gram, self.n_control = np.zeros((n_folds + 1, d, d)), np.zeros(n_folds + 1)
        self.everyone, self.n_everyone = np.zeros((d, d) if d > MAX_TESTED else (0, 0)), 0
        self.on_plate: set[tuple[int, int]] = set()

    def add(self, number: int, plan: PlatePlan, sums: PlateSums) -> None:
        """Add a plate."""
        self.gram += sums.gram
        self.n_control += sums.n_control
        if self.everyone.size and sums.everyone.size:
            self.everyone += sums.everyone
            self.n_everyone += int(sums.n_everyone[0])
        pieces = zip(sums.pieces.tolist(), sums.fields.tolist(), sums.counts.tolist(), strict=True)
        for row, (well, field, count) in enumerate(pieces):
            piece = (plan.keys[well], field)
            if piece not in plan.folds:
                continue
            fold, comparisons = plan.folds[piece], plan.comparisons.get(piece, ())
            self.on_plate |= {(comparison, number) for comparison in comparisons}
            if not count:
                continue
            for comparison in comparisons:
                self.treated[comparison, fold] += sums.means[row]
                self.n_treated[comparison, fold] += 1
            if plan.is_control[well]:
                self.controls[number, fold] += sums.means[row]
                self.n_controls[number, fold] += 1
                for comparison in comparisons:
                    self._copy(comparison, fold, sums.means[row])

    def _copy(self, comparison: int, fold: int, mean: npt.NDArray[np.float64]) -> None:
        """Note a control that counts as treated."""
        n_folds, d = self.treated.shape[1:]
        total, count = self.copied.setdefault(
            comparison, (np.zeros((n_folds, d)), np.zeros(n_folds))
        )
        total[fold] += mean
        count[fold] += 1

    def sum_heads(self) -> HeadSums:
        """Give what heads need."""
        copied, n_copied = np.zeros_like(self.treated), np.zeros_like(self.n_treated)
        for comparison, (total, count) in self.copied.items():
            copied[comparison], n_copied[comparison] = total, count
        rows, columns = np.array(sorted(self.on_plate), dtype=np.intp).reshape(-1, 2).T
        on_plate = sparse.csr_array(
            (np.ones(len(rows)), (rows, columns)),
            shape=(len(self.treated), len(self.controls)),
        )
        return HeadSums(
            self.treated, self.n_treated, copied, n_copied, self.controls, self.n_controls,
            on_plate, self.gram[:-1], self.n_control[:-1],
        )  # fmt: skip


# --------------------------------------------------------------------------- the end


def finish_screen(
    plan: FastPlan,
    plans: Mapping[str, PlatePlan],
    fitted: Fitted,
    calls: Iterator[tuple[str, PlateCalls]],
    *,
    n_draws: int,
    seed: np.random.SeedSequence,
) -> FastScores:
    """Put the plates' calls together, and test the wells' profiles.

    Parameters
    ----------
    plan, plans, fitted
        The screen.
    calls
        Of every plate: of its treated wells, and of its controls.
    n_draws, seed
        Of the null of the tests.
    """
    gathered = _Gathered(plan, plans, len(fitted.tested))
    for name, part in calls:
        gathered.add(name, part)
    found = gathered.test(plan, fitted, n_draws=n_draws, seed=seed)
    scores, called = gathered.list_tables(plan, fitted)
    table = pd.DataFrame(fitted.left_out.tolist(), columns=["what", "where", "reason"])
    return FastScores(scores, called, found.tests, table, found.features, found.wells, found.layout)


def finish_block(
    plan: FastPlan,
    plans: Mapping[str, PlatePlan],
    fitted: Fitted,
    calls: Iterator[tuple[str, PlateCalls]],
    *,
    comparisons: Sequence[int],
    in_full: Collection[str],
    n_draws: int,
    seed: np.random.SeedSequence,
) -> FastScores:
    """Put the calls of a block's plates together, and test its wells' profiles.

    Parameters
    ----------
    plan
        Of the block: its wells and comparisons.
    plans, fitted, calls
        Of its plates; `plans` have wells of other blocks too.
    comparisons
        Numbers of the comparisons in the screen.
    in_full
        Conditions that other blocks test as well.
    n_draws, seed
        Of the null of the tests.
    """
    gathered = _Gathered(plan, plans, len(fitted.tested), comparisons)
    for name, part in calls:
        gathered.add(name, part)
    found = gathered.test(plan, fitted, n_draws=n_draws, seed=seed, in_full=in_full)
    scores, called = gathered.list_tables(plan, fitted)
    none = pd.DataFrame(columns=["what", "where", "reason"], dtype=str)
    return FastScores(scores, called, found.tests, none, found.features, found.wells, found.layout)


def finish_rest(
    plan: FastPlan,
    plans: Mapping[str, PlatePlan],
    fitted: Fitted,
    calls: Iterator[tuple[str, PlateCalls]],
    *,
    comparisons: Sequence[int],
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Give scores and calls of comparisons that lie in several blocks, and what was not used."""
    gathered = _Gathered(plan, plans, 0, comparisons)
    for name, part in calls:
        gathered.add(name, part)
    scores, called = gathered.list_tables(plan, fitted)
    table = pd.DataFrame(fitted.left_out.tolist(), columns=["what", "where", "reason"])
    return scores, called, table


class _Gathered:
    """Calls and profiles of plates, put together for some wells and comparisons."""

    def __init__(
        self, plan: FastPlan, plans: Mapping[str, PlatePlan], n_tested: int,
        comparisons: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        self._plans = plans
        self._number_of = {key: number for number, key in enumerate(plan.keys)}
        n_wells = len(plan.keys)
        self.counts = np.zeros(n_wells, dtype=np.intp)
        self.means = np.zeros((n_wells, n_tested))
        self.variances = np.zeros((n_wells, n_tested))
        n_folds = max(own.n_folds for own in plans.values())
        self.tally = np.zeros((len(plan.contrasts), n_folds, 5), dtype=np.int64)
        self.rows: list[npt.NDArray[np.intp]] = []
        self._own: npt.NDArray[np.intp] | None = None
        if comparisons is not None:
            self._own = np.full(max(comparisons, default=0) + 2, -1, dtype=np.intp)
            self._own[np.asarray(comparisons, dtype=np.intp)] = np.arange(len(comparisons))

    def _find_own(self, comparison: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Give the comparisons' numbers here, -1 for those of other blocks."""
        if self._own is None:
            return comparison
        return self._own[np.minimum(comparison, len(self._own) - 1)]

    def add(self, name: str, part: PlateCalls) -> None:
        """Add calls of a plate."""
        keys = self._plans[name].keys
        of_plate = np.array([self._number_of.get(key, -1) for key in keys], dtype=np.intp)
        profiled = of_plate[part.profiled]
        here = profiled >= 0
        self.counts[profiled[here]] = part.counts[here]
        if here.any() and self.means.shape[1]:
            self.means[profiled[here]] = part.means[here]
            self.variances[profiled[here]] = part.variances[here]
        # Treated wells leave their margins, control wells count them.
        is_treated = len(part.above) > 0
        ranked = self._find_own(part.ranked)
        own = ranked >= 0
        np.add.at(self.tally[..., 4], (ranked[own], part.ranked_fold[own]), part.n_below[own])
        comparison = self._find_own(part.comparison)
        own = comparison >= 0
        if not own.any():
            return
        at, first = (comparison[own], part.fold[own]), 0 if is_treated else 2
        np.add.at(self.tally[..., first], at, part.n_nuclei[own])
        np.add.at(self.tally[..., first + 1], at, part.n_called[own])
        flag = np.full(int(own.sum()), is_treated)
        self.rows.append(
            np.stack(
                [at[0], of_plate[part.well[own]], flag, part.n_nuclei[own], part.n_called[own]]
            )
        )

    def list_tables(self, plan: FastPlan, fitted: Fitted) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Give scores and calls."""
        if fitted.has_nuclei[0]:
            return _list_scores(plan, self.tally), _list_calls(plan, self.rows)
        return _list_profiles(plan, self.counts)

    def test(
        self, plan: FastPlan, fitted: Fitted, *, n_draws: int, seed: np.random.SeedSequence,
        in_full: Collection[str] = (),
    ) -> ConditionTests:  # fmt: skip
        """Test the profiles."""
        n_wells = len(self.counts)
        tested = TestedWells(
            plan.keys, plan.plates, plan.positions, plan.conditions,
            plan.doses or (np.nan,) * n_wells, plan.compounds or ("",) * n_wells,
            plan.n_fields, fitted.tested.tolist(), self.means, self.variances, self.counts,
        )  # fmt: skip
        return run_condition_tests(tested, n_draws=n_draws, seed=seed, in_full=in_full)


def _list_scores(plan: FastPlan, tally: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Give the scores of all comparisons and folds.

    `tally`, (comparison, fold, 5): treated nuclei, those called, control nuclei, those called, and
    twice the pairs with the treated nucleus above.
    """
    rows = []
    for number, contrast in enumerate(plan.contrasts):
        own = zip(contrast.folds, contrast.is_treated, strict=True)
        for fold in sorted({number for number, treats in own if treats}):
            treated, above, control, wrong, pairs = tally[number, fold].tolist()
            accuracy = area = np.nan
            if treated and control:
                accuracy = (above / treated + (control - wrong) / control) / 2
                area = pairs / (2 * treated * control)
            rows.append(
                {
                    "condition": contrast.condition, "kind": contrast.kind, "fold": fold,
                    "balanced_accuracy": accuracy, "auc": area, "n_test_treated": treated,
                    "n_test_control": control,
                    "note": "a fold has no nuclei of one kind" if np.isnan(accuracy) else "",
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def _list_calls(plan: FastPlan, rows: Sequence[npt.NDArray[np.intp]]) -> pd.DataFrame:
    """Give the calls of all comparisons and wells, in their order."""
    none = np.zeros((5, 0), dtype=np.intp)
    comparison, well, is_treated, n_nuclei, n_called = np.concatenate([none, *rows], axis=1)
    order = np.lexsort((well, comparison))
    names = np.array([key.rpartition("/")[2] for key in plan.keys], dtype=object)
    conditions = np.array([contrast.condition for contrast in plan.contrasts], dtype=object)
    table = pd.DataFrame(
        {
            "condition": conditions[comparison[order]],
            "plate": np.array(plan.plates, dtype=object)[well[order]],
            "well": names[well[order]],
            "is_treated": is_treated[order].astype(bool),
            "n_nuclei": n_nuclei[order],
            "n_called": n_called[order].astype(np.int64),
        }
    )
    in_pieces = plan.by_field or any(HALVES[0] in contrast.fields for contrast in plan.contrasts)
    return sum_calls(table) if in_pieces else table


def _list_profiles(
    plan: FastPlan, counts: npt.NDArray[np.intp]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """List comparisons of wells that have one row each: heads need nuclei, so none has a score."""
    filled = dict(zip(plan.keys, (counts > 0).tolist(), strict=True))
    scores, calls = [], []
    for contrast in plan.contrasts:
        treated = [key for key in contrast.treated_keys if filled.get(key, False)]
        scores.append(
            {
                "condition": contrast.condition, "kind": contrast.kind, "fold": 0,
                "balanced_accuracy": np.nan, "auc": np.nan, "n_test_treated": len(treated),
                "n_test_control": 0, "note": "",
            }
        )  # fmt: skip
        calls += [(contrast.condition, *key.rsplit("/", 1), True, 1, 0) for key in treated]
    columns = ["condition", "plate", "well", "is_treated", "n_nuclei", "n_called"]
    return pd.DataFrame(scores), pd.DataFrame(calls, columns=columns)
