"""Features: one row per crop in the order of the crops, in microns."""

from pathlib import Path

import numpy as np
import pytest

from i2r.cluster import ClusterSpec
from i2r.errors import InputError
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.spec import Pipeline, parse_pipeline
from i2r.store.experiment import Experiment, open_experiment
from i2r.testing import PlateFiles, describe_pipeline, write_plate
from tests.conftest import run_here


def with_features(plate: PlateFiles, **options: object) -> Pipeline:
    content = describe_pipeline(plate, screen=False)
    content["stages"].append({"stage": "features", **options})
    return parse_pipeline(content, where="test")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """Two channels, one well without nuclei."""
    folder = tmp_path_factory.mktemp("features")
    channels = ("DNA", "GFP")
    plate = write_plate(folder, wells=4, fields=2, channels=channels, empty_wells=["A02"])
    pipeline = with_features(plate, channels=list(channels))
    assert run_here(pipeline, folder / "e").exit_code == 0
    return open_experiment(str(folder / "e"))


def test_there_is_one_row_per_crop_in_the_order_of_the_crops(measured: Experiment) -> None:
    table, crops = measured.table("features"), measured.table("crop")
    place = ["plate", "well", "field", "label", "crop"]
    expected = crops.loc[crops["crop"] >= 0, place].reset_index(drop=True)
    assert list(table.columns[:5]) == place
    assert table[place].to_numpy().tolist() == expected.to_numpy().tolist()
    values = table.drop(columns=place)
    assert set(values.dtypes) == {np.dtype(np.float32)}
    assert np.isfinite(values.to_numpy()).all()
    assert not [name for name in values if "_px" in name]


def test_values_are_those_of_the_other_tables_and_of_the_crops(measured: Experiment) -> None:
    table = measured.table("features")
    joined = table.merge(measured.table("segment"), on=["well", "field", "label"])
    for name in ("area_um2", "solidity", "eccentricity", "mean_DNA", "std_GFP", "max_GFP"):
        np.testing.assert_allclose(joined[f"{name}_x"], joined[f"{name}_y"], rtol=1e-6)
    # One micron per pixel here.
    np.testing.assert_allclose(joined["major_axis_um"], joined["major_axis_px"], rtol=1e-6)
    active = joined.loc[joined["well"] == "A04", "sum_GFP"]
    assert (active > 0).all()


def test_a_well_without_nuclei_has_every_column(measured: Experiment) -> None:
    from i2r.store.tables import read_table

    empty = read_table(measured.part_url("features", "P1/A02"))
    full = read_table(measured.part_url("features", "P1/A01"))
    assert len(empty) == 0
    assert list(empty.columns) == list(full.columns)


def test_lengths_follow_the_pixel_size(plate: PlateFiles, tmp_path: Path) -> None:
    content = describe_pipeline(plate, screen=False)
    tables = []
    for size in (1.0, 0.5):
        content["stages"][0]["pixel_size_um"] = size
        # The same limits and lengths in pixels at both sizes.
        content["stages"][2] |= {
            "sigma_um": 0.5 * size, "window_um": 13 * size, "min_area_um2": 10 * size**2,
            "max_hole_um2": 85 * size**2, "min_neck_um": 0.7 * size,
        }  # fmt: skip
        content["stages"][3] |= {
            "min_area_um2": 60 * size**2, "max_area_um2": 1720 * size**2,
            "max_bbox_um2": 1720 * size**2,
        }  # fmt: skip
        content["stages"][4:] = [
            {
                "stage": "features",
                "curvature_step_um": 5 * size,
                "radius_um": 40 * size,
                "texture_um": [size],
            }
        ]
        url = tmp_path / str(size)
        assert run_here(parse_pipeline(content, where="test"), url).exit_code == 0
        tables.append(open_experiment(str(url)).table("features"))
    large, small = tables
    powers = {"_um": 1, "_um2": 2, "_per_um": -1, "_per_um2": -2}
    assert len(large) > 20
    for one, other in zip(large.columns[5:], small.columns[5:], strict=True):
        stem = one.removesuffix("_DNA")
        ending = next((e for e in ("_per_um2", "_per_um", "_um2", "_um") if stem.endswith(e)), "")
        power = powers.get(ending, 0)
        np.testing.assert_allclose(
            large[one], small[other] * 2.0**power, rtol=1e-5, atol=1e-12, err_msg=one
        )


def test_channels_and_needs_that_are_not_there_are_refused(
    plate: PlateFiles, tmp_path: Path
) -> None:
    for options, message in (
        ({"channels": ["GFP"]}, "no channel 'GFP'"),
        ({"needs": ["crop"]}, "expected a 'segment' stage among them"),
    ):
        with pytest.raises(InputError, match=message):
            run_here(with_features(plate, **options), tmp_path / "e")


def test_needs_that_do_not_fit_each_other_are_one_clear_error(
    plate: PlateFiles, tmp_path: Path
) -> None:
    content = describe_pipeline(plate, screen=False)
    # Other objects under another name than those that were cropped.
    content["stages"] += [
        {"stage": "segment", "name": "few", "min_area_um2": 9000.0},
        {"stage": "features", "needs": ["convert", "few", "crop"]},
    ]
    pipeline = parse_pipeline(content, where="test")
    summary = run_pipeline(
        pipeline, str(tmp_path / "e"), cluster=ClusterSpec(type="none"), style="none"
    )
    assert summary.exit_code == 3
    ledger = open_experiment(str(tmp_path / "e")).ledger
    errors = [entry.error for entry in ledger.entries("features") if entry.event == "failed"]
    assert len(errors) == 8
    assert all("Let this stage need the 'segment' stage" in error for error in errors)
