"""Vendors' containers by bioio: what is said without it, and real .czi files where it is there."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import tifffile

from i2r.errors import InputError
from i2r.readers import ReaderOptions, Sources, find_reader
from i2r.readers.images import read_field, read_shape

HAS_BIOIO = all(map(importlib.util.find_spec, ("bioio", "bioio_czi", "pylibCZIrw")))
needs_bioio = pytest.mark.skipif(not HAS_BIOIO, reason="bioio-czi is not installed")
without_bioio = pytest.mark.skipif(HAS_BIOIO, reason="bioio-czi is installed")


def scan(source: Path, **options: object) -> Sources:
    chosen = ReaderOptions(**options)  # type: ignore[arg-type]
    return find_reader("auto", str(source), pattern=chosen.pattern)(str(source), chosen)


@without_bioio
@pytest.mark.parametrize(
    ("name", "command"),
    [("a.nd2", r"pip install 'i2r\[vendors\]'"), ("a.LIF", r"pip install 'i2r\[vendors\]'"),
     ("a.czi", r"pip install bioio bioio-czi \(under GPL-3.0\)")],
)  # fmt: skip
def test_without_bioio_the_command_is_named(tmp_path: Path, name: str, command: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    for source in (tmp_path, tmp_path / name):
        with pytest.raises(InputError, match=rf"found 1 \.\w+ file, .*{command}.*bioformats2raw"):
            scan(source)


def test_a_stray_container_beside_images_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "overview.czi").write_bytes(b"x")
    tifffile.imwrite(tmp_path / "A01.tif", np.zeros((8, 9), np.uint16))
    images, notes = scan(tmp_path, pattern=r"(?P<well>[A-H]\d\d)")
    assert images["well"].tolist() == ["A01"]
    assert "1 files ignored, for example overview.czi" in notes


def write_czi(path: Path, value: int, *, channels: int = 2, planes: int = 3) -> None:
    """Write a .czi; the plane of channel c and z has the value + 100 c + z."""
    from pylibCZIrw import czi

    with czi.create_czi(str(path)) as document:
        for c in range(channels):
            for z in range(planes):
                plane = np.full((20, 24, 1), value + 100 * c + z, np.uint16)
                document.write(data=plane, plane={"C": c, "Z": z, "T": 0})
        document.write_metadata(
            document_name="x", channel_names={0: "DAPI", 1: "GFP"},
            scale_x=0.325e-6, scale_y=0.325e-6, scale_z=1e-6,
        )  # fmt: skip


@needs_bioio
def test_files_of_wells_are_read(tmp_path: Path) -> None:
    for number, well in enumerate(("A01", "A02")):
        write_czi(tmp_path / f"{well}.czi", 1000 * (number + 1))
    with pytest.raises(InputError, match="found 3 focal planes"):
        scan(tmp_path)
    images = scan(tmp_path, z="max").images
    assert sorted(set(images["well"])) == ["A01", "A02"]
    assert sorted(set(images["channel"])) == ["DAPI", "GFP"]
    assert set(images["pixel_size_um"].round(6)) == {0.325}
    rows = images[images["well"] == "A02"]
    field = read_field(rows.itertuples(), channels=["GFP", "DAPI"])
    assert field.image[:, 3, 4].tolist() == [2102, 2002]
    assert field.image.shape == (2, 20, 24)
    one = scan(tmp_path, z=1).images
    field = read_field(one[one["well"] == "A01"].itertuples(), channels=["DAPI"])
    assert field.image[0, 0, 0] == 1001
    assert read_shape(str(rows["url"].iloc[0])) == ((20, 24), np.dtype(np.uint16))


@needs_bioio
def test_one_file_needs_a_well_by_its_name_or_a_pattern(tmp_path: Path) -> None:
    write_czi(tmp_path / "screen.czi", 7, channels=1, planes=1)
    with pytest.raises(InputError, match=r"no well is known of 'screen.*init: --pattern"):
        scan(tmp_path / "screen.czi")
    write_czi(tmp_path / "P7_B03.czi", 7, channels=1, planes=1)
    images = scan(tmp_path / "P7_B03.czi", pattern=r"(?P<plate>P\d)_(?P<well>[A-H]\d\d)").images
    assert images[["plate", "well", "channel"]].to_numpy().tolist() == [["P7", "B03", "channel"]]


@needs_bioio
def test_damaged_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "A01.czi").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match=r"A01\.czi can't be decoded"):
        scan(tmp_path)
