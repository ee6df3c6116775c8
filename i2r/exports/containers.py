"""Where AnnData's parts are written: an HDF5 file or a Zarr store, with one set of verbs."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from i2r.errors import InputError

# Rows per chunk of a matrix: about a megabyte of 512 features.
_CHUNK_ROWS = 512
_CHUNK_TEXTS = 65_536


class Container(Protocol):
    """A place for groups, arrays and texts; `root` is the outermost group."""

    root: Any

    def add_matrix(self, name: str, width: int) -> Any:
        """Add a float32 array without rows, shape (0, width), to the root."""

    def add_texts(self, group: Any, name: str, values: Sequence[str]) -> Any:
        """Add an array of texts."""

    def add_text_parts(self, group: Any, name: str, n: int, parts: Iterable[Sequence[str]]) -> Any:
        """Add an array of n texts, part by part."""

    def add_text(self, group: Any, name: str, value: str) -> Any:
        """Add one text."""

    def add_numbers(self, group: Any, name: str, values: npt.NDArray[Any]) -> Any:
        """Add an array of numbers."""

    def list_names(self, group: Any, key: str, names: Sequence[str]) -> None:
        """Write names into a group's attributes."""


class HDF5Container:
    """An open HDF5 file."""

    def __init__(self, file: Any) -> None:
        import h5py

        self.root, self._text = file, h5py.string_dtype()

    def add_matrix(self, name: str, width: int) -> Any:
        """Add a matrix without rows that can grow."""
        return self.root.create_dataset(
            name, shape=(0, width), maxshape=(None, width), dtype=np.float32,
            chunks=(_CHUNK_ROWS, max(1, width)), compression="gzip", compression_opts=1,
        )  # fmt: skip

    def add_texts(self, group: Any, name: str, values: Sequence[str]) -> Any:
        """Add an array of texts."""
        return group.create_dataset(name, data=np.asarray(values, dtype=object), dtype=self._text)

    def add_text_parts(self, group: Any, name: str, n: int, parts: Iterable[Sequence[str]]) -> Any:
        """Add an array of n texts, part by part."""
        return _fill(group.create_dataset(name, shape=(n,), dtype=self._text), parts)

    def add_text(self, group: Any, name: str, value: str) -> Any:
        """Add one text."""
        return group.create_dataset(name, data=value)

    def add_numbers(self, group: Any, name: str, values: npt.NDArray[Any]) -> Any:
        """Add an array of numbers."""
        return group.create_dataset(name, data=values)

    def list_names(self, group: Any, key: str, names: Sequence[str]) -> None:
        """Write names into a group's attributes."""
        group.attrs.create(key, list(names), dtype=self._text)


class ZarrContainer:
    """A Zarr v3 store in a folder."""

    def __init__(self, folder: Path) -> None:
        import zarr

        self.root: Any = zarr.open_group(folder, mode="w", zarr_format=3)

    def add_matrix(self, name: str, width: int) -> Any:
        """Add a matrix without rows that can grow."""
        return self.root.create_array(
            name, shape=(0, width), chunks=(_CHUNK_ROWS, max(1, width)), dtype="float32"
        )

    def add_texts(self, group: Any, name: str, values: Sequence[str]) -> Any:
        """Add an array of texts."""
        array = group.create_array(name, shape=(len(values),), dtype="string")
        array[:] = np.asarray(values, dtype=object)
        return array

    def add_text_parts(self, group: Any, name: str, n: int, parts: Iterable[Sequence[str]]) -> Any:
        """Add an array of n texts, part by part."""
        chunk = min(n, _CHUNK_TEXTS)
        return _fill(group.create_array(name, shape=(n,), chunks=(chunk,), dtype="string"), parts)

    def add_text(self, group: Any, name: str, value: str) -> Any:
        """Add one text."""
        array = group.create_array(name, shape=(), dtype="string")
        array[...] = np.asarray(value, dtype=object)
        return array

    def add_numbers(self, group: Any, name: str, values: npt.NDArray[Any]) -> Any:
        """Add an array of numbers."""
        return group.create_array(name, data=values)

    def list_names(self, group: Any, key: str, names: Sequence[str]) -> None:
        """Write names into a group's attributes."""
        group.attrs[key] = list(names)


def _fill(array: Any, parts: Iterable[Sequence[str]]) -> Any:
    """Write texts into an array, one part after another."""
    start = 0
    for part in parts:
        if len(part):
            array[start : start + len(part)] = np.asarray(part, dtype=object)
            start += len(part)
    return array


@contextmanager
def open_container(path: Path, *, is_zarr: bool) -> Iterator[Container]:
    """Open an empty container of a kind at a path.

    Raises
    ------
    InputError
        If h5py is not installed, for HDF5.
    """
    if is_zarr:
        yield ZarrContainer(path)
        return
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            "h5ad: needs h5py, which is not installed. Install it: pip install 'i2r[omics]'."
        ) from error
    with h5py.File(path, "w") as file:
        yield HDF5Container(file)
