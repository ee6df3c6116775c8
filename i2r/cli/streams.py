"""Standard input and output as other programs leave them: closed, or read by one that is gone."""

import errno
import io
import os
import sys
from typing import Any

from i2r.errors import InputError

# A reader that left (`| head`), and a terminal that was closed.
_GONE = (errno.EPIPE, errno.EIO)


class _Output(io.FileIO):
    """Standard output or error; what nobody reads any more is dropped.

    A run must not end because its terminal was closed, and a command has done what it was asked
    for when 'head' has seen enough. Signals can't be left to end the process: Dask's connections
    break too.
    """

    def write(self, data: Any) -> int:
        """Write, or drop the data where the reader is gone."""
        try:
            return super().write(data) or 0
        except OSError as error:
            number = self.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
            # A log that can't be written ends nothing; a result that can't be is an error.
            if number == 1 and error.errno not in _GONE:
                raise InputError(
                    f"standard output: {error.strerror}, expected to write a result there. Free "
                    "some space, or name another file."
                ) from error
            return len(data)


def guard_streams() -> None:
    """Open what was closed, and make output outlive its reader; for the whole process.

    A file that is opened while number 1 or 2 is free would get that number, and whatever is
    printed would go into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout, sys.stderr = _open_output(1, sys.stdout), _open_output(2, sys.stderr)


def _open_output(number: int, before: Any) -> io.TextIOWrapper:
    """Open a standard stream as Python does, but for what it can't encode: that is escaped."""
    raw = _Output(number, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before is not None else None,
        errors="backslashreplace",
        line_buffering=number == 2 or raw.isatty(),
    )


def release_streams() -> int:
    """Write what is still held back; give 2 where it can't be written, as on a full disk."""
    code = 0
    try:
        sys.stdout.flush()
    except InputError as error:
        code = 2
        sys.stderr.write(f"error: {error}\n")
    sys.stderr.flush()
    return code
