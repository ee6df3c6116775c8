"""CellProfiler's measurements beside i2r's, on the same nuclei.

``python -m tests.benchmarks.cellprofiler`` needs cp_measure, CellProfiler's measurements as a library
(``pip install --no-deps cp_measure centrosome mahotas deprecation``). It prints which values agree, by
CellProfiler's name, and nuclei per second of one thread. Only families that both have are timed:
size and shape, Feret diameters, intensity, its radial distribution, and texture at three distances.
Both take turns, so that a busy machine slows both; the ratio is the median over the rounds.
"""

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tests.benchmarks.features import DISTANCES, measure_by_field
from tests.benchmarks.kernels import Bar, print_bars, simulate_field

Columns = dict[str, npt.NDArray[np.float64]]
FULL = 65535.0

# CellProfiler's name, i2r's column, what to multiply i2r's value by, and the largest relative
# difference of a value that counts as alike.
SAME: tuple[tuple[str, str, float, float], ...] = (
    ("Area", "area_px", 1, 1e-9),
    ("MajorAxisLength", "major_axis_px", 1, 1e-6),
    ("MinorAxisLength", "minor_axis_px", 1, 1e-6),
    ("Eccentricity", "eccentricity", 1, 1e-6),
    ("Solidity", "solidity", 1, 1e-6),
    ("Perimeter", "perimeter_px", 1, 1e-6),
    ("Center_X", "centroid_x_px", 1, 1e-6),
    ("Center_Y", "centroid_y_px", 1, 1e-6),
    ("Intensity_MeanIntensity", "mean", 1 / FULL, 1e-6),
    ("Intensity_StdIntensity", "std", 1 / FULL, 1e-6),
    ("Intensity_MedianIntensity", "median", 1 / FULL, 1e-6),
    ("Intensity_LowerQuartileIntensity", "p25", 1 / FULL, 1e-6),
    ("Intensity_UpperQuartileIntensity", "p75", 1 / FULL, 1e-6),
    ("Intensity_MADIntensity", "mad", 1 / FULL, 1e-6),
    ("MaxFeretDiameter", "calliper_max_px", 1, 5e-2),
    ("MinFeretDiameter", "calliper_min_px", 1, 8e-2),
)


def load_measurements() -> dict[str, Callable[..., dict[str, object]]]:
    """Give cp_measure's functions by family; ends the program where it is not installed."""
    try:
        from cp_measure.bulk import get_core_measurements
    except ImportError:
        sys.exit("cp_measure is not installed: pip install --no-deps cp_measure centrosome "
                 "mahotas deprecation")  # fmt: skip
    return get_core_measurements()


def measure_by_cellprofiler(
    image: npt.NDArray[np.uint16], labels: npt.NDArray[np.int32]
) -> Columns:
    """Measure what i2r has too, as CellProfiler does it: images from 0 to 1."""
    measure = load_measurements()
    grey = image / FULL
    columns: dict[str, object] = {}
    for family in ("sizeshape", "feret", "intensity", "radial_distribution"):
        columns |= measure[family](labels, grey)
    for distance in DISTANCES:
        columns |= measure["texture"](labels, grey, scale=distance)
    return {name: np.asarray(values, dtype=float) for name, values in columns.items()}


def compare(ours: Columns, theirs: Columns) -> list[tuple[str, str, float, bool]]:
    """Give the largest relative difference of every value that both have."""
    found = []
    for name, column, factor, limit in SAME:
        expected = theirs[name]
        difference = np.abs(ours[column] * factor - expected) / np.abs(expected).max()
        found.append((name, column, float(difference.max()), bool(difference.max() <= limit)))
    return found


def main(rounds: int = 5) -> None:
    """Print agreement, times and the ratio."""
    image, labels = simulate_field(size_px=1080, n_nuclei=150)
    n = int(labels.max())
    ours, theirs = measure_by_field(image, labels), measure_by_cellprofiler(image, labels)
    print(f"{'CellProfiler':34} {'i2r':18} largest difference, of the largest value")
    compared = compare(ours, theirs)
    for name, column, difference, alike in compared:
        print(f"{name:34} {column:18} {difference:8.1e} {'' if alike else 'DIFFERS'}")
    times = []
    for _ in range(rounds):
        start = time.process_time()
        measure_by_cellprofiler(image, labels)
        middle = time.process_time()
        measure_by_field(image, labels)
        times.append((time.process_time() - middle, middle - start))
    for name, place, columns in (("i2r", 0, ours), ("cp_measure", 1, theirs)):
        rate = n / statistics.median(t[place] for t in times)
        print(f"{name:12} {len(columns):4} columns {rate:10,.0f} nuclei per processor second")
    ratio = statistics.median(theirs_s / ours_s for ours_s, theirs_s in times)
    print_bars([
        Bar("values alike, share", sum(alike for *_, alike in compared) / len(compared), 1),
        Bar("features: times cp_measure", ratio, 20),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
