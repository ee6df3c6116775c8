"""Rows of results come out again from the raw files, bit by bit, and changed ones are noticed."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from i2r.errors import I2RError, InputError
from i2r.pipeline.replay import compare_rows, replay_row
from i2r.pipeline.spec import parse_pipeline
from i2r.store.experiment import open_experiment
from i2r.store.tables import read_table, write_table
from i2r.testing import PlateFiles, describe_pipeline
from tests.conftest import run_here, short_pipeline

Cli = Callable[..., tuple[int, str]]


def test_rows_of_every_stage_come_out_again(cropped_original: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in cropped_original.rglob("*")}
    experiment = open_experiment(str(cropped_original))
    for table, row in (("convert", 5), ("quality", 9), ("segment", 100), ("crop", 33)):
        replay = replay_row(experiment, table, row)
        assert replay.is_equal, [v for v in replay.values if not v.equal]
        frame = experiment.table(table)
        assert replay.unit == (table, f"P1/{frame['well'].iloc[row]}")
        assert replay.units["convert"] == 1
        assert replay.n_files == 2
        assert replay.share < 0.2
    assert {p: p.stat().st_mtime_ns for p in cropped_original.rglob("*")} == before


def test_a_changed_number_is_noticed(cropped: Path, cli: Cli) -> None:
    for url in (
        cropped / "tables" / "segment" / "P1.parquet",
        cropped / "tables" / "segment" / "P1" / "A03.parquet",
    ):
        table = read_table(str(url))
        at = table.index[(table["well"] == "A03") & (table["label"] == 3)][0]
        table.loc[at, "area_um2"] = np.nextafter(table.loc[at, "area_um2"], 1e9)
        write_table(str(url), table)
    given = ["replay", cropped, "segment", "well=A03,field=1,label=3"]
    code, said = cli(*given)
    assert code == 3
    assert "area_um2: " in said
    assert "1 of " in said
    code, said = cli(*given, "--column", "eccentricity" if "eccentricity" in table else "area_px")
    assert (code, "1 value equal, bit by bit" in said) == (0, True)
    code, said = cli(*given, "--json")
    found = json.loads(said)
    assert (code, found["equal"], found["files"]) == (3, False, 2)


def test_what_can_not_be_replayed_is_said(
    cropped: Path, own_plate: Callable[..., PlateFiles], tmp_path: Path, cli: Cli
) -> None:
    experiment = open_experiment(str(cropped))
    with pytest.raises(InputError, match="no row 99999, expected 0 to"):
        replay_row(experiment, "segment", 99999)
    code, said = cli("replay", cropped, "segment", "well=A03")
    assert (code, "expected one. Give more conditions" in said) == (2, True)
    # A source file with the same size and time, and one other pixel.
    plate = own_plate(compression=None)
    url = tmp_path / "own"
    run_here(short_pipeline(plate), url)
    path = plate.source / "P1" / "A02_s1_DNA.tif"
    times, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    experiment = open_experiment(str(url))
    row = experiment.table("segment")["well"].tolist().index("A02")
    with pytest.raises(I2RError, match=r"A02_s1_DNA\.tif: not the file that was converted"):
        replay_row(experiment, "segment", row)


def test_numbers_are_compared_by_their_bits() -> None:
    stored = pd.Series({"a": 0.1, "b": np.nan, "c": None, "d": "x", "e": 0.0, "f": 1}, dtype=object)
    other = stored.copy()
    assert all(value.equal for value in compare_rows(stored, other))
    other["a"], other["d"], other["e"] = np.nextafter(0.1, 1), "y", -0.0
    found = {value.column for value in compare_rows(stored, other) if not value.equal}
    assert found == {"a", "d", "e"}
    assert not compare_rows(stored, other.drop("f"))[-1].equal


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_random_numbers_of_a_whole_plate(
    own_plate: Callable[..., PlateFiles], tmp_path: Path
) -> None:
    plate = own_plate(wells=96, fields=1)
    content = describe_pipeline(plate, screen=False)
    content["stages"] += [{"stage": "features"}, {"stage": "screen", "method": "fast"}]
    url = tmp_path / "experiment"
    assert not run_here(parse_pipeline(content, where="test"), url).failed
    experiment = open_experiment(str(url))
    random = np.random.default_rng(18)
    # I2R_REPLAYS=100 draws a hundred.
    number = int(os.environ.get("I2R_REPLAYS", "20"))
    tables = np.array(["features", "segment", "quality", "crop"])
    for table in tables[random.choice(4, size=number, p=(0.5, 0.3, 0.1, 0.1))].tolist():
        row = int(random.integers(len(experiment.table(table))))
        replay = replay_row(experiment, table, row)
        assert replay.is_equal, (table, row, [v for v in replay.values if not v.equal])
        assert replay.share < 0.02
    for row in range(1):
        replay = replay_row(experiment, "screen", row)
        assert replay.is_equal, [v for v in replay.values if not v.equal]
        assert replay.unit == ("screen", "*")
