"""An experiment: found, opened, its names safe, its tables never half-written."""

import json
import pickle
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2r.errors import InputError
from i2r.store.catalog import list_texts, quote_name
from i2r.store.experiment import Experiment, check_target, open_experiment
from i2r.store.ledger import Entry, Ledger, LedgerWriter
from i2r.store.tables import read_table
from i2r.testing import PlateFiles
from tests.conftest import run_here, short_pipeline


def test_what_is_no_experiment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no experiment here \(no experiment\.json\)"):
        open_experiment(str(tmp_path))
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "experiment.json").write_text("{}")
    with pytest.raises(InputError, match=r"Did you mean .*/experiment\?"):
        open_experiment(str(tmp_path))
    (tmp_path / "experiment.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        open_experiment(str(tmp_path))
    (tmp_path / "experiment.json").write_text(json.dumps({"format": "i2r", "version": 99}))
    with pytest.raises(InputError, match="newer i2r"):
        open_experiment(str(tmp_path))
    (tmp_path / "experiment.json").write_text(json.dumps({"format": "i2r", "version": 1}))
    with pytest.raises(InputError, match=r"no layout\.parquet"):
        open_experiment(str(tmp_path)).layout  # noqa: B018


@pytest.mark.parametrize("content", ["[]", "5", '{"version": "x"}'])
def test_an_odd_marker_is_refused_too(content: str, tmp_path: Path) -> None:
    (tmp_path / "experiment.json").write_text(content)
    with pytest.raises(InputError, match="damaged"):
        open_experiment(str(tmp_path))


def test_it_stays_on_the_client(cropped_original: Path) -> None:
    with pytest.raises(TypeError, match="URLs instead"):
        pickle.dumps(open_experiment(str(cropped_original)))


def test_the_layout_read_back_is_the_layout_given(
    cropped_original: Path, plate: PlateFiles
) -> None:
    given_survey = short_pipeline(plate).stages[0].survey()
    assert given_survey is not None
    opened = open_experiment(str(cropped_original))
    pd.testing.assert_frame_equal(opened.layout, given_survey.layout, check_dtype=False)
    assert [type(value) for value in opened.layout["channels"]] == [list] * 8
    pd.testing.assert_frame_equal(opened.sources, given_survey.sources, check_dtype=False)


def test_a_description_that_did_not_change_is_not_written_again(
    cropped: Path, plate: PlateFiles
) -> None:
    files = [cropped / name for name in ("experiment.json", "layout.parquet", "sources.parquet")]
    before = [path.stat().st_mtime_ns for path in files]
    run_here(short_pipeline(plate, crop={"mask": False}), cropped)
    assert [path.stat().st_mtime_ns for path in files] == before


def test_a_layout_that_an_earlier_release_encoded_is_described(
    cropped: Path, plate: PlateFiles
) -> None:
    survey = short_pipeline(plate).stages[0].survey()
    assert survey is not None
    given = Experiment(str(cropped), layout=survey.layout, sources=survey.sources)
    assert given.is_described()
    layout = cropped / "layout.parquet"
    written = layout.read_bytes()
    pq.write_table(pq.read_table(layout), layout, compression="gzip")
    assert layout.read_bytes() != written
    assert given.is_described()
    changed = survey.layout.assign(channels=[["other"]] * len(survey.layout))
    assert not Experiment(str(cropped), layout=changed, sources=None).is_described()
    layout.write_bytes(written[:-9])
    assert not given.is_described()


def test_wells_with_equal_names_and_fields_share_them(tmp_path: Path) -> None:
    layout = pd.DataFrame(
        {
            "plate": ["P1", "P1", "P2"],
            "well": ["A01", "A02", "A01"],
            "fields": [["1", "2"], ["1"], ["1", "2"]],
        }
    )
    wells = Experiment(str(tmp_path), layout=layout).wells
    assert [(key, *record) for key, record in wells.items()] == [
        ("P1/A01", "P1", "A01", ["1", "2"]),
        ("P1/A02", "P1", "A02", ["1"]),
        ("P2/A01", "P2", "A01", ["1", "2"]),
    ]
    assert "P2/A02" not in wells
    assert wells["P1/A01"].fields is wells["P2/A01"].fields
    assert wells["P1/A01"].well is wells["P2/A01"].well


def test_what_was_made_of_a_given_layout_stays_when_it_is_opened_again(tmp_path: Path) -> None:
    layout = pd.DataFrame(
        {"plate": ["P1"], "well": ["A01"], "fields": [["1"]], "perturbation": "a", "dose": 1.0}
    )
    planned = Experiment(str(tmp_path), layout=layout, sources=layout)
    index = planned.layout_by_key
    again = planned.reopen()
    assert again.layout_by_key is index, "so that what was planned from it is planned once"
    assert again.ledger is not planned.ledger
    planned.save_description()
    stored = open_experiment(str(tmp_path))
    index = stored.layout_by_key
    assert stored.reopen().layout_by_key is index, "it is as it was"
    Experiment(str(tmp_path), layout=layout.assign(dose=2.0), sources=layout).save_description()
    assert stored.reopen().layout_by_key["dose"].tolist() == [2.0]


def test_texts_of_a_layout_are_those_of_its_cells() -> None:
    layout = pd.DataFrame(
        {"gene": ["x", None, "x"], "dose": [1.0, float("nan"), 2.5], "own": ["a", None, 3]}
    )
    layout["own"] = layout["own"].astype(object)
    expected = layout.astype(str).to_numpy().tolist()
    assert repr(list_texts(layout, list(layout))) == repr(expected)


def test_units_are_located_by_key(cropped_original: Path) -> None:
    experiment = open_experiment(str(cropped_original))
    plate, well = experiment.locate("P1/A03")
    assert (plate.name, well) == ("P1", "A03")
    assert experiment.image_url("P1/A03", "2") == f"{cropped_original}/plates/P1.ome.zarr/A/3/2"
    assert experiment.fields("P1/A03", ["convert", "quality"]) == ["1", "2"]


# ------------------------------------------------------------------------------- tables


def test_a_table_is_the_same_from_its_parts_and_merged(cropped: Path) -> None:
    for name in ("convert", "quality", "segment", "crop"):
        merged = open_experiment(str(cropped)).table(name)
        writer = LedgerWriter(Ledger(f"{cropped}/ledger"), Ledger(f"{cropped}/ledger").last_run + 1)
        writer.write(name, "*", "start", "x")
        writer.close()
        experiment = open_experiment(str(cropped))
        assert not experiment.ledger.is_merged(name)
        pd.testing.assert_frame_equal(experiment.table(name), merged)
        assert list(experiment.table(name, columns=["well"]).columns) == ["well"]


def test_a_table_holds_nothing_of_units_that_are_not_done(cropped: Path) -> None:
    writer = LedgerWriter(Ledger(f"{cropped}/ledger"), 2)
    writer.write("segment", "P1/A02", "start", "x")
    writer.close()
    assert set(open_experiment(str(cropped)).table("segment")["well"]) == {
        f"A0{n}" for n in (1, 3, 4, 5, 6, 7, 8)
    }


def test_a_table_holds_nothing_of_plates_and_wells_that_were_dropped(cropped: Path) -> None:
    shutil.copy(cropped / "tables/crop/P1.parquet", cropped / "tables/crop/P9.parquet")
    whole = open_experiment(str(cropped)).table("crop")
    assert len(whole) == len(read_table(str(cropped / "tables/crop/P1.parquet")))
    layout = open_experiment(str(cropped)).layout
    shorter = Experiment(str(cropped), layout=layout[layout["well"] != "A08"])
    shorter.ledger.record(Entry("crop", "*", "start", "x", 9, 1))
    assert set(shorter.table("crop")["well"]) == {f"A0{n}" for n in range(1, 8)}


def test_an_unknown_table_is_refused_with_those_there_are(cropped_original: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"no table 'crops'; there are: convert, crop, quality, segment, segment-fields\.",
    ):
        open_experiment(str(cropped_original)).table("crops")


def test_a_ranking_that_is_not_complete_is_no_table_yet(screened: Path) -> None:
    assert len(open_experiment(str(screened)).table("screen")) == 3
    writer = LedgerWriter(Ledger(f"{screened}/ledger"), 2)
    writer.write("screen", "active/0", "done", "x")
    writer.close()
    with pytest.raises(InputError, match="no table 'screen'"):
        open_experiment(str(screened)).table("screen")


def test_a_lost_part_is_missed(cropped: Path) -> None:
    (cropped / "tables" / "crop" / "P1" / "A02.parquet").unlink()
    writer = LedgerWriter(Ledger(f"{cropped}/ledger"), 2)
    writer.write("crop", "*", "start", "x")
    writer.close()
    with pytest.raises(InputError, match="validate"):
        open_experiment(str(cropped)).table("crop")


# ------------------------------------------------------------------------------- places and names


def test_a_target_is_new_empty_or_an_experiment(tmp_path: Path, cropped_original: Path) -> None:
    for url in (tmp_path / "new" / "deep", tmp_path, cropped_original):
        check_target(str(url))
    assert not (tmp_path / "new").exists()
    (tmp_path / "run.lock").write_text("")
    check_target(str(tmp_path))
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError, match=r"not empty and no i2r experiment \(found notes\.txt"):
        check_target(str(tmp_path))


@given(st.text(max_size=80))
def test_any_name_is_one_safe_path_segment(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    quoted = quote_name(name)
    assert quoted
    assert "/" not in quoted
    assert not quoted.startswith(".")
    assert set(quoted) <= set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~% ()+,@="
    )


@given(st.text(max_size=12), st.text(max_size=12))
def test_two_names_are_never_one_path(one: str, other: str) -> None:
    try:
        f"{one}{other}".encode()
    except UnicodeEncodeError:
        return
    if "\0" not in (one, other):  # the empty name is written as that one
        assert (quote_name(one) == quote_name(other)) == (one == other)


@pytest.mark.parametrize(
    "condition", ["BRD4 + JQ1", "a/b", "../../etc", "drug (10 µM)", "x:y*?", "."]
)
def test_any_perturbation_has_a_place_inside_the_experiment(condition: str, tmp_path: Path) -> None:
    url = Experiment(str(tmp_path)).part_url("screen-scores", f"{condition}/0")
    assert Path(url).resolve().is_relative_to(tmp_path / "tables" / "screen-scores")
