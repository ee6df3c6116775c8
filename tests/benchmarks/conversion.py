"""Conversion against what it can't do without: decode the files, encode the planes, write a file.

Run as ``python -m tests.benchmarks.conversion``; one core, five channels of 1,080 x 1,080 pixels,
LZW TIFF. The floor decodes with the fastest decoder at hand and with tifffile, encodes with the
same codec and writes one plain file per field. A second floor leaves the size of the codec's blocks
to Blosc, as i2r did until 0.2: earlier figures compare with that. The target is 0.6 of the first.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numcodecs.blosc
import numpy as np
import numpy.typing as npt
import tifffile
from imagecodecs import tiff_decode

from i2r.readers.images import read_field
from i2r.store.images import write_image
from i2r.store.shards import PLANES

CHANNELS = ("DNA", "ER", "RNA", "AGP", "Mito")
EDGE_PX = 1080
TARGET = 0.6


class Plane(NamedTuple):
    """One image file, as a row of a reader's table."""

    channel: str
    z: int
    url: str
    page: int


def make_field(rng: np.random.Generator, *, edge_px: int = EDGE_PX) -> npt.NDArray[np.uint16]:
    """Simulate one field: soft blobs on a sloped background, shot noise and read noise."""
    y, x = np.mgrid[:edge_px, :edge_px] / edge_px
    planes = []
    for _ in CHANNELS:
        expected = 120 + 60 * x + 40 * y
        for cy, cx in rng.random((150, 2)):
            top, left = int(cy * edge_px), int(cx * edge_px)
            window = np.s_[max(top - 40, 0) : top + 40, max(left - 40, 0) : left + 40]
            distance = np.hypot(y[window] - cy, x[window] - cx) * edge_px
            expected[window] += rng.uniform(300, 2500) * np.exp(-((distance / 14) ** 4))
        noisy = rng.poisson(expected) + rng.normal(100, 4, expected.shape)
        planes.append(np.clip(noisy, 0, 65535).astype(np.uint16))
    return np.stack(planes)


def write_sources(folder: Path, *, n_fields: int) -> list[list[Plane]]:
    """Write fields as LZW TIFF files, one per channel."""
    rng = np.random.default_rng(0)
    fields = []
    for number in range(n_fields):
        rows = []
        for channel, plane in zip(CHANNELS, make_field(rng), strict=True):
            path = folder / f"B03_s{number}_{channel}.tif"
            tifffile.imwrite(path, plane, compression="lzw")
            rows.append(Plane(channel, 0, str(path), 0))
        fields.append(rows)
    return fields


def convert(rows: list[Plane], target: Path) -> None:
    """Do all that conversion does to a field: check, hash, decode, encode, write OME-Zarr."""
    # As the stage does, which knows from the survey what every field should be.
    expected = (EDGE_PX, EDGE_PX), np.uint16
    image, digests = read_field(rows, channels=CHANNELS, expected=expected)
    image.setflags(write=False)
    write_image(str(target), image, channels=CHANNELS, attributes={"sources": digests})


def convert_barely(
    rows: list[Plane],
    target: Path,
    *,
    read: Callable[[str], npt.NDArray[np.uint16]],
    block_bytes: int = PLANES.block_bytes,
) -> None:
    """Decode, encode with the same codec, and write one plain file."""
    codec = numcodecs.blosc.Blosc(
        cname=PLANES.name, clevel=PLANES.level, shuffle=1, blocksize=block_bytes
    )
    with open(target, "wb") as file:
        for row in rows:
            file.write(codec.encode(read(row.url)))


def decode(path: str) -> npt.NDArray[np.uint16]:
    """Decode with libtiff, the fastest for LZW."""
    plane: npt.NDArray[np.uint16] = tiff_decode(Path(path).read_bytes())
    return plane


def measure(n_fields: int, n_rounds: int) -> dict[str, float]:
    """Give the best seconds of the processor per field of each way, rounds alternating between the ways."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        fields = write_sources(base, n_fields=n_fields)
        ways: dict[str, Callable[[list[Plane], Path], None]] = {
            "i2r": convert,
            "floor, libtiff": lambda rows, target: convert_barely(rows, target, read=decode),
            "floor of before": lambda rows, target: convert_barely(
                rows, target, read=decode, block_bytes=0
            ),
            "floor, tifffile": lambda rows, target: convert_barely(
                rows, target, read=tifffile.imread
            ),
        }
        best = dict.fromkeys(ways, float("inf"))
        for turn in range(n_rounds):
            for name, way in ways.items():
                start = time.process_time()
                for number, rows in enumerate(fields):
                    way(rows, base / f"{name}-{turn}-{number}")
                best[name] = min(best[name], (time.process_time() - start) / n_fields)
    return best


def main() -> None:
    """Measure and print; ends with 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    seconds = measure(options.fields, options.rounds)
    for name, value in seconds.items():
        print(f"{name:16s} {value * 1e3:7.1f} ms/field {1 / value:6.1f} fields/s")
    ratio = seconds["floor, libtiff"] / seconds["i2r"]
    print(f"speed against the floor with libtiff {ratio:.2f} (target {TARGET})")
    before = seconds["floor of before"] / seconds["i2r"]
    print(f"speed against that floor with Blosc's own blocks, as of before {before:.2f}")
    print(
        f"speed against the floor with tifffile {seconds['floor, tifffile'] / seconds['i2r']:.2f}"
    )
    raise SystemExit(ratio < TARGET)


if __name__ == "__main__":
    main()
