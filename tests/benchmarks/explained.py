"""Are calls named by what they come from? ``python -m tests.benchmarks.explained``.

Screens of the battery's generator whose features change with crowding, focus or DNA content: three
tenths of the conditions without an effect kill, or a fifth each lies out of focus or stops in the
cell cycle; a quarter changes the nuclei. Printed are, of the conditions that are called for one
of these alone, the share whose word says so (bar 0.95), and of those that change nuclei and are
called, the share that keeps the word "own" (bar 0.90). ``--screens`` (default 10), ``--only WORD``.
"""

import argparse

import numpy as np

from i2r.analysis.screen.condition_tests import TestedWells, run_condition_tests
from i2r.kernels.statistics import adjust_pvalues
from i2r.types import Well
from tests.benchmarks.situations import BASE, Screen, Situation, draw_screen

CROWDED = BASE._replace(crowding=0.25, toxic=0.3)
BLURRED = BASE._replace(blur=0.25, blurred=0.3)
ARRESTED = BASE._replace(cycle=0.25, arrested=0.3)
ALL = BASE._replace(
    crowding=0.25, toxic=0.2, blur=0.25, blurred=0.2, cycle=0.25, arrested=0.2
)  # fmt: skip
SITUATIONS: dict[str, Situation] = {
    "crowding .25": CROWDED,
    "crowding .5": CROWDED._replace(crowding=0.5),
    "crowding .25 sister": CROWDED._replace(layout="sister"),
    "crowding .25, 8 controls": CROWDED._replace(controls=8),
    "focus .25": BLURRED,
    "focus .5": BLURRED._replace(blur=0.5),
    "focus .25 sister": BLURRED._replace(layout="sister"),
    "focus .25, 8 controls": BLURRED._replace(controls=8),
    "dna .25": ARRESTED,
    "dna .5": ARRESTED._replace(cycle=0.5),
    "dna .25 sister": ARRESTED._replace(layout="sister"),
    "dna .25, 8 controls": ARRESTED._replace(controls=8),
    "all .25": ALL,
    "all .25 sister": ALL._replace(layout="sister"),
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
        names=["sum_DNA", *(f"f{k}" for k in range(1, screen.means.shape[1]))],
        means=screen.means, variances=screen.variances, counts=screen.counts, focus=screen.focus,
    )  # fmt: skip
    found = run_condition_tests(given, n_draws=2000, seed=np.random.SeedSequence(seed))
    tests = found.tests.sort_values("condition")
    return adjust_pvalues(tests["p_value"].to_numpy()) < 0.05, tests["explained"].to_numpy()


def main() -> None:
    """Print one line per situation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--screens", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="", help="situations with this in their name")
    given = parser.parse_args()
    for name, situation in SITUATIONS.items():
        if given.only not in name:
            continue
        named = {word: [0, 0] for word in ("count", "focus", "dna", "own")}
        for seed in range(given.first_seed, given.first_seed + given.screens):
            screen = draw_screen(situation, seed)
            called, words = name_calls(screen, seed)
            truth = np.where(screen.is_active, "own", screen.explained)
            for word, tally in named.items():
                chosen = called & (truth == word)
                tally[0] += int((words[chosen] == word).sum())
                tally[1] += int(chosen.sum())
        shown = [f"{w} {part} of {n} ({part / n:.2f})" for w, (part, n) in named.items() if n]
        print(f"{name:26}", "; ".join(shown), flush=True)


if __name__ == "__main__":
    main()
