"""Size and time of files, whatever an object store calls them."""

import hashlib
import os
from datetime import datetime
from typing import IO, Any, NamedTuple


class Stat(NamedTuple):
    """What tells one version of a file from another."""

    size_bytes: int
    mtime_ns: int


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
