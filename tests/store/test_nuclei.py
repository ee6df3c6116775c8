"""Nuclei of many wells: read once, in order, and windows where the nuclei are."""

from pathlib import Path

import numpy as np
import pytest

from i2r.errors import I2RError
from i2r.kernels.regions import frame_field, place_windows, scale_field
from i2r.store.arrays import read_array, write_crops
from i2r.store.experiment import Experiment, open_experiment
from i2r.store.nuclei import read_nuclei
from i2r.store.pools import Window, choose_nuclei, count_crops, plan_pool, read_pool

KEYS = ["P1/A05", "P1/A02"]


@pytest.fixture
def experiment(cropped_original: Path) -> Experiment:
    return open_experiment(str(cropped_original))


def test_all_nuclei_come_well_after_well(experiment: Experiment) -> None:
    plan = plan_pool(experiment, KEYS, crop="crop", segment="segment", channels=["DNA"])
    found = read_pool(plan)
    start = 0
    table = experiment.table("crop")
    for index, key in enumerate(KEYS):
        crops = read_array(experiment.crops_url("crop", key))
        own = slice(start, start + len(crops))
        np.testing.assert_array_equal(found.crops[own], crops)
        assert (found.wells[own] == index).all()
        assert found.crop_index[own].tolist() == list(range(len(crops)))
        listed = table[(table["well"] == key.split("/")[1]) & (table["crop"] >= 0)]
        assert found.field_names[own].tolist() == listed.sort_values("crop")["field"].tolist()
        start += len(crops)
    assert start == len(found.crops) == sum(count_crops(experiment, "crop", key) for key in KEYS)
    assert found.fields is None


def test_a_sample_is_spread_over_a_well_and_the_same_each_time(experiment: Experiment) -> None:
    def plan(seed: int):
        return plan_pool(
            experiment, KEYS, crop="crop", segment="segment", channels=["DNA"], n_taken=[7, 3],
            seed=seed,
        )  # fmt: skip

    found = read_pool(plan(0))
    assert np.bincount(found.wells).tolist() == [7, 3]
    for well in (0, 1):
        chosen = choose_nuclei(plan(0), well)
        assert (np.diff(chosen) > 0).all()
        np.testing.assert_array_equal(found.crop_index[found.wells == well], chosen)
    assert plan(0) == plan(0)
    assert hash(plan(0)) == hash(plan(0))
    assert (choose_nuclei(plan(0), 0) != choose_nuclei(plan(1), 0)).any()


@pytest.mark.parametrize("halved", [False, True])
def test_windows_lie_around_the_centroids(experiment: Experiment, halved: bool) -> None:
    plan = plan_pool(
        experiment, KEYS, crop="crop", segment="segment", channels=["DNA"], n_taken=[9, 4],
        window=Window(32, halved),
    )  # fmt: skip
    found = read_pool(plan)
    assert found.fields is not None
    assert found.places is not None
    assert found.window_px == (16 if halved else 32)
    cropped = experiment.table("crop").set_index(["well", "crop"])
    measured = experiment.table("segment").set_index(["well", "field", "label"])
    for row, (well, number) in enumerate(zip(found.wells, found.crop_index, strict=True)):
        name = KEYS[well].split("/")[1]
        nucleus = cropped.loc[(name, number)]
        centre = measured.loc[(name, nucleus["field"], nucleus["label"])]
        image = read_array(f"{experiment.image_url(KEYS[well], nucleus['field'])}/0")[0]
        framed = frame_field(scale_field(image), size_px=32, halved=halved)
        field, y, x = found.places[row]
        np.testing.assert_array_equal(found.fields[field, 0], framed)
        expected = place_windows(
            np.array([centre["centroid_y_px"]]), np.array([centre["centroid_x_px"]]), halved=halved
        )[0]
        assert (y, x) == tuple(expected)
    assert len(found.fields) == len(
        {(w, f) for w, f in zip(found.wells, found.field_names, strict=True)}
    )


def test_crops_of_different_size_are_refused(experiment: Experiment, tmp_path: Path) -> None:
    write_crops(str(tmp_path / "other"), np.zeros((3, 1, 8, 8), np.uint16))
    with pytest.raises(I2RError, match="other wells uint16"):
        read_nuclei(
            [experiment.crops_url("crop", KEYS[0]), str(tmp_path / "other")],
            [experiment.part_url("crop", KEYS[0])] * 2,
            channels=[[0], [0]],
            chosen=[np.arange(3), np.arange(3)],
        )
    with pytest.raises(I2RError, match="no wells"):
        read_nuclei([], [], channels=[], chosen=[])
