"""The first page of a TIFF file of the usual kind, read from its tags alone.

tifffile knows the ways of every vendor, and takes a millisecond for it: a tenth of what decoding
takes. Here only pages are read of which nothing but standard tags says anything (TIFF 6.0,
https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf); whatever is unusual or looks
damaged is left to tifffile.
"""

import struct
from typing import Any, NamedTuple

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_FILL_ORDER, _SAMPLES, _SAMPLE_FORMAT = 266, 277, 339
_STRIP_OFFSETS, _ROWS_PER_STRIP, _STRIP_BYTES, _PREDICTOR = 273, 278, 279, 317
# Besides those above: texts, resolution, dates, orientation, configuration,
# least and largest value. None of them changes what a page of one sample is.
_HARMLESS = {254, 269, 270, 271, 272, 274, 280, 281, 282, 283, 284, 285, 286, 287, 296, 297}
_HARMLESS |= {305, 306, 315, 316, 33432}
_NUMBERS = {3: "H", 4: "I"}
_READ = {
    _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _SAMPLES, _SAMPLE_FORMAT,
    _STRIP_OFFSETS, _ROWS_PER_STRIP, _STRIP_BYTES, _PREDICTOR,
}  # fmt: skip


class Strips(NamedTuple):
    """Where the rows of a page lie in a file, and how.

    Attributes
    ----------
    offsets, lengths
        Of each strip, in bytes.
    rows
        How many each holds; the last one holds the rest.
    order
        Of the bytes of a number: '<' or '>'.
    is_predicted
        Whether what is stored are differences.
    """

    offsets: tuple[int, ...]
    lengths: tuple[int, ...]
    rows: int
    order: str
    is_predicted: bool


class PlainPage(NamedTuple):
    """A page of one sample of 8 or 16 bits, whose strips all lie in the file.

    Attributes
    ----------
    shape
        Height and width.
    bits
        8 or 16, unsigned.
    compression, photometric
        The tags' numbers.
    strips
        Where it lies.
    """

    shape: tuple[int, int]
    bits: int
    compression: int
    photometric: int
    strips: Strips


def read_plain_page(file: Any, n_bytes: int) -> PlainPage | None:
    """Read the first page of a TIFF file; None where anything about it is unusual.

    Parameters
    ----------
    file
        The open file; where it stands is left open.
    n_bytes
        The file's length.
    """
    file.seek(0)
    start = file.read(8)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(start[:4])
    if order is None or len(start) < 8:
        return None
    file.seek(struct.unpack(order + "I", start[4:])[0])
    count = file.read(2)
    n_tags = struct.unpack(order + "H", count)[0] if len(count) == 2 else 0
    entries = file.read(12 * n_tags)
    if not n_tags or len(entries) < 12 * n_tags:
        return None
    tags: dict[int, tuple[int, ...]] = {}
    seen = set[int]()
    for code, kind, number, value in struct.iter_unpack(order + "HHI4s", entries):
        if code in seen or (code not in _READ and code not in _HARMLESS):
            return None
        seen.add(code)
        if code not in _READ:
            continue
        form = _NUMBERS.get(kind)
        if form is None or not 0 < number <= n_bytes:
            return None
        size = struct.calcsize(form) * number
        content = value
        if size > 4:
            file.seek(struct.unpack(order + "I", value)[0])
            content = file.read(size)
        if len(content) < size:
            return None
        tags[code] = struct.unpack(f"{order}{number}{form}", content[:size])
    return _describe(tags, n_bytes, order)


def _describe(tags: dict[int, tuple[int, ...]], n_bytes: int, order: str) -> PlainPage | None:
    single = {code: values[0] for code, values in tags.items() if len(values) == 1}
    offsets, counts = tags.get(_STRIP_OFFSETS, ()), tags.get(_STRIP_BYTES, ())
    width, height, bits = (single.get(code, 0) for code in (_WIDTH, _HEIGHT, _BITS))
    usual = ((_FILL_ORDER, 1), (_SAMPLES, 1), (_SAMPLE_FORMAT, 1))
    if any(code in tags and single.get(code) != value for code, value in usual):
        return None
    if _COMPRESSION not in single or _PHOTOMETRIC not in single:
        return None
    rows = min(single.get(_ROWS_PER_STRIP, 0), height)
    if bits not in (8, 16) or not width or not rows or len(offsets) != -(-height // rows):
        return None
    ends = [offset + length for offset, length in zip(offsets, counts, strict=False)]
    if len(offsets) != len(counts) or 0 in counts or max(ends) > n_bytes:
        return None
    strips = Strips(offsets, counts, rows, order, tags.get(_PREDICTOR, (1,)) != (1,))
    return PlainPage((height, width), bits, single[_COMPRESSION], single[_PHOTOMETRIC], strips)
