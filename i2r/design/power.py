"""What a plan can find: screens with a pilot's noise, tested as the fast screen tests them."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.isotonic import IsotonicRegression
from threadpoolctl import threadpool_limits

from i2r.design.pilot import Pilot
from i2r.design.places import deal_plate, name_grid
from i2r.errors import count_words
from i2r.kernels.conditions import Wells, compare_conditions
from i2r.kernels.statistics import adjust_pvalues

SIZES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0)
"""Changes of one feature that are planted, in standard deviations of a control well."""

N_DRAWS = 1500
"""Draws of the null in each simulated screen."""

MOST_SIMULATED = 120
"""Conditions of a simulated screen. What an FDR asks for depends on the share of them that do
something, not on their number, so a larger plan is simulated in part."""


class Plan(NamedTuple):
    """A screen to be: every condition has its wells on each of so many replicate plates.

    Attributes
    ----------
    conditions
        How many are tested.
    replicates
        Replicate plates, which all hold every condition.
    controls
        Negative-control wells per plate.
    nuclei
        Of a well.
    plate_format
        Wells of a plate.
    per_plate
        Wells of a condition on each of its plates.
    """

    conditions: int
    replicates: int
    controls: int
    nuclei: float
    plate_format: int = 384
    per_plate: int = 1

    @property
    def room(self) -> int:
        """Conditions that a plate holds."""
        return (self.plate_format - self.controls) // self.per_plate

    @property
    def sets(self) -> int:
        """Different plates that hold all conditions."""
        return -(-self.conditions // self.room)

    @property
    def plates(self) -> int:
        """All plates."""
        return self.sets * self.replicates

    @property
    def wells(self) -> int:
        """All wells that are used."""
        return self.conditions * self.replicates * self.per_plate + self.plates * self.controls


class Power(NamedTuple):
    """What a plan can find.

    Attributes
    ----------
    plan
        The plan.
    curve : DataFrame
        change (standard deviations of a control well), power (share called at the FDR), n
        (conditions simulated; 0 where a smaller change is found always, or a larger one never).
    least
        The change that 80 of 100 conditions with it are called with; NaN beyond the sizes tried.
    """

    plan: Plan
    curve: pd.DataFrame
    least: float

    def at(self, change: float) -> float:
        """Give the power at a change, between the sizes that were tried."""
        return float(np.interp(change, self.curve["change"], self.curve["power"]))


def predict_power(
    pilot: Pilot,
    plan: Plan,
    *,
    fdr: float = 0.05,
    active: float = 0.25,
    screens: int = 10,
    sizes: Sequence[float] = SIZES,
    seed: int = 0,
) -> Power:
    """Simulate screens of a plan and count which planted changes are called.

    Parameters
    ----------
    pilot
        The noise.
    plan
        The screen to be.
    fdr
        At which conditions are called.
    active
        Share of the conditions that do something: the more do, the easier an FDR is to reach.
    screens
        How many are simulated for each size.
    sizes
        Changes of one feature, drawn at random, in standard deviations of a control well; all
        active conditions of a screen have the same. In rising order.
    seed
        Of everything.

    Returns
    -------
    Power
        Its curve rises with the change: shares that chance put in another order are averaged.
    """
    # Where a change is always found, larger ones are too; where it never is, smaller ones are not.
    shares = np.full(len(sizes), np.nan)
    numbers = np.zeros(len(sizes), dtype=np.intp)
    middle = (len(sizes) - 1) // 2
    # Matrices are small: a second thread costs more than it helps.
    with threadpool_limits(1):
        for at in (*range(middle, -1, -1), *range(middle + 1, len(sizes))):
            if np.isfinite(shares[at]):
                continue
            called: list[bool] = []
            for number in range(screens):
                random = np.random.default_rng([seed, number])
                called += simulate_screen(pilot, plan, fdr, active, sizes[at], random).tolist()
            shares[at], numbers[at] = np.mean(called), len(called)
            if shares[at] >= 0.99:
                shares[at + 1 :] = 1.0
            if shares[at] == 0:
                shares[:at] = 0.0
    weights = np.maximum(numbers, 1)
    rising = IsotonicRegression().fit_transform(np.asarray(sizes), shares, sample_weight=weights)
    curve = pd.DataFrame({"change": sizes, "power": rising, "n": numbers})
    return Power(plan, curve, _first_reached(curve))


def simulate_screen(
    pilot: Pilot, plan: Plan, fdr: float, active: float, size: float, random: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Draw one screen and test it; say of each active condition whether it is called."""
    simulated = min(plan.conditions, MOST_SIMULATED, plan.room)
    wells = draw_wells(pilot, plan, simulated, random)
    n_active = max(1, round(active * simulated))
    chosen = random.choice(simulated, n_active, replace=False)
    deviation = pilot.deviation(plan.nuclei)
    features = random.integers(0, len(deviation), n_active)
    signs = random.choice([-1.0, 1.0], n_active)
    for condition, feature, sign in zip(chosen, features, signs, strict=True):
        wells.means[wells.which == condition, feature] += sign * size * deviation[feature]
    seed = int(random.integers(2**31))
    p_values = compare_conditions(wells, n_draws=N_DRAWS, seed=seed).p_value
    return np.asarray((adjust_pvalues(p_values) < fdr)[chosen])


def draw_wells(pilot: Pilot, plan: Plan, conditions: int, random: np.random.Generator) -> Wells:
    """Draw the wells of a screen in which nothing does anything, on a plate set of its own."""
    d = len(pilot.of_wells)
    root = np.linalg.cholesky(pilot.correlation + 1e-6 * np.eye(d))
    which, plates, places = [], [], []
    rows, columns = name_grid(plan.plate_format)
    for plate in range(plan.replicates):
        dealt = deal_plate(
            conditions, plan.controls, plan.plate_format, random, per_plate=plan.per_plate
        )
        used = np.flatnonzero(dealt > -2)
        which.append(dealt[used])
        plates.append(np.full(used.size, plate))
        places.append(used)
    labels, place = np.concatenate(which), np.concatenate(places)
    n = labels.size
    lengths = random.choice(pilot.lengths, n)
    between = random.standard_normal((n, d)) @ root.T * np.sqrt(pilot.of_wells)
    counted = bool((pilot.nucleus > 0).any())
    counts = np.maximum(random.poisson(plan.nuclei, n), 3.0) if counted else np.ones(n)
    within = random.standard_normal((n, d)) @ root.T * np.sqrt(pilot.nucleus / counts[:, None])
    return Wells(
        lengths[:, None] * between + within,
        np.broadcast_to(pilot.nucleus, (n, d)).copy(), counts.astype(float),
        np.concatenate(plates).astype(np.intp), rows[place], columns[place], labels,
    )  # fmt: skip


def compare_plans(
    pilot: Pilot,
    plans: Sequence[Plan],
    *,
    fdr: float,
    active: float,
    screens: int,
    seed: int,
    workers: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> list[Power]:
    """Predict the power of every plan, the same random numbers for all of them.

    The result is the same for any number of processes (``workers``).
    """
    predict = partial(predict_power, pilot, fdr=fdr, active=active, screens=screens, seed=seed)
    with ExitStack() as stack:
        each: Iterable[Power] = map(predict, plans)
        if workers > 1:
            # A fresh interpreter: threads of this one do not survive a fork.
            spawn = get_context("spawn")
            pool = stack.enter_context(ProcessPoolExecutor(workers, mp_context=spawn))
            each = pool.map(predict, plans)
        found = []
        for number, power in enumerate(each, start=1):
            plan = power.plan
            say(
                f"plan {number} of {len(plans)}: {count_words(plan.replicates, 'replicate plate')},"
                f" {count_words(plan.per_plate, 'well')} per plate, {plan.controls} controls per "
                f"plate, {plan.nuclei:.0f} nuclei"
            )
            found.append(power)
    return found


def _first_reached(curve: pd.DataFrame) -> float:
    """Give the change at which the power reaches 0.8, NaN where it doesn't."""
    power, change = curve["power"].to_numpy(), curve["change"].to_numpy()
    if power.max() < 0.8:
        return float("nan")
    return float(np.interp(0.8, power, change)) if power[0] < 0.8 else float(change[0])
