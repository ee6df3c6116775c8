"""Text files of the user's, read up to a bound: tables, YAML and JSON, plain or gzip.

A few bytes can stand for any amount: gzip of zeros, aliases of aliases in YAML, brackets in
brackets. Everything here says so in one line instead of taking all memory.
"""

import json
import os
import re
import stat
from collections.abc import Mapping
from typing import Any

import yaml

from i2r.errors import InputError
from i2r.store import files
from i2r.store.packed import unpack

# A layout of a million wells is a tenth of it.
TABLE_BYTES = 2**29
# A pipeline that lists every well of a hundred plates is a quarter of it.
YAML_BYTES = 2**20
# The metadata of a Zarr node: a plate of 1,536 wells takes 100 kB.
JSON_BYTES = 2**26
# Of YAML, counted after aliases were followed, and levels of lists and mappings in each other.
MOST_NODES, MOST_LEVELS = 100_000, 50

_PIECE = 2**20
_PAIR = re.compile(rb"(?<!\\)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_bounded(url: str, *, where: str, limit_bytes: int = TABLE_BYTES) -> bytes:
    """Read a file whole, unpacked where it is gzip, but never more than a bound.

    Parameters
    ----------
    url
        The file.
    where
        What to call it in messages.
    limit_bytes
        The most that is read, and the most that it may be when unpacked.

    Raises
    ------
    FileNotFoundError
        If there is none.
    InputError
        If it is larger, is not a regular file, or is damaged gzip.
    """
    if files.is_local(url) and not stat.S_ISREG(os.stat(files.local_path(url)).st_mode):
        if os.path.isdir(files.local_path(url)):
            raise IsADirectoryError(f"{where}: is a folder")
        raise InputError(f"{where}: found a device or a pipe, expected a file. Copy it to a disk.")
    pieces, n_bytes = list[bytes](), 0
    with files.open_file(url) as file:
        while n_bytes <= limit_bytes and (piece := file.read(_PIECE)):
            pieces.append(piece)
            n_bytes += len(piece)
    if n_bytes > limit_bytes:
        raise InputError(
            f"{where}: more than {limit_bytes} bytes, expected at most that. Check it, or cut it "
            "into several."
        )
    return unpack(b"".join(pieces), where, limit_bytes=limit_bytes)


def read_yaml(url: str, *, where: str) -> object:
    """Read a YAML file as plain values.

    Raises
    ------
    FileNotFoundError
        If there is none.
    InputError
        If it is no YAML, or stands for more than `MOST_NODES` values or `MOST_LEVELS` levels.
    """
    return parse_yaml(read_bounded(url, where=where, limit_bytes=YAML_BYTES), where=where)


def parse_yaml(data: bytes, *, where: str) -> object:
    """Read plain values from YAML; see `read_yaml`."""
    # JSON writes what is beyond 16 bits, such as an emoji, as two halves; YAML knows none.
    data = _PAIR.sub(_join_pair, data)
    try:
        _check_yaml(data, where)
        return yaml.load(data, Loader=_Loader)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None)
        if problem is None:
            unread = isinstance(error, UnicodeDecodeError | yaml.reader.ReaderError)
            problem = "not text in UTF-8" if unread else str(error).splitlines()[0][:120]
        raise InputError(f"{where}{line}: no valid YAML: {problem}. Correct it.") from error


def _join_pair(match: re.Match[bytes]) -> bytes:
    high, low = int(match[1], 16), int(match[2], 16)
    return f"\\U{0x10000 + ((high - 0xD800) << 10) + low - 0xDC00:08x}".encode()


def _check_yaml(data: bytes, where: str) -> None:
    """Count what YAML stands for from its events, before any value is made."""
    sizes: dict[str | None, int] = {}
    # The collections that are open: anchor, and how many nodes are in it so far.
    open_: list[tuple[str | None, int]] = [(None, 0)]

    def add(n_nodes: int) -> None:
        anchor, before = open_[-1]
        open_[-1] = anchor, before + n_nodes
        if before + n_nodes > MOST_NODES:
            raise InputError(
                f"{where}: stands for more than {MOST_NODES} values, expected a short list of "
                "options. Write it without aliases, or put long lists into files."
            )

    for event in yaml.parse(data, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, 1))
            if len(open_) > MOST_LEVELS:
                raise InputError(
                    f"{where} line {_find_line(event)}: more than {MOST_LEVELS} levels of "
                    "lists and mappings in each other. Correct it."
                )
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, n_nodes = open_.pop()
            if anchor is not None:
                sizes[anchor] = n_nodes
            add(n_nodes)
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_):
                raise InputError(
                    f"{where} line {_find_line(event)}: {event.anchor!r} holds itself. Correct it."
                )
            add(sizes.get(event.anchor, 1))
        elif isinstance(event, yaml.ScalarEvent):
            if event.anchor is not None:
                sizes[event.anchor] = 1
            add(1)


def _find_line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 0


def parse_json(data: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    ValueError
        If it is none, for whatever reason: levels without end and numbers of thousands of digits
        too.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    if not isinstance(content, Mapping):
        raise ValueError(f"found {type(content).__name__}, expected an object")
    return dict(content)


def read_json(url: str) -> dict[str, Any]:
    """Read a JSON object from a file of at most `JSON_BYTES`.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is none; see `parse_json`.
    """
    try:
        return parse_json(read_bounded(url, where=url, limit_bytes=JSON_BYTES))
    except InputError as error:
        raise ValueError(str(error)) from error
