"""Train: what is a class, what is held out, what a killed training leaves, and what is written."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from i2r.cli.group import i2r
from i2r.cluster import ClusterSpec
from i2r.errors import InputError
from i2r.models.encoder import EncoderSettings, build_encoder
from i2r.models.resnet import ResNet18
from i2r.models.weights import decode_encoder, encode_encoder, encode_state
from i2r.pipeline.run import prepare
from i2r.pipeline.spec import Pipeline, load_pipeline, parse_pipeline
from i2r.pipeline.status import count_checkpoints
from i2r.stages.train import Train
from i2r.store.experiment import Experiment, open_experiment
from i2r.store.nuclei import CONTROL, list_classes
from i2r.testing import PlateFiles, describe_pipeline, digest_experiment, write_plate
from tests.conftest import run_here

QUICK: dict[str, Any] = {
    "n_folds": 2, "widths": [4, 8], "nucleus_px": 32, "embedding_dim": 8, "max_epochs": 3,
    "batch_size": 16, "surest_nuclei": 2,
}  # fmt: skip


def pipeline(plate: PlateFiles, *more: dict[str, Any], **options: Any) -> Pipeline:
    content = describe_pipeline(plate, screen=False)
    quick = QUICK if options.get("method") != "import" else {}
    content["stages"] += [{"stage": "train", **quick, **options}, *more]
    return parse_pipeline(content, where="test")


def run_done(given: Pipeline, url: Path, **options: Any) -> Experiment:
    summary = run_here(given, url, **options)
    assert summary.exit_code == 0, [unit.error for unit in summary.failed]
    return open_experiment(str(url))


LEARNING = {"max_epochs": 15, "learning_rate": 5e-3}


@pytest.fixture(scope="module")
def large_plate(tmp_path_factory: pytest.TempPathFactory) -> PlateFiles:
    """Sixteen wells: eight controls, four of either perturbation."""
    return write_plate(tmp_path_factory.mktemp("plate"), wells=16, fields=2)


@pytest.fixture(scope="module")
def trained_original(large_plate: PlateFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    url = tmp_path_factory.mktemp("trained") / "experiment"
    run_done(pipeline(large_plate, **LEARNING), url)
    return url


# ------------------------------------------------------------------- what is learned


def test_a_planted_effect_is_found_in_wells_that_were_held_out(trained_original: Path) -> None:
    experiment = open_experiment(str(trained_original))
    table = experiment.table("train")
    assert table[["view", "fold"]].values.tolist() == [["nucleus", 0], ["nucleus", 1]]
    confusion = experiment.table("train-confusion")
    test = confusion[(confusion["part"] == "test") & (confusion["true"] == "active")]
    recalled = test[test["predicted"] == "active"]["n_nuclei"].sum() / test["n_nuclei"].sum()
    assert recalled > 0.9, "'active' is 2.5 times as bright"
    assert (table["chance"] == 1 / 3).all()
    assert (table["test_balanced_accuracy"] > table["null_mean"]).all()
    assert (table["null_mean"] - 1 / 3).abs().max() < 0.1
    assert table["p_value"].between(1 / 201, 1).all()


def test_no_well_is_in_two_parts_and_every_well_tests_once(trained_original: Path) -> None:
    splits = open_experiment(str(trained_original)).table("train-splits")
    for _, fold in splits.groupby("fold"):
        assert not fold.duplicated(["plate", "well"]).any()
        for name, wells in fold.groupby("class"):
            assert "train" in set(wells["part"]), name
    tested = splits[splits["part"] == "test"]
    assert not tested.duplicated(["plate", "well"]).any()


def test_predictions_are_of_the_held_out_nuclei(trained_original: Path) -> None:
    experiment = open_experiment(str(trained_original))
    predictions = experiment.table("train-predictions")
    splits = experiment.table("train-splits")
    tested = splits[splits["part"] == "test"]
    assert len(predictions) == tested["n_nuclei"].sum()
    counted = predictions.groupby(["fold", "plate", "well"]).size()
    expected = tested.set_index(["fold", "plate", "well"])["n_nuclei"].sort_index()
    pd.testing.assert_series_equal(counted, expected, check_names=False)
    assert not predictions.duplicated(["fold", "plate", "well", "crop"]).any()
    right = (predictions["true"] == predictions["predicted"]).groupby(predictions["fold"]).sum()
    confusion = experiment.table("train-confusion")
    same = confusion[(confusion["part"] == "test") & (confusion["true"] == confusion["predicted"])]
    assert right.tolist() == same.groupby("fold")["n_nuclei"].sum().tolist()


def test_confusion_matrices_are_normalised_by_row(trained_original: Path) -> None:
    confusion = open_experiment(str(trained_original)).table("train-confusion")
    rows = confusion.groupby(["fold", "part", "true"])["share"].sum()
    np.testing.assert_allclose(rows, 1)
    assert set(confusion["part"]) == {"train", "validation", "test"}


def test_the_surest_nuclei_are_explained(trained_original: Path) -> None:
    experiment = open_experiment(str(trained_original))
    surest, predictions = (experiment.table(f"train-{n}") for n in ("surest", "predictions"))
    assert (surest["true"] == surest["predicted"]).all()
    assert surest.groupby(["fold", "true"]).size().max() == 2
    for (fold, name), rows in surest.groupby(["fold", "true"]):
        own = predictions[(predictions["fold"] == fold) & (predictions["true"] == name)]
        right = own[own["predicted"] == name]["probability"]
        assert rows["probability"].tolist() == right.nlargest(len(rows)).tolist()
    assert {len(values) for values in surest["occlusion_nucleus"]} == {64}
    assert {len(values) for values in surest["occlusion_region"]} == {0}


def test_the_written_encoder_is_the_best_one(trained_original: Path) -> None:
    experiment = open_experiment(str(trained_original))
    encoder = decode_encoder(
        Path(experiment.model_url("train", "nucleus/fold-0").removeprefix("file://")).read_bytes()
    )
    assert encoder.settings.classes == (CONTROL, "active", "inert")
    assert encoder.settings.high[0] > encoder.settings.low[0] >= 0
    epochs = experiment.table("train-epochs")
    own = epochs[epochs["fold"] == 0]
    best = experiment.table("train").set_index("fold").loc[0, "best_epoch"]
    assert own.set_index("epoch")["validation_balanced_accuracy"].idxmax() == best
    assert not list(trained_original.rglob("*.checkpoint"))


# ------------------------------------------------------------------- classes


def lay_out(rows: list[tuple[str, str, str, str]]) -> Experiment:
    layout = pd.DataFrame(rows, columns=["well", "perturbation", "gene", "role"])
    return Experiment(
        "/nowhere",
        layout=layout.assign(
            plate="P1", dose=float("nan"), replicate="", fields=[["1"]] * len(rows), n_fields=1,
            height_px=4, width_px=4, dtype="uint16", pixel_size_um=1.0, channels=[["DNA"]] * len(rows),
        ),
    )  # fmt: skip


LAYOUT = lay_out(
    [(f"A{n:02d}", "dmso", "", "negative_control") for n in range(1, 4)]
    + [(f"B{n:02d}", "JUN-wt", "JUN", "treated") for n in range(1, 3)]
    + [("C01", "JUN-mut", "JUN", "treated"), ("C02", "lonely", "", "treated")]
    + [(f"D{n:02d}", "known", "", "positive_control") for n in range(1, 3)]
    + [("E01", "nothing", "", "empty"), ("E02", "nothing", "", "empty")]
)


def test_classes_are_conditions_or_genes_of_two_wells() -> None:
    by_condition = list_classes(LAYOUT, "condition")["class"].value_counts().to_dict()
    assert by_condition == {CONTROL: 3, "JUN-wt": 2, "known": 2}
    by_gene = list_classes(LAYOUT, "gene")["class"].value_counts().to_dict()
    assert by_gene == {CONTROL: 3, "JUN": 3, "known": 2}


def test_units_are_views_and_folds_or_left_out_classes() -> None:
    assert Train(n_folds=2, views=("nucleus", "binary-nucleus")).keys(LAYOUT) == [
        "nucleus/fold-0", "nucleus/fold-1", "binary-nucleus/fold-0", "binary-nucleus/fold-1",
    ]  # fmt: skip
    left_out = Train(hold_out="classes", class_by="gene")
    assert left_out.keys(LAYOUT) == ["nucleus/without-JUN", "nucleus/without-known"]
    assert Train(hold_out="classes", classes=("known",)).keys(LAYOUT) == ["nucleus/without-known"]


def test_what_can_not_be_trained_is_refused_before_anything_runs() -> None:
    for options, words in (
        ({"channels": ("ER",)}, "has no channel 'ER'"),
        ({"classes": ("KRAS",)}, "no class 'KRAS' with two wells"),
        ({"method": "import"}, "no encoder to import"),
        ({"weights": "/nowhere.pt"}, "no such file"),
        ({"weights": "/nowhere.pt"}, "can't start a network 'small'"),
    ):
        assert any(words in line for line in Train(**options).check(LAYOUT)), options
    controls = lay_out([(f"A{n:02d}", "dmso", "", "negative_control") for n in range(1, 4)])
    assert "nothing to tell apart" in Train().check(controls)[0]
    for wrong in ((), ("cell",), ("nucleus", "nucleus")):
        with pytest.raises(ValueError, match="expected one or more of"):
            Train(views=wrong)


def test_only_what_the_screen_calls_impactful_is_trained_on(
    cropped: Path, plate: PlateFiles
) -> None:
    """Take a screen's table as another stage writes it."""
    experiment = open_experiment(str(cropped))
    wells = list_classes(experiment, "condition")
    stage = Train(needs=("crop", "screen", "segment"))
    table = pd.DataFrame({"condition": ["active", "inert"], "impactful": [True, False]})
    experiment.table = lambda name: table  # type: ignore[method-assign]
    chosen, notes = stage._choose_wells(experiment)
    assert set(chosen["class"]) == {CONTROL, "active"}
    assert len(chosen) == (wells["class"] != "inert").sum()
    assert notes == []
    # By gene, of which none is known here: perturbations go by their own names.
    by_gene = stage.model_copy(update={"class_by": "gene"})
    table = table.assign(perturbation=table["condition"], gene="")
    chosen, notes = by_gene._choose_wells(experiment)
    assert set(chosen["class"]) == {CONTROL, "active"}
    assert notes == []
    table["impactful"] = False
    with pytest.raises(Exception, match="nothing to tell apart"):
        stage._choose_wells(experiment)


def test_an_encoder_without_a_class_never_sees_it(cropped: Path, plate: PlateFiles) -> None:
    experiment = run_done(pipeline(plate, hold_out="classes", max_epochs=2), cropped)
    table = experiment.table("train").set_index("without")
    assert set(table.index) == {"active", "inert"}
    assert (table["n_classes"] == 2).all()
    splits = experiment.table("train-splits")
    for name, rows in splits.groupby("without"):
        left_out = rows[rows["class"] == name]
        assert set(left_out["part"]) == {""}
        assert left_out["n_nuclei"].sum() > 0
    url = experiment.model_url("train", "nucleus/without-active").removeprefix("file://")
    assert decode_encoder(Path(url).read_bytes()).settings.classes == (CONTROL, "inert")


def test_a_left_out_class_changes_nothing_whatever_its_nuclei(
    tmp_path: Path, own_plate: Any
) -> None:
    """The same plate with and without the planted effect: encoders without it are the same."""
    found = []
    for effect in ("intensity", "size"):
        plate = own_plate(wells=8, effect=effect)
        given = pipeline(plate, hold_out="classes", classes=["active", "inert"], max_epochs=2)
        experiment = run_done(given, tmp_path / effect)
        url = experiment.model_url("train", "nucleus/without-active").removeprefix("file://")
        found.append(Path(url).read_bytes())
        shutil.rmtree(tmp_path / "plate")
    assert found[0] == found[1]


# ------------------------------------------------------------------- weights


def test_an_encoder_is_imported_and_embeds(
    cropped: Path, plate: PlateFiles, tmp_path: Path
) -> None:
    encoder = build_encoder(EncoderSettings(widths=(4,), embedding_dim=3), seed=4)
    (tmp_path / "own.pt").write_bytes(encode_encoder(encoder))
    given = pipeline(plate, method="import", weights=str(tmp_path / "own.pt"))
    experiment = run_done(given, cropped)
    assert experiment.table("train")["note"].tolist() == ["imported"]
    url = experiment.model_url("train", "imported").removeprefix("file://")
    assert decode_encoder(Path(url).read_bytes()).settings == encoder.settings
    (tmp_path / "own.pt").write_bytes(b"nothing")
    summary = run_here(given, cropped)
    assert next(u.error for u in summary.failed).count("Name an encoder of i2r") == 1


@pytest.mark.slow
def test_a_resnet_starts_from_weights_of_a_file(
    cropped: Path, plate: PlateFiles, tmp_path: Path
) -> None:
    (tmp_path / "resnet.pt").write_bytes(encode_state(ResNet18(1000).state_dict()))
    given = pipeline(
        plate, architecture="resnet18", weights=str(tmp_path / "resnet.pt"), max_epochs=1,
        learning_rate=1e-5, n_folds=2, scale="nucleus", surest_nuclei=0,
    )  # fmt: skip
    experiment = run_done(given, cropped)
    assert experiment.table("train")["start"].tolist() == [str(tmp_path / "resnet.pt")] * 2


# ------------------------------------------------------------------- the same results


def test_a_second_run_has_nothing_to_do_and_another_option_trains_anew(
    trained_original: Path, large_plate: PlateFiles, tmp_path: Path
) -> None:
    url = tmp_path / "copy"
    shutil.copytree(trained_original, url)
    assert run_here(pipeline(large_plate, **LEARNING), url).ran == {}
    assert run_here(pipeline(large_plate, **{**LEARNING, "max_epochs": 1}), url).ran["train"] == 3


def test_a_checkpoint_of_another_training_is_not_taken(cropped: Path, plate: PlateFiles) -> None:
    """A file that says nothing a training could use: taking it would fail."""
    experiment = open_experiment(str(cropped))
    url = Path(experiment.model_url("train", "nucleus/fold-0").removeprefix("file://"))
    url.parent.mkdir(parents=True)
    stale = url.with_name(f"{url.name}.{'0' * 32}.checkpoint")
    stale.write_bytes(b"another training's")
    run_done(pipeline(plate), cropped)
    assert not stale.exists()


@pytest.mark.slow
def test_one_and_two_workers_give_the_same_encoders_and_tables(
    cropped_original: Path, plate: PlateFiles, tmp_path: Path
) -> None:
    digests, models = [], []
    for n_workers in (1, 2):
        url = tmp_path / str(n_workers)
        shutil.copytree(cropped_original, url)
        local = ClusterSpec.model_validate({"type": "local", "cpu": {"n_workers": n_workers}})
        run_done(pipeline(plate), url, cluster=local)
        digests.append(digest_experiment(str(url)))
        models.append({p.name: p.read_bytes() for p in sorted((url / "models").rglob("*.pt"))})
    assert digests[0] == digests[1]
    assert models[0] == models[1]
    assert len(models[0]) == 2


KILLED = """
import os, signal, sys
import i2r.models.train_encoder as training
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.run import prepare
from i2r.pipeline.spec import load_pipeline
from i2r.cluster import ClusterSpec

training.SAVE_EVERY_S = 0.0
training.train_encoder.__kwdefaults__["save_every_s"] = 0.0
import i2r.store.files as files
write, seen = files.write_bytes, []

def write_and_count(url, *data):
    written = write(url, *data)
    if url.endswith(".checkpoint"):
        seen.append(url)
        if len(seen) == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
    return written

files.write_bytes = write_and_count
run_pipeline(load_pipeline(sys.argv[1]), sys.argv[2], cluster=ClusterSpec(type="none"), style="none")
"""


@pytest.mark.faults
@pytest.mark.parametrize("checkpoint", [1, 5])
def test_a_training_killed_in_its_middle_ends_with_the_same_weights(
    cropped_original: Path, plate: PlateFiles, tmp_path: Path, checkpoint: int
) -> None:
    import json

    given = pipeline(plate, max_epochs=4)
    (tmp_path / "pipeline.yaml").write_text(json.dumps(given.dump()))
    found = []
    for name in ("whole", "killed"):
        url = tmp_path / name
        shutil.copytree(cropped_original, url)
        if name == "killed":
            process = subprocess.run(
                [
                    sys.executable,
                    "-c",
                    KILLED,
                    str(tmp_path / "pipeline.yaml"),
                    str(url),
                    str(checkpoint),
                ],
                check=False,
            )
            assert process.returncode == -signal.SIGKILL
            (left,) = url.rglob("*.checkpoint")
            before = left.stat().st_mtime_ns
            assert before < time.time_ns()
            said = CliRunner().invoke(i2r, ["status", str(url)]).output
            assert "train: the next 'i2r run' goes on with 1 interrupted training from" in said
            others, opened = pipeline(plate, max_epochs=5), open_experiment(str(url))
            assert count_checkpoints(others, opened) == {}, "these begin anew"
        run_done(given, url)
        assert not list(url.rglob("*.checkpoint"))
        found.append({p.name: p.read_bytes() for p in sorted((url / "models").rglob("*.pt"))})
    assert found[0] == found[1]
    assert digest_experiment(str(tmp_path / "whole")) == digest_experiment(str(tmp_path / "killed"))
    assert os.path.exists(tmp_path / "killed" / "models")


def test_a_class_without_nuclei_is_listed_and_one_alone_is_an_error(
    own_plate: Any, tmp_path: Path
) -> None:
    plate = own_plate(wells=8, empty_wells=("A04", "A08"))
    given = pipeline(plate, classes=["active", "inert"], n_folds=4)
    experiment = run_done(given, tmp_path / "e")
    table = experiment.table("train")
    assert (table["n_classes"] == 2).all()
    assert "wells without nuclei: P1/A04, P1/A08" in table["note"][0]
    assert "classes without two wells or without nuclei: inert" in table["note"][0]
    splits = experiment.table("train-splits")
    for fold, note in table.set_index("fold")["note"].items():
        tested = set(splits[(splits["fold"] == fold) & (splits["part"] == "test")]["class"])
        lacking = [name for name in (CONTROL, "active") if name not in tested]
        assert note.count("no test nuclei of") == bool(lacking)
        assert note.endswith(", ".join(lacking))
    assert table["note"].str.contains("no test nuclei of active").sum() == 2, "of two wells"
    summary = run_here(pipeline(plate, classes=["inert"]), tmp_path / "e")
    assert summary.exit_code == 3
    assert "1 class(es) with nuclei" in summary.failed[0].error


def test_options_that_make_no_sense_are_refused(plate: PlateFiles) -> None:
    with pytest.raises(InputError, match="n_folds"):
        pipeline(plate, n_folds=1)


def test_the_published_recipe_is_a_pipeline() -> None:
    """Compare with the published hyper-parameters, one by one."""
    recipe = load_pipeline(str(Path(__file__).parents[2] / "pipelines" / "image2reg.yaml"))
    by_fold, without = recipe.stage("train"), recipe.stage("train-without")
    assert isinstance(by_fold, Train)
    assert isinstance(without, Train)
    for stage, batch_size, weight_decay in ((by_fold, 32, 5e-4), (without, 64, 1e-3)):
        assert (stage.optimizer, stage.learning_rate, stage.decay) == ("adam", 1e-5, False)
        assert (stage.batch_size, stage.weight_decay) == (batch_size, weight_decay)
        assert (stage.max_epochs, stage.patience, stage.embedding_dim) == (300, 5, 1024)
        assert (stage.architecture, stage.nucleus_px, stage.scale) == ("resnet18", 224, "nucleus")
        assert (stage.region_px, stage.region_input_px, stage.halve_regions) == (448, 224, False)
        assert (stage.augmentation, stage.split_by) == ("flips", "field")
        assert stage.views[0] == "nucleus+region"
    assert (by_fold.n_folds, by_fold.hold_out, without.hold_out) == (4, "folds", "classes")
    assert recipe.stage("embed-without").needs[0] == "train-without"


def test_outlines_need_masked_crops(tmp_path: Path, own_plate: Any) -> None:
    content = describe_pipeline(own_plate(wells=8, fields=1), screen=False)
    content["stages"][-1]["mask"] = False
    content["stages"].append({"stage": "train", **QUICK, "views": ["binary-nucleus"]})
    summary = run_here(parse_pipeline(content, where="test"), tmp_path / "e")
    assert summary.exit_code == 3
    assert "Cut crops with 'mask: true'" in summary.failed[0].error


def test_a_start_from_random_weights_and_leaking_folds_are_said(
    plate: PlateFiles, tmp_path: Path
) -> None:
    said: list[str] = []
    given = pipeline(plate, architecture="resnet18", split_by="field", imagenet=False)
    prepare(given, str(tmp_path / "e"), say=said.append)
    assert any("ResNets start from random ones" in line for line in said)
    assert any("folds by field leak" in line for line in said)
    said.clear()
    prepare(pipeline(plate), str(tmp_path / "e"), say=said.append)
    assert not any("'train'" in line for line in said)
