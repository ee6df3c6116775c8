"""Stored values as pixels: integers as they are, floats by one stated factor, nothing wrapped."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from i2r.errors import FieldError, InputError
from i2r.readers.pixels import convert_values, find_factor, invert_values
from i2r.store.experiment import open_experiment
from i2r.testing import PlateFiles
from tests.conftest import run_here, short_pipeline

VALUES = np.array([[0, 1, 700, 32000]])


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "int32", "float32", "float64"])
def test_whole_numbers_are_themselves(dtype: str) -> None:
    found = convert_values(VALUES.astype(dtype), url="x.tif")
    np.testing.assert_array_equal(found, VALUES)
    assert found.dtype == np.uint16


@pytest.mark.parametrize(
    ("plane", "options"),
    [
        (np.array([[-1, 5]], np.int16), {}),
        (np.array([[70000]], np.uint32), {}),
        (np.array([[0.5]]), {}),
        (np.array([[np.nan, 1]]), {"factor": 65535}),
        (np.array([[np.inf, 1]]), {"factor": 65535}),
        (np.array([[1.1]]), {"factor": 65535}),
        (np.array([[-0.1]]), {"factor": 65535}),
    ],
)
def test_what_does_not_fit_is_refused_and_never_wrapped(
    plane: np.ndarray, options: dict[str, Any]
) -> None:
    with pytest.raises(FieldError, match=r"^range: x.tif"):
        convert_values(plane, url="x.tif", **options)


def test_factors() -> None:
    scaled = (VALUES / 65535).astype(np.float32)
    assert find_factor([VALUES.astype(float)])[0] == 1
    assert find_factor([scaled])[0] == 65535
    assert find_factor([VALUES + 0.5])[0] is None
    assert find_factor([VALUES - 5.0])[0] is None
    assert find_factor([np.where(VALUES == 700, np.nan, scaled)])[0] == 65535
    assert find_factor([np.full((2, 2), np.nan)])[0] is None
    np.testing.assert_array_equal(convert_values(scaled, url="x", factor=65535), VALUES)
    assert convert_values(np.array([[2.6]]), url="x", exact=False).tolist() == [[3]]


def test_missing_values_are_counted() -> None:
    with pytest.raises(FieldError, match="holds NaN in 2 pixels"):
        convert_values(np.array([[np.nan, 1, np.nan]]), url="x.tif", factor=65535)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda image: (image.astype(np.int64) - 40000).astype(np.int32), "int32 values from -.*Add an offset"),
        (lambda image: image.astype(np.uint32) * 1000, "uint32 values from .*Set 'scale'"),
        (lambda image: np.full(image.shape, np.nan, np.float32), "no finite number in 2 images"),
    ],
)  # fmt: skip
def test_a_plate_that_does_not_fit_is_refused_before_the_run(
    own_plate, tmp_path: Path, change: Any, found: str
) -> None:
    plate = own_plate(wells=2, fields=1)
    rewrite(plate, change)
    with pytest.raises(InputError, match=found):
        run_here(short_pipeline(plate), tmp_path / "e")


def test_a_scale_holds_for_integers_too(own_plate, tmp_path: Path) -> None:
    plate = own_plate(wells=2, fields=1)
    run_here(short_pipeline(plate), tmp_path / "whole")
    rewrite(plate, lambda image: image.astype(np.uint32) * 1000)
    run_here(short_pipeline(plate, convert={"scale": 0.001}), tmp_path / "e")
    images = [
        open_experiment(str(tmp_path / name)).plates["P1"].images("A01").compute()
        for name in ("whole", "e")
    ]
    np.testing.assert_array_equal(*images)


def test_black_and_white_are_turned_within_the_type() -> None:
    assert invert_values(np.array([0, 255], np.uint8)).tolist() == [255, 0]
    assert invert_values(np.array([0, 65535], np.uint16)).tolist() == [65535, 0]
    with pytest.raises(FieldError, match=r"^range"):
        convert_values(invert_values(np.array([[5.0]])), url="x")


def rewrite(plate: PlateFiles, change: Any) -> None:
    for path in plate.source.rglob("*.tif"):
        tifffile.imwrite(path, change(tifffile.imread(path)))


def test_a_plate_of_floats_is_converted_with_a_recorded_factor(own_plate, tmp_path: Path) -> None:
    plate = own_plate(wells=2, fields=1)
    pipeline = short_pipeline(plate)
    run_here(pipeline, tmp_path / "whole")
    rewrite(plate, lambda image: (image / 65535).astype(np.float32))
    said: list[str] = []
    run_here(pipeline, tmp_path / "auto", say=said.append)
    assert any("float32 values are multiplied by 65535: 0.0" in line for line in said)
    odd = next(iter(sorted(plate.source.rglob("A02*.tif"))))
    tifffile.imwrite(odd, tifffile.imread(odd) * 3)
    pipeline = short_pipeline(plate, convert={"scale": 65535.0})
    assert run_here(pipeline, tmp_path / "e").exit_code == 3
    experiment = open_experiment(str(tmp_path / "e"))
    table = experiment.table("convert").set_index("well")
    assert table["factor"].tolist() == [65535.0, 65535.0]
    assert table["reason"].to_dict() == {"A01": "", "A02": "range"}
    expected = open_experiment(str(tmp_path / "whole")).plates["P1"].images("A01").compute()
    for url in ("auto", "e"):
        plates = open_experiment(str(tmp_path / url)).plates
        np.testing.assert_array_equal(plates["P1"].images("A01").compute(), expected)


def test_one_odd_well_costs_one_well_and_is_named_before_the_run(own_plate, tmp_path: Path) -> None:
    plate = own_plate(wells=4, fields=1)
    odd = next(iter(sorted(plate.source.rglob("A03*.tif"))))
    tifffile.imwrite(odd, tifffile.imread(odd).astype(np.int16)[:-2])
    said: list[str] = []
    summary = run_here(short_pipeline(plate), tmp_path / "e", say=said.append)
    assert summary.exit_code == 3
    (line,) = [line for line in said if "another size or type" in line]
    assert "1 field is excluded, for example well A03 field 1" in line
    assert "94 x 128 px int16" in line
    table = open_experiment(str(tmp_path / "e")).table("convert")
    assert isinstance(table, pd.DataFrame)
    assert table.loc[table["reason"] != "", "well"].tolist() == ["A03"]


def test_floats_of_no_known_scale_need_a_word(own_plate, tmp_path: Path) -> None:
    plate = own_plate(wells=2, fields=1)
    rewrite(plate, lambda image: (image / 7).astype(np.float32))
    with pytest.raises(InputError, match=r"expected whole numbers .* Set 'scale'"):
        run_here(short_pipeline(plate), tmp_path / "e")
    assert run_here(short_pipeline(plate, convert={"scale": 1.0}), tmp_path / "e").exit_code == 0


def test_the_pixel_size_comes_from_files_or_is_compared(own_plate, tmp_path: Path) -> None:
    plate = own_plate(wells=2, fields=1)
    for path in plate.source.rglob("*.tif"):
        tifffile.imwrite(path, tifffile.imread(path), ome=True, metadata={"PhysicalSizeX": 0.5})
    said: list[str] = []
    run_here(short_pipeline(plate), tmp_path / "given", say=said.append)
    assert any("WARNING plate 'P1': 'pixel_size_um' is 1, but its files say 0.5" in s for s in said)
    pipeline = short_pipeline(plate, convert={"pixel_size_um": None})
    run_here(pipeline, tmp_path / "own", say=said.append)
    assert open_experiment(str(tmp_path / "own")).plates["P1"].pixel_size_um == 0.5
    for path in plate.source.rglob("*.tif"):
        tifffile.imwrite(path, tifffile.imread(path))
    with pytest.raises(InputError, match="don't say how large a square pixel is"):
        run_here(pipeline, tmp_path / "none")
