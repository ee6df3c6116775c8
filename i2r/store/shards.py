"""One Zarr v3 shard: chunks compressed with Blosc, and an index of where each of them is.

https://zarr-specs.readthedocs.io, codec ``sharding_indexed``, index at the end. Only what `i2r`
writes is read here; any other array goes through zarr-python. Every chunk ends with its CRC-32C
(codec ``crc32c``); shards of earlier versions have none, and are read all the same.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product
from typing import IO, Any, NamedTuple

import google_crc32c
import numcodecs.blosc
import numpy as np
import numpy.typing as npt

from i2r.store.outputs import damaged
from i2r.store.recent import RECENT, ChunkId

# Workers own the threads: a codec that starts its own would oversubscribe them.
numcodecs.blosc.use_threads = False


class Codec(NamedTuple):
    """A Blosc compressor: always with byte shuffle, the only filter worth its time here.

    Attributes
    ----------
    name, level
        As Blosc knows them.
    block_bytes
        What is compressed at once inside a chunk; 0 leaves it to Blosc.
    """

    name: str
    level: int
    block_bytes: int = 0


# Measured on real planes (four instruments): zstd-1 takes 1 to 3.5 ms longer than LZ4 per plane,
# beside 8 ms for reading it from LZW TIFF, and its files are smaller by 7 % (noisy 16 bit) to 73 %
# (12 bit in 16). Crops are mostly zeros and training reads them again and again: LZ4 reads them 6
# times and writes them 6 times as fast, for 29 % more space on a small part of the data.
# Left alone, Blosc cuts chunks into small blocks, and zstd starts anew in each. In blocks of 1 MiB
# real planes are written in half of the time, read in a third of it, and are 1 % smaller (16 planes
# of 7 sources: 1.08 and 0.53 ms, 0.71 and 0.25 ms). LZ4 gains nothing by it.
PLANES = Codec("zstd", 1, 2**20)
CROPS = Codec("lz4", 1)
CHECKSUM_BYTES = 4
_ZSTD = 4  # of `PLANES`, in Blosc's header
# NumPy also knows names such as '2int16', which are not numbers.
_TYPES = {f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)}


class Shard(NamedTuple):
    """An encoded shard.

    Attributes
    ----------
    pieces
        To be written one after the other.
    checksums
        The CRC-32C of each chunk in C order: two shards that changed places are told apart by them.
    """

    pieces: list[bytes]
    checksums: list[int]


def encode_shard(array: npt.NDArray[Any], chunk: tuple[int, ...], codec: Codec) -> Shard:
    """Encode an array as one Zarr v3 shard.

    A shard is the compressed chunks, in any order, then offset and length of each as
    little-endian uint64 in C order, then the CRC-32C of those
    (https://zarr-specs.readthedocs.io, codec ``sharding_indexed``, index at the end). Each chunk
    is followed by its own CRC-32C.
    """
    blosc = _blosc(codec, array.dtype.itemsize)
    grid = chunk_grid(array.shape, chunk)
    index = np.empty((*grid, 2), dtype="<u8")
    pieces: list[bytes] = []
    checksums: list[int] = []
    offset = 0
    for place in list_chunks(grid):
        at = tuple(slice(i * c, (i + 1) * c) for i, c in zip(place, chunk, strict=True))
        part = array[at]
        if part.shape != chunk:
            part = np.zeros(chunk, dtype=array.dtype)
            part[tuple(slice(0, n) for n in array[at].shape)] = array[at]
        piece = blosc.encode(np.ascontiguousarray(part))
        checksums.append(google_crc32c.value(piece))
        index[place] = offset, len(piece) + CHECKSUM_BYTES
        offset += len(piece) + CHECKSUM_BYTES
        pieces += piece, checksums[-1].to_bytes(CHECKSUM_BYTES, "little")
    table = index.tobytes()
    check = google_crc32c.value(table).to_bytes(CHECKSUM_BYTES, "little")
    return Shard([*pieces, table, check], checksums)


@cache
def _blosc(codec: Codec, itemsize: int) -> Any:
    return numcodecs.blosc.Blosc(
        cname=codec.name,
        clevel=codec.level,
        shuffle=1,
        typesize=itemsize,
        blocksize=codec.block_bytes,
    )


def parse_type(name: object) -> np.dtype[Any]:
    """Read a data type by the name that Zarr gives it; NumPy would evaluate longer ones.

    Raises
    ------
    ValueError
        If it is none of whole numbers, floats or truth values.
    """
    if name not in _TYPES and name != "bool":
        raise ValueError(f"the data type is {str(name)[:40]!r}")
    return np.dtype(str(name))


def chunk_grid(shape: tuple[int, ...], chunk: tuple[int, ...]) -> tuple[int, ...]:
    """Count chunks along each axis, at least one: Zarr has no shards of no size."""
    return tuple(max(1, -(-n // c)) for n, c in zip(shape, chunk, strict=True))


def list_chunks(grid: Sequence[int]) -> list[tuple[int, ...]]:
    """List the chunks' places in C order; NumPy's own way takes longer than writing a small one."""
    return list(product(*map(range, grid)))


def is_own_shard(document: Mapping[str, Any]) -> bool:
    """Tell whether an array is one shard of the kind that `encode_shard` makes."""
    shape = document.get("shape", [])
    shard = document.get("chunk_grid", {}).get("configuration", {}).get("chunk_shape", [])
    outer = document.get("codecs", [])
    if [codec.get("name") for codec in outer] != ["sharding_indexed"]:
        return False
    inside = outer[0]["configuration"]
    names = [[codec.get("name") for codec in inside[part]] for part in ("codecs", "index_codecs")]
    return (
        names[0] in (["bytes", "blosc", "crc32c"], ["bytes", "blosc"])
        and names[1] == ["bytes", "crc32c"]
        and inside.get("index_location") == "end"
        and len(shard) == len(shape) == len(inside["chunk_shape"])
        and all(n > 0 for n in inside["chunk_shape"])
        and all(0 < n <= s for n, s in zip(shape, shard, strict=True))
        and document.get("data_type") in _TYPES
    )


def read_index(
    file: IO[bytes], document: Mapping[str, Any], *, where: str
) -> npt.NDArray[np.uint64]:
    """Read where the chunks of an array lie in its only shard.

    Parameters
    ----------
    file, document, where
        See `decode_shard`.

    Returns
    -------
    ndarray of uint64, shape (*grid, 2)
        Offset and length of every chunk, in bytes.

    Raises
    ------
    DamageError
        If the shard is damaged, or was cut short.
    """
    chunk = tuple(document["codecs"][0]["configuration"]["chunk_shape"])
    grid = chunk_grid(tuple(document["shape"]), chunk)
    # Before anything is allocated: a document may say any shape.
    tail, data = 16 * math.prod(grid) + CHECKSUM_BYTES, b""
    if file.seek(0, 2) >= tail:
        file.seek(-tail, 2)
        data = file.read(tail)
    if not data or google_crc32c.value(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise damaged(where, "the shard's index is damaged")
    return np.frombuffer(data[:-4], dtype="<u8").reshape(*grid, 2)


class ChunkReader:
    """Reads chunks of a shard, and compares every one with its checksum.

    Parameters
    ----------
    file, document, where
        See `decode_shard`.

    Raises
    ------
    DamageError
        If the shard's index is damaged.
    """

    def __init__(self, file: IO[bytes], document: Mapping[str, Any], *, where: str) -> None:
        inside = document["codecs"][0]["configuration"]
        self.index = read_index(file, document, where=where)
        self._file, self._where = file, where
        self._n_bytes = math.prod(inside["chunk_shape"]) * np.dtype(document["data_type"]).itemsize
        self._is_checked = inside["codecs"][-1]["name"] == "crc32c"
        own = (document.get("attributes") or {}).get("i2r")
        self._expected = own.get("crc32c") if isinstance(own, dict) else None
        n_chunks = math.prod(self.index.shape[:-1])
        if self._expected is not None and (
            not isinstance(self._expected, list) or len(self._expected) != n_chunks
        ):
            raise damaged(where, "its zarr.json is not what was written")

    def identify(self, place: tuple[int, ...]) -> ChunkId | None:
        """Say what a chunk should be, without reading it; None where the description doesn't."""
        number = self._number(place)
        if not self._is_checked or self._expected is None:
            return None
        if not isinstance(self._expected[number], int):
            return None
        length = int(self.index[place][1])
        return ChunkId(self._where, number, length - CHECKSUM_BYTES, self._expected[number])

    def _number(self, place: tuple[int, ...]) -> int:
        """Number a chunk in C order."""
        number = 0
        for at, n in zip(place, self.index.shape, strict=False):
            number = number * n + at
        return number

    def read(self, place: tuple[int, ...]) -> tuple[bytes, ChunkId | None]:
        """Read the compressed bytes of a chunk, and say what they are; None without checksums.

        Raises
        ------
        DamageError
            If they are not what was written.
        """
        offset, length = self.index[place].tolist()
        self._file.seek(offset)
        chunk_id = None
        if self._is_checked:
            # Read apart: cutting the checksum off would copy the chunk.
            piece = self._file.read(max(0, length - CHECKSUM_BYTES))
            stored = int.from_bytes(self._file.read(CHECKSUM_BYTES), "little")
            number = self._number(place)
            expected = stored if self._expected is None else self._expected[number]
            if google_crc32c.value(piece) != stored or stored != expected:
                raise damaged(self._where, f"the checksum of chunk {number} is another one")
            chunk_id = ChunkId(self._where, number, len(piece), stored)
        else:
            piece = self._file.read(length)
        # Blosc says in its header how much it is, and would write that much.
        if len(piece) < 16 or int.from_bytes(piece[4:8], "little") != self._n_bytes:
            raise damaged(self._where, "a chunk is not of the size that it should have")
        return piece, chunk_id


def check_shard(file: IO[bytes], document: Mapping[str, Any], *, where: str) -> None:
    """Compare all chunks of a shard with their checksums; of shards without, decode them.

    Parameters
    ----------
    file, document, where
        See `decode_shard`.

    Raises
    ------
    DamageError
        If a chunk is damaged.
    """
    reader = ChunkReader(file, document, where=where)
    for place in list_chunks(reader.index.shape[:-1]):
        piece, chunk_id = reader.read(place)
        if chunk_id is None:
            _decompress(piece, where)


def find_whole(
    file: IO[bytes], document: Mapping[str, Any], *, where: str
) -> npt.NDArray[Any] | None:
    """Give an array whose chunks are all held as they were written, without a copy.

    Its chunks are read and compared with their checksums all the same.

    Parameters
    ----------
    file, document, where
        See `decode_shard`.

    Returns
    -------
    ndarray or None
        Not to be written to; None where a chunk is not held, or they don't lie in one array.

    Raises
    ------
    DamageError
        If the shard is damaged.
    """
    shape = tuple(document["shape"])
    reader = ChunkReader(file, document, where=where)
    places = list_chunks(reader.index.shape[:-1])
    held = [RECENT.find(c) if (c := reader.identify(place)) else None for place in places]
    first = held[0]
    if first is None:
        return None
    whole = first if first.shape == shape else first.base
    dtype = np.dtype(document["data_type"]).newbyteorder("<")
    if whole is None or (whole.shape, whole.dtype) != (shape, dtype) or whole.flags.writeable:
        return None
    at = start = whole.ctypes.data
    for part in held:
        if part is None or part.ctypes.data != at or not part.flags.c_contiguous:
            return None
        at += part.nbytes
    if not whole.flags.c_contiguous or at != start + whole.nbytes:
        return None
    for place in places:
        reader.read(place)
    return whole


def decode_shard(
    file: IO[bytes], document: Mapping[str, Any], region: tuple[slice, ...], *, where: str
) -> npt.NDArray[Any]:
    """Read a region of an array from its only shard, no other chunks than it needs.

    Parameters
    ----------
    file
        The shard, open for reading.
    document
        The array's ``zarr.json``, for which `is_own_shard` holds.
    region
        One slice per axis, without steps.
    where
        How to name the array in messages.

    Raises
    ------
    DamageError
        If the shard is damaged.
    """
    shape = tuple(document["shape"])
    dtype = np.dtype(document["data_type"]).newbyteorder("<")
    chunk = tuple(document["codecs"][0]["configuration"]["chunk_shape"])
    reader = ChunkReader(file, document, where=where)
    bounds = [part.indices(length)[:2] for part, length in zip(region, shape, strict=True)]
    out = np.empty([max(0, stop - start) for start, stop in bounds], dtype)
    needed = [range(a // c, -(-b // c)) for (a, b), c in zip(bounds, chunk, strict=True)]
    for place in list_chunks([len(r) for r in needed]) if out.size else ():
        number = tuple(r[i] for r, i in zip(needed, place, strict=True))
        piece, chunk_id = reader.read(number)
        first = [n * c for n, c in zip(number, chunk, strict=True)]
        limits = [
            (max(a, f), min(b, f + c)) for (a, b), f, c in zip(bounds, first, chunk, strict=True)
        ]
        target = tuple(slice(a - o, b - o) for (a, b), (o, _) in zip(limits, bounds, strict=True))
        recent = RECENT.find(chunk_id) if chunk_id is not None else None
        # The description says what the bytes are; it may be another one by now.
        if recent is not None and (recent.dtype, recent.shape) != (dtype, chunk):
            recent = None
        if recent is None and out[target].shape == chunk and out[target].flags.c_contiguous:
            _decompress(piece, where, out[target])
            # Not crops, which are read by training alone. Blosc's header names its compressor.
            if chunk_id is not None and piece[2] >> 5 == _ZSTD:
                RECENT.keep(chunk_id, out[target])
            continue
        if recent is None:
            recent = np.frombuffer(_decompress(piece, where), dtype).reshape(chunk)
        source = tuple(slice(a - f, b - f) for (a, b), f in zip(limits, first, strict=True))
        out[target] = recent[source]
    return out


def _decompress(piece: bytes, where: str, out: npt.NDArray[Any] | None = None) -> Any:
    try:
        return numcodecs.blosc.decompress(piece, out)
    except (RuntimeError, ValueError) as error:  # of shards without checksums
        raise damaged(where, f"a chunk can't be decoded: {error}") from error
