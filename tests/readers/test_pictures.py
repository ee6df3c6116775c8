"""Pictures of any folder: grey, several channels, colours, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from imagecodecs import jpeg_encode, png_encode

from i2r.errors import FieldError, InputError
from i2r.readers.pictures import group_pictures, list_pictures, read_labels, read_picture
from i2r.store.pictures import write_label_tiff

PLANE = np.random.default_rng(0).integers(0, 60000, (20, 30)).astype(np.uint16)


def save(path: Path, pixels: np.ndarray) -> str:
    if path.suffix == ".png":
        path.write_bytes(png_encode(pixels))
    elif path.suffix == ".jpg":
        path.write_bytes(jpeg_encode(pixels))
    else:
        tifffile.imwrite(path, pixels, photometric="minisblack")
    return str(path)


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_pictures_come_as_they_are(name: str, dtype: type, tmp_path: Path) -> None:
    plane = PLANE.astype(dtype)
    found = read_picture(save(tmp_path / name, plane))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, plane)


def test_floats_stay_and_other_integers_become_float(tmp_path: Path) -> None:
    plane = PLANE / 7 - 100
    np.testing.assert_allclose(
        read_picture(save(tmp_path / "a.tif", plane)), plane, rtol=1e-6, atol=1e-3
    )
    found = read_picture(save(tmp_path / "b.tif", PLANE.astype(np.int32) - 500))
    assert found.dtype == np.float32
    assert found.min() < 0


def test_a_channel_is_chosen_by_its_number(tmp_path: Path) -> None:
    stack = np.stack([PLANE, PLANE // 2, PLANE // 3])
    pages, colours = save(tmp_path / "a.tif", stack), save(tmp_path / "b.png", np.dstack(stack))
    for url in (pages, colours):
        np.testing.assert_array_equal(read_picture(url, channel=1), PLANE // 2)
        with pytest.raises(FieldError, match=r"^channel: .* has 3 channels, no channel was named"):
            read_picture(url)
        with pytest.raises(FieldError, match="channel 3 was asked for, expected 0 to 2"):
            read_picture(url, channel=3)


def test_grey_saved_as_colours_needs_no_channel(tmp_path: Path) -> None:
    grey = (PLANE // 256).astype(np.uint8)
    opaque = np.full_like(grey, 255)
    rgba = save(tmp_path / "a.png", np.dstack([grey, grey, grey, opaque]))
    np.testing.assert_array_equal(read_picture(rgba), grey)
    rgb = save(tmp_path / "b.jpg", np.dstack([grey // 8 * 0 + 40] * 3))
    assert (read_picture(rgb) == 40).all()


def test_files_that_are_none_say_so(tmp_path: Path) -> None:
    for name, content in (("a.tif", b"II*\0"), ("b.png", b"\x89PNG\r\n\x1a\n"), ("c.tif", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FieldError, match=r"^truncated: "):
            read_picture(str(tmp_path / name))
    with pytest.raises(FieldError, match=r"^missing: "):
        read_picture(str(tmp_path / "d.tif"))
    with pytest.raises(FieldError, match=r"^(shape|ambiguous): "):
        read_picture(save(tmp_path / "e.tif", np.zeros((2, 3, 8, 9), np.uint8)))


def test_pictures_are_listed_by_stem(tmp_path: Path) -> None:
    for name in ("b.TIF", "a.b.png", "c.txt", "d"):
        (tmp_path / name).write_bytes(b"")
    assert list(list_pictures(str(tmp_path))) == ["a.b", "b"]
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"b\.png and b\.TIF|b\.TIF and b\.png"):
        list_pictures(str(tmp_path))
    with pytest.raises(InputError, match="no such folder, or no picture in it"):
        list_pictures(str(tmp_path / "none"))


@pytest.mark.parametrize(("top", "dtype"), [(5, np.uint16), (65535, np.uint16), (65536, np.uint32)])
def test_labels_are_written_and_read_back(top: int, dtype: type, tmp_path: Path) -> None:
    labels = np.zeros((9, 7), np.int32)
    labels[2:4, 3:5] = top
    url = str(tmp_path / "labels.tif")
    write_label_tiff(url, labels)
    found = read_labels(url)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, labels)


def test_labels_are_integers_of_two_axes(tmp_path: Path) -> None:
    with pytest.raises(FieldError, match=r"^dtype: "):
        read_labels(save(tmp_path / "a.tif", np.zeros((4, 4), np.float32)))
    with pytest.raises(FieldError, match=r"^shape: "):
        read_labels(save(tmp_path / "b.png", np.zeros((4, 4, 3), np.uint8)))


def test_pictures_are_grouped_by_their_folder_and_chosen_by_a_pattern(tmp_path: Path) -> None:
    names = ("top.tif", "JUN/1_w1.tif", "JUN/1_w2.tif", "JUN/notes.txt", "b/c/2_w1.png", "._x.tif")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = group_pictures(str(tmp_path))
    assert {folder: [f.path.rpartition("/")[2] for f in group] for folder, group in found.items()} == {
        tmp_path.name: ["top.tif"], "JUN": ["1_w1.tif", "1_w2.tif"], "b/c": ["2_w1.png"],
    }  # fmt: skip
    assert found["JUN"][0].stat.size_bytes == 1
    (only,) = group_pictures(f"{tmp_path}/*/*_w1.tif").values()
    assert [file.path for file in only] == [f"{tmp_path}/JUN/1_w1.tif"]
    assert list(group_pictures(f"{tmp_path}/b/?/*")) == ["c"]
    for nothing in ("none", "*.png", "JUN/*.txt"):
        with pytest.raises(InputError, match="no picture there"):
            group_pictures(f"{tmp_path}/{nothing}")


def test_pictures_are_decoded_as_plates_are(tmp_path: Path) -> None:
    """WhiteIsZero is turned, ImageJ's stacks with one directory have all their planes."""
    white = str(tmp_path / "white.tif")
    tifffile.imwrite(white, PLANE, photometric="miniswhite")
    np.testing.assert_array_equal(read_picture(white), np.iinfo(PLANE.dtype).max - PLANE)
    stack = np.stack([PLANE, PLANE // 2, PLANE // 4])
    one = str(tmp_path / "one.tif")
    tifffile.imwrite(one, stack, imagej=True, metadata={"axes": "CYX"}, truncate=True)
    for channel in range(3):
        np.testing.assert_array_equal(read_picture(one, channel=channel), stack[channel])
    both = str(tmp_path / "both.tif")
    tifffile.imwrite(both, np.stack([stack] * 2), imagej=True, metadata={"axes": "ZCYX"})
    with pytest.raises(FieldError, match=r"^shape: .*3 channels \(0, 1, 2\), 2 focal planes"):
        read_picture(both, channel=0)
