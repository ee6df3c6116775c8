"""Image quality: fields are measured, flagged by limit or list, and left out afterwards."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from i2r.kernels.quality import measure_quality
from i2r.stages.quality import flag_fields
from i2r.store.experiment import open_experiment
from i2r.store.tables import read_table
from i2r.testing import PlateFiles
from tests.conftest import run_here, short_pipeline


def test_every_field_and_channel_has_its_own_measurements(
    cropped_original: Path, plate: PlateFiles
) -> None:
    table = (
        open_experiment(str(cropped_original))
        .table("quality")
        .set_index(["well", "field", "channel"])
    )
    assert len(table) == 16
    for well, field in (("A01", "1"), ("A08", "2")):
        expected = measure_quality(
            tifffile.imread(plate.source / "P1" / f"{well}_s{field}_DNA.tif")
        )
        columns = ["focus", "saturated_fraction", "mean", "background"]
        np.testing.assert_allclose(
            table.loc[(well, field, "DNA"), columns].astype(float), np.array(expected, float)
        )
    assert set(table["reason"]) == {""}


def test_listed_fields_wells_and_plates_are_left_out_downstream(
    plate: PlateFiles, tmp_path: Path
) -> None:
    pipeline = short_pipeline(plate, quality={"exclude": ["P1/A02", "P1/A03/2"]})
    summary = run_here(pipeline, tmp_path / "e")
    assert summary.exit_code == 0, "the user asked for it"
    experiment = open_experiment(str(tmp_path / "e"))
    assert experiment.fields("P1/A02", ["convert", "quality"]) == []
    assert experiment.fields("P1/A03", ["convert", "quality"]) == ["1"]
    nuclei = experiment.table("crop")
    assert "A02" not in set(nuclei["well"])
    assert set(nuclei.loc[nuclei["well"] == "A03", "field"]) == {"1"}
    assert not (tmp_path / "e/plates/P1.ome.zarr/A/3/2/labels").exists()


def test_fields_beyond_a_limit_are_counted_with_the_reason(
    plate: PlateFiles, tmp_path: Path, cropped_original: Path
) -> None:
    measured = open_experiment(str(cropped_original)).table("quality")
    limit = float(np.sort(measured["mean"])[-1])
    focus = float(np.sort(measured["focus"])[2])  # two fields are below the third
    summary = run_here(short_pipeline(plate, quality={"min_focus": {"DNA": focus}}), tmp_path / "e")
    blurred = measured[measured["focus"] < focus]
    assert summary.excluded == {
        f"quality P1/{well}": dict.fromkeys(rows["field"], "blurred")
        for well, rows in blurred.groupby("well")
    }
    assert summary.exit_code == 3
    assert limit > 0


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ([], ["", "", ""]),
        ([("blurred", "focus", -1, {"DNA": 2.0})], ["blurred", "", ""]),
        ([("saturated", "focus", 1, {"DNA": 2.0})], ["", "", "saturated"]),
        ([("blurred", "focus", -1, {"DNA": 2.0}), ("dim", "focus", -1, {"DNA": 4.0})], ["blurred", "dim", "dim"]),
        ([("blurred", "focus", -1, {"ER": 9.0})], ["", "", ""]),
    ],
)  # fmt: skip
def test_the_first_limit_that_is_broken_is_the_reason(
    limits: list[tuple[str, str, int, dict[str, float]]], expected: list[str], tmp_path: Path
) -> None:
    table = pd.DataFrame({"field": ["1", "2", "3"], "channel": "DNA", "focus": [1.0, 2.0, 3.0]})
    part = str(tmp_path / "part.parquet")
    result = flag_fields(table, listed=[], limits=limits, part_url=part)
    assert list(read_table(part)["reason"]) == expected
    assert result["excluded"] == {f: r for f, r in zip("123", expected, strict=True) if r}


def test_a_field_is_out_if_one_channel_is_and_a_list_outranks_limits(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"field": ["1", "1", "2", "2"], "channel": ["DNA", "ER"] * 2, "focus": [1.0, 5.0, 5.0, 1.0]}
    )
    limits = [("blurred", "focus", -1, {"ER": 2.0})]
    result = flag_fields(table, listed=["2"], limits=limits, part_url=str(tmp_path / "p.parquet"))
    assert result == {"fields": 2, "excluded": {"2": "listed"}}
    result = flag_fields(table, listed=[], limits=limits, part_url=str(tmp_path / "p.parquet"))
    assert result["excluded"] == {"2": "blurred"}


def test_no_field_gives_an_empty_table_with_its_columns(tmp_path: Path) -> None:
    table = pd.DataFrame({"field": [], "channel": [], "focus": []}).astype(
        {"field": object, "channel": object}
    )
    part = str(tmp_path / "p.parquet")
    limits = [("blurred", "focus", -1, {"DNA": 2.0})]
    assert flag_fields(table, listed=[], limits=limits, part_url=part) == {
        "fields": 0,
        "excluded": {},
    }
    assert list(read_table(part).columns) == ["field", "channel", "focus", "reason"]
