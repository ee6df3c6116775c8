"""Pages that are read from their tags alone are what tifffile says they are."""

import io
import logging
import random
import struct
from typing import Any

import numpy as np
import pytest
import tifffile

from i2r.errors import FieldError
from i2r.readers import headers
from i2r.readers.headers import Header, parse_header
from i2r.readers.plain_tiff import read_plain_page

IMAGE = np.arange(600, dtype=np.uint16).reshape(20, 30)
FORMS: dict[str, dict[str, Any]] = {
    "lzw": {"compression": "lzw"},
    "zlib, 8 bit": {"compression": "zlib"},
    "plain, strips": {"rowsperstrip": 3},
    "big-endian": {"byteorder": ">"},
    "white is zero": {"photometric": "miniswhite"},
    "described": {"description": "a text", "software": "a microscope"},
}


def write(form: str, **changed: Any) -> bytes:
    image = (IMAGE % 251).astype(np.uint8) if "8 bit" in form else IMAGE
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, image, metadata=None, **{**FORMS.get(form, {}), **changed})
    return buffer.getvalue()


def parse_by_tifffile(data: bytes, monkeypatch: pytest.MonkeyPatch) -> Header | str:
    with monkeypatch.context() as patch:
        patch.setattr(headers, "read_plain_page", lambda *of: None)
        return parse(data)


def parse(data: bytes) -> Header | str:
    try:
        # Where strips lie is known of plain pages alone, and used by a decoder of its own.
        return parse_header(io.BytesIO(data), len(data), "x.tif", 0)._replace(lzw=None)
    except FieldError as error:
        return str(error)


@pytest.mark.parametrize("form", FORMS)
def test_a_usual_page_is_read_and_is_what_tifffile_reads(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write(form)
    assert read_plain_page(io.BytesIO(data), len(data)) is not None
    assert parse(data) == parse_by_tifffile(data, monkeypatch)
    # Cut before its end it is left to tifffile, whose message says so.
    assert read_plain_page(io.BytesIO(data), 300) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"photometric": "rgb", "data": 3},
        {"tile": (16, 16)},
        {"bigtiff": True},
        {"data": np.float32},
        {"data": np.int16},
        {"extratags": [(50838, 4, 1, 7, True)]},
    ],
    ids=["rgb", "tiles", "BigTIFF", "floats", "signed", "ImageJ"],
)
def test_unusual_pages_are_left_to_tifffile(changed: dict[str, Any]) -> None:
    kind = changed.pop("data", np.uint16)
    image = np.stack([IMAGE] * 3, axis=-1) if kind == 3 else IMAGE.astype(kind)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, image, metadata=None, **changed)
    data = buffer.getvalue()
    assert read_plain_page(io.BytesIO(data), len(data)) is None


@pytest.mark.parametrize("form", FORMS)
def test_damaged_tags_mean_the_same_as_to_tifffile(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("tifffile"), "disabled", True)
    draw, data = random.Random(form), write(form)
    at = struct.unpack((">" if data[:2] == b"MM" else "<") + "I", data[4:8])[0]
    n_read = 0
    for _ in range(250):
        damaged = bytearray(data)
        for _ in range(draw.randint(1, 3)):
            place = min(len(data) - 1, at + draw.randrange(200))
            damaged[place] = draw.choice([0, 1, 2, 3, 4, 8, 16, 255, draw.randrange(256)])
        page = read_plain_page(io.BytesIO(bytes(damaged)), len(damaged))
        if page is not None:
            n_read += 1
            assert parse(bytes(damaged)) == parse_by_tifffile(bytes(damaged), monkeypatch)
    assert n_read > 10
