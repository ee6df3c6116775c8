"""CellProfiler's load_data tables as people and pipelines write them."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import tifffile

from i2r.errors import InputError
from i2r.readers import ReaderOptions
from i2r.readers.loaddata import scan


def write_table(path: Path, *lines: str, bom: bool = False) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8-sig" if bom else "utf-8")
    return str(path)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, np.zeros((3, 4), np.uint8))


def test_bom_spaces_and_numbers_like_floats(tmp_path: Path) -> None:
    touch(tmp_path / "a.tif")
    table = write_table(
        tmp_path / "PlateFolder" / "load_data.csv",
        "FileName_OrigDNA, PathName_OrigDNA ,Metadata_Row,Metadata_Col,Metadata_Site,NA",
        f"a.tif, {tmp_path},2.0,03.0,01.0,NA",
        bom=True,
    )
    images, notes = scan(table, ReaderOptions())
    row = images.iloc[0]
    assert (row["plate"], row["well"], row["field"]) == ("PlateFolder", "B03", "1")
    assert row["channel"] == "DNA"
    assert row["url"] == str(tmp_path / "a.tif")
    assert notes == ("wells renamed: 'r2c03' is B03",)


def test_plates_keep_their_zeros(tmp_path: Path) -> None:
    table = write_table(
        tmp_path / "t.csv", "FileName_DNA,Metadata_Plate,Metadata_Well", "a.tif,007,A1"
    )
    assert scan(table, ReaderOptions(plate="ignored")).images["plate"].tolist() == ["007"]


def test_channels_and_what_is_none(tmp_path: Path) -> None:
    table = write_table(
        tmp_path / "t.csv",
        "FileName_OrigDNA,FileName_DNA,FileName_OrigER,URL_OrigRNA,URL_OrigER,FileName_IllumDNA,"
        "PathName_IllumDNA,FileName_NucleiOutlines,FileName_GFP,Metadata_Well",
        "1.tif,x.tif,2.tif,file:/data/my%20plate/3.tif,s3://b/no.tif,i.npy,/i,o.png,4.tif,A01",
    )
    images, notes = scan(table, ReaderOptions())
    assert dict(zip(images["channel"], images["url"], strict=True)) == {
        "DNA": str(tmp_path / "1.tif"),
        "ER": str(tmp_path / "2.tif"),
        "GFP": str(tmp_path / "4.tif"),
        "RNA": "/data/my plate/3.tif",
    }
    assert "columns ignored: FileName_NucleiOutlines" in notes


def test_illumination_functions_belong_to_their_channels_and_move_on_their_own(
    tmp_path: Path,
) -> None:
    touch(tmp_path / "here" / "P1" / "a.tif", tmp_path / "here" / "P1" / "b.tif")
    (tmp_path / "here" / "illum").mkdir()
    (tmp_path / "here" / "illum" / "dna.npy").touch()
    table = write_table(
        tmp_path / "t.csv",
        "FileName_OrigDNA,PathName_OrigDNA,FileName_OrigER,PathName_OrigER,FileName_IllumDNA,"
        "PathName_IllumDNA,FileName_IllumRNA,Metadata_Well",
        "a.tif,/home/images/P1,b.tif,/home/images/P1,dna.npy,/home/functions/illum,no.npy,A01",
    )
    images, notes = scan(table, ReaderOptions(files_root=str(tmp_path / "here")))
    assert images[["channel", "url", "illumination"]].to_numpy().tolist() == [
        ["DNA", str(tmp_path / "here/P1/a.tif"), str(tmp_path / "here/illum/dna.npy")],
        ["ER", str(tmp_path / "here/P1/b.tif"), ""],
    ]
    assert "columns ignored: FileName_IllumRNA" in notes


def test_missing_files_are_rows_of_size_minus_one(tmp_path: Path) -> None:
    touch(tmp_path / "here.tif")
    table = write_table(
        tmp_path / "t.csv",
        "FileName_OrigDNA,Metadata_Well,Metadata_Site",
        "here.tif,A01,1",
        "gone.tif,A01,2",
        ",A01,3",
    )
    images, notes = scan(table, ReaderOptions())
    assert images["field"].tolist() == ["1", "2"]
    assert images["size_bytes"].gt(0).tolist() == [True, False]
    assert images["size_bytes"].iloc[1] == -1
    assert "1 of 2 files is missing" in notes


def test_gzip(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"FileName_OrigDNA,Metadata_Well\na.tif,A01\n"))
    assert scan(str(path), ReaderOptions()).images["well"].tolist() == ["A01"]


@pytest.mark.parametrize("recorded", ["/home/ubuntu/bucket/images", r"D:\screens\images"])
def test_files_root_takes_the_place_of_the_recorded_root(tmp_path: Path, recorded: str) -> None:
    separator = "\\" if "\\" in recorded else "/"
    plates = ("P1", "P2")
    root = tmp_path / "copied"
    # A plate's folder of another name must not be taken for both.
    touch(*(root / plate / "Images" / "a.tif" for plate in plates), root / "Images" / "a.tif")
    table = write_table(
        tmp_path / "t.csv",
        "FileName_OrigDNA,PathName_OrigDNA,Metadata_Plate,Metadata_Well",
        *(f"a.tif,{separator.join([recorded, plate, 'Images'])},{plate},A01" for plate in plates),
    )
    assert (scan(table, ReaderOptions()).images["size_bytes"] == -1).all()
    images = scan(table, ReaderOptions(files_root=str(root))).images
    assert images["url"].tolist() == [str(root / plate / "Images" / "a.tif") for plate in plates]
    assert (images["size_bytes"] > 0).all()


def test_files_root_of_one_folder(tmp_path: Path) -> None:
    touch(tmp_path / "flat" / "a.tif")
    table = write_table(
        tmp_path / "t.csv",
        "FileName_OrigDNA,PathName_OrigDNA,Metadata_Well",
        "a.tif,/somewhere/else/P1,A01",
        "b.tif,/somewhere/else/P1,A02",
    )
    images = scan(table, ReaderOptions(files_root=str(tmp_path / "flat"))).images
    assert images["size_bytes"].gt(0).tolist() == [True, False]
    images = scan(table, ReaderOptions(files_root=str(tmp_path / "nowhere"))).images
    assert (images["size_bytes"] == -1).all()


def test_rows_given_twice_are_refused(tmp_path: Path) -> None:
    table = write_table(
        tmp_path / "t.csv",
        "FileName_OrigDNA,Metadata_Well,Metadata_Site",
        "a.tif,A01,1",
        "b.tif,A1,01",
    )
    with pytest.raises(InputError, match=r"found 2 files .*a\.tif.*b\.tif"):
        scan(table, ReaderOptions())


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["FileName_OrigDNA,Metadata_Plate", "a.tif,P1"], "expected Metadata_Well"),
        (["a,Metadata_Well", "1,A01"], "expected FileName_OrigDNA"),
        (["FileName_OrigDNA,Metadata_Well"], "no rows"),
        ([""], "no CSV table"),
        (["FileName_OrigDNA,Metadata_Well", "a.tif,Q"], "'Q' is no well name"),
        (["FileName_OrigDNA,Metadata_Well,Metadata_Z", "a.tif,A01,top"], "top"),
    ],
)
def test_wrong_tables_are_explained(tmp_path: Path, lines: list[str], message: str) -> None:
    table = write_table(tmp_path / "t.csv", *lines)
    with pytest.raises(InputError, match=message):
        scan(table, ReaderOptions())


def test_no_table_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        scan(str(tmp_path / "t.csv"), ReaderOptions())
    found = {b"\xff\xfe\x00": "no CSV table", b"\x1f\x8bbroken": "damaged gzip"}
    for data, message in found.items():
        (tmp_path / "t.csv").write_bytes(data)
        with pytest.raises(InputError, match=message):
            scan(str(tmp_path / "t.csv"), ReaderOptions())


@pytest.mark.parametrize("is_there", [True, False])
def test_a_table_of_another_machine_beside_its_images(tmp_path: Path, is_there: bool) -> None:
    """Windows paths and a byte-order mark: the images lie below the table's folder, or nowhere."""
    (tmp_path / "imgs").mkdir()
    if is_there:
        tifffile.imwrite(tmp_path / "imgs" / "B02_d.tif", np.ones((4, 5), np.uint16))
    table = tmp_path / "load_data.csv"
    head = "Metadata_Plate,Metadata_Well,PathName_OrigDNA,FileName_OrigDNA"
    rows = f"{head}\r\nP1,B02,D:\\Images\\Run 1\\imgs,B02_d.tif\r\n"
    table.write_bytes(b"\xef\xbb\xbf" + rows.encode())
    images, notes = scan(str(table), ReaderOptions())
    assert (images["size_bytes"] > 0).tolist() == [is_there]
    said = "taken from below" if is_there else "set 'files_root' of 'convert'"
    assert any(note.partition("no file is where the table says")[2].count(said) for note in notes)
