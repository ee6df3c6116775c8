"""Is the fast screen calibrated, is it strong, is it quick? ``python -m tests.benchmarks.screens``.

Simulated screens at the level of wells' and nuclei's features: each nucleus is a vector of features,
so that twenty screens take a minute; ``--images`` simulates one from images too and runs the whole
chain. The oracle is told which feature was planted and tests it alone, well by well.
"""

import argparse
import json
import resource
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from i2r.analysis.screen.contrasts import plan_contrasts
from i2r.analysis.screen.head_fitting import fit_screen
from i2r.analysis.screen.plate_calls import call_controls, call_treated
from i2r.analysis.screen.plate_plans import FastPlan, PlatePlans, WellFeatures
from i2r.analysis.screen.plate_sums import sum_plate
from i2r.kernels.conditions import Wells, compare_conditions
from i2r.kernels.statistics import adjust_pvalues
from i2r.simulation import PRESETS, write_screen

Layout = Literal["shuffled", "sister"]
GENES, NULLS, CONTROLS, PLATES, FEATURES, KINDS, NUCLEI = 190, 95, 40, 4, 64, 4, 100
# Chosen so that the oracle finds 0.8 to 0.95 of the planted genes.
EFFECT = {"shuffled": 0.24, "sister": 0.40}


class Screen(NamedTuple):
    """Mean profiles of wells, the variance of a nucleus by feature, and the truth."""

    profiles: np.ndarray
    nucleus: np.ndarray
    plates: np.ndarray
    positions: np.ndarray
    perturbations: np.ndarray
    is_null: np.ndarray
    planted: np.ndarray


def simulate(seed: int, layout: Layout) -> Screen:
    """Simulate wells' mean profiles: correlated features, and positions and rows that drift.

    Nuclei are normal around their well with correlated features, so the mean over `NUCLEI` of them
    is drawn at once. A position differs alike on every plate, along six directions and by itself;
    every plate has an offset and a slope over its rows.
    """
    random = np.random.default_rng((seed, len(layout)))
    fixed = np.random.default_rng(77)
    turned, _ = np.linalg.qr(fixed.standard_normal((FEATURES, FEATURES)))
    spread = (turned / np.sqrt(1 + np.arange(FEATURES) / 8)) @ turned.T
    nuisance = fixed.standard_normal((6, FEATURES))
    nuisance /= np.linalg.norm(nuisance, axis=1, keepdims=True)
    n = GENES + CONTROLS
    names = np.concatenate([np.arange(GENES), np.full(CONTROLS, -1)])
    at = 0.25 * random.standard_normal((n, 6)) @ nuisance
    at += 0.05 * random.standard_normal((n, FEATURES))
    is_null = random.permutation(GENES) < NULLS
    planted = np.arange(GENES) % KINDS
    effect = np.where(is_null, 0, EFFECT[layout] * random.uniform(0.85, 1.15, GENES))
    rows = np.arange(n) // 24 / 8 - 0.5
    order = random.permutation(n)
    parts = []
    for plate in range(PLATES):
        order = order if layout == "sister" else random.permutation(n)
        which = names[order]
        values = at + 0.5 * random.standard_normal(FEATURES)
        values += 0.3 * np.outer(rows, random.standard_normal(6) @ nuisance)
        values += 0.15 * random.standard_normal((n, 6)) @ nuisance
        values += 0.05 * random.standard_normal((n, FEATURES))
        values += random.standard_normal((n, FEATURES)) @ spread / np.sqrt(NUCLEI)
        treated = np.flatnonzero(which >= 0)
        values[treated, planted[which[treated]]] += effect[which[treated]]
        parts.append((values, np.full(n, plate), np.arange(n), which))
    joined = [np.concatenate(part) for part in zip(*parts, strict=True)]
    nucleus = (spread**2).sum(axis=0)
    return Screen(joined[0], nucleus, joined[1], joined[2], joined[3], is_null, planted)


def test_oracle(screen: Screen, layout: Layout) -> np.ndarray:
    """Test the planted feature of every gene, null genes too: what a test that knows it finds.

    Shuffled layouts: Student's t of wells, relative to their plate's controls. Sister layouts, whose
    wells share a position: the mean over plates among those of control positions.
    """
    centred = screen.profiles.copy()
    is_control = screen.perturbations < 0
    for plate in range(PLATES):
        here = screen.plates == plate
        centred[here] -= centred[here & is_control].mean(axis=0)
    found = []
    for gene in range(GENES):
        values = centred[:, screen.planted[gene]]
        own = values[screen.perturbations == gene]
        if layout == "shuffled":
            found.append(stats.ttest_ind(own, values[is_control]).pvalue)
            continue
        null = pd.Series(values[is_control]).groupby(screen.positions[is_control]).mean()
        shift = abs(own.mean() - null.mean()) + null.mean()
        # One more position, were it drawn like those of the controls.
        deviation = null.std(ddof=1) * np.sqrt(1 + 1 / len(null))
        found.append(2 * stats.t.sf((shift - null.mean()) / deviation, len(null) - 1))
    return np.array(found)


def test_screen(screen: Screen, seed: int) -> np.ndarray:
    """Test the genes as the fast screen does, given means alone; positions are on a grid."""
    n = len(screen.profiles)
    return compare_conditions(
        Wells(
            screen.profiles, np.tile(screen.nucleus, (n, 1)), np.full(n, float(NUCLEI)), screen.plates,
            screen.positions // 24, screen.positions % 24, screen.perturbations,
        ),
        seed=seed,
    ).p_value  # fmt: skip


def measure_calibration(layout: Layout, n_screens: int) -> None:
    """Print false discoveries, power beside the oracle's, and the uniformity of null p-values."""
    rows, nulls = [], []
    for seed in range(n_screens):
        screen = simulate(seed, layout)
        p_values = test_screen(screen, seed)
        called = adjust_pvalues(p_values) < 0.05
        known = adjust_pvalues(test_oracle(screen, layout)) < 0.05
        nulls.append(p_values[screen.is_null])
        rows.append(
            (
                called[~screen.is_null].mean(), known[~screen.is_null].mean(),
                (called & screen.is_null).sum() / max(called.sum(), 1),
                (known & screen.is_null).sum() / max(known.sum(), 1),
            )
        )  # fmt: skip
    power, oracle, fdp, oracle_fdp = np.array(rows).T
    p = np.concatenate(nulls)
    test = stats.kstest(p, "uniform")
    print(
        f"\n{layout}: {n_screens} screens, {GENES} genes ({NULLS} null), {CONTROLS} controls x {PLATES} plates"
    )
    print(f"power                {power.mean():.3f}")
    print(f"power of the oracle  {oracle.mean():.3f}   (false discoveries {oracle_fdp.mean():.3f})")
    print(f"ratio                {power.mean() / oracle.mean():.3f}   (bar 0.9 or more)")
    print(
        f"false discoveries    {fdp.mean():.3f} on average (bar 0.06), {fdp.max():.3f} at most (bar 0.2)"
    )
    print(
        f"null p-values        KS D {test.statistic:.3f}, p {test.pvalue:.3f} (bar 0.01), taking all as independent"
    )
    shares = ", ".join(f"{(p < t).mean():.4f} below {t}" for t in (0.001, 0.01, 0.05, 0.25, 0.5))
    print(f"                     {shares}")


def _plan_heads(
    which: np.ndarray, plates: np.ndarray, nuclei: np.ndarray
) -> tuple[FastPlan, dict[str, partial[WellFeatures]]]:
    """Plan heads for wells of genes, and of controls (-1)."""
    number = pd.Series(plates).groupby(plates).cumcount()
    layout = pd.DataFrame(
        {
            "plate": [f"P{plate}" for plate in plates], "well": [f"W{n:03d}" for n in number],
            "role": np.where(which < 0, "negative_control", "treated"),
            "condition": [f"G{gene:03d}" if gene >= 0 else "" for gene in which],
            "fields": [["1"]] * len(which),
        }
    )  # fmt: skip
    layout.index = pd.Index(layout["plate"] + "/" + layout["well"])
    contrasts = plan_contrasts(
        layout, group="well", n_folds=4, n_draws=0, seed=np.random.SeedSequence(0),
        shared_controls=True,
    ).contrasts  # fmt: skip
    keys = tuple(layout.index)
    names = tuple(f"f{n}" for n in range(nuclei.shape[2]))
    readers = {
        key: partial(WellFeatures, names, values, np.full(len(values), "1"))
        for key, values in zip(keys, nuclei, strict=True)
    }
    plan = FastPlan(
        keys, tuple(layout["plate"]), tuple(layout["well"]), (1,) * len(keys),
        tuple(layout["condition"]), tuple(contrasts.values()), by_field=False,
    )  # fmt: skip
    return plan, readers


def measure_speed() -> None:
    """Print the time of heads and tests on 100,000 embeddings, beside heads one by one."""
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(0)
    n_wells, per_well, d = 1000, 100, 128
    which = np.tile(np.concatenate([np.arange(GENES), np.full(60, -1)]), PLATES)
    plates = np.repeat(np.arange(PLATES), n_wells // PLATES)
    features = random.standard_normal((n_wells * per_well, d)).astype(np.float32)
    plan, readers = _plan_heads(which, plates, features.reshape(n_wells, per_well, d))
    began = time.perf_counter()
    plans = PlatePlans(plan.keys, [not c for c in plan.conditions], plan.contrasts, by_field=False)
    own = {name: [readers[key] for key in of.keys] for name, of in plans.items()}
    sums = {name: sum_plate(of, own[name]) for name, of in plans.items()}
    found = fit_screen(
        plans, sums.__getitem__, lambda name, usable: sums[name],
        n_comparisons=len(plan.contrasts),
    )[1]  # fmt: skip
    heads = dict(found)
    treated = {name: call_treated(of, own[name], heads[name]) for name, of in plans.items()}
    for name, of in plans.items():
        call_controls(of, own[name], heads[name], treated.__getitem__)
    heads_s = time.perf_counter() - began
    began = time.perf_counter()
    nuclei = features.reshape(n_wells, per_well, d)
    place = np.arange(n_wells) % (n_wells // PLATES)
    compare_conditions(
        Wells(
            nuclei.mean(axis=1, dtype=np.float64), nuclei.var(axis=1, dtype=np.float64),
            np.full(n_wells, float(per_well)), plates, place // 24, place % 24, which,
        )
    )  # fmt: skip
    tests_s = time.perf_counter() - began
    chosen = np.flatnonzero(which <= 0)
    labels = np.repeat(which[chosen] == 0, per_well)
    began = time.perf_counter()
    head = LogisticRegression(max_iter=200, class_weight="balanced")
    head.fit(nuclei[chosen].reshape(-1, d), labels)
    one_s = time.perf_counter() - began
    print(f"\n{GENES} genes x {PLATES} folds, {len(features):,} embeddings of {d} (bar 15 s)")
    print(f"heads {heads_s:.2f} s, tests with {d} features {tests_s:.2f} s")
    print(
        f"scikit-learn's logistic regression, one gene and fold: {one_s:.2f} s; all: {one_s * GENES * PLATES:.0f} s"
    )


def measure_images(genes: int, workers: int, seed: int) -> None:
    """Simulate a screen from images, run the whole chain in fast mode, compare with the truth."""
    from i2r.cluster import ClusterSpec, WorkerGroup
    from i2r.pipeline.run import run_pipeline
    from i2r.pipeline.spec import load_pipeline
    from i2r.store.experiment import open_experiment

    with tempfile.TemporaryDirectory() as folder:
        design = PRESETS["screen"]._replace(
            genes=genes, null_genes=genes // 2, modules=0, strength=1.0, seed=seed
        )
        began, busy = time.perf_counter(), _count_busy()
        truth = write_screen(f"{folder}/screen", design, workers=workers)
        drawn_s = time.perf_counter() - began
        print(f"\n{json.dumps(design._asdict())}")
        pipeline = load_pipeline(f"{folder}/screen/pipeline.yaml")
        summary = run_pipeline(
            pipeline, f"{folder}/experiment",
            cluster=ClusterSpec(cpu=WorkerGroup(n_workers=workers)), style="plain",
        )  # fmt: skip
        total_s = time.perf_counter() - began
        experiment = open_experiment(str(Path(folder) / "experiment"))
        ranking = experiment.table("screen")
        spent = {
            stage.title: sum(e.seconds for e in experiment.ledger.entries(stage.title))
            for stage in pipeline.stages
        }
    print(f"{summary}")
    print(f"simulated in {drawn_s:.0f} s; seconds of computing by stage, over {workers} workers:")
    print(", ".join(f"{name} {seconds:.0f}" for name, seconds in spent.items()))
    print(f"end to end {total_s:.0f} s by the clock (bar 900 s on two cores), ", end="")
    print(f"{_count_busy() - busy:.0f} s of processors")
    print_truth(truth, ranking)


def _count_busy() -> float:
    """Count the processor seconds of this process and of those that it started and that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def print_truth(truth: pd.DataFrame, ranking: pd.DataFrame) -> None:
    """Print what was found of each kind of effect, and the false discoveries."""
    both = truth.merge(ranking[["gene", "score", "p_value", "impactful", "feature"]], on="gene")
    print(both.groupby("effect")[["impactful", "score"]].mean().round(3).to_string())
    found, null = both[both["impactful"]], both[both["is_null"]]
    n_planted = len(both) - len(null)
    print(f"planted called {(~found['is_null']).sum()} of {n_planted}, ", end="")
    print(f"nulls called {found['is_null'].sum()} of {len(null)}", end="")
    print(f" (false discoveries {found['is_null'].mean():.3f})")
    uniform = stats.kstest(null["p_value"], "uniform")
    print(f"null p-values: KS p {uniform.pvalue:.3f} of {len(null)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--screens", type=int, default=20)
    parser.add_argument(
        "--images", type=int, default=0, metavar="GENES", help="a screen of images too"
    )
    parser.add_argument(
        "--seeds", type=int, default=1, help="so many screens of images, one after another"
    )
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    measure_calibration("shuffled", options.screens)
    measure_calibration("sister", options.screens)
    measure_speed()
    for seed in range(options.seeds if options.images else 0):
        measure_images(options.images, options.workers, seed)


if __name__ == "__main__":
    main()
