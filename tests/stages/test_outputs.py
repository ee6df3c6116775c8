"""What stages declare that they write, and what tables really hold."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from i2r.cli.dictionary import find_declared
from i2r.cli.group import i2r
from i2r.errors import InputError
from i2r.stages.base import find_stage, list_own_verbs
from i2r.stages.outputs import list_tables, table
from i2r.store.experiment import open_experiment
from tests.outputs import find_mismatches


def test_tables_hold_the_columns_that_their_stages_declare(
    cropped_original: Path, tmp_path: Path
) -> None:
    """The smoke pipeline's tables are compared in tests/pipelines/test_smoke.py."""
    experiment = open_experiment(str(cropped_original))
    assert find_mismatches(experiment) == []
    declared = find_declared(experiment, "segment")
    written = pq.read_schema(experiment.table_url("segment", "P1")).names
    assert {declared.find_column(name).name for name in written} == {  # type: ignore[union-attr]
        column.name for column in declared.columns
    }
    assert declared.find_column("area_px2") is None
    with pytest.raises(InputError, match="no stage says what the table 'crops' holds"):
        find_declared(experiment, "crops")


@pytest.mark.parametrize("verb", list_own_verbs())
def test_every_stage_declares_what_it_writes(verb: str) -> None:
    outputs = find_stage(verb).outputs
    assert outputs
    suffixes = [t.suffix for t in list_tables(outputs)]
    assert len(set(suffixes)) == len(suffixes)
    for one in list_tables(outputs):
        names = [column.name for column in one.columns]
        assert len(set(names)) == len(names), one.suffix
        assert all(column.text for column in one.columns)


def test_a_declaration_is_read_line_by_line() -> None:
    made = table("-x", "One row.", """
        plate well?
        mean_{channel}: number um: Mean of the channel
    """)  # fmt: skip
    plate, well, mean = made.columns
    assert (plate.name, plate.kind, plate.sometimes) == ("plate", "text", False)
    assert well.sometimes
    assert (mean.unit, mean.text) == ("um", "Mean of the channel")
    assert made.find_column("mean_DNA") == mean
    assert made.find_column("mean_") is None
    with pytest.raises(KeyError):
        table("", "One row.", "colour")


def test_a_table_is_explained(cropped_original: Path) -> None:
    result = CliRunner().invoke(i2r, ["table", str(cropped_original), "crop", "--explain"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("crop: One row per nucleus that was found")
    assert "reason  Why it was left out; empty where it was cut out" in result.output
