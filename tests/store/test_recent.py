"""What a worker wrote last is not decoded again, and is never taken for something else."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from i2r.errors import DamageError, FieldError
from i2r.store import arrays, files, recent, shards
from i2r.store.recent import RECENT, ChunkId, RecentChunks


class Memory(NamedTuple):
    """What psutil says, as far as it is asked."""

    total: int
    available: int


@pytest.fixture(autouse=True)
def _begin_with_nothing() -> Iterator[None]:
    RECENT.drop()
    yield
    RECENT.drop()


def write_planes(folder: Path, planes: np.ndarray) -> str:
    url = str(folder / "image")
    arrays.write_array(url, planes, chunk=(1, *planes.shape[1:]), axes=["c", "y", "x"])
    return url


def make_planes(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4000, (2, 30, 40)).astype(np.uint16)


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    decoded: list[int] = []
    before = shards._decompress

    def decompress(piece: bytes, *rest: object) -> object:
        decoded.append(len(piece))
        return before(piece, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(shards, "_decompress", decompress)
    return decoded


def test_what_was_written_is_not_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planes, decoded = make_planes(), count_decoded(monkeypatch)
    url = write_planes(tmp_path, planes)
    whole, part = arrays.read_array(url), arrays.read_array(url, region=(slice(1, 2), slice(3, 9)))
    assert not decoded
    RECENT.drop()
    np.testing.assert_array_equal(whole, arrays.read_array(url))
    assert len(decoded) == 2
    np.testing.assert_array_equal(part, planes[1:2, 3:9])
    np.testing.assert_array_equal(whole, planes)


def test_what_was_read_is_not_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planes, decoded = make_planes(), count_decoded(monkeypatch)
    url = write_planes(tmp_path, planes)
    RECENT.drop()
    arrays.read_array(url)[:] = 0
    np.testing.assert_array_equal(arrays.read_array(url), planes)
    assert len(decoded) == 2


def test_arrays_changed_after_writing_or_reading_change_nothing(tmp_path: Path) -> None:
    planes = make_planes()
    url = write_planes(tmp_path, planes)
    expected = planes.copy()
    planes[:] = 0
    arrays.read_array(url)[:] = 1
    np.testing.assert_array_equal(arrays.read_array(url), expected)


def test_another_content_in_the_same_place_is_read(tmp_path: Path) -> None:
    url = write_planes(tmp_path, make_planes())
    held = dict(RECENT._chunks)
    other = make_planes(1)
    write_planes(tmp_path, other)
    RECENT.drop()
    for chunk_id, chunk in held.items():
        RECENT.keep(chunk_id, chunk)
    np.testing.assert_array_equal(arrays.read_array(url), other)


def test_another_type_in_the_description_is_followed(tmp_path: Path) -> None:
    url = write_planes(tmp_path, make_planes())
    path = tmp_path / "image" / "zarr.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "data_type": "int16"}))
    assert arrays.read_array(url).dtype == np.int16


def test_whoever_only_looks_gets_what_was_written_itself(tmp_path: Path) -> None:
    planes = make_planes()
    planes.setflags(write=False)
    url = write_planes(tmp_path, planes)
    assert arrays.read_array(url, shared=True) is planes
    assert arrays.read_array(url) is not planes
    RECENT.drop()
    # Read from the disk its planes lie apart.
    for _ in range(2):
        np.testing.assert_array_equal(arrays.read_array(url, shared=True), planes)
    single = str(tmp_path / "single")
    arrays.write_array(single, planes[0], chunk=planes.shape[1:], axes=("y", "x"))
    RECENT.drop()
    arrays.read_array(single)
    assert arrays.read_array(single, shared=True) is arrays.read_array(single, shared=True)


def test_damage_to_what_is_held_is_noticed(tmp_path: Path) -> None:
    planes = make_planes()
    planes.setflags(write=False)
    url = write_planes(tmp_path, planes)
    shard = tmp_path / "image" / "c" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(DamageError):
        arrays.read_array(url, shared=True)


def test_files_that_nobody_touched_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "_TICK_NS", 0)
    planes = make_planes()
    planes.setflags(write=False)
    url, opened = write_planes(tmp_path, planes), list[str]()
    before = files.open_file
    monkeypatch.setattr(files, "open_file", lambda url: (opened.append(url), before(url))[1])
    assert arrays.read_array(url, shared=True, shape=planes.shape, dtype="uint16") is planes
    assert not opened
    with pytest.raises(FieldError, match="shape"):
        arrays.read_array(url, shared=True, shape=(3, 30, 40))
    with pytest.raises(FieldError, match="dtype"):
        arrays.read_array(url, shared=True, shape=planes.shape, dtype=np.dtype("int32"))
    # The same bytes in another file are compared with their checksums, others are damage.
    shard = tmp_path / "image" / "c" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    for changed in (0, 1):
        content[100] ^= changed
        copy = shard.with_name("copy")
        copy.write_bytes(bytes(content))
        copy.replace(shard)
        if not changed:
            assert arrays.read_array(url, shared=True, shape=planes.shape) is planes
    assert len(opened) == 1
    with pytest.raises(DamageError):
        arrays.read_array(url, shared=True, shape=planes.shape)
    shard.unlink()
    with pytest.raises(FileNotFoundError):
        arrays.read_array(url, shared=True, shape=planes.shape)


def test_files_changed_a_moment_ago_are_read(tmp_path: Path) -> None:
    chunks, array = RecentChunks(1000), np.zeros(40, np.uint8)
    array.setflags(write=False)
    (tmp_path / "a").write_bytes(b"a")
    stamp = recent.read_stamp(str(tmp_path / "a"))
    assert stamp is not None
    chunk_id = ChunkId("a", 0, 1, 1)
    chunks.keep(chunk_id, array[:])
    chunks.keep_whole([chunk_id], array, stamp)
    assert chunks.find_whole("a", stamp._replace(newest_ns=time.time_ns() + 10**9)) is None
    settled = stamp._replace(newest_ns=0)
    assert chunks.find_whole("a", settled) is None  # another file
    chunks.keep_whole([chunk_id], array, settled)
    assert chunks.find_whole("a", settled) is array
    chunks.keep(ChunkId("b", 0, 1, 1), np.zeros(990, np.uint8))
    assert chunks.find_whole("a", settled) is None


def test_damage_is_noticed_as_ever(tmp_path: Path) -> None:
    url = write_planes(tmp_path, make_planes())
    shard = tmp_path / "image" / "c" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(DamageError):
        arrays.read_array(url)
    shard.unlink()
    with pytest.raises(FileNotFoundError):
        arrays.read_array(url)


def test_it_holds_no_more_than_its_limit() -> None:
    chunks = RecentChunks(100)
    for number in range(5):
        chunks.keep(ChunkId("a", number, 1, 1), np.zeros(40, np.uint8))
        assert chunks.n_bytes <= 100
        chunks.find(ChunkId("a", 0, 1, 1))
    # The one that is used stays.
    held = [chunks.find(ChunkId("a", number, 1, 1)) is not None for number in range(5)]
    assert held == [True, False, False, False, True]
    chunks.keep(ChunkId("a", 9, 1, 1), np.zeros(101, np.uint8))
    assert chunks.find(ChunkId("a", 9, 1, 1)) is None
    chunks.fit(50 * recent.MEMORY_PART)
    assert chunks.n_bytes == 40


def test_it_is_dropped_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = RecentChunks(1000)
    chunks.keep(ChunkId("a", 0, 1, 1), np.zeros(40, np.uint8))
    assert chunks.n_bytes == 40
    monkeypatch.setattr(recent.psutil, "virtual_memory", lambda: Memory(1000, 99))
    monkeypatch.setattr(recent, "ASKED_EVERY_S", 0.0)
    chunks.keep(ChunkId("a", 1, 1, 1), np.zeros(40, np.uint8))
    assert chunks.n_bytes == 0
