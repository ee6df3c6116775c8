"""Folders of files: what the pattern finds, and what it says when it doesn't."""

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from i2r.errors import InputError
from i2r.readers import ReaderOptions
from i2r.readers.images import read_field
from i2r.readers.pattern import scan
from i2r.types import Well, parse_well

WELL = r"(?P<well>[A-Z]\d+)"


def touch(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, np.full((3, 4), number, np.uint8))


def test_defaults_without_plate_field_and_channel(tmp_path: Path) -> None:
    folder = tmp_path / "MyPlate"
    touch(folder, "A1.tif", "sub/B02.TIFF", "notes.txt")
    images, notes = scan(f"{folder}/", ReaderOptions(pattern=WELL))
    assert images[["plate", "well", "field", "channel"]].to_numpy().tolist() == [
        ["MyPlate", "A01", "1", "channel"],
        ["MyPlate", "B02", "1", "channel"],
    ]
    assert any("1 file ignored" in note and "notes.txt" in note for note in notes)
    assert any("'A1' is A01" in note for note in notes)
    renamed = scan(str(folder), ReaderOptions(pattern=WELL, plate="X", channels={"channel": "DNA"}))
    assert set(renamed.images["channel"]) == {"DNA"}
    assert set(renamed.images["plate"]) == {"X"}


def test_bbbc013_layout(tmp_path: Path) -> None:
    touch(tmp_path, "Channel1-01-A-01.tif", "Channel2-14-B-02.tif", "Channel2-01-A-01.tif")
    images = scan(
        str(tmp_path),
        ReaderOptions(
            pattern=r"Channel(?P<channel>\d)-\d+-(?P<row>[A-H])-(?P<column>\d+)\.tif",
            channels={"1": "GFP", "2": "DNA"},
        ),
    ).images
    assert images[["well", "channel"]].to_numpy().tolist() == [
        ["A01", "DNA"],
        ["A01", "GFP"],
        ["B02", "DNA"],
    ]


@given(well=st.builds(Well, st.integers(1, 32), st.integers(1, 48)), style=st.integers(0, 4))
def test_wells_in_every_style_are_one(well: Well, style: int) -> None:
    text = [
        well.name,
        f"{well.row_name}{well.column}",
        f"{well.row_name.lower()}{well.column:02d}",
        f"{well.row_name}-{well.column:02d}",
        f"r{well.row:02d}c{well.column:02d}",
    ][style]
    assert parse_well(text) == well
    assert parse_well(parse_well(text).name) == well


def test_several_planes_need_a_word(tmp_path: Path) -> None:
    for z, value in ((1, 5), (2, 9), (3, 7)):
        tifffile.imwrite(tmp_path / f"A01_z{z:02d}.tif", np.full((3, 4), value, np.uint8))
    pattern = WELL + r"_z(?P<z>\d+)"
    with pytest.raises(InputError, match=r"3 focal planes \(1, 2, 3\).*'z: max'"):
        scan(str(tmp_path), ReaderOptions(pattern=pattern))
    rows = scan(str(tmp_path), ReaderOptions(pattern=pattern, z="max")).images
    assert rows["z"].tolist() == [1, 2, 3]
    assert (read_field(rows.itertuples(), channels=["channel"]).image == 9).all()
    rows = scan(str(tmp_path), ReaderOptions(pattern=pattern, z=3)).images
    assert (read_field(rows.itertuples(), channels=["channel"]).image == 7).all()
    with pytest.raises(InputError, match="no focal plane 8, found 1, 2, 3"):
        scan(str(tmp_path), ReaderOptions(pattern=pattern, z=8))


def test_stacks_with_fewer_planes_than_most_are_named(tmp_path: Path) -> None:
    touch(tmp_path, *(f"A{w:02d}_z{z}.tif" for w in range(1, 8) for z in (1, 2, 3)))
    for well in range(1, 7):
        (tmp_path / f"A{well:02d}_z2.tif").unlink()
    touch(tmp_path, *(f"B{w:02d}_z{z}.tif" for w in range(1, 8) for z in (1, 2, 3)))
    notes = scan(str(tmp_path), ReaderOptions(pattern=WELL + r"_z(?P<z>\d)", z="max")).notes
    assert "well A01 field 1 channel 'channel' has 2 focal planes, most have 3" in notes[0]
    assert notes[-1] == "2 more fields have fewer focal planes than most"
    assert len(notes) == 5


def test_pages_are_planes_when_names_have_none(tmp_path: Path) -> None:
    stack = np.arange(3 * 12, dtype=np.uint16).reshape(3, 3, 4)
    tifffile.imwrite(tmp_path / "A01.tif", stack, photometric="minisblack", compression="lzw")
    with pytest.raises(InputError, match=r"has 3 pages, and nothing .* Set 'pages' to channel"):
        scan(str(tmp_path), ReaderOptions(pattern=WELL))
    images, notes = scan(str(tmp_path), ReaderOptions(pattern=WELL, z="max"))
    assert images["page"].tolist() == images["z"].tolist() == [0, 1, 2]
    assert any("3 pages" in note for note in notes)
    field = read_field(images.itertuples(), channels=["channel"])
    np.testing.assert_array_equal(field.image[0], stack.max(axis=0))
    assert len(field.digests) == 1


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (None, "none given.* such as .* adapted to your names .*A01_s1_w2.tif"),
        ("(", "no regular expression"),
        (r"(?P<wel>\w+)", r"group 'wel'.*Did you mean 'well'\?"),
        (r"(?P<plate>\w+)", "found no well"),
        (r"(?P<row>\w+)", "found no well"),
        (r"(?P<well>[A-H]\d\d)_s(?P<field>\d)_w1\.tif", "matches none of 5 files.*'A01_s1_w2.tif'"),
    ],
)
def test_wrong_patterns_are_explained(tmp_path: Path, pattern: str | None, message: str) -> None:
    touch(tmp_path, *(f"A01_s{n}_w2.tif" for n in (1, 2, 3)), "other.tif", "readme.md")
    with pytest.raises(InputError, match=message) as error:
        scan(str(tmp_path), ReaderOptions(pattern=pattern))
    assert "\n" not in str(error.value)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found no files"):
        scan(str(tmp_path), ReaderOptions(pattern=WELL))
    with pytest.raises(InputError, match="found no files, expected a folder of images"):
        scan(str(tmp_path), ReaderOptions())


@pytest.mark.parametrize("pattern", [WELL, None])
def test_a_folder_that_is_not_there(tmp_path: Path, pattern: str | None) -> None:
    (tmp_path / "Bilder für Zürich").mkdir()
    with pytest.raises(InputError, match=r"no such folder.*Did you mean 'Bilder für Zürich'"):
        scan(f"{tmp_path}/Bilder fur Zurich/", ReaderOptions(pattern=pattern))
    with pytest.raises(InputError, match=r"no such folder\. Correct the source\.$"):
        scan(f"{tmp_path}/other", ReaderOptions(pattern=pattern))


def test_without_a_pattern_one_that_fits_is_suggested(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{w}_s{n}_w{c}.tif" for w in ("A1", "B12") for n in (1, 2) for c in (1, 2)))
    with pytest.raises(InputError, match="fits all 8 names") as error:
        scan(str(tmp_path), ReaderOptions())
    suggested = str(error.value).split("'")[1]
    images = scan(str(tmp_path), ReaderOptions(pattern=suggested)).images
    assert images["well"].unique().tolist() == ["A01", "B12"]
    assert len(images.drop_duplicates(["well", "field", "channel"])) == 8


def test_names_that_are_no_wells_or_fields_are_listed(tmp_path: Path) -> None:
    touch(tmp_path, *(f"Z9{n}.tif" for n in range(7)))
    with pytest.raises(InputError, match="outside the largest plate") as error:
        scan(str(tmp_path), ReaderOptions(pattern=r"(?P<well>Z9\d)"))
    assert str(error.value).count("\n") == 5
    assert "and 2 more" in str(error.value)
    touch(tmp_path, "A01_s+1.tif")
    with pytest.raises(InputError, match="letters and digits only"):
        scan(str(tmp_path), ReaderOptions(pattern=r"(?P<well>A01)_(?P<field>s\+1)"))


def test_copies_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "A01.tif", "copy/A01.tif", "a1.tif")
    with pytest.raises(InputError, match=r"'A01' field 1 .* found 3 files"):
        scan(str(tmp_path), ReaderOptions(pattern=r"(?i:(?P<well>A0?1))\.tif"))


def test_two_channels_of_one_name_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "A01_w1.tif", "A01_w2.tif")
    pattern = WELL + r"_w(?P<channel>\d)"
    with pytest.raises(InputError, match="'DNA' is given to several"):
        scan(str(tmp_path), ReaderOptions(pattern=pattern, channels={"1": "DNA", "2": "DNA"}))


def test_hidden_files_and_links(tmp_path: Path) -> None:
    touch(tmp_path / "plate", "A01.tif", "._A01.tif", ".trash/A01.tif")
    os.symlink(tmp_path / "plate", tmp_path / "plate" / "loop")
    os.symlink(tmp_path / "gone", tmp_path / "plate" / "B01.tif")
    touch(tmp_path / "elsewhere", "C01.tif")
    os.symlink(tmp_path / "elsewhere", tmp_path / "plate" / "linked")
    os.symlink("D01.tif", tmp_path / "plate" / "D01.tif")  # leads to itself
    images = scan(str(tmp_path / "plate"), ReaderOptions(pattern=WELL)).images
    assert images["well"].tolist() == ["A01", "B01", "C01", "D01"]
    assert (images["size_bytes"] == -1).tolist() == [False, True, False, True]


def test_other_file_systems() -> None:
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    for well in ("A01", "B02"):
        with system.open(f"/scan/P1/{well}.tif", "wb") as file:
            tifffile.imwrite(file, np.full((3, 4), 3, np.uint16), compression="zlib")
    images = scan("memory://scan", ReaderOptions(pattern=r"(?P<plate>\w+)/" + WELL)).images
    assert images["url"].tolist() == ["memory://scan/P1/A01.tif", "memory://scan/P1/B02.tif"]
    assert (images["size_bytes"] > 0).all()
    assert (read_field(images[:1].itertuples(), channels=["channel"]).image == 3).all()
    system.rm("/scan", recursive=True)


@pytest.mark.skipif("I2R_DATA" not in os.environ, reason="set I2R_DATA to the real data sets")
def test_real_plate() -> None:
    options = ReaderOptions(
        pattern=r"Channel(?P<channel>\d)-\d+-(?P<row>[A-H])-(?P<column>\d+)\.tif",
        channels={"2": "DNA", "1": "GFP"},
        plate="BBBC013",
    )
    images, _ = scan(os.path.join(os.environ["I2R_DATA"], "bbbc013_u2os_plate", "images"), options)
    wells = images["well"].unique().tolist()
    assert len(wells) == 72
    assert len(images) == 144
    assert {well[0] for well in wells} == set("ABCEFG")
    rows = images[images["well"] == "A01"]
    field = read_field(rows.itertuples(), channels=["DNA", "GFP"], expected=((640, 640), "uint8"))
    assert field.image.shape == (2, 640, 640)


@pytest.mark.skipif("I2R_DATA" not in os.environ, reason="set I2R_DATA to the real data sets")
@pytest.mark.parametrize(
    ("folder", "pattern"),
    [
        (
            "ImageXpress_exported",
            r"(?P<plate>[^/]+)/TimePoint_1/ZStep_(?P<z>[1-9]\d*)/\d+_(?P<well>[A-P]\d\d)"
            r"_s(?P<field>\d+)_w(?P<channel>\d)\.TIF$",
        ),
        (
            "CV8000",
            r"_(?P<well>[A-P]\d\d)_T0001F(?P<field>\d+)L01A\d+Z(?P<z>\d+)C(?P<channel>\d+)\.tif$",
        ),
    ],
)
def test_real_vendor_folders(folder: str, pattern: str) -> None:
    source = os.path.join(os.environ["I2R_DATA"], "hcs_layouts_faim", folder)
    with pytest.raises(InputError, match="focal planes"):
        scan(source, ReaderOptions(pattern=pattern))
    images = scan(source, ReaderOptions(pattern=pattern, z="max")).images
    fields = images.groupby(["plate", "well", "field"])
    assert fields.ngroups >= 4
    assert fields["z"].nunique().gt(1).any()
    rows = fields.get_group(next(iter(fields.groups)))
    channels = sorted(rows["channel"].unique())
    field = read_field(rows.itertuples(), channels=channels)
    for place, channel in enumerate(channels):
        planes = [tifffile.imread(url) for url in rows["url"][rows["channel"] == channel]]
        np.testing.assert_array_equal(field.image[place], np.max(planes, axis=0))
