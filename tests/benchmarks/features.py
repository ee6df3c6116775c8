"""Features per nucleus: one compiled pass per field against scikit-image nucleus by nucleus.

``python -m tests.benchmarks.features`` prints times of one thread and whether the values agree.
Both ways take turns, so that a busy machine slows both; the ratio is the median over the rounds.
"""

import statistics
import time

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.spatial import cKDTree
from skimage.feature import graycomatrix, graycoprops
from skimage.measure import find_contours, regionprops, shannon_entropy

from i2r.kernels.chromatin import HETEROCHROMATIN_DEVIATIONS, N_BINS, measure_chromatin
from i2r.kernels.moments import HU_COLUMNS, measure_hu_moments
from i2r.kernels.neighbourhood import measure_neighbourhood
from i2r.kernels.nuclei import measure_nuclei
from i2r.kernels.outlines import measure_outlines
from i2r.kernels.texture import N_LEVELS, TEXTURE_COLUMNS, measure_texture
from tests.benchmarks.kernels import Bar, print_bars, simulate_field

DISTANCES = (1, 5, 20)
ANGLES = (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
STEP = 5
RADIUS = 76.0


def measure_by_nucleus(
    image: npt.NDArray[np.uint16], labels: npt.NDArray[np.int32]
) -> list[dict[str, float]]:
    """Measure nuclei in a loop with what scikit-image and SciPy offer."""
    regions = regionprops(labels, image)
    centroids = np.array([region.centroid for region in regions])
    tree = cKDTree(centroids)
    rows = []
    for region, centroid in zip(regions, centroids, strict=True):
        values = region.image_intensity[region.image].astype(float)
        row = {
            "area_px": region.area,
            "major_axis_px": region.axis_major_length,
            "minor_axis_px": region.axis_minor_length,
            "eccentricity": region.eccentricity,
            "solidity": region.solidity,
            "perimeter_px": region.perimeter,
            "calliper_max_px": region.feret_diameter_max,
            "mean": values.mean(),
            "std": values.std(),
            "median": np.median(values),
            "p25": np.percentile(values, 25),
            "p75": np.percentile(values, 75),
            "mad": stats.median_abs_deviation(values),
            "skewness": stats.skew(values),
            "kurtosis": stats.kurtosis(values),
        }
        row |= dict(zip(HU_COLUMNS, region.moments_hu, strict=True))
        for number, moment in enumerate(region.moments_weighted_hu, start=1):
            row[f"stained_hu_{number}"] = moment
        bright = values > values.mean() + HETEROCHROMATIN_DEVIATIONS * values.std()
        row["hc_area_fraction"] = bright.mean()
        row["hc_content_fraction"] = values[bright].sum() / values.sum()
        scaled = (region.image_intensity - values.min()) * (N_LEVELS / np.ptp(values))
        levels = np.minimum(scaled.astype(int), N_LEVELS - 1)
        assert N_BINS == N_LEVELS
        row["entropy"] = shannon_entropy(levels[region.image])
        padded = np.where(region.image, levels + 1, 0).astype(np.uint8)
        counts = graycomatrix(padded, DISTANCES, ANGLES, levels=N_LEVELS + 1, symmetric=True)
        pairs = counts[1:, 1:].sum(axis=3, keepdims=True).astype(float)
        pairs /= np.maximum(pairs.sum(axis=(0, 1)), 1)
        for name in TEXTURE_COLUMNS[:-1]:
            found = graycoprops(pairs, name)[:, 0]
            row |= {f"{name}_{d}": v for d, v in zip(DISTANCES, found, strict=True)}
        contour = max(find_contours(np.pad(region.image, 1), 0.5), key=len)[:-1]
        before, after = np.roll(contour, STEP, axis=0), np.roll(contour, -STEP, axis=0)
        one, two, three = contour - before, after - contour, after - before
        cross = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
        sides = np.prod([np.hypot(*side.T) for side in (one, two, three)], axis=0)
        curvature = 2 * cross / sides
        row["contour_curvature"] = abs(curvature.mean())
        row["contour_curvature_std"] = curvature.std()
        nearest = tree.query(centroid, k=4)[0][1:]
        row["nearest_px"], row["nearest_three_px"] = nearest[0], nearest.mean()
        row["n_near"] = len(tree.query_ball_point(centroid, RADIUS)) - 1
        rows.append(row)
    return rows


def measure_by_field(
    image: npt.NDArray[np.uint16], labels: npt.NDArray[np.int32]
) -> dict[str, npt.NDArray[np.float64]]:
    """Measure the same, and more, with i2r's kernels."""
    columns = measure_nuclei(labels, image[None])
    bbox = np.stack([columns[f"bbox_{edge}"] for edge in ("y0", "x0", "y1", "x1")], axis=1)
    listed = {"label_ids": columns["label"], "bbox": bbox}
    columns |= measure_hu_moments(labels, **listed)
    columns |= measure_outlines(labels, **listed, curvature_step_px=STEP)
    columns |= measure_chromatin(image, labels, **listed)
    columns |= measure_neighbourhood(
        columns["centroid_y_px"], columns["centroid_x_px"], shape=labels.shape, radius_px=RADIUS
    )
    texture = measure_texture(image, labels, **listed, distances_px=DISTANCES)
    for place, distance in enumerate(DISTANCES):
        for number, name in enumerate(TEXTURE_COLUMNS):
            columns[f"{name}_{distance}"] = texture[:, place, number]
    return columns


def compare_values(
    ours: dict[str, npt.NDArray[np.float64]], theirs: list[dict[str, float]]
) -> dict[str, float]:
    """Give the largest relative difference of every measure that both have."""
    names = [name for name in theirs[0] if name in ours]
    found = {}
    for name in names:
        expected = np.array([row[name] for row in theirs])
        scale = np.maximum(np.abs(expected), 1e-6 * np.abs(expected).max())
        found[name] = float((np.abs(ours[name] - expected) / scale).max())
    return found


def main(rounds: int = 5) -> None:
    """Print times, ratio and agreement."""
    image, labels = simulate_field(size_px=540, n_nuclei=40)
    measure_by_field(image, labels)  # compiles
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        theirs = measure_by_nucleus(image, labels)
        middle = time.perf_counter()
        ours = measure_by_field(image, labels)
        times.append((time.perf_counter() - middle, middle - start))
    n = len(theirs)
    ratio = statistics.median(theirs_s / ours_s for ours_s, theirs_s in times)
    for name, place in (("ours", 0), ("scikit-image, per nucleus", 1)):
        print(f"{name:28} {n / statistics.median(t[place] for t in times):10,.0f} nuclei/s")
    differences = compare_values(ours, theirs)
    worst = max(differences, key=lambda name: differences[name])
    print(f"{len(differences)} measures alike, largest relative difference: ", end="")
    print(f"{differences[worst]:.1e} ({worst})")
    print_bars([Bar("features: times scikit-image per nucleus", ratio, 20)])


if __name__ == "__main__":
    main()
