"""The crop store against one TIFF per nucleus: written, and streamed back.

``python -m tests.benchmarks.crops`` prints rates and bars, of one thread and warm files. The two
ways take turns, so that a busy machine slows both; ratios are medians over the rounds.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile

from i2r.kernels.crops import cut_crops
from i2r.kernels.nuclei import measure_nuclei
from i2r.store.arrays import read_array, write_crops
from tests.benchmarks.kernels import Bar, print_bars, simulate_field

# As many as nine fields of a well of U2OS hold.
PER_WELL = 1000


def make_crops() -> npt.NDArray[np.uint16]:
    """Cut masked crops from simulated fields, shape (nucleus, 1, 64, 64)."""
    found = []
    for seed in range(4):
        image, labels = simulate_field(seed=seed)
        nuclei = measure_nuclei(labels, image[None])
        bbox = np.stack([nuclei[f"bbox_{edge}"] for edge in ("y0", "x0", "y1", "x1")], axis=1)
        found.append(cut_crops(image[None], labels, label_ids=nuclei["label"], bbox=bbox))
    crops = np.concatenate(found)
    return np.resize(crops, (PER_WELL, *crops.shape[1:]))


def write_files(crops: npt.NDArray[np.uint16], folder: Path) -> None:
    """Write one TIFF file per nucleus, as the published pipeline does."""
    folder.mkdir(exist_ok=True)
    for number, crop in enumerate(crops):
        tifffile.imwrite(folder / f"{number}.tif", crop[0])


def read_files(folder: Path) -> npt.NDArray[np.uint16]:
    """Read them back."""
    return np.stack([tifffile.imread(folder / f"{n}.tif") for n in range(PER_WELL)])


def rate_in_turns(
    ours: Callable[[], object], theirs: Callable[[], object], *, n: int, rounds: int = 7
) -> tuple[float, float, float]:
    """Give nuclei per second of both, and the median ratio."""
    times = [(_time(ours), _time(theirs)) for _ in range(rounds)]
    return (
        n / statistics.median(a for a, _ in times),
        n / statistics.median(b for _, b in times),
        statistics.median(b / a for a, b in times),
    )


def _time(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def count_files(folder: Path) -> int:
    """Count the files below a folder."""
    return sum(path.is_file() for path in folder.rglob("*"))


def print_crops(folder: Path) -> list[Bar]:
    """Print writing and reading of whole wells; give the bars."""
    crops = make_crops()
    shard, files = folder / "shard", folder / "files"
    written = rate_in_turns(
        lambda: write_crops(str(shard), crops), lambda: write_files(crops, files), n=PER_WELL
    )
    np.testing.assert_array_equal(read_array(str(shard))[:, 0], read_files(files))
    streamed = rate_in_turns(lambda: read_array(str(shard)), lambda: read_files(files), n=PER_WELL)
    print(f"{'':24} {'ours':>10} {'TIFF files':>10} {'ratio':>7}")
    for name, (ours, theirs, ratio) in (("written", written), ("streamed", streamed)):
        print(f"{name + ', nuclei/s':24} {ours:10,.0f} {theirs:10,.0f} {ratio:7.1f}")
    n_ours, n_theirs = count_files(shard), count_files(files)
    print(f"{'files per well':24} {n_ours:10,} {n_theirs:10,} {n_theirs / n_ours:7.1f}")
    return [
        Bar("crops: written, times TIFF files", written[2], 8),
        Bar("crops: streamed, times TIFF files", streamed[2], 20),
        Bar("crops: files, times fewer", n_theirs / n_ours, 250),
    ]


def main() -> None:
    """Print everything, the bars at the end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print_bars(print_crops(folder))


if __name__ == "__main__":
    main()
