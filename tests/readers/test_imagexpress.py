"""ImageXpress: exports, the instrument's own trees, and what a .HTD adds."""

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from i2r.errors import InputError
from i2r.readers import ReaderOptions, find_reader
from i2r.readers.images import read_field
from i2r.readers.imagexpress import scan
from tests.readers.conftest import describe_htd

GUID = "66923EBB-9960-4952-8955-D1721D112EE2"


def touch(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, np.full((3, 4), number + 1, np.uint8))


def keys(images) -> list[list[str]]:
    return images[["plate", "well", "field", "channel"]].to_numpy().tolist()


def test_a_guid_that_starts_with_digits_is_no_part_of_the_wavelength(tmp_path: Path) -> None:
    touch(tmp_path, f"My_Plate_E08_s2_w2{GUID}.tif", f"My_Plate_E08_s2_w12{GUID}.tif")
    images = scan(str(tmp_path), ReaderOptions()).images
    assert keys(images) == [["My_Plate", "E08", "2", "w12"], ["My_Plate", "E08", "2", "w2"]]


def test_names_without_site_or_wavelength(tmp_path: Path) -> None:
    touch(tmp_path, "P_AB03.tif", "P_A01_s10.TIF", "notes_x.tif")
    images = scan(str(tmp_path), ReaderOptions()).images
    assert keys(images) == [["P", "A01", "10", "w1"], ["P", "AB03", "1", "w1"]]


def test_plates_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    touch(tmp_path, "2023-02-21/1334/T_A01_s1_w1.tif", "2023-02-22/1335/T_A01_s1_w1.tif")
    images = scan(str(tmp_path), ReaderOptions()).images
    assert images["plate"].tolist() == ["T_1334", "T_1335"]


def test_projections_give_way_to_planes_and_stand_in_where_there_are_none(tmp_path: Path) -> None:
    steps = [f"TimePoint_1/ZStep_{z}/P_A01_s1_w1.TIF" for z in (0, 1, 2)]
    touch(tmp_path, *steps, "TimePoint_1/ZStep_0/P_A01_s1_w2.TIF")
    with pytest.raises(InputError, match="3 focal planes"):
        scan(str(tmp_path), ReaderOptions())
    images = scan(str(tmp_path), ReaderOptions(z="max")).images
    assert images[["channel", "z"]].to_numpy().tolist() == [["w1", 1], ["w1", 2], ["w2", 0]]
    images = scan(str(tmp_path), ReaderOptions(z=0)).images
    assert images[["channel", "z"]].to_numpy().tolist() == [["w1", 0], ["w2", 0]]


def test_the_htd_names_wavelengths_and_misses_sites(tmp_path: Path) -> None:
    touch(tmp_path, *(f"P_{well}_s{site}_w1.TIF" for well in ("A01", "B11") for site in (1, 2)))
    (tmp_path / "P_B11_s2_w1.TIF").unlink()
    settings = describe_htd(["A01", "B11", "H12"], sites=4, waves=("DAPI", "DAPI"))
    (tmp_path / "P.HTD").write_text(settings)
    images, notes = scan(str(tmp_path), ReaderOptions())
    assert keys(images) == [
        [*place, "DAPI (1)"]
        for place in (["P", well, site] for well in ("A01", "B11", "H12") for site in ("1", "2"))
    ]
    assert images["size_bytes"].lt(0).tolist() == [False, False, False, True, True, True]
    assert "3 of 6 files are missing" in notes
    assert "1 well has no image at all: P/H12" in notes


@pytest.mark.parametrize("text", ["", '"XWells", 12', describe_htd(["A01"])])
def test_damaged_htd(text: str, tmp_path: Path) -> None:
    touch(tmp_path, "P_A01_s1_w1.TIF")
    (tmp_path / "P.HTD").write_text(text.replace('"YSites", 1', '"YSites", x'))
    with pytest.raises(InputError, match=r"P\.HTD: no \.HTD of MetaXpress") as error:
        scan(str(tmp_path), ReaderOptions())
    assert "\n" not in str(error.value)


def test_a_damaged_htd_says_what_is_wrong(tmp_path: Path) -> None:
    touch(tmp_path, "P_A01_s1_w1.TIF")
    text = describe_htd(["A01"])
    for change, words in (
        (("TRUE", ""), "a line is too short"),
        (('"YWells", ', '"YWells", x'), "invalid literal"),
        (('"YWells"', '"Other"'), "'YWells' is missing"),
    ):
        damaged = "\n".join(
            line.partition(",")[0] if change[0] == "TRUE" and "WellsSelection" in line
            else line.replace(*change)
            for line in text.splitlines()
        )  # fmt: skip
        (tmp_path / "P.HTD").write_text(damaged)
        with pytest.raises(InputError) as error:
            scan(str(tmp_path), ReaderOptions())
        assert words in str(error.value)


def test_an_export_is_known_by_its_thumbnails(tmp_path: Path) -> None:
    touch(tmp_path, "P_A01_s1_w1.TIF")
    assert find_reader("auto", str(tmp_path)) is not scan, "anybody may name files like that"
    touch(tmp_path, "P_A01_s1_w1_thumb.TIF")
    assert find_reader("auto", str(tmp_path)) is scan
    assert len(scan(str(tmp_path), ReaderOptions()).images) == 1


def test_several_time_points_and_nothing_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found no file named like"):
        scan(str(tmp_path), ReaderOptions())
    touch(tmp_path, *(f"TimePoint_{n}/P_A01_s1_w1.TIF" for n in (1, 2)))
    with pytest.raises(InputError, match="2 time points, expected one"):
        scan(str(tmp_path), ReaderOptions())


needs_data = pytest.mark.skipif(
    "I2R_DATA" not in os.environ, reason="set I2R_DATA to the real data sets"
)


@needs_data
def test_a_real_tree() -> None:
    source = Path(os.environ["I2R_DATA"]) / "hcs_layouts_faim" / "ImageXpress"
    assert find_reader("auto", str(source)) is scan
    images, notes = scan(str(source), ReaderOptions())
    assert "12 thumbnails passed over" in notes
    assert keys(images) == [
        ["Projection-Mix", well, site, f"w{wave}"]
        for well in ("E07", "E08")
        for site in ("1", "2")
        for wave in (1, 2, 3)
    ]
    for row in images.itertuples():
        plane = read_field([row], channels=[row.channel], expected=((512, 512), "uint16")).image
        np.testing.assert_array_equal(plane[0], tifffile.imread(row.url))


@needs_data
def test_a_real_export() -> None:
    source = Path(os.environ["I2R_DATA"]) / "hcs_layouts_faim" / "ImageXpress_exported"
    assert find_reader("auto", str(source)) is scan
    options = ReaderOptions(z="max", channels={"DAPI": "DNA", "FITC": "GFP"})
    images, notes = scan(str(source), options)
    assert images["plate"].unique().tolist() == ["9987"]
    assert any("Texas Red" in note for note in notes)
    rows = images[images[["well", "field"]].eq(["B02", "1"]).all(axis=1)]
    field = read_field(rows.itertuples(), channels=["DNA"], expected=((256, 256), "uint16"))
    planes = [f"TimePoint_1/ZStep_{z}/9987_B02_s1_w1.TIF" for z in (1, 2)]
    stack = [tifffile.imread(source / "9987_Plate_3434" / plane) for plane in planes]
    np.testing.assert_array_equal(field.image[0], np.max(stack, axis=0))


@needs_data
def test_real_fields_of_one_plate() -> None:
    source = Path(os.environ["I2R_DATA"]) / "cellpainting_fields"
    images = scan(str(source), ReaderOptions()).images
    assert len(images) == 7
    assert images["well"].unique().tolist() == ["A01", "E05", "E07", "E08"]
    assert images["plate"].unique().tolist() == ["BBBC022_20585_IXMtest"]


def test_images_of_other_names_are_said(tmp_path: Path) -> None:
    guid = "D5F8F51A-3E85-4358-AE51-A465AF87386F"
    for name in (f"P1_A01_s1_w1{guid}.tif", "NF1_B7_01_1_3_DAPI_001.tif", "other.tiff"):
        tifffile.imwrite(tmp_path / name, np.zeros((3, 4), np.uint16))
    images, notes = scan(str(tmp_path), ReaderOptions())
    assert len(images) == 1
    assert any("2 images are left out, not named as MetaXpress does" in n for n in notes)
