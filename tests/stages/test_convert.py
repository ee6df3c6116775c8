"""Converted plates: every pixel of every file, valid for others, checked against the source."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from ome_zarr_models.v05.hcs import HCS

from i2r.errors import InputError
from i2r.pipeline.spec import parse_pipeline
from i2r.stages.convert import Convert
from i2r.store.experiment import open_experiment
from i2r.testing import PlateFiles, describe_pipeline, write_plate
from tests.conftest import run_here

Make = Callable[..., PlateFiles]
PATTERN = r"(?P<plate>\w+)/(?P<well>\w+)_s(?P<field>\d)_(?P<channel>\w+)\.tif$"


def convert_of(plate: PlateFiles, **options: object) -> Convert:
    given = {
        "source": str(plate.load_data),
        "layout": str(plate.layout),
        "pixel_size_um": 1.0,
        **options,
    }
    return Convert(**given)  # type: ignore[arg-type]


def test_every_pixel_is_there_and_every_file_is_hashed(
    cropped_original: Path, plate: PlateFiles
) -> None:
    table = open_experiment(str(cropped_original)).table("convert")
    assert len(table) == 16
    for row in table.itertuples():
        path = Path(str(row.url))
        assert row.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        well = f"A/{int(str(row.well)[1:])}"
        image = zarr.open_array(
            cropped_original / "plates" / "P1.ome.zarr" / well / str(row.field) / "0", mode="r"
        )
        np.testing.assert_array_equal(image[0], tifffile.imread(path))


def test_ome_zarr_models_finds_the_plate_valid(cropped_original: Path) -> None:
    group = zarr.open_group(cropped_original / "plates" / "P1.ome.zarr", mode="r")
    plate = HCS.from_zarr(group)
    assert len(plate.ome_attributes.plate.wells) == 8


def test_a_field_takes_no_more_than_twelve_files_with_its_labels(cropped_original: Path) -> None:
    for field in (cropped_original / "plates" / "P1.ome.zarr").glob("A/*/[12]"):
        assert sum(path.is_file() for path in field.rglob("*")) <= 12


def test_a_table_and_a_pattern_find_the_same(plate: PlateFiles) -> None:
    table = convert_of(plate).survey()
    pattern = convert_of(
        plate, source=str(plate.source), reader="pattern", pattern=PATTERN
    ).survey()
    pd.testing.assert_frame_equal(table.sources, pattern.sources)
    assert table.layout["fields"].tolist() == pattern.layout["fields"].tolist()


def test_channels_come_in_the_asked_order_under_the_asked_names(own_plate: Make) -> None:
    plate = own_plate(channels=("DNA", "GFP", "ER"))
    assert convert_of(plate).survey().layout["channels"][0] == ["DNA", "ER", "GFP"]
    survey = convert_of(plate, channels={"GFP": "Protein", "DNA": "DNA"}).survey()
    assert survey.layout["channels"][0] == ["Protein", "DNA"]
    assert set(survey.sources["channel"]) == {"Protein", "DNA"}


def test_the_shape_of_most_images_counts(own_plate: Make) -> None:
    plate = own_plate()
    tifffile.imwrite(plate.source / "P1" / "A01_s1_DNA.tif", np.zeros((7, 9), np.uint16))
    layout = convert_of(plate).survey().layout
    assert (layout["height_px"][0], layout["width_px"][0], layout["dtype"][0]) == (
        96,
        128,
        "uint16",
    )


def test_a_plate_of_unreadable_files_is_refused(own_plate: Make) -> None:
    plate = own_plate()
    for path in plate.source.glob("P1/*.tif"):
        path.write_bytes(b"x")
    with pytest.raises(InputError, match=r"plate 'P1': none of 8 images can be read\. truncated"):
        convert_of(plate).survey()


def test_wells_that_the_layout_leaves_out_are_noted_and_not_converted(
    own_plate: Make, tmp_path: Path
) -> None:
    plate = own_plate()
    plate.layout.write_text("".join(plate.layout.read_text().splitlines(True)[:-1]))
    survey = convert_of(plate).survey()
    assert set(survey.sources["well"]) == {"A01", "A02", "A03"}
    assert any("P1/A04" in note for note in survey.notes)


def test_two_plates_have_one_zarr_each(tmp_path: Path) -> None:
    plates = [
        write_plate(tmp_path / "in", wells=4, plate=name, seed=n)
        for n, name in enumerate(["P1", "P 2+x"])
    ]
    rows = "".join(f"P1,A0{n},x,negative_control\nP 2+x,A0{n},y,\n" for n in range(1, 5))
    plates[0].layout.write_text("plate,well,perturbation,role\n" + rows)
    content = describe_pipeline(plates[0], screen=False)
    pattern = PATTERN.replace(r"(?P<plate>\w+)", "(?P<plate>[^/]+)")
    content["stages"][0] |= {
        "source": str(plates[0].source),
        "reader": "pattern",
        "pattern": pattern,
    }
    summary = run_here(parse_pipeline(content, where="test"), tmp_path / "e")
    assert summary.exit_code == 0
    experiment = open_experiment(str(tmp_path / "e"))
    assert sorted(experiment.plates) == ["P 2+x", "P1"]
    for name in experiment.plates:
        expected = tifffile.imread(tmp_path / "in" / "images" / name / "A02_s1_DNA.tif")
        np.testing.assert_array_equal(
            experiment.plates[name].images("A02").compute()[0, 0], expected
        )
    assert set(experiment.table("crop")["plate"]) == {"P1", "P 2+x"}


def test_memory_is_bounded_by_a_field_not_by_the_well(plate: PlateFiles) -> None:
    from i2r.store.experiment import Experiment

    survey = convert_of(plate).survey()
    few, many = (
        Experiment("/nowhere", layout=survey.layout.assign(n_fields=n), sources=survey.sources)
        for n in (2, 200)
    )
    stage = convert_of(plate)
    assert stage.peak_bytes(few, "P1/A01") == stage.peak_bytes(many, "P1/A01")
