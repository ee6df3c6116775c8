"""The report of a screen of many plates: seconds, memory and megabytes.

Run as ``python -m tests.benchmarks.reports [--plates 100]``: plates of 384 wells of nine fields in
five channels with quality, features and a fast screen, as `tests.benchmarks.plates` lays them out;
no images. The wells of all plates but the first are links to its parts, whose values a report only
samples. Bars: made in 2 minutes, at most 15 MB.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from i2r.stages.report import write_report
from i2r.store import files, tables
from i2r.store.experiment import Experiment
from i2r.store.layout import empty_sources
from i2r.store.ledger import LedgerWriter
from tests.benchmarks.plates import lay_out, write_well
from tests.browser import BROWSER, open_browser
from tests.report.experiments import write_ranking

CHANNELS = ["DNA", "ER", "RNA", "AGP", "Mito"]
STAGES = {"quality": [], "features": ["quality"], "screen": ["features"]}
NUCLEI = 40


def write_experiment(folder: Path, n_plates: int) -> None:
    """Write an experiment that is done."""
    layout = lay_out(n_plates).assign(channels=[CHANNELS] * 384 * n_plates)
    experiment = Experiment(str(folder), layout=layout, sources=empty_sources())
    experiment.save_description()
    writer = LedgerWriter(experiment.ledger, 1)
    random = np.random.default_rng(0)
    genes = experiment.layout_by_key["gene"].astype(str).to_dict()
    for number, key in enumerate(experiment.well_keys):
        url = experiment.part_url("features", key)
        if number < 384:
            write_well(key, genes[key], url, NUCLEI)
        else:
            first = experiment.part_url("features", experiment.well_keys[number % 384])
            Path(url).parent.mkdir(parents=True, exist_ok=True)
            os.link(first, url)
        result = {"fields": 9, "nuclei": NUCLEI}
        writer.write("features", key, "done", "x", seconds=1.0, result=result)
        excluded = {"3": "out of focus"} if number % 50 == 0 else {}
        writer.write("quality", key, "done", "x", result={"fields": 9, "excluded": excluded})
    for plate, own in experiment.layout_by_key.groupby("plate"):
        rows = own[["plate", "well"]].loc[own.index.repeat(9 * len(CHANNELS))]
        rows = rows.assign(
            field=np.tile(np.repeat([str(n) for n in range(1, 10)], len(CHANNELS)), len(own)),
            channel=CHANNELS * 9 * len(own), saturated_fraction=0.0, background=90.0, reason="",
        )  # fmt: skip
        rows = rows.assign(focus=random.random(len(rows)), mean=100 + random.random(len(rows)))
        tables.write_table(experiment.table_url("quality", str(plate)), rows)
    for stage in STAGES:
        writer.write(stage, "*", "done", "x")
    writer.close()
    write_ranking(experiment, "screen", {}, draws=20, statistics={"method": "fast"})
    stages = [
        {"stage": name, "name": name, "needs": needs, **({"method": "fast"} if name == "screen" else {})}
        for name, needs in STAGES.items()
    ]  # fmt: skip
    record = {"run": 1, "pipeline": {"seed": 0, "stages": stages}}
    files.write_bytes(experiment.path("runs", "000001.json"), json.dumps(record).encode())


def time_report(folder: Path) -> dict[str, Any]:
    """Write the report; give seconds, memory and size."""
    started, cpu_s = time.perf_counter(), time.process_time()
    write_report(str(folder), list(STAGES), heading="", gallery_nuclei=8)
    others = [path.stat().st_size for path in (folder / "report").rglob("*") if path.is_file()]
    return {
        "seconds": time.perf_counter() - started, "cpu_s": time.process_time() - cpu_s,
        "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "mb": (folder / "report.html").stat().st_size / 1e6,
        "files": len(others), "files_mb": sum(others) / 1e6,
    }  # fmt: skip


def time_opening(folder: Path) -> tuple[float, float]:
    """Give the seconds from an address to a page that is loaded and painted, and the processor's."""
    with open_browser(folder) as page:
        started, before_s = time.perf_counter(), sum_browser_s()
        page.open(f"file://{folder}/e/report.html")
        page.wait_for("document.readyState === 'complete'")
        page.evaluate("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
        return time.perf_counter() - started, sum_browser_s() - before_s


def sum_browser_s() -> float:
    """Add up the processor time of all processes of the browser."""
    processes = psutil.Process().children(recursive=True)
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--plates", type=int, default=100)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder:
        print(json.dumps(time_report(Path(arguments.folder))))
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        write_experiment(Path(folder, "e"), arguments.plates)
        command = [sys.executable, "-m", "tests.benchmarks.reports", "--folder", f"{folder}/e"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr[-3000:])
            return
        found = json.loads(done.stdout.splitlines()[-1])
        opened, cpu_s = time_opening(Path(folder)) if BROWSER else (float("nan"), float("nan"))
    print(
        f"{arguments.plates} plates: {found['seconds']:.0f} s ({found['cpu_s']:.0f} of processor, "
        f"bar 120), {found['gib']:.2f} GiB; page {found['mb']:.1f} MB (bar 15), opened in {opened:.1f} s "
        f"({cpu_s:.1f} of processor, bar 3), "
        f"{found['files']} files beside it of {found['files_mb']:.0f} MB"
    )


if __name__ == "__main__":
    main()
