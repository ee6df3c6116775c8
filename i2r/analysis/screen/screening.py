"""The fast screen: scores, calls and tests from what plates gave."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.analysis.screen.condition_tests import ConditionTests, TestedWells, run_condition_tests
from i2r.analysis.screen.explanations import read_focus
from i2r.analysis.screen.head_fitting import Fitted, fit_screen
from i2r.analysis.screen.held_out import HALVES
from i2r.analysis.screen.plate_calls import PlateCalls, call_controls, call_treated
from i2r.analysis.screen.plate_plans import FastPlan, PlatePlan, PlatePlans, Reader
from i2r.analysis.screen.plate_sums import sum_plate
from i2r.analysis.screen.ranking import sum_calls


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
    plans = dict(PlatePlans(plan.keys, is_control, plan.contrasts, by_field=plan.by_field))
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


def finish_screen(
    plan: FastPlan,
    plans: Mapping[str, PlatePlan],
    fitted: Fitted,
    calls: Iterable[tuple[str, PlateCalls]],
    *,
    n_draws: int,
    seed: np.random.SeedSequence,
    comparisons: Sequence[int] | None = None,
    in_full: Collection[str] = (),
) -> FastScores:
    """Put the plates' calls together, and test the wells' profiles.

    Parameters
    ----------
    plan
        The screen, or a block of it: its wells and comparisons.
    plans, fitted, calls
        Of its plates; `plans` may have wells of other blocks too. Calls are of treated wells, and
        of controls.
    n_draws, seed
        Of the null of the tests.
    comparisons
        Of a block: numbers of its comparisons in the screen.
    in_full
        Of a block: conditions that other blocks test as well.
    """
    gathered = GatheredCalls(plan, plans, len(fitted.tested), comparisons)
    for name, part in calls:
        gathered.add(name, part)
    found = gathered.test(plan, fitted, n_draws=n_draws, seed=seed, in_full=in_full)
    scores, called = gathered.list_tables(plan, fitted)
    left_out = list_left_out(fitted)
    return FastScores(
        scores, called, found.tests, left_out, found.features, found.wells, found.layout
    )


def finish_rest(
    plan: FastPlan,
    plans: Mapping[str, PlatePlan],
    fitted: Fitted,
    calls: Iterable[tuple[str, PlateCalls]],
    *,
    comparisons: Sequence[int],
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Give scores and calls of comparisons that lie in several blocks, and what was not used."""
    gathered = GatheredCalls(plan, plans, 0, comparisons)
    for name, part in calls:
        gathered.add(name, part)
    scores, called = gathered.list_tables(plan, fitted)
    return scores, called, list_left_out(fitted)


def list_left_out(fitted: Fitted) -> pd.DataFrame:
    """List what a screen did not use."""
    return pd.DataFrame(fitted.left_out.tolist(), columns=["what", "where", "reason"])


class GatheredCalls:
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
        return list_profiles(plan, self.counts)

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
            read_focus(plan.qualities) if plan.qualities else None,
        )  # fmt: skip
        return run_condition_tests(tested, n_draws=n_draws, seed=seed, in_full=in_full)


def _list_scores(plan: FastPlan, tally: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Give the scores of all comparisons and folds.

    `tally`, (comparison, fold, 5): treated nuclei, those called, control nuclei, those called, and
    twice the pairs with the treated nucleus above.
    """
    rows = []
    for number, contrast in enumerate(plan.contrasts):
        for fold in sorted(set(contrast.treated.folds)):
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
    in_pieces = plan.by_field or any(HALVES[0] in c.treated.fields for c in plan.contrasts)
    return sum_calls(table) if in_pieces else table


def list_profiles(
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
