"""Illumination in a run: recovered, divided out in every later stage, part of the fingerprints."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
import tifffile

from i2r.errors import InputError
from i2r.kernels.regions import frame_field, scale_field
from i2r.models.encoder import EncoderSettings, build_encoder
from i2r.models.weights import encode_encoder
from i2r.pipeline import loop
from i2r.pipeline.spec import Pipeline, parse_pipeline
from i2r.stages.train import Train
from i2r.store.arrays import read_array
from i2r.store.experiment import Experiment, open_experiment
from i2r.store.pools import Window, plan_pool, read_pool
from i2r.testing import PlateFiles, describe_pipeline, draw_field, write_plate
from tests.conftest import run_here

SHAPE = (96, 128)


def draw_shading() -> np.ndarray:
    """Less light towards one corner: a sixth of the brightest there."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    fall = (y / SHAPE[0]) ** 2 + (x / SHAPE[1]) ** 2
    return np.exp(-0.9 * fall)


def write_shaded_plate(folder: Path, *, even: bool = False) -> PlateFiles:
    """Write 12 wells of 5 fields in a shading or in even light, their nuclei shifted at random."""
    plate = write_plate(folder, wells=12, fields=5, shape=SHAPE)
    for number, path in enumerate(sorted(plate.source.rglob("*.tif"))):
        random = np.random.default_rng(number)
        field = draw_field(number, shape=SHAPE, radius_px=4, occupancy=0.5)[0]
        shifted = np.roll(field, random.integers(0, 100, 2), axis=(0, 1))
        light = np.full(SHAPE, draw_shading().min()) if even else draw_shading()
        tifffile.imwrite(path, (shifted * light).astype(np.uint16))
    return plate


def with_illumination(plate: PlateFiles, *more: dict[str, Any], **options: Any) -> Pipeline:
    content = describe_pipeline(plate, screen=False)
    content["stages"].insert(2, {"stage": "illuminate", **options})
    content["stages"][-1]["min_area_um2"] = 15.0
    content["stages"] += more
    return parse_pipeline(content, where="test")


@pytest.fixture(scope="module")
def shaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[PlateFiles, Experiment]:
    folder = tmp_path_factory.mktemp("shaded")
    plate = write_shaded_plate(folder)
    pipeline = with_illumination(
        plate, {"stage": "features"}, {"stage": "report"},
        {"stage": "features", "name": "named", "needs": ["segment", "crop"]},
    )  # fmt: skip
    assert run_here(pipeline, folder / "e").exit_code == 0
    return plate, open_experiment(str(folder / "e"))


def test_planted_shading_is_recovered_within_two_percent(
    shaded: tuple[PlateFiles, Experiment],
) -> None:
    _, experiment = shaded
    function = read_array(f"{experiment.illumination_url('illuminate', 'P1', 'DNA')}/function")
    truth = draw_shading()
    ratio = function / (truth / truth.min())
    np.testing.assert_allclose(ratio / np.median(ratio), 1, atol=0.02)
    table = experiment.table("illuminate")
    assert table[["plate", "channel", "n_fields"]].to_numpy().tolist() == [["P1", "DNA", 60]]
    assert table.loc[0, "greatest"] == pytest.approx(function.max())


def test_stages_see_corrected_images_and_converted_ones_stay(
    shaded: tuple[PlateFiles, Experiment],
) -> None:
    plate, experiment = shaded
    opened = experiment.plates["P1"]
    raw = opened.images("A01").compute()
    np.testing.assert_array_equal(
        raw[0, 0], tifffile.imread(plate.source / "P1" / "A01_s1_DNA.tif")
    )
    corrected = opened.images("A01", after=["convert", "illuminate"]).compute()
    np.testing.assert_allclose(corrected, raw / (draw_shading() / draw_shading().min()), rtol=0.1)
    labels = opened.labels("A01").compute()
    nuclei = experiment.table("segment")
    first = nuclei[(nuclei["well"] == "A01") & (nuclei["field"] == "1")].iloc[0]
    own = corrected[0, 0][labels[0] == first["label"]]
    assert first["mean_DNA"] == pytest.approx(own.mean())
    crops = experiment.table("crop")
    row = crops[(crops["well"] == "A01") & (crops["crop"] >= 0)].iloc[0]
    tile = read_array(experiment.crops_url("crop", "P1/A01"))[row["crop"], 0]
    pixels = corrected[int(row["field"]) - 1, 0][labels[int(row["field"]) - 1] == row["label"]]
    assert np.sort(tile[tile > 0]).tolist() == np.sort(pixels[pixels > 0]).tolist()
    behind_crops = experiment.ledger.report("crop", "P1/A01").after
    assert opened.find_functions(behind_crops) == opened.find_functions(["illuminate"])
    features = experiment.table("features").merge(nuclei, on=["well", "field", "label"])
    np.testing.assert_allclose(features["max_DNA_x"], features["max_DNA_y"])
    pd.testing.assert_frame_equal(experiment.table("features"), experiment.table("named"))


def test_regions_around_nuclei_are_corrected_too(
    shaded: tuple[PlateFiles, Experiment],
) -> None:
    _, experiment = shaded
    plan = plan_pool(
        experiment, ["P1/A01"], crop="crop", segment="segment", channels=["DNA"],
        window=Window(32, halved=False),
    )  # fmt: skip
    pool = read_pool(plan)
    assert pool.fields is not None
    corrected = experiment.plates["P1"].images("A01", after=["illuminate"]).compute()
    expected = {frame_field(scale_field(field[0]), size_px=32).tobytes() for field in corrected}
    assert {field[0].tobytes() for field in pool.fields} == expected


@pytest.mark.parametrize("view", ["nucleus", "region"])
def test_encoders_see_corrected_nuclei_and_regions(
    view: Literal["nucleus", "region"], shaded: tuple[PlateFiles, Experiment], tmp_path: Path
) -> None:
    """With the correction embeddings are those of even light, without it they are not."""
    settings = EncoderSettings(
        view=view, window_px=32, region_px=32, halved=False, embedding_dim=8, widths=(8, 8),
        low=(0.0,), high=(3000.0,),
    )  # fmt: skip
    (tmp_path / "encoder.pt").write_bytes(encode_encoder(build_encoder(settings, seed=1).eval()))
    embed = {"stage": "embed", "encoder": str(tmp_path / "encoder.pt"), "umap": False}
    found = {}
    for name, plate in (
        ("even", write_shaded_plate(tmp_path / "plate", even=True)), ("corrected", shaded[0]), ("raw", shaded[0]),
    ):  # fmt: skip
        pipeline = with_illumination(plate, embed)
        if name != "corrected":
            kept = [s for s in pipeline.stages if s.stage != "illuminate"]
            pipeline = parse_pipeline(
                {"stages": [s.model_dump(exclude={"needs"}) for s in kept]}, where="test"
            )
        assert run_here(pipeline, tmp_path / name).exit_code == 0
        experiment = open_experiment(str(tmp_path / name))
        nuclei = experiment.embeddings("embed")
        table = nuclei[["plate", "well", "field", "label"]].to_dataframe().reset_index(drop=True)
        table["row"] = np.arange(len(table))
        measured = experiment.table("segment")[
            ["well", "field", "label", "centroid_y_px", "centroid_x_px"]
        ]
        found[name] = (
            table.merge(measured, on=["well", "field", "label"]),
            nuclei["embedding"].to_numpy(),
        )
    error = {name: measure_distance(found[name], found["even"]) for name in ("corrected", "raw")}
    assert error["corrected"] < 0.15
    assert error["raw"] > 3 * error["corrected"], error


def test_a_plate_waits_for_no_other_plate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P1 is segmented, corrected, before P2 is converted."""
    monkeypatch.setattr(loop, "BUNDLE_MOST", 1)  # such small wells would travel together
    one, two = (write_plate(tmp_path / name, wells=6, fields=1, shape=SHAPE, plate=name) for name in ("P1", "P2"))  # fmt: skip
    for first, second in ((one.load_data, two.load_data), (one.layout, two.layout)):
        first.write_text(first.read_text() + second.read_text().partition("\n")[2])
    assert run_here(with_illumination(one), tmp_path / "e").exit_code == 0
    (segment,) = (tmp_path / "e" / "ledger").glob("*.jsonl")
    events = [json.loads(line) for line in segment.read_text().splitlines()]
    names = [(e["stage"], e["key"].partition("/")[0], e["event"]) for e in events]
    converted = [n for n, name in enumerate(names) if name == ("convert", "P2", "start")]
    segmented = [n for n, name in enumerate(names) if name == ("segment", "P1", "done")]
    assert len(converted) == len(segmented) == 6
    # As many as are in flight at once may have been handed out before.
    assert max(segmented) < converted[2]


def measure_distance(one: tuple[pd.DataFrame, Any], two: tuple[pd.DataFrame, Any]) -> float:
    """Give the median distance of embeddings of the same nuclei, over their scatter."""
    pairs = one[0].merge(two[0], on=["well", "field"])
    apart = np.hypot(
        pairs["centroid_y_px_x"] - pairs["centroid_y_px_y"], pairs["centroid_x_px_x"] - pairs["centroid_x_px_y"]
    )  # fmt: skip
    same = pairs[apart < 1.5]
    assert len(same) > 0.5 * min(len(one[0]), len(two[0]))
    difference = one[1][same["row_x"]] - two[1][same["row_y"]]
    scatter = two[1] - two[1].mean(axis=0)
    return float(
        np.median(np.linalg.norm(difference, axis=1)) / np.median(np.linalg.norm(scatter, axis=1))
    )


def test_a_training_reads_what_its_crops_were_corrected_with(
    shaded: tuple[PlateFiles, Experiment],
) -> None:
    _, experiment = shaded
    stage = Train(views=("nucleus+region",), needs=("segment", "crop"))
    plan = stage._plan_pool(experiment, stage._choose_wells(experiment)[0])
    assert plan.window is not None
    expected = tuple(experiment.plates["P1"].find_functions(["illuminate"]).items())
    assert len(expected) == 1
    assert set(plan.functions) == {expected}


def test_brightness_and_counts_do_not_depend_on_the_position(
    shaded: tuple[PlateFiles, Experiment], tmp_path: Path
) -> None:
    plate, experiment = shaded
    content = describe_pipeline(plate, screen=False)
    assert run_here(parse_pipeline(content, where="test"), tmp_path / "raw").exit_code == 0
    raw = open_experiment(str(tmp_path / "raw"))
    found = {}
    for name, table in (("raw", raw.table("segment")), ("even", experiment.table("segment"))):
        dark = (table["centroid_y_px"] / SHAPE[0] + table["centroid_x_px"] / SHAPE[1]) > 1
        whole = ~table["touches_border"]
        brightness = table["mean_DNA"]
        found[name] = (
            brightness[dark & whole].median() / brightness[~dark & whole].median(),
            dark.sum() / (~dark).sum(),
        )
    assert found["raw"][0] < 0.65
    assert found["even"][0] == pytest.approx(1, abs=0.03)
    assert found["even"][1] == pytest.approx(1, abs=0.1)


def test_given_functions_are_taken_as_they_are_and_are_inputs(
    plate: PlateFiles, tmp_path: Path
) -> None:
    function = 1 + np.mgrid[:96, :128][1] / 128
    np.save(tmp_path / "P1_IllumDNA.npy", function)
    options = {"method": "import", "functions": str(tmp_path / "{plate}_Illum{channel}.npy")}
    pipeline = with_illumination(plate, **options)
    assert run_here(pipeline, tmp_path / "e").exit_code == 0
    experiment = open_experiment(str(tmp_path / "e"))
    raw = experiment.plates["P1"].images("A02").compute()
    corrected = experiment.plates["P1"].images("A02", after=["illuminate"]).compute()
    np.testing.assert_allclose(corrected, raw / function, atol=0.51)
    assert run_here(pipeline, tmp_path / "e").ran == Counter()
    np.save(tmp_path / "P1_IllumDNA.npy", 2 * function)
    ran = run_here(pipeline, tmp_path / "e").ran
    assert {stage: n for stage, n in ran.items() if n} == {"illuminate": 2, "segment": 9, "crop": 9}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": ["GFP"]}, "no channel 'GFP'"),
        ({"method": "import"}, "expected a name with {channel}"),
        ({"functions": "/nowhere/{channel}.npy"}, "'median', which does not read them"),
        ({"method": "import", "functions": "/nowhere/{channel}.npy"}, "no such file, for P1/DNA"),
    ],
)
def test_wrong_options_end_before_anything_is_written(
    options: dict[str, Any], message: str, plate: PlateFiles, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        run_here(with_illumination(plate, **options), tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_a_function_that_could_not_be_made_stops_what_needs_it(
    own_plate: Any, tmp_path: Path
) -> None:
    plate = own_plate(channels=("DNA", "GFP"))
    for channel, shape in (("DNA", (96, 128)), ("GFP", (5, 5))):
        np.save(tmp_path / f"{channel}.npy", np.ones(shape))
    content = describe_pipeline(plate, channels=("DNA", "GFP"), screen=False)
    given = {
        "stage": "illuminate",
        "method": "import",
        "functions": str(tmp_path / "{channel}.npy"),
    }
    content["stages"].insert(2, given)
    summary = run_here(parse_pipeline(content, where="test"), tmp_path / "e")
    assert summary.exit_code == 3
    ledger = open_experiment(str(tmp_path / "e")).ledger
    failed = {(e.stage, e.key): e.error for e in ledger.entries() if e.event == "failed"}
    assert "the plate's fields are (96, 128)" in failed["illuminate", "P1/GFP"]
    assert "channel 'GFP': its illumination function is not done" in failed["segment", "P1/A01"]


def test_the_report_shows_fields_before_and_after(shaded: tuple[PlateFiles, Experiment]) -> None:
    _, experiment = shaded
    page = Path(experiment.path("report.html")).read_text()
    assert "Illumination" in page
    assert "Median field, P1 DNA: before" in page
