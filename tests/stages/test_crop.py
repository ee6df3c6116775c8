"""Crops: every labelled nucleus is a crop or has a reason, and a crop is its nucleus."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from i2r.stages.crop import Crop
from i2r.store.experiment import Experiment, open_experiment
from i2r.testing import PlateFiles
from tests.conftest import run_here, short_pipeline


def check_accounts(experiment: Experiment) -> None:
    """Prove labels = crops + exclusions by reason, for every field."""
    table, nuclei = experiment.table("crop"), experiment.table("segment")
    assert len(table) == len(nuclei)
    for well in experiment.plates["P1"].wells:
        rows = table[table["well"] == well]
        for field, labels in zip(
            ("1", "2"), experiment.plates["P1"].labels(well).compute(), strict=True
        ):
            listed = rows[rows["field"] == field]
            assert sorted(listed["label"]) == sorted(set(np.unique(labels)) - {0})
        assert ((rows["reason"] == "") == (rows["crop"] >= 0)).all()
        kept = rows.loc[rows["crop"] >= 0, "crop"]
        assert list(kept) == list(range(len(kept)))
        result = experiment.ledger.result("crop", f"P1/{well}")
        assert result is not None
        assert result["nuclei"] == len(kept)
        assert sum(result["left_out"].values()) == len(rows) - len(kept)


def test_every_nucleus_is_accounted_for(cropped_original: Path) -> None:
    check_accounts(open_experiment(str(cropped_original)))


@pytest.mark.parametrize(
    ("options", "reasons"),
    [
        ({"min_area_um2": 260.0}, {"", "area"}),
        ({"max_area_um2": 260.0}, {"", "area"}),
        ({"size_px": 16}, None),
        ({"max_area_um2": 1.0}, {"area"}),
    ],
)
def test_limits_leave_nuclei_out_with_a_reason(
    options: dict[str, float], reasons: set[str] | None, plate: PlateFiles, tmp_path: Path
) -> None:
    run_here(short_pipeline(plate, crop=options), tmp_path / "e")
    experiment = open_experiment(str(tmp_path / "e"))
    check_accounts(experiment)
    table = experiment.table("crop")
    assert (table["crop"] < 0).any()
    if reasons is not None:
        assert {reason.partition("_")[0] for reason in set(table["reason"])} == reasons


def test_a_crop_is_its_nucleus_centred_and_masked_or_not(
    plate: PlateFiles, cropped_original: Path, tmp_path: Path
) -> None:
    run_here(short_pipeline(plate, crop={"mask": False}), tmp_path / "e")
    for url, masked in ((cropped_original, True), (tmp_path / "e", False)):
        experiment = open_experiment(str(url))
        images = experiment.plates["P1"].images("A04").compute()
        labels = experiment.plates["P1"].labels("A04").compute()
        crops = zarr.open_array(experiment.crops_url("crop", "P1/A04"), mode="r")
        assert crops.attrs["channels"] == ["DNA"]
        table = experiment.table("crop")
        rows = table[(table["well"] == "A04") & (table["crop"] >= 0)]
        assert crops.shape == (len(rows), 1, 32, 32)
        assert crops.dtype == np.uint16
        for row in rows.itertuples():
            own = labels[int(str(row.field)) - 1] == row.label
            image = images[int(str(row.field)) - 1, 0]
            crop = crops[row.crop, 0]
            if masked:
                assert np.sort(crop[crop > 0]).tolist() == np.sort(image[own]).tolist()
            else:
                assert set(image[own].tolist()) <= set(crop.ravel().tolist())
            y, x = (round(float(v)) for v in np.argwhere(crop >= crop.max() // 2).mean(axis=0))
            assert abs(y - 16) <= 3 or not masked
            assert abs(x - 16) <= 3 or not masked


def test_no_nucleus_gives_an_empty_array_and_a_table_with_its_columns(
    plate: PlateFiles, tmp_path: Path
) -> None:
    run_here(short_pipeline(plate, segment={"min_area_um2": 9000.0}), tmp_path / "e")
    experiment = open_experiment(str(tmp_path / "e"))
    crops = zarr.open_array(experiment.crops_url("crop", "P1/A01"), mode="r")
    assert crops.shape == (0, 1, 32, 32)
    table = experiment.table("crop")
    assert len(table) == 0
    assert {"plate", "well", "field", "label", "reason", "crop"} <= set(table.columns)


@pytest.mark.parametrize(
    ("options", "pixel_um", "cut"),
    [
        ({}, 0.65, 64), ({}, 0.656, 64), ({}, 0.598, 64), ({}, 1.0, 64),
        ({}, 0.325, 128), ({}, 0.149, 279), ({"size_px": 96}, 0.325, 96),
        ({"size_um": 41.6}, 0.65, 64), ({"size_um": 41.6}, 1.3, 32),
        ({"size_um": 20.0, "size_px": 32}, 0.5, 40),
    ],
)  # fmt: skip
def test_tiles_have_one_physical_size(options, pixel_um: float, cut: int) -> None:
    assert Crop(**options).cut_px(pixel_um) == cut


def test_finer_pixels_keep_their_nuclei(own_plate, tmp_path: Path) -> None:
    """The same field at half the pixel size: crops are those of its pixels' means."""
    plate = own_plate(wells=2, fields=1)
    run_here(short_pipeline(plate, crop={"size_um": 32.0, "size_px": 16}), tmp_path / "e")
    experiment = open_experiment(str(tmp_path / "e"))
    coarse = zarr.open_array(experiment.crops_url("crop", "P1/A01"), mode="r")
    assert coarse.attrs["cut_px"] == 32
    run_here(short_pipeline(plate), tmp_path / "whole")
    whole = open_experiment(str(tmp_path / "whole"))
    crops = zarr.open_array(whole.crops_url("crop", "P1/A01"), mode="r")[...]
    assert "cut_px" not in zarr.open_array(whole.crops_url("crop", "P1/A01"), mode="r").attrs
    means = crops.reshape(*crops.shape[:2], 16, 2, 16, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(coarse[...], means, atol=0.51)
