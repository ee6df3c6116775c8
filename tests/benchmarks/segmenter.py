"""The trained network against its bars and the textbook chain, on fields it was not trained on.

``python -m tests.benchmarks.segmenter`` prints the table. It needs the folder with the data sets
named by ``I2R_DATA``. Times are of one thread.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from i2r.analysis.segmenters import segment_by_network
from i2r.kernels.metrics import SegmentationScore, combine_scores, score_segmentation
from i2r.kernels.segmentation import segment_nuclei
from i2r.models.unet import NucleusUNet
from i2r.models.unet_inference import load_network, read_packaged_weights
from i2r.readers.labelled import LabelledField, keep_fifth_out, list_labelled, read_labelled
from tests.benchmarks.kernels import segment_by_textbook, simulate_field

Segment = Callable[[Any], Any]
BBBC039_PIXEL_UM = 0.656


def segment_with(pixel_size_um: float | None, network: NucleusUNet | None = None) -> Segment:
    """Make the function that labels one plane, by default by the network that ships with i2r."""
    network = network or load_network(read_packaged_weights())
    return lambda plane: segment_by_network(plane[None], network, pixel_size_um=pixel_size_um)[0]


def score_fields(segment: Segment, fields: list[LabelledField]) -> SegmentationScore:
    """Score a segmentation of fields with known nuclei."""
    scores = []
    for field in fields:
        image, truth = read_labelled(field)
        scores.append(score_segmentation(segment(image), truth))
    return combine_scores(scores)


def print_accuracy(data: str) -> None:
    """Print scores of all methods, then every bar with what was measured."""
    validation = list_labelled(f"{data}/bbbc039/validation")
    used, fifth = keep_fifth_out(list_labelled(f"{data}/dsb2018_fluo"))
    print(f"DSB2018 fluorescence: {len(used)} fields trained on, {len(fifth)} kept out\n")
    print(f"{'':38} F1 .5-.9    @.5    @.7    @.9  AP@.5  PQ@.5 splits merges missed")
    found: dict[str, SegmentationScore] = {}
    for name, fields, pixel_um in (
        ("BBBC039 validation", validation, BBBC039_PIXEL_UM),
        ("BBBC039, pixel size not told", validation, None),
        ("DSB2018, the fifth kept out", fifth, None),
    ):
        methods: dict[str, Segment] = {"unet": segment_with(pixel_um)}
        if "not told" not in name:
            methods |= {"threshold": segment_nuclei, "textbook": segment_by_textbook}
        for method, segment in methods.items():
            s = found[f"{name}, {method}"] = score_fields(segment, fields)
            print(
                f"{f'{name}, {method}':38} {s.mean_f1:8.3f} {s.f1[0]:6.3f} {s.f1[4]:6.3f} "
                f"{s.f1[8]:6.3f} {s.average_precision[0]:6.3f} {s.panoptic_quality[0]:6.3f} "
                f"{s.splits:6} {s.merges:6} {'/'.join(map(str, s.missed)):>6}"
            )
    b, d = found["BBBC039 validation, unet"], found["DSB2018, the fifth kept out, unet"]
    print(f"\n{'bar':46} {'wanted':>8} {'found':>8}")
    print_bar("BBBC039 validation, mean F1 (aim 0.93)", b.mean_f1, 0.90)
    print_bar("BBBC039 validation, F1 at 0.7", b.f1[4], 0.95)
    print_bar("BBBC039 validation, merges (a quarter of 232)", b.merges, 58, most=True)
    print_bar("DSB2018 fifth, AP at 0.5", d.average_precision[0], 0.87)
    print_bar("DSB2018 fifth, F1 at 0.7", d.f1[4], 0.85)
    print_bar("weights, MiB", len(read_packaged_weights()) / 2**20, 8, most=True)


def print_bar(name: str, value: float, bar: float, *, most: bool = False) -> None:
    """Print one bar and whether it is met."""
    met = value <= bar if most else value >= bar
    sign = "<=" if most else ">="
    print(f"{name:46} {f'{sign} {bar:g}':>8} {value:8.3f} {'met' if met else 'MISSED'}")


def print_times(rounds: int = 5) -> None:
    """Print milliseconds for a field of 1080 x 1080 pixels, with and without its pixel size."""
    image, _ = simulate_field()
    print(f"\n{'field of 1080 x 1080 px, one thread':46} {'clock':>8} {'processor':>9}")
    for name, segment in (
        ("unet, 0.656 um, ms/field", segment_with(BBBC039_PIXEL_UM)),
        ("unet, pixel size not told, ms/field", segment_with(None)),
        ("threshold, ms/field", segment_nuclei),
        ("textbook, ms/field", segment_by_textbook),
    ):
        segment(image)
        clock, processor = [], []
        for _ in range(rounds):
            start, before = time.perf_counter(), time.process_time()
            segment(image)
            clock.append((time.perf_counter() - start) * 1e3)
            processor.append((time.process_time() - before) * 1e3)
        print(f"{name:46} {statistics.median(clock):8.0f} {statistics.median(processor):9.0f}")


def print_memory() -> None:
    """Print the peak memory of fields of several sizes, each in a process of its own."""
    print(f"\n{'side of a field, px':46} {'processor s':>11} {'peak MiB':>9} {'image+labels':>13}")
    for side in (1080, 2160, 4320, 10_000):
        code = f"from tests.benchmarks.segmenter import measure_peak as m; m({side})"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        print(done.stdout, end="")


def measure_peak(side: int) -> None:
    """Segment a large field and print what it took beyond the libraries themselves."""
    limit_threads()
    # A small one: drawing a large one would take more memory than is measured here.
    tile, _ = simulate_field(size_px=360, n_nuclei=17)
    repeats = -(-side // 360)
    image = np.tile(tile, (repeats, repeats))[:side, :side]
    segment = segment_with(BBBC039_PIXEL_UM)
    segment(image[:100, :100])
    before = read_peak()
    start = time.process_time()
    labels = segment(image)
    seconds = time.process_time() - start
    peak = (read_peak() - before) / 2**10
    own = (image.nbytes + labels.nbytes) / 2**20
    print(f"{f'{side}, {labels.max()} nuclei':46} {seconds:11.1f} {peak:9.0f} {own:13.0f}")


def read_peak() -> int:
    """Give this process's peak memory in KiB; `getrusage` would give its parent's if larger."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def limit_threads() -> None:
    """Hold torch to one thread, as in a worker."""
    import torch

    torch.set_num_threads(1)


if __name__ == "__main__":
    limit_threads()
    if "I2R_DATA" in os.environ:
        print_accuracy(str(Path(os.environ["I2R_DATA"])))
    print_times()
    print_memory()
