"""Files of the user's that are compressed: unpacked up to a bound and never beyond."""

import gzip
import io
import struct
import zlib

import psutil

from i2r.errors import InputError

# A kilobyte of gzip can stand for a megabyte, a gigabyte for all memory. A table takes several
# times its text, so an eighth of this machine's memory, and 2 GiB on a small one.
MAX_BYTES = max(2**31, psutil.virtual_memory().total // 8)
_PIECE = 2**20
# Of a MATLAB file, versions 5 to 7: its header, and the type of an element that is compressed.
_MAT_HEADER, _MAT_COMPRESSED = 128, 15


def unpack(data: bytes, where: str, *, limit_bytes: int | None = None) -> bytes:
    """Give the content of a file that may be compressed with gzip.

    Parameters
    ----------
    data
        The file's bytes; without gzip's first two they are the content.
    where
        What to call the file in messages.
    limit_bytes
        The most that it may be when unpacked; None for `MAX_BYTES`.

    Raises
    ------
    InputError
        If it is damaged, or larger than that when unpacked: nothing beyond is.
    """
    limit_bytes = MAX_BYTES if limit_bytes is None else min(limit_bytes, MAX_BYTES)
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            content = file.read(limit_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{where}: damaged gzip file ({error}). Export it again.") from error
    if len(content) > limit_bytes:
        raise InputError(
            f"{where}: over {limit_bytes} bytes when unpacked, expected a table. Check it, or cut "
            "it into several."
        )
    return content


def check_mat(data: bytes) -> None:
    """Refuse a MATLAB file whose compressed elements are more than `MAX_BYTES` when unpacked.

    Raises
    ------
    ValueError
        If they are. Damaged files pass: their reader says what is wrong with them.
    """
    order = "<" if data[126:_MAT_HEADER] == b"IM" else ">"
    at, n_bytes = _MAT_HEADER, 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        unpacker, packed = zlib.decompressobj(), data[at + 8 : at + 8 + size]
        while kind == _MAT_COMPRESSED and packed:
            try:
                n_bytes += len(unpacker.decompress(packed, _PIECE))
            except zlib.error:
                return
            if n_bytes > MAX_BYTES:
                raise ValueError(f"over {MAX_BYTES} bytes when unpacked")
            packed = unpacker.unconsumed_tail
        at += 8 + size
