"""Embed: every nucleus with a crop gets a vector, whoever computes it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from i2r.cluster import ClusterSpec
from i2r.errors import InputError
from i2r.models.embedding import embed_nuclei
from i2r.models.ensemble import Encoder, EncoderSettings, build_encoder
from i2r.models.weights import encode_encoder
from i2r.pipeline.spec import Pipeline, parse_pipeline
from i2r.store.arrays import read_array
from i2r.store.experiment import Experiment, open_experiment
from i2r.testing import PlateFiles, describe_pipeline
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
    content["stages"].append({"stage": "embed", **options})
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
    np.testing.assert_array_equal(of_well["embedding"], embed_nuclei(encoder, crops))


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
