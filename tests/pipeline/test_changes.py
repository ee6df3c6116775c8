"""What is said of a pipeline that differs from the experiment's last run."""

import json
from pathlib import Path

import pytest

from i2r.errors import InputError
from i2r.pipeline.changes import find_other_plates, list_changed_rows, list_changes
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


def test_changed_rows_and_files_are_named(plate: PlateFiles, cropped: Path, tmp_path: Path) -> None:
    stored = Experiment(str(cropped))
    assert list_changed_rows(stored) == []
    layout = stored.layout.copy()
    layout.loc[:6, "perturbation"] = "other"
    sources = stored.sources.copy()
    sources.loc[2, "size_bytes"] += 1
    lines = list_changed_rows(Experiment(str(cropped), layout=layout, sources=sources))
    assert len(lines) == 2
    first = stored.layout.iloc[0]
    assert lines[0].startswith(
        f"layout, 7 changes: plate 'P1' well {first['well']!r}: perturbation was "
        f"{first['perturbation']}, is other; "
    )
    assert lines[0].endswith("; and 2 more")
    row = stored.sources.iloc[2]
    assert f"well {row['well']!r} field {row['field']!r} DNA: size_bytes was" in lines[1]
    # A value that was missing and is missing is no change; one that is filled in is.
    filled = stored.layout.assign(dose=stored.layout["dose"].mask(stored.layout.index == 3, 2.5))
    (line,) = list_changed_rows(Experiment(str(cropped), layout=filled, sources=stored.sources))
    assert line.endswith("dose was empty, is 2.5")


def test_a_field_more_to_exclude_redoes_its_well_only(plate: PlateFiles, cropped: Path) -> None:
    before = sorted(Experiment(str(cropped)).well_keys)[0]
    said: list[str] = []
    pipeline = short_pipeline(plate, quality={"exclude": [f"{before}/1"]})
    done = run_here(pipeline, cropped, say=said.append)
    assert done.ran["quality"] == 2  # the well, and the merged table
    assert done.ran["segment"] == 2
    assert done.ran["crop"] == 2


def test_a_report_alone_never_asks(plate: PlateFiles, cropped: Path) -> None:
    from i2r.pipeline.spec import parse_pipeline
    from i2r.testing import describe_pipeline

    questions: list[str] = []

    def refuse(question: str) -> bool:
        questions.append(question)
        return False

    for heading in ("one", "two"):
        content = describe_pipeline(plate, screen=False)
        content["stages"].append({"stage": "report", "heading": heading})
        run_here(parse_pipeline(content, where="test"), cropped, confirm=refuse)
    assert questions == []
    assert "two" in (cropped / "report.html").read_text()
