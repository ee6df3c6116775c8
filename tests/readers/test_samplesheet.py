"""Tall sample sheets: plates, batches, paths, and what is wrong with them."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from i2r.errors import InputError
from i2r.readers import ReaderOptions
from i2r.readers.samplesheet import scan


def write_sheet(folder: Path, *lines: str) -> str:
    (folder / "sheet.csv").write_text("\n".join(lines) + "\n")
    return str(folder / "sheet.csv")


def test_batches_tell_plates_of_one_name_apart(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((3, 4), np.uint8))
    header = "Channel,Path,Batch,Plate,Well"
    rows = ("DNA,a.tif,b1,P1,A1", "DNA,b.tif,b2,P1,A1", "DNA,c.tif,b2,P2,A1")
    images, notes = scan(write_sheet(tmp_path, header, *rows), ReaderOptions())
    assert images["plate"].tolist() == ["b1_P1", "b2_P1", "b2_P2"]
    assert images["size_bytes"].lt(0).tolist() == [False, True, True]
    assert "2 of 3 files are missing" in notes
    images, _ = scan(write_sheet(tmp_path, header, rows[0], rows[2]), ReaderOptions())
    assert images["plate"].tolist() == ["P1", "P2"]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_columns_may_be_set_apart_by_what_spreadsheets_write(
    separator: str, tmp_path: Path
) -> None:
    lines = ("path,channel,well", "a.tif,DNA,B02", "b.tif,DNA,B03")
    sheet = write_sheet(tmp_path, *(line.replace(",", separator) for line in lines))
    assert scan(sheet, ReaderOptions()).images["well"].tolist() == ["B02", "B03"]


def test_another_root_for_relative_paths(tmp_path: Path) -> None:
    sheet = write_sheet(tmp_path, "path,channel,well", "x/a.tif,DNA,B02", "/abs/b.tif,DNA,B03")
    images = scan(sheet, ReaderOptions(files_root="/data")).images
    assert images["url"].tolist() == ["/data/x/a.tif", "/abs/b.tif"]
    assert images["plate"].tolist() == [tmp_path.name] * 2


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("path,well", "a.tif,A01"), "expected 'channel' too"),
        (("channel,well", "DNA,A01"), "expected 'path' too"),
        (("path,channel", "a.tif,DNA"), "expected Metadata_Well"),
        (("path,channel,well", ",DNA,A01"), "line 2: found no path"),
        (("path,channel,well", "a.tif,DNA,A01", "b.tif,DNA,A01"), "found 2 files"),
    ],
)
def test_wrong_sheets_are_explained(lines: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as error:
        scan(write_sheet(tmp_path, *lines), ReaderOptions())
    assert "\n" not in str(error.value)
