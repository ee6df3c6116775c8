"""What a unit costs that does nothing, for 1,000, 10,000 and 100,000 of them; and a large experiment.

Run as ``python -m tests.benchmarks.scale [--most 100000]``. Every size runs in a process of its own:
seconds per unit, the memory that grew, bytes of the ledger. Then what the client spends on the graph
of a unit that does something, for wells of nine fields with two channels (``--graphs`` prints only
that). Below: opening an experiment of 500 plates and 14 stages, and its status
(`tests.benchmarks.large`). The projection is for a screen of 2,000 plates of 384 wells.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cloudpickle
import pandas as pd
import psutil
from dask import delayed
from dask.delayed import Delayed

from i2r.cluster import ClusterSpec, WorkerGroup
from i2r.pipeline.run import prepare, run_pipeline
from i2r.pipeline.spec import Pipeline, parse_pipeline, resolve_needs
from i2r.pipeline.work import Work
from i2r.stages.base import Stage, Survey
from i2r.store.experiment import Experiment
from i2r.testing import describe_pipeline, write_plate
from tests.benchmarks.large import print_large
from tests.pipeline.stubs import make_layout

SCREEN_WELLS = 2000 * 384
SIZES = (1_000, 10_000, 100_000)


def do_nothing() -> dict[str, int]:
    """The whole work of a unit."""
    return {"fields": 1}


class Wells(Stage):
    """Brings wells in, and does nothing with them."""

    stage: str = "wells"
    number: int = 1000

    def survey(self) -> Survey:
        return Survey(lay_out(self.number), pd.DataFrame({"plate": [], "well": []}))

    def build(self, experiment: Experiment, key: str) -> Delayed:
        return delayed(do_nothing)()


def lay_out(n_wells: int) -> pd.DataFrame:
    """Make the layout of as many plates of 384 wells as it takes."""
    names = [f"{chr(65 + i // 24)}{i % 24 + 1:02d}" for i in range(384)]
    plates = -(-n_wells // 384)
    layout = pd.concat([make_layout(names)] * plates, ignore_index=True)[:n_wells]
    return layout.assign(plate=[f"P{i // 384:04d}" for i in range(n_wells)])


def measure(n_units: int, workers: int) -> dict[str, float]:
    """Run so many units; in this process where there are no workers."""
    spec = ClusterSpec(type="none")
    if workers:
        cpu = WorkerGroup(n_workers=workers, memory_limit="1GiB")
        gpu = WorkerGroup(n_workers=0)
        spec = ClusterSpec(cpu=cpu, gpu=gpu, dashboard_address="127.0.0.1:0")
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        url = f"{folder}/e"
        warm = Pipeline(resolve_needs([Wells(number=10)], where="benchmark"))
        run_pipeline(warm, f"{folder}/warm", cluster=spec, style="none")
        before, started = process.memory_info().rss, time.perf_counter()
        pipeline = Pipeline(resolve_needs([Wells(number=n_units)], where="benchmark"))
        summary = run_pipeline(pipeline, url, cluster=spec, style="none")
        seconds = time.perf_counter() - started
        assert summary.ran == {"wells": n_units}
        ledger = sum(p.stat().st_size for p in Path(url, "ledger").glob("*.jsonl"))
        return {
            "seconds": seconds,
            "memory": process.memory_info().rss - before,
            "ledger": ledger,
            "state": Path(url, "ledger", "state.parquet").stat().st_size,
            "layout": Path(url, "layout.parquet").stat().st_size,
        }


def print_graphs() -> None:
    """Print what making and packing the graph of a well costs, by stage, and for the screen."""
    channels = ("DNA", "ER")
    total_s = 0.0
    print("stage     ms/unit  bytes  tasks")
    with tempfile.TemporaryDirectory() as folder:
        plate = write_plate(Path(folder), wells=96, fields=9, channels=channels, compression=None)
        described = describe_pipeline(plate, channels=channels, screen=False)
        described["stages"].append({"stage": "features"})
        pipeline = parse_pipeline(described, where="benchmark")
        experiment = prepare(pipeline, f"{folder}/e")
        for stage in pipeline.stages:
            keys = stage.keys(experiment)
            started = time.perf_counter()
            graphs = [stage.build(experiment, key) for key in keys]
            packed = [len(cloudpickle.dumps(Work(stage.title, graph, 1))) for graph in graphs]
            seconds = (time.perf_counter() - started) / len(keys)
            total_s += seconds
            tasks = len(graphs[0].__dask_graph__())
            print(f"{stage.title:9s} {seconds * 1e3:7.2f} {max(packed):6d} {tasks:6d}")
    print(
        f"projected for {SCREEN_WELLS} wells, all of these: {SCREEN_WELLS * total_s / 3600:.1f} h of "
        "one client"
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--graphs", action="store_true", help="only what graphs cost the client")
    parser.add_argument("--most", type=int, default=SIZES[-1])
    parser.add_argument("--one", type=int, nargs=2, help="one size, with so many workers, as JSON")
    parser.add_argument("--plates", type=int, default=500)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one)))
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    if arguments.graphs:
        print_graphs()
        return
    print("   units  workers  ms/unit  KB memory/unit  B ledger/unit  B state/unit  B layout/unit")
    last: dict[str, float] = {}
    for workers in (0, 2):
        for n_units in SIZES:
            if n_units > arguments.most:
                continue
            command = [sys.executable, "-m", "tests.benchmarks.scale", "--one"]
            done = subprocess.run(
                [*command, str(n_units), str(workers)], capture_output=True, text=True, check=True
            )
            found = json.loads(done.stdout.splitlines()[-1])
            per = {name: value / n_units for name, value in found.items()}
            last = per if not workers else last
            print(
                f"{n_units:8d}  {workers:7d}  {per['seconds'] * 1e3:7.2f}  {per['memory'] / 1e3:14.2f}"
                f"  {per['ledger']:13.0f}  {per['state']:12.1f}  {per['layout']:13.1f}",
                flush=True,
            )
    print(
        f"projected for {SCREEN_WELLS} wells, one stage: {SCREEN_WELLS * last['seconds'] / 3600:.1f} h"
        f" of one client, {SCREEN_WELLS * last['memory'] / 1e9:.1f} GB of its memory, ledger "
        f"{SCREEN_WELLS * last['ledger'] / 1e9:.2f} GB, layout {SCREEN_WELLS * last['layout'] / 1e6:.0f} MB"
    )
    print_graphs()
    print_large(arguments.plates)


if __name__ == "__main__":
    main()
