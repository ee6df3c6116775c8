"""From LZW TIFF through the store to crops: speed against the textbook way, memory, file counts.

``python -m tests.benchmarks.chain`` prints three tables:

- one core: convert, segment and crop by i2r (ledger, OME-Zarr, tables and all) against the same files
  by scikit-image, ``regionprops_table`` and one PNG per nucleus, in turns; and the stage convert
  against imread, encode and one plain file per field;
- where each millisecond of that goes, and how much of it can't be done without; for two sizes, which
  tell what a run takes once from what it takes for every field;
- a plate of 1080 x 1080 fields, nine per well, on worker processes: fields/s and nuclei/s per stage,
  files per field, the largest worker's memory for a quarter of the plate and for all of it, and tasks.

Directories are what a busy disk is slowest at: ext4 looks for minutes at every inode that was deleted,
so don't delete large folders before. ``TMPDIR=/dev/shm`` leaves the disk out.

``--wells 384`` makes the plate a whole one (20 GB); the default is as much as runs in minutes.
"""

import argparse
import functools
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numcodecs.blosc
import numpy as np
import pandas as pd
import psutil
import tifffile
from PIL import Image
from skimage.measure import regionprops_table

from i2r.cluster import ClusterSpec, WorkerGroup
from i2r.kernels import crops
from i2r.pipeline import run
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.spec import Pipeline, parse_pipeline
from i2r.readers import images
from i2r.stages.convert import Convert
from i2r.stages.crop import Crop
from i2r.stages.segment import Segment, options, threshold
from i2r.store import arrays, files, shards, tables
from i2r.store import images as stored_images
from i2r.store import plate as stored_plate
from i2r.store.experiment import Experiment, open_experiment
from i2r.store.ledger import LedgerWriter
from i2r.store.shards import PLANES
from i2r.store.validate import find_problems
from i2r.testing import name_wells
from tests.benchmarks.kernels import segment_by_textbook, simulate_field

FIELDS = 9
DISTINCT = 12
STAGES = ("convert", "segment", "crop")


# What the chain does, and the functions that do it, each counted without what it calls.
PARTS: dict[str, list[tuple[Any, str]]] = {
    "decode LZW TIFF": [(images, "decode_plane")],
    "read and hash source files": [(images, "_read"), (images, "hash_bytes")],
    "encode planes, labels, crops": [(arrays, "encode_shard")],
    "write files": [(files, "write_bytes")],
    "read the store's arrays": [(stored_plate, "read_array")],
    "decode the store's arrays": [(shards, "_decompress")],
    "segment": [(threshold, "segment_nuclei")],
    "measure": [(options, "measure_nuclei")],
    "crop": [(crops, "cut_crops")],
    "overviews": [(stored_images, "shrink_image"), (stored_images, "shrink_labels")],
    "implausible fields": [(options, "measure_evidence")],
    "tables": [
        (tables, "encode_table"),
        (tables, "read_table"),
        (tables, "merge_tables"),
    ],
    "descriptions (zarr.json)": [(arrays, "write_document"), (stored_images, "write_document")],
    "ledger": [(LedgerWriter, "write"), (LedgerWriter, "flush")],
    "graphs": [(Convert, "build"), (Segment, "build"), (Crop, "build")],
    "before the first unit": [(run, "prepare")],
}
# Whatever program does the chain: pixels are decoded once, and what is asked for is written.
UNAVOIDABLE = (
    "decode LZW TIFF",
    "read and hash source files",
    "encode planes, labels, crops",
    "write files",
    "segment",
    "measure",
    "crop",
)


class Plate(NamedTuple):
    """A simulated plate as files."""

    images: Path
    layout: Path
    n_wells: int


def write_plate(folder: Path, *, n_wells: int) -> Plate:
    """Write a plate's LZW TIFF files; the same twelve fields come again in other wells."""
    images = folder / "images"
    images.mkdir(parents=True)
    wells = name_wells(n_wells, plate_format=384)
    originals = []
    for number in range(DISTINCT):
        path = folder / f"field{number}.tif"
        tifffile.imwrite(path, simulate_field(seed=number)[0], compression="lzw")
        originals.append(path)
    for index in range(n_wells * FIELDS):
        well, field = wells[index // FIELDS], index % FIELDS + 1
        shutil.copyfile(originals[index % DISTINCT], images / f"{well}_s{field}.tif")
    roles = ["negative_control" if n % 8 == 0 else "treated" for n in range(n_wells)]
    layout = folder / "layout.csv"
    names = [f"gene{n % 40}" if role == "treated" else "control" for n, role in enumerate(roles)]
    pd.DataFrame({"well": wells, "perturbation": names, "role": roles}).to_csv(layout, index=False)
    return Plate(images, layout, n_wells)


def describe(plate: Plate) -> Pipeline:
    """Make the pipeline of a plate: convert, segment, crop."""
    convert = {
        "stage": "convert",
        "source": str(plate.images),
        "layout": str(plate.layout),
        "pattern": r"(?P<well>[A-P]\d+)_s(?P<field>\d+)\.tif",
        "channels": {"channel": "DNA"},
        "plate": "P1",
        "pixel_size_um": 0.65,
    }
    return parse_pipeline({"stages": [convert, "segment", "crop"]}, where="benchmark")


def run_textbook(paths: list[Path], target: Path) -> int:
    """Read, segment and measure fields, and write one PNG per nucleus; return their number."""
    target.mkdir()
    n_nuclei = 0
    for path in paths:
        image = tifffile.imread(path)
        labels = segment_by_textbook(image)
        properties = ("label", "area", "bbox", "centroid", "eccentricity", "solidity")
        table = regionprops_table(labels, image, properties=(*properties, "intensity_mean"))
        for index, label in enumerate(table["label"]):
            y0, x0, y1, x1 = (int(table[f"bbox-{edge}"][index]) for edge in range(4))
            if y1 - y0 > 64 or x1 - x0 > 64:
                continue
            tile = np.zeros((64, 64), image.dtype)
            top, left = 32 - (y1 - y0) // 2, 32 - (x1 - x0) // 2
            masked = image[y0:y1, x0:x1] * (labels[y0:y1, x0:x1] == label)
            tile[top : top + y1 - y0, left : left + x1 - x0] = masked
            Image.fromarray(tile).save(target / f"{path.stem}_{label}.png")
            n_nuclei += 1
    return n_nuclei


def compare_on_one_core(folder: Path, *, n_wells: int, rounds: int) -> None:
    """Print fields/s of i2r and of the textbook way over the same files, in turns."""
    plate = write_plate(folder / "one-core", n_wells=n_wells)
    paths = sorted(plate.images.iterdir())
    some = paths[:: max(1, len(paths) // 8)]
    pipeline = describe(plate)
    convert = parse_pipeline({"stages": [pipeline.dump()["stages"][0]]}, where="benchmark")
    inside = ClusterSpec(type="none")
    ways: dict[str, tuple[int, Callable[[int], object]]] = {
        "i2r": (len(paths), lambda turn: _run(pipeline, folder / f"ours{turn}", inside)),
        "textbook": (len(some), lambda turn: run_textbook(some, folder / f"theirs{turn}")),
        "convert": (len(paths), lambda turn: _run(convert, folder / f"converted{turn}", inside)),
        "floor": (len(paths), lambda turn: convert_barely(paths, folder / f"plain{turn}")),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    clock: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, (n_fields, way) in ways.items():
            started, processor = time.perf_counter(), time.process_time()
            way(turn)
            # The first turn compiles kernels and fills caches.
            if turn:
                seconds[name].append((time.process_time() - processor) / n_fields)
                clock[name].append((time.perf_counter() - started) / n_fields)
    print(
        f"one core, {len(paths)} fields of 1080 x 1080 uint16, LZW TIFF; median of {rounds} turns"
    )
    for name, values in seconds.items():
        middle = statistics.median(values)
        slow = statistics.median(clock[name])
        print(
            f"{name:10s} {middle * 1e3:7.1f} ms/field of the processor {slow * 1e3:7.1f} by clock"
        )
    for ours, theirs, bar in (("i2r", "textbook", "8"), ("convert", "floor", "0.6")):
        said = []
        for times in (seconds, clock):
            ratios = [b / a for a, b in zip(times[ours], times[theirs], strict=True)]
            said.append(f"{statistics.median(ratios):.2f}")
        print(f"speed of {ours} over {theirs}: {said[0]}, by clock {said[1]} (bar {bar})")


class Stopwatch:
    """Counts the processor's seconds of some functions, each without those that it calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner: list[float] = []
        self._patches: list[tuple[Any, str, Any]] = []

    def watch(self, part: str, module: Any, name: str) -> None:
        """Count a function under the name of a part, until `stop`."""
        function = getattr(module, name)
        self._patches.append((module, name, function))

        @functools.wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            started = time.process_time()
            self._inner.append(0.0)
            try:
                return function(*arguments, **named)
            finally:
                whole = time.process_time() - started
                own = whole - self._inner.pop()
                self.seconds[part] = self.seconds.get(part, 0.0) + own
                if self._inner:
                    self._inner[-1] += whole

        setattr(module, name, timed)

    def stop(self) -> None:
        """Leave the functions as they were."""
        for module, name, function in reversed(self._patches):
            setattr(module, name, function)


def print_parts(folder: Path, *, n_wells: int) -> None:
    """Print where the processor's time goes per field, what is unavoidable, and the ratio to it."""
    few = max(1, n_wells // 4)
    small, large = (measure_parts(folder / f"parts{n}", n_wells=n) for n in (few, n_wells))
    n_fields = n_wells * FIELDS
    least = sum(large[part] for part in UNAVOIDABLE)
    print(f"\nprocessor time of {n_fields} fields, ms/field")
    for part, value in large.items():
        print(f"{part:46s} {value:7.2f}{'  unavoidable' if part in UNAVOIDABLE else ''}")
    whole = sum(large.values())
    print(f"{'whole':46s} {whole:7.2f}")
    print(f"whole over unavoidable ({least:.2f} ms): {whole / least:.2f} (bar 1.25)")
    # Two sizes make a line: its slope is a field's time, what is left is the run's.
    slope = (whole * n_wells - sum(small.values()) * few) / (n_wells - few)
    once = (whole - slope) * n_fields
    print(f"a run takes {once:.0f} ms once (by {few} and {n_wells} wells) and {slope:.2f} ms/field")
    print(f"that of every field over unavoidable: {slope / least:.2f}")


def measure_parts(folder: Path, *, n_wells: int) -> dict[str, float]:
    """Measure the processor's ms per field of each part, and of everything else."""
    plate = write_plate(folder, n_wells=n_wells)
    inside = ClusterSpec(type="none")
    _run(describe(plate), folder / "warm", inside)
    watch = Stopwatch()
    for part, places in PARTS.items():
        for module, name in places:
            watch.watch(part, module, name)
    started = time.process_time()
    try:
        _run(describe(plate), folder / "watched", inside)
    finally:
        watch.stop()
    n_fields = n_wells * FIELDS
    whole = (time.process_time() - started) / n_fields * 1e3
    parts = {part: watch.seconds.get(part, 0.0) / n_fields * 1e3 for part in PARTS}
    return {**parts, "everything else (Dask, pandas, Python)": whole - sum(parts.values())}


def convert_barely(paths: list[Path], target: Path) -> None:
    """Read, encode with the store's codec, and write one plain file per field."""
    codec = numcodecs.blosc.Blosc(
        cname=PLANES.name, clevel=PLANES.level, shuffle=1, blocksize=PLANES.block_bytes
    )
    target.mkdir()
    for path in paths:
        (target / path.stem).write_bytes(codec.encode(tifffile.imread(path)))


def measure_plate(folder: Path, *, n_wells: int, n_workers: int) -> None:
    """Print rates, file counts and memory of a plate on worker processes."""
    peaks = {}
    for part in (max(n_workers, n_wells // 4), n_wells):
        plate = write_plate(folder / f"plate{part}", n_wells=part)
        cluster = ClusterSpec(cpu=WorkerGroup(n_workers=n_workers))
        with MemoryWatch() as watch:
            started = time.perf_counter()
            experiment = _run(describe(plate), folder / f"experiment{part}", cluster)
            wall_s = time.perf_counter() - started
        peaks[part] = watch.peak_bytes
        n_fields = part * FIELDS
        n_nuclei = len(experiment.table("crop"))
        if part != n_wells:
            shutil.rmtree(folder / f"experiment{part}")
            shutil.rmtree(folder / f"plate{part}")
    print(f"\n{n_wells} wells of {FIELDS} fields on {n_workers} workers: {wall_s:.0f} s")
    print(
        f"{'stage':10s} {'units':>6s} {'busy s':>8s} {'fields/s':>9s} {'nuclei/s':>9s} (per worker)"
    )
    for stage in STAGES:
        entries = [e for e in experiment.ledger.entries(stage) if e.key != "*"]
        busy = sum(e.seconds for e in entries)
        print(
            f"{stage:10s} {len(entries):6d} {busy:8.1f} {n_fields / busy:9.1f} {n_nuclei / busy:9.0f}"
        )
    whole = f"{n_fields / wall_s:9.1f} {n_nuclei / wall_s:9.0f}"
    print(f"{'whole run':10s} {'':6s} {wall_s:8.1f} {whole} (all workers)")
    n_files = sum(len(names) for _, _, names in os.walk(folder / f"experiment{n_wells}"))
    print(f"files per field: {n_files / n_fields:.2f} (bar 12), {n_files} in all")
    n_units = sum(1 for _ in experiment.ledger.entries())
    print(f"units of work: {n_units} for {n_nuclei} nuclei")
    started = time.perf_counter()
    problems = find_problems(open_experiment(str(folder / f"experiment{n_wells}")))
    print(f"validate: {time.perf_counter() - started:.1f} s, {len(problems)} problems (bar 10 s)")
    for part, peak in peaks.items():
        print(f"largest worker's memory with {part:4d} wells: {peak / 2**20:.0f} MiB")


class MemoryWatch:
    """Watches the largest memory (RSS) of any child process while it is open."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        this = psutil.Process()
        while not self._stop.wait(0.2):
            for child in this.children(recursive=True):
                try:
                    self.peak_bytes = max(self.peak_bytes, child.memory_info().rss)
                except psutil.Error:
                    continue


def _run(pipeline: Pipeline, target: Path, cluster: ClusterSpec) -> Experiment:
    summary = run_pipeline(pipeline, str(target), cluster=cluster, style="none")
    if summary.exit_code:
        raise RuntimeError(f"{summary.stopped} {[u.error for u in summary.failed][:1]}")
    return open_experiment(str(target))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wells", type=int, default=64, help="0 leaves the last table out")
    parser.add_argument("--core-wells", type=int, default=16, help="of the first two tables")
    parser.add_argument("--rounds", type=int, default=3, help="0 leaves the first table out")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        affinity = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(affinity)})
        if options.rounds:
            compare_on_one_core(Path(folder), n_wells=options.core_wells, rounds=options.rounds)
            print_parts(Path(folder), n_wells=options.core_wells)
        os.sched_setaffinity(0, affinity)
        if options.wells:
            measure_plate(Path(folder), n_wells=options.wells, n_workers=options.workers)


if __name__ == "__main__":
    main()
