"""CellVoyager: images, plate, pixels and errors as MeasurementData.mlf and its neighbours say."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from i2r.errors import InputError
from i2r.readers import ReaderOptions, find_reader
from i2r.readers.yokogawa import scan

SPACE = 'xmlns:bts="http://www.yokogawa.co.jp/BTS/BTSSchema/1.0"'
DETAIL = f"""\ufeff<?xml version="1.0"?><bts:MeasurementDetail {SPACE} bts:ColumnCount="12">
<bts:MeasurementSamplePlate bts:Name="Screen 7"/>
<bts:MeasurementChannel bts:Ch="1" bts:HorizontalPixelDimension="0.325"/>
<bts:MeasurementChannel bts:Ch="2" bts:HorizontalPixelDimension="0.325"/></bts:MeasurementDetail>"""
SETTINGS = f"""<?xml version="1.0"?><bts:MeasurementSetting {SPACE}><bts:ChannelList>
<bts:Channel bts:Ch="1" bts:Fluorophore="DAPI"/><bts:Channel bts:Ch="2" bts:Fluorophore="GFP"/>
</bts:ChannelList></bts:MeasurementSetting>"""


def name_image(well: str, field: int, z: int, channel: int, time: int = 1) -> str:
    return f"P_{well}_T{time:04}F{field:03}L01A01Z{z:02}C{channel:02}.tif"


def record(
    row: int, column: int, field: int, channel: int, *, z: int = 1, time: int = 1,
    action: str = "2D", kind: str = "IMG", name: str = "",
) -> str:  # fmt: skip
    well = f"{'ABCDEFGH'[row - 1]}{column:02}"
    ch = f'bts:Ch="{channel}"' if kind == "IMG" else ""
    return (
        f'<bts:MeasurementRecord bts:Type="{kind}" bts:Column="{column}" bts:Row="{row}" '
        f'bts:TimePoint="{time}" bts:FieldIndex="{field}" bts:ZIndex="{z}" bts:TimelineIndex="1" '
        f'bts:ActionIndex="1" bts:Action="{action}" {ch}>'
        f"{name or name_image(well, field, z, channel, time)}</bts:MeasurementRecord>"
    )


def write_measurement(folder: Path, records: list[str], *, detail: str = DETAIL) -> Path:
    """Write a measurement with all images that its list names."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(records)
    body = f'<?xml version="1.0"?><bts:MeasurementData {SPACE}>{text}</bts:MeasurementData>'
    (folder / "MeasurementData.mlf").write_text(body)
    if detail:
        (folder / "MeasurementDetail.mrf").write_text(detail)
    for line in records:
        name = line.rpartition("</")[0].rpartition(">")[2]
        if name.endswith(".tif"):
            tifffile.imwrite(folder / name, np.zeros((8, 9), np.uint16))
    tifffile.imwrite(folder / "DC_sCMOS #1_CAM1.tif", np.zeros((8, 9), np.uint16))
    return folder


RECORDS = [
    record(row, column, field, channel)
    for row, column in ((4, 8), (5, 3))
    for field in (1, 2)
    for channel in (1, 2)
]


@pytest.mark.parametrize("given", ["", "MeasurementData.mlf", "MeasurementDetail.mrf"])
def test_images_plate_and_pixels_are_those_of_the_lists(tmp_path: Path, given: str) -> None:
    folder = write_measurement(tmp_path / "a" / "b", RECORDS)
    source = str(folder / given) if given else str(tmp_path)
    assert find_reader("auto", source) is not find_reader("pattern", source)
    images, notes = find_reader("auto", source)(source, ReaderOptions())
    assert len(images) == 8
    assert set(images["plate"]) == {"Screen 7"}
    assert sorted(set(images["well"])) == ["D08", "E03"]
    assert sorted(set(images["channel"])) == ["1", "2"]
    assert set(images["pixel_size_um"]) == {0.325}
    assert (images["size_bytes"] > 0).all()
    assert not any("missing" in note for note in notes)


def test_channels_have_the_names_of_dyes_where_each_has_one(tmp_path: Path) -> None:
    folder = write_measurement(tmp_path / "m", RECORDS)
    (folder / "Settings.mes").write_text(SETTINGS)
    assert sorted(set(scan(str(folder), ReaderOptions()).images["channel"])) == ["DAPI", "GFP"]
    (folder / "Settings.mes").write_text(SETTINGS.replace("GFP", ""))
    assert sorted(set(scan(str(folder), ReaderOptions()).images["channel"])) == ["1", "2"]


def test_what_the_instrument_could_not_image_is_missing_by_name(tmp_path: Path) -> None:
    failed = record(6, 1, 1, 0, kind="ERR", name="AF failed")
    folder = write_measurement(tmp_path / "m", [*RECORDS, failed])
    (folder / name_image("D08", 2, 1, 1)).unlink()
    images, notes = scan(str(folder), ReaderOptions())
    gone = images[images["size_bytes"] < 0]
    assert gone[["well", "field"]].drop_duplicates().to_numpy().tolist() == [
        ["D08", "2"], ["F01", "1"]
    ]  # fmt: skip
    assert any("noted errors in place of 2 images, in 1 well: r6c1" in note for note in notes)
    assert "3 of 10 files are missing" in notes


def test_stacks_times_and_projections(tmp_path: Path) -> None:
    stack = [record(4, 8, 1, 1, z=z, action="3D") for z in (1, 2)]
    folder = write_measurement(tmp_path / "z", stack)
    assert list(scan(str(folder), ReaderOptions(z="max")).images["z"]) == [1, 2]
    times = [record(4, 8, 1, 1, time=time) for time in (1, 2)]
    folder = write_measurement(tmp_path / "t", times)
    with pytest.raises(InputError, match="found 2 time points"):
        scan(str(folder), ReaderOptions())
    images = scan(str(folder), ReaderOptions(time=1)).images
    assert images["url"].iloc[0].endswith("_T0002F001L01A01Z01C01.tif")
    # A projection beside the stack is another channel, not one more plane.
    both = [*stack, record(4, 8, 1, 1, action="MIP", name="mip.tif")]
    folder = write_measurement(tmp_path / "p", both)
    images = scan(str(folder), ReaderOptions(channels={"1 MIP": "DNA"})).images
    assert [url.rpartition("/")[2] for url in images["url"]] == ["mip.tif"]


def test_plates_of_one_name_are_told_apart_and_a_name_is_not_needed(tmp_path: Path) -> None:
    for name in ("x", "y"):
        write_measurement(tmp_path / name, RECORDS)
    images, notes = scan(str(tmp_path), ReaderOptions())
    assert sorted(set(images["plate"])) == ["Screen 7_x", "Screen 7_y"]
    assert any("2 plates are called 'Screen 7'" in note for note in notes)
    folder = write_measurement(tmp_path / "own" / "Plate3", RECORDS, detail="")
    assert set(scan(str(folder), ReaderOptions()).images["plate"]) == {"Plate3"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no whole XML"),
        ("<a></a>", "lists no images"),
        ('<a><MeasurementRecord Type="IMG" Row="1">a.tif</MeasurementRecord></a>', "no Column"),
        ("<!DOCTYPE a []><a></a>", "document type"),
    ],
)
def test_damaged_lists_are_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "MeasurementData.mlf").write_text(text)
    with pytest.raises(InputError, match=words):
        scan(str(tmp_path), ReaderOptions())


def test_a_list_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    write_measurement(tmp_path / "m", [record(4, 8, 1, 1, name="../../etc/passwd")])
    with pytest.raises(InputError):
        scan(str(tmp_path / "m"), ReaderOptions())
