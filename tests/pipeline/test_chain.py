"""The real stages on a synthetic plate: exactly what depends on a change is done again."""

import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from i2r.cluster import ClusterSpec, WorkerGroup
from i2r.errors import InputError
from i2r.pipeline.preview import preview_units
from i2r.pipeline.run import prepare, run_pipeline
from i2r.pipeline.spec import load_pipeline, parse_pipeline
from i2r.pipeline.summary import Summary
from i2r.pipeline.units import UnitGraph
from i2r.stages.base import FINISH
from i2r.store.experiment import Experiment, open_experiment
from i2r.testing import PlateFiles, describe_pipeline, digest_experiment, write_plate
from tests.conftest import run_here, short_pipeline
from tests.pipeline.test_loop import snapshot

Make = Callable[..., PlateFiles]
WELLS = [f"P1/A{n:02d}" for n in range(1, 9)]
# What write_plate puts there: control, active, control, inert, control, active, control, inert.
CONTROLS, ACTIVE, INERT = (
    ["P1/A01", "P1/A03", "P1/A05", "P1/A07"], ["P1/A02", "P1/A06"], ["P1/A04", "P1/A08"],
)  # fmt: skip
DRAWS = ["control draw 01/0", "control draw 01/1"]
ALL = {
    "convert": [*WELLS, "*"],
    "quality": [*WELLS, "*"],
    "segment": [*WELLS, "*"],
    "crop": [*WELLS, "*"],
}
SCREENED = {"screen": ["active/0", "active/1", "inert/0", "inert/1", *DRAWS, "*"]}


def pending(
    plate: PlateFiles, url: Path, *, short: bool = True, **changes: dict[str, object]
) -> dict[str, list[str]]:
    """List what a run with the files as they are now would do."""
    pipeline = short_pipeline(plate, **changes) if short else load_pipeline(str(plate.pipeline))
    listed = preview_units(pipeline, prepare(pipeline, str(url)))
    return {stage: sorted(keys) for stage, keys in listed.items() if keys}


def expect(**units: list[str]) -> dict[str, list[str]]:
    return {stage: sorted(keys) for stage, keys in units.items()}


def of_wells(*keys: str, stages: tuple[str, ...] = tuple(ALL)) -> dict[str, list[str]]:
    """Name the units of some wells and the stages' last units."""
    return expect(**{stage: [*keys, "*"] for stage in stages})


def own_copy(plate: PlateFiles, cropped: Path, tmp_path: Path) -> tuple[PlateFiles, Path]:
    """Copy the plate's layout, whose path no fingerprint holds; images stay where they are."""
    layout = Path(shutil.copy(plate.layout, tmp_path / "layout.csv"))
    return plate._replace(layout=layout), cropped


def edit_layout(path: Path, well: str, **values: str) -> None:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["well"] == well:
            row.update(values)
        else:
            row.update({name: "" for name in values if name not in row})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


# ------------------------------------------------------------------------------- what is redone


def test_everything_is_to_do_at_first(plate: PlateFiles, tmp_path: Path) -> None:
    assert pending(plate, tmp_path / "absent") == expect(**ALL)
    assert pending(plate, tmp_path / "absent", short=False) == expect(**ALL, **SCREENED)
    assert not (tmp_path / "absent").exists(), "looking writes nothing"


def test_nothing_is_to_do_afterwards_and_nothing_is_written(
    plate: PlateFiles, cropped: Path
) -> None:
    assert pending(plate, cropped) == {}
    before = snapshot(str(cropped))
    assert run_here(short_pipeline(plate), cropped).ran == {}
    assert snapshot(str(cropped)) == before


@pytest.mark.parametrize(
    ("stage", "options", "stages"),
    [
        ("convert", {"pixel_size_um": 1.1}, ("convert", "quality", "segment", "crop")),
        ("quality", {"max_background": {"DNA": 60000.0}}, ("quality", "segment", "crop")),
        ("segment", {"sigma_um": 0.7}, ("segment", "crop")),
        ("crop", {"mask": False}, ("crop",)),
        ("crop", {"threads": 2}, ("crop",)),
    ],
)
def test_a_changed_option_redoes_its_stage_and_those_that_read_it(
    stage: str,
    options: dict[str, object],
    stages: tuple[str, ...],
    plate: PlateFiles,
    cropped: Path,
) -> None:
    assert pending(plate, cropped, **{stage: options}) == of_wells(*WELLS, stages=stages)


def test_an_excluded_field_redoes_its_own_well(plate: PlateFiles, cropped: Path) -> None:
    options = {"exclude": ["P1/A01/1"]}
    stages = ("quality", "segment", "crop")
    assert pending(plate, cropped, quality=options) == of_wells("P1/A01", stages=stages)


def test_a_changed_source_file_redoes_its_well(own_plate: Make, tmp_path: Path) -> None:
    plate = own_plate()
    url = tmp_path / "e"
    run_here(short_pipeline(plate), url)
    before = digest_experiment(str(url))
    image = plate.source / "P1" / "A02_s1_DNA.tif"
    os.utime(image, ns=(1, 1))
    assert pending(plate, url) == of_wells("P1/A02")
    tifffile.imwrite(image, tifffile.imread(image)[::-1], compression="lzw")
    summary = run_here(short_pipeline(plate), url)
    assert summary.ran == {"convert": 2, "quality": 2, "segment": 2, "crop": 2}
    changed = {
        path for path, digest in digest_experiment(str(url)).items() if before.get(path) != digest
    }
    assert changed
    assert all(
        "A02" in path or "A/2" in path or path.endswith("P1.parquet") or path == "sources.parquet"
        for path in changed
    )
    assert run_here(short_pipeline(plate), url).ran == {}


def test_a_changed_layout_row_redoes_what_compares_it(
    plate: PlateFiles, screened: Path, tmp_path: Path
) -> None:
    own, _ = own_copy(plate, screened, tmp_path)
    content = describe_pipeline(own)

    def look() -> dict[str, list[str]]:
        pipeline = parse_pipeline(content, where="test")
        listed = preview_units(pipeline, prepare(pipeline, str(screened)))
        return {stage: sorted(keys) for stage, keys in listed.items() if keys}

    assert look() == {}, "the path of the layout matters to nobody"
    edit_layout(own.layout, "A02", gene="TP53")
    assert look() == {"screen": ["*"]}, "the gene stands in the ranking only"
    edit_layout(own.layout, "A02", gene="", replicate="7")
    assert look() == {}, "a column that nothing reads"
    # From active to inert: one active well is left, so nothing of it can be held out.
    edit_layout(own.layout, "A02", perturbation="inert")
    assert look() == expect(screen=["inert/0", "inert/1", *DRAWS, "*"]) or look() == expect(
        screen=["inert/0", "inert/1", "*"]
    )


def test_a_dropped_well_redoes_the_merged_tables_only(
    plate: PlateFiles, cropped: Path, tmp_path: Path
) -> None:
    own, _ = own_copy(plate, cropped, tmp_path)
    own.layout.write_text(
        "".join(line for line in own.layout.read_text().splitlines(True) if ",A08," not in line)
    )
    assert pending(own, cropped) == {stage: ["*"] for stage in ALL}
    assert run_here(short_pipeline(own), cropped).exit_code == 0
    for name in ALL:
        assert "A08" not in set(open_experiment(str(cropped)).table(name)["well"])


def test_a_changed_seed_redoes_the_screen(plate: PlateFiles, screened: Path) -> None:
    content = describe_pipeline(plate) | {"seed": 1}
    pipeline = parse_pipeline(content, where="test")
    listed = preview_units(pipeline, prepare(pipeline, str(screened)))
    assert {s for s, keys in listed.items() if keys} == {"screen"}
    assert len(listed["screen"]) == 7


def test_changed_and_changed_back_gives_the_first_results_again(
    plate: PlateFiles, cropped: Path
) -> None:
    first = digest_experiment(str(cropped))
    other, same = short_pipeline(plate, segment={"sigma_um": 1.5}), short_pipeline(plate)
    assert run_here(other, cropped).ran == {"segment": 9, "crop": 9}
    assert digest_experiment(str(cropped)) != first
    assert run_here(same, cropped).ran == {"segment": 9, "crop": 9}
    assert digest_experiment(str(cropped)) == first


def test_results_are_replaced_only_after_asking(plate: PlateFiles, cropped: Path) -> None:
    questions = []

    def refuse(question: str) -> bool:
        questions.append(question)
        return False

    before = snapshot(str(cropped))
    with pytest.raises(InputError, match="nothing was changed"):
        run_here(short_pipeline(plate, crop={"mask": False}), cropped, confirm=refuse)
    assert questions == [
        "8 results were made with other options or inputs and will be replaced "
        "(crop: mask was true, is false)."
    ]
    assert snapshot(str(cropped)) == before


def test_building_reads_and_computes_nothing(
    plate: PlateFiles, screened_original: Path, tmp_path: Path
) -> None:
    pipeline = load_pipeline(str(plate.pipeline))
    surveyed = prepare(pipeline, str(tmp_path / "absent"))
    # Layout and ledger are known, but not one image, label, crop or table is there.
    shutil.copytree(screened_original / "ledger", tmp_path / "absent" / "ledger")
    experiment = Experiment(
        str(tmp_path / "absent"), layout=surveyed.layout, sources=surveyed.sources
    )
    for unit in UnitGraph(pipeline, experiment):
        if unit.key == FINISH:
            graph = unit.stage.finish(experiment, unit.stage.keys(experiment))
            assert graph is not None
        else:
            graph = unit.stage.build(experiment, unit.key)
        assert dict(graph.__dask_graph__()), unit.name
    assert [p.name for p in (tmp_path / "absent").iterdir()] == ["ledger"]


# ------------------------------------------------------------------------------- where it runs


def run_on(workers: int, plate: PlateFiles, url: Path) -> Summary:
    spec = ClusterSpec(
        cpu=WorkerGroup(n_workers=workers, memory_limit="3GiB"),
        gpu=WorkerGroup(n_workers=0),
        dashboard_address="127.0.0.1:0",
    )
    return run_pipeline(load_pipeline(str(plate.pipeline)), str(url), cluster=spec, style="none")


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_results_do_not_depend_on_where_or_in_which_order_units_run(
    workers: int, plate: PlateFiles, screened_original: Path, tmp_path: Path
) -> None:
    here = digest_experiment(str(screened_original))
    assert len(here) > 100
    summary = run_on(workers, plate, tmp_path / "e")
    assert summary.exit_code == 0
    assert summary.ran == {**dict.fromkeys(ALL, 9), "screen": 7}
    assert digest_experiment(str(tmp_path / "e")) == here


def test_the_planted_effect_is_found_and_nothing_else(screened_original: Path) -> None:
    ranking = open_experiment(str(screened_original)).table("screen").set_index("condition")
    assert ranking.loc["active", "score"] > 0.95
    assert ranking.loc["active", "rank"] == 1
    assert ranking.loc["inert", "score"] < 0.8
    assert abs(ranking.loc["control draw 01", "score"] - 0.5) < 0.3


# ------------------------------------------------------------------------------- bad fields


def break_field(kind: str, path: Path) -> None:
    image = tifffile.imread(path)
    if kind == "missing":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "rgb":
        tifffile.imwrite(path, np.stack([image] * 3, axis=-1), photometric="rgb")
    elif kind == "shape":
        tifffile.imwrite(path, image[:-1])
    elif kind == "dtype":
        tifffile.imwrite(path, (image // 256).astype(np.uint8))


KINDS = {
    "missing": "missing",
    "empty": "truncated",
    "truncated": "truncated",
    "rgb": "rgb",
    "shape": "shape",
    "dtype": "dtype",
}


@pytest.fixture
def broken(own_plate: Make) -> PlateFiles:
    """A plate with one bad field of every kind, and a well that has only bad ones."""
    plate = own_plate(wells=8)
    for number, kind in enumerate(KINDS, start=1):
        break_field(kind, plate.source / "P1" / f"A{number:02d}_s2_DNA.tif")
    for field in (1, 2):
        (plate.source / "P1" / f"A08_s{field}_DNA.tif").write_bytes(b"no image")
    return plate


def test_bad_fields_are_left_out_with_the_reason_and_the_rest_goes_on(
    broken: PlateFiles, tmp_path: Path
) -> None:
    url = tmp_path / "e"
    summary = run_here(short_pipeline(broken), url)
    assert (summary.exit_code, summary.failed, summary.blocked) == (3, [], [])
    expected = {
        f"convert P1/A{n:02d}": {"2": reason} for n, reason in enumerate(KINDS.values(), start=1)
    }
    assert summary.excluded == {**expected, "convert P1/A08": {"1": "truncated", "2": "truncated"}}
    experiment = open_experiment(str(url))
    table = experiment.table("convert")
    assert set(table.loc[table["reason"] != "", "message"].map(bool)) == {True}
    assert len(table) == 16
    crops = experiment.table("crop")
    assert set(crops["well"]) == {f"A{n:02d}" for n in range(1, 8)}
    assert set(crops.loc[crops["well"] != "A07", "field"]) == {"1"}
    assert experiment.plates["P1"].images("A08").shape == (0, 1, 96, 128)
    assert experiment.plates["P1"].images("A01").compute().shape == (1, 1, 96, 128)
    again = run_here(short_pipeline(broken), url)
    assert (again.ran, again.exit_code) == ({}, 3)


def test_strict_refuses_bad_fields_before_anything_is_written(
    broken: PlateFiles, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        run_here(short_pipeline(broken), tmp_path / "e", strict=True)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("P1/A01 field 2 channel DNA: missing: ")
    assert lines[-1] == "... and 3 more like these"
    assert not (tmp_path / "e").exists()


def test_a_repaired_field_is_taken_up(own_plate: Make, tmp_path: Path) -> None:
    plate = own_plate()
    image = plate.source / "P1" / "A02_s2_DNA.tif"
    good = image.read_bytes()
    image.unlink()
    assert run_here(short_pipeline(plate), tmp_path / "e").exit_code == 3
    image.write_bytes(good)
    assert pending(plate, tmp_path / "e") == of_wells("P1/A02")
    assert run_here(short_pipeline(plate), tmp_path / "e").exit_code == 0


def test_wells_without_nuclei_are_results_through_to_the_screen(
    own_plate: Make, tmp_path: Path
) -> None:
    plate = own_plate(wells=8, empty_wells=["A02", "A06", "A05"])
    summary = run_here(load_pipeline(str(plate.pipeline)), tmp_path / "e")
    assert (summary.exit_code, summary.failed) == (0, [])
    experiment = open_experiment(str(tmp_path / "e"))
    assert "A02" not in set(experiment.table("crop")["well"])
    ranking = experiment.table("screen").set_index("condition")
    assert np.isnan(ranking.loc["active", "score"])
    assert ranking.loc["active", "note"]
    assert ranking.loc["active", "rank"] == 0
    assert ranking.loc["inert", "score"] >= 0


def test_only_controls_without_nuclei_are_an_error(own_plate: Make, tmp_path: Path) -> None:
    plate = own_plate(wells=8, empty_wells=["A01", "A03", "A05", "A07"])
    summary = run_here(load_pipeline(str(plate.pipeline)), tmp_path / "e")
    assert summary.exit_code == 3
    assert {u.stage.title for u in summary.failed} == {"screen"}
    assert "control wells" in summary.failed[0].error
    assert "\n" not in summary.failed[0].error


def test_a_file_that_changes_during_the_conversion_is_noticed(
    own_plate: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plate = own_plate()
    from i2r.stages import convert

    original = convert.finish_plates

    def touch_then_finish(*arguments: object, **options: object) -> object:
        os.utime(plate.source / "P1" / "A03_s1_DNA.tif", ns=(5, 5))
        return original(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(convert, "finish_plates", touch_then_finish)
    summary = run_here(short_pipeline(plate), tmp_path / "e")
    assert [u.name for u in summary.failed] == ["convert *"]
    assert "A03_s1_DNA.tif: the file changed" in summary.failed[0].error
    monkeypatch.undo()
    assert run_here(short_pipeline(plate), tmp_path / "e").ran["convert"] == 2


# ------------------------------------------------------------------------------- nothing written


def refuse(url: Path, content: dict[str, object]) -> str:
    with pytest.raises(InputError) as error:
        run_here(parse_pipeline(content, where="test"), url)
    return str(error.value)


def test_what_is_wrong_with_the_whole_is_said_before_anything_is_written(
    own_plate: Make, tmp_path: Path
) -> None:
    plate, url = own_plate(wells=4), tmp_path / "e"
    good = plate.layout.read_text()
    content = describe_pipeline(plate)
    layouts = {
        "no well has the role": good.replace("negative_control", "treated"),
        "is on lines": good.replace("A02", "A01"),
        "'H12' has no images": good.replace("A02", "H12"),
        "plate 'P9' has no images": good.replace("P1", "P9"),
    }
    for expected, text in layouts.items():
        plate.layout.write_text(text)
        assert expected in refuse(url, content)
    plate.layout.write_text(good)
    for changes, expected in (
        ({"segment": {"chanel": "DNA"}}, "unknown field 'chanel'; did you mean 'channel'"),
        ({"segment": {"channel": "ER"}}, "has no channel 'ER', found DNA"),
        ({"screen": {"channels": ["GFP"]}}, "has no channel 'GFP', found DNA"),
        ({"convert": {"channels": {"GFP": "ER"}}}, "'GFP'"),
        ({"convert": {"source": "/nowhere/at/all.csv"}}, "/nowhere/at/all.csv"),
        ({"quality": {"exclude": ["P1/Z01"]}}, "exclude 'P1/Z01'"),
        ({"quality": {"exclude": ["P1/"]}}, "exclude 'P1/'"),
        ({"quality": {"exclude": ["P1/A01/1/7"]}}, "exclude 'P1/A01/1/7'"),
        ({"quality": {"min_focus": {"ER": 1.0}}}, "no channel 'ER'"),
    ):
        stages = [{**s, **changes.get(s["stage"], {})} for s in content["stages"]]
        assert expected in refuse(url, {**content, "stages": stages})
    assert not url.exists()
    (url / "thesis").mkdir(parents=True)
    assert "not empty and no i2r experiment (found thesis)" in refuse(url, content)
    assert os.listdir(url) == ["thesis"]
    (tmp_path / "file").write_text("")
    for below in ("file", "file/below", "file/far/below"):
        assert str(tmp_path / "file") in refuse(tmp_path / below, content)
    assert (tmp_path / "file").read_text() == ""


def test_a_channel_absent_on_one_plate_is_refused(tmp_path: Path) -> None:
    one = write_plate(tmp_path / "one", wells=4, channels=("DNA", "ER"))
    two = write_plate(tmp_path / "two", wells=4, plate="P2")
    for path in two.source.iterdir():
        shutil.copytree(path, one.source / path.name)
    one.layout.write_text(
        one.layout.read_text() + "".join(two.layout.read_text().splitlines(True)[1:])
    )
    content = describe_pipeline(one, channels=("DNA", "ER"))
    content["stages"][0] |= {
        "source": str(one.source), "reader": "pattern",
        "pattern": r"(?P<plate>\w+)/(?P<well>\w+)_s(?P<field>\d)_(?P<channel>\w+)\.tif$",
    }  # fmt: skip
    assert "plate 'P2' has no image of the channel 'ER', found 'DNA'" in refuse(
        tmp_path / "e", content
    )
