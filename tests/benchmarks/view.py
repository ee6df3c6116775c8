"""How long it takes to see nuclei: ``python -m tests.benchmarks.view`` (needs Chromium; 3 minutes).

A 384-well plate of 9 fields, 1080 x 1080 px in two channels, 100 nuclei each, is written with the
store's own writers; then a headless Chromium opens the page of ``i2r view`` and clicks. Wells of the
plate share four different sets of crops (hard links), and two wells have images: what is read for
a click is of the size that it has in a real screen.
"""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from i2r.store import files, tables
from i2r.store.arrays import write_crops
from i2r.store.experiment import Experiment
from i2r.store.images import write_image, write_labels
from i2r.store.ledger import LedgerWriter
from i2r.testing import name_wells
from tests.browser import open_browser
from tests.report.experiments import BOX_NAMES, write_ranking

WELLS, FIELDS, NUCLEI, SIZE, SHAPE = 384, 9, 100, 64, (1080, 1080)
N_FEATURES = 85
CHANNELS = ["DNA", "GFP"]
KINDS = 4
BAR_S = 1.0
CLICK = """
(async () => {
  const row = [...document.querySelectorAll("#hits tbody tr")][%d];
  const name = row.cells[1].textContent;
  const start = performance.now();
  row.click();
  for (;;) {
    const strip = document.querySelector("#condition .nuclei");
    if (strip?.dataset.sheet && document.querySelector("#condition h2")?.textContent === name) {
      const picture = new Image();
      picture.src = strip.dataset.sheet;
      await picture.decode();
      await new Promise(requestAnimationFrame);
      return (performance.now() - start) / 1000;
    }
    await new Promise((done) => setTimeout(done, 5));
  }
})()
"""


def make_plate(folder: Path) -> Experiment:
    """Write the experiment; nothing of it is computed by stages."""
    random = np.random.default_rng(0)
    wells = name_wells(WELLS, plate_format=384)
    names = [f"G{i // 2:03d}" if i % 12 else "control" for i in range(WELLS)]
    roles = ["treated" if name != "control" else "negative_control" for name in names]
    layout = pd.DataFrame({"plate": "P1", "well": wells, "perturbation": names, "role": roles})
    layout = layout.assign(
        gene="", dose=float("nan"), fields=[[str(f + 1) for f in range(FIELDS)]] * WELLS,
        n_fields=FIELDS, height_px=SHAPE[0], width_px=SHAPE[1], dtype="uint16",
        pixel_size_um=0.65, channels=[CHANNELS] * WELLS,
    )  # fmt: skip
    experiment = Experiment(str(folder / "experiment"), layout=layout, sources=pd.DataFrame())
    experiment.save_description()
    writer = LedgerWriter(experiment.ledger, 1)
    per_well = FIELDS * NUCLEI
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    nucleus = 1500 * (np.hypot(y / 18, x / 13) < 1)
    place = pd.DataFrame(
        {"field": np.repeat([str(f + 1) for f in range(FIELDS)], NUCLEI),
         "label": np.tile(np.arange(1, NUCLEI + 1), FIELDS), "crop": np.arange(per_well)}
    )  # fmt: skip
    corners = np.array([(108 * r + 20, 108 * c + 20) for r in range(10) for c in range(10)])
    boxes = np.tile(np.hstack([corners, corners + 36]), (FIELDS, 1))
    merged = []
    for number, key in enumerate(experiment.well_keys):
        _, well = experiment.locate(key)
        url = experiment.crops_url("crop", key)
        if number < KINDS:
            noise = random.integers(80, 160, (per_well, 2, SIZE, SIZE))
            write_crops(url, (nucleus + noise).astype(np.uint16))
        else:
            first = experiment.crops_url("crop", experiment.well_keys[number % KINDS])
            shutil.copytree(files.local_path(first), files.local_path(url), copy_function=os.link)
        own = place.assign(plate="P1", well=well)
        segment = own[["plate", "well", "field", "label"]].assign(
            area_um2=400.0, **{name: boxes[:, i] for i, name in enumerate(BOX_NAMES)}
        )
        tables.write_table(experiment.part_url("segment", key), segment)
        tables.write_table(experiment.part_url("crop", key), own.assign(reason=""))
        values = random.standard_normal((per_well, N_FEATURES)).astype(np.float32)
        features = pd.DataFrame(values, columns=[f"feature_{i:02d}" for i in range(N_FEATURES)])
        merged.append(pd.concat([own, features], axis=1))
        for stage in ("convert", "segment", "crop", "features"):
            result = {"fields": FIELDS, "nuclei": per_well}
            writer.write(stage, key, "done", "x", seconds=1.0, result=result)
    tables.write_table(experiment.table_url("features", "P1"), pd.concat(merged))
    _write_fields(experiment, random, boxes[:NUCLEI])
    writer.write("features", "*", "done", "x")
    write_ranking(experiment, "screen", {}, draws=5)
    writer.write("screen", "*", "done", "x")
    writer.close()
    chain = ["convert", "segment", "crop", "features", "screen"]
    stages = [{"stage": name, "needs": chain[:i]} for i, name in enumerate(chain)]
    record = {"run": 1, "pipeline": {"seed": 0, "stages": stages}}
    files.write_bytes(experiment.path("runs", "000001.json"), json.dumps(record).encode())
    return Experiment(experiment.url)


def _write_fields(experiment: Experiment, random: np.random.Generator, boxes: np.ndarray) -> None:
    """Write the images and labels of a control well and of the first hit's."""
    labels = np.zeros(SHAPE, np.int32)
    for label, (y0, x0, y1, x1) in enumerate(boxes.tolist(), start=1):
        labels[y0:y1, x0:x1] = label
    image = np.stack([random.integers(80, 160, SHAPE) + 1500 * (labels > 0)] * 2).astype(np.uint16)
    for key in experiment.well_keys[:2]:
        for field in experiment.wells[key].fields:
            write_image(experiment.image_url(key, field), image, channels=CHANNELS)
            write_labels(experiment.image_url(key, field), "segment", labels)


def main() -> int:
    """Measure, print, and fail where the first nuclei take longer than a second."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        experiment = make_plate(Path(folder))
        print(f"plate written in {time.monotonic() - began:.0f} s")
        process = subprocess.Popen(
            [sys.executable, "-m", "i2r", "view", experiment.url],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            began = time.monotonic()
            address = process.stdout.readline().strip()
            print(f"server answers after            {time.monotonic() - began:6.2f} s")
            with open_browser(Path(folder)) as page:
                page.resize(1280, 900)
                began = time.monotonic()
                page.open(address)
                page.wait_for("document.documentElement?.dataset.ready")
                print(f"page with plate and hits        {time.monotonic() - began:6.2f} s")
                seconds = [page.evaluate(CLICK % row) for row in range(12)]
                print(f"first nuclei of the first hit   {seconds[0]:6.2f} s")
                print(
                    f"of eleven others                {statistics.median(seconds[1:]):6.2f} s "
                    f"(median; worst {max(seconds[1:]):.2f})"
                )
                for words, search, script in (
                    ("field with outlines", "key=P1%2FA02", "[...document.querySelectorAll('.field img')].filter((i) => i.complete && i.naturalWidth).length === 2"),
                    ("nearest of 345,600 nuclei", "key=P1%2FA02&index=3&field=1", "document.querySelectorAll('#nucleus .nuclei button').length === 24"),
                ):  # fmt: skip
                    began = time.monotonic()
                    page.open(f"{address}?{search}")
                    page.wait_for(script, seconds=120)
                    print(f"{words:32}{time.monotonic() - began:6.2f} s (with the page)")
                print(f"console: {page.complaints or 'empty'}")
                return int(seconds[0] > BAR_S or bool(page.complaints))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


if __name__ == "__main__":
    sys.exit(main())
