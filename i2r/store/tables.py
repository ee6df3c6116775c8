"""Tables as Parquet files: written whole, read whole or in part."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from types import SimpleNamespace, TracebackType
from typing import IO, Any, Self

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from i2r.errors import DamageError, InputError
from i2r.store import files
from i2r.store.growing import GrowingFile
from i2r.store.outputs import damaged

GROUP_BYTES = 2**24
"""Rows that are held before they are written, when a table is written part by part."""

Columns = Mapping[str, np.ndarray]
"""A table as columns of equal length by name; those of dtype object hold text."""

# No table is larger than this machine's memory.
MEMORY_BYTES = psutil.virtual_memory().total


def write_table(
    url: str, table: pd.DataFrame | Columns | pa.Table, *, metadata: Mapping[str, Any] | None = None
) -> int:
    """Write a table as one Parquet file, replacing it in one step.

    Parameters
    ----------
    url
        Where to write.
    table
        Columns of one type each; the index is not kept. Of a well's nuclei pandas would take
        longer to make a table than Arrow to write it, so columns are taken as they are too.
    metadata
        Values for the file's own metadata under the key ``i2r`` (JSON).

    Returns
    -------
    int
        The number of bytes written.
    """
    data = encode_table(table, metadata=metadata)
    files.write_bytes(url, data)
    return len(data)


def encode_table(
    table: pd.DataFrame | Columns | pa.Table, *, metadata: Mapping[str, Any] | None = None
) -> bytes:
    """Give the bytes of a Parquet file: equal for equal tables."""
    arrow = to_arrow(table)
    if metadata is not None:
        own = {**(arrow.schema.metadata or {}), b"i2r": json.dumps(dict(metadata)).encode()}
        arrow = arrow.replace_schema_metadata(own)
    return _encode_arrow(arrow)


def holds_table(url: str, table: pd.DataFrame) -> bool:
    """Tell whether a file holds these values, however they were encoded.

    False also where the file is damaged.
    """
    try:
        return bool(_read_arrow(url).equals(to_arrow(table)))
    except DamageError:
        return False


def _encode_arrow(arrow: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(arrow, buffer, **_choose_encoding(arrow.schema))
    return buffer.getvalue()


def _choose_encoding(schema: pa.Schema) -> dict[str, Any]:
    """Choose how columns are written: only of texts a dictionary is worth its time.

    Measurements rarely repeat: without one, a table of nuclei is written in two thirds of the time
    and takes 14 % less space. LZ4 writes a well's nuclei in 0.5 ms and reads them in 0.35, where
    zstd takes 1.0 and 0.9, for a quarter more of a space that is a hundredth of the pixels'.
    """
    texts = []
    for field in schema:
        is_list = pa.types.is_list(field.type) or pa.types.is_large_list(field.type)
        kind = field.type.value_type if is_list else field.type
        if not (pa.types.is_primitive(kind) or pa.types.is_null(kind)):
            texts.append(f"{field.name}.list.element" if is_list else field.name)
    return {"compression": "lz4", "write_page_checksum": True, "use_dictionary": texts}


def to_arrow(table: pd.DataFrame | Columns | pa.Table) -> pa.Table:
    """Give a table as it is written: without its index, the same however it is held."""
    if isinstance(table, pa.Table):
        return table
    if isinstance(table, pd.DataFrame) or not all(map(len, table.values())):
        return pa.Table.from_pandas(pd.DataFrame(table), preserve_index=False, nthreads=1)
    schema = _describe(tuple((name, values.dtype) for name, values in table.items()))
    arrays = [
        pa.array(values, field.type, from_pandas=True)
        for values, field in zip(table.values(), schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


@cache
def _describe(kinds: tuple[tuple[str, np.dtype[Any]], ...]) -> pa.Schema:
    """Give the schema, with what pandas says of it, of a table whose columns are of these types."""
    return to_arrow(
        pd.DataFrame({n: [""] if k.kind == "O" else np.zeros(1, k) for n, k in kinds})
    ).schema


def add_texts(table: pa.Table, texts: Mapping[str, Sequence[str]]) -> pa.Table:
    """Add columns of text to a table, in place of those of the same names."""
    more = to_arrow({name: np.array(values, object) for name, values in texts.items()})
    said = [json.loads(part.schema.metadata[b"pandas"]) for part in (table, more)]
    kept = table.drop_columns([name for name in texts if name in table.column_names])
    said[0]["columns"] = [
        column for column in said[0]["columns"] if column["name"] not in texts
    ] + said[1]["columns"]
    for name in texts:
        kept = kept.append_column(more.schema.field(name), more[name])
    return kept.replace_schema_metadata({b"pandas": json.dumps(said[0]).encode()})


class PartsDifferError(Exception):
    """A part of a table has other types than those that were written before it."""


class Parts:
    """A table that is written part by part, as one file in one step at the end.

    To be used in a with statement. Rows are held up to `GROUP_BYTES`: a smaller table is the same
    file as `write_table` makes, of a larger one there is a row group for each so many.

    Parameters
    ----------
    url
        Where to write.
    """

    def __init__(self, url: str) -> None:
        self._url, self._held, self._n_bytes = url, list[pa.Table](), 0
        self._stack = ExitStack()
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def add(self, part: pd.DataFrame) -> None:
        """Add rows; all parts have the same columns.

        Raises
        ------
        PartsDifferError
            If they have other types than rows that are written already.
        """
        self.add_arrow(to_arrow(part))

    def add_arrow(self, part: pa.Table) -> None:
        """Add rows as Arrow holds them, likewise."""
        self._held.append(part)
        self._n_bytes += part.nbytes
        if self._n_bytes >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        """Write the rows that are held as a row group."""
        arrow = _join(self._held)
        self._held, self._n_bytes = [], 0
        if not arrow.num_rows:
            return
        if self._writer is None:
            file = self._stack.enter_context(GrowingFile(self._url))
            self._writer = pq.ParquetWriter(file, arrow.schema, **_choose_encoding(arrow.schema))
        self._writer.write_table(_fit(arrow, self._writer.schema))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the file; without any rows an empty table; after an error none."""
        if kind is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            if self._writer is None:
                files.write_bytes(self._url, _encode_arrow(_join(self._held)))
                return
            if self._held:
                self._flush()
            self._writer.close()


def _fit(arrow: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give a table the schema of those before it, where values stay what they are."""
    kinds = zip(arrow.schema, schema, strict=False)
    if arrow.column_names != schema.names or any(
        pa.types.is_dictionary(known.type) or own.type not in (known.type, pa.null())
        for own, known in kinds
    ):
        raise PartsDifferError
    return arrow.cast(schema)


def read_table(url: str, *, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table, or some of its columns, from one Parquet file."""
    arrow = _read_arrow(url, columns=list(columns) if columns else None)
    frame: pd.DataFrame = arrow.to_pandas(use_threads=False)
    return frame


def read_arrays(url: str, columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Read some columns of a table as arrays that can't be written to; texts of dtype object."""
    arrow = _read_arrow(url, columns=list(columns))
    return {name: arrow[name].to_numpy() for name in columns}


def read_table_with_lists(url: str) -> pd.DataFrame:
    """Read a table whose columns of lists stay Python's lists; pandas makes arrays of them.

    Equal lists are one object: a layout of a million wells has a few lists of fields.
    """
    arrow = _read_arrow(url)
    lists = [field.name for field in arrow.schema if pa.types.is_list(field.type)]
    frame: pd.DataFrame = arrow.drop_columns(lists).to_pandas(use_threads=False)
    return frame.assign(**{name: _share_lists(arrow[name]) for name in lists})[arrow.column_names]


def _share_lists(column: pa.ChunkedArray) -> list[list[Any] | None]:
    """Give a column's lists, the same object for equal ones."""
    found: list[list[Any] | None] = []
    for chunk in column.chunks:
        known: dict[bytes, list[Any]] = {}
        values = chunk.flatten().dictionary_encode()
        codes = values.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype("<i4")
        sizes = chunk.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        ends = np.cumsum(sizes).tolist()
        missing = chunk.is_null().to_pylist()
        for at, (end, size, is_missing) in enumerate(
            zip(ends, sizes.tolist(), missing, strict=True)
        ):
            if is_missing:
                found.append(None)
                continue
            code = codes[end - size : end].tobytes()
            if code not in known:
                known[code] = chunk[at].as_py()
            found.append(known[code])
    return found


def list_rows(table: pa.Table) -> list[SimpleNamespace]:
    """List the rows of a table, with its columns as attributes; missing floats are NaN."""
    columns = [
        column.to_numpy().tolist() if pa.types.is_floating(column.type) else column.to_pylist()
        for column in table.columns
    ]
    names = table.column_names
    return [
        SimpleNamespace(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)
    ]


def read_columns(url: str) -> list[str]:
    """List the columns of a table without reading any of its values."""
    with files.open_file(url) as file, _parse(file, url) as table:
        return list(table.schema_arrow.names)


def count_rows(url: str) -> int:
    """Count the rows of a table without reading any of its values."""
    with files.open_file(url) as file, _parse(file, url) as table:
        return int(table.metadata.num_rows)


def iterate_table(url: str) -> Iterator[pd.DataFrame]:
    """Read a table row group by row group, at most `GROUP_BYTES` each where i2r merged it."""
    with files.open_file(url) as file, _parse(file, url) as table:
        if not table.num_row_groups:
            yield table.schema_arrow.empty_table().to_pandas()
        for group in range(table.num_row_groups):
            _check_size(table, None, url, n_rows=table.metadata.row_group(group).num_rows)
            try:
                arrow = table.read_row_group(group, use_threads=False)
            except (pa.ArrowException, OSError) as error:
                raise damaged(url, _first_line(error)) from error
            yield arrow.to_pandas(use_threads=False)


def read_table_with_metadata(url: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read a table and the metadata that `write_table` stored with it."""
    arrow = _read_arrow(url)
    own = (arrow.schema.metadata or {}).get(b"i2r", b"{}")
    return arrow.to_pandas(use_threads=False), json.loads(own)


def _read_arrow(url: str, *, columns: list[str] | None = None) -> pa.Table:
    """Read a file without any of Arrow's threads.

    They would take the place of other workers, and a process that ends right after they were
    started is aborted now and then ("terminate called without an active exception").
    """
    with _open(url) as file:
        _check_size(file, columns, url)
        try:
            table = file.read(columns=columns, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise damaged(url, _first_line(error)) from error
    return table.select(columns) if columns is not None else table


def _open(url: str) -> pq.ParquetFile:
    """Open a table, read as a whole; see `_parse`."""
    return _parse(pa.BufferReader(files.read_bytes(url)), url)


def _parse(source: IO[bytes] | pa.BufferReader, url: str) -> pq.ParquetFile:
    """Read what a file says of itself; pages are compared with their checksums when they are read.

    Raises
    ------
    DamageError
        If it is no Parquet file.
    """
    try:
        return pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise damaged(url, _first_line(error)) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def _check_size(
    file: pq.ParquetFile, columns: Sequence[str] | None, url: str, *, n_rows: int | None = None
) -> None:
    """Refuse a table, or so many rows of it, that takes more memory than there is.

    Repeated values pack into nothing.

    Raises
    ------
    InputError
        If what the file says of its rows and types adds up to that much.
    """
    fields = [f for f in file.schema_arrow if columns is None or f.name in columns]
    widths = [_width_bytes(field.type) for field in fields]
    n_rows = file.metadata.num_rows if n_rows is None else n_rows
    n_bytes = n_rows * sum(widths)
    if n_bytes > MEMORY_BYTES:
        raise InputError(
            f"{url}: {n_rows} rows of {len(fields)} columns take "
            f"{n_bytes / 2**30:.3g} GiB, this machine has {MEMORY_BYTES / 2**30:.3g}. Check it, or "
            "cut it into several."
        )


def _width_bytes(kind: pa.DataType) -> int:
    """Give the memory of one value; of text that of a pointer to it."""
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:  # has no fixed width
        return 8


def merge_tables(merges: Mapping[str, Sequence[str]]) -> None:
    """Write merged tables from their parts, of which few are held at once.

    Parameters
    ----------
    merges
        The parts' URLs in order, by the URL of the merged table.
    """
    for url, parts in merges.items():
        try:
            with Parts(url) as merged:
                for part in parts:
                    merged.add_arrow(_read_arrow(part))
        except PartsDifferError:  # numbers are whole in some wells alone, for example
            files.write_bytes(url, _encode_arrow(_join([_read_arrow(part) for part in parts])))


def _join(parts: Sequence[pa.Table]) -> pa.Table:
    """Put parts under each other as `concatenate` does; where types are equal without pandas."""
    filled = [part for part in parts if part.num_rows] or list(parts[:1])
    schemas = [part.schema.with_metadata(_pandas_only(part.schema)) for part in filled]
    is_alike = all(schema.equals(schemas[0], check_metadata=True) for schema in schemas)
    # Of categories, pandas makes texts where parts have others.
    if not is_alike or not filled or any(map(pa.types.is_dictionary, schemas[0].types)):
        return to_arrow(concatenate([part.to_pandas(use_threads=False) for part in filled]))
    joined = pa.concat_tables([part.replace_schema_metadata(None) for part in filled])
    return joined.combine_chunks().replace_schema_metadata(schemas[0].metadata)


def _pandas_only(schema: pa.Schema) -> dict[bytes, bytes]:
    """Give what pandas says of the columns, without what i2r says of one table."""
    return {k: v for k, v in (schema.metadata or {}).items() if k == b"pandas"}


def concatenate(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put the parts of one table under each other, in the given order.

    Empty parts carry the full schema, so a table of empty parts has it too; they are left out
    where other parts hold rows, because pandas would let them decide on column types.
    """
    filled = [part for part in parts if len(part)] or list(parts[:1])
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
