"""Networks of torch.export: computed as torch computes them, and nothing else in their files runs."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from i2r.analysis.embedding.exported_encoders import run_exported
from i2r.errors import I2RError
from i2r.models.exported import decode_exported
from i2r.models.weights import decode_encoder


class Network(nn.Module):
    """Convolution, normalisation, attention, sizes that are computed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.norm = nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.layer, self.head = nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        images = images / images.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1)
        found = nn.functional.gelu(self.norm(self.convolution(images)), approximate="tanh")
        found = nn.functional.interpolate(found, size=(8, 8), mode="bilinear")
        tokens = found.flatten(2).transpose(1, 2)
        query, key, value = torch.chunk(tokens.repeat(1, 1, 3), 3, dim=2)
        tokens = self.layer(nn.functional.scaled_dot_product_attention(query, key, value))
        return self.head(tokens.reshape(tokens.shape[0], -1, 8).mean(1))


def export(network: nn.Module, *, fixed: bool = False, number: int = 3) -> bytes:
    shapes = None if fixed else ({0: torch.export.Dim("n")},)
    program = torch.export.export(
        network.eval(), (torch.rand(number, 2, 16, 16),), dynamic_shapes=shapes
    )
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def exported() -> bytes:
    return export(Network())


def rewrite(data: bytes, change: Callable[[dict[str, Any]], None], part: str) -> bytes:
    """Change one document of an archive."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith(part):
                document = json.loads(content)
                change(document)
                content = json.dumps(document).encode()
            new.writestr(name, content)
    return target.getvalue()


def test_it_computes_what_torch_computes_for_any_number_of_crops(exported: bytes) -> None:
    network = decode_exported(exported)
    assert network.shape == (None, 2, 16, 16)
    for number in (1, 3, 7):
        images = 1000 * torch.rand(number, 2, 16, 16)
        with torch.no_grad():
            expected = Network().eval()(images)
        torch.testing.assert_close(network(images), expected)


def test_a_fixed_number_of_crops_is_filled_up() -> None:
    network = decode_exported(export(Network(), fixed=True))
    assert network.shape == (3, 2, 16, 16)
    crops = np.random.default_rng(0).integers(0, 4000, (7, 2, 16, 16)).astype(np.uint16)
    found = run_exported(network, crops, name="net.pt2", where="P1/A01")
    with torch.no_grad():
        expected = Network().eval()(torch.from_numpy(crops.astype(np.float32)))
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)
    with pytest.raises(I2RError, match=r"sees images of 2 x 16 x 16 .* found crops of 1 x 16 x 16"):
        run_exported(network, crops[:, :1], name="net.pt2", where="P1/A01")


@pytest.mark.parametrize(
    "target",
    [
        "torch.hub.load", "torch.serialization.os.system", "torch.ops.aten.from_file.default",
        "_operator.attrgetter", "builtins.eval", "torch.ops.mkldnn._convolution_pointwise.default",
        "torch.ops.aten.add.__class__", "torch.ops.aten.__class__.default",
        "torch.ops.higher_order.cond", "torch.ops.aten.nothing.default",
    ],
)  # fmt: skip
def test_nothing_but_aten_is_called(target: str, exported: bytes) -> None:
    def change(document: dict[str, Any]) -> None:
        document["graph_module"]["graph"]["nodes"][0]["target"] = target

    with pytest.raises(ValueError, match=r"it calls .* expected operators of ATen alone"):
        decode_exported(rewrite(exported, change, "models/model.json"))


def test_pickles_in_the_archive_are_not_opened(exported: bytes) -> None:
    def change(document: dict[str, Any]) -> None:
        for entry in document["config"].values():
            entry["use_pickle"] = True

    with pytest.raises(ValueError, match="a pickle, which i2r does not open"):
        decode_exported(rewrite(exported, change, "model_weights_config.json"))


def test_sizes_are_numbers_and_never_expressions(exported: bytes, tmp_path: Path) -> None:
    """SymPy would evaluate them; here they are not looked at."""
    ran = tmp_path / "ran"

    def change(document: dict[str, Any]) -> None:
        evil = {"as_expr": {"expr_str": f"open({str(ran)!r}, 'w')", "hint": None}}
        for value in document["graph_module"]["graph"]["tensor_values"].values():
            value["sizes"][:1] = [evil] * len(value["sizes"][:1])

    network = decode_exported(rewrite(exported, change, "models/model.json"))
    assert network(torch.rand(2, 2, 16, 16)).shape == (2, 5)
    assert not ran.exists()


@pytest.mark.parametrize("part", [0, 100, -100])
def test_damaged_files_are_one_line(part: int, exported: bytes) -> None:
    data = exported[:part] if part else b"nothing"
    with pytest.raises(ValueError, match=r"no network of torch\.export"):
        decode_exported(data)


def test_a_network_that_learns_is_refused() -> None:
    network = Network()
    program = torch.export.export(network.train(), (torch.rand(3, 2, 16, 16),))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    with pytest.raises(ValueError, match=r"call \.eval\(\)"):
        decode_exported(buffer.getvalue())


# TorchScript is on its way out; its files are not.
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_programs_are_no_weights_and_the_way_out_is_said(exported: bytes) -> None:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(Network().eval(), torch.rand(3, 2, 16, 16)), buffer)
    with pytest.raises(ValueError, match=r"a TorchScript program.*method: exported"):
        decode_encoder(buffer.getvalue())
    with pytest.raises(ValueError, match=r"a program of torch\.export.*method: exported"):
        decode_encoder(exported)
