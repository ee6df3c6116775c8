"""Are the p-values of the network screen uniform? ``python -m tests.benchmarks.nulls``.

Screens planned, drawn and ranked as the network screen does it, of genes that do nothing. A linear
classifier, trained anew for every gene and fold, stands in for the network: the null is about wells
and their number, not about who learns from them. Some genes lack wells, some have few nuclei; the
p-values with one null for all, of the commonest structure, stand beside.

``--networks`` trains the screen's own network in every fold, and plants an effect in a third of the
genes, so that there are discoveries to be false: 20 screens of either layout, of 15 genes and 16
controls on 4 plates, 25 nuclei a well as crops of 16 x 16 px, 2 folds, 30 steps a training, are
4,000 trainings in ten minutes of one core. ``--planted`` does the same with the linear classifier;
``--genes`` and ``--effect`` set its size. With five planted genes one false discovery is a
sixth of them or more, so the share of a single screen says little; the mean is what counts.
"""

import argparse
import time
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import stats

from i2r.analysis.screen.contrasts import describe_conditions, plan_contrasts
from i2r.analysis.screen.held_out import Contrast
from i2r.analysis.screen.ranking import CallRule, rank_conditions, summarise_calls
from i2r.kernels.classification import score_probabilities
from i2r.lazy.training import FoldPlan, train_and_score

GENES, CONTROLS, PLATES, FOLDS, NUCLEI, FEATURES = 24, 24, 4, 4, 40, 6
LAYOUTS = ("shuffled", "sister")
# With networks: small enough for thousands of trainings, large enough for them to learn from.
TINY = {"genes": 15, "controls": 16, "nuclei": 25, "effect": 2.5}
TINY_PX, TINY_STEPS, TINY_FOLDS = 16, 30, 2


class Wells(NamedTuple):
    """A layout by key, with the planted effect of every well, and the nuclei of every well."""

    layout: pd.DataFrame
    nuclei: dict[str, np.ndarray]


def simulate_wells(
    seed: int,
    layout: str,
    *,
    genes: int = GENES,
    controls: int = CONTROLS,
    nuclei: int = NUCLEI,
    effect: float = 0.0,
) -> Wells:
    """Simulate a screen, without any effect or with one on the first feature of every third gene.

    Wells differ by themselves, by their position (on all plates alike) and by their plate. A
    quarter of the genes lacks a well, an eighth lacks two; every fifth has a fifth of the nuclei.
    """
    random = np.random.default_rng((seed, LAYOUTS.index(layout)))
    names = [*(f"g{n:03d}" for n in range(genes)), *["ctrl"] * controls]
    at = 0.35 * random.standard_normal((len(names), FEATURES))
    order = random.permutation(len(names))
    rows, found = [], {}
    for plate in range(1, PLATES + 1):
        order = order if layout == "sister" else random.permutation(len(names))
        shift = 0.5 * random.standard_normal(FEATURES)
        for place, which in enumerate(order.tolist()):
            lacking = (which % 4 == 1) + (which % 8 == 1)
            if which < genes and (plate + which) % PLATES < lacking:
                continue
            key = f"P{plate}/{chr(65 + place // 12)}{place % 12 + 1:02d}"
            few = which < genes and which % 5 == 0
            centre = at[place] + shift + 0.2 * random.standard_normal(FEATURES)
            n = max(2, int(random.poisson(nuclei / 5 if few else nuclei)))
            found[key] = centre + random.standard_normal((n, FEATURES))
            planted = effect * (which < genes and which % 3 == 2)
            found[key][:, 0] += planted
            rows.append((key, names[which], planted))
    table = pd.DataFrame(rows, columns=["key", "condition", "planted"]).set_index("key")
    parts = table.index.str.split("/", expand=True).to_frame(index=False)
    return Wells(
        table.assign(
            plate=parts[0].to_numpy(), well=parts[1].to_numpy(), fields=[["1"]] * len(table),
            perturbation=table["condition"], gene="", dose=np.nan,
            role=np.where(table["condition"] == "ctrl", "negative_control", "treated"),
        ),
        found,
    )  # fmt: skip


def thin_draws(
    wells: Wells, contrast: Contrast, contrasts: dict[str, Contrast]
) -> list[np.ndarray]:
    """Give the nuclei of a comparison's wells, of draws no more than the stage would use."""
    from i2r.analysis.screen.contrasts import list_copied

    counts: dict[str, list[int]] = {}
    for key in list_copied(contrasts.values(), contrast):
        counts.setdefault(key.split("/")[0], []).append(len(wells.nuclei[key]))
    most = {plate: round(float(np.median(found))) for plate, found in counts.items()}
    return [
        wells.nuclei[key][: most.get(key.split("/")[0]) if treated else None]
        for key, treated in zip(contrast.keys, contrast.is_treated, strict=True)
    ]


def score_linearly(contrast: Contrast, nuclei: list[np.ndarray]) -> list[dict[str, object]]:
    """Score all folds of a comparison with Fisher's linear discriminant."""
    counts = list(map(len, nuclei))
    values = np.concatenate(nuclei)
    treated = np.repeat(contrast.is_treated, counts)
    fold = np.repeat(contrast.folds, counts)
    rows = []
    for number in range(contrast.n_folds):
        train, test = fold != number, fold == number
        means = [values[train & (treated == kind)].mean(axis=0) for kind in (False, True)]
        residuals = values[train] - np.stack(means)[treated[train].astype(int)]
        weights = np.linalg.solve(np.cov(residuals.T) + 0.1 * np.eye(FEATURES), means[1] - means[0])
        score = score_probabilities(
            treated[test], stats.logistic.cdf((values[test] - (means[0] + means[1]) / 2) @ weights)
        )
        rows.append(
            {
                "balanced_accuracy": score.balanced_accuracy, "auc": score.area_under_curve,
                "n_test_treated": int((test & treated).sum()), "note": "",
            }
        )  # fmt: skip
    return rows


def score_by_network(
    contrast: Contrast, nuclei: list[np.ndarray], seed: int
) -> list[dict[str, object]]:
    """Score all folds of a comparison with the screen's network on tiny crops.

    The nuclei's features are the contrasts of six patterns of 2 x 2 px squares on a bright tile.
    """
    half = TINY_PX // 2
    patterns = np.random.default_rng(1).standard_normal((FEATURES, half, half))
    patterns = patterns.repeat(2, axis=1).repeat(2, axis=2)
    crops = [
        np.clip(20000 + 800 * np.tensordot(well, patterns, axes=1), 0, 65535).astype(np.uint16)[:, None]
        for well in nuclei
    ]  # fmt: skip
    folds = range(contrast.n_folds)
    plan = FoldPlan(contrast.keys, contrast.keys, contrast.is_treated, contrast.folds, 0, (0,))
    settings = {"scale": "plate", "passes": 4.0, "max_steps": TINY_STEPS}
    return [
        train_and_score(
            crops, plan._replace(fold=n), settings, np.random.SeedSequence((seed, n))
        )
        for n in folds
    ]  # fmt: skip


def rank_screen(wells: Wells, seed: int, *, networks: bool, pooled: bool = False) -> pd.DataFrame:
    """Rank a screen; ``pooled`` gives all conditions the draws of the commonest structure."""
    plan = plan_contrasts(
        wells.layout, group="well", n_folds=TINY_FOLDS if networks else FOLDS, n_draws=20,
        seed=np.random.SeedSequence(seed),
    )  # fmt: skip
    rows = []
    for contrast in plan.contrasts.values():
        nuclei = thin_draws(wells, contrast, plan.contrasts)
        scored = (
            score_by_network(contrast, nuclei, seed)
            if networks
            else score_linearly(contrast, nuclei)
        )
        rows += [{"condition": contrast.condition, **row} for row in scored]
    described = describe_conditions(wells.layout, plan)
    if pooled:
        commonest = (
            described.loc[described["kind"] == "control_draw", "shape"].value_counts().index[0]
        )
        draws = described["kind"] == "control_draw"
        described = described[~draws | (described["shape"] == commonest)].assign(shape=commonest)
    scores = pd.DataFrame(rows)
    return rank_conditions(
        scores[scores["condition"].isin(described["condition"])], described,
        summarise_calls(pd.DataFrame(columns=["condition", "well", "is_treated", "n_nuclei", "n_called"])), pd.DataFrame(),
        rule=CallRule("fdr", 0.05, 1), n_independent=plan.n_independent,
    )  # fmt: skip


def measure_uniformity(layout: str, n_screens: int) -> None:
    """Print how uniform the p-values of genes without effect are, and how many are called."""
    print(f"\n{layout}: {n_screens} screens of genes that do nothing, a linear classifier")
    for pooled in (False, True):
        found = [
            rank_screen(simulate_wells(n, layout), n, networks=False, pooled=pooled)
            for n in range(n_screens)
        ]
        ranked = pd.concat(found)
        ranked = ranked[(ranked["kind"] == "treated") & ranked["p_value"].notna()]
        p = ranked["p_value"].to_numpy()
        print(f"{'one null for all' if pooled else 'a null for every shape':22s} ", end="")
        print(f"{describe_uniformity(p)}; called {int(ranked['impactful'].sum())}")
        for name, chosen in ranked.groupby("shape") if not pooled else ():
            print(
                f"   {name:10s} {len(chosen):4d}  below 0.05: {(chosen['p_value'] < 0.05).mean():.3f}"
            )
        low = ranked["n_nuclei"] < 0.5 * ranked["n_nuclei"].median()
        print(f"   few nuclei {int(low.sum()):4d}  below 0.05: {(p[low] < 0.05).mean():.3f}")


def describe_uniformity(p: np.ndarray) -> str:
    """Put the test of uniform p-values, and the shares of small ones, into words."""
    test = stats.kstest(p, "uniform")
    shares = ", ".join(f"{(p < t).mean():.3f} below {t}" for t in (0.01, 0.05, 0.25, 0.5))
    return f"KS D {test.statistic:.3f}, p {test.pvalue:.3f} of {len(p)} (bar 0.01); {shares}"


def measure_discoveries(
    layout: str, n_screens: int, *, genes: int, effect: float, networks: bool, first: int
) -> None:
    """Print the uniformity of null genes' p-values, false discoveries and power."""
    torch.set_num_threads(1)
    who = "network" if networks else "linear classifier"
    print(f"\n{layout}: {n_screens} screens of {genes} genes, a {who} for every gene and fold")
    size = TINY | {"genes": genes, "effect": effect}
    began, nulls, rows = time.process_time(), [], []
    for seed in range(first, first + n_screens):
        wells = simulate_wells(seed, layout, **size)
        ranked = rank_screen(wells, seed, networks=networks)
        ranked = ranked[(ranked["kind"] == "treated") & ranked["p_value"].notna()]
        planted = wells.layout.groupby("condition")["planted"].max() > 0
        is_null = ~planted[ranked["condition"]].to_numpy()
        called = ranked["impactful"].to_numpy()
        nulls.append(ranked.loc[is_null, "p_value"].to_numpy())
        rows.append(((called & is_null).sum() / max(called.sum(), 1), called[~is_null].mean()))
        print(
            f"   screen {seed}: called {called.sum()}, of nulls {(called & is_null).sum()}",
            flush=True,
        )
    false, power = np.array(rows).T
    print(f"null p-values        {describe_uniformity(np.concatenate(nulls))}")
    print(
        f"false discoveries    {false.mean():.3f} on average (bar 0.06), {false.max():.3f} at most"
    )
    print(f"power                {power.mean():.3f}")
    print(f"seconds of a core    {time.process_time() - began:.0f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--screens", type=int, default=20)
    parser.add_argument(
        "--networks", action="store_true", help="train networks: ten minutes of a core"
    )
    parser.add_argument(
        "--planted", action="store_true", help="an effect in a third, for the linear classifier too"
    )
    parser.add_argument("--genes", type=int, default=TINY["genes"])
    parser.add_argument("--effect", type=float, default=TINY["effect"])
    parser.add_argument("--first-seed", type=int, default=0, help="with --networks or --planted")
    parser.add_argument("--layout", choices=LAYOUTS, action="append", help="one layout alone")
    options = parser.parse_args()
    for layout in options.layout or LAYOUTS:
        if options.networks or options.planted:
            measure_discoveries(
                layout, options.screens, genes=options.genes, effect=options.effect,
                networks=options.networks, first=options.first_seed,
            )  # fmt: skip
        else:
            measure_uniformity(layout, options.screens)


if __name__ == "__main__":
    main()
