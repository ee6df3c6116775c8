"""Encoders of other packages: what they are given, what they may give, and the stage with one."""

from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from i2r import extensions
from i2r.analysis.embedding import installed_encoders
from i2r.analysis.embedding.installed_encoders import BATCH_SIZE, call_encoder, find_encoder
from i2r.errors import I2RError, InputError
from i2r.pipeline.spec import Pipeline, parse_pipeline
from i2r.store.experiment import open_experiment
from i2r.testing import PlateFiles, describe_pipeline
from tests.conftest import run_here

MODULE = "tests.analysis.embedding.test_installed_encoders"
SEEN: list[tuple[Any, ...]] = []


def means(crops: np.ndarray, pixel_size_um: float, channels: Sequence[str]) -> np.ndarray:
    SEEN.append((crops.shape, crops.dtype, pixel_size_um, tuple(channels)))
    flat = crops.reshape(len(crops), -1).astype(float)
    return np.stack([flat.mean(axis=1), flat.std(axis=1), flat.max(axis=1)], axis=1)


def short(crops: np.ndarray, pixel_size_um: float, channels: Sequence[str]) -> np.ndarray:
    return means(crops, pixel_size_um, channels)[1:]


def broken(crops: np.ndarray, pixel_size_um: float, channels: Sequence[str]) -> np.ndarray:
    return means(crops, pixel_size_um, channels) * np.nan


def growing(crops: np.ndarray, pixel_size_um: float, channels: Sequence[str]) -> np.ndarray:
    return np.ones((len(crops), len(crops)))


def words(crops: np.ndarray, pixel_size_um: float, channels: Sequence[str]) -> np.ndarray:
    return np.full((len(crops), 2), "a")


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    SEEN.clear()
    points = [
        EntryPoint(name, f"{MODULE}:{name}", installed_encoders.GROUP)
        for name in ("means", "short", "broken", "growing", "words")
    ]
    monkeypatch.setattr(extensions, "entry_points", lambda group: points)


def call(name: str, number: int = 3) -> np.ndarray:
    crops = np.arange(number * 2 * 16, dtype=np.uint16).reshape(number, 2, 4, 4)
    return call_encoder(
        crops, name=name, pixel_size_um=0.5, channels=("DNA", "GFP"), where="P1/A01"
    )


def test_it_sees_raw_batches_their_pixel_size_and_channels() -> None:
    found = call("means", BATCH_SIZE + 2)
    assert found.shape == (BATCH_SIZE + 2, 3)
    assert found.dtype == np.float32
    assert [shape[0] for shape, *_ in SEEN] == [BATCH_SIZE, 2]
    assert SEEN[0][1:] == (np.uint16, 0.5, ("DNA", "GFP"))
    assert call("means", 0).shape == (0, 0)


@pytest.mark.parametrize(
    ("name", "number", "problem"),
    [
        ("short", 3, r"shape \(2, 3\), expected \(3, dim\)"),
        ("broken", 3, "not finite"),
        ("growing", BATCH_SIZE + 2, "2 dimensions after 512"),
        ("words", 3, "expected numbers"),
    ],
)
def test_what_is_no_embedding_is_one_line(name: str, number: int, problem: str) -> None:
    with pytest.raises(I2RError, match=problem) as raised:
        call(name, number)
    assert "P1/A01" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_name_that_is_not_installed_is_refused() -> None:
    with pytest.raises(InputError, match="not installed, found broken, growing, means"):
        find_encoder("efficientnet")


def pipeline(plate: PlateFiles, **options: Any) -> Pipeline:
    content = describe_pipeline(plate, screen=False)
    content["stages"].append({"stage": "embed", "umap": False, **options})
    return parse_pipeline(content, where="test")


def test_the_stage_embeds_with_it_and_again_when_its_weights_change(
    cropped: Path, plate: PlateFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"one")
    monkeypatch.setattr(means, "weights", weights, raising=False)
    summary = run_here(pipeline(plate, method="means"), cropped)
    assert summary.exit_code == 0
    assert not open_experiment(str(cropped)).ledger.result("embed", "P1/A01")["trained_by"]
    embeddings = open_experiment(str(cropped)).embeddings("embed")
    assert embeddings["embedding"].shape[1] == 3
    assert (embeddings["embedding"].to_numpy() > 0).all()
    assert {seen[2:] for seen in SEEN} == {(1.0, ("DNA",))}
    assert run_here(pipeline(plate, method="means"), cropped).ran == {}
    weights.write_bytes(b"two")
    assert run_here(pipeline(plate, method="means"), cropped).ran["embed"] > 1


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"method": "mean"}, "expected one of encode, exported, import, broken"),
        ({"method": "means", "encoder": "a.pt"}, "is an option of the method 'encode'"),
        ({"method": "means", "channels": ["ER"]}, "no channel 'ER'"),
    ],
)
def test_the_stage_refuses_before_it_runs(
    options: dict[str, Any], problem: str, cropped: Path, plate: PlateFiles
) -> None:
    run: Callable[[], Any] = lambda: run_here(pipeline(plate, **options), cropped)  # noqa: E731
    with pytest.raises(InputError, match=problem):
        run()


class Moments(torch.nn.Module):
    """Mean and largest value of each channel, with a weight."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        flat = images.flatten(1)
        return self.factor * torch.stack([flat.mean(1), flat.amax(1)], dim=1)


def export(path: Path, *, factor: float = 1.0, channels: int = 1) -> str:
    example = torch.rand(2, channels, 32, 32)
    shapes = ({0: torch.export.Dim("n")},)
    torch.export.save(
        torch.export.export(Moments(factor).eval(), (example,), dynamic_shapes=shapes), path
    )
    return str(path)


def test_the_stage_embeds_with_an_exported_network_and_again_when_the_file_changes(
    cropped: Path, plate: PlateFiles, tmp_path: Path
) -> None:
    file = export(tmp_path / "net.pt2")
    summary = run_here(pipeline(plate, method="exported", network=file), cropped)
    assert summary.exit_code == 0, summary.failed
    experiment = open_experiment(str(cropped))
    rows = experiment.embeddings("embed")["embedding"].to_numpy()
    assert rows.shape[1] == 2
    assert (rows[:, 1] > rows[:, 0]).all()
    assert run_here(pipeline(plate, method="exported", network=file), cropped).ran == {}
    export(tmp_path / "net.pt2", factor=2.0)
    assert run_here(pipeline(plate, method="exported", network=file), cropped).ran["embed"] > 1
    again = open_experiment(str(cropped)).embeddings("embed")["embedding"].to_numpy()
    np.testing.assert_allclose(again, 2 * rows, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_network_for_other_channels_and_a_script_are_refused_before_a_run(
    cropped: Path, plate: PlateFiles, tmp_path: Path
) -> None:
    file = export(tmp_path / "two.pt2", channels=2)
    with pytest.raises(InputError, match=r"sees images of 2 x 32 x 32 .* found crops of 1 x any"):
        run_here(pipeline(plate, method="exported", network=file), cropped)
    script = tmp_path / "net.pt"
    torch.jit.save(torch.jit.trace(Moments(1.0), torch.rand(2, 1, 32, 32)), script)
    with pytest.raises(InputError, match=r"net\.pt: a TorchScript program"):
        run_here(pipeline(plate, encoder=str(script)), cropped)
    (tmp_path / "no.pt2").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"no network of torch\.export"):
        run_here(pipeline(plate, method="exported", network=str(tmp_path / "no.pt2")), cropped)
