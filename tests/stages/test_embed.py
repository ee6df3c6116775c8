"""Embed: every nucleus with a crop gets a vector, whoever computes it."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from i2r.cluster import ClusterSpec
from i2r.errors import InputError
from i2r.kernels.regions import scale_field
from i2r.models.batches import load_crops
from i2r.models.embedding import embed_pool
from i2r.models.encoder import Encoder, EncoderSettings, build_encoder
from i2r.models.pools import NucleusPool
from i2r.models.views import prepare_images
from i2r.models.weights import decode_encoder, encode_encoder
from i2r.pipeline.spec import Pipeline, parse_pipeline
from i2r.report.screens import list_screens
from i2r.report.sections.embeddings import draw
from i2r.report.source import ReportSource
from i2r.stages.embed import Embed
from i2r.store.arrays import read_array
from i2r.store.experiment import Experiment, open_experiment
from i2r.store.validate import find_problems
from i2r.testing import PlateFiles, describe_pipeline, write_plate
from tests.conftest import run_here

SETTINGS = EncoderSettings(embedding_dim=4, widths=(4, 8), classes=("a", "b"), high=(30000.0,))


def write_encoder(folder: Path, **changes: Any) -> tuple[Path, Encoder]:
    encoder = build_encoder(SETTINGS, seed=1).eval()
    for name, tensor in encoder.state_dict().items():
        if name in changes:
            tensor.fill_(changes[name])
    path = folder / "encoder.pt"
    path.write_bytes(encode_encoder(encoder))
    return path, encoder


def pipeline(plate: PlateFiles, **options: Any) -> Pipeline:
    content = describe_pipeline(plate, screen=False)
    content["stages"].append({"stage": "embed", "umap": False, **options})
    return parse_pipeline(content, where="test")


def test_every_crop_is_embedded_and_labelled(
    cropped: Path, plate: PlateFiles, tmp_path: Path
) -> None:
    path, encoder = write_encoder(tmp_path)
    assert run_here(pipeline(plate, encoder=str(path)), cropped).exit_code == 0
    experiment = open_experiment(str(cropped))
    embeddings = experiment.embeddings("embed")
    table = experiment.table("crop")
    table = table[table["crop"] >= 0].reset_index(drop=True)
    for column in ("plate", "well", "field", "label", "crop"):
        assert embeddings[column].to_numpy().tolist() == table[column].tolist()
    roles = experiment.layout_by_key["role"]
    for plate_name, well, role in zip(
        table["plate"], table["well"], embeddings["role"].to_numpy(), strict=True
    ):
        assert roles[f"{plate_name}/{well}"] == role
    values = embeddings["embedding"]
    assert values.dtype == np.float32
    assert values.dims == ("nucleus", "dim")
    of_well = embeddings.isel(nucleus=np.flatnonzero(embeddings["well"] == "A03"))
    crops = read_array(experiment.crops_url("crop", "P1/A03"))
    np.testing.assert_array_equal(
        of_well["embedding"], embed_pool(encoder, NucleusPool(load_crops(crops)))
    )


def test_a_fast_screen_reads_embeddings(cropped: Path, plate: PlateFiles, tmp_path: Path) -> None:
    """Of what is named, not of features that are there too."""
    path, _ = write_encoder(tmp_path)
    content = describe_pipeline(plate, screen=False)
    screen = {"stage": "screen", "method": "fast", "n_folds": 2, "control_draws": 1}
    content["stages"] += [
        "features", {"stage": "embed", "umap": False, "encoder": str(path)},
        {**screen, "name": "by-embedding", "needs": ["embed"]},
        {**screen, "name": "by-feature", "needs": ["features"]},
        {**screen, "name": "by-field", "needs": ["embed"], "split_by": "field"},
    ]  # fmt: skip
    assert run_here(parse_pipeline(content, where="test"), cropped).exit_code == 0
    experiment = open_experiment(str(cropped))
    found = {
        name: experiment.table(name).query("kind == 'treated'")
        for name in ("by-embedding", "by-feature")
    }
    assert found["by-embedding"]["score"].notna().all()
    assert set(found["by-embedding"]["condition"]) == set(found["by-feature"]["condition"])
    names = {
        name: set(table["feature"]) - {"", "nuclei per field"} for name, table in found.items()
    }
    assert names["by-embedding"] <= {"e0", "e1", "e2", "e3"}
    assert not names["by-feature"] & {"e0", "e1", "e2", "e3"}
    scores = [table.set_index("condition")["score"].sort_index() for table in found.values()]
    assert not np.allclose(*scores)
    fields = experiment.table("by-field-scores")
    tested = fields.groupby("condition")["n_test_treated"].sum()
    wells = experiment.table("by-embedding-scores").groupby("condition")["n_test_treated"].sum()
    assert fields["balanced_accuracy"].notna().all(), "embeddings know the fields of their nuclei"
    assert tested[["active", "inert"]].tolist() == wells[["active", "inert"]].tolist()
    marked = {name: experiment.table(f"{name}-statistics").loc[0] for name in (*found, "by-field")}
    assert {name: row["is_leaking"] for name, row in marked.items()} == {
        "by-embedding": False, "by-feature": False, "by-field": True,
    }  # fmt: skip
    assert {row["teacher"] for row in marked.values()} == {""}, "the encoder is from elsewhere"
    drawn = draw(ReportSource(experiment, ["embed"]))
    assert drawn is not None
    assert "wells of this screen" not in drawn


def test_a_screen_on_an_encoder_that_it_trained_itself_is_marked_as_leaking(
    embedded: tuple[PlateFiles, Path], tmp_path: Path
) -> None:
    plate, original = embedded
    url = Path(shutil.copytree(original, tmp_path / "e"))
    screen = {"stage": "screen", "method": "fast", "needs": ["embed"], "control_draws": 2}
    assert run_here(trained(plate, {}, screen=screen), url).exit_code == 0
    experiment = open_experiment(str(url))
    row = experiment.table("screen-statistics").loc[0]
    assert (row["group"], row["is_leaking"], row["teacher"]) == ("well", True, "train")
    (note,) = (experiment.ledger.result("screen", "*") or {})["notes"]
    assert "'train' trained the encoder on wells of this screen" in note
    (caution,) = list_screens(ReportSource(experiment, ["screen"]))[0].cautions
    assert caution.startswith("LEAKING EMBEDDINGS: 'train'")
    drawn = draw(ReportSource(experiment, ["embed"]))
    assert drawn is not None
    assert "trained by &#39;train&#39; on wells of this screen" in drawn


def test_needs_come_in_any_order_and_go_by_what_the_stages_are(
    cropped: Path, plate: PlateFiles, tmp_path: Path
) -> None:
    path, _ = write_encoder(tmp_path)
    found = []
    for number, needs in enumerate((["segment", "crop"], ["crop", "convert", "segment"])):
        made = pipeline(plate, name=f"e{number}", encoder=str(path), needs=needs)
        assert run_here(made, cropped).exit_code == 0
        experiment = open_experiment(str(cropped))
        found.append(read_array(experiment.embeddings_url(f"e{number}", "P1/A02")))
    np.testing.assert_array_equal(*found)
    with pytest.raises(InputError, match="expected a 'segment' stage among them"):
        run_here(pipeline(plate, encoder=str(path), needs=["crop"]), tmp_path / "e")


def test_opening_reads_no_values(cropped: Path, plate: PlateFiles, tmp_path: Path) -> None:
    path, _ = write_encoder(tmp_path)
    run_here(pipeline(plate, encoder=str(path)), cropped)
    for shard in (cropped / "embeddings").rglob("c/0/0"):
        shard.unlink()
    embeddings = open_experiment(str(cropped)).embeddings("embed")
    assert embeddings.sizes["dim"] == 4
    with pytest.raises(FileNotFoundError):
        embeddings["embedding"].to_numpy()


def test_a_well_without_nuclei_has_none(own_plate: Any, tmp_path: Path) -> None:
    plate = own_plate(empty_wells=("A02",))
    path, _ = write_encoder(tmp_path)
    assert run_here(pipeline(plate, encoder=str(path)), tmp_path / "e").exit_code == 0
    experiment = open_experiment(str(tmp_path / "e"))
    assert read_array(experiment.embeddings_url("embed", "P1/A02")).shape == (0, 4)
    assert "A02" not in experiment.embeddings("embed")["well"].to_numpy()


def test_a_changed_encoder_embeds_anew_and_the_same_one_does_not(
    cropped: Path, plate: PlateFiles, tmp_path: Path
) -> None:
    path, _ = write_encoder(tmp_path)
    given = pipeline(plate, encoder=str(path))
    run_here(given, cropped)
    assert run_here(given, cropped).ran == {}
    write_encoder(tmp_path, **{"join.bias": 1.0})
    assert run_here(given, cropped).ran["embed"] >= 8


def test_embeddings_that_are_no_numbers_are_an_error(
    cropped: Path, plate: PlateFiles, tmp_path: Path
) -> None:
    path, _ = write_encoder(tmp_path, **{"join.bias": float("nan")})
    summary = run_here(pipeline(plate, encoder=str(path)), cropped)
    assert summary.exit_code == 3
    entry = open_experiment(str(cropped)).ledger.entry("embed", "P1/A01")
    assert entry is not None
    assert "P1/A01: embeddings of" in entry.error
    assert "are not finite (the first is crop 0)" in entry.error
    assert not entry.traceback
    with pytest.raises(InputError, match="no embeddings 'embed'"):
        open_experiment(str(cropped)).embeddings("embed")


def test_what_can_not_be_an_encoder_is_refused_before_anything_runs(
    plate: PlateFiles, tmp_path: Path
) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("no weights")
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pt")
    for options, words in (
        ({}, "no encoder"),
        ({"encoder": "/nowhere.pt"}, "no such file"),
        ({"encoder": str(other)}, "no file of weights"),
        ({"encoder": str(tmp_path / "other.pt")}, "expected a state dict of torchvision"),
    ):
        with pytest.raises(InputError, match=words):
            run_here(pipeline(plate, **options), tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_the_encoders_channels_have_to_be_there(plate: PlateFiles, tmp_path: Path) -> None:
    encoder = build_encoder(EncoderSettings(channels=("Mito",), widths=(4,)))
    (tmp_path / "mito.pt").write_bytes(encode_encoder(encoder))
    with pytest.raises(InputError, match="the encoder sees 'Mito', plate 'P1' has DNA"):
        run_here(pipeline(plate, encoder=str(tmp_path / "mito.pt")), tmp_path / "e")


@pytest.mark.slow
def test_one_and_two_workers_give_the_same_embeddings(
    cropped: Path, plate: PlateFiles, tmp_path: Path
) -> None:
    path, _ = write_encoder(tmp_path)
    found = []
    for n_workers in (1, 2):
        given = pipeline(plate, encoder=str(path), name=f"with-{n_workers}")
        local = ClusterSpec.model_validate({"type": "local", "cpu": {"n_workers": n_workers}})
        assert run_here(given, cropped, cluster=local).exit_code == 0
        experiment: Experiment = open_experiment(str(cropped))
        found.append(experiment.embeddings(f"with-{n_workers}")["embedding"].to_numpy())
    np.testing.assert_array_equal(*found)


# ------------------------------------------------------------------- encoders of 'train'

QUICK: dict[str, Any] = {
    "stage": "train", "n_folds": 2, "widths": [4, 8], "nucleus_px": 32, "embedding_dim": 8,
    "max_epochs": 4, "learning_rate": 5e-3, "batch_size": 16, "surest_nuclei": 0,
}  # fmt: skip


def trained(
    plate: PlateFiles,
    training: dict[str, Any],
    screen: dict[str, Any] | None = None,
    **options: Any,
) -> Pipeline:
    content = describe_pipeline(plate, screen=False)
    content["stages"] += [{**QUICK, **training}, {"stage": "embed", "umap": False, **options}]
    content["stages"] += [screen] if screen else []
    return parse_pipeline(content, where="test")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> tuple[PlateFiles, Path]:
    """Sixteen wells, embedded with the best of two folds; nobody may change it."""
    folder = tmp_path_factory.mktemp("embedded")
    plate = write_plate(folder / "plate", wells=16, fields=2)
    assert run_here(trained(plate, {}), folder / "e").exit_code == 0
    return plate, folder / "e"


def test_the_fold_with_the_best_validation_accuracy_embeds(
    embedded: tuple[PlateFiles, Path],
) -> None:
    experiment = open_experiment(str(embedded[1]))
    table = experiment.table("train")
    best = table.loc[table["validation_balanced_accuracy"].idxmax(), "unit"]
    encoder = decode_encoder(
        Path(experiment.model_url("train", best).removeprefix("file://")).read_bytes()
    )
    crops = read_array(experiment.crops_url("crop", "P1/A05"))
    np.testing.assert_array_equal(
        read_array(experiment.embeddings_url("embed", "P1/A05")),
        embed_pool(encoder, NucleusPool(load_crops(crops))),
    )


def test_profiles_are_means_over_nuclei(embedded: tuple[PlateFiles, Path]) -> None:
    experiment = open_experiment(str(embedded[1]))
    embeddings = experiment.embeddings("embed").load()
    wells, genes = experiment.table("embed"), experiment.table("embed-genes")
    names = [f"e{n}" for n in range(8)]
    assert wells["well"].tolist() == experiment.layout["well"].tolist()
    for row in wells.itertuples():
        own = embeddings["embedding"][embeddings["well"].to_numpy() == row.well]
        assert row.n_nuclei == len(own)
        np.testing.assert_allclose(
            wells.loc[row.Index, names].to_numpy(float), own.mean("nucleus"), rtol=1e-5, atol=1e-6
        )
    assert genes["class"].tolist() == ["active", "inert", "negative control"]
    for row in genes.itertuples():
        wanted = "control" if row.is_control else genes.loc[row.Index, "class"]
        own = embeddings["embedding"][embeddings["perturbation"].to_numpy() == wanted]
        np.testing.assert_allclose(
            genes.loc[row.Index, names].to_numpy(float), own.mean("nucleus"), rtol=1e-5, atol=1e-6
        )
        assert (row.n_wells, row.n_nuclei) == (8 if row.is_control else 4, len(own))


def test_wells_of_a_real_effect_find_each_other(embedded: tuple[PlateFiles, Path]) -> None:
    table = open_experiment(str(embedded[1])).table("embed-reproducibility").set_index("class")
    assert table.loc["active", "precision_controls"] == 1
    assert table.loc["active", "p_value_controls"] < 0.02
    assert table.loc["active", "precision_others"] == 1
    assert table.loc["inert", "p_value_controls"] > 0.02
    assert set(table["n_wells"]) == {4}


@pytest.mark.slow
def test_a_layout_in_two_dimensions_keeps_what_is_near_together(
    embedded: tuple[PlateFiles, Path], tmp_path: Path
) -> None:
    pytest.importorskip("umap.umap_", reason="umap-learn is not installed")
    plate, original = embedded
    url = tmp_path / "copy"
    shutil.copytree(original, url)
    run_here(trained(plate, {}, umap=True), url)
    table = open_experiment(str(url)).table("embed-umap")
    assert len(table) == 16
    places = table[["x", "y"]].to_numpy()
    active = (table["class"] == "active").to_numpy()
    within = np.ptp(places[active], axis=0).max()
    between = np.linalg.norm(places[active].mean(axis=0) - places[~active].mean(axis=0))
    assert between > within


def test_a_correction_redoes_the_profiles_and_no_embedding(
    embedded: tuple[PlateFiles, Path], tmp_path: Path
) -> None:
    plate, original = embedded
    url = tmp_path / "copy"
    shutil.copytree(original, url)
    for correction in ("standardize-to-controls", "sphering"):
        summary = run_here(trained(plate, {}, correction=correction, aggregate="median"), url)
        assert summary.ran == {"embed": 1}
    run_here(trained(plate, {}, correction="standardize-to-controls"), url)
    experiment = open_experiment(str(url))
    control = experiment.table("embed-genes").set_index("class").loc["negative control"]
    np.testing.assert_allclose([control[f"e{n}"] for n in range(8)], 0, atol=1e-5)


def test_a_batch_without_controls_can_not_be_corrected_by(
    embedded: tuple[PlateFiles, Path], tmp_path: Path
) -> None:
    plate, original = embedded
    url = tmp_path / "copy"
    shutil.copytree(original, url)
    summary = run_here(trained(plate, {}, correction="sphering", correct_by="well"), url)
    assert summary.exit_code == 3
    assert "'A02': no nuclei of negative controls" in summary.failed[0].error
    with pytest.raises(InputError, match="the layout has no column 'batch'"):
        run_here(trained(plate, {}, correct_by="batch"), url)


def test_encoders_without_a_class_embed_every_well_each(cropped: Path, plate: PlateFiles) -> None:
    given = trained(plate, {"hold_out": "classes", "max_epochs": 1})
    assert run_here(given, cropped).exit_code == 0
    experiment = open_experiment(str(cropped))
    names = ["nucleus/without-active", "nucleus/without-inert"]
    assert sorted(experiment.table("embed-genes")["encoder"].unique()) == names
    first, second = (experiment.embeddings("embed", encoder=name) for name in names)
    assert first.sizes == second.sizes
    assert (first["embedding"] != second["embedding"]).any()
    assert first.attrs["encoder"] == names[0]
    screen = {"stage": "screen", "method": "fast", "needs": ["embed"], "control_draws": 0}
    given = trained(plate, {"hold_out": "classes", "max_epochs": 1}, screen=screen)
    (failed,) = run_here(given, cropped).failed
    assert "'embed' has embeddings of 2 encoders" in failed.error


def test_encoders_of_options_that_were_changed_embed_nothing(
    cropped: Path, plate: PlateFiles
) -> None:
    """What was trained without a class, by another view or for more folds is still in the ledger."""
    for training in (
        {"hold_out": "classes"}, {"n_folds": 3, "views": ["binary-nucleus"]}, {"n_folds": 2},
    ):  # fmt: skip
        given = trained(plate, {"max_epochs": 1, **training})
        summary = run_here(given, cropped)
        assert summary.exit_code == 0, [unit.error for unit in summary.failed]
    experiment = open_experiment(str(cropped))
    embed = given.stages[-1]
    assert isinstance(embed, Embed)
    (url,) = embed.encoders(experiment).values()
    units = experiment.table("train")["unit"].tolist()
    assert units == ["nucleus/fold-0", "nucleus/fold-1"]
    assert url in {experiment.model_url("train", unit) for unit in units}
    assert experiment.table("embed-genes")["encoder"].unique().tolist() == [""]


def test_regions_are_shown_as_they_lie_in_the_field(tmp_path: Path, own_plate: Any) -> None:
    """Embed by hand what the stage embeds: windows cut by the published rule from the fields."""
    plate = own_plate(wells=8, fields=2)
    options = {
        "views": ["nucleus+region"], "region_px": 64, "region_input_px": 16, "halve_regions": False,
        "max_epochs": 1,
    }  # fmt: skip
    assert run_here(trained(plate, options), tmp_path / "e").exit_code == 0
    experiment = open_experiment(str(tmp_path / "e"))
    table = experiment.table("train")
    best = table.sort_values("validation_balanced_accuracy", ascending=False, kind="stable")[
        "unit"
    ].iloc[0]
    encoder = decode_encoder(
        Path(experiment.model_url("train", best).removeprefix("file://")).read_bytes()
    )
    cropped = experiment.table("crop")
    cropped = cropped[(cropped["well"] == "A02") & (cropped["crop"] >= 0)]
    measured = experiment.table("segment").set_index(["well", "field", "label"])
    crops = read_array(experiment.crops_url("crop", "P1/A02"))
    windows = []
    for row in cropped.itertuples():
        image = read_array(f"{experiment.image_url('P1/A02', row.field)}/0")[0]
        scaled = scale_field(image)
        padded = np.pad(scaled, 32, constant_values=int(np.percentile(scaled, 1)))
        centre = measured.loc[("A02", row.field, row.label)]
        y, x = int(centre["centroid_y_px"]), int(centre["centroid_x_px"])
        windows.append(padded[None, y : y + 64, x : x + 64])
    with torch.inference_mode():
        images = prepare_images(
            encoder.settings, load_crops(crops), torch.from_numpy(np.stack(windows))
        )
        expected = encoder.embed(images).numpy()
    found = read_array(experiment.embeddings_url("embed", "P1/A02"))
    np.testing.assert_allclose(found, expected, rtol=2e-2, atol=2e-2)


def test_an_encoder_in_a_file_and_one_that_is_trained_is_one_too_many(
    plate: PlateFiles, tmp_path: Path
) -> None:
    path, _ = write_encoder(tmp_path)
    with pytest.raises(InputError, match=r"needs: \[segment, crop\]"):
        run_here(trained(plate, {}, encoder=str(path)), tmp_path / "e")


def test_a_complete_experiment_is_valid_and_one_without_an_embedding_is_not(
    embedded: tuple[PlateFiles, Path], tmp_path: Path
) -> None:
    url = tmp_path / "copy"
    shutil.copytree(embedded[1], url)
    assert find_problems(open_experiment(str(url))) == []
    experiment = open_experiment(str(url))
    shutil.rmtree(experiment.embeddings_url("embed", "P1/A03").removeprefix("file://"))
    (problem,) = find_problems(experiment)
    assert problem.endswith("missing, though embed P1/A03 is done.")
