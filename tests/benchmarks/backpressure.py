"""Memory held while CPU units outrun one slow GPU unit, for a plate and for one ten times as large.

Run as ``python -m tests.benchmarks.backpressure``. Producers write blocks of 8 MB, a GPU-tagged
consumer reads them and takes its time. In i2r blocks go through the disk and submissions through a
bounded window; the plain way submits everything and passes blocks through the scheduler.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import psutil
from dask import delayed
from dask.delayed import Delayed

from i2r.cluster import ClusterSpec, WorkerGroup, start_local
from i2r.cluster.startup import close_cluster
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.spec import Pipeline, resolve_needs
from i2r.stages.base import Stage, Survey, WorkerKind
from i2r.store import files
from i2r.store.experiment import Experiment
from tests.benchmarks.scale import lay_out

BLOCK = 2**23
SLOW_S = 0.05
SPEC = ClusterSpec(
    cpu=WorkerGroup(n_workers=2, memory_limit="3GiB"),
    gpu=WorkerGroup(n_workers=1, memory_limit="3GiB"),
    dashboard_address="127.0.0.1:0",
)


def make_block(seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A block that does not compress."""
    return np.random.default_rng(seed).integers(0, 256, BLOCK, dtype=np.uint8)


def produce(url: str, seed: int) -> dict[str, int]:
    """Write a block."""
    files.write_bytes(url, make_block(seed).tobytes())
    return {"fields": 1}


def consume(url: str) -> dict[str, int]:
    """Read a block and take some time over it."""
    size = len(files.read_bytes(url))
    time.sleep(SLOW_S)
    files.remove_file(url)
    return {"nuclei": size}


class Produce(Stage):
    """Blocks, one per well."""

    stage: str = "produce"
    number: int = 40

    def survey(self) -> Survey:
        return Survey(lay_out(self.number), pd.DataFrame({"plate": [], "well": []}))

    def build(self, experiment: Experiment, key: str) -> Delayed:
        seed = experiment.well_keys.index(key)
        return delayed(produce)(experiment.path("blocks", key), seed)


class Consume(Stage):
    """One slow consumer on the GPU worker."""

    stage: str = "consume"
    group: ClassVar[WorkerKind] = "gpu"

    def build(self, experiment: Experiment, key: str) -> Delayed:
        return delayed(consume)(experiment.path("blocks", key))


def measure(work: Callable[[], object]) -> tuple[float, float]:
    """Give the seconds of a piece of work and the most memory of this process and its children."""
    most, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            held = 0
            for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                with suppress(psutil.Error):
                    held += process.memory_full_info().uss
            most[0] = max(most[0], held)

    thread = threading.Thread(target=watch)
    thread.start()
    started = time.perf_counter()
    try:
        work()
    finally:
        stop.set()
        thread.join()
    return time.perf_counter() - started, most[0] / 2**20


def run_i2r(n_blocks: int) -> None:
    """Run both stages."""
    with tempfile.TemporaryDirectory() as folder:
        stages = resolve_needs(
            [Produce(number=n_blocks), Consume(needs=("produce",))], where="benchmark"
        )
        summary = run_pipeline(Pipeline(stages), f"{folder}/e", cluster=SPEC, style="none")
        assert summary.ran == {"produce": n_blocks, "consume": n_blocks}


def run_plain(n_blocks: int) -> None:
    """Submit everything, with the same resources."""
    from distributed import Client

    cluster = start_local(SPEC)
    try:
        with Client(cluster, set_as_default=False) as client:
            blocks = client.map(make_block, range(n_blocks), resources={"CPU": 1})
            slow = client.map(
                lambda block: time.sleep(SLOW_S) or block.nbytes, blocks, resources={"GPU": 1}
            )
            del blocks
            client.gather(slow)
    finally:
        close_cluster(cluster)


def main() -> None:
    """Print the figures."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for label, work in (("i2r", run_i2r), ("plain", run_plain)):
        for n_blocks in (30, 300):
            seconds, most = measure(lambda n=n_blocks, do=work: do(n))  # type: ignore[misc]
            print(
                f"{label:6s} {n_blocks:4d} blocks of 8 MB: {seconds:6.1f} s, {most:6.0f} MiB at most",
                flush=True,
            )


if __name__ == "__main__":
    main()
