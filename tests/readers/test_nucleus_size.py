"""A pixel size that no file states is doubted where nuclei would be implausible."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from i2r.readers import ReaderOptions, nucleus_size
from i2r.readers.images import read_plane
from i2r.readers.nucleus_size import (
    _fill_holes,
    check_pixel_size,
    find_nuclear_channel,
    measure_diameters,
    propose_pixel_size,
)
from i2r.readers.pattern import scan
from i2r.testing import draw_field
from tests.conftest import run_here, short_pipeline

WELL = ReaderOptions(pattern=r"(?P<well>A\d\d)")


def save_fields(folder: Path, number: int = 4, **options) -> None:
    for n in range(number):
        tifffile.imwrite(folder / f"A{n + 1:02d}.tif", draw_field(n)[0], **options)


def test_diameters_are_those_that_were_drawn() -> None:
    """Ellipses of a mean radius of 8 px; noise and debris change little."""
    planes = [draw_field(n)[0] for n in range(4)]
    diameters, weights = measure_diameters(planes)
    assert len(diameters) > 20
    assert np.average(diameters, weights=weights) == pytest.approx(18, abs=3)
    empty, _ = measure_diameters([np.zeros((50, 50), np.uint16), np.zeros((0, 0), np.uint8)])
    assert len(empty) == 0


def test_holes_are_those_that_scipy_fills() -> None:
    random = np.random.default_rng(0)
    for _ in range(60):
        mask = random.random(random.integers(0, 30, 2)) < random.random()
        np.testing.assert_array_equal(_fill_holes(mask), ndimage.binary_fill_holes(mask))


@pytest.mark.parametrize(
    ("pixel_um", "is_doubted"), [(0.65, False), (1.0, False), (3.0, True), (0.2, True)]
)
def test_implausible_sizes_are_doubted(tmp_path: Path, pixel_um: float, is_doubted: bool) -> None:
    save_fields(tmp_path)
    images = scan(str(tmp_path), WELL).images
    assert ("WARNING nuclei are about" in check_pixel_size(images, pixel_um)) == is_doubted


def test_too_few_nuclei_say_nothing(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "A01.tif", draw_field(0, occupancy=0.0)[0])
    assert check_pixel_size(scan(str(tmp_path), WELL).images, 0.05) == ""


def test_what_the_files_say_is_proposed(tmp_path: Path) -> None:
    save_fields(tmp_path, ome=True, metadata={"PhysicalSizeX": 0.5})
    images = scan(str(tmp_path), WELL).images
    assert propose_pixel_size(images, None) == (0.5, ["0.5 um per pixel, as the files say"])
    size, (doubt,) = propose_pixel_size(images, 0.65)
    assert size == 0.65
    assert doubt == "WARNING files say 0.5 um per pixel, not 0.65"
    tifffile.imwrite(
        tmp_path / "A01.tif", draw_field(0)[0], ome=True, metadata={"PhysicalSizeX": 1}
    )
    assert propose_pixel_size(scan(str(tmp_path), WELL).images, None)[0] is None


@pytest.mark.parametrize(
    ("channels", "nuclear"),
    [
        (["x"], "x"),
        (["GFP", "Hoechst 33342"], "Hoechst 33342"),
        (["a", "b"], None),
        (["DNA", "dapi"], None),
    ],
)
def test_the_channel_of_nuclei(channels: list[str], nuclear: str | None) -> None:
    assert find_nuclear_channel(channels) == nuclear


def test_a_run_doubts_it_before_it_starts_and_once(own_plate, tmp_path: Path) -> None:
    plate = own_plate(wells=4, fields=1)
    pipeline = short_pipeline(plate, convert={"pixel_size_um": 4.0})
    for is_first in (True, False):
        said: list[str] = []
        run_here(pipeline, tmp_path / "e", say=said.append)
        assert any("WARNING nuclei are about" in line for line in said) == is_first


def test_init_takes_the_files_size(cli, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    save_fields(tmp_path / "images", ome=True, metadata={"PhysicalSizeX": 0.5})
    options = ["--source", tmp_path / "images", "--pattern", WELL.pattern]
    code, said = cli("init", tmp_path / "s", *options)
    assert code == 0
    assert "0.5 um per pixel, as the files say" in said
    assert "pixel_size_um: 0.5\n" in (tmp_path / "s" / "pipeline.yaml").read_text()


def test_one_field_with_many_plausible_nuclei_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_fields(tmp_path)
    rows = scan(str(tmp_path), WELL).images
    monkeypatch.setattr(nucleus_size, "_ENOUGH", 5)
    seen: list[str] = []

    def read(url: str, **options: object) -> np.ndarray:
        seen.append(url)
        return read_plane(url)

    monkeypatch.setattr(nucleus_size, "read_plane", read)
    assert check_pixel_size(rows, 0.65) == ""
    assert len(seen) == 1
    assert "in 4 fields" in check_pixel_size(rows, 3.0)
