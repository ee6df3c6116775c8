"""Headers are read once: again only of files that changed, and never from a damaged table."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from i2r.readers import ReaderOptions, header_cache, planes
from i2r.readers.contents import read_contents
from i2r.readers.pattern import scan
from i2r.store import tables

OPTIONS = ReaderOptions(pattern=r"(?P<well>[A-H]\d\d)_s(?P<field>\d)\.tif$")
Count = Callable[[], int]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "i2r" / "headers"


@pytest.fixture
def count_read(monkeypatch: pytest.MonkeyPatch) -> Count:
    """Count the headers that were read since the last call."""
    read: list[str] = []

    def try_contents(url: str) -> object:
        read.append(url)
        return read_contents(url)

    monkeypatch.setattr(planes, "_try_contents", try_contents)

    def count() -> int:
        n_read = len(read)
        read.clear()
        return n_read

    return count


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    """Ninety-six files that were written a minute ago."""
    folder = tmp_path / "P1"
    folder.mkdir()
    for row in "ABCDEFGH":
        for column in range(1, 13):
            path = folder / f"{row}{column:02}_s1.tif"
            tifffile.imwrite(path, np.full((8, 9), column, np.uint16), resolution=(2e4, 2e4),
                             resolutionunit="CENTIMETER")  # fmt: skip
            status = path.stat()
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - 60 * 10**9))
    return folder


def test_a_second_scan_reads_what_changed_alone(
    plate: Path, cache: Path, count_read: Count
) -> None:
    first = scan(str(plate), OPTIONS)
    assert count_read() == 96
    again = scan(str(plate), OPTIONS)
    assert count_read() == 0
    pd.testing.assert_frame_equal(again.images, first.images)
    assert set(again.images["pixel_size_um"]) == {0.5}
    assert again.notes == first.notes
    tifffile.imwrite(plate / "B02_s1.tif", np.zeros((10, 9), np.uint8))
    (plate / "C03_s1.tif").unlink()
    images = scan(str(plate), OPTIONS).images
    assert count_read() == 1
    changed = images.set_index("well").loc["B02"]
    assert (changed["height_px"], changed["dtype"]) == (10, "uint8")
    assert len(images) == 95
    # It was written just now, and may be written again.
    scan(str(plate), OPTIONS)
    assert count_read() == 1


@pytest.mark.parametrize("spoil", ["cut", "other format", "other columns", "nonsense", "folder"])
def test_a_damaged_table_is_not_believed(
    plate: Path, cache: Path, count_read: Count, spoil: str
) -> None:
    first = scan(str(plate), OPTIONS)
    (path,) = cache.iterdir()
    table = tables.read_table(str(path))
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif spoil == "other format":
        tables.write_table(str(path), table, metadata={"format": -1})
    elif spoil == "other columns":
        tables.write_table(str(path), table[["url"]], metadata={"format": header_cache.FORMAT})
    elif spoil == "nonsense":
        spoiled = table.assign(contents="[[],[1]]")
        tables.write_table(str(path), spoiled, metadata={"format": header_cache.FORMAT})
    else:
        path.unlink()
        path.mkdir()
    count_read()
    pd.testing.assert_frame_equal(scan(str(plate), OPTIONS).images, first.images)
    assert count_read() == 96


def test_where_nothing_can_be_written_headers_are_read(
    plate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count_read: Count
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        scan(str(plate), OPTIONS)
        assert count_read() == 96


def test_small_sources_leave_nothing_behind(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "P1"
    folder.mkdir()
    tifffile.imwrite(folder / "A01_s1.tif", np.zeros((8, 9), np.uint16))
    scan(str(folder), OPTIONS)
    assert not cache.exists()


def test_tables_that_nobody_used_are_removed(plate: Path, cache: Path) -> None:
    scan(str(plate), OPTIONS)
    old = cache / "old.parquet"
    old.write_bytes(b"")
    os.utime(old, (0, 0))
    tifffile.imwrite(plate / "A01_s1.tif", np.zeros((9, 9), np.uint16))
    scan(str(plate), OPTIONS)
    assert not old.exists()
    assert len(list(cache.iterdir())) == 1
