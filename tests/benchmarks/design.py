"""Is the power that 'i2r design' predicts the power that screens have?

``python -m tests.benchmarks.design [--screens 20]``: pilots and screens come from the battery's own
generator (`tests.benchmarks.situations`), which knows nothing of how the plan simulates. A pilot is one
plate of 16 controls and 80 conditions; screens of three plans are drawn with a planted change of one
feature, and tested.
"""

import argparse

import numpy as np

from i2r.audit.screen import AuditScreen
from i2r.design.pilot import learn_pilot
from i2r.design.power import Plan, predict_power
from i2r.kernels.conditions import compare_conditions
from i2r.kernels.statistics import adjust_pvalues
from tests.benchmarks.battery import wells_of
from tests.benchmarks.situations import Screen, Situation, draw_screen

CASES = {
    "3 replicates, 16 controls": (Situation(), (0.3, 0.45, 0.6)),
    "2 replicates, 16 controls": (Situation(plates=2), (0.45, 0.6, 0.8)),
    "4 replicates, 8 controls": (Situation(plates=4, controls=8), (0.3, 0.45, 0.6)),
}
"""Plans, and changes of one feature in standard deviations of a nucleus."""


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


def measure_power(situation: Situation, screens: int) -> tuple[float, float]:
    """Give the share of active conditions called, and its standard error over screens."""
    shares = []
    for seed in range(1000, 1000 + screens):
        screen = draw_screen(situation, seed)
        p_values = compare_conditions(wells_of(screen), seed=seed).p_value
        shares.append((adjust_pvalues(p_values) < 0.05)[screen.is_active].mean())
    return float(np.mean(shares)), float(np.std(shares) / np.sqrt(screens))


def main() -> None:
    """Print predicted and realised power of every case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--screens", type=int, default=20)
    given = parser.parse_args()
    print(f"{'plan':28} {'change':>9} {'predicted':>9} {'realised':>9}  +/-   apart")
    worst = 0.0
    for name, (situation, effects) in CASES.items():
        pilot = learn_pilot(as_pilot(draw_screen(situation._replace(plates=1, controls=16), 7)))
        plan = Plan(situation.conditions, situation.plates, situation.controls, situation.nuclei)
        deviation = float(np.median(pilot.deviation(situation.nuclei)))
        sizes = sorted(effect / deviation for effect in effects)
        power = predict_power(pilot, plan, screens=given.screens, sizes=sizes)
        for effect, size in zip(sorted(effects), sizes, strict=True):
            real = situation._replace(spread="single", effect=effect)
            share, error = measure_power(real, given.screens)
            apart = power.at(size) - share
            worst = max(worst, abs(apart))
            print(
                f"{name:28} {size:6.2f} SD {power.at(size):9.2f} {share:9.2f} {error:5.2f} {apart:7.2f}",
                flush=True,
            )
    print(f"largest difference {worst:.2f} (bar: 0.05)")


if __name__ == "__main__":
    main()
