"""Is the power that 'i2r design' predicts the power that screens have?

``python -m tests.benchmarks.design [--screens 20] [--pilots 12] [--real EXPERIMENT]``

First simulated screens: pilots and screens come from the battery's own generator
(`tests.benchmarks.situations`), which knows nothing of how the plan simulates. A pilot is one plate of
16 controls and 80 conditions. Screens of three plans are drawn, changes of one feature are planted, in
standard deviations of that screen's own wells (which many more of them tell), and calls are counted,
four times as often as screens are simulated for a promise: sampling leaves 0.02. A single pilot of 16
control wells knows correlations poorly, so predictions are averaged over twelve pilots, and how far
pilots lie apart is printed beside them.

Then the real plate BBBC013 (`I2R_DATA`; ``--real`` names an experiment that has its features, by DNA).
Half of its wells, drawn anew, are the pilot. What comes out is counted on the real wells, less what
their condition's wells have in common, which leaves real noise: they are dealt to conditions and
controls, a change is planted in a quarter of the conditions, and calls are counted, eight times as often as screens are simulated:
sampling leaves 0.02. A pilot of six controls and some thirty wells knows correlations poorly, so
predictions are averaged over twelve pilots.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from i2r.audit.screen import AuditScreen, prepare_screen
from i2r.audit.wells import summarise_table
from i2r.design.pilot import Pilot, learn_pilot
from i2r.design.power import Plan, predict_power
from i2r.kernels.conditions import Wells, compare_conditions
from i2r.kernels.statistics import adjust_pvalues
from tests.benchmarks.battery import wells_of
from tests.benchmarks.situations import COLUMNS, ROWS, Screen, Situation, draw_screen

CASES = {
    "3 replicates, 16 controls": (Situation(), (1.6, 2.4, 3.1)),
    "2 replicates, 16 controls": (Situation(plates=2), (2.4, 3.1, 4.2)),
    "4 replicates, 8 controls": (Situation(plates=4, controls=8), (1.6, 2.4, 3.1)),
}
"""Plans, and changes of one feature in standard deviations of a control well."""

REAL_SIZES = (2.0, 3.0, 4.0, 6.0)
CONTROLS, REAL_PILOTS = 12, 12
BAR = 0.05


def as_pilot(screen: Screen) -> AuditScreen:
    """Give a screen to the planner, as a table of nuclei would be."""
    d = screen.means.shape[1]
    n_plates = int(screen.plates.max()) + 1
    return AuditScreen(
        screen.means, tuple(map(str, range(d))), screen.which,
        tuple(map(str, range(int(screen.which.max()) + 1))), screen.plates, screen.rows,
        screen.columns, screen.rows * 64 + screen.columns, screen.counts.astype(float),
        np.ones((n_plates, d)), np.zeros((n_plates, d)),
    )  # fmt: skip


def measure_deviation(situation: Situation, seed: int) -> np.ndarray:
    """Give the standard deviation of wells, (feature,): of a full plate of them without a field.

    Features are those of the screen of that seed, whose few controls tell it poorly.
    """
    controls = ROWS * COLUMNS
    alike = situation._replace(plates=1, controls=controls, conditions=0, gradient=0.0)
    return np.asarray(draw_screen(alike, seed).means.std(axis=0))


def measure_power(situation: Situation, size: float, screens: int) -> tuple[float, float]:
    """Plant changes; give the share of them that is called, and its standard error."""
    shares = []
    for seed in range(1000, 1000 + screens):
        screen = draw_screen(situation._replace(effect=0.0), seed)
        deviation = measure_deviation(situation, seed)
        random = np.random.default_rng((seed, 2))
        for condition in np.flatnonzero(screen.is_active):
            feature, sign = random.integers(situation.features), random.choice([-1, 1])
            screen.means[screen.which == condition, feature] += sign * size * deviation[feature]
        p_values = compare_conditions(wells_of(screen), seed=seed).p_value
        shares.append((adjust_pvalues(p_values) < 0.05)[screen.is_active].mean())
    return float(np.mean(shares)), float(np.std(shares) / np.sqrt(screens))


def learn_pilots(situation: Situation, pilots: int) -> list[Pilot]:
    """Learn from so many pilots, drawn one by one."""
    one_plate = situation._replace(plates=1, controls=16)
    return [learn_pilot(as_pilot(draw_screen(one_plate, 7 + n))) for n in range(pilots)]


def compare_simulated(screens: int, pilots: int) -> float:
    """Print predicted and realised power of every plan; give the largest difference."""
    print(f"{'plan':28} {'change':>9} {'predicted':>9} pilots apart {'realised':>9}  +/-   apart")
    worst = 0.0
    for name, (situation, sizes) in CASES.items():
        learned = learn_pilots(situation, pilots)
        plan = Plan(situation.conditions, situation.plates, situation.controls, situation.nuclei)
        each_screens = max(4, screens // pilots)
        found = [
            predict_power(pilot, plan, screens=each_screens, sizes=sizes, seed=number)
            for number, pilot in enumerate(learned)
        ]
        for size in sizes:
            power = np.array([each.at(size) for each in found])
            share, error = measure_power(situation, size, 4 * screens)
            apart = power.mean() - share
            worst = max(worst, abs(apart))
            print(
                f"{name:28} {size:6.2f} SD {power.mean():9.2f} {np.ptp(power):12.2f} "
                f"{share:9.2f} {error:5.2f} {apart:7.2f}",
                flush=True,
            )
    return worst


def split_plate(screen: AuditScreen, random: np.random.Generator) -> AuditScreen:
    """Take half of the wells as a pilot: half of the controls, and half of the others."""
    control = screen.is_control
    kept = np.concatenate(
        [
            random.permutation(np.flatnonzero(control))[: control.sum() // 2],
            random.permutation(np.flatnonzero(~control))[: (~control).sum() // 2],
        ]
    )
    return take_wells(screen, np.sort(kept), screen.which)


def take_wells(screen: AuditScreen, kept: np.ndarray, which: np.ndarray) -> AuditScreen:
    """Give some of the wells, with labels of their own."""
    return screen._replace(
        values=screen.values[kept], which=which[kept], plates=screen.plates[kept],
        rows=screen.rows[kept], columns=screen.columns[kept], places=screen.places[kept],
        counts=screen.counts[kept],
    )  # fmt: skip


def keep_noise(screen: AuditScreen) -> AuditScreen:
    """Take out what the wells of a condition have in common; single wells are left out."""
    values = screen.values.copy()
    sizes = np.zeros(len(values))
    for condition in np.unique(screen.which):
        here = screen.which == condition
        sizes[here] = n = here.sum()
        values[here] = (values[here] - values[here].mean(axis=0)) * np.sqrt(n / max(n - 1, 1))
    return take_wells(screen._replace(values=values), np.flatnonzero(sizes > 1), screen.which)


def as_wells(screen: AuditScreen) -> Wells:
    """Give the wells of a screen as the test takes them."""
    return Wells(
        screen.values, np.ones_like(screen.values), screen.counts, screen.plates, screen.rows,
        screen.columns, screen.which,
    )  # fmt: skip


def realise(
    screen: AuditScreen, plan: Plan, size: float, deviation: np.ndarray, random: np.random.Generator
) -> float:
    """Deal real wells to a plan, plant changes, test, and give the share that is called."""
    used = random.permutation(len(screen.which))[: plan.wells]
    labels = np.r_[
        np.full(plan.controls, -1), np.repeat(np.arange(plan.conditions), plan.per_plate)
    ]
    own = take_wells(screen, used, screen.which)
    control = own.values[labels < 0].mean(axis=0)
    means = own.values - control
    active = random.choice(plan.conditions, max(1, round(0.25 * plan.conditions)), replace=False)
    for condition in active:
        feature = random.integers(means.shape[1])
        means[labels == condition, feature] += random.choice([-1, 1]) * size * deviation[feature]
    wells = as_wells(own._replace(values=means, which=labels.astype(np.intp)))
    p_values = compare_conditions(wells, n_draws=1500, seed=int(random.integers(2**31))).p_value
    return float((adjust_pvalues(p_values) < 0.05)[active].mean())


def compare_real(table: str, layout: str, draws: int) -> float:
    """Print predicted and realised power on the real plate; give the largest difference."""
    screen = prepare_screen(summarise_table(table, layout, names={}, roles={}))
    dna = [n for n, name in enumerate(screen.names) if "GFP" not in name]
    screen = screen._replace(
        values=screen.values[:, dna], names=tuple(screen.names[n] for n in dna)
    )
    random = np.random.default_rng(0)
    noise = keep_noise(screen)
    # The unit of the ranking's changes, by all wells of the plate: six controls say less.
    deviation = compare_conditions(as_wells(screen), n_draws=100).deviation
    print(f"BBBC013, {len(noise.which)} wells, {len(dna)} features of DNA; {draws} subsets")
    print(f"{'plan':28} {'change':>9} {'predicted':>9} pilots apart {'realised':>9}  +/-   apart")
    worst = 0.0
    nuclei = float(np.median(screen.counts))
    for per_plate in (3, 5):
        conditions = (len(noise.which) - CONTROLS) // per_plate
        plan = Plan(conditions, 1, CONTROLS, nuclei, 96, per_plate)
        found = [
            predict_power(
                learn_pilot(split_plate(screen, random)), plan,
                screens=max(4, draws // REAL_PILOTS), sizes=REAL_SIZES, seed=number,
            )
            for number in range(REAL_PILOTS)
        ]  # fmt: skip
        for size in REAL_SIZES:
            power = np.array([each.at(size) for each in found])
            shares = np.array([realise(noise, plan, size, deviation, random) for _ in range(draws)])
            apart = power.mean() - shares.mean()
            worst = max(worst, abs(apart))
            print(
                f"{f'{conditions} conditions x {per_plate} wells':28} {size:6.2f} SD "
                f"{power.mean():9.2f} {np.ptp(power):12.2f} {shares.mean():9.2f} "
                f"{shares.std() / np.sqrt(draws):5.2f} {apart:7.2f}",
                flush=True,
            )
    return worst


def main() -> None:
    """Print both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--screens", type=int, default=20)
    parser.add_argument("--pilots", type=int, default=12)
    parser.add_argument("--only", choices=("simulated", "real"))
    parser.add_argument("--real", help="an experiment with features of BBBC013")
    given = parser.parse_args()
    if given.only != "real":
        worst = compare_simulated(given.screens, given.pilots)
        print(f"largest difference {worst:.2f} (bar: {BAR})")
    root = os.environ.get("I2R_DATA")
    if given.only == "simulated" or (given.real is None and root is None):
        return
    from tests.benchmarks.bbbc013 import screen_doses, write_layout

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = Path(root or "") / "bbbc013_u2os_plate"
        url = given.real or str(screen_doses(data, folder))
        write_layout(data, folder / "wells.csv")
        worst = compare_real(f"{url}/tables/features", str(folder / "wells.csv"), 8 * given.screens)
    print(f"largest difference {worst:.2f} (bar: {BAR})")


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
