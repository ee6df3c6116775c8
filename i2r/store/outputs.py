"""What the unit at hand reads and writes: noted with checksums, checked and counted.

What it writes is noted with its size, so that loss and change are noticed later.

A unit's result in the ledger lists its files under ``outputs``: path in the experiment, size in
bytes and CRC-32C. Of an array the shard is listed with its size, and the CRC-32C of the array's
``zarr.json``, which holds those of all chunks.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple

import google_crc32c

from i2r.errors import DamageError
from i2r.store.urls import without_secrets

# Name of the list in a unit's result.
OUTPUTS = "outputs"


class Mark(NamedTuple):
    """What a file is known by: its size in bytes, and a CRC-32C."""

    n_bytes: int
    crc32c: int


# What the unit at hand wrote, by URL; nothing outside of units.
_WRITTEN: ContextVar[dict[str, Mark] | None] = ContextVar("written", default=None)
# Asked before the unit at hand writes or removes anything.
_GUARD: ContextVar[Callable[[], None] | None] = ContextVar("guard", default=None)
# What files that the unit at hand reads should be, by URL.
_EXPECTED: ContextVar[Mapping[str, Mark]] = ContextVar("expected", default={})  # noqa: B039

# Shards are noted with their array; the list of a field's label images has several writers.
_UNNOTED = re.compile(r"/(labels/zarr\.json|c(/0)+)$")
_OF_ZARR = re.compile(r"/(zarr\.json|c(/0)+)$")
_PLACES = (
    re.compile(
        r"(?P<base>.*)/plates/(?P<plate>[^/]+)\.ome\.zarr/(?P<row>[A-Z]+)/(?P<column>\d+)(/.*)?"
    ),
    re.compile(
        r"(?P<base>.*)/(nuclei|embeddings)/(.+/)?(?P<plate>[^/]+)\.zarr/(?P<well>[^/.]+)(/.*)?"
    ),
    re.compile(r"(?P<base>.*)/tables/[^/]+/(?P<plate>[^/]+)/(?P<well>[A-Z]+\d+)\.parquet"),
    re.compile(r"(?P<base>.*)/(plates|nuclei|embeddings|illumination|tables|models|networks)/.*"),
)


@contextmanager
def record_outputs(base: str) -> Iterator[dict[str, Mark]]:
    """Collect what `i2r.store` writes in this thread meanwhile, by path below a folder."""
    written: dict[str, Mark] = {}
    found: dict[str, Mark] = {}
    token = _WRITTEN.set(written)
    try:
        yield found
    finally:
        _WRITTEN.reset(token)
        prefix = f"{base.rstrip('/')}/"
        found |= {u.removeprefix(prefix): m for u, m in written.items() if u.startswith(prefix)}


def note_written(url: str, *pieces: bytes) -> None:
    """Note a file that was written whole; for shards see `note_array`."""
    if (written := _WRITTEN.get()) is not None and not _UNNOTED.search(url):
        written[url] = mark_bytes(*pieces)


def note_mark(url: str, mark: Mark) -> None:
    """Note a file by what it is known by."""
    if (written := _WRITTEN.get()) is not None and not _UNNOTED.search(url):
        written[url] = mark


def note_array(url: str, shard: str, n_bytes: int) -> None:
    """Note an array by its shard's size, and by its description, which holds the checksums."""
    if (written := _WRITTEN.get()) is not None:
        written[f"{url}/{shard}"] = Mark(n_bytes, written.pop(f"{url}/zarr.json").crc32c)


def is_of_array(path: str) -> bool:
    """Tell whether a path is the shard or the description of an array, or of a group."""
    return _OF_ZARR.search(path) is not None


def note_removed(url: str) -> None:
    """Forget a file, or a folder with all that was noted in it."""
    if (written := _WRITTEN.get()) is not None:
        for known in [u for u in written if u == url or u.startswith(f"{url}/")]:
            del written[known]


@contextmanager
def guard_writes(check: Callable[[], None]) -> Iterator[None]:
    """Have something checked whenever this thread is about to write or remove a file."""
    token = _GUARD.set(check)
    try:
        yield
    finally:
        _GUARD.reset(token)


def check_guard() -> None:
    """Check what `guard_writes` was given; nothing outside of units."""
    if (check := _GUARD.get()) is not None:
        check()


@contextmanager
def expect(marks: Mapping[str, Mark]) -> Iterator[None]:
    """Have files compared with what they should be whenever this thread reads one whole."""
    token = _EXPECTED.set(marks)
    try:
        yield
    finally:
        _EXPECTED.reset(token)


def check_read(url: str, data: bytes) -> None:
    """Compare what was read with what is expected of it.

    Raises
    ------
    DamageError
        If it is something else.
    """
    expected = _EXPECTED.get().get(url)
    if expected is not None and mark_bytes(data) != expected:
        raise damaged(url, "its content is not what was written")


@dataclass
class Traffic:
    """Bytes of files read and written, and the seconds that took."""

    read_bytes: int = 0
    read_s: float = 0.0
    written_bytes: int = 0
    write_s: float = 0.0


# A unit runs in one thread; others (the run lock's heartbeat) have a context of their own.
_TRAFFIC: ContextVar[Traffic | None] = ContextVar("traffic", default=None)


@contextmanager
def measure_traffic() -> Iterator[Traffic]:
    """Count what `i2r.store.files` reads and writes whole in this thread meanwhile."""
    traffic = Traffic()
    token = _TRAFFIC.set(traffic)
    try:
        yield traffic
    finally:
        _TRAFFIC.reset(token)


def count_read(size_bytes: int, started: float) -> None:
    """Count one file that was read, begun at a time of `time.perf_counter`."""
    if (traffic := _TRAFFIC.get()) is not None:
        traffic.read_bytes += size_bytes
        traffic.read_s += time.perf_counter() - started


def count_write(size_bytes: int, started: float) -> None:
    """Count one file that was written, begun at a time of `time.perf_counter`."""
    if (traffic := _TRAFFIC.get()) is not None:
        traffic.written_bytes += size_bytes
        traffic.write_s += time.perf_counter() - started


def mark_bytes(*pieces: bytes) -> Mark:
    """Give size and CRC-32C of some bytes."""
    checksum = 0
    for piece in pieces:
        checksum = google_crc32c.extend(checksum, bytes(piece))
    return Mark(sum(map(len, pieces)), checksum)


def damaged(url: str, why: str) -> DamageError:
    """Say that a file is not what was written, and which command makes it again."""
    where = without_secrets(url)
    found = next(filter(None, (place.fullmatch(where) for place in _PLACES)), None)
    if found is None:
        advice = "Restore it from a copy"
    else:
        parts = found.groupdict()
        well = parts.get("well") or ""
        if "row" in parts:
            well = f"{parts['row']}{int(parts['column']):02d}"
        name = f" {parts['plate']}/{well}" if well else ""
        advice = f"'i2r repair {parts['base']}{name}' makes it again"
    return DamageError(f"{where}: damaged ({why}). {advice}; look after the disk.")
