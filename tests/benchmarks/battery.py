"""Do calls hold on the layouts that labs have? ``python -m tests.benchmarks.battery``.

Screens of many situations (`tests.benchmarks.situations`), tested by i2r and by what else is at
hand (`tests.benchmarks.comparators`): share of null p-values below 5 and 1 %, their
Kolmogorov-Smirnov p (conditions of a screen share its controls, so small values come easily), false
discovery proportions at an FDR of 5 %, power, and how often the layout is warned of.

``--screens 24`` (default 6), ``--only WORD`` (names that hold it), ``--quick`` (without
comparators), ``--seed``. Half a second a screen on one core.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from i2r.analysis.screen.layouts import warn_of_layout
from i2r.kernels.conditions import Wells, compare_conditions
from i2r.kernels.statistics import adjust_pvalues
from tests.benchmarks.comparators import test_energy, test_map, test_max_t
from tests.benchmarks.situations import SITUATIONS, Screen, Situation, draw_screen

OTHERS: dict[str, Callable[[Screen, int], NDArray[np.float64]]] = {
    "max-T": test_max_t, "mAP": test_map, "energy": test_energy,
}  # fmt: skip


class Tally:
    """What a method did in the screens of one situation."""

    def __init__(self) -> None:
        self.nulls: list[float] = []
        self.false: list[float] = []
        self.power: list[float] = []

    def add(self, p_values: NDArray[np.float64], is_active: NDArray[np.bool_]) -> None:
        """Count a screen."""
        called = adjust_pvalues(p_values) < 0.05
        self.nulls += p_values[~is_active & ~np.isnan(p_values)].tolist()
        self.false.append((called & ~is_active).sum() / max(called.sum(), 1))
        if is_active.any():
            self.power.append(float(called[is_active].mean()))

    @property
    def words(self) -> str:
        """KS p, false positives at 5 and 1 %, mean and worst FDP, power."""
        null = np.array(self.nulls)
        if not null.size:
            return "no p-values"
        power = f"{np.mean(self.power):.2f}" if self.power else "   -"
        return (
            f"{stats.kstest(null, 'uniform').pvalue:7.1g}  {(null < 0.05).mean():.3f} "
            f"{(null < 0.01).mean():.3f}  {np.mean(self.false):.2f} {max(self.false):.2f}  {power}"
        )


def wells_of(screen: Screen) -> Wells:
    """Give a screen's wells to the test."""
    return Wells(
        screen.means, screen.variances, screen.counts.astype(float), screen.plates, screen.rows,
        screen.columns, screen.which,
    )  # fmt: skip


def run_situation(
    situation: Situation, seeds: range, *, quick: bool
) -> tuple[dict[str, Tally], float]:
    """Test all screens of a situation; give tallies by method, and the share that is warned of."""
    tallies = {name: Tally() for name in ("i2r", *([] if quick else OTHERS))}
    warned = 0
    for seed in seeds:
        screen = draw_screen(situation, seed)
        found = compare_conditions(wells_of(screen), seed=seed)
        warned += bool(warn_of_layout(found.displaced, "", borrows=True))
        tallies["i2r"].add(found.p_value, screen.is_active)
        for name in tallies.keys() & OTHERS.keys():
            tallies[name].add(OTHERS[name](screen, seed), screen.is_active)
    return tallies, warned / len(seeds)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--screens", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    seeds = range(given.seed, given.seed + given.screens)
    began = time.perf_counter()
    head = "KS p     5 %   1 %    FDP worst power"
    print(f"{'situation':36} {'warned':>6}  {'method':7} {head}")
    for name, situation in SITUATIONS.items():
        if given.only not in name:
            continue
        tallies, warned = run_situation(situation, seeds, quick=given.quick)
        for number, (method, tally) in enumerate(tallies.items()):
            title = f"{name:36} {warned:6.0%}" if number == 0 else " " * 43
            print(f"{title}  {method:7} {tally.words}", flush=True)
    n = sum(given.only in name for name in SITUATIONS)
    print(f"{n} situations of {given.screens} screens in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
