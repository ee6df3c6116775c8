"""Size and time of files, whatever an object store calls them."""

import hashlib
import os
import time
from datetime import datetime
from typing import IO, Any, NamedTuple


class Stat(NamedTuple):
    """What tells one version of a file from another."""

    size_bytes: int
    mtime_ns: int


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


def read_stat(info: dict[str, Any]) -> Stat:
    """Read what fsspec says of a file; see `i2r.store.files.stat`."""
    for key in ("ETag", "etag", "mtime", "LastModified", "updated", "created"):
        if (value := info.get(key)) is not None:
            text = value.isoformat() if isinstance(value, datetime) else str(value)
            digest = hashlib.sha256(text.encode()).digest()
            return Stat(int(info["size"] or 0), int.from_bytes(digest[:8], "little") >> 1)
    return Stat(int(info["size"] or 0), 0)


def is_at(file: IO[bytes], path: str) -> bool:
    """Tell whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except (FileNotFoundError, NotADirectoryError):
        return False
