"""Sources that no reader takes, fields' names, plates of one name, and files as sources."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from i2r.errors import InputError
from i2r.readers import ReaderOptions, find_reader
from i2r.readers.names import name_field
from i2r.readers.plate_names import tell_apart

PLANE = np.arange(64, dtype=np.uint16).reshape(8, 8)


def scan(source: Path, **options: object) -> tuple[object, tuple[str, ...]]:
    chosen = ReaderOptions(**options)  # type: ignore[arg-type]
    return find_reader("auto", str(source), pattern=chosen.pattern)(str(source), chosen)


@pytest.mark.parametrize(
    ("name", "said"),
    [("a.czi", r"found 1 \.czi file, .* bioformats2raw"), ("a.C01", r"1 \.C01 file"),
     ("a.zip", "unpack"), ("a.bmp", "as TIFF or PNG"), ("a.xyz", r"1 \.xyz file")],
)  # fmt: skip
def test_what_is_not_read_is_named(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=said):
        scan(tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [("a.czi", "bioformats2raw"), ("plate.zip", "unpack"), ("image.tif", "Give its folder")],
)
def test_a_file_that_is_no_source_says_what_to_give(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=said):
        scan(tmp_path / name)


def test_an_ome_zarr_image_is_no_plate(tmp_path: Path) -> None:
    image = tmp_path / "image.zarr"
    image.mkdir()
    (image / ".zattrs").write_text(json.dumps({"multiscales": [{"datasets": []}]}))
    with pytest.raises(InputError, match=r"without a plate|no plate"):
        scan(image)
    with pytest.raises(InputError, match=r"without a plate|no plate"):
        scan(tmp_path)


@pytest.mark.parametrize("guid", ["", "D5F8F51A-3E85-4358-AE51-A465AF87386F",
                                  "_[D5F8F51A-3E85-4358-AE51-A465AF87386F]",
                                  "{D5F8F51A-3E85-4358-AE51-A465AF87386F}"])  # fmt: skip
def test_a_htd_stands_for_its_folder(tmp_path: Path, guid: str) -> None:
    folder = tmp_path / "P" / "TimePoint_1"
    folder.mkdir(parents=True)
    for well in ("A01", "A02"):
        tifffile.imwrite(folder / f"P_{well}_s1_w1{guid}.tif", PLANE)
    settings = tmp_path / "P" / "P.HTD"
    settings.write_text(
        '"XWells", 2\r\n"YWells", 1\r\n"WellsSelection1", TRUE, TRUE\r\n"Sites", FALSE\r\n'
        '"NWavelengths", 1\r\n"WaveName1", "DAPI"\r\n'
    )
    for source in (settings, tmp_path / "P"):
        images, _ = scan(source)
        assert images["well"].tolist() == ["A01", "A02"]  # type: ignore[index]
        assert set(images["channel"]) == {"DAPI"}  # type: ignore[index]


def test_a_table_may_be_set_apart_by_tabs(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PLANE)
    (tmp_path / "load_data.tsv").write_text("FileName_DNA\tMetadata_Well\na.tif\tA01\n")
    images, _ = scan(tmp_path / "load_data.tsv")
    assert images["well"].tolist() == ["A01"]  # type: ignore[index]


def test_names_of_fields_keep_letters_and_digits() -> None:
    names = ["01", "0_1", "0_illum_corr", "s2", "1.0", "X00--Y01", ""]
    assert [name_field(name) for name in names] == [
        "1", "0x1", "0illumcorr", "s2", "1", "X00Y01", "1",
    ]  # fmt: skip


def test_positions_of_a_grid_are_fields_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    for field in ("0_0", "1_0", "1_1"):
        tifffile.imwrite(tmp_path / f"A1-Site_{field}.tif", PLANE)
    pattern = r"(?P<well>[A-P]\d+)-Site_(?P<field>[^.]+)\.tif"
    images, notes = scan(tmp_path, pattern=pattern)
    assert images["field"].tolist() == ["0x0", "1x0", "1x1"]  # type: ignore[index]
    assert any("fields renamed: '0_0' is 0x0" in note for note in notes)
    tifffile.imwrite(tmp_path / "A1-Site_1-1.tif", PLANE)
    with pytest.raises(InputError, match="'1-1' and '1_1' are both '1x1'"):
        scan(tmp_path, pattern=pattern)


def test_plates_of_one_name_are_told_apart_by_their_places() -> None:
    names, notes = tell_apart([("P", "/s/a/x.zarr"), ("P", "/s/b/x.zarr"), ("Q", "/s/q")])
    assert names == ["P_a", "P_b", "Q"]
    assert "2 plates are called 'P'" in notes[0]
    assert tell_apart([("P", "/s/a"), ("P", "/s/a")]) == (["P", "P"], [])


def test_a_time_point_is_chosen_by_its_index(tmp_path: Path) -> None:
    for time in (1, 2):
        tifffile.imwrite(tmp_path / f"A01_t{time}.tif", PLANE)
    pattern = r"(?P<well>A01)_t(?P<time>\d)"
    with pytest.raises(InputError, match="2 time points"):
        scan(tmp_path, pattern=pattern)
    images, _ = scan(tmp_path, pattern=pattern, time=1)
    assert [Path(url).name for url in images["url"]] == ["A01_t2.tif"]  # type: ignore[index]
    with pytest.raises(InputError, match="0 to 1"):
        scan(tmp_path, pattern=pattern, time=2)
