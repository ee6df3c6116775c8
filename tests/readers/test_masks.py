"""One mask per field: by the image's path, by plate, well and field, or none, and never two."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from i2r.errors import FieldError, I2RError, InputError
from i2r.readers.labels import read_labels_header, read_mask
from i2r.readers.masks import MaskField, check_headers, find_mask, match_masks

LABELS = np.zeros((12, 15), np.int32)
for number, (row, column) in enumerate([(1, 1), (1, 9), (7, 5)], start=1):
    LABELS[row : row + 4, column : column + 4] = number
# Two plates whose images have the same names, as a Phenix gives them.
FIELDS = [
    MaskField(plate, well, "1", f"/src/{plate}__2024/Images/{well}f01.tiff")
    for plate in ("P1", "P2")
    for well in ("A01", "A02")
]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(folder / name, LABELS.astype(np.uint16))


def match(folder: Path, fields: list[MaskField] = FIELDS) -> dict[str, str]:
    """Match, and give the masks' paths by plate and well; doubts as '?'."""
    urls, doubts = match_masks(str(folder), fields)
    found = {
        f"{p}/{w}": Path(url).relative_to(folder).as_posix() for (p, w, _), url in urls.items()
    }
    return {**found, **{f"{p}/{w}": "?" for p, w, _ in doubts}}


def test_folders_like_the_images_own_tell_plates_apart(tmp_path: Path) -> None:
    touch(tmp_path, "P1__2024/Images/A01f01.tiff", "P2__2024/Images/A01f01.png")
    expected = {"P1/A01": "P1__2024/Images/A01f01.tiff", "P2/A01": "P2__2024/Images/A01f01.png"}
    assert match(tmp_path) == expected
    # P2's own, and one that could be of either: that one is of neither.
    touch(tmp_path, "Images/A01f01.tif", "Images/A02f01.tif")
    assert match(tmp_path) == {**expected, "P1/A02": "?", "P2/A02": "?"}


@pytest.mark.parametrize("folder", ["", "Images/"])
def test_a_mask_of_two_fields_is_of_neither(tmp_path: Path, folder: str) -> None:
    touch(tmp_path, f"{folder}A01f01.tif")
    assert match(tmp_path) == {"P1/A01": "?", "P2/A01": "?"}
    assert match(tmp_path, FIELDS[:2]) == {"P1/A01": f"{folder}A01f01.tif"}
    doubt = next(iter(match_masks(str(tmp_path), FIELDS).doubts.values()))
    assert "plate 'P1' well A01 field 1" in doubt
    assert "plate 'P2' well A01 field 1" in doubt


@pytest.mark.parametrize(
    "name",
    ["P1/A01_1.tif", "p1/a01_s01.png", "P1_A01_f1.tif", "P1/A01/1.tif", "masks/P1-A01-1_label.tif"],
)
def test_masks_named_by_plate_well_and_field(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name)
    assert match(tmp_path) == {"P1/A01": name}
    assert match(tmp_path, FIELDS[2:]) == {}


def test_a_name_without_plate_is_enough_for_one_plate(tmp_path: Path) -> None:
    touch(tmp_path, "A01_1.tif", "A02_1.tif")
    assert match(tmp_path, FIELDS[:2]) == {"P1/A01": "A01_1.tif", "P1/A02": "A02_1.tif"}
    assert set(match(tmp_path).values()) == {"?"}


def test_a_name_with_places_in_it(tmp_path: Path) -> None:
    touch(tmp_path, "P1/x_A01-1.tif")
    found = match_masks(f"{tmp_path}/{{plate}}/x_{{well}}-{{field}}.tif", FIELDS)
    assert list(found.urls) == [("P1", "A01", "1")]
    with pytest.raises(InputError, match=r"no {plate} in the name"):
        match_masks(f"{tmp_path}/x_{{well}}-{{field}}.tif", FIELDS)


@pytest.mark.parametrize(
    "ending",
    [".tif", ".TIF", ".png", "_cp_masks.tif", "_MaskNuclei.TIFF", "_label.tif", "-labels.png",
     "_masks.tif", "_Nuclei.tif", "_seg.tif", "_mask.ome.tif"],
)  # fmt: skip
def test_endings_that_programs_give(tmp_path: Path, ending: str) -> None:
    image = MaskField("P1", "A01", "1", "/src/Exp 7_A01_s1_w1.tif")
    other = MaskField("P1", "A01", "2", "/src/Exp 7_A01_s1_w11.tif")
    name = f"Exp 7_A01_s1_w1{ending}"
    (tmp_path / name).write_bytes(b"")
    assert match(tmp_path, [image, other]) == {"P1/A01": name}
    assert find_mask(str(tmp_path), image_url=image.image_url) == f"{tmp_path}/{name}"
    assert find_mask(str(tmp_path), image_url=other.image_url) is None


def test_two_masks_of_one_field_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "A01f01.tif", "A01f01_masks.png")
    assert match(tmp_path, FIELDS[:1]) == {"P1/A01": "?"}


@pytest.mark.parametrize(
    "dtype", ["uint8", "int16", "int32", "uint32", "int64", "uint64", "float32"]
)
def test_labels_of_any_type(tmp_path: Path, dtype: str) -> None:
    path = str(tmp_path / "m.tif")
    tifffile.imwrite(path, LABELS.astype(dtype))
    found = read_mask(path, shape=LABELS.shape)
    np.testing.assert_array_equal(found, LABELS)
    assert found.dtype == np.int32


@pytest.mark.parametrize("mode", ["grey", "palette"])
def test_png_labels_are_numbers_not_colours(tmp_path: Path, mode: str) -> None:
    path = str(tmp_path / "m.png")
    image = Image.fromarray(LABELS.astype(np.uint8))
    if mode == "palette":
        image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(path)
    np.testing.assert_array_equal(read_mask(path, shape=LABELS.shape), LABELS)


@pytest.mark.parametrize("value", [1, 255])
def test_one_label_of_several_parts(tmp_path: Path, value: int) -> None:
    path = str(tmp_path / "m.tif")
    tifffile.imwrite(path, ((LABELS > 0) * value).astype(np.uint8))
    with pytest.raises(I2RError, match=rf"one label, {value}, of 3 parts.*'mask_parts: label'"):
        read_mask(path, shape=LABELS.shape)
    found = read_mask(path, shape=LABELS.shape, label_parts=True)
    np.testing.assert_array_equal(found > 0, LABELS > 0)
    assert len(np.unique(found)) == 4


def test_one_nucleus_or_none_is_no_binary_mask(tmp_path: Path) -> None:
    alone = np.where(LABELS == 2, 2, 0).astype(np.uint16)
    alone[11, 0] = 2  # a speck
    for mask in (alone, np.zeros_like(alone)):
        tifffile.imwrite(tmp_path / "m.tif", mask)
        np.testing.assert_array_equal(read_mask(str(tmp_path / "m.tif"), shape=mask.shape), mask)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (LABELS[:, :-1], r"found \(12, 14\), its image is \(12, 15\)"),
        (LABELS.T, r"found \(15, 12\)"),
        (np.stack([LABELS] * 2), r"several planes"),
        (-LABELS, "labels go from -3 to 0"),
        (LABELS.astype(np.int64) * 2**31, "labels go from 0 to"),
        (LABELS / 7, "fractions"),
    ],
)
def test_what_is_no_mask_of_the_field(tmp_path: Path, mask: Any, message: str) -> None:
    path = str(tmp_path / "m.tif")
    tifffile.imwrite(path, mask, photometric="minisblack")
    with pytest.raises(I2RError, match=message):
        read_mask(path, shape=LABELS.shape)
    if mask.shape != LABELS.shape:
        assert path in check_headers([path], shapes={path: LABELS.shape})[path]


def test_damaged_masks_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.tif"
    path.write_bytes(b"II*\0")
    for read in (read_mask, read_labels_header):
        with pytest.raises(FieldError, match=r"^truncated: "):
            read(str(path), shape=LABELS.shape)
        with pytest.raises(FieldError, match=r"^missing: "):
            read(str(tmp_path / "gone.tif"), shape=LABELS.shape)


def write_zarr(
    path: Path, name: str, labels: dict[str, tuple[str, ...]], *, dtype: str = ">i4"
) -> None:
    """Write an OME-Zarr 0.4 plate of label images alone, by well."""
    root = zarr.open_group(path, mode="w", zarr_format=2)
    wells = [{"path": well, "rowIndex": 0, "columnIndex": n} for n, well in enumerate(labels)]
    columns = [{"name": well.partition("/")[2]} for well in labels]
    root.attrs["plate"] = {
        "name": name,
        "rows": [{"name": "A"}],
        "columns": columns,
        "wells": wells,
    }
    for well, names in labels.items():
        group = root.create_group(well)
        group.attrs["well"] = {"images": [{"path": "0"}]}
        held = group.create_group("0").create_group("labels")
        held.attrs["labels"] = list(names)
        for number, label in enumerate(names, start=1):
            image = held.create_group(label)
            image.attrs["multiscales"] = [{"datasets": [{"path": "0"}]}]
            array = image.create_array(
                "0", shape=(1, *LABELS.shape), chunks=(1, *LABELS.shape), dtype=dtype
            )
            array[...] = LABELS[None] * number


def test_labels_of_ome_zarr_plates(tmp_path: Path) -> None:
    write_zarr(tmp_path / "a.zarr", "P1", {"A/1": ("nuclei", "cells"), "A/2": ("nuclei",)})
    url = f"{tmp_path}/a.zarr"
    fields = [
        MaskField("P1", "A01", "0", f"{url}/A/1/0/0/.zarray"),  # the image of the same group
        MaskField("P1", "A02", "0", "/elsewhere/A02.tif"),
        MaskField("P2", "A02", "0", "/elsewhere/A02.tif"),
    ]
    with pytest.raises(InputError, match=r"labels cells, nuclei, expected one.*labels/cells"):
        match_masks(url, fields)
    urls, doubts = match_masks(f"{url}/labels/nuclei", fields)
    assert doubts == {}
    assert set(urls) == {("P1", "A01", "0"), ("P1", "A02", "0")}
    for mask in urls.values():
        read_labels_header(mask, shape=LABELS.shape)
        np.testing.assert_array_equal(read_mask(mask, shape=LABELS.shape), LABELS)
    with pytest.raises(InputError, match=r"labels .* expected none-such"):
        match_masks(f"{url}/labels/none-such", fields)
