"""Are calls that come from the number of nuclei named so? ``python -m tests.benchmarks.explained``.

Screens of the battery's generator whose features change with crowding alone: three tenths of the
conditions without an effect kill, a quarter changes the nuclei. Printed are, of the conditions that
kill and are called, the share whose word is "count" (bar 0.95), and of those that change nuclei and
are called, the share that keeps the word "own" (bar 0.90). ``--screens`` (default 10).
"""

import argparse

import numpy as np

from i2r.analysis.screen.condition_tests import TestedWells, run_condition_tests
from i2r.kernels.statistics import adjust_pvalues
from i2r.types import Well
from tests.benchmarks.situations import BASE, Screen, Situation, draw_screen

SITUATIONS: dict[str, Situation] = {
    "crowding .25": BASE._replace(crowding=0.25, toxic=0.3),
    "crowding .5": BASE._replace(crowding=0.5, toxic=0.3),
    "crowding .25 sister": BASE._replace(crowding=0.25, toxic=0.3, layout="sister"),
    "crowding .25, 8 controls": BASE._replace(crowding=0.25, toxic=0.3, controls=8),
}


def name_calls(screen: Screen, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Give which conditions are called, and the word for each."""
    n = len(screen.which)
    places = zip(screen.rows.tolist(), screen.columns.tolist(), strict=True)
    wells = [Well(row + 1, column + 1).name for row, column in places]
    given = TestedWells(
        keys=[f"P{p}/{w}" for p, w in zip(screen.plates, wells, strict=True)],
        plates=[f"P{p}" for p in screen.plates], positions=wells,
        conditions=["" if k < 0 else f"c{k:03d}" for k in screen.which],
        doses=[np.nan] * n, compounds=[""] * n, n_fields=[1] * n,
        names=[f"f{k}" for k in range(screen.means.shape[1])],
        means=screen.means, variances=screen.variances, counts=screen.counts,
    )  # fmt: skip
    found = run_condition_tests(given, n_draws=2000, seed=np.random.SeedSequence(seed))
    tests = found.tests.sort_values("condition")
    return adjust_pvalues(tests["p_value"].to_numpy()) < 0.05, tests["explained"].to_numpy()


def main() -> None:
    """Print one line per situation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--screens", type=int, default=10)
    n_screens = parser.parse_args().screens
    for name, situation in SITUATIONS.items():
        counts = {"count": [0, 0], "own": [0, 0]}
        for seed in range(n_screens):
            screen = draw_screen(situation, seed)
            called, words = name_calls(screen, seed)
            for word, chosen in (
                ("count", called & ~screen.is_active), ("own", called & screen.is_active),
            ):  # fmt: skip
                counts[word][0] += int((words[chosen] == word).sum())
                counts[word][1] += int(chosen.sum())
        words = [f"{part} of {n} ({part / max(n, 1):.2f})" for part, n in counts.values()]
        print(f"{name:26} count alone named so: {words[0]:18} own kept: {words[1]}", flush=True)


if __name__ == "__main__":
    main()
