"""What files' headers said the last time, so that a second 'plan' or 'run' need not read them.

One table per source, in the user's folder for caches (``$XDG_CACHE_HOME/i2r/headers``, or
``~/.cache/i2r/headers``). A file whose size or time has changed is read again. Nothing depends on
the table: without one, or with a damaged one, headers are read.
"""

import json
import os
import time
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from i2r.errors import I2RError
from i2r.readers.contents import Contents, PlaneAt, Series
from i2r.store import files, tables

# Raised when the same file would give other contents.
FORMAT = 3
# Reading fewer headers takes no time.
LEAST_FILES = 64
# A file that has just been written may change again without another time.
SETTLED_S = 10.0
# Tables that nobody used for so long are removed when another is written.
KEPT_DAYS = 90
_COLUMNS = ["url", "size_bytes", "mtime_ns", "contents"]


def recall_contents(source: str, stats: Mapping[str, files.Stat]) -> dict[str, Contents]:
    """Give what is known of files that have not changed since.

    Parameters
    ----------
    source
        Where the files were found; what is known of other sources is not looked at.
    stats
        Size and time of every file as it is now, by URL.
    """
    if len(stats) < LEAST_FILES:
        return {}
    path = _locate(source)
    try:
        table, about = tables.read_table_with_metadata(str(path))
        if about.get("format") != FORMAT or list(table.columns) != _COLUMNS:
            return {}
        # Most files of a plate hold the same.
        kinds = {text: _decode(text) for text in table["contents"].unique()}
        known = {
            str(url): kinds[text]
            for url, size, mtime, text in table.itertuples(index=False, name=None)
            if stats.get(url) == (size, mtime)
        }
        os.utime(path)
    except (OSError, I2RError, ValueError, TypeError, KeyError, RecursionError):
        return {}
    return known


def remember_contents(
    source: str, stats: Mapping[str, files.Stat], contents: Mapping[str, object]
) -> None:
    """Write down what files hold; where that can't be written, nothing happens.

    Parameters
    ----------
    source
        Where the files were found.
    stats
        Size and time of every file, taken before it was read.
    contents
        What each holds, by URL. Errors are left out, files of a set, which depend on others, and
        those that were written just now.
    """
    latest_ns = time.time_ns() - int(SETTLED_S * 1e9)
    rows = [
        (url, *stats[url], _encode(held))
        for url, held in contents.items()
        if isinstance(held, Contents)
        and not any(one.by_companion or one.set_names for one in held.series)
        # Object stores have numbers in place of times, which change with the file.
        and not (files.is_local(url) and stats[url].mtime_ns > latest_ns)
    ]
    if len(rows) < LEAST_FILES:
        return
    path = _locate(source)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        table = pd.DataFrame(rows, columns=_COLUMNS)
        data = tables.encode_table(table, metadata={"format": FORMAT, "source": source})
        temporary = path.with_suffix(f".{os.getpid()}.part")
        temporary.write_bytes(data)
        temporary.replace(path)
        _remove_old(path.parent.iterdir())
    except OSError:
        return


def _locate(source: str) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    name = sha256(files.without_secrets(source).encode(errors="surrogatepass")).hexdigest()[:32]
    return Path(base) / "i2r" / "headers" / f"{name}.parquet"


def _remove_old(paths: Iterable[Path]) -> None:
    for path in paths:
        if time.time() - path.stat().st_mtime > KEPT_DAYS * 86400:
            path.unlink(missing_ok=True)


def _encode(contents: Contents) -> str:
    return json.dumps(contents, separators=(",", ":"))


def _decode(text: str) -> Contents:
    series, shape, *rest = json.loads(text)
    height, width = shape
    found = tuple(_decode_series(*one) for one in series)
    return Contents(found, (int(height), int(width)), *rest)


def _decode_series(
    planes: list[list[Any]],
    unknown: bool,
    axes: str,
    size_um: float,
    at: list[float],
    by: bool,
    height_um: float,
    names: list[str],
) -> Series:
    x, y = at
    return Series(
        tuple(PlaneAt(*p) for p in planes),
        unknown,
        axes,
        size_um,
        (x, y),
        by,
        height_um,
        tuple(names),
    )
