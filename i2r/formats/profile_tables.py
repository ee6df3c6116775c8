"""Features that others computed: tables per nucleus or per well, read once, batch by batch."""

import gzip
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from i2r.errors import InputError
from i2r.formats.profile_columns import ProfileColumns, sort_columns
from i2r.formats.profile_h5ad import read_anndata_batches, read_anndata_columns
from i2r.formats.profile_npz import read_npz_batches, read_npz_columns
from i2r.store import files
from i2r.types import parse_well

Values = npt.NDArray[np.float32]
ROWS_PER_BATCH = 65_536
ENDINGS = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz", ".parquet", ".pq", ".h5ad",
           ".npz")  # fmt: skip
# Rows of text that decide which columns are numbers.
_SAMPLED_ROWS = 2_000


class ProfileTable(NamedTuple):
    """A table of features, described without its values.

    Attributes
    ----------
    url : str
        What the user named.
    urls : tuple of str
        Its files, read one after another.
    columns : ProfileColumns
        What the columns mean.
    """

    url: str
    urls: tuple[str, ...]
    columns: ProfileColumns

    @property
    def stamp(self) -> list[list[int]]:
        """Size and time of every file: equal while the table is the same."""
        return [list(files.stat(url)) for url in self.urls]


class Batch(NamedTuple):
    """Some rows of a table.

    Attributes
    ----------
    places
        One row each: ``plate`` (empty text where the table has none), ``well`` as ``B03``, and
        what else the table has of ``field``, ``nucleus`` (text), ``x``, ``y``, ``count`` (float64).
    values
        Shape (row, feature), float32, in the order of `ProfileColumns.features`.
    """

    places: pd.DataFrame
    values: Values


def open_profiles(url: str) -> ProfileTable:
    """Look at a table's columns.

    Parameters
    ----------
    url
        CSV or TSV (also packed with gzip), Parquet, AnnData (``.h5ad``, needs h5py), or a field of
        DeepProfiler (``PLATE/WELL/SITE.npz``); or a
        folder of such files with the same columns, as of one file per plate.

    Raises
    ------
    InputError
        If there is no such file, it can't be read, or its columns don't say which well a row is
        from.
    """
    urls = [url]
    if not url.lower().endswith(ENDINGS):
        paths = [f.path for f in files.find_files(url, lambda p: p.lower().endswith(ENDINGS))]
        # A table of i2r is a file per plate, beside a folder with the same rows by well.
        merged = {path.removesuffix(".parquet") for path in paths}
        paths = [path for path in paths if path.rpartition("/")[0] not in merged]
        urls = [files.join_url(url, *path.split("/")) for path in paths]
        if not urls:
            raise InputError(
                f"{url}: no table there, expected a file or folder of {', '.join(ENDINGS)}. "
                "Name one."
            )
    found = [sort_columns(*_read_header(each), where=each) for each in urls]
    for each, columns in zip(urls, found, strict=True):
        if (columns.features, columns.places) != (found[0].features, found[0].places):
            differs = sorted({*columns.features} ^ {*found[0].features})[:3]
            raise InputError(
                f"{each}: has other columns than {urls[0]} ({', '.join(differs) or 'their order'})"
                ". Give tables with the same features."
            )
    return ProfileTable(url, tuple(urls), found[0])


def read_batches(table: ProfileTable) -> Iterator[Batch]:
    """Read a table once from beginning to end, never more than a batch in memory."""
    for url in table.urls:
        wanted = [*table.columns.places.values(), *table.columns.features]
        first = _first_row(url)
        for frame in _read_frames(url, wanted):
            values = _to_values(frame, table.columns.features, url=url, first=first)
            yield Batch(_place_rows(frame, table.columns.places, url=url, first=first), values)
            first += len(frame)


def read_places(table: ProfileTable) -> pd.DataFrame:
    """Read of all rows where they are from, and no feature; see `Batch.places`."""
    parts = []
    for url in table.urls:
        first = _first_row(url)
        for frame in _read_frames(url, list(table.columns.places.values())):
            parts.append(_place_rows(frame, table.columns.places, url=url, first=first))
            first += len(frame)
    places = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if not len(places):
        raise InputError(f"{table.url}: no rows. Give one row per nucleus or per well.")
    return places


def _read_header(url: str) -> tuple[list[str], list["np.dtype[np.generic]"]]:
    """List a file's columns and their types."""
    with _explained(url):
        if url.lower().endswith(".h5ad"):
            return read_anndata_columns(url)
        if url.lower().endswith(".npz"):
            return read_npz_columns(url)
        if url.lower().endswith((".parquet", ".pq")):
            with files.open_file(url) as stream, pq.ParquetFile(stream, pre_buffer=False) as file:
                fields = list(file.schema_arrow)
            return [f.name for f in fields], [_to_dtype(f.type) for f in fields]
        with _open_text(url) as stream:
            head = pd.read_csv(stream, nrows=_SAMPLED_ROWS, **_text_options(url))
        return [str(name) for name in head], [np.dtype(_plain_kind(head[n])) for n in head]


def _read_frames(url: str, wanted: list[str]) -> Iterator[pd.DataFrame]:
    """Read some columns of a file, batch by batch."""
    with _explained(url), ExitStack() as stack:
        if url.lower().endswith(".h5ad"):
            yield from read_anndata_batches(url, wanted, rows=ROWS_PER_BATCH)
        elif url.lower().endswith(".npz"):
            yield from read_npz_batches(url, wanted)
        elif url.lower().endswith((".parquet", ".pq")):
            stream = stack.enter_context(files.open_file(url))
            file = stack.enter_context(pq.ParquetFile(stream, pre_buffer=False))
            # Without Arrow's threads, see `i2r.store.tables`.
            batches = file.iter_batches(ROWS_PER_BATCH, columns=wanted, use_threads=False)
            for batch in batches:
                # What pandas says of an index there would take columns away.
                read = pa.Table.from_batches([batch])
                yield read.to_pandas(use_threads=False, ignore_metadata=True)
        else:
            stream = stack.enter_context(_open_text(url))
            yield from pd.read_csv(
                stream, usecols=wanted, chunksize=ROWS_PER_BATCH, low_memory=False,
                **_text_options(url),
            )  # fmt: skip


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn the errors of readers into one line."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"{url}: no such file. Give the path of a table.") from error
    except (pa.ArrowException, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        detail = str(error).strip().splitlines()[0][:150]
        raise InputError(f"{url}: can't be read as a table ({detail}). Export it again.") from error
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise InputError(f"{url}: no table in UTF-8 ({error}). Export it again.") from error


@contextmanager
def _open_text(url: str) -> Iterator[IO[bytes]]:
    with files.open_file(url) as stream:
        if url.lower().endswith(".gz"):
            with gzip.open(stream) as unpacked:
                yield io.BufferedReader(unpacked)
        else:
            yield stream


def _text_options(url: str) -> dict[str, Any]:
    """Find out a text file's separator and decimal mark from its first line."""
    with _open_text(url) as stream:
        header = stream.readline(2**20).decode("utf-8-sig", errors="replace")
    if "\t" in header:
        return {"sep": "\t", "encoding": "utf-8-sig"}
    if ";" in header and "," not in header:  # a spreadsheet that writes 0,5 for a half
        return {"sep": ";", "decimal": ",", "encoding": "utf-8-sig"}
    return {"sep": ",", "encoding": "utf-8-sig"}


def _first_row(url: str) -> int:
    """Number the first row as people see it: below the header in a file of text."""
    return 1 if url.lower().endswith((".h5ad", ".parquet", ".pq", ".npz")) else 2


def _to_dtype(kind: pa.DataType) -> "np.dtype[np.generic]":
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return np.dtype(np.float64)
    return np.dtype(object)


def _plain_kind(column: pd.Series) -> str:
    return column.dtype.kind if column.dtype.kind in "iufb" else "O"


def _place_rows(
    frame: pd.DataFrame, places: dict[str, str], *, url: str, first: int
) -> pd.DataFrame:
    """Say where rows are from; wells are brought into one spelling."""
    made = {"plate": pd.Series("", index=frame.index)}
    for name in ("plate", "well", "field", "nucleus"):
        if name in places:
            made[name] = _to_text(frame[places[name]])
    codes, wells = pd.factorize(made["well"])
    try:
        named = np.array([parse_well(str(well)).name for well in wells], dtype=object)
    except ValueError as error:
        row = next(n for n, well in enumerate(wells) if not _is_well(str(well)))
        line = first + int(np.flatnonzero(codes == row)[0])
        raise InputError(
            f"{url} row {line}, column {places['well']!r}: {error}. Correct the well."
        ) from error
    made["well"] = pd.Series(named[codes], index=frame.index)
    for name in ("x", "y", "count"):
        if name in places:
            numbers = pd.to_numeric(frame[places[name]], errors="coerce")
            made[name] = numbers.astype(np.float64)
    return pd.DataFrame(made).reset_index(drop=True)


def _is_well(text: str) -> bool:
    try:
        parse_well(text)
    except ValueError:
        return False
    return True


def _to_text(column: pd.Series) -> pd.Series:
    """Write names as text: 3.0, which pandas makes of 3 beside a gap, is 3 again."""
    codes, found = pd.factorize(column, use_na_sentinel=True)
    named = [
        f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value).strip()
        for value in found
    ]
    return pd.Series(np.array([*named, ""], dtype=object)[codes], index=column.index)


def _to_values(frame: pd.DataFrame, features: tuple[str, ...], *, url: str, first: int) -> Values:
    """Give the features as numbers; infinite ones count as missing, too large ones are refused."""
    chosen = frame[list(features)]
    try:
        with np.errstate(over="ignore"):  # said below
            values = chosen.to_numpy(dtype=np.float32, na_value=np.nan)
    except (ValueError, TypeError) as error:
        for name in features:
            numbers = pd.to_numeric(chosen[name], errors="coerce")
            bad = np.flatnonzero(numbers.isna() & chosen[name].notna())
            if bad.size:
                raise InputError(
                    f"{url} row {first + int(bad[0])}, column {name!r}: "
                    f"{chosen[name].iloc[bad[0]]!r} is not a number. Correct it, or leave the "
                    "column out."
                ) from error
        raise
    if np.isinf(values).any():
        wide = chosen.to_numpy(dtype=np.float64, na_value=np.nan)
        large = np.argwhere(np.isinf(values) & np.isfinite(wide))
        for row, column in large[:1].tolist():
            raise InputError(
                f"{url} row {first + row}, column {features[column]!r}: {wide[row, column]:g} is "
                "too large for single precision (3e38). Scale the column, or leave it out."
            )
    return np.where(np.isfinite(values), values, np.float32(np.nan))
