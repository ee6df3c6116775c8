"""Image kernels against the textbook: time in the same run, and accuracy on real fields.

``python -m tests.benchmarks.kernels`` prints the tables, and every bar with what was measured. It
is one configuration throughout: the defaults of the stage ``segment``, with the pixel size alone
to tell the data sets apart. Accuracy needs the folder with the data sets named by ``I2R_DATA``.
Times are the processor's, of one thread; ours and the textbook's take turns, so that a busy
machine slows both, and ratios are medians over the pairs.
"""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.io import imread
from skimage.measure import regionprops_table
from skimage.segmentation import watershed

from i2r.kernels.crops import cut_crops, select_nuclei
from i2r.kernels.metrics import SegmentationScore, combine_scores, score_segmentation
from i2r.kernels.nuclei import measure_nuclei
from i2r.kernels.quality import measure_quality
from i2r.stages.segment import ThresholdSegment

# Microns per pixel. Nobody says it for the many microscopes of the second set, whose nuclei are
# from 6 to 100 pixels wide: it is taken for one more 20x microscope.
PIXEL_SIZE_UM = {"bbbc039/validation": 0.656, "dsb2018_fluo": 0.656, "bbbc013_u2os_plate": 1.3}
# An independent count of the whole plate (Otsu and watershed), for the 72 of 96 wells used here.
BBBC013_NUCLEI = 18061 * 72 / 96

REGION_PROPERTIES = (
    "label",
    "area",
    "bbox",
    "centroid",
    "axis_major_length",
    "axis_minor_length",
    "eccentricity",
    "solidity",
    "intensity_mean",
)


class Bar(NamedTuple):
    """What was measured and the least that is wanted."""

    name: str
    measured: float
    least: float


class Timing(NamedTuple):
    """Median milliseconds of two functions that took turns, and the median of their ratios."""

    ours_ms: float
    theirs_ms: float
    ratio: float


def segment_by_textbook(image: npt.NDArray[np.number]) -> npt.NDArray[np.int32]:
    """Label nuclei with the chain found in scikit-image tutorials."""
    smoothed = gaussian(image, sigma=2, preserve_range=True)
    mask = ndimage.binary_fill_holes(smoothed > threshold_otsu(smoothed))
    distance = ndimage.distance_transform_edt(mask)
    peaks = peak_local_max(distance, min_distance=10, labels=ndimage.label(mask)[0])
    seeds = np.zeros(image.shape, dtype=np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return np.asarray(watershed(-distance, seeds, mask=mask), dtype=np.int32)


def simulate_field(
    *, size_px: int = 1080, n_nuclei: int = 150, touching: float = 0.35, seed: int = 0
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int32]]:
    """Draw elliptic nuclei of uneven brightness, some of them in touching pairs.

    Parameters
    ----------
    size_px : int
        Side of the field.
    n_nuclei : int
        Nuclei to place; fewer if the field is full.
    touching : float
        Part of the nuclei that are placed next to another one.
    seed : int
        Of the random numbers.

    Returns
    -------
    image : (size_px, size_px) uint16
        Camera offset, blur, shot noise.
    labels : (size_px, size_px) int32
        What was drawn.
    """
    random = np.random.default_rng(seed)
    labels = np.zeros((size_px, size_px), dtype=np.int32)
    signal = np.zeros(labels.shape)
    margin = 30
    previous = np.full(2, size_px / 2)
    for nucleus in range(1, n_nuclei + 1):
        radii = random.uniform((11.0, 14.0), (14.0, 19.0))
        angle = random.uniform(0, np.pi)
        pair = nucleus > 1 and nucleus % 2 == 0 and random.random() < touching
        for _ in range(200):
            if pair:
                centre = previous + random.uniform(24, 28) * _direction(random)
            else:
                centre = random.uniform(margin, size_px - margin, 2)
            if not (margin <= centre.min() and centre.max() < size_px - margin):
                continue
            y0, x0 = (centre - margin).astype(int)
            window = np.s_[y0 : y0 + 2 * margin, x0 : x0 + 2 * margin]
            offset = np.moveaxis(np.mgrid[window], 0, -1) - centre
            along = offset @ (np.cos(angle), np.sin(angle))
            across = offset @ (-np.sin(angle), np.cos(angle))
            inside = (along / radii[1]) ** 2 + (across / radii[0]) ** 2 <= 1
            near = ndimage.binary_dilation(inside, iterations=4) if not pair else inside
            overlap = (labels[window] > 0) & near
            if overlap.sum() <= (0.1 * inside.sum() if pair else 0):
                own = inside & (labels[window] == 0)
                labels[window][own] = nucleus
                texture = ndimage.gaussian_filter(random.normal(size=own.shape), 3) * 3
                signal[window] += own * random.uniform(400, 2000) * (1 + 0.4 * texture)
                previous = centre
                break
    signal = 120 + ndimage.gaussian_filter(np.maximum(signal, 0), 1.2)
    image = random.poisson(signal) + random.normal(0, 5, signal.shape)
    return np.clip(image, 0, 4095).astype(np.uint16), labels


def _direction(random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Unit vector of random direction."""
    angle = random.uniform(0, 2 * np.pi)
    return np.array((np.sin(angle), np.cos(angle)))


def compare_times(
    ours: Callable[[], object], theirs: Callable[[], object], *, rounds: int
) -> Timing:
    """Time two functions alternately, after one call of each that does not count."""
    ours()
    theirs()
    times = [(_time(ours), _time(theirs)) for _ in range(rounds)]
    return Timing(
        statistics.median(a for a, _ in times),
        statistics.median(b for _, b in times),
        statistics.median(b / a for a, b in times),
    )


def _time(function: Callable[[], object]) -> float:
    """Milliseconds of the processor for one call; waiting for it is not counted."""
    start = time.process_time()
    function()
    return (time.process_time() - start) * 1e3


def load_fields(
    folder: Path,
) -> list[tuple[npt.NDArray[np.number], npt.NDArray[np.integer]]]:
    """Images and label images of a data set, sorted by name."""
    labels = sorted((folder / "labels").iterdir())
    images = sorted((folder / "images").iterdir())
    return [(imread(i), imread(t)) for i, t in zip(images, labels, strict=True)]


def score_method(
    segment: Callable[[npt.NDArray[np.number]], npt.NDArray[np.integer]],
    fields: list[tuple[npt.NDArray[np.number], npt.NDArray[np.integer]]],
) -> SegmentationScore:
    """Score a segmentation function over fields with known nuclei."""
    return combine_scores([score_segmentation(segment(image), truth) for image, truth in fields])


def print_times(rounds: int = 15) -> list[Bar]:
    """Print the table of times on a simulated field of 1080 x 1080 pixels; give the bars."""
    segment_nuclei = ThresholdSegment().segmenter(0.65)
    image, truth = simulate_field()
    labels = segment_nuclei(image)
    score = score_segmentation(labels, truth)
    planes = image[None]
    print(f"field {image.shape} {image.dtype}, {truth.max()} nuclei; ours F1 {score.f1[0]:.3f},")
    print(f"textbook F1 {score_segmentation(segment_by_textbook(image), truth).f1[0]:.3f}")
    rows = {
        "segment, ms/field": compare_times(
            lambda: segment_nuclei(image), lambda: segment_by_textbook(image), rounds=rounds
        ),
        "measure, ms/field": compare_times(
            lambda: measure_nuclei(labels, planes),
            lambda: regionprops_table(labels, image, properties=REGION_PROPERTIES),
            rounds=rounds,
        ),
    }
    bars = [
        Bar("segment: times the textbook", rows["segment, ms/field"].ratio, 12),
        Bar("measure: times regionprops_table", rows["measure, ms/field"].ratio, 40),
    ]
    print(f"{'':20} {'ours':>8} {'textbook':>9} {'ratio':>6}")
    for name, timing in rows.items():
        print(f"{name:20} {timing.ours_ms:8.2f} {timing.theirs_ms:9.1f} {timing.ratio:6.1f}")

    measured = measure_nuclei(labels, planes)
    kept = select_nuclei(measured, size_px=64) == 0
    bbox = np.stack([measured[f"bbox_{edge}"] for edge in ("y0", "x0", "y1", "x1")], axis=1)[kept]
    ids = measured["label"][kept]
    per_second: dict[str, Callable[[], object]] = {
        "measure": lambda: measure_nuclei(labels, planes),
        "crop, masked": lambda: cut_crops(planes, labels, label_ids=ids, bbox=bbox),
        "crop, surroundings": lambda: cut_crops(
            planes, labels, label_ids=ids, bbox=bbox, masked=False
        ),
    }
    for name, function in per_second.items():
        function()
        milliseconds = statistics.median(_time(function) for _ in range(rounds))
        print(f"{name:20} {ids.size / milliseconds * 1e3:12,.0f} nuclei/s")
        if name.startswith("crop"):
            bars.append(Bar(f"{name}: nuclei/s", ids.size / milliseconds * 1e3, 50_000))
    measure_quality(image)
    milliseconds = statistics.median(_time(lambda: measure_quality(image)) for _ in range(rounds))
    print(f"{'quality':20} {milliseconds:12.2f} ms/field")
    return bars


def print_accuracy(data: Path) -> list[Bar]:
    """Print the accuracy of both methods on the data sets with true labels; give the bars."""
    bars: list[Bar] = []
    print(f"{'':36} F1 .5-.9   @.5   @.7   @.9 AP@.5 splits merges")
    for folder in ("bbbc039/validation", "dsb2018_fluo"):
        fields = load_fields(data / folder)
        ours = ThresholdSegment().segmenter(PIXEL_SIZE_UM[folder])
        for name, method in (("ours", ours), ("textbook", segment_by_textbook)):
            s = score_method(method, fields)
            if name == "ours" and folder.startswith("bbbc039"):
                bars += [
                    Bar("BBBC039 validation: mean F1 (0.50-0.90)", s.mean_f1, 0.90),
                    Bar("BBBC039 validation: F1 at 0.5", s.f1[0], 0.93),
                    Bar("BBBC039 validation: F1 at 0.9", s.f1[8], 0.68),
                ]
            elif name == "ours":
                bars.append(Bar("DSB2018 fluorescence: AP at 0.5", s.average_precision[0], 0.81))
            print(
                f"{folder + ', ' + name:36} {s.mean_f1:8.3f} {s.f1[0]:.3f} {s.f1[4]:.3f} "
                f"{s.f1[8]:.3f} {s.average_precision[0]:.3f} {s.splits:6} {s.merges:6}"
            )
    return bars


def print_plate(data: Path) -> Bar:
    """Print what the same defaults find on BBBC013, which has no true labels; give the bar."""
    folder = "bbbc013_u2os_plate"
    segment = ThresholdSegment().segmenter(PIXEL_SIZE_UM[folder])
    measured = []
    for file in sorted((data / folder / "images").glob("Channel2-*.tif")):
        image = imread(file)
        measured.append(measure_nuclei(segment(image), image[None]))
    nuclei = {name: np.concatenate([m[name] for m in measured]) for name in measured[0]}
    area = nuclei["area_px"] * PIXEL_SIZE_UM[folder] ** 2
    convex = nuclei["solidity"] > 0.85
    likely = (convex & (area > 80) & (area < 1000))[~nuclei["touches_border"]]
    print(
        f"{folder}: {area.size} nuclei in {len(measured)} fields (an independent count finds "
        f"{BBBC013_NUCLEI:.0f}), median {np.median(area):.0f} um2"
    )
    return Bar("BBBC013: part of 80-1000 um2, solidity over 0.85", likely.mean(), 0.9)


def print_bars(bars: list[Bar]) -> None:
    """Print what was measured beside what is wanted."""
    print(f"\n{'':54} {'measured':>10} {'bar':>8}")
    for bar in bars:
        verdict = "" if bar.measured >= bar.least else "  MISSED"
        print(f"{bar.name:54} {bar.measured:10,.3f} {bar.least:8,.5g}{verdict}")


def main() -> None:
    """Print everything, the bars at the end."""
    bars = print_times()
    if "I2R_DATA" in os.environ:
        data = Path(os.environ["I2R_DATA"])
        bars += print_accuracy(data)
        bars.append(print_plate(data))
    print_bars(bars)


if __name__ == "__main__":
    main()
