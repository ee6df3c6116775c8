"""OME-Zarr 0.4 (Zarr 2) and 0.5 (Zarr 3): the same groups, arrays and metadata, written either way.

Specifications: https://ngff.openmicroscopy.org/0.4/, https://ngff.openmicroscopy.org/0.5/ and
https://zarr-specs.readthedocs.io/en/latest/v2/v2.0.html.
"""

import json
from collections.abc import Mapping
from typing import Any, Protocol

import numcodecs.blosc
import numpy as np
import numpy.typing as npt

from i2r.store import files
from i2r.store.arrays import write_array, write_document
from i2r.store.ngff import group_document
from i2r.store.shards import chunk_grid

_AXES = ("c", "y", "x")
# Where 0.4 has the version that 0.5 has once: in these, or in every one of a list.
_VERSIONED = ("multiscales", "omero", "plate", "well", "image-label")


class ZarrWriter(Protocol):
    """Writes the nodes of a plate below a folder."""

    def write_group(
        self, url: str, ome: Mapping[str, Any] | None = None, **attributes: Any
    ) -> None:
        """Write a group with OME metadata, as `i2r.store.ngff` gives it, and other attributes."""

    def write_levels(
        self, url: str, levels: list[npt.NDArray[Any]], *, tile: tuple[int, int]
    ) -> None:
        """Write the levels of an image (c, y, x) or label image (y, x) below its group."""


class Zarr3Writer:
    """Writes OME-Zarr 0.5: a level is one shard, and every chunk has a checksum."""

    def write_group(
        self, url: str, ome: Mapping[str, Any] | None = None, **attributes: Any
    ) -> None:
        """Write ``zarr.json``."""
        write_document(url, group_document(ome, **attributes))

    def write_levels(
        self, url: str, levels: list[npt.NDArray[Any]], *, tile: tuple[int, int]
    ) -> None:
        """Write each level with chunks of a tile."""
        for number, level in enumerate(levels):
            axes = _AXES[-level.ndim :]
            write_array(f"{url}/{number}", level, chunk=_choose_chunk(level, tile), axes=axes)


class Zarr2Writer:
    """Writes OME-Zarr 0.4: a file per chunk, its folders named by the axes' numbers."""

    def write_group(
        self, url: str, ome: Mapping[str, Any] | None = None, **attributes: Any
    ) -> None:
        """Write ``.zgroup`` and ``.zattrs``."""
        files.write_bytes(f"{url}/.zgroup", json.dumps({"zarr_format": 2}).encode())
        content = {**_add_versions(ome or {}), **attributes}
        files.write_bytes(f"{url}/.zattrs", json.dumps(content).encode())

    def write_levels(
        self, url: str, levels: list[npt.NDArray[Any]], *, tile: tuple[int, int]
    ) -> None:
        """Write each level with chunks of a tile, compressed as bioformats2raw does."""
        for number, level in enumerate(levels):
            _write_array_v2(f"{url}/{number}", level, _choose_chunk(level, tile))


def _choose_chunk(level: npt.NDArray[Any], tile: tuple[int, int]) -> tuple[int, ...]:
    plane = tuple(min(n, t) for n, t in zip(level.shape[-2:], tile, strict=True))
    return (1,) * (level.ndim - 2) + plane


def _add_versions(ome: Mapping[str, Any]) -> dict[str, Any]:
    """Put the version where 0.4 has it."""
    content: dict[str, Any] = {name: value for name, value in ome.items() if name != "version"}
    for name in _VERSIONED:
        if isinstance(content.get(name), list):
            content[name] = [{**item, "version": "0.4"} for item in content[name]]
        elif name in content:
            content[name] = {**content[name], "version": "0.4"}
    return content


def _write_array_v2(url: str, array: npt.NDArray[Any], chunk: tuple[int, ...]) -> None:
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    blosc = numcodecs.blosc.Blosc(cname="lz4", clevel=5, shuffle=1)
    document = {
        "zarr_format": 2,
        "shape": list(array.shape),
        "chunks": list(chunk),
        "dtype": array.dtype.str,
        "compressor": blosc.get_config(),
        "fill_value": 0,
        "filters": None,
        "order": "C",
        "dimension_separator": "/",
    }
    files.write_bytes(f"{url}/.zarray", json.dumps(document).encode())
    for place in np.ndindex(*chunk_grid(array.shape, chunk)):
        at = tuple(slice(i * c, (i + 1) * c) for i, c in zip(place, chunk, strict=True))
        part = np.zeros(chunk, array.dtype)
        part[tuple(slice(0, n) for n in array[at].shape)] = array[at]
        name = "/".join(map(str, place))
        files.write_bytes(f"{url}/{name}", bytes(blosc.encode(part)))
