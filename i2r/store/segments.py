"""Segments of the ledger: files of JSON lines, one or several for each run, never written again."""

import os
import re
from collections.abc import Iterable
from typing import IO

from i2r.errors import InputError
from i2r.store import files
from i2r.store.documents import parse_json
from i2r.store.unit_result import Entry, check_record

# A segment's place in its run leads the numbers of its lines, in a signed number of 64 bits.
PART_BITS, SLICE_BITS = 32, 48


def append_durably(file: IO[bytes], data: bytes) -> None:
    """Write all bytes to an unbuffered file durably, or none: half a line would hide later ones."""
    start = file.tell()
    view = memoryview(data)
    try:
        while view:
            view = view[file.write(view) or 0 :]
        os.fsync(file.fileno())
    except BaseException:  # Ctrl-C too: what is queued is written again when the run ends
        file.truncate(start)
        file.seek(start)
        raise


def next_slice_number(url: str, run: int, *, first: int, step: int) -> int:
    """Find a free number for a slice's segment: a job that was started again needs another one.

    Parameters
    ----------
    url
        The ledger's folder.
    run
        The run's number.
    first, step
        The slice's own numbers are first, first + step, first + 2 step, ...
    """
    taken = {name.split(".")[1] for number, name in list_segments(url) if number == run}
    number = first
    while f"{number:06d}" in taken:
        number += step
    return number


def list_segments(url: str) -> list[tuple[int, str]]:
    """List (run, file name) of all segments in the order in which they were written."""
    found = []
    for name in sorted(files.list_folder(url)):
        numbers = name.removesuffix(".jsonl").split(".")
        if not name.endswith(".jsonl") or not re.fullmatch(r"[0-9]+", numbers[0]):
            continue
        are_numbers = all(re.fullmatch(r"[0-9]{1,9}", text) for text in numbers)
        if len(numbers) > 3 or not are_numbers or (len(numbers) == 3 and int(numbers[1]) >= 2**15):
            raise InputError(
                f"{url}/{name[:80]}: found a number that no run has, expected a name such as "
                "000007.jsonl. Move it away."
            )
        found.append((int(numbers[0]), name))
    return found


def read_segment(url: str, run: int) -> Iterable[Entry]:
    """Read the events of one segment; a torn last line is ignored, any other bad line is not."""
    # The parts of a run on an object store are numbered in the order of writing, and a later
    # part's lines follow an earlier part's: the part's number leads the line's, and a slice's
    # number leads both. RUN.jsonl, RUN.PART.jsonl, RUN.SLICE.jsonl, RUN.SLICE.PART.jsonl.
    numbers = [int(text) for text in url.rpartition("/")[2].split(".")[1:-1]]
    offset = sum(n << b for n, b in zip(reversed(numbers), (PART_BITS, SLICE_BITS), strict=False))
    try:
        lines = files.read_bytes(url).split(b"\n")
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise InputError(
            f"{url}: can't be read ({error.strerror}), expected a file of the ledger. Ask for the "
            "permission, or move it away to run its units again."
        ) from error
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            record = parse_json(line)
            check_record(record)
            entry = Entry(run=run, line=offset + number, **record)
        except (ValueError, TypeError) as error:
            if number == len(lines):
                return
            raise InputError(
                f"{url} line {number}: no event, the ledger is damaged. Restore the file from a "
                "backup, or move it away to run its units again."
            ) from error
        yield entry
