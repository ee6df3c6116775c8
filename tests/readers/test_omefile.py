"""One OME-TIFF as a source: a plate by its OME-XML, images by their names, sets of files."""

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile

from i2r.errors import InputError
from i2r.readers import ReaderOptions, find_reader
from i2r.readers.images import read_field

PLANE = np.arange(48 * 40, dtype=np.uint16).reshape(48, 40)


def write_images(path: Path, names: list[str]) -> Path:
    """Write several images of two channels into one OME-TIFF; image n has the values + n."""
    with tifffile.TiffWriter(path, ome=True) as writer:
        for number, name in enumerate(names):
            writer.write(
                np.stack([PLANE + number, PLANE + 100 + number]),
                metadata={
                    "axes": "CYX", "Name": name, "Channel": {"Name": ["DAPI", "GFP"]},
                    "PhysicalSizeX": 0.325, "PhysicalSizeXUnit": "um",
                },
            )  # fmt: skip
    return path


def describe_plate(path: Path, wells: list[tuple[int, int, list[int]]]) -> None:
    """Add a plate to a file's OME-XML: rows and columns from 0, and the images of each well."""
    listed = "".join(
        f'<Well ID="Well:{n}" Row="{row}" Column="{column}">'
        + "".join(
            f'<WellSample ID="S:{image}" Index="{image}"><ImageRef ID="Image:{image}"/></WellSample>'
            for image in images
        )
        + "</Well>"
        for n, (row, column, images) in enumerate(wells)
    )
    with tifffile.TiffFile(path) as file:
        text = str(file.pages[0].aspage().description)
    plate = f'<Plate ID="Plate:0" Name="BR7">{listed}</Plate><Image '
    tifffile.tiffcomment(path, text.replace("<Image ", plate, 1).encode())


def scan(source: Path, **options: object) -> tuple[object, tuple[str, ...]]:
    chosen = ReaderOptions(**options)  # type: ignore[arg-type]
    return find_reader("auto", str(source), pattern=chosen.pattern)(str(source), chosen)


def test_a_plate_in_one_file_has_the_wells_of_its_ome_xml(tmp_path: Path) -> None:
    path = write_images(tmp_path / "all.ome.tif", ["", "x", "y"])
    describe_plate(path, [(1, 2, [1, 0]), (0, 0, [2])])
    images = scan(path)[0]
    assert set(images["plate"]) == {"BR7"}
    assert images.drop_duplicates(["well", "field"])[["well", "field"]].to_numpy().tolist() == [
        ["A01", "1"], ["B03", "1"], ["B03", "2"]
    ]  # fmt: skip
    assert set(images["pixel_size_um"]) == {0.325}
    # Image 1 comes first in its well.
    rows = images[(images["well"] == "B03") & (images["field"] == "1")]
    image = read_field(rows.itertuples(), channels=["DAPI", "GFP"]).image
    np.testing.assert_array_equal(image, np.stack([PLANE + 1, PLANE + 101]))


def test_images_without_a_plate_are_known_by_their_names(tmp_path: Path) -> None:
    path = write_images(tmp_path / "run3.ome.tif", ["A01_s1", "A01_s2", "A02_s1", "A02_s2"])
    images = scan(path)[0]
    assert set(images["plate"]) == {"run3"}
    assert sorted(set(images["well"])) == ["A01", "A02"]
    pattern = r"/(?P<well>[A-Z]\d\d)_s(?P<field>\d)"
    assert scan(path, pattern=pattern)[0]["well"].tolist() == images["well"].tolist()
    alone = write_images(tmp_path / "B05.ome.tif", [""])
    assert set(scan(alone)[0]["well"]) == {"B05"}
    unknown = write_images(tmp_path / "unknown.ome.tif", ["one", "two"])
    with pytest.raises(InputError, match=r"describes no plate, and no well is known of 'unknown"):
        scan(unknown)
    with pytest.raises(InputError, match="pattern does not read 'unknown"):
        scan(unknown, pattern=pattern)


def test_a_companion_stands_for_its_files(tmp_path: Path) -> None:
    for number in range(2):
        tifffile.imwrite(tmp_path / f"f{number}.tif", PLANE + number)
    listed = "".join(
        f'<Image ID="Image:{n}" Name="i"><Pixels DimensionOrder="XYCZT" SizeX="40" SizeY="48" SizeC="1" '
        f'SizeZ="1" SizeT="1" Type="uint16"><Channel ID="C:{n}"/><TiffData IFD="0" PlaneCount="1">'
        f'<UUID FileName="f{n}.tif">urn:uuid:{n}</UUID></TiffData></Pixels></Image>'
        for n in range(3)
    )
    wells = "".join(
        f'<Well Row="0" Column="{n}"><WellSample><ImageRef ID="Image:{n}"/></WellSample></Well>'
        for n in range(3)
    )
    companion = tmp_path / "plate.companion.ome"
    companion.write_text(f'<OME UUID="x"><Plate Name="P9">{wells}</Plate>{listed}</OME>')
    images, notes = scan(companion)
    assert images["well"].tolist() == ["A01", "A02", "A03"]
    assert images["size_bytes"].lt(0).tolist() == [False, False, True]
    assert "1 of 3 files is missing" in notes


@pytest.mark.parametrize("text", ["<OME", "<!DOCTYPE a []><OME/>", "<OME/>"])
def test_damaged_companions_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.companion.ome"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(str(path))):
        find_reader("omefile", str(path))(str(path), ReaderOptions())
