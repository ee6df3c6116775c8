"""Sources that would hang a reader, or take all memory, end in one line."""

import json
import re
import struct
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from i2r.errors import FieldError, InputError
from i2r.readers import images, omezarr, pattern, pattern_search
from i2r.readers.contents import read_contents
from i2r.readers.sources import ReaderOptions
from i2r.store.arrays import write_array


def write_loop(path: Path, n_pages: int, *, back_to: int, bigtiff: bool = False) -> None:
    """Write a TIFF file whose last page is followed by an earlier one."""
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as file:
        for _ in range(n_pages):
            file.write(np.ones((4, 5), np.uint16), contiguous=False, photometric="minisblack")
    with tifffile.TiffFile(path) as tiff:
        offsets = [page.offset for page in tiff.pages]
    data = bytearray(path.read_bytes())
    count, entry, kind = ("<Q", 20, "<Q") if bigtiff else ("<H", 12, "<I")
    n_tags = struct.unpack_from(count, data, offsets[-1])[0]
    at = offsets[-1] + struct.calcsize(count) + entry * n_tags
    struct.pack_into(kind, data, at, offsets[back_to])
    path.write_bytes(data)


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize(("n_pages", "back_to"), [(2, 0), (3, 2), (120, 101)])
def test_tiff_directories_in_a_loop(
    tmp_path: Path, n_pages: int, back_to: int, bigtiff: bool
) -> None:
    path = tmp_path / "loop.tif"
    write_loop(path, n_pages, back_to=back_to, bigtiff=bigtiff)
    with pytest.raises(FieldError, match=r"truncated: .*loop"):
        read_contents(str(path))
    with pytest.raises(FieldError, match=r"truncated: .*loop"):
        images.read_plane(str(path), page=1)
    # The first page is whole, and nobody follows the others for it.
    assert images.read_plane(str(path)).shape == (4, 5)


def test_pages_in_a_row_are_no_loop(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((150, 4, 5), np.uint8), photometric="minisblack")
    assert len(read_contents(str(tmp_path / "a.tif")).series[0].planes) == 150
    assert images.read_plane(str(tmp_path / "a.tif"), page=149).shape == (4, 5)


def test_pattern_that_backtracks_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pattern_search, "SEARCH_S", 0.2)
    (tmp_path / f"{'x' * 60}.tif").write_bytes(b"")
    options = ReaderOptions(pattern=r"(?P<well>(x+)+)y")

    def scan(source: str = str(tmp_path), read: Any = pattern.scan) -> None:
        with pytest.raises(InputError, match=r"pattern '.*': still at the name 'xxx.*after 0\.2 s"):
            read(source, options)

    scan()
    # Where nothing can be interrupted: a notebook's or a server's thread.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(scan).result()
    image = tmp_path / f"{'x' * 60}.zarr"
    write_array(f"{image}/0", np.zeros((1, 4, 5), np.uint8), chunk=(1, 4, 5), axes=("c", "y", "x"))
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space"} for n in "yx")]
    multiscales = [{"axes": axes, "datasets": [{"path": "0"}]}]
    ome = {"ome": {"version": "0.5", "multiscales": multiscales}}
    document = {"zarr_format": 3, "node_type": "group", "attributes": ome}
    (image / "zarr.json").write_text(json.dumps(document))
    scan(str(image), omezarr.scan)


def test_a_slow_pattern_in_another_thread_ends_that_search_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pattern_search, "SEARCH_S", 0.2)
    slow, quick = re.compile(r"(x+)+y"), re.compile(r"x\d")

    def search() -> list[bool]:
        found = []
        for name in ("a\nx1", "é'x2", "y"):
            found.append(pattern_search.search_name(quick, name) is not None)
            with pytest.raises(InputError):
                pattern_search.search_name(slow, "x" * 60)
        return found

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(search).result() == [True, True, False]


def test_pattern_in_another_thread(tmp_path: Path) -> None:
    (tmp_path / "A01.tif").write_bytes(b"")
    found: list[int] = []
    options = ReaderOptions(pattern=r"(?P<well>[A-P]\d\d)")

    def scan() -> None:
        found.append(len(pattern.scan(str(tmp_path), options).images))

    thread = threading.Thread(target=scan)
    thread.start()
    thread.join()
    assert found == [1]


@pytest.mark.parametrize(
    "shape", [[10**9, 1, 1, 8, 8], [1, 10**9, 1, 8, 8], [1, 1, 10**9, 8, 8], [1, 1, 10**400, 8, 8]]
)
def test_zarr_array_of_endless_planes(tmp_path: Path, shape: list[int]) -> None:
    def write(folder: Path, content: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "zarr.json").write_text(json.dumps(content))

    def group(ome: object) -> object:
        return {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}

    plate = tmp_path / "P1.ome.zarr"
    write(plate, group({"plate": {"wells": [{"path": "A/1"}]}}))
    write(plate / "A/1", group({"well": {"images": [{"path": "0"}]}}))
    axes = [{"name": name} for name in "tczyx"]
    scales = [{"axes": axes, "datasets": [{"path": "0"}]}]
    write(plate / "A/1/0", group({"multiscales": scales}))
    write(plate / "A/1/0/0", {"zarr_format": 3, "node_type": "array", "shape": shape})
    with warnings.catch_warnings(), pytest.raises(InputError, match=r"planes|time"):
        omezarr.scan(str(plate), ReaderOptions())
