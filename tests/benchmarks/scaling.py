"""The run loop against a plain Dask map over the same kernels, and two workers against one.

Run as ``python -m tests.benchmarks.scaling [--wells 16]``: convert, segment and crop of wells of nine
fields of 1,080 x 1,080 pixels, on worker processes that are up and warm. The plain map computes the
same lazy graphs of the same units on the same workers with ``client.compute``, stage after stage; it
writes the same files but keeps no ledger, checks nothing and can't be resumed. Bare processes, each
with its share of the wells and without scheduler or client, are what the machine itself allows.
They take turns, in another order every time, and the best of each counts: other work on the machine
only adds. Beside the seconds stands what all processes together used of the cores, and two probes say
what two processes can gain here at all: a loop that touches no memory, and copies of memory.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path

import numba
import numpy as np
import psutil

from i2r.cluster import ClusterSpec, WorkerGroup
from i2r.cluster.startup import start_cluster
from i2r.pipeline.run import prepare, run_pipeline
from i2r.pipeline.spec import Pipeline
from i2r.store.experiment import Experiment
from tests.benchmarks.chain import FIELDS, describe, write_plate


@contextmanager
def keep_workers(number: int) -> Iterator[str]:
    """Keep so many worker processes up, and give their scheduler's address."""
    cpu = WorkerGroup(n_workers=number, memory_limit="3GiB")
    spec = ClusterSpec(cpu=cpu, gpu=WorkerGroup(n_workers=0), dashboard_address="127.0.0.1:0")
    with ExitStack() as stack:
        client, _ = start_cluster(spec, stack)
        client.wait_for_workers(number)
        yield str(client.scheduler_info()["address"])


def time_run(pipeline: Pipeline, url: Path, address: str) -> float:
    """Time i2r's run loop, from its first unit to its last."""
    shutil.rmtree(url, ignore_errors=True)
    spec = ClusterSpec(type="connect", address=address)
    summary = run_pipeline(pipeline, str(url), cluster=spec, style="none")
    assert summary.exit_code == 0
    return summary.seconds


def time_plain_map(pipeline: Pipeline, url: Path, address: str) -> float:
    """Time the same graphs, mapped over the same workers."""
    from distributed import Client

    shutil.rmtree(url, ignore_errors=True)
    experiment: Experiment = prepare(pipeline, str(url))
    experiment.save_description()
    with Client(address, set_as_default=False) as client:
        started = time.perf_counter()
        for stage in pipeline.stages:
            keys = stage.keys(experiment)
            client.gather(client.compute([stage.build(experiment, key) for key in keys]))
            last = stage.finish(experiment, keys)
            if last is not None:
                client.compute(last).result()
        return time.perf_counter() - started


def compute_wells(pipeline: Pipeline, url: Path, keys: list[str]) -> None:
    """Compute all stages of some wells, one after another."""
    experiment = prepare(pipeline, str(url))
    for stage in pipeline.stages:
        for key in keys:
            stage.build(experiment, key).compute(scheduler="synchronous")


def time_bare(pipeline: Pipeline, url: Path, pool: Pool, number: int) -> float:
    """Time the same graphs in processes that know nothing of each other."""
    shutil.rmtree(url, ignore_errors=True)
    experiment = prepare(pipeline, str(url))
    experiment.save_description()
    keys = pipeline.stages[0].keys(experiment)
    shares = [(pipeline, url, keys[share::number]) for share in range(number)]
    started = time.perf_counter()
    pool.starmap(compute_wells, shares, chunksize=1)
    return time.perf_counter() - started


@numba.njit
def spin(number: int) -> int:
    """Compute with registers alone: multiply and add so many times."""
    value = 1
    for _ in range(number):
        value = (value * 1103515245 + 12345) % 2147483648
    return value


def copy_memory(number: int) -> None:
    """Copy 64 MiB so many times, far more than caches hold."""
    source = np.ones(2**23)
    target = np.empty_like(source)
    for _ in range(number):
        np.copyto(target, source)


def time_probe(probe: Callable[[int], object], work: int, pool: Pool, number: int) -> float:
    """Time a fixed amount of work, shared out between so many processes."""
    pool.map(probe, [1] * number, chunksize=1)
    started = time.perf_counter()
    pool.map(probe, [work // number] * number, chunksize=1)
    return time.perf_counter() - started


def sum_cpu_seconds() -> float:
    """Sum the seconds of a core that this process and its workers have used."""
    own = psutil.Process()
    return sum(sum(p.cpu_times()[:2]) for p in [own, *own.children(recursive=True)])


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--wells", type=int, default=16)
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    seconds: dict[tuple[str, int], list[float]] = defaultdict(list)
    used: dict[tuple[str, int], list[float]] = defaultdict(list)
    busy: dict[tuple[str, int], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        pipeline = describe(write_plate(folder / "plate", n_wells=arguments.wells))
        warming = describe(write_plate(folder / "few", n_wells=4))
        print(
            f"{arguments.wells} wells of {FIELDS} fields, {os.cpu_count()} cores, "
            f"load {os.getloadavg()[0]:.1f}"
        )
        addresses = {number: stack.enter_context(keep_workers(number)) for number in (1, 2)}
        pools = {number: get_context("spawn").Pool(number) for number in addresses}
        for pool in pools.values():
            stack.callback(pool.join)
            stack.callback(pool.close)
        for number, address in addresses.items():
            time_run(warming, folder / "e", address)
            time_bare(warming, folder / "e", pools[number], number)
        for turn in range(arguments.repetitions):
            for number, address in addresses.items():
                pool = pools[number]
                ways: list[tuple[str, Callable[[], float]]] = [
                    ("arithmetic", partial(time_probe, spin, 4 * 10**9, pool, number)),
                    ("memory copies", partial(time_probe, copy_memory, 100, pool, number)),
                    ("run loop", partial(time_run, pipeline, folder / "e", address)),
                    ("plain map", partial(time_plain_map, pipeline, folder / "e", address)),
                    ("bare", partial(time_bare, pipeline, folder / "e", pool, number)),
                ]
                for label, measure in ways[:: -1 if turn % 2 else 1]:
                    before, before_all = time.process_time(), sum_cpu_seconds()
                    started = time.perf_counter()
                    seconds[label, number].append(measure())
                    used[label, number].append(sum_cpu_seconds() - before_all)
                    elapsed = time.perf_counter() - started
                    busy[label, number].append(used[label, number][-1] / elapsed)
                    print(
                        f"  {label}, {number} workers: {seconds[label, number][-1]:.2f} s; all "
                        f"processes took {used[label, number][-1]:.2f} s of a core, client and "
                        f"schedulers {time.process_time() - before:.2f} s of that",
                        flush=True,
                    )
    best = {key: min(values) for key, values in seconds.items()}
    cores = len(os.sched_getaffinity(0))
    for number in (1, 2):
        overhead = best["run loop", number] / best["plain map", number] - 1
        print(f"overhead of the run loop, {number} workers: {overhead:+.1%} (bar 5 %)")
        print(f"  over bare processes: {best['run loop', number] / best['bare', number] - 1:+.1%}")
    gain = {label: best[label, 1] / best[label, 2] for label in ("run loop", "bare")}
    share = gain["run loop"] / gain["bare"]
    print(f"scaling of the run loop over that of bare processes: {share:.2f} (bar 0.97)")
    for label in ("run loop", "plain map", "bare", "arithmetic", "memory copies"):
        bar = " (bar 1.8)" if label == "run loop" else ""
        one, two = max(busy[label, 1]), max(busy[label, 2])
        print(
            f"{label}, two workers against one: {best[label, 1] / best[label, 2]:.2f}x{bar}; one "
            f"keeps {one:.2f} cores busy, two {two:.2f}: at most {min(2, cores / one):.2f}x here"
        )


if __name__ == "__main__":
    main()
