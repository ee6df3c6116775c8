"""The run loop against a plain Dask map over the same kernels, and two workers against one.

Run as ``python -m tests.benchmarks.scaling [--wells 8]``: convert, segment and crop of wells of nine
fields of 1,080 x 1,080 pixels. The plain map computes the same lazy graphs of the same units with
``client.compute``, stage after stage; it writes the same files but keeps no ledger, checks nothing
and can't be resumed. The order alternates, and the best of the repetitions counts.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

from i2r.cluster import ClusterSpec, WorkerGroup
from i2r.pipeline.run import prepare, run_pipeline
from i2r.pipeline.spec import Pipeline, parse_pipeline
from i2r.pipeline.startup import close_cluster
from i2r.store.experiment import Experiment
from i2r.testing import describe_pipeline, write_plate


def make_pipeline(folder: Path, *, n_wells: int, n_fields: int) -> Pipeline:
    """Write a plate and give the pipeline as far as the crops."""
    plate = write_plate(folder / "plate", wells=n_wells, fields=n_fields, shape=(1080, 1080))
    content = describe_pipeline(plate, screen=False)
    content["stages"] = [s for s in content["stages"] if s["stage"] != "quality"]
    return parse_pipeline(content, where="benchmark")


def time_run(pipeline: Pipeline, url: Path, workers: int) -> float:
    """Time i2r's run loop, from its first unit to its last."""
    shutil.rmtree(url, ignore_errors=True)
    cpu = WorkerGroup(n_workers=workers, memory_limit="3GiB")
    spec = ClusterSpec(cpu=cpu, gpu=WorkerGroup(n_workers=0), dashboard_address="127.0.0.1:0")
    return run_pipeline(pipeline, str(url), cluster=spec, style="none").seconds


def time_plain_map(pipeline: Pipeline, url: Path, workers: int) -> float:
    """Time the same graphs, mapped over the same kind of workers."""
    from distributed import Client, LocalCluster

    shutil.rmtree(url, ignore_errors=True)
    experiment: Experiment = prepare(pipeline, str(url))
    experiment.save_description()
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        memory_limit="3GiB",
        dashboard_address="127.0.0.1:0",
    )
    try:
        with Client(cluster, set_as_default=False) as client:
            client.wait_for_workers(workers)
            started = time.perf_counter()
            for stage in pipeline.stages:
                keys = stage.keys(experiment)
                graphs = [stage.build(experiment, key) for key in keys]
                client.gather(client.compute(graphs))
                last = stage.finish(experiment, keys)
                if last is not None:
                    client.compute(last).result()
            return time.perf_counter() - started
    finally:
        close_cluster(cluster)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--wells", type=int, default=8)
    parser.add_argument("--fields", type=int, default=9)
    parser.add_argument("--repetitions", type=int, default=2)
    arguments = parser.parse_args()
    best: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pipeline = make_pipeline(folder, n_wells=arguments.wells, n_fields=arguments.fields)
        print(
            f"{arguments.wells} wells of {arguments.fields} fields, {os.cpu_count()} cores, "
            f"load {os.getloadavg()[0]:.1f}"
        )
        for _ in range(arguments.repetitions):
            for label, measure, workers in (
                ("run loop, 1 worker", time_run, 1),
                ("plain map, 1 worker", time_plain_map, 1),
                ("run loop, 2 workers", time_run, 2),
                ("plain map, 2 workers", time_plain_map, 2),
            ):
                seconds = measure(pipeline, folder / "e", workers)
                best[label] = min(seconds, best.get(label, seconds))
                print(f"  {label}: {seconds:.1f} s", flush=True)
    one, two = best["run loop, 1 worker"], best["run loop, 2 workers"]
    for workers in ("1 worker", "2 workers"):
        overhead = best[f"run loop, {workers}"] / best[f"plain map, {workers}"] - 1
        print(f"overhead of the run loop, {workers}: {overhead:+.1%} (bar 5 %)")
    print(f"two workers against one: {one / two:.2f}x (bar 1.8)")


if __name__ == "__main__":
    main()
