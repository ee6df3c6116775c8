"""Pipeline files: whatever is wrong with one is said in a line, and what is right comes back."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from i2r.errors import InputError
from i2r.pipeline.spec import load_pipeline, parse_pipeline, parse_stage, with_stage
from i2r.stages.base import find_stage
from i2r.testing import PlateFiles

CONVERT = {"stage": "convert", "source": "/data", "layout": "/layout.csv", "pixel_size_um": 0.5}


def parse(*stages: Any, **top: Any) -> Any:
    return parse_pipeline({"stages": [CONVERT, *stages], **top}, where="p.yaml")


def complain(content: object) -> list[str]:
    with pytest.raises(InputError) as error:
        parse_pipeline(content, where="p.yaml")
    return str(error.value).splitlines()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "expected a mapping"),
        ([1], "expected a mapping"),
        ({}, "no stages"),
        ({"stages": []}, "no stages"),
        ({"stages": [CONVERT], "sede": 1}, "unknown field 'sede'; did you mean 'seed'"),
        ({"stages": [CONVERT], "seed": "x"}, "'seed' is 'x', expected int"),
        ({"stages": [CONVERT], "seed": True}, "'seed' is True"),
        ({"stages": {"convert": {}}}, "expected list"),
        ({"stages": [7]}, "stage 1: found 7"),
        ({"stages": [{"source": "x"}]}, "the field 'stage'"),
        ({"stages": ["konvert"]}, "stage 'konvert': unknown; did you mean 'convert'?"),
        ({"stages": ["convert"]}, "field 'source' is missing"),
        ({"stages": [{**CONVERT, "pixel_size": 1}]}, "unknown field 'pixel_size'; did you mean 'pixel_size_um'"),
        ({"stages": [{**CONVERT, "pixel_size_um": 0}]}, "'pixel_size_um' is 0: input should be greater than 0"),
        ({"stages": [{**CONVERT, "pixel_size_um": float("nan")}]}, "'pixel_size_um' is nan"),
        ({"stages": [{**CONVERT, "name": "a/b"}]}, "can't hold '/'"),
        ({"stages": [{**CONVERT, "name": ".."}]}, "'name' is '..'"),
        ({"stages": ["quality"]}, "'quality' needs a stage 'convert' before it"),
        ({"stages": [CONVERT, {"stage": "quality", "needs": ["convrt"]}]}, "needs 'convrt', which is not an earlier stage; did you mean 'convert'"),
        ({"stages": [CONVERT, "quality", "quality"]}, "two stages are called 'quality'"),
        ({"stages": [CONVERT, {"stage": "quality", "name": "convert"}]}, "two stages are called 'convert'"),
    ],
)  # fmt: skip
def test_every_mistake_gets_a_line_that_names_the_file(content: object, expected: str) -> None:
    lines = complain(content)
    assert any(expected in line for line in lines), lines
    assert all(line.startswith(("p.yaml", "stage")) for line in lines), lines


def test_several_mistakes_are_shown_at_once() -> None:
    lines = complain(
        {"stages": [{**CONVERT, "a": 1, "pixel_size_um": -1}, {"stage": "quality", "b": 2}]}
    )
    assert len(lines) == 3


def test_files_that_are_no_yaml_are_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    for data, expected in (
        (b"stages:\n - a: [\n", "line 3"),
        (b"\xff\xfe\xfa", "no valid YAML"),
        (b"a: b: c", "line 1"),
    ):
        path.write_bytes(data)
        with pytest.raises(InputError, match=expected):
            load_pipeline(str(path))
    with pytest.raises(InputError, match="no such file"):
        load_pipeline(str(tmp_path / "absent.yaml"))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["stages", "stage", "seed", "name", "needs", "x"]), inner, max_size=3), max_leaves=8))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_any_value_is_a_pipeline_or_an_input_error(content: object) -> None:
    with suppress(InputError):
        parse_pipeline(content, where="p.yaml")


def test_paths_are_relative_to_the_pipelines_own_folder(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    path = tmp_path / "deep" / "p.yaml"
    path.write_text(
        yaml.safe_dump({"stages": [{**CONVERT, "source": "images", "layout": "../layout.csv"}]})
    )
    convert = load_pipeline(str(path)).stages[0].model_dump()
    assert convert["source"] == str(tmp_path / "deep" / "images")
    assert convert["layout"] == str(tmp_path / "layout.csv")


def test_a_stage_reads_the_nearest_earlier_one_of_each_verb() -> None:
    pipeline = parse(
        "segment", {"stage": "crop", "name": "a"}, {"stage": "segment", "name": "other"},
        {"stage": "crop", "name": "b"}, {"stage": "crop", "name": "c", "needs": ["convert", "segment"]},
        {"stage": "screen", "name": "s"},
    )  # fmt: skip
    needs = {stage.title: stage.needs for stage in pipeline.stages}
    assert needs == {
        "convert": (), "segment": ("convert",), "a": ("convert", "segment"), "other": ("convert",),
        "b": ("convert", "other"), "c": ("convert", "segment"), "s": ("c",),
    }  # fmt: skip


def test_the_pipelines_seed_is_the_stages_unless_they_have_their_own() -> None:
    stages = ["segment", "crop", "screen", {"stage": "screen", "name": "own", "seed": 3}]
    seeds = {s.title: s.model_dump().get("seed") for s in parse(*stages, seed=7).stages}
    assert (seeds["screen"], seeds["own"], seeds["crop"]) == (7, 3, None)


def test_a_dumped_pipeline_is_the_same_pipeline(plate: PlateFiles) -> None:
    pipeline = load_pipeline(str(plate.pipeline))
    assert parse_pipeline(pipeline.dump(), where="again") == pipeline


def test_a_stage_takes_its_namesakes_place_or_the_end(plate: PlateFiles) -> None:
    pipeline = load_pipeline(str(plate.pipeline))
    changed = parse_stage({"stage": "crop", "mask": False}, where="x")
    replaced = with_stage(pipeline, changed, where="x")
    assert [s.title for s in replaced.stages] == [s.title for s in pipeline.stages]
    assert replaced.stage("crop").model_dump()["mask"] is False
    added = with_stage(
        pipeline, parse_stage({"stage": "crop", "name": "more"}, where="x"), where="x"
    )
    assert [s.title for s in added.stages][-1] == "more"
    assert added.stage("more").needs == pipeline.stage("crop").needs


def test_a_report_at_the_end_stays_there_and_shows_the_new_stage_too() -> None:
    def add(*stages: str | dict[str, object]) -> list[tuple[str, ...]]:
        more = parse_stage({"stage": "crop", "name": "more"}, where="x")
        found = with_stage(parse("segment", "crop", *stages), more, where="x")
        assert found.stage("more").needs == found.stage("crop").needs
        return [(s.title, *s.needs[-2:]) for s in found.stages[3:]]

    assert add("report") == [("more", "convert", "segment"), ("report", "crop", "more")]
    # A report of some stages is left as it was.
    some = {"stage": "report", "needs": ["convert", "segment"]}
    assert add(some) == [("more", "convert", "segment"), ("report", "convert", "segment")]


def test_configurations_are_frozen() -> None:
    stage = find_stage("quality")(stage="quality")
    with pytest.raises(ValueError, match="frozen"):
        stage.threads = 2  # type: ignore[misc]


SHIPPED = sorted((Path(__file__).parents[2] / "pipelines").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_pipelines_that_ship_can_be_read(path: Path) -> None:
    assert load_pipeline(str(path)).stages


def test_many_problems_of_several_stages_are_five_lines_and_their_number() -> None:
    stages = [{"stage": verb, **{f"x{n}": 1 for n in range(4)}} for verb in ("segment", "crop")]
    with pytest.raises(InputError) as caught:
        parse_pipeline({"stages": stages}, where="p")
    lines = str(caught.value).splitlines()
    assert len(lines) == 6
    assert lines[-1].endswith(" more like these")
