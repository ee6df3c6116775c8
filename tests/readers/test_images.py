"""Decoding: equal to tifffile and Pillow where they agree, and a reason for everything else."""

import hashlib
import io
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from i2r.errors import FieldError
from i2r.readers import images
from i2r.readers.contents import read_contents
from i2r.readers.headers import PIXEL_TYPES
from i2r.readers.images import read_field, read_plane, read_shape
from i2r.store import files

RNG = np.random.default_rng(0)
PLANE = RNG.poisson(300, (37, 53)).astype(np.uint16)


class Row(NamedTuple):
    channel: str
    url: str
    z: int = 0
    page: int = 0


def count_planes(url: str) -> int:
    (series,) = read_contents(url).series
    return len(series.planes)


# Without predictors for those that have none; tifffile's big-endian JPEG 2000 it can't read itself.
KINDS = [
    (compression, predictor, byteorder)
    for compression in (None, "lzw", "zlib", "zstd", "packbits", "jpeg2000")
    for predictor in (False, True)
    for byteorder in "<>"
    if not (predictor and compression in (None, "packbits", "jpeg2000"))
    and (compression, byteorder) != ("jpeg2000", ">")
]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("compression", "predictor", "byteorder"), KINDS)
def test_tiff(tmp_path: Path, dtype, compression, predictor, byteorder) -> None:
    path, plane = tmp_path / "x.tif", PLANE.astype(dtype)
    tifffile.imwrite(
        path,
        plane,
        compression=compression,
        predictor=predictor,
        byteorder=byteorder,
        rowsperstrip=10,
    )
    found = read_plane(str(path))
    np.testing.assert_array_equal(found, plane)
    assert found.dtype == dtype
    assert read_shape(str(path)) == (plane.shape, np.dtype(dtype))


@pytest.mark.parametrize("compression", [None, "lzw"])
def test_tiles_and_inverted_scale_give_values_as_stored(tmp_path: Path, compression) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, PLANE, tile=(16, 16), compression=compression, photometric="miniswhite")
    np.testing.assert_array_equal(read_plane(str(path)), PLANE)
    np.testing.assert_array_equal(read_plane(str(path), inverted=True), 65535 - PLANE)
    assert read_contents(str(path)).white_is_zero


@pytest.mark.parametrize("plane", [PLANE, PLANE.astype(np.uint8)])
def test_png(tmp_path: Path, plane: np.ndarray) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(plane).save(path)
    np.testing.assert_array_equal(read_plane(str(path)), plane)
    assert read_shape(str(path)) == (plane.shape, plane.dtype)
    assert count_planes(str(path)) == 1
    with pytest.raises(FieldError, match=r"^missing: .*1 page"):
        read_plane(str(path), page=1)


def test_pages(tmp_path: Path) -> None:
    path = str(tmp_path / "x.tif")
    stack = np.stack([PLANE, PLANE + 1, PLANE + 2])
    tifffile.imwrite(path, stack, photometric="minisblack", compression="lzw")
    assert count_planes(path) == 3
    for page in range(3):
        np.testing.assert_array_equal(read_plane(path, page=page), stack[page])
    for read in (read_plane, read_shape):
        with pytest.raises(FieldError, match=r"^missing: .*3 page\(s\), expected page 3"):
            read(path, page=3)


def test_thumbnails_are_no_pages(tmp_path: Path) -> None:
    path = str(tmp_path / "x.tif")
    with tifffile.TiffWriter(path) as writer:
        writer.write(PLANE)
        writer.write(PLANE[::4, ::4], subfiletype=1)
    assert count_planes(path) == 1


def refuse(path: Path, reason: str) -> str:
    """Both ways in give one line that starts with the reason."""
    with pytest.raises(FieldError, match=rf"^{reason}: ") as error:
        read_plane(str(path))
    assert "\n" not in str(error.value)
    assert path.name in str(error.value)
    return str(error.value)


def test_missing(tmp_path: Path) -> None:
    refuse(tmp_path / "gone.tif", "missing")
    with pytest.raises(FieldError, match=r"^missing: "):
        read_shape(str(tmp_path / "gone.tif"))


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(5, "I/O error")]
)
def test_only_errors_that_stay_exclude_a_field(monkeypatch, error: OSError) -> None:
    def fail(url: str) -> bytes:
        raise error

    monkeypatch.setattr(files, "read_bytes", fail)
    expected = FieldError if isinstance(error, PermissionError) else OSError
    with pytest.raises(expected, match=error.strerror):
        read_plane("x.tif")


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd", "jpeg2000"])
def test_cut_tiff_at_every_place(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, PLANE, compression=compression, rowsperstrip=10)
    data = path.read_bytes()
    for length in sorted({0, 1, 4, 8, 60, len(data) // 2, len(data) - 1, *range(0, len(data), 97)}):
        path.write_bytes(data[:length])
        refuse(path, "truncated")
        with pytest.raises(FieldError, match=r"^truncated: "):
            read_shape(str(path))


def test_cut_png(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(PLANE).save(path)
    data = path.read_bytes()
    for length in (0, 8, 20, 40, len(data) // 2, len(data) - 20):
        path.write_bytes(data[:length])
        refuse(path, "truncated")


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_bytes_give_an_image_or_a_reason(data) -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, PLANE[:9, :9], compression=data.draw(st.sampled_from(["lzw", None])))
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    reason = ""
    try:
        plane = images.decode_plane(bytes(content), url="x.tif")
    except FieldError as error:
        reason = str(error).partition(":")[0]
        plane = PLANE
    assert reason in {"", "truncated", "rgb", "dtype", "size", "missing"}
    assert plane.ndim == 2
    assert plane.dtype in PIXEL_TYPES


def test_strips_that_were_never_written(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, PLANE, rowsperstrip=10)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        tag = file.pages[0].tags["StripByteCounts"]
        size = tag.valuebytecount // tag.count
        data[tag.valueoffset + size : tag.valueoffset + 2 * size] = bytes(size)
    path.write_bytes(data)
    assert "strips without data" in refuse(path, "truncated")


def test_jpeg(tmp_path: Path) -> None:
    """Lossy, but grey, whole and of the stated size; colours and cut files are refused."""
    path = tmp_path / "x.jpg"
    smooth = np.add.outer(np.arange(40), 2 * np.arange(60)).astype(np.uint8)
    Image.fromarray(smooth).save(path, quality=95)
    decoded = read_plane(str(path))
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - smooth).max() <= 3
    assert read_shape(str(path)) == ((40, 60), np.dtype(np.uint8))
    data = path.read_bytes()
    for size in range(3, len(data) - 1, 7):
        path.write_bytes(data[:size])
        refuse(path, "truncated")
    path.write_bytes(data + bytes(16))
    np.testing.assert_array_equal(read_plane(str(path)), decoded)
    Image.fromarray(np.stack([smooth] * 3, axis=-1)).save(path)
    refuse(path, "rgb")


@pytest.mark.parametrize("kind", ["tiff", "png", "palette", "alpha"])
def test_colours(tmp_path: Path, kind: str) -> None:
    colour = RNG.integers(0, 255, (9, 11, 3)).astype(np.uint8)
    path = tmp_path / ("x.tif" if kind == "tiff" else "x.png")
    if kind == "tiff":
        tifffile.imwrite(path, colour, photometric="rgb")
    elif kind == "png":
        Image.fromarray(colour).save(path)
    elif kind == "palette":
        Image.fromarray(colour).quantize(8).save(path)
    else:
        Image.fromarray(colour).convert("LA").save(path)
    assert "raw channels" in refuse(path, "rgb")


@pytest.mark.parametrize("dtype", [np.int8, np.complex64, np.float16, bool])
def test_other_pixel_types(tmp_path: Path, dtype) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, (PLANE > 300).astype(dtype))
    refuse(path, "dtype")
    Image.fromarray(PLANE > 300).save(tmp_path / "x.png")
    refuse(tmp_path / "x.png", "dtype")


def test_other_files_are_no_images(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    Image.fromarray(PLANE.astype(np.uint8)).save(path, format="GIF")
    refuse(path, "truncated")
    path.write_bytes(b"II*\x00" + RNG.bytes(64))
    refuse(path, "truncated")


def test_bombs_are_refused_before_decoding(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, np.zeros((64, 64), np.uint16), compression="zlib")
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tag = file.pages[0].tags[name]
            form = {3: "<H", 4: "<I"}[int(tag.dtype)]
            struct.pack_into(form, data, tag.valueoffset, 50000)
    path.write_bytes(data)
    monkeypatch.setattr(images, "tiff_decode", None)
    refuse(path, "size")
    header = struct.pack(">IIBBBBB", 2**20, 2**20, 16, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    png = (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )
    (tmp_path / "x.png").write_bytes(png)
    monkeypatch.setattr(images, "png_decode", None)
    refuse(tmp_path / "x.png", "size")


def test_field(tmp_path: Path) -> None:
    for channel, shift in (("a", 0), ("b", 1)):
        tifffile.imwrite(tmp_path / f"{channel}.tif", PLANE + np.uint16(shift), compression="lzw")
    rows = [
        Row("b", str(tmp_path / "b.tif")),
        Row("a", str(tmp_path / "a.tif")),
        Row("x", "unused"),
    ]
    field = read_field(rows, channels=["a", "b"], expected=(PLANE.shape, "uint16"))
    np.testing.assert_array_equal(field.image, [PLANE, PLANE + 1])
    assert field.digests == {
        row.url: hashlib.sha256(Path(row.url).read_bytes()).hexdigest() for row in rows[:2]
    }


def test_field_refuses_what_does_not_fit(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PLANE)
    tifffile.imwrite(tmp_path / "small.tif", PLANE[:, :-1])
    tifffile.imwrite(tmp_path / "byte.tif", PLANE.astype(np.uint8))
    rows = {
        name: Row(name, str(tmp_path / f"{name}.tif")) for name in ("a", "small", "byte", "gone")
    }
    for other, reason in (("small", "shape"), ("byte", "dtype"), ("gone", "missing")):
        with pytest.raises(FieldError, match=f"^{reason}: "):
            read_field([rows["a"], rows[other]], channels=["a", other])
    for expected, reason in ((((5, 5), "uint16"), "shape"), ((PLANE.shape, "uint8"), "dtype")):
        with pytest.raises(FieldError, match=f"^{reason}: "):
            read_field([rows["a"]], channels=["a"], expected=expected)
    for channels in (["a", "b"], ["b"]):
        with pytest.raises(FieldError, match=r"^missing: no file of channel 'b'"):
            read_field([rows["a"]], channels=channels)
