"""The metadata of a large screen, without a single image: how fast is it opened and looked at?

Run as ``python -m tests.benchmarks.large [--plates 500]``: plates of 384 wells of nine fields in
five channels, 14 stages that go well by well, all of them done. Its tables are written as a run
leaves them, column by column. Before that, pipelines that have nothing to do, two stages of wells
and a fast screen: status, plan and run (``--idle`` prints only that).

``--client 50,150`` prints instead what the client of a run holds: of the features of so many plates,
by units that measure nothing, before a fast screen that is planned and not run.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from dask import delayed
from dask.delayed import Delayed

from i2r.cluster import ClusterSpec
from i2r.pipeline.plan import describe_plan
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.spec import Pipeline, parse_pipeline, resolve_needs
from i2r.pipeline.status import count_states, digest_inputs
from i2r.stages.base import Stage, Survey
from i2r.store import files
from i2r.store.experiment import Experiment, open_experiment
from i2r.store.layout import empty_sources
from i2r.store.state import SAME, tabulate, write_state
from tests.benchmarks import plates
from tests.pipeline.stubs import make_layout

CHANNELS = {str(n): name for n, name in enumerate(("DNA", "ER", "RNA", "AGP", "Mito"))}
WELLS = [f"{chr(65 + i // 24)}{i % 24 + 1:02d}" for i in range(384)]
FIELDS = [str(n) for n in range(1, 10)]


def make_pipeline() -> Pipeline:
    """Make a pipeline of 14 stages that all go well by well."""
    convert = {"stage": "convert", "source": "/plates", "layout": "/layout.csv", "pixel_size_um": 1}
    stages: list[dict[str, object]] = [{**convert, "channels": CHANNELS}, {"stage": "quality"}]
    for number in range(1, 5):
        name = f"segment-{number}"
        stages.append({"stage": "segment", "name": name, "channel": "DNA", "method": "threshold"})
        stages += [
            {"stage": verb, "name": f"{verb}-{number}", "needs": ["convert", name]}
            for verb in ("crop", "features")
        ]
    return parse_pipeline({"stages": stages}, where="benchmark")


def lay_out(n_plates: int) -> tuple[pd.DataFrame, list[str]]:
    """Lay out plates of images; give the layout, and the plates' names."""
    wells = make_layout(WELLS).assign(fields=[FIELDS] * 384, channels=[[*CHANNELS.values()]] * 384)
    wells = wells.assign(n_fields=len(FIELDS), height_px=1080, width_px=1080)
    layout = wells.loc[wells.index.repeat(n_plates)].sort_index(kind="stable")
    names = [f"P{n:04d}" for n in range(n_plates)]
    layout = layout.assign(plate=names * 384)
    return layout.sort_values(["plate", "well"], ignore_index=True), names


def write_experiment(
    url: str,
    pipeline: Pipeline,
    n_plates: int,
    *,
    has_images: bool = True,
    layout: pd.DataFrame | None = None,
) -> None:
    """Write layout, source table, ledger and the run's record of a screen that is done."""
    made, names = lay_out(n_plates) if layout is None else (layout, [])
    experiment = Experiment(url, layout=made, sources=empty_sources())
    experiment.save_description()
    if has_images:
        write_sources(experiment.path("sources.parquet"), names)
    wells = experiment.well_keys
    of_wells = tabulate({}, dict.fromkeys(wells, ""), "")
    last = tabulate({}, {"*": ""}, "")
    tables, chosen = {}, np.random.default_rng(0)
    for stage in pipeline.stages:
        keys = list(stage.keys(experiment))
        own = of_wells if keys == wells else tabulate({}, dict.fromkeys(keys, ""), "")
        rows = pa.concat_tables([own, last] if stage.has_finish() else [own])
        digests = [chosen.bytes(16).hex() for _ in range(len(rows))]
        given = {
            "stage": [stage.title] * len(rows), "event": ["done"] * len(rows), "fingerprint": digests,
            "run": [1] * len(rows), "line": range(len(rows)), "wanted": [SAME] * len(rows),
            "time_s": 1.7e9 + np.arange(len(rows)), "worker": ["cpu-0"] * len(rows),
            "seconds": chosen.uniform(1, 2, len(rows)),
            "result": [f'{{"fields":9,"nuclei":{n}}}' for n in chosen.integers(0, 2000, len(rows))],
        }  # fmt: skip
        for name, values in given.items():
            at = rows.schema.get_field_index(name)
            rows = rows.set_column(
                at, rows.schema.field(at), pa.array(values, rows.schema.types[at])
            )
        tables[stage.title] = [rows]
    wanted_by = digest_inputs(pipeline, experiment)
    state_url = experiment.path("ledger", "state.parquet")
    write_state(state_url, tables, last_run=1, wanted_by=wanted_by)
    if not has_images:
        return
    record = {"run": 1, "pipeline": pipeline.dump()}
    files.write_bytes(experiment.path("runs", "000001.json"), json.dumps(record).encode())


def write_sources(path: str, plates: list[str]) -> None:
    """Write the table of all image files, a plate at a time."""
    places = [(well, field, c) for well in sorted(WELLS) for field in FIELDS for c in CHANNELS]
    columns = {
        "well": [well for well, *_ in places], "field": [field for _, field, _ in places],
        "channel": [CHANNELS[c] for *_, c in places], "z": [0] * len(places),
        "page": [0] * len(places), "size_bytes": [2_400_000 + n for n in range(len(places))],
        "mtime_ns": [1_700_000_000_000_000_000 + 10**9 * n for n in range(len(places))],
    }  # fmt: skip
    names = [f"{well}_s{field}_w{c}.tif" for well, field, c in places]
    writer = None
    for plate in plates:
        urls = [f"/screens/2024/{plate}/images/{name}" for name in names]
        table = pa.table({"plate": [plate] * len(places), "url": urls, **columns})
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    assert writer is not None
    writer.close()


def time_opening(url: str) -> tuple[float, float, int]:
    """Time opening an experiment with its layout, and counting its units, in this process."""
    started = time.perf_counter()
    opened = open_experiment(url)
    len(opened.well_keys)
    open_s = time.perf_counter() - started
    started = time.perf_counter()
    counts = count_states(make_pipeline(), open_experiment(url))
    status_s = time.perf_counter() - started
    assert {state for of_stage in counts.values() for state in of_stage} == {"done"}
    return open_s, status_s, sum(sum(of_stage.values()) for of_stage in counts.values())


def print_large(n_plates: int) -> None:
    """Print the figures: in Python, and as the command that a user types."""
    with tempfile.TemporaryDirectory() as folder:
        url, pipeline = f"{folder}/e", make_pipeline()
        write_experiment(url, pipeline, n_plates)
        megabytes = {p.name: p.stat().st_size / 1e6 for p in Path(url).rglob("*.parquet")}
        # The best of three: other work on the machine only adds.
        timed = [time_opening(url) for _ in range(3)]
        open_s, status_s = (min(t[i] for t in timed) for i in (0, 1))
        units = timed[0][2]
        print(
            f"{n_plates} plates, {len(pipeline.stages)} stages, {units} units ("
            + ", ".join(f"{name} {size:.0f} MB" for name, size in sorted(megabytes.items()))
            + f"): opens in {open_s:.2f} s (bar 2), status in {status_s:.2f} s (bar 3)"
        )
        started = time.perf_counter()
        command = [sys.executable, "-m", "i2r", "status", url, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - started
        stages = json.loads(done.stdout)["stages"]
        assert sum(stage["done"] for stage in stages) == units
        print(f"'i2r status', with starting Python: {seconds:.2f} s")


class Brought(Stage):
    """Brings in the wells that are stored, and has nothing to do."""

    stage: str = "brought"
    place: str = ""

    def survey(self) -> Survey:
        return Survey(open_experiment(self.place).layout, empty_sources())

    def build(self, experiment: Experiment, key: str) -> Delayed:
        raise AssertionError("it is done")


class Measured(Brought):
    """Goes well by well, with a last unit."""

    stage: str = "measured"

    def survey(self) -> None:
        return None

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        raise AssertionError("it is done")


def make_idle_pipeline(url: str, n_plates: int, kind: str) -> Pipeline:
    """Make a pipeline of two stages of wells, or that of a fast screen of many plates."""
    if kind == "screen":
        return plates.make_pipeline(n_plates, plates.NUCLEI)
    stages = [Brought(place=url), Measured(needs=("brought",))]
    return Pipeline(resolve_needs(stages, where="benchmark"))


def time_nothing(url: str, n_plates: int, kind: str) -> dict[str, list[float]]:
    """Time status, plan and a run where everything is done: clock, processor, memory so far."""
    pipeline = make_idle_pipeline(url, n_plates, kind)
    found = {}
    for name, work in (
        ("status", lambda: count_states(pipeline, open_experiment(url))),
        ("plan", lambda: describe_plan(pipeline, url, ClusterSpec())),
        ("run", lambda: run_pipeline(pipeline, url, cluster=ClusterSpec(), style="none")),
    ):
        started, started_cpu = time.perf_counter(), time.process_time()
        work()
        gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        found[name] = [time.perf_counter() - started, time.process_time() - started_cpu, gib]
    return found


def print_nothing(n_plates: int, kind: str) -> None:
    """Print what looking at an experiment takes in which there is nothing to do."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"{folder}/e"
        pipeline = make_idle_pipeline(url, n_plates, kind)
        layout = plates.lay_out(n_plates) if kind == "screen" else None
        write_experiment(url, pipeline, n_plates, has_images=False, layout=layout)
        command = [sys.executable, "-m", "tests.benchmarks.large", "--nothing", url, kind]
        command += ["--plates", str(n_plates)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr[-2000:])
            return
        found = json.loads(done.stdout.splitlines()[-1])
    what = {"wells": "two stages", "screen": "features, fast screen, profiles and report"}[kind]
    print(
        f"{n_plates} plates, nothing to do in {what}: "
        + ", ".join(
            f"{name} {clock:.1f} s (bar {bar}), {cpu:.1f} of processor, {gib:.2f} GiB"
            for (name, (clock, cpu, gib)), bar in zip(found.items(), (3, 5, 60), strict=True)
        ),
        flush=True,
    )


class Reported(plates.Synthetic):
    """Features that nobody measured, nor wrote: what a unit would report of them."""

    def build(self, experiment: Experiment, key: str) -> Delayed:
        path = experiment.part_url(self.title, key).removeprefix(f"{experiment.url}/")
        mark = [500_000 + len(key), sum(key.encode()) * 7919]
        return delayed({"nuclei": self.n_nuclei, "fields": 9, "outputs": {path: mark}})


def run_client(n_plates: int) -> dict[str, float]:
    """Run units that do nothing; give seconds of processor and the highest memory, in MiB."""
    stages = [Reported(method="import", table=f"{n_plates}x1350", layout="made"),
              *plates.make_pipeline(n_plates, plates.NUCLEI).stages[1:]]  # fmt: skip
    pipeline = Pipeline(stages=resolve_needs(stages, where="benchmark"))
    with tempfile.TemporaryDirectory() as folder:
        none = ClusterSpec(type="none")
        done = run_pipeline(pipeline, f"{folder}/e", cluster=none, style="none", only=["features"])
    assert done.ran["features"] == n_plates * len(WELLS) + 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {"cpu_s": time.process_time(), "mib": peak}


def print_client(sizes: Sequence[int]) -> None:
    """Print what the client holds, and by how much it grows with a plate."""
    found = {}
    for n_plates in sizes:
        command = [sys.executable, "-m", "tests.benchmarks.large", "--client-of", str(n_plates)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[n_plates] = json.loads(done.stdout.splitlines()[-1])
        print(f"{n_plates} plates: client at most {found[n_plates]['mib']:.0f} MiB, "
              f"{found[n_plates]['cpu_s']:.0f} s of processor", flush=True)  # fmt: skip
    if len(found) > 1:
        first, last = min(found), max(found)
        each = (found[last]["mib"] - found[first]["mib"]) / (last - first)
        whole = (found[last]["mib"] + each * (2000 - last)) / 1024
        print(f"per plate {each:.2f} MiB (bar 1); by the line 2,000 plates: {whole:.1f} GiB")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--plates", type=int, default=500)
    parser.add_argument("--client", default="", help="only the client of runs of so many plates")
    parser.add_argument("--client-of", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--idle", action="store_true", help="only where there is nothing to do")
    parser.add_argument("--nothing", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.nothing:
        url, kind = arguments.nothing
        print(json.dumps(time_nothing(url, arguments.plates, kind)))
        return
    if arguments.client_of:
        print(json.dumps(run_client(arguments.client_of)))
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    if arguments.client:
        print_client([int(size) for size in arguments.client.split(",")])
        return
    for kind in ("wells", "screen"):
        print_nothing(arguments.plates, kind)
    if not arguments.idle:
        print_large(arguments.plates)


if __name__ == "__main__":
    main()
