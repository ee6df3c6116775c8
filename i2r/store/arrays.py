"""Zarr arrays, those of crops and of embeddings too: one shard is what one task writes.

Shards are put together here rather than by zarr-python's writer, which takes 1.5 to 3 times as
long for a field; any Zarr v3 reader reads them.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from i2r.errors import FieldError, InputError
from i2r.store import files
from i2r.store.documents import parse_json
from i2r.store.outputs import damaged, note_array
from i2r.store.recent import RECENT, ChunkId, Stamp, read_stamp
from i2r.store.shards import (
    CROPS,
    PLANES,
    Codec,
    chunk_grid,
    decode_shard,
    encode_shard,
    find_whole,
    is_own_shard,
    list_chunks,
    parse_type,
)

if TYPE_CHECKING:
    import zarr

# Files of a node, whatever groups they are in.
_OF_NODE = re.compile(r"(?:[^/]+/)*(?:zarr\.json|c(?:/\d+)+)")
# Crops per chunk: the unit in which training reads.
CROPS_PER_CHUNK = 512


def write_document(url: str, document: Mapping[str, Any] | str) -> int:
    """Write the ``zarr.json`` of a group or array, or its text; returns the number of bytes."""
    text = document if isinstance(document, str) else json.dumps(document)
    return files.write_bytes(f"{url}/zarr.json", text.encode())


def write_array(
    url: str,
    array: npt.NDArray[Any],
    *,
    chunk: tuple[int, ...],
    axes: Sequence[str],
    codec: Codec = PLANES,
    attributes: Mapping[str, Any] | None = None,
) -> int:
    """Write a Zarr v3 array as one shard: the whole array is what this task writes.

    Parameters
    ----------
    url
        The array.
    array
        Any shape and any numeric dtype; of length 0 along the first axis it has no shard.
    chunk
        Shape of a chunk, what one task reads; the last chunks are filled up with zeros.
    axes
        The axes' names.
    codec
        How chunks are compressed.
    attributes
        Attributes of the array.

    Returns
    -------
    int
        The number of bytes written.
    """
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    shape, grid = array.shape, chunk_grid(array.shape, chunk)
    shard = tuple(n * c for n, c in zip(grid, chunk, strict=True))
    encoded = encode_shard(array, chunk, codec) if array.size else None
    if encoded is not None:
        # Beside the shard, so that one array's shard in another's place is found too.
        own = {"crc32c": encoded.checksums}
        attributes = {**(attributes or {}), "i2r": own}
    described = _describe_array(array.dtype, shape, chunk, shard, tuple(axes), codec)
    written = write_document(url, f"{described}{json.dumps(dict(attributes or {}))}}}")
    if encoded is None:
        return written
    key = "/".join(["c", *["0"] * array.ndim])
    n_bytes = files.write_bytes(f"{url}/{key}", *encoded.pieces)
    note_array(url, key, n_bytes)
    if codec == PLANES and shard == shape:
        where, known = files.without_secrets(url), list[ChunkId]()
        for number, place in enumerate(list_chunks(grid)):
            at = tuple(slice(i * c, (i + 1) * c) for i, c in zip(place, chunk, strict=True))
            piece = encoded.pieces[2 * number]
            known.append(ChunkId(where, number, len(piece), encoded.checksums[number]))
            RECENT.keep(known[-1], array[at])
        if not array.flags.writeable:  # chunks of others were copied
            RECENT.keep_whole(known, array, _stamp_files(url, array.ndim))
    return written + n_bytes


def write_crops(
    url: str,
    crops: npt.NDArray[Any],
    *,
    attributes: Mapping[str, Any] | None = None,
) -> int:
    """Write the crops of one well as one array in one shard, in place of what is there.

    Parameters
    ----------
    url
        The array.
    crops
        Shape (nucleus, c, y, x); no nuclei give an array of shape (0, c, y, x) without shard.
    attributes
        What to keep with the array, such as the channels' names.

    Returns
    -------
    int
        The number of bytes written.
    """
    clear_node(url)
    n_chunks = max(1, math.ceil(len(crops) / CROPS_PER_CHUNK))
    # Chunks of equal length: 600 crops are 300 and 300, not 512 and 88 filled up to 512.
    per_chunk = max(1, math.ceil(len(crops) / n_chunks))
    chunk = (per_chunk, 1, *crops.shape[2:])
    axes = ("nucleus", "c", "y", "x")
    return write_array(url, crops, chunk=chunk, axes=axes, codec=CROPS, attributes=attributes)


def write_embeddings(
    url: str,
    embeddings: npt.NDArray[np.float32],
    *,
    attributes: Mapping[str, Any] | None = None,
) -> int:
    """Write the embeddings of one well as one array in one shard, in place of what is there.

    Parameters
    ----------
    url
        The array.
    embeddings
        Shape (nucleus, dim), in the order of the well's crops; there may be no nucleus.
    attributes
        What to keep with the array, such as the stage that made the crops.

    Returns
    -------
    int
        The number of bytes written.
    """
    clear_node(url)
    chunk = (max(1, len(embeddings)), embeddings.shape[1])
    return write_array(url, embeddings, chunk=chunk, axes=("nucleus", "dim"), attributes=attributes)


def clear_node(url: str) -> None:
    """Remove a Zarr node of an earlier run; anything else was not written here and stays.

    A process that is killed while it removes or writes a node leaves parts of it, perhaps without
    the document.

    Raises
    ------
    InputError
        If something else is in the way.
    """
    names = files.list_folder(url)
    if not names:
        return
    if "zarr.json" not in names and not all(
        _OF_NODE.fullmatch(found.path) for found in files.find_files(url, lambda path: True)
    ):
        raise InputError(
            f"{url}: found {', '.join(names[:3])}, expected nothing or a Zarr array or group. "
            "Move it away: i2r replaces only what it wrote."
        )
    folder, _, name = url.rpartition("/")
    files.remove_tree(folder, name)


def _stamp_files(url: str, n_axes: int) -> Stamp | None:
    """Give what an array's description and its only shard are known by; None where not local."""
    if not files.is_local(url):
        return None
    path = files.local_path(url)
    return read_stamp(f"{path}/zarr.json", "/".join([path, "c", *["0"] * n_axes]))


@lru_cache(maxsize=64)  # of the levels of images and labels, field after field
def _describe_array(
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    chunk: tuple[int, ...],
    shard: tuple[int, ...],
    axes: tuple[str, ...],
    codec: Codec,
) -> str:
    """Give the ``zarr.json`` of an array as text, up to its attributes and the last bracket."""
    endian = {"name": "bytes", "configuration": {"endian": "little"}}
    blosc = {
        "name": "blosc",
        "configuration": {
            "typesize": dtype.itemsize,
            "cname": codec.name,
            "clevel": codec.level,
            "shuffle": "shuffle",
            "blocksize": codec.block_bytes,
        },
    }
    sharding = {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": list(chunk),
            "codecs": [endian, blosc, {"name": "crc32c"}],
            "index_codecs": [endian, {"name": "crc32c"}],
            "index_location": "end",
        },
    }
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(shard)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": False if dtype.kind == "b" else 0,
        "codecs": [sharding],
        "dimension_names": list(axes),
        "attributes": {},
    }
    return json.dumps(document).removesuffix("{}}")


def open_array(url: str) -> "zarr.Array[Any]":
    """Open a Zarr array for reading.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    import zarr  # 0.4 s, and writing never needs it

    return zarr.open_array(files.local_path(url) if files.is_local(url) else url, mode="r")


def read_array(
    url: str,
    *,
    region: tuple[slice, ...] | None = None,
    shape: tuple[int, ...] | None = None,
    dtype: npt.DTypeLike | None = None,
    shared: bool = False,
) -> npt.NDArray[Any]:
    """Read a Zarr array, or a part of it, into memory.

    Parameters
    ----------
    url
        The array.
    region
        One slice per axis; None reads all.
    shape, dtype
        What the whole array is expected to be; None takes what is there.
    shared
        Whether the caller only looks at it: then it may be what `i2r.store.recent` holds, which
        saves a copy and can't be written to.

    Raises
    ------
    DamageError
        If a chunk of it is not what was written, or its description is none.
    FieldError
        If the array has another shape or dtype (reasons ``shape``, ``dtype``).
    FileNotFoundError
        If there is none.
    """
    where = files.without_secrets(url)
    if shared and region is None and shape is not None:
        held = RECENT.find_whole(where, _stamp_files(url, len(shape)))
        wanted = None if dtype is None else np.dtype(dtype)
        if held is not None and (held.shape, wanted or held.dtype) == (tuple(shape), held.dtype):
            return held
    try:
        document = parse_json(files.read_bytes(f"{url}/zarr.json"))
        found, kind = tuple(map(int, document["shape"])), parse_type(document["data_type"])
        is_own = is_own_shard(document)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise damaged(where, "its zarr.json is not what was written") from error
    advice = "Convert again with this i2r."
    if shape is not None and found != tuple(shape):
        raise FieldError(f"shape: {where} is {found}, expected {tuple(shape)}. {advice}")
    if dtype is not None and kind != np.dtype(dtype):
        raise FieldError(f"dtype: {where} is {kind}, expected {np.dtype(dtype)}. {advice}")
    if not is_own:
        try:
            return np.asarray(open_array(url)[region if region is not None else ...])
        except (ValueError, TypeError, KeyError) as error:  # by what its description holds
            raise damaged(where, (str(error).splitlines() or [""])[0][:120]) from error
    whole = tuple(slice(None) for _ in found)
    given = region or ()
    # Straight from the shard: zarr-python spends as long again on finding the chunks.
    with files.open_file("/".join([url, "c", *("0" for _ in found)])) as file:
        if shared and region is None:
            held = find_whole(file, document, where=where)
            if held is not None:
                return held
        return decode_shard(file, document, (*given, *whole[len(given) :]), where=where)
