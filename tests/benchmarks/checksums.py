"""What checksums cost: conversion of a field and reading of a well's crops, with and without.

``python -m tests.benchmarks.checksums``; processor time of one thread, warm files, both ways in
turns. The bar is 3 % of either.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import numpy.typing as npt

from i2r.store import shards
from i2r.store.arrays import read_array, write_crops
from i2r.store.outputs import record_outputs
from tests.benchmarks.conversion import convert, write_sources
from tests.benchmarks.crops import make_crops

BAR_PERCENT = 3.0
NO_CHECKSUM = SimpleNamespace(value=lambda data: 0)


def write_without(url: Path, crops: npt.NDArray[np.uint16]) -> None:
    """Write crops as earlier versions did: no codec crc32c."""
    write_crops(str(url), crops)
    document = json.loads((url / "zarr.json").read_text())
    inside = document["codecs"][0]["configuration"]
    inside["codecs"] = inside["codecs"][:-1]
    document["attributes"] = {}
    shard = shards.encode_shard(crops, tuple(inside["chunk_shape"]), shards.CROPS)
    pieces = shard.pieces[0:-2:2]
    index = np.frombuffer(shard.pieces[-2], "<u8").reshape(-1, 2).copy()
    index[:, 1] = [len(piece) for piece in pieces]
    index[:, 0] = np.cumsum(index[:, 1]) - index[:, 1]
    table = index.tobytes()
    check = shards.google_crc32c.value(table).to_bytes(4, "little")
    (url / "c/0/0/0/0").write_bytes(b"".join([*pieces, table, check]))
    (url / "zarr.json").write_text(json.dumps(document))


def compare(ours: Callable[[], object], bare: Callable[[], object], *, rounds: int) -> float:
    """Give by how many percent the one takes longer: the median over rounds of both in turns."""
    ours(), bare()
    ratios = []
    for number in range(rounds):
        first, second = (ours, bare) if number % 2 else (bare, ours)
        a, b = _time(first), _time(second)
        ratios.append(a / b if number % 2 else b / a)
    return 100 * (statistics.median(ratios) - 1)


def _time(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    """Print both costs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (rows,) = write_sources(folder, n_fields=1)

        def convert_with() -> None:
            with record_outputs(name):
                convert(rows, folder / "field")

        def convert_without() -> None:
            with patch.object(shards, "google_crc32c", NO_CHECKSUM):
                convert(rows, folder / "field")

        crops = make_crops()
        write_crops(str(folder / "with"), crops)
        write_without(folder / "without", crops)
        assert (read_array(f"{folder}/with") == read_array(f"{folder}/without")).all()

        def read(kind: str) -> Callable[[], object]:
            return lambda: [read_array(f"{folder}/{kind}") for _ in range(20)]

        for what, percent in (
            ("conversion", compare(convert_with, convert_without, rounds=41)),
            ("reading crops", compare(read("with"), read("without"), rounds=41)),
        ):
            verdict = "met" if percent <= BAR_PERCENT else "missed"
            print(f"{what}: checksums cost {percent:+.2f} % (bar {BAR_PERCENT:g} %: {verdict})")


if __name__ == "__main__":
    main()
