"""What is said of a pipeline that differs from the experiment's last run."""

import json
from pathlib import Path

import pytest

from i2r.errors import InputError
from i2r.pipeline.changes import find_other_plates, list_changes
from i2r.pipeline.run import prepare
from i2r.stages.crop import Crop
from i2r.store.experiment import Experiment
from i2r.testing import PlateFiles, write_plate
from tests.pipeline.test_chain import run_here, short_pipeline


def test_options_that_changed_are_named(plate: PlateFiles, cropped: Path) -> None:
    experiment = Experiment(str(cropped))
    assert list_changes(short_pipeline(plate), experiment) == {}
    changed = short_pipeline(plate, segment={"sigma_um": 1.5}, crop={"size_px": 48, "mask": False})
    found = list_changes(changed, experiment)
    assert set(found) == {"segment", "crop"}
    assert found["segment"].startswith("sigma_um was 0")
    assert found["segment"].endswith(", is 1.5")
    assert "mask was true, is false" in found["crop"]


def test_nothing_changed_where_nothing_was_run(plate: PlateFiles, tmp_path: Path) -> None:
    pipeline = short_pipeline(plate)
    experiment = prepare(pipeline, str(tmp_path / "e"))
    assert list_changes(pipeline, experiment) == {}
    assert find_other_plates(experiment) == ""


def test_an_experiment_of_other_plates_is_asked_about(
    plate: PlateFiles, cropped: Path, tmp_path: Path
) -> None:
    assert find_other_plates(prepare(short_pipeline(plate), str(cropped))) == ""
    other = short_pipeline(write_plate(tmp_path / "other", wells=8, fields=1, plate="Q7"))
    questions: list[str] = []

    def refuse(question: str) -> bool:
        questions.append(question)
        return False

    with pytest.raises(InputError, match="nothing was changed"):
        run_here(other, cropped, confirm=refuse)
    assert "holds other plates (P1) than this pipeline (Q7)" in questions[0]


def test_an_option_that_an_earlier_version_had_not_is_no_change(
    plate: PlateFiles, cropped: Path
) -> None:
    record = sorted((cropped / "runs").glob("*.json"))[-1]
    content = json.loads(record.read_text())
    crop = next(d for d in content["pipeline"]["stages"] if d["stage"] == "crop")
    del crop["exclude_border"]
    record.write_text(json.dumps(content))
    experiment = Experiment(str(cropped))
    assert list_changes(short_pipeline(plate), experiment) == {}
    changed = short_pipeline(plate, crop={"exclude_border": False})
    assert list_changes(changed, experiment) == {"crop": "exclude_border was true, is false"}


def test_an_update_of_i2r_is_named_as_the_cause(plate: PlateFiles, cropped: Path) -> None:
    record = sorted((cropped / "runs").glob("*.json"))[-1]
    content = json.loads(record.read_text())
    assert content["stage_versions"]["crop"] == Crop.version
    content["stage_versions"]["crop"] -= 1
    content["versions"]["i2r"] = "0.0.9"
    record.write_text(json.dumps(content))
    experiment = Experiment(str(cropped))
    update = "this i2r computes it in another way than 0.0.9 did"
    assert list_changes(short_pipeline(plate), experiment) == {"crop": update}
    changed = short_pipeline(plate, crop={"exclude_border": False})
    assert list_changes(changed, experiment) == {
        "crop": f"exclude_border was true, is false; {update}"
    }
    del content["stage_versions"]
    record.write_text(json.dumps(content))
    assert list_changes(short_pipeline(plate), experiment) == {}
