"""Screens of many plates without an image: time per plate, and the memory of every process.

Run as ``python -m tests.benchmarks.plates [--plates 1,4,16,64]``: plates of 384 wells x 1,350 nuclei
x 85 features, screened, averaged and reported on two workers of 2 GiB. Conditions have four wells,
one on each of four plates; 56 controls and 8 positive controls lie on every plate. Every size runs
in a process of its own, the client's. Bars: time per plate the same within 20 %, a worker at most
1.2 GiB, the client at most 1 GiB.

``--pixels`` runs one plate of images from the files to the report in place of that: ``--wells``
wells of ``--fields`` fields of ``--edge`` squared pixels.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import tifffile
from dask import delayed
from dask.delayed import Delayed

from i2r.cluster import ClusterSpec, WorkerGroup
from i2r.errors import I2RError
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.spec import Pipeline, parse_pipeline, resolve_needs
from i2r.stages.base import Stage, Survey, seed_sequence
from i2r.stages.features import ImportFeatures
from i2r.stages.profiles import Profiles
from i2r.stages.report import Report
from i2r.stages.screen import Screen
from i2r.store import files
from i2r.store.experiment import Experiment
from i2r.store.layout import empty_sources
from i2r.testing import PlateFiles, describe_pipeline, name_wells, write_plate

WELLS = [f"{chr(65 + i // 24)}{i % 24 + 1:02d}" for i in range(384)]
NUCLEI, FEATURES = 1350, 85
CONTROLS, POSITIVES = 56, 8
DRAWN = 16
WORKER_GIB, CLIENT_GIB = 1.2, 1.0
CLUSTER = ClusterSpec(cpu=WorkerGroup(n_workers=2, memory_limit="2GiB"), gpu=WorkerGroup(n_workers=0))  # fmt: skip


class Synthetic(ImportFeatures):
    """Features that nobody measured."""

    def survey(self) -> Survey:
        return Survey(lay_out(self.n_plates), empty_sources())

    @property
    def n_plates(self) -> int:
        """Hidden in an option, so that the run's record is that of a stage 'features'."""
        return int(str(self.table).partition("x")[0])

    @property
    def n_nuclei(self) -> int:
        """Nuclei of a well, likewise."""
        return int(str(self.table).partition("x")[2])

    def check(self, experiment: Experiment) -> list[str]:
        return []

    def external_files(self, experiment: Experiment) -> object:
        return []

    def begin(self, experiment: Experiment, keys: Sequence[str]) -> None:
        return

    def build(self, experiment: Experiment, key: str) -> Delayed:
        gene = experiment.layout_by_key.loc[key, "gene"]
        url = experiment.part_url(self.title, key)
        return delayed(write_well)(key, str(gene), url, self.n_nuclei)

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        return delayed(dict)()


def lay_out(n_plates: int) -> pd.DataFrame:
    """Lay out plates; every four of them hold the same conditions, at places of their own."""
    n_treated = len(WELLS) - CONTROLS - POSITIVES
    # A single plate has two wells of each condition, else none could be held out.
    per_plate = n_treated if n_plates > 1 else n_treated // 2
    kinds = ["negative_control"] * CONTROLS + ["positive_control"] * POSITIVES
    roles = np.array(kinds + ["treated"] * n_treated, dtype=object)
    parts = []
    for number in range(n_plates):
        genes = [f"G{number // 4 * per_plate + n:05d}" for n in range(per_plate)]
        genes *= n_treated // per_plate
        held = np.array(
            [["control"] * CONTROLS + ["positive"] * POSITIVES + genes,
             [""] * CONTROLS + ["POS"] * POSITIVES + genes], dtype=object
        )  # fmt: skip
        order = np.random.default_rng(number).permutation(len(roles))
        parts.append([held[0, order], roles[order], held[1, order]])
    names = ("perturbation", "role", "gene")
    columns = dict(zip(names, map(np.concatenate, zip(*parts, strict=True)), strict=True))
    columns["plate"] = np.repeat([f"P{n:04d}" for n in range(n_plates)], len(WELLS))
    columns["well"] = np.array(WELLS * n_plates, dtype=object)
    layout = pd.DataFrame(columns)
    return layout.assign(
        dose=float("nan"), replicate="", fields=[[str(n) for n in range(1, 10)]] * len(layout),
        n_fields=9, height_px=1080, width_px=1080, dtype="uint16", pixel_size_um=0.65,
        channels=[["DNA"]] * len(layout),
    )  # fmt: skip


def write_well(key: str, gene: str, url: str, n: int) -> dict[str, Any]:
    """Write the features of one well: every tenth gene moves three of them."""
    random = np.random.default_rng(seed_sequence(0, "plates", key))
    values = random.standard_normal((n, FEATURES), dtype=np.float32)
    values += 0.1 * random.standard_normal(FEATURES, dtype=np.float32)
    if gene == "POS" or (gene and int(gene[1:]) % 10 == 0):
        values[:, :3] += 0.5
    names = [f"feature_{number}" for number in range(FEATURES)]
    plate, _, well = key.rpartition("/")
    place = {"plate": plate, "well": well, "field": (np.arange(n) % 9 + 1).astype(str)}
    table = pd.DataFrame({**place, "label": np.arange(n) + 1, "crop": np.arange(n)})
    # Noise does not compress, and a benchmark has to write it.
    arrow = pa.Table.from_pandas(table.join(pd.DataFrame(values, columns=names)), nthreads=1)
    buffer = io.BytesIO()
    pq.write_table(arrow, buffer, compression="none", write_page_checksum=True)
    files.write_bytes(url, buffer.getvalue())
    return {"nuclei": n, "fields": 9}


def make_pipeline(n_plates: int, n_nuclei: int) -> Pipeline:
    """Make the pipeline: features from nowhere, screened, averaged, reported."""
    stages: list[Stage] = [
        Synthetic(method="import", table=f"{n_plates}x{n_nuclei}", layout="made"),
        Screen(method="fast"), Profiles(), Report(),
    ]  # fmt: skip
    return Pipeline(stages=resolve_needs(stages, where="benchmark"))


# --------------------------------------------------------------------------- memory


@contextmanager
def watch_memory(every_s: float = 0.1) -> Iterator[dict[str, float]]:
    """Watch this process and its children; give the highest resident memory of each, in GiB."""
    peaks: dict[str, float] = defaultdict(float)
    over = threading.Event()
    own = psutil.Process()

    def watch() -> None:
        while not over.wait(every_s):
            for process in [own, *own.children(recursive=True)]:
                try:
                    used = process.memory_info().rss / 2**30
                except psutil.Error:
                    continue
                name = "client" if process == own else f"worker {process.pid}"
                peaks[name] = max(peaks[name], used)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        over.set()
        thread.join()


def time_run(pipeline: Pipeline, url: str, **options: Any) -> dict[str, Any]:
    """Run on two workers; give seconds, the highest memory, and what stages took."""
    cpu_s = sum_cpu_s()
    with watch_memory() as peaks:
        started = time.perf_counter()
        try:
            summary = run_pipeline(pipeline, url, cluster=CLUSTER, style="none", **options)
        except I2RError:
            print(f"units' seconds until the run stopped: {sum_stages(url)}", file=sys.stderr)
            raise
        seconds = time.perf_counter() - started
    found = {
        "seconds": seconds, "cpu_s": sum_cpu_s() - cpu_s, "client": peaks["client"],
        "workers": sorted(v for name, v in peaks.items() if name != "client" and v > 0.1),
        "stages": sum_stages(url),
    }  # fmt: skip
    found["worker"] = max(found["workers"], default=0.0)
    if summary.exit_code:
        errors = {f"{unit.stage} {unit.key}": unit.error for unit in summary.failed}
        sys.exit(f"the run failed: {errors}; until then: {describe(found)}")
    return found


def describe(found: Mapping[str, Any]) -> str:
    """Say what a run took: clock, processor, memory of every process, stages."""
    stages = ", ".join(f"{name} {seconds:.0f}" for name, seconds in found["stages"].items())
    workers = ", ".join(f"{gib:.2f}" for gib in found["workers"])
    return (
        f"{found['seconds']:.0f} s ({found['cpu_s']:.0f} of processor); workers at most {workers} GiB, "
        f"client {found['client']:.2f} GiB; units' seconds: {stages}"
    )


def sum_cpu_s() -> float:
    """Give the processor time of this process and of its children that have ended."""
    times = psutil.Process().cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def sum_stages(url: str) -> dict[str, float]:
    """Add up by stage what units took, in seconds."""
    found: dict[str, float] = defaultdict(float)
    for entry in Experiment(url).ledger.entries():
        found[entry.stage] += entry.seconds
    return dict(found)


def run_size(n_plates: int, n_nuclei: int, folder: str) -> dict[str, Any]:
    """Write and screen so many plates."""
    url = f"{folder}/e"
    pipeline = make_pipeline(n_plates, n_nuclei)
    written = time_run(pipeline, url, only=["features"])
    # A client of its own, as a user would start it: this one made the layout.
    found = time_run(pipeline, url, only=["screen", "profiles", "report"])
    ranking = Experiment(url).table("screen")
    active = ranking["gene"].str[1:].str.isdigit() & ranking["gene"].str.endswith("0")
    called = set(ranking.loc[ranking["impactful"], "gene"]) - {"POS"}
    page = Path(url, "report.html").stat().st_size / 1e6
    return {
        **found, "written_s": written["seconds"], "plates": n_plates, "report_mb": page,
        "found": len(called & set(ranking.loc[active, "gene"])) / max(int(active.sum()), 1),
        "false": len(called - set(ranking.loc[active, "gene"])),
    }  # fmt: skip


def print_sizes(sizes: Sequence[int], n_nuclei: int) -> None:
    """Print a line per size, and what 2,000 plates would take."""
    results: list[Mapping[str, Any]] = []
    for n_plates in sizes:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "tests.benchmarks.plates", "--one", str(n_plates), "--nuclei", str(n_nuclei), "--folder", folder]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{n_plates} plates failed:\n{done.stderr[-3000:]}")
                continue
            result = json.loads(done.stdout.splitlines()[-1])
        results.append(result)
        stages = ", ".join(f"{name} {seconds:.0f}" for name, seconds in result["stages"].items())
        print(
            f"{n_plates} plates, {n_plates * 384 * n_nuclei / 1e6:.1f} million nuclei: "
            f"{result['seconds']:.0f} s, {result['seconds'] / n_plates:.1f} s per plate "
            f"({result['cpu_s'] / n_plates:.1f} of processor); workers at most "
            f"{result['worker']:.2f} GiB (bar {WORKER_GIB}), client {result['client']:.2f} GiB "
            f"(bar {CLIENT_GIB:.0f}); report {result['report_mb']:.1f} MB; "
            f"{result['found']:.0%} of active genes called, {result['false']} others; "
            f"units' seconds: {stages}", flush=True,
        )  # fmt: skip
    if len(results) > 1:
        (n, s), (most, slow) = ((r["plates"], r["cpu_s"]) for r in (results[0], results[-1]))
        each = (slow - s) / (most - n)
        print(f"processor per plate between {n} and {most}: {each:.1f} s; 2,000 plates: {2000 * each / 3600:.1f} h of processor")  # fmt: skip


# --------------------------------------------------------------------------- pixels


def draw_plate(folder: Path, *, wells: int, fields: int, edge: int) -> PlateFiles:
    """Draw some wells of a plate; the others show the same fields, each moved by its own way.

    Drawing a field takes ten times as long as moving it.
    """
    plate = write_plate(
        folder, wells=min(wells, DRAWN), fields=fields, shape=(edge, edge), channels=("DNA", "ER"),
        plate_format=384, compression=None,
    )  # fmt: skip
    layout, images = pd.read_csv(plate.layout), pd.read_csv(plate.load_data)
    layouts, listed = [layout], [images]
    for number, well in enumerate(name_wells(wells, plate_format=384)[DRAWN:], DRAWN):
        drawn = str(layout["well"].iloc[number % DRAWN])
        move = np.random.default_rng(number).integers(edge, size=(fields, 2))
        rows = images[images["Metadata_Well"] == drawn].assign(Metadata_Well=well)
        for name in (name for name in rows if name.startswith("FileName")):
            moved = rows[name].str.replace(drawn, well)
            for place, source, target in zip(move, rows[name], moved, strict=True):
                pixels = tifffile.imread(plate.source / "P1" / source)
                tifffile.imwrite(plate.source / "P1" / target, np.roll(pixels, place, (0, 1)))
            rows[name] = moved
        listed.append(rows)
        layouts.append(layout[layout["well"] == drawn].assign(well=well))
    pd.concat(layouts).to_csv(plate.layout, index=False)
    pd.concat(listed).to_csv(plate.load_data, index=False)
    return plate


def print_pixels(wells: int, fields: int, edge: int) -> None:
    """Run one plate of images end to end; print times of stages, files, bytes and memory."""
    with tempfile.TemporaryDirectory() as folder:
        plate = draw_plate(Path(folder, "source"), wells=wells, fields=fields, edge=edge)
        content = describe_pipeline(plate, channels=("DNA", "ER"), screen=False)
        content["stages"].insert(2, {"stage": "illuminate"})
        content["stages"] += [{"stage": "features"}, {"stage": "screen", "method": "fast"}, {"stage": "report"}]  # fmt: skip
        read = sum(path.stat().st_size for path in plate.source.rglob("*.tif")) / 1e9
        result = time_run(parse_pipeline(content, where="benchmark"), f"{folder}/e")
        written = [path.stat().st_size for path in Path(folder, "e").rglob("*") if path.is_file()]
        nuclei = len(Experiment(f"{folder}/e").table("features", columns=["label"]))
        report = Path(folder, "e", "report.html").stat().st_size
        print(
            f"{wells} wells of {fields} fields of {edge} x {edge}, 2 channels, {read:.2f} GB of "
            f"TIFF, {nuclei:,} nuclei: {len(written):,} files, {sum(written) / 1e9:.2f} GB; "
            f"report {report / 1e6:.1f} MB; {describe(result)}"
        )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--plates", default="1,4,16,64")
    parser.add_argument("--nuclei", type=int, default=NUCLEI)
    parser.add_argument("--one", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    parser.add_argument("--pixels", action="store_true")
    parser.add_argument("--wells", type=int, default=384)
    parser.add_argument("--fields", type=int, default=9)
    parser.add_argument("--edge", type=int, default=1080)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(run_size(arguments.one, arguments.nuclei, arguments.folder)))
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    if arguments.pixels:
        print_pixels(arguments.wells, arguments.fields, arguments.edge)
    else:
        print_sizes([int(n) for n in arguments.plates.split(",")], arguments.nuclei)


if __name__ == "__main__":
    main()
