"""The fast screen: scores, calls and tests from what plates gave."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from i2r.analysis.screen.call_tables import GatheredCalls
from i2r.analysis.screen.head_fitting import Fitted, fit_screen
from i2r.analysis.screen.plate_calls import PlateCalls, call_controls, call_treated
from i2r.analysis.screen.plate_plans import FastPlan, PlatePlan, Reader, plan_plates
from i2r.analysis.screen.plate_sums import (
    sum_plate,
)


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
