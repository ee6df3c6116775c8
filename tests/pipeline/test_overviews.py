"""Plates of an earlier i2r get overviews from their own pixels, and all that is done stays done."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from i2r.errors import I2RError
from i2r.pipeline.overviews import add_overviews
from i2r.pipeline.preview import preview_units
from i2r.store import images
from i2r.store.arrays import read_array
from i2r.store.experiment import open_experiment
from i2r.store.validate import find_problems
from i2r.testing import PlateFiles
from tests.conftest import run_here, short_pipeline


@pytest.fixture
def old(cropped: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment whose fields of 96 x 128 lack the overview that they should have."""
    monkeypatch.setattr(images, "OVERVIEW_PX", 40)
    return cropped


def read_levels(folder: Path) -> dict[Path, bytes]:
    """Read all that was there before: level 0, tables, crops."""
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ("0/c/0" in str(path) or path.suffix == ".parquet")
    }


def test_levels_are_added_and_nothing_is_done_again(old: Path, plate: PlateFiles) -> None:
    before = read_levels(old)
    ledger = open_experiment(str(old)).ledger
    prints = {(e.stage, e.key): e.fingerprint for e in ledger.entries() if e.event == "done"}
    added = add_overviews(open_experiment(str(old)))
    assert added.n_images == 2 * 16
    assert {path: path.read_bytes() for path in before} == before
    for field in (old / "plates" / "P1.ome.zarr").glob("A/*/[12]"):
        fine, coarse = read_array(f"{field}/0"), read_array(f"{field}/1")
        assert coarse.shape == (1, 24, 32)
        np.testing.assert_array_equal(
            coarse, np.floor(fine.reshape(1, 24, 4, 32, 4).mean(axis=(2, 4)) + 0.5)
        )
        labels = read_array(f"{field}/labels/segment/0")[1::4, 1::4]
        np.testing.assert_array_equal(read_array(f"{field}/labels/segment/1"), labels)
        assert sum(path.is_file() for path in field.rglob("*")) == 11
    experiment = open_experiment(str(old))
    entries = {(e.stage, e.key): e.fingerprint for e in experiment.ledger.entries()}
    assert entries == prints
    assert experiment.ledger.is_merged("convert")
    assert experiment.ledger.is_merged("segment")
    assert find_problems(experiment, deep=True) == []
    pipeline = short_pipeline(plate)
    assert not any(preview_units(pipeline, experiment).values())
    assert not run_here(pipeline, old).ran
    assert add_overviews(experiment).n_images == 0


def test_a_missing_or_changed_level_is_noticed(old: Path, plate: PlateFiles) -> None:
    add_overviews(open_experiment(str(old)))
    field = old / "plates" / "P1.ome.zarr" / "A" / "3" / "1"
    shard = field / "1" / "c" / "0" / "0" / "0"
    content = shard.read_bytes()
    shard.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    (problem,) = find_problems(open_experiment(str(old)), deep=True)
    assert "A/3/1/1" in problem
    shutil.rmtree(field / "1")
    assert "A/3/1/1" in " ".join(find_problems(open_experiment(str(old))))
    # Made again with everything in the well, from the source.
    assert run_here(short_pipeline(plate), old).ran["convert"] == 2
    assert read_array(f"{field}/1").shape == (1, 24, 32)
    assert find_problems(open_experiment(str(old)), deep=True) == []


def test_a_damaged_image_is_named_and_the_others_are_complete(old: Path) -> None:
    field = old / "plates" / "P1.ome.zarr" / "A" / "3" / "1"
    shard = field / "0" / "c" / "0" / "0" / "0"
    content = shard.read_bytes()
    shard.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    with pytest.raises(I2RError, match=r"A/3/1/0: damaged"):
        add_overviews(open_experiment(str(old)))
    assert not (field / "1").exists()
    assert (field.parent / "2" / "1").exists()


def test_no_source_is_read(
    old: Path, plate: PlateFiles, cli: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    moved = tmp_path / "away"
    os.rename(plate.source, moved)
    try:
        code, output = cli("convert", old, "--pyramids")
        assert code == 0, output
        assert "32 images and label images completed" in output
        assert "nothing to do" in cli("convert", old, "--pyramids")[1]
    finally:
        os.rename(moved, plate.source)
    code, output = cli("convert", old, "--pyramids", "--plate", "P2")
    assert (code, "--plate too" in output) == (2, True)


def test_labels_made_later_have_the_levels_of_their_image(old: Path, plate: PlateFiles) -> None:
    run_here(short_pipeline(plate, segment={"min_area_um2": 21}), old)
    field = old / "plates" / "P1.ome.zarr" / "A" / "3" / "1"
    assert not (field / "labels" / "segment" / "1").exists()
    add_overviews(open_experiment(str(old)))
    assert (field / "labels" / "segment" / "1").exists()
