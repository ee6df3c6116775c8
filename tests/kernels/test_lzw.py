"""LZW strips decode to what libtiff makes of them, or are left to it."""

import io
from typing import Any

import numpy as np
import pytest
import tifffile
from imagecodecs import tiff_decode

from i2r.kernels.lzw import decode_strips
from i2r.readers import images
from i2r.readers.images import decode_plane
from i2r.readers.plain_tiff import read_plain_page

GUARD = 64


def draw(kind: str, shape: tuple[int, int], dtype: type[np.unsignedinteger]) -> np.ndarray:
    random = np.random.default_rng(shape[0])
    if kind == "noise":
        return random.integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    if kind == "flat":
        return np.full(shape, 7, dtype)
    if kind == "steps":
        return (np.arange(shape[0] * shape[1]).reshape(shape) // 5000 % 200).astype(dtype)
    return random.poisson(60 if dtype == np.uint8 else 300, shape).astype(dtype)


def encode(image: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, image, compression="lzw", metadata=None, **options)
    return buffer.getvalue()


def decode(data: bytes, image: np.ndarray) -> tuple[bool, np.ndarray]:
    """Decode into the middle of an array, and prove that nothing around it was touched."""
    page = read_plain_page(io.BytesIO(data), len(data))
    assert page is not None
    room = np.full(image.nbytes + 2 * GUARD, 0xA5, np.uint8)
    out = room[GUARD:-GUARD]
    is_whole = decode_strips(
        data,
        offsets=page.strips.offsets,
        lengths=page.strips.lengths,
        strip_bytes=page.strips.rows * image.strides[0],
        out=out,
    )
    assert (room[:GUARD] == 0xA5).all()
    assert (room[-GUARD:] == 0xA5).all()
    return is_whole, out.view(image.dtype).reshape(image.shape)


@pytest.mark.parametrize("kind", ["noise", "flat", "steps", "field"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("rows", [1, 7, 200])
def test_strips_come_back_equal(kind: str, dtype: type[np.unsignedinteger], rows: int) -> None:
    for shape in ((1, 1), (3, 5), (61, 130), (200, 311)):
        image = draw(kind, shape, dtype)
        is_whole, decoded = decode(encode(image, rowsperstrip=min(rows, shape[0])), image)
        assert is_whole
        np.testing.assert_array_equal(decoded, image)


def test_damaged_strips_are_what_libtiff_makes_of_them_or_left_to_it() -> None:
    random = np.random.default_rng(0)
    image = draw("field", (40, 90), np.uint16)
    data = encode(image, rowsperstrip=10)
    page = read_plain_page(io.BytesIO(data), len(data))
    assert page is not None
    first, last = min(page.strips.offsets), max(page.strips.offsets) + page.strips.lengths[-1]
    accepted = 0
    for _ in range(400):
        damaged = bytearray(data)
        for place in random.integers(first, last, random.integers(1, 4)):
            damaged[place] = random.integers(256)
        is_whole, decoded = decode(bytes(damaged), image)
        if is_whole:
            accepted += 1
            np.testing.assert_array_equal(decoded, tiff_decode(bytes(damaged)))
    assert 0 < accepted < 400


def test_strips_without_a_clear_code_or_of_too_few_bytes_are_refused() -> None:
    def decode_bytes(strip: bytes, n: int) -> bool:
        out = np.empty(n, np.uint8)
        return decode_strips(strip, offsets=[0], lengths=[len(strip)], strip_bytes=n, out=out)

    one = (256 << 23 | 65 << 14 | 257 << 5).to_bytes(4, "big")  # clear, "A", end
    assert decode_bytes(one, 1)
    assert not decode_bytes(one, 2)
    assert not decode_bytes(one[:2], 1)
    assert not decode_bytes((65 << 23 | 257 << 14).to_bytes(4, "big"), 1)
    assert not decode_bytes((256 << 23 | 258 << 14).to_bytes(4, "big"), 1)  # no such string yet


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("options", [{}, {"predictor": 2}, {"tile": (16, 16)}])
def test_files_of_either_byte_order_are_decoded_into_the_field(
    order: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = draw("field", (64, 96), np.uint16)
    data = encode(image, byteorder=order, **options)
    if not options:  # by no other decoder
        monkeypatch.setattr(images, "tiff_decode", None)
    stack = np.zeros((2, 64, 96), np.uint16)
    plane = decode_plane(data, url="x.tif", out=stack[1])
    np.testing.assert_array_equal(plane, image)
    assert np.shares_memory(plane, stack)
    assert (stack[0] == 0).all()
