"""A file that is written piece after piece, and is there, whole, when all of it is written."""

import os
import tempfile
import time
import uuid
from contextlib import suppress
from types import TracebackType
from typing import Self

import google_crc32c

from i2r.store import files
from i2r.store.outputs import Mark, check_guard, count_write, note_mark


class GrowingFile:
    """A file that may be larger than memory, replaced in one step at the end of a with statement.

    Locally its bytes go to a temporary name in the same folder, as with `files.write_bytes`; for
    other file systems to this machine's temporary folder first. After an error nothing is left.

    Parameters
    ----------
    url
        Where to write.
    """

    closed = False

    def __init__(self, url: str) -> None:
        self._url, self._is_local = url, files.is_local(url)
        self._started, self._mark = time.perf_counter(), Mark(0, 0)
        name = f".{uuid.uuid4().hex}.part"
        if self._is_local:
            folder = os.path.dirname(files.local_path(url))
            os.makedirs(folder, exist_ok=True)
        else:
            folder, name = tempfile.gettempdir(), f"i2r-{name[1:]}"
        self._temporary = os.path.join(folder, name)
        self._file = open(self._temporary, "xb")  # noqa: SIM115

    def write(self, data: bytes) -> int:
        """Write the next bytes; after an error nothing, though a writer may still want to end."""
        if self._file.closed:
            return len(data)
        number = self._file.write(data)
        crc32c = google_crc32c.extend(self._mark.crc32c, bytes(data))
        self._mark = Mark(self._mark.n_bytes + number, crc32c)
        return number

    def tell(self) -> int:
        """Count the bytes written so far."""
        return self._mark.n_bytes

    def flush(self) -> None:
        """Nothing: nobody reads it before it is whole."""

    def close(self) -> None:
        """Nothing: the end of the with statement says whether it is whole."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._file.close()
            if kind is None:
                self._put()
        finally:
            with suppress(FileNotFoundError):
                os.unlink(self._temporary)

    def _put(self) -> None:
        check_guard()
        if self._is_local:
            os.replace(self._temporary, files.local_path(self._url))
        else:
            files.upload(self._temporary, self._url)
        count_write(self._mark.n_bytes, self._started)
        note_mark(self._url, self._mark)
