"""How long a run will take: from earlier runs, or from two fields measured here and now."""

from pathlib import Path

import pytest

from i2r.pipeline.rates import find_rates
from i2r.pipeline.run import prepare
from i2r.store.experiment import Experiment
from i2r.store.ledger import LedgerWriter
from i2r.testing import PlateFiles, write_plate
from tests.conftest import short_pipeline


def test_before_a_first_run_two_fields_are_measured(plate: PlateFiles, tmp_path: Path) -> None:
    pipeline = short_pipeline(plate)
    target = tmp_path / "e"
    said: list[str] = []
    rates = find_rates(pipeline, prepare(pipeline, str(target)), say=said.append)
    assert set(rates.seconds) == {"convert", "quality", "segment", "crop"}
    assert all(seconds > 0 for seconds in rates.seconds.values())
    assert rates.how.startswith("two fields")
    assert said == ["measuring two fields to estimate times"]
    assert not target.exists()


def test_after_a_run_its_units_tell(plate: PlateFiles, cropped: Path) -> None:
    stored = Experiment(str(cropped))
    writer = LedgerWriter(stored.ledger, stored.ledger.last_run + 1)
    for key in stored.well_keys:
        writer.write("crop", key, "done", "x", seconds=7.0, result={"nuclei": 1})
    writer.close()
    rates = find_rates(short_pipeline(plate), Experiment(str(cropped)))
    assert rates.how == "earlier runs"
    assert rates.seconds["crop"] == pytest.approx(7.0)
    assert set(rates.seconds) == {"convert", "quality", "segment", "crop"}


def test_what_can_t_be_measured_is_not_known(tmp_path: Path) -> None:
    plate = write_plate(tmp_path / "plate", wells=4, fields=1)
    pipeline = short_pipeline(plate)
    experiment = prepare(pipeline, str(tmp_path / "e"))
    for file in plate.source.rglob("*.tif"):
        file.write_bytes(b"")
    rates = find_rates(pipeline, experiment)
    assert set(rates.seconds) <= {"convert", "quality", "segment", "crop"}
