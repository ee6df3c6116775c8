"""Physical plates and the places of fields, as vendors' files say them, down to the metadata."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile

from i2r.errors import InputError
from i2r.pipeline.preview import preview_units
from i2r.pipeline.spec import parse_pipeline
from i2r.readers import ReaderOptions, find_reader
from i2r.readers.plates import describe_formats
from i2r.readers.positions import read_position
from i2r.stages.convert import Convert, find_first_pixel
from i2r.store.experiment import open_experiment
from i2r.testing import PlateFiles
from i2r.types import parse_well
from tests.conftest import run_here
from tests.readers.conftest import describe_htd, describe_phenix, describe_phenix_image

# Metres from the middle of the well, y up, as Harmony writes them.
PLACES = {"1": (-0.0001, 0.0002), "2": (0.0001, 0.0002), "3": (0.0001, -0.0001)}
PIXEL_UM = 0.59799998


def write_phenix(folder: Path) -> str:
    folder.mkdir()
    images = []
    for column in (1, 2):
        for field, at in PLACES.items():
            name = f"c{column}f{field}.tiff"
            tifffile.imwrite(folder / name, np.full((21, 31), 7 * column, np.uint16))
            images.append(describe_phenix_image(name, 2, column, field, 1, "DNA", at=at))
    (folder / "Index.idx.xml").write_text(describe_phenix("BR1", images))
    return str(folder)


def write_layout(path: Path, wells: tuple[str, ...] = ("B01", "B02")) -> str:
    rows = [f"BR1,{w},{'DMSO' if n == 0 else 'drug'}," for n, w in enumerate(wells)]
    roles = ["negative_control", *["treated"] * (len(wells) - 1)]
    lines = [f"{row}{role}" for row, role in zip(rows, roles, strict=True)]
    path.write_text("\n".join(["plate,well,perturbation,role", *lines]) + "\n")
    return str(path)


def convert(tmp_path: Path, source: str, **options: Any) -> Any:
    stage = {"stage": "convert", "source": source, "layout": write_layout(tmp_path / "l.csv")}
    return parse_pipeline({"seed": 0, "stages": [{**stage, **options}]}, where="test")


def read_ome(path: Path) -> dict[str, Any]:
    return json.loads((path / "zarr.json").read_text())["attributes"]["ome"]


def test_a_phenix_plate_has_its_rows_and_places(tmp_path: Path) -> None:
    pipeline = convert(tmp_path, write_phenix(tmp_path / "source"))
    url = tmp_path / "e"
    assert run_here(pipeline, url).exit_code == 0
    assert open_experiment(str(url)).ledger.result("convert", "*")["notes"] == []  # type: ignore[index]
    plate = url / "plates" / "BR1.ome.zarr"
    described = read_ome(plate)["plate"]
    assert (len(described["rows"]), len(described["columns"])) == (16, 24)
    for field, (x, y) in PLACES.items():
        level = read_ome(plate / "B" / "2" / field)["multiscales"][0]["datasets"][0]
        at = level["coordinateTransformations"][1]["translation"]
        # From the middle of the field to its first pixel, y pointing down.
        expected = [0, -y * 1e6 - 10 * PIXEL_UM, x * 1e6 - 15 * PIXEL_UM]
        np.testing.assert_allclose(at, expected, atol=1e-6)


def test_the_user_says_how_many_wells_there_are(tmp_path: Path) -> None:
    source = write_phenix(tmp_path / "source")
    url = tmp_path / "e"
    run_here(convert(tmp_path, source), url)
    # Another format writes the plate's metadata anew and nothing else.
    other = convert(tmp_path, source, plate_format=1536)
    experiment = open_experiment(str(url))
    survey = other.stages[0].survey()
    assert survey is not None
    experiment = type(experiment)(str(url), layout=survey.layout, sources=survey.sources)
    assert preview_units(other, experiment) == {"convert": ["*"]}
    run_here(other, url)
    described = read_ome(url / "plates" / "BR1.ome.zarr")["plate"]
    assert (len(described["rows"]), len(described["columns"])) == (32, 48)
    with pytest.raises(InputError, match=r"plate_format: found 7, expected 6, 12, 24"):
        run_here(convert(tmp_path, source, plate_format=7), url)


def test_a_format_without_the_wells_is_refused(plate: PlateFiles) -> None:
    given = {"source": str(plate.load_data), "layout": str(plate.layout), "pixel_size_um": 1.0}
    with pytest.raises(InputError, match="plate_format: found 6, but plate 'P1' has the well A04"):
        Convert(**given, plate_format=6).survey()  # type: ignore[arg-type]
    survey = Convert(**given).survey()  # type: ignore[arg-type]
    assert "plate_format" not in survey.layout


def test_the_smallest_format_is_said_when_it_is_written() -> None:
    wells = {"P1": [parse_well("A08")], "P2": [parse_well("B01")], "P3": [parse_well("F7")]}
    assert describe_formats(wells) == [
        "plate P1, P3: taken to have 48 wells, the smallest format that holds those in use "
        "('plate_format' sets another)",
        "plate P2: taken to have 6 wells, the smallest format that holds those in use "
        "('plate_format' sets another)",
    ]


def test_the_note_is_in_the_last_unit(cropped_original: Path) -> None:
    result = open_experiment(str(cropped_original)).ledger.result("convert", "*")
    assert result is not None
    assert "taken to have 48 wells" in result["notes"][0]


def test_a_htd_says_how_many_wells_there_are(tmp_path: Path) -> None:
    (tmp_path / "p.HTD").write_text(describe_htd(["B03"], sites=1, waves=("DNA",)))
    tifffile.imwrite(tmp_path / "p_B03_s1_w1.TIF", np.zeros((4, 5), np.uint16))
    images = find_reader("imagexpress", str(tmp_path))(str(tmp_path), ReaderOptions()).images
    assert images["plate_format"].tolist() == [96]


def test_stages_of_ome_tiffs_count_from_the_first_field(tmp_path: Path) -> None:
    for number, x in enumerate((5000.0, 5100.0), start=1):
        metadata = {
            "axes": "YX",
            "PhysicalSizeX": 0.5,
            "Plane": {"PositionX": [x], "PositionY": [-3.0], "PositionXUnit": ["µm"],
                      "PositionYUnit": ["mm"]},
        }  # fmt: skip
        path = tmp_path / f"A01_s{number}.ome.tif"
        tifffile.imwrite(path, np.zeros((4, 5), np.uint16), metadata=metadata, ome=True)
    options = ReaderOptions(pattern=r"(?P<well>A01)_s(?P<field>\d)", plate="P1")
    images = find_reader("pattern", str(tmp_path))(str(tmp_path), options).images
    assert images["x_um"].tolist() == [0.0, 100.0]
    assert images["y_um"].tolist() == [0.0, 0.0]


def test_places_without_a_unit_of_length_are_none() -> None:
    assert math.isnan(read_position("1", "2", "reference frame", "reference frame")[0])
    assert math.isnan(read_position(None, "2", "um", "um")[1])
    said, unsaid = SimpleNamespace(x_um=1.0, y_um=2.0), SimpleNamespace(x_um=1.0, y_um=math.nan)
    assert find_first_pixel(SimpleNamespace(), shape=(3, 3), pixel_size_um=1.0) is None
    assert find_first_pixel(unsaid, shape=(3, 5), pixel_size_um=1.0) is None
    assert find_first_pixel(said, shape=(3, 5), pixel_size_um=math.nan) is None
    assert find_first_pixel(said, shape=(3, 5), pixel_size_um=2.0) == (0.0, -3.0)


def test_places_of_an_exported_plate_come_back(tmp_path: Path) -> None:
    url = tmp_path / "e"
    run_here(convert(tmp_path, write_phenix(tmp_path / "source")), url)
    again = tmp_path / "again"
    run_here(convert(tmp_path, str(url / "plates" / "BR1.ome.zarr")), again)
    for field in PLACES:
        found = [
            read_ome(each / "plates" / "BR1.ome.zarr" / "B" / "1" / field)["multiscales"][0]
            for each in (url, again)
        ]
        one, two = (f["datasets"][0]["coordinateTransformations"][1] for f in found)
        np.testing.assert_allclose(one["translation"], two["translation"], atol=1e-9)
    plate = read_ome(again / "plates" / "BR1.ome.zarr")["plate"]
    assert len(plate["rows"]) == 16
