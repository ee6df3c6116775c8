"""Result tables of an experiment: which files hold one, read whole or opened lazily."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING

import pandas as pd

from i2r.errors import InputError
from i2r.store import files, tables
from i2r.store.catalog import Catalog

if TYPE_CHECKING:
    import dask.dataframe as dd


MANY_ROWS = 10**7
"""Rows from which reading a table whole is warned of: gigabytes for 85 features."""


def find_table(experiment: Catalog, name: str) -> list[str]:
    """List the files that hold a table, never one that is half-written.

    Parameters
    ----------
    experiment
        The experiment.
    name
        A stage's name, or the name of another table that it makes.

    Returns
    -------
    list of str
        The merged files, one per plate or one in all, where the stage is complete; otherwise the
        parts of the units that are done, as of tables that are never merged.

    Raises
    ------
    InputError
        If there is no such table.
    """
    ledger = experiment.ledger
    folder = experiment.path("tables", name)
    found = [n for n in files.list_folder(folder) if n.endswith(".parquet")]
    listed = {experiment.table_url(name, plate) for plate in ("", *experiment.channels)}
    merged = sorted(url for n in found if (url := files.join_url(folder, n)) in listed)
    done = ledger.done_keys(name)
    is_own = bool(done)
    if merged and (ledger.is_merged(name) or not is_own):
        return merged
    if not is_own:
        # The stage that makes it is the one with the longest name that the table's begins with.
        makers = [stage for stage in ledger.stages if name.startswith(f"{stage}-")]
        keys = [ledger.done_keys(stage) for stage in sorted(makers, key=len, reverse=True)]
        done = next(filter(None, keys), [])
    # Wells and plates that the layout does not list any more do not count.
    done = [key for key in done if key in experiment.wells] or done
    urls = [experiment.part_url(name, key) for key in done]
    # A part that is missing is an error where others are there; some stages make no such parts.
    if not is_own:
        urls = [url for url in urls if files.exists(url)]
    if not any(map(files.exists, urls)):
        known = ", ".join(experiment.tables()) or "none yet"
        raise InputError(
            f"{experiment.url}: no table {name!r}; there are: {known}. Name one of them."
        )
    return urls


def read_result(
    experiment: Catalog, name: str, *, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Read a table whole; see `find_table`. It warns of tables that take gigabytes."""
    urls = find_table(experiment, name)
    with _naming_missing(experiment, name):
        parts = [tables.read_table(urls[0], columns=columns)]
        _warn_of_size(name, urls, parts[0])
        parts += [tables.read_table(url, columns=columns) for url in urls[1:]]
    return tables.concatenate(parts)


def iterate_result(experiment: Catalog, name: str) -> Iterator[pd.DataFrame]:
    """Read a table of any size, some megabytes at a time; see `find_table`.

    All parts have the columns of the whole table, NaN where a file lacks one.
    """
    with _naming_missing(experiment, name):
        urls = find_table(experiment, name)
        columns = list(dict.fromkeys(each for url in urls for each in tables.read_columns(url)))
        for part in chain.from_iterable(map(tables.iterate_table, urls)):
            yield part if list(part) == columns else part.reindex(columns=columns)


@contextmanager
def _naming_missing(experiment: Catalog, name: str) -> Iterator[None]:
    """Say of a file that is gone which table it was part of."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(
            f"{experiment.url}: a part of the table {name!r} is missing. 'i2r validate' says which."
        ) from error


def _warn_of_size(name: str, urls: Sequence[str], first: pd.DataFrame) -> None:
    """Warn where a table has more than `MANY_ROWS` rows, by its first file and all files' bytes."""
    sizes = [files.stat(url)[0] for url in urls]
    n_rows = len(first) * sum(sizes) / max(sizes[0], 1)
    if n_rows > MANY_ROWS:
        warnings.warn(
            f"table {name!r}: about {n_rows / 1e6:.0f} million rows, read into memory. "
            f"experiment.lazy_table({name!r}) opens them as a dask dataframe; 'columns' reads some "
            "columns only.",
            stacklevel=4,
        )


def open_result(
    experiment: Catalog, name: str, *, columns: Sequence[str] | None = None
) -> "dd.DataFrame":
    """Open a table without reading it, a partition per file; see `find_table`.

    Only the first file that has rows is looked into, for the types of the columns.
    """
    import dask.dataframe as dd  # half a second

    urls = find_table(experiment, name)
    first = next((t for t in map(tables.read_table, urls) if len(t)), tables.read_table(urls[0]))
    meta = first.iloc[:0] if columns is None else first.iloc[:0][list(columns)]
    return dd.from_map(tables.read_table, urls, columns=columns, meta=meta)


def read_plate_rows(
    experiment: Catalog, name: str, plate: str, *, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Read the rows of one plate of a table that stages make well by well; see `find_table`.

    Raises
    ------
    InputError
        If there is no such table, or nothing of the plate in it.
    """
    parts = {
        experiment.part_url(name, key)
        for key, well in experiment.wells.items()
        if well.plate == plate
    }
    wanted = {experiment.table_url(name, plate), *parts}
    urls = [url for url in find_table(experiment, name) if url in wanted]
    if not urls:
        raise InputError(f"{experiment.url}: nothing of plate {plate!r} in {name!r} yet.")
    return tables.concatenate([tables.read_table(url, columns=columns) for url in urls])
