"""Planes that this process wrote or read last, decoded.

Where the stages of a well run on one worker after another, what one of them wrote need not be
decoded by the next. Chunks are still read and compared with their checksums, so loss and change
are noticed as ever; only what is proven to be the same is taken from memory. Files on a local disk
that this process wrote and nobody touched since need not be read for that: they have the number,
the size and the times that they had.
"""

import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy.typing as npt
import psutil

MOST_BYTES = 2**28
"""Two wells of nine fields of 1080 x 1080 pixels with four channels and labels, or less ..."""

MEMORY_PART = 16
"""... where that is more than one part in so many of the memory that the process leaves, ..."""

LEAST_FREE = 0.1
"""... and nothing while less than this part of the machine's memory is free."""

ASKED_EVERY_S = 1.0
"""How long an answer holds: asking takes a tenth of a millisecond."""


# Linux gives files the time of its last tick, up to 10 ms ago: changes in one tick look alike.
_TICK_NS = 20_000_000


class Stamp(NamedTuple):
    """What changes when one of some local files does: their devices, numbers, sizes and times."""

    marks: tuple[int, ...]
    newest_ns: int

    def is_settled(self) -> bool:
        """Tell whether the files have been as they are for so long that a change would show."""
        return time.time_ns() > self.newest_ns + _TICK_NS


def read_stamp(*paths: str) -> Stamp | None:
    """Read what some local files are known by; None where one is missing."""
    try:
        found = [os.stat(path) for path in paths]
    except OSError:
        return None
    marks = [(s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in found]
    return Stamp(tuple(n for of_file in marks for n in of_file), max(s.st_ctime_ns for s in found))


class ChunkId(NamedTuple):
    """What a chunk is known by: where it is, and what its compressed bytes are."""

    where: str
    number: int
    n_bytes: int
    crc32c: int


class RecentChunks:
    """The chunks used last, up to a number of bytes; safe to use from several threads.

    Parameters
    ----------
    limit_bytes
        Most bytes of decoded chunks to hold.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._chunks: OrderedDict[ChunkId, npt.NDArray[Any]] = OrderedDict()
        self._wholes: dict[str, tuple[Stamp, npt.NDArray[Any], Sequence[ChunkId]]] = {}
        self._n_bytes = 0
        self._lock = threading.Lock()
        self._asked_s, self._short = -math.inf, False

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        return self._n_bytes

    def fit(self, memory_bytes: int) -> None:
        """Hold no more than suits a process that may use so much memory, beside what it needs."""
        with self._lock:
            self._limit_bytes = min(MOST_BYTES, max(0, memory_bytes) // MEMORY_PART)
            self._shrink()

    def find(self, chunk_id: ChunkId) -> npt.NDArray[Any] | None:
        """Give a decoded chunk, not to be written to; None where it is not held."""
        with self._lock:
            chunk = self._chunks.get(chunk_id)
            if chunk is not None:
                self._chunks.move_to_end(chunk_id)
        return chunk

    def keep(self, chunk_id: ChunkId, chunk: npt.NDArray[Any]) -> None:
        """Hold a decoded chunk; those not used for longest go.

        A chunk that can be written to is copied. One that can't must not change any more.
        """
        if chunk.nbytes > self._limit_bytes:
            return
        if self._is_short():
            self.drop()
            return
        held = chunk.copy() if chunk.flags.writeable else chunk
        held.setflags(write=False)
        with self._lock:
            self._remove(chunk_id)
            self._chunks[chunk_id] = held
            self._n_bytes += held.nbytes
            self._shrink()

    def keep_whole(
        self, chunk_ids: Sequence[ChunkId], array: npt.NDArray[Any], stamp: Stamp | None
    ) -> None:
        """Note of which array chunks are parts that were kept without a copy, and its files."""
        owner = array if array.base is None else array.base
        with self._lock:
            parts = [self._chunks.get(chunk_id) for chunk_id in chunk_ids]
            if stamp is not None and all(p is not None and p.base is owner for p in parts):
                self._wholes[chunk_ids[0].where] = stamp, array, chunk_ids

    def find_whole(self, where: str, stamp: Stamp | None) -> npt.NDArray[Any] | None:
        """Give an array whose files are as they were when it was written; see `keep`."""
        with self._lock:
            known, array, chunk_ids = self._wholes.get(where, (None, None, ()))
            if stamp is None or stamp != known or not stamp.is_settled():
                return None
            for chunk_id in chunk_ids:
                self._chunks.move_to_end(chunk_id)
        return array

    def drop(self) -> None:
        """Hold nothing any more."""
        with self._lock:
            self._chunks.clear()
            self._wholes.clear()
            self._n_bytes = 0

    def _is_short(self) -> bool:
        """Tell whether memory was short when it was last asked for, a second ago or less."""
        now_s = time.monotonic()
        if now_s >= self._asked_s + ASKED_EVERY_S:
            memory = psutil.virtual_memory()
            self._asked_s = now_s
            self._short = memory.available < LEAST_FREE * memory.total
        return self._short

    def _shrink(self) -> None:
        while self._n_bytes > self._limit_bytes:
            self._remove(next(iter(self._chunks)))

    def _remove(self, chunk_id: ChunkId) -> None:
        chunk = self._chunks.pop(chunk_id, None)
        self._wholes.pop(chunk_id.where, None)
        self._n_bytes -= 0 if chunk is None else chunk.nbytes


RECENT = RecentChunks(min(MOST_BYTES, psutil.virtual_memory().total // MEMORY_PART))
"""Of this process."""
