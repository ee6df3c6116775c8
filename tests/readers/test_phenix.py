"""Opera Phenix: what an index says, and what is wrong with one."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from i2r.errors import InputError
from i2r.readers import ReaderOptions
from i2r.readers.images import read_field
from i2r.readers.phenix import scan
from tests.readers.conftest import describe_phenix, describe_phenix_image


def write_index(folder: Path, *images: str, plate: str = "BR1") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Index.idx.xml").write_text(describe_phenix(plate, list(images)))
    return str(folder / "Index.idx.xml")


def test_files_that_are_not_there_are_listed_as_missing(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tiff", np.full((3, 4), 7, np.uint16))
    index = write_index(
        tmp_path,
        describe_phenix_image("a.tiff", 2, 3, "1", 1, "HOECHST 33342"),
        describe_phenix_image("gone.tiff", 2, 3, "1", 2, "Alexa 568"),
    )
    images, notes = scan(index, ReaderOptions())
    assert images[["plate", "well", "field", "channel"]].to_numpy().tolist() == [
        ["BR1", "B03", "1", "Alexa 568"],
        ["BR1", "B03", "1", "HOECHST 33342"],
    ]
    assert images["size_bytes"].tolist()[0] == -1
    assert "1 of 2 files is missing" in notes
    assert "missing files: gone.tiff" in notes
    assert images["pixel_size_um"].round(3).tolist() == [0.598, 0.598]


def test_listed_wells_without_images_are_missing(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tiff", np.full((3, 4), 7, np.uint16))
    index = Path(write_index(tmp_path, describe_phenix_image("a.tiff", 2, 3, "1", 1, "DAPI")))
    listed = '<Well id="0203"/><Well id="0204"/></Plate>'
    text = index.read_text().replace("</Plate>", listed, 1)
    index.write_text(text)
    images, notes = scan(str(index), ReaderOptions())
    assert images["well"].tolist() == ["B03", "B04"]
    assert images["size_bytes"].lt(0).tolist() == [False, True]
    assert "1 well has no image at all: BR1/B04" in notes


def test_one_file_listed_for_two_fields_is_said(tmp_path: Path) -> None:
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / f"{name}.tiff", np.full((3, 4), 7, np.uint16))
    listed = [
        describe_phenix_image(f"{name}.tiff", 2, 3, field, 1, "DAPI")
        for name, field in (("a", "1"), ("b", "2"), ("b", "3"))
    ]
    _, notes = scan(write_index(tmp_path, *listed), ReaderOptions())
    (said,) = [note for note in notes if "for several fields" in note]
    assert said.startswith("WARNING 1 image stands for several fields, for example b.tiff for ")
    assert "BR1/B03 field 2, BR1/B03 field 3" in said


def test_planes_are_focal_planes(tmp_path: Path) -> None:
    for z in (1, 2):
        tifffile.imwrite(tmp_path / f"p{z}.tiff", np.full((3, 4), z, np.uint16))
    index = write_index(
        tmp_path, *(describe_phenix_image(f"p{z}.tiff", 1, 1, "1", 1, "DNA", z=z) for z in (1, 2))
    )
    with pytest.raises(InputError, match="2 focal planes"):
        scan(index, ReaderOptions())
    images = scan(index, ReaderOptions(z="max")).images
    assert (read_field(images.itertuples(), channels=["DNA"]).image == 2).all()


def test_two_channels_of_one_name_stay_two(tmp_path: Path) -> None:
    index = write_index(
        tmp_path,
        *(describe_phenix_image(f"{n}.tiff", 1, 1, "1", n, "Brightfield") for n in (1, 2)),
    )
    images = scan(index, ReaderOptions()).images
    assert images["channel"].tolist() == ["Brightfield (1)", "Brightfield (2)"]


def test_harmony_6_names_channels_in_a_map(tmp_path: Path) -> None:
    (tmp_path / "Index.xml").write_text(
        '<EvaluationInputData xmlns="http://www.perkinelmer.com/PEHH/HarmonyV6">'
        '<Maps><Map><Entry ChannelID="1"><ChannelName>DNA</ChannelName></Entry></Map></Maps>'
        "<Images><Image><URL>a/b.tiff</URL><Row>1</Row><Col>2</Col><FieldID>4</FieldID>"
        "<PlaneID>1</PlaneID><ChannelID>1</ChannelID></Image></Images></EvaluationInputData>"
    )
    images = scan(str(tmp_path), ReaderOptions(plate="P")).images
    assert images[["plate", "well", "field", "channel"]].to_numpy().tolist() == [
        [tmp_path.name, "A02", "4", "DNA"]
    ]
    assert images["url"].tolist() == [f"{tmp_path}/a/b.tiff"]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("", "lists no images"),
        (describe_phenix_image("../../secret.tiff", 1, 1, "1", 1, "DNA"), r"'\.\.'"),
        (
            describe_phenix_image("a.tiff", 1, 1, "1", 1, "DNA")
            + describe_phenix_image("b.tiff", 1, 1, "1", 1, "DNA", time=1),
            "2 time points",
        ),
        (describe_phenix_image("a.tiff", 99, 1, "1", 1, "DNA"), "outside the largest plate"),
    ],
)
def test_wrong_indices_are_explained(image: str, message: str, tmp_path: Path) -> None:
    index = write_index(tmp_path, image)
    with pytest.raises(InputError, match=message) as error:
        scan(index, ReaderOptions())
    assert "\n" not in str(error.value)


def test_no_index(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found no Index"):
        scan(str(tmp_path), ReaderOptions())


@pytest.mark.skipif("I2R_DATA" not in os.environ, reason="set I2R_DATA to the real data sets")
def test_a_real_image_under_its_real_name(tmp_path: Path) -> None:
    """The image is of a CPJUMP1 plate; the index is written here, as images came without one."""
    name = "r01c01f01p01-ch5sk1fk1fl1.tiff"
    source = Path(os.environ["I2R_DATA"]) / "cellpainting_fields" / f"JUMP_BR00117006_{name}"
    images = tmp_path / "BR00117006__2020-11-08T18_18_00-Measurement1" / "Images"
    write_index(
        images, describe_phenix_image(name, 1, 1, "1", 5, "HOECHST 33342"), plate="BR00117006"
    )
    shutil.copy(source, images / name)
    rows = scan(str(tmp_path), ReaderOptions(channels={"HOECHST 33342": "DNA"})).images
    field = read_field(rows.itertuples(), channels=["DNA"], expected=((1080, 1080), "uint16"))
    np.testing.assert_array_equal(field.image[0], tifffile.imread(source))


def test_an_index_above_its_images_finds_them(tmp_path: Path) -> None:
    images = []
    for column in (1, 2):
        folder = tmp_path / "Images" / f"r01c0{column}"
        folder.mkdir(parents=True)
        tifffile.imwrite(folder / f"c{column}.tiff", np.full((3, 4), column, np.uint16))
        images.append(describe_phenix_image(f"c{column}.tiff", 1, column, "1", 1, "DAPI"))
    found = scan(write_index(tmp_path, *images), ReaderOptions()).images
    assert found["size_bytes"].gt(0).all()
    # Of two files of one name, neither is taken.
    (tmp_path / "copy").mkdir()
    shutil.copy(tmp_path / "Images" / "r01c01" / "c1.tiff", tmp_path / "copy")
    found = scan(str(tmp_path / "Index.idx.xml"), ReaderOptions()).images
    assert found["size_bytes"].gt(0).tolist() == [False, True]


def test_images_that_the_index_does_not_list_are_said(tmp_path: Path) -> None:
    for name in ("a.tiff", "b.tiff"):
        tifffile.imwrite(tmp_path / name, np.full((3, 4), 7, np.uint16))
    index = write_index(tmp_path, describe_phenix_image("a.tiff", 1, 1, "1", 1, "DAPI"))
    notes = scan(index, ReaderOptions()).notes
    assert "1 image is left out that the index does not list, such as b.tiff" in notes
