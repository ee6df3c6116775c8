"""The real plate BBBC013 by features of another program: does the screen rank as with images?

``python -m tests.benchmarks.foreign`` (about three minutes on two cores; reads the folder named by
I2R_DATA). Nuclei are found and measured with SciPy and scikit-image alone, by the textbook and under
CellProfiler's names, and go in as a table: no image, label or kernel of i2r has a part in it. The
ranking is compared with that of the images.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage, stats

from i2r.cluster import ClusterSpec
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.spec import parse_pipeline
from i2r.store.experiment import open_experiment
from tests.benchmarks.bbbc013 import screen_doses, write_layout

SHAPES = {
    "area": "Area", "eccentricity": "Eccentricity", "solidity": "Solidity", "extent": "Extent",
    "perimeter": "Perimeter", "axis_major_length": "MajorAxisLength",
    "axis_minor_length": "MinorAxisLength", "equivalent_diameter_area": "EquivalentDiameter",
    "euler_number": "EulerNumber", "orientation": "Orientation",
    "feret_diameter_max": "MaxFeretDiameter",
}  # fmt: skip
TEXTURES = {
    "contrast": "Contrast", "correlation": "Correlation", "ASM": "AngularSecondMoment",
    "homogeneity": "InverseDifferenceMoment", "dissimilarity": "DifferenceAverage",
}  # fmt: skip
GREY_LEVELS = 16
DISTANCE_PX = 2
RINGS = 4


class Agreement(NamedTuple):
    """How alike two rankings of the same conditions are.

    Attributes
    ----------
    scores, p_values
        Spearman's correlation over conditions.
    both, images, foreign
        Conditions called by both, by the images alone, by the table alone.
    """

    scores: float
    p_values: float
    both: frozenset[str]
    images: frozenset[str]
    foreign: frozenset[str]


def find_nuclei(image: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Label nuclei by the textbook: Otsu, distances, watershed."""
    from skimage.feature import peak_local_max
    from skimage.filters import gaussian, threshold_otsu
    from skimage.morphology import remove_small_objects
    from skimage.segmentation import clear_border, watershed

    smooth = gaussian(image, 1.5, preserve_range=True)
    inside = ndimage.binary_fill_holes(smooth > threshold_otsu(smooth))
    inside = remove_small_objects(inside, max_size=60)
    distance = gaussian(ndimage.distance_transform_edt(inside), 1)
    seeds = np.zeros(image.shape, np.int32)
    peaks = peak_local_max(distance, min_distance=6, labels=ndimage.label(inside)[0])
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return np.asarray(clear_border(watershed(-distance, seeds, mask=inside)), np.int32)


def measure_field(channels: dict[str, npt.NDArray[Any]]) -> pd.DataFrame:
    """Measure the nuclei of a field: shape, and intensity and texture by channel."""
    from skimage.feature import graycomatrix, graycoprops
    from skimage.measure import regionprops

    rows = []
    scale = {name: 255 / max(int(image.max()), 1) for name, image in channels.items()}
    for region in regionprops(find_nuclei(channels["DNA"])):
        y, x = region.centroid
        row = {"ObjectNumber": region.label, "Location_Center_X": x, "Location_Center_Y": y}
        row |= {f"AreaShape_{name}": getattr(region, what) for what, name in SHAPES.items()}
        row["AreaShape_FormFactor"] = 4 * np.pi * region.area / max(region.perimeter, 1) ** 2
        for name, image in channels.items():
            crop = image[region.slice]
            values = crop[region.image].astype(float)
            low, middle, high = np.percentile(values, (25, 50, 75))
            row |= {
                f"Intensity_MeanIntensity_{name}": values.mean(),
                f"Intensity_StdIntensity_{name}": values.std(),
                f"Intensity_IntegratedIntensity_{name}": values.sum(),
                f"Intensity_MinIntensity_{name}": values.min(),
                f"Intensity_MaxIntensity_{name}": values.max(),
                f"Intensity_LowerQuartileIntensity_{name}": low,
                f"Intensity_MedianIntensity_{name}": middle,
                f"Intensity_UpperQuartileIntensity_{name}": high,
                f"Intensity_MADIntensity_{name}": np.median(np.abs(values - middle)),
            }
            row |= measure_rings(crop, region.image, name)
            # Level 0 stands for what is outside, and its pairs are left out.
            grey = 1 + (crop * scale[name] * (GREY_LEVELS - 1) / 256).astype(np.uint8)
            pairs = graycomatrix(
                np.where(region.image, grey, 0).astype(np.uint8), [DISTANCE_PX],
                [0, np.pi / 2], levels=GREY_LEVELS + 1, symmetric=True,
            )[1:, 1:]  # fmt: skip
            total = np.maximum(pairs.sum(axis=(0, 1), keepdims=True), 1)
            for what, said in TEXTURES.items():
                row[f"Texture_{said}_{name}_{DISTANCE_PX}"] = graycoprops(
                    pairs / total, what
                ).mean()
        dna, gfp = (channels[name][region.slice][region.image] for name in ("DNA", "GFP"))
        row["Correlation_Correlation_DNA_GFP"] = _correlate(dna, gfp)
        rows.append(row)
    return pd.DataFrame(rows)


def measure_rings(
    crop: npt.NDArray[Any], inside: npt.NDArray[np.bool_], name: str
) -> dict[str, float]:
    """Measure how the stain lies from the middle to the rim, as CellProfiler's rings do."""
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    ring = np.minimum((RINGS * (1 - depth / depth.max())).astype(int), RINGS - 1)[inside]
    values = crop[inside].astype(float)
    light = np.bincount(ring, values, RINGS) / max(values.sum(), 1)
    area = np.bincount(ring, minlength=RINGS) / values.size
    y, x = np.nonzero(inside)
    weight = values / max(values.sum(), 1)
    found = {
        f"Intensity_MassDisplacement_{name}": float(
            np.hypot(y @ weight - y.mean(), x @ weight - x.mean())
        ),
        f"Intensity_MeanIntensityEdge_{name}": values[depth[inside] <= 1].mean(),
    }
    for number in range(RINGS):
        said = f"{name}_{number + 1}of{RINGS}"
        found[f"RadialDistribution_FracAtD_{said}"] = light[number]
        found[f"RadialDistribution_MeanFrac_{said}"] = light[number] / max(area[number], 1e-9)
    return found


def _correlate(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    varies = one.std() > 0 and other.std() > 0
    return float(np.corrcoef(one, other)[0, 1]) if varies else 0.0


def write_table(data: Path, target: Path) -> None:
    """Measure all wells and write CellProfiler's kind of table, one row per nucleus.

    Parameters
    ----------
    data
        The folder ``bbbc013_u2os_plate``.
    target
        A CSV file.
    """
    from skimage.io import imread

    parts = []
    for well in pd.read_csv(data / "platemap.csv").itertuples():
        names = {"DNA": well.file_dna, "GFP": well.file_gfp}
        found = measure_field({c: imread(data / "images" / name) for c, name in names.items()})
        found.insert(0, "Metadata_Well", well.well)
        parts.append(found)
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "Metadata_Plate", "BBBC013")
    table.insert(0, "ImageNumber", pd.factorize(table["Metadata_Well"])[0] + 1)
    table.to_csv(target, index=False)


def screen_foreign(data: Path, folder: Path, *, controls: int = 16) -> Path:
    """Screen the plate on the table, from the layout and the table alone.

    Returns
    -------
    Path
        The experiment.
    """
    write_table(data, folder / "Nuclei.csv")
    write_layout(data, folder / "table-layout.csv", controls=controls)
    stages = [
        {
            "stage": "features", "method": "import", "table": str(folder / "Nuclei.csv"),
            "layout": str(folder / "table-layout.csv"),
        },
        {"stage": "screen", "method": "fast", "n_folds": 3},
        "report",
    ]  # fmt: skip
    pipeline = parse_pipeline({"seed": 1, "stages": stages}, where="benchmark")
    url = str(folder / "foreign")
    summary = run_pipeline(pipeline, url, cluster=ClusterSpec(), style="plain")
    if summary.exit_code:
        raise RuntimeError(f"the run ended with {summary.failed or summary.stopped}")
    return Path(url)


def compare(images: pd.DataFrame, foreign: pd.DataFrame) -> Agreement:
    """Compare two rankings by condition."""
    ours, theirs = (
        ranking[ranking["kind"] != "control_draw"].set_index("condition")
        for ranking in (images, foreign)
    )
    theirs = theirs.loc[ours.index]
    called, also = (
        frozenset(found.index[found["impactful"].fillna(False).astype(bool)])
        for found in (ours, theirs)
    )
    return Agreement(
        float(stats.spearmanr(ours["score"], theirs["score"]).statistic),
        float(stats.spearmanr(ours["p_value"], theirs["p_value"]).statistic),
        called & also, called - also, also - called,
    )  # fmt: skip


def main() -> None:
    """Print both rankings side by side and how alike they are."""
    root = os.environ.get("I2R_DATA")
    if root is None:
        sys.exit("set I2R_DATA to the folder that holds bbbc013_u2os_plate")
    data = Path(root) / "bbbc013_u2os_plate"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rankings = {
            said: open_experiment(str(make(data, folder))).table("screen")
            for said, make in (("images", screen_doses), ("table", screen_foreign))
        }
    shown = [
        ranking[ranking["kind"] != "control_draw"]
        .set_index("condition")[["score", "p_value", "impactful"]]
        .add_suffix(f" {said}")
        for said, ranking in rankings.items()
    ]
    print(shown[0].join(shown[1]).round(4).to_string())
    found = compare(rankings["images"], rankings["table"])
    print(f"rank correlation of scores {found.scores:.2f}, of p-values {found.p_values:.2f}")
    print(f"called by both {len(found.both)}")
    print(f"by the images alone: {', '.join(sorted(found.images)) or 'none'}")
    print(f"by the table alone: {', '.join(sorted(found.foreign)) or 'none'}")


if __name__ == "__main__":
    main()
