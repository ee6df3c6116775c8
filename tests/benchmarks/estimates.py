"""What stages say their units need, beside what these take on one worker process.

Run as ``python -m tests.benchmarks.estimates``: dense fields of 1536 x 1536 pixels through every stage
from the files to the report, on one worker of 1 GiB. ``--pipeline FILE`` runs another pipeline. A worker
with more memory keeps what units free and more recent planes, and seems to need it.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from i2r.cluster import ClusterSpec, WorkerGroup
from i2r.cluster.settings import needed_bytes
from i2r.pipeline.capacity import find_peak
from i2r.pipeline.executors import OnCluster
from i2r.pipeline.run import prepare, run_units_of
from i2r.pipeline.spec import Pipeline, load_pipeline, parse_pipeline
from i2r.pipeline.work import Outcome, Work, run_units
from i2r.store.experiment import open_experiment
from i2r.testing import describe_pipeline, write_plate

MEASURED = "measured_bytes"


class Peak(NamedTuple):
    """The unit of a stage that comes nearest to what its worker should have for it, or above."""

    stage: str
    key: str
    before_bytes: int
    peak_bytes: int
    needed_bytes: int

    @property
    def is_true(self) -> bool:
        """Tell whether the worker had enough."""
        return self.peak_bytes <= self.needed_bytes


class MeasuringExecutor(OnCluster):
    """A cluster whose results say the highest resident memory of their process."""

    def submit(self, handle: int, name: str, function: Callable[..., Any], argument: object, **workers: Any) -> None:  # fmt: skip
        assert function is run_units
        super().submit(handle, name, measure_units, argument, **workers)


def measure_units(works: list[Work], worker: str) -> list[Outcome]:
    """Run units; each result holds the process's memory before, and the highest meanwhile."""
    outcomes = []
    for work in works:
        before = reset_peak()
        (outcome,) = run_units([work], worker)
        outcomes.append(
            replace(outcome, result=outcome.result | {MEASURED: [before, read_status("VmHWM")]})
        )
    return outcomes


def reset_peak() -> int:
    """Let Linux forget the highest resident memory of this process; give what it has now."""
    Path("/proc/self/clear_refs").write_text("5")
    return read_status("VmRSS")


def read_status(name: str) -> int:
    """Read a line of this process's status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def measure_peaks(pipeline: Pipeline, url: str, *, memory_limit: str = "1GiB") -> list[Peak]:
    """Run a pipeline on one worker; give for each stage, and its last unit, the worst unit."""
    spec = ClusterSpec(
        cpu=WorkerGroup(n_workers=1, memory_limit=memory_limit), gpu=WorkerGroup(n_workers=0),
        dashboard_address="127.0.0.1:0",
    )  # fmt: skip
    with MeasuringExecutor(spec) as executor:
        summary = run_units_of(pipeline, prepare(pipeline, url), executor)
    assert summary.exit_code == 0, [unit.error for unit in [*summary.failed, *summary.blocked]]
    experiment = open_experiment(url)
    worst: dict[tuple[str, bool], Peak] = {}
    for stage in pipeline.stages:
        for entry in experiment.ledger.entries(stage.title):
            if MEASURED not in entry.result:  # a last unit that has nothing to do
                continue
            needed = needed_bytes(find_peak(stage, experiment, entry.key))
            peak = Peak(stage.title, entry.key, *entry.result[MEASURED], needed)
            known = worst.setdefault((stage.title, entry.key == "*"), peak)
            if peak.peak_bytes - needed > known.peak_bytes - known.needed_bytes:
                worst[stage.title, entry.key == "*"] = peak
    return list(worst.values())


def describe_dense(folder: Path, *, wells: int, fields: int, edge: int, channels: int) -> Pipeline:
    """Write a plate of crowded fields; give the pipeline of all stages that see pixels."""
    names = ("DNA", "ER", "RNA", "AGP", "Mito")[:channels]
    plate = write_plate(folder, wells=wells, fields=fields, shape=(edge, edge), channels=names)
    content: Mapping[str, Any] = describe_pipeline(plate, channels=names, screen=False)
    for stage in content["stages"]:
        if stage["stage"] == "crop":
            stage["size_px"] = 64  # as large as they are by default, so they overlap
    content["stages"].insert(2, {"stage": "illuminate"})
    more = ({"stage": "features"}, {"stage": "screen", "method": "fast"}, {"stage": "profiles"}, {"stage": "report"})  # fmt: skip
    content["stages"].extend(more)
    return parse_pipeline(dict(content), where="benchmark")


def main() -> None:
    """Print a line for each stage."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pipeline", default="")
    parser.add_argument("--wells", type=int, default=4)
    parser.add_argument("--fields", type=int, default=2)
    parser.add_argument("--edge", type=int, default=1536)
    parser.add_argument("--channels", type=int, default=2)
    parser.add_argument("--memory", default="1GiB")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pipeline = load_pipeline(asked.pipeline) if asked.pipeline else describe_dense(
            Path(folder), wells=asked.wells, fields=asked.fields, edge=asked.edge,
            channels=asked.channels,
        )  # fmt: skip
        for peak in measure_peaks(pipeline, f"{folder}/e", memory_limit=asked.memory):
            print(
                f"{peak.stage:12s} {peak.key:16s} before {peak.before_bytes / 2**20:5.0f}, peak "
                f"{peak.peak_bytes / 2**20:5.0f}, needed {peak.needed_bytes / 2**20:5.0f} MiB"
                f"{'' if peak.is_true else '  TOO LOW'}"
            )


if __name__ == "__main__":
    main()
