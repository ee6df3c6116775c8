"""Vendors' containers by bioio: what is said without it, and real files where it is there."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from i2r.errors import FieldError, InputError
from i2r.readers import ReaderOptions, Sources, find_reader
from i2r.readers.images import read_field, read_shape
from tests.environments import ROOT, require_environment
from tests.readers.vendor_files import write_lif, write_nd2


def has(*names: str) -> bool:
    return all(map(importlib.util.find_spec, ("bioio", *names)))


HAS_BIOIO = has("bioio_czi", "pylibCZIrw")
needs_nd2 = pytest.mark.skipif(not has("bioio_nd2"), reason="bioio-nd2 is not installed")
needs_lif = pytest.mark.skipif(not has("bioio_lif"), reason="bioio-lif is not installed")
# Without what bioio needs and i2r has: one directory, seen beside i2r's own packages.
PACKAGES = (
    "--no-deps", *(f"{name}=={version}" for name, version in (
        ("bioio", "3.6.0"), ("bioio-base", "3.5.0"), ("bioio-nd2", "2.6.0"),
        ("bioio-lif", "2.0.1"), ("nd2", "0.12.0"), ("liffile", "2026.2.16"), ("ome-types", "0.7.0"),
    )),
    "xsdata", "resource-backed-dask-array", "semver", "pydantic-extra-types", "pint", "flexcache",
    "flexparser", "platformdirs", "lxml",
)  # fmt: skip
needs_bioio = pytest.mark.skipif(not HAS_BIOIO, reason="bioio-czi is not installed")
without_bioio = pytest.mark.skipif(has(), reason="bioio is installed")


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
    assert "1 file ignored, for example overview.czi" in notes


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


def make_planes() -> np.ndarray:
    """Planes (channel, z, y, x) whose values are 1000 + 100 c + z."""
    c, z, y, x = np.ogrid[:2, :3, :20, :24]
    return (1000 + 100 * c + z + 0 * y + 0 * x).astype(np.uint16)


def check_wells(source: Path, **options: object) -> None:
    """Look at wells A01 and A02, whose values are 1,000 apart."""
    with pytest.raises(InputError, match="found 3 focal planes"):
        scan(source, **options)
    images, notes = scan(source, z="max", **options)
    assert not [note for note in notes if "excluded" in note]
    assert sorted(set(images["well"])) == ["A01", "A02"]
    assert set(images["pixel_size_um"].round(6)) == {0.325}
    rows = images[images["well"] == "A02"]
    field = read_field(rows.itertuples(), channels=["GFP", "DAPI"])
    assert field.image[:, 3, 4].tolist() == [2102, 2002]


@needs_lif
def test_images_of_a_lif_are_read(tmp_path: Path) -> None:
    planes = make_planes()
    write_lif(tmp_path / "P1.lif", {"A01": planes, "A02": planes + 1000}, ("DAPI", "GFP"))
    check_wells(tmp_path / "P1.lif", pattern=r"(?P<well>[A-H]\d\d)$")
    data = (tmp_path / "P1.lif").read_bytes()
    (tmp_path / "P1.lif").write_bytes(data[:-100])
    images = scan(tmp_path / "P1.lif", z="max", pattern=r"(?P<well>[A-H]\d\d)$").images
    with pytest.raises(FieldError, match=r"can't be decoded.*expected a whole \.lif file"):
        read_field(images[images["well"] == "A02"].itertuples(), channels=["GFP", "DAPI"])
    (tmp_path / "P1.lif").write_bytes(data[:500])
    with pytest.raises(InputError, match=r"P1\.lif can't be decoded"):
        scan(tmp_path / "P1.lif", z="max")


@needs_nd2
def test_files_of_wells_in_nd2_are_read(tmp_path: Path) -> None:
    frames = np.moveaxis(make_planes(), 0, -1)
    for number, well in enumerate(("A01", "A02")):
        write_nd2(tmp_path / f"{well}.nd2", frames + 1000 * number, ("DAPI", "GFP"))
    check_wells(tmp_path)


@needs_nd2
def test_frames_that_an_nd2_has_lost_are_not_black(tmp_path: Path) -> None:
    write_nd2(tmp_path / "A01.nd2", np.moveaxis(make_planes(), 0, -1), ("DAPI", "GFP"))
    data = (tmp_path / "A01.nd2").read_bytes()
    (tmp_path / "A01.nd2").write_bytes(data.replace(b"ImageDataSeq|2!", b"ImageDataSex|2!"))
    images = scan(tmp_path, z=2).images
    with pytest.raises(FieldError, match=r"zeros alone.*expected a whole \.nd2 file"):
        read_field(images.itertuples(), channels=["GFP", "DAPI"])
    (tmp_path / "A01.nd2").write_bytes(data[:-100])
    with pytest.raises(InputError, match=r"A01\.nd2 can't be decoded"):
        scan(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(has(), reason="bioio is installed, so these tests run anyway")
def test_the_extra_reads_files_as_it_is_pinned() -> None:
    python = require_environment("vendors", PACKAGES)
    found = next(python.parents[1].glob("lib/python*/site-packages"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(found)}, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert "4 passed" in done.stdout, done.stdout[-3000:]
