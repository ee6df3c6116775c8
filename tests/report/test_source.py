"""What sections read, and what they are kept from reading."""

import pandas as pd
import pytest

from i2r.report.nuclei import choose_nuclei, rank_for_gallery, read_crops, spread
from i2r.report.screens import list_screens
from i2r.report.sections.accounting import make_waterfall
from i2r.report.source import NEGATIVE_CONTROL, ReportSource, hide_secrets
from tests.report.experiments import ALL, make_experiment


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ReportSource:
    return ReportSource(make_experiment(tmp_path_factory.mktemp("source")), ALL)


def test_stages_come_from_the_record_of_the_run(source: ReportSource) -> None:
    assert [stage.verb for stage in source.stages] == [
        "convert",
        "quality",
        "segment",
        "crop",
        "crop",
        "screen",
    ]
    screen = source.stages_of("screen")[0]
    found = [source.upstream(screen, verb) for verb in ("crop", "segment", "screen")]
    assert [stage and stage.title for stage in found] == ["crop-gfp", "segment", None]


def test_a_stage_that_no_record_has_is_known_by_its_name(source: ReportSource) -> None:
    other = ReportSource(source.experiment, ["features"])
    assert other.stages_of("features")[0].needs == ()


def test_tables_are_read_only_where_units_are_done(source: ReportSource) -> None:
    assert source.table("features") is None
    table = source.table("segment", columns=["well", "label"])
    assert table is not None
    assert list(table.columns) == ["well", "label"]
    assert source.reduced_table("segment", "segment") is None


def test_nuclei_are_chosen_evenly_over_wells(source: ReportSource) -> None:
    crop = source.stages_of("crop")[1]
    chosen = choose_nuclei(source, crop, NEGATIVE_CONTROL, 6)
    assert chosen is not None
    assert chosen.index.tolist() == ["P1/A01"] * 3 + ["P1/A02"] * 3
    # Eight crops per well: the middles of thirds of them.
    assert chosen["crop"].tolist() == [1, 4, 6] * 2
    whole = source.crops(crop.title, "P1/A01", range(8))
    assert (read_crops(source, crop, chosen)[:3] == whole[[1, 4, 6]]).all()
    again = choose_nuclei(source, crop, NEGATIVE_CONTROL, 6)
    assert again is not None
    pd.testing.assert_frame_equal(again, chosen)


def test_no_nuclei_are_chosen_where_there_are_none(source: ReportSource) -> None:
    assert choose_nuclei(source, source.stages_of("crop")[0], "toxic", 6) is None
    assert choose_nuclei(source, source.stages_of("crop")[0], "unknown", 6) is None


def test_more_nuclei_than_there_are(source: ReportSource) -> None:
    chosen = choose_nuclei(source, source.stages_of("crop")[0], "known", 500)
    assert chosen is not None
    assert len(chosen) == 8


@pytest.mark.parametrize("length", [0, 1, 5, 100])
@pytest.mark.parametrize("count", [0, 1, 4, 200])
def test_positions_are_different_and_inside(length: int, count: int) -> None:
    found = spread(length, count)
    assert len(set(found)) == len(found) == min(length, count)
    assert all(0 <= place < length for place in found)


def test_the_gallery_starts_with_controls_and_high_scores(source: ReportSource) -> None:
    ranking = list_screens(source)[0].conditions
    assert rank_for_gallery(source, ranking, 3) == ([NEGATIVE_CONTROL, "drug@1", "drug@2"], 3)
    everything, left_out = rank_for_gallery(source, None, 24)
    assert everything[0] == NEGATIVE_CONTROL
    assert (len(everything), left_out) == (6, 0)


def test_the_null_is_the_range_of_few_draws(source: ReportSource) -> None:
    screen = list_screens(source)[0]
    assert screen.null_range == (pytest.approx(0.48), pytest.approx(0.52))
    assert "lowest to highest" in screen.null_words
    assert "control_draw" not in set(screen.conditions["kind"])


def test_a_waterfall_adds_up() -> None:
    steps = make_waterfall(("all", 100), {"small": 10, "border": 30, "none": 0}, ("left", 60))
    assert [(s.name[-6:].strip(), s.amount) for s in steps] == [
        ("all", 100), ("border", 30), ("small", 10), ("left", 60),
    ]  # fmt: skip
    assert [(s.start, s.length) for s in steps] == [(0, 100), (70, 30), (60, 10), (0, 60)]


def test_a_waterfall_of_nothing() -> None:
    assert [s.length for s in make_waterfall(("all", 0), {}, ("left", 0))] == [0, 0]


def test_secrets_are_taken_out_at_any_depth() -> None:
    record = {
        "a": ["s3://u:p@h/x?sig=1 and https://h/y?token=2", 3, None],
        "b": {"password": "p", "aws_secret_access_key": "q", "token": ""},
        "c": "/plain/path?really",
    }
    assert hide_secrets(record) == {
        "a": ["s3://h/x and https://h/y", 3, None],
        "b": {"password": "(hidden)", "aws_secret_access_key": "(hidden)", "token": ""},
        "c": "/plain/path?really",
    }
