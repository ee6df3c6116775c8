"""Plates of one name in several folders: told apart by their path, by every reader."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from i2r.errors import InputError
from i2r.readers import ReaderOptions, Sources, find_reader

PATTERN = r"(?P<plate>P\d)(?:/\w+)?/(?P<well>[A-Z]\d\d)_s(?P<field>\d)\.tif$"


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.zeros((8, 9), np.uint16))


def scan(source: Path, **options: object) -> Sources:
    chosen = ReaderOptions(**options)  # type: ignore[arg-type]
    return find_reader("auto", str(source), pattern=chosen.pattern)(str(source), chosen)


def write_batches(folder: Path) -> list[Path]:
    paths = [
        folder / batch / "P1" / f"{well}_s1.tif" for batch in ("week1", "week2")
        for well in ("A01", "A02")
    ]  # fmt: skip
    for path in paths:
        write(path)
    return paths


def check(found: Sources) -> None:
    assert sorted(set(found.images["plate"])) == ["P1_week1", "P1_week2"]
    for row in found.images.itertuples():
        assert f"/{str(row.plate).removeprefix('P1_')}/" in str(row.url)
    assert any("2 plates are called 'P1'" in note for note in found.notes)


def test_of_a_pattern(tmp_path: Path) -> None:
    write_batches(tmp_path)
    check(scan(tmp_path, pattern=PATTERN))


@pytest.mark.parametrize("kind", ["load_data", "sheet"])
def test_of_tables(tmp_path: Path, kind: str) -> None:
    paths = write_batches(tmp_path)
    header = "Metadata_Plate,Metadata_Well,FileName_DNA,PathName_DNA"
    rows = [f"P1,{path.name[:3]},{path.name},{path.parent}" for path in paths]
    if kind == "sheet":
        header = "plate,well,channel,path"
        rows = [f"P1,{path.name[:3]},DNA,{path}" for path in paths]
    (tmp_path / "t.csv").write_text("\n".join([header, *rows]))
    check(scan(tmp_path / "t.csv"))


def test_a_plate_in_several_folders_that_do_not_collide_stays_one(tmp_path: Path) -> None:
    for folder, well in (("day1", "A01"), ("day2", "A02")):
        write(tmp_path / "P1" / folder / f"{well}_s1.tif")
    assert set(scan(tmp_path, pattern=PATTERN).images["plate"]) == {"P1"}


def test_copies_that_folders_do_not_tell_apart_are_refused(tmp_path: Path) -> None:
    for name in ("P1/A01_s1.tif", "P1/copy/A01_s1.tif"):
        write(tmp_path / name)
    with pytest.raises(InputError, match="found 2 files"):
        scan(tmp_path, pattern=PATTERN)


@pytest.mark.parametrize(
    "recorded", ["images\\P1", ".\\images\\P1", "images/P1", r"D:\s\images\P1"]
)
@pytest.mark.parametrize("kind", ["load_data", "sheet"])
def test_paths_of_windows_are_found(tmp_path: Path, recorded: str, kind: str) -> None:
    write(tmp_path / "images" / "P1" / "A01_s1.tif")
    text = f"Metadata_Plate,Metadata_Well,FileName_DNA,PathName_DNA\nP1,A01,A01_s1.tif,{recorded}\n"
    if kind == "sheet":
        text = f"plate,well,channel,path\nP1,A01,DNA,{recorded}\\A01_s1.tif\n"
    (tmp_path / "t.csv").write_text(text)
    root = {"files_root": str(tmp_path)} if recorded[1] == ":" else {}
    assert scan(tmp_path / "t.csv", **root).images["size_bytes"].gt(0).all()
