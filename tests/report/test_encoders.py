"""The sections on encoders and embeddings, drawn from what the stages wrote."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from i2r.pipeline.spec import parse_pipeline
from i2r.report.html import number, render
from i2r.report.images import Window, to_grey
from i2r.report.page import make_page
from i2r.report.sections import embeddings, encoders
from i2r.report.source import ReportSource
from i2r.store.experiment import open_experiment
from i2r.testing import describe_pipeline, write_plate
from tests.conftest import run_here

TRAIN: dict[str, Any] = {
    "stage": "train", "n_folds": 2, "widths": [4, 8], "nucleus_px": 16, "embedding_dim": 4,
    "max_epochs": 2, "batch_size": 16, "surest_nuclei": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ReportSource:
    folder = tmp_path_factory.mktemp("report")
    content = describe_pipeline(write_plate(folder / "plate", wells=8, fields=1), screen=False)
    content["stages"] += [
        {**TRAIN, "views": ["nucleus", "binary-nucleus"]},
        {**TRAIN, "name": "train-leaking", "split_by": "field", "surest_nuclei": 0},
        {
            **TRAIN,
            "name": "train-regions",
            "views": ["nucleus+region"],
            "region_px": 64,
            "region_input_px": 32,
        },
        {"stage": "embed", "needs": ["train", "segment", "crop"], "umap": False},
    ]
    pipeline = parse_pipeline(content, where="test")
    assert run_here(pipeline, folder / "e").exit_code == 0
    titles = [stage.title for stage in pipeline.stages]
    return ReportSource(open_experiment(str(folder / "e")), titles)


def test_both_sections_are_on_the_page(source: ReportSource) -> None:
    made = make_page(source)
    assert not made.problems
    assert {"encoders", "embeddings"} <= set(re.findall(r'<section id="(\w+)">', made.content))


def test_encoders_show_curves_matrix_views_and_surest_nuclei(source: ReportSource) -> None:
    drawn = str(encoders.draw(source))
    assert drawn.count("Confusion matrix of held-out nuclei") == 3
    assert drawn.count("over epochs") >= 4
    assert drawn.count("Test accuracy by what encoders see") == 1, "one of them has one view"
    assert drawn.count("Surest nuclei of") >= 1
    assert "What the calls of" in drawn
    first, second = drawn.split("<h3>train-leaking</h3>")
    second, third = second.split("<h3>train-regions</h3>")
    surest = source.experiment.table("train-regions-surest")
    assert {len(values) for values in surest["region"]} == {64 * 64}
    assert {len(values) for values in surest["occlusion_region"]} == {64}
    n_shown = surest["true"].nunique()
    for words in ("Regions around nuclei of", "What of the regions the calls rest on"):
        assert third.count(words) == n_shown
        assert words not in first
    assert third.count("<img") == 4 * n_shown
    assert "these accuracies are too good" not in first
    assert "these accuracies are too good" in second
    assert "Surest nuclei of" not in second
    for unit in ("nucleus/fold-0", "nucleus/fold-1", "binary-nucleus/fold-0"):
        assert unit in first


def test_surest_nuclei_share_one_contrast_and_say_how_wide_they_are(
    source: ReportSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = next(s for s in source.stages if s.title == "train-regions")
    surest = source.experiment.table("train-regions-surest")
    control = surest.assign(true="negative control")
    surest = pd.concat([surest.assign(true="active"), control], ignore_index=True)
    windows: list[Window] = []

    def record(grey: Any, window: Window) -> Any:
        windows.append(window)
        return to_grey(grey, window)

    monkeypatch.setattr(encoders, "to_grey", record)
    monkeypatch.setattr(encoders, "MAX_CLASSES", 1)
    drawn = encoders._draw_gallery(source, stage, surest, "nucleus+region")
    assert drawn is not None
    assert [item["name"] for item in drawn["classes"]] == ["negative control"]
    assert drawn["n_left_out"] == 1
    assert drawn["region_um"] == 64 * source.pixel_size_um
    crop = next(s for s in source.stages if s.verb == "crop")
    assert drawn["width_um"] == crop.options["size_px"] * source.pixel_size_um
    windows.clear()
    monkeypatch.setattr(encoders, "MAX_CLASSES", 2)
    drawn = encoders._draw_gallery(source, stage, surest, "nucleus+region")
    assert drawn is not None
    assert len(set(windows)) == 2, "one for nuclei of both classes, and one for regions"
    page = str(encoders.draw(source)).split("<h3>train-regions</h3>")[1]
    assert f"a picture is {number(drawn['width_um'])} µm wide" in page
    assert f"regions around the same nuclei, {number(drawn['region_um'])} µm wide" in page


def test_words_below_a_map_of_wells_are_those_of_its_method() -> None:
    for method, words, not_words in (
        ("UMAP", "distances between groups no meaning", "principal components"),
        ("principal components", "first two principal components", "no meaning"),
    ):
        item = {
            "title": "embed", "setup": "", "table": "", "n_left_out": 0, "layout": method,
            "curve": None, "maps": [{"by": "plate", "points": [], "legend": [], "n": 1}],
        }  # fmt: skip
        drawn = str(render("embeddings.html", encoders=[item]))
        assert words in drawn
        assert not_words not in drawn


def test_embeddings_show_what_profiles_are_worth(source: ReportSource) -> None:
    drawn = str(embeddings.draw(source))
    assert "mean over nuclei, no correction" in drawn
    assert re.search(r"active.*inert|inert.*active", drawn, re.S)
    assert "Wells in two dimensions" not in drawn, "nothing was laid out"


def test_nothing_is_shown_of_stages_that_did_not_run(source: ReportSource) -> None:
    other = ReportSource(source.experiment, ["convert", "segment"])
    assert encoders.draw(other) is None
    assert embeddings.draw(other) is None


def test_a_matrix_has_the_shares_of_its_rows() -> None:
    pairs = [("a", "a", 3), ("a", "b", 1), ("b", "a", 0), ("b", "b", 0)]
    confusion = pd.DataFrame(pairs, columns=["true", "predicted", "n_nuclei"])
    confusion = confusion.assign(part="test", view="nucleus", fold=0)
    drawn = encoders._draw_matrix(confusion, "nucleus")
    assert drawn is not None
    assert drawn["names"] == ["a", "b"]
    assert drawn["diagonal"] == [0.75, 0.0]
    assert encoders._draw_matrix(confusion, "region") is None


def test_parts_that_speak_for_a_class_are_orange_and_others_blue() -> None:
    tile = np.full((16, 16), 100, np.uint16)
    values = np.zeros((8, 8))
    values[0, 0], values[7, 7] = 2.0, -2.0
    painted = encoders._paint(tile, values.ravel(), Window(0.0, 200.0)).astype(int)
    red, blue = painted[0, 0], painted[15, 15]
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert (painted[8, 8] == painted[8, 8, 0]).all(), "what does not matter stays grey"


def test_many_conditions_have_colours_of_their_own() -> None:
    names = pd.Series([f"g{i}" for i in range(40)])
    assert len(set(embeddings.choose_colours(names).values())) == 40


def test_wells_are_placed_inside_the_picture_and_clusters_have_their_best_cut() -> None:
    umap = pd.DataFrame(
        {"plate": "P1", "well": ["A01", "A02"], "class": ["negative control", "x"], "x": [0.0, 9.0],
         "y": [4.0, -2.0]}
    )  # fmt: skip
    wells = pd.DataFrame({"plate": ["P1", "P1"], "batch": ["b1", "b2"]}, ["P1/A01", "P1/A02"])
    by_condition, by_batch = embeddings._draw_maps(umap, wells)
    assert [point["title"] for point in by_condition["points"]] == [
        "P1/A01: negative control",
        "P1/A02: x",
    ]
    assert all(0 <= p["x"] <= 400 and 0 <= p["y"] <= 320 for p in by_condition["points"])
    for drawn in (by_condition, by_batch):
        assert drawn["points"][0]["colour"] != drawn["points"][1]["colour"]
    assert by_condition["legend"] == [("x", embeddings.COLOURS[0])]
    assert [name for name, _ in by_batch["legend"]] == ["b1", "b2"]
    assert embeddings._draw_maps(umap.iloc[:0], wells) == []
    curves = pd.DataFrame(
        {
            "n_clusters": [2.0, 3, 4],
            "silhouette": [0.2, 0.6, 0.1],
            "null_silhouette": [0.1, 0.1, 0.1],
        }
    )
    curve = embeddings._draw_curve(curves)
    assert curve is not None
    assert curve["best"] == 3
    assert embeddings._draw_curve(curves.iloc[:0]) is None
