"""Sparse tables of cells by genes: single precision where that is exact, and never twice."""

import gzip
import io
import math
import zlib
from collections.abc import Sequence
from typing import IO, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from i2r.errors import InputError
from i2r.store import files, packed

Counts: TypeAlias = sparse.csc_array
# A small file may declare any size: what is larger is never allocated.
MAX_BYTES = 2**35
# Values that are read at a time.
_BLOCK = 2**22
# A line of a matrix is a few numbers.
_ENTRY_BYTES = 64
_MAX_LINE = 2**16


def check_size(url: str, *shapes: Sequence[int]) -> None:
    """Refuse arrays that take more memory than there is, before any of it is taken."""
    n_bytes = sum(8 * math.prod(map(int, shape)) for shape in shapes)
    if n_bytes > MAX_BYTES:
        raise InputError(
            f"counts {url}: take {n_bytes / 2**30:.3g} GiB as numbers, expected {MAX_BYTES >> 30} "
            "at most. Give a sample of the cells, or only the genes of the interactome."
        )


def compress(values: Any) -> Counts:
    """Turn a table, dense or sparse in any order, into columns of what is not zero."""
    if isinstance(values, np.ndarray):
        return sparse.csc_array(_hold(values))
    made = sparse.csc_array(values)
    made.sum_duplicates()
    return made


def take_columns(values: Counts, columns: Sequence[int]) -> Counts:
    """Take some columns; the same table where they are all of it, in order."""
    if list(columns) == list(range(values.shape[1])):
        return values
    return sparse.csc_array(values[:, list(columns)])


def _hold(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give values in single precision where that is exact, otherwise in double."""
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    # NaN is told apart from numbers later on, by who knows what it stands for.
    is_exact = bool(((single == values) | np.isnan(values)).all())
    return single if is_exact else values.astype(np.float64)


def _read_values(dataset: Any) -> npt.NDArray[Any]:
    """Read values block after block, in single precision as long as that is exact."""
    n = int(dataset.shape[0])
    found = np.empty(n, dtype=np.float32)
    for start in range(0, n, _BLOCK):
        block = _hold(np.asarray(dataset[start : start + _BLOCK]))
        if block.dtype == np.float64 and found.dtype == np.float32:
            found = found.astype(np.float64)
        found[start : start + _BLOCK] = block
    return found


def read_compressed(
    group: Any, kind: Literal["csr", "csc"], shape: tuple[int, ...]
) -> sparse.csr_array | sparse.csc_array:
    """Read a sparse matrix of HDF5 or Zarr: data, indices and indptr.

    Raises
    ------
    ValueError
        If the three contradict each other.
    """
    data = _read_values(group["data"])
    stored = group["indices"]
    indices = np.empty(int(stored.shape[0]), dtype=np.int32)
    for start in range(0, len(indices), _BLOCK):
        block = np.asarray(stored[start : start + _BLOCK])
        if block.size and not 0 <= int(block.min()) <= int(block.max()) < 2**31:
            raise ValueError("an index is out of range")
        indices[start : start + _BLOCK] = block
    indptr = np.asarray(group["indptr"][:])
    if indptr.size and not 0 <= int(indptr.min()) <= int(indptr.max()) <= len(indices):
        raise ValueError("indptr points beyond the values")
    if len(indices) < 2**31:
        # Otherwise SciPy would widen all indices to its type.
        indptr = indptr.astype(np.int32)
    make = sparse.csc_array if kind == "csc" else sparse.csr_array
    matrix = make((data, indices, indptr), shape=shape)
    # Compiled code would write beyond the array where an index is out of range.
    matrix.check_format(full_check=True)
    return matrix


def read_dense(dataset: Any, url: str) -> Counts:
    """Read a dense table of HDF5 or Zarr, some rows at a time."""
    n_rows, n_columns = (int(n) for n in dataset.shape)
    # Reading takes as long as the table is large, whatever is in it.
    check_size(url, (n_rows, n_columns))
    step = max(1, _BLOCK // max(1, n_columns))
    blocks = []
    for start in range(0, n_rows, step):
        blocks.append(sparse.csr_array(_hold(np.asarray(dataset[start : start + step]))))
    if not blocks:
        return sparse.csc_array((n_rows, n_columns), dtype=np.float32)
    return compress(sparse.vstack(blocks, format="csr"))


def count_entries(url: str) -> int:
    """Count the entries that a local matrix of coordinates declares; 0 if it is none."""
    if not url.lower().endswith((".mtx", ".mtx.gz")) or not files.is_local(url):
        return 0
    try:
        with files.open_file(url) as raw:
            stream = gzip.GzipFile(fileobj=raw) if url.lower().endswith(".gz") else raw
            line = stream.readline(_MAX_LINE)
            while line.startswith(b"%"):
                line = stream.readline(_MAX_LINE)
            return int(line.split()[2])
    except (OSError, EOFError, ValueError, IndexError, zlib.error):
        return 0


def read_matrix_market(url: str) -> sparse.csc_array:
    """Read a matrix of coordinates as 10x writes it; SciPy's parser can crash on a damaged one.

    Entries come sorted by column from 10x, and are then held once; others are sorted.

    Raises
    ------
    ValueError, OverflowError
        If it is none.
    InputError
        If it is larger than memory or than a packed file may be.
    """
    where = f"counts {url}"
    data = files.read_bytes(url)
    try:
        try:
            return _parse_matrix(_open(data, where), url, is_sorted=True)
        except _NotSorted:
            return _parse_matrix(_open(data, where), url, is_sorted=False)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{where}: damaged gzip file ({error}). Export it again.") from error


class _NotSorted(Exception):
    """Entries are not sorted by column."""


class _Bounded(io.RawIOBase):
    """A stream that is read no further than a packed file may go."""

    def __init__(self, source: IO[bytes], where: str) -> None:
        self.source, self.where, self.n_bytes = source, where, 0
        self.limit_bytes = packed.MAX_BYTES

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes."""
        data = self.source.read(len(buffer))
        self.n_bytes += len(data)
        if self.n_bytes > self.limit_bytes:
            raise InputError(
                f"{self.where}: over {self.limit_bytes} bytes when unpacked, expected a table. "
                "Check it, or cut it into several."
            )
        buffer[: len(data)] = data
        return len(data)


def _open(data: bytes, where: str) -> io.BufferedReader:
    if not data.startswith(b"\x1f\x8b"):
        return io.BufferedReader(io.BytesIO(data))
    return io.BufferedReader(_Bounded(gzip.GzipFile(fileobj=io.BytesIO(data)), where))  # type: ignore[arg-type]


def _allow(stream: io.BufferedReader, n_bytes: int) -> None:
    """Let a packed file be as large as its entries take: they alone are held, not its text."""
    if isinstance(stream.raw, _Bounded):
        stream.raw.limit_bytes = max(stream.raw.limit_bytes, n_bytes)


def _parse_matrix(stream: io.BufferedReader, url: str, *, is_sorted: bool) -> sparse.csc_array:
    words = stream.readline(_MAX_LINE).lower().split()
    if words[:3] != [b"%%matrixmarket", b"matrix", b"coordinate"] or words[4:] != [b"general"]:
        raise ValueError("it does not begin with '%%MatrixMarket matrix coordinate ... general'")
    line = stream.readline(_MAX_LINE)
    while line.startswith(b"%"):
        line = stream.readline(_MAX_LINE)
    n_rows, n_columns, n_entries = map(int, line.split())
    if min(n_rows, n_columns, n_entries) < 0:
        raise ValueError(f"a size below 0 in {line.decode().strip()!r}")
    check_size(url, (n_rows + n_columns,), (n_entries, 2))
    _allow(stream, _ENTRY_BYTES * n_entries)
    if max(n_rows, n_columns) >= 2**31:
        raise ValueError(f"{n_rows} x {n_columns}, at most {2**31 - 1} rows or columns")
    if not n_entries:
        return sparse.csc_array((n_rows, n_columns), dtype=np.float32)
    rows, values = np.empty(n_entries, np.int32), np.empty(n_entries, np.float32)
    columns = np.empty(0 if is_sorted else n_entries, np.int32)
    sizes, last, n_read, n_bad = np.zeros(n_columns, dtype=np.int64), 0, 0, 0
    for table in pd.read_csv(
        stream, sep=r"\s+", header=None, usecols=[0, 1, 2], dtype=np.float64, chunksize=_BLOCK // 4
    ):
        row, column, count = table.to_numpy().T
        inside = (row >= 1) & (row <= n_rows) & (column >= 1) & (column <= n_columns)
        inside &= (row == np.floor(row)) & (column == np.floor(column))
        n_bad += int((~inside).sum())
        part = slice(n_read, n_read + len(table))
        n_read += len(table)
        if n_bad or n_read > n_entries:
            continue
        rows[part] = row - 1
        held = _hold(count)
        if held.dtype == np.float64 and values.dtype == np.float32:
            values = values.astype(np.float64)
        values[part] = held
        if not is_sorted:
            columns[part] = column - 1
        elif column[0] < last or (np.diff(column) < 0).any():
            raise _NotSorted
        last = column[-1]
        sizes += np.bincount(column.astype(np.int64) - 1, minlength=n_columns)
    if n_read != n_entries or n_bad:
        raise ValueError(
            f"{n_read} entries, {n_bad} of them outside the matrix, expected "
            f"{n_entries} in {n_rows} x {n_columns}"
        )
    shape = (n_rows, n_columns)
    if not is_sorted:
        return sparse.csc_array(sparse.coo_array((values, (rows, columns)), shape=shape))
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    indptr = indptr.astype(np.int32) if n_entries < 2**31 else indptr
    made = sparse.csc_array((values, rows, indptr), shape=shape)
    made.sum_duplicates()
    return made
