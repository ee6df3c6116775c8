"""How much a unit of work reads and writes, and how long that takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class Traffic:
    """Bytes of files read and written, and the seconds that took."""

    read_bytes: int = 0
    read_s: float = 0.0
    written_bytes: int = 0
    write_s: float = 0.0


# A unit runs in one thread; others (the run lock's heartbeat) have a context of their own.
_CURRENT: ContextVar[Traffic | None] = ContextVar("traffic", default=None)


@contextmanager
def measure_traffic() -> Iterator[Traffic]:
    """Count what `i2r.store.files` reads and writes whole in this thread meanwhile."""
    traffic = Traffic()
    token = _CURRENT.set(traffic)
    try:
        yield traffic
    finally:
        _CURRENT.reset(token)


def count_read(size_bytes: int, started: float) -> None:
    """Count one file that was read, begun at a time of `time.perf_counter`."""
    if (traffic := _CURRENT.get()) is not None:
        traffic.read_bytes += size_bytes
        traffic.read_s += time.perf_counter() - started


def count_write(size_bytes: int, started: float) -> None:
    """Count one file that was written, begun at a time of `time.perf_counter`."""
    if (traffic := _CURRENT.get()) is not None:
        traffic.written_bytes += size_bytes
        traffic.write_s += time.perf_counter() - started
