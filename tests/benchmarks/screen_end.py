"""The end of fast screens of many plates, without a nucleus: calls of plates are drawn.

Run as ``python -m tests.benchmarks.screen_end [--plates 16,64]``. Plates are those of
`tests.benchmarks.plates`. Every size runs in two processes: the client plans and builds all units,
a worker tests the blocks and ranks. Bars: a worker at most 1.2 GiB, the client at most 1 GiB, time
per plate constant.
"""

import argparse
import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np

from i2r.analysis.screen.head_fitting import Fitted
from i2r.analysis.screen.plate_calls import PlateCalls
from i2r.analysis.screen.plate_plans import PlatePlan
from i2r.stages.screen import Screen
from i2r.stages.screen.fast_units import CONTROLS, HEADS, SUMS, TREATED, PassStore
from i2r.store.experiment import Experiment
from i2r.store.layout import empty_sources
from i2r.store.ledger import LedgerWriter
from tests.benchmarks.plates import FEATURES, NUCLEI, lay_out


def peak_gib() -> float:
    """Give the highest memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Give the processor time of a piece of work, and what it gives."""
    started = time.process_time()
    found = work()
    return time.process_time() - started, found


def draw_calls(plan: PlatePlan, random: np.random.Generator, *, is_control: bool) -> PlateCalls:
    """Draw the calls of a plate's treated wells or of its controls."""
    number_of = {key: number for number, key in enumerate(plan.keys)}
    rows: list[tuple[int, int, int]] = []
    comparisons = sorted({c for own in plan.comparisons.values() for c in own})
    if is_control:
        for number in np.flatnonzero(plan.is_control).tolist():
            piece = (plan.keys[number], "")
            copied = plan.comparisons.get(piece, ())
            rows += [(c, plan.folds[piece], number) for c in comparisons if c not in copied]
    else:
        for piece, own in plan.comparisons.items():
            rows += [(c, plan.folds[piece], number_of[piece[0]]) for c in own]
    comparison, fold, well = np.array(rows, dtype=np.intp).reshape(-1, 3).T
    n_nuclei = np.full(len(rows), NUCLEI)
    chosen = np.flatnonzero(np.array(plan.is_control) == is_control)
    means = 0.1 * random.standard_normal((len(chosen), FEATURES))
    above = np.zeros(0 if is_control else 1, dtype=np.float32)
    keys = np.unique(np.column_stack([comparison, fold]), axis=0)
    ranked = keys if is_control else keys[:0]
    return PlateCalls(
        comparison, fold, well, n_nuclei, random.binomial(n_nuclei, 0.5), chosen,
        np.full(len(chosen), NUCLEI), means, np.ones_like(means),
        np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0, np.intp), above,
        ranked[:, 0].copy(), ranked[:, 1].copy(), np.full(len(ranked), NUCLEI**2, dtype=np.int64),
    )  # fmt: skip


def run_client(n_plates: int, folder: str) -> dict[str, Any]:
    """Plan a screen, draw what its plates leave, and build the end."""
    experiment = Experiment(f"{folder}/e", layout=lay_out(n_plates), sources=empty_sources())
    screen = Screen(method="fast", needs=("features",))
    plan_s, passes = timed(lambda: screen.plan_passes(experiment))
    keys = screen.keys(experiment)
    ends = [key for key in keys if key == "all" or key.startswith("tests/")]
    writer = LedgerWriter(experiment.ledger, 1)
    for key in experiment.well_keys:
        writer.write("features", key, "done", "x", result={"nuclei": NUCLEI})
    for key in keys:
        if key not in ends:
            writer.write("screen", key, "done", "x", result={})
    writer.close()
    experiment = Experiment(experiment.url, layout=experiment.layout, sources=empty_sources())
    passes = screen.plan_passes(experiment)
    store = PassStore(experiment, "screen")
    random = np.random.default_rng(0)
    for plate, plan in passes.plates.items():
        for word, is_control in ((TREATED, False), (CONTROLS, True)):
            store.write(word + plate, draw_calls(plan, random, is_control=is_control))
    names = np.array([f"feature_{number}" for number in range(FEATURES)])
    nothing = np.zeros((0, 3), dtype=np.str_)
    store.write(HEADS, Fitted(names, nothing, np.array([True])))
    largest = build_s = 0.0
    for number, key in enumerate([key for key in keys if not key.startswith(SUMS)] + [""]):
        build = (lambda k=key: screen.build(experiment, k)) if key else (lambda: screen.finish(experiment, keys))  # fmt: skip
        seconds, graph = timed(build)
        build_s += seconds
        if key in ends or not key:
            data = cloudpickle.dumps(graph)
            largest = max(largest, len(data) / 1e6)
            Path(folder, f"{number:06d}.pkl").write_bytes(data)
    estimates = max(screen.peak_bytes(experiment, key) for key in ends) / 2**30
    return {
        "plan_s": plan_s, "build_s": build_s, "graph_mb": largest, "client": peak_gib(),
        "blocks": max(len(ends) - 1, 1), "estimate": estimates,
    }  # fmt: skip


def run_worker(folder: str) -> dict[str, Any]:
    """Run the units of the end, one after another."""
    found: dict[str, Any] = {"tests_s": 0.0}
    paths = sorted(Path(folder).glob("*.pkl"))
    for path in paths:
        graph = pickle.loads(path.read_bytes())
        seconds, _ = timed(lambda g=graph: g.compute(scheduler="sync"))  # type: ignore[misc]
        if path == paths[-1]:
            found |= {"ranking_s": seconds, "ranking": peak_gib()}
        else:
            found["tests_s"] += seconds
            found["tests"] = peak_gib()
    return found


def print_size(n_plates: int) -> None:
    """Print the figures of one size."""
    command = [sys.executable, "-m", "tests.benchmarks.screen_end", "--folder"]
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Any] = {}
        for more in (["--client", str(n_plates)], ["--worker"]):
            done = subprocess.run([*command, folder, *more], capture_output=True, text=True, check=False)  # fmt: skip
            if done.returncode:
                print(f"{n_plates} plates failed:\n{done.stderr[-3000:]}")
                return
            found |= json.loads(done.stdout.splitlines()[-1])
        calls = Path(folder, "e", "tables", "screen-calls").rglob("*.parquet")
        size = sum(path.stat().st_size for path in calls) / 1e6
    print(
        f"{n_plates} plates in {found['blocks']} blocks, seconds of processor: plan "
        f"{found['plan_s']:.1f}, graphs {found['build_s']:.1f}, tests {found['tests_s']:.1f} "
        f"({found['tests_s'] / n_plates:.2f} per plate), ranking {found['ranking_s']:.1f} "
        f"({found['ranking_s'] / n_plates:.2f}); client {found['client']:.2f} GiB (bar 1), largest "
        f"graph {found['graph_mb']:.1f} MB, worker {found['tests']:.2f} GiB testing (estimated "
        f"{found['estimate']:.2f}), {found['ranking']:.2f} ranking (bar 1.2); calls {size:.0f} MB",
        flush=True,
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--plates", default="16,64")
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    parser.add_argument("--client", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        print(json.dumps(run_client(arguments.client, arguments.folder)))
    elif arguments.worker:
        print(json.dumps(run_worker(arguments.folder)))
    else:
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        for n_plates in map(int, arguments.plates.split(",")):
            print_size(n_plates)


if __name__ == "__main__":
    main()
