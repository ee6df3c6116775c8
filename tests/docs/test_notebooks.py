"""The notebooks run from start to end, as they are shipped: without outputs, on the public names."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import i2r
from tests.environments import require_packages

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "pipelines" / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))


def list_code(name: str) -> list[str]:
    notebook = nbformat.read(FOLDER / name, as_version=4)
    return [cell["source"] for cell in notebook.cells if cell["cell_type"] == "code"]


# Of torchvision timm uses functions alone. The operators of its wheel on PyPI are built for CUDA and
# can't be loaded beside a PyTorch for CPUs; declared without a body, they let it be imported.
DECLARE = """
import torch

library = torch.library.Library("torchvision", "FRAGMENT")
for name in ("nms", "qnms"):
    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
TIMM = ("timm==1.0.31", "torchvision==0.28.0", "huggingface_hub==2.4.0", "safetensors==0.8.0")


def provide_timm(folder: Path) -> str:
    """Give what has to stand in PYTHONPATH for timm, which i2r does not depend on."""
    code = "import timm, torch; timm.create_model('resnet18')"
    if (
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode
        == 0
    ):
        return ""
    packages = require_packages("timm", TIMM)
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(DECLARE)
    path = os.pathsep.join([str(folder), str(packages)])
    tried = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if tried.returncode:
        pytest.skip(f"timm can't be imported here: {tried.stderr.strip().splitlines()[-1][:200]}")
    return path


def test_there_are_five() -> None:
    assert len(NOTEBOOKS) == 5


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_shipped_without_outputs_and_on_public_names_only(name: str) -> None:
    notebook = nbformat.read(FOLDER / name, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    text = "\n".join(list_code(name))
    assert "from i2r" not in text
    used = set(re.findall(r"\bi2r\.([A-Za-z_]\w*)", text)) - {"stages"}
    assert used <= set(i2r.__all__), "only what the package offers"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbclient import NotebookClient

    shutil.copytree(ROOT / "pipelines", tmp_path / "pipelines")
    more = provide_timm(tmp_path / "declared") if name == "own_encoder.ipynb" else ""
    paths = [str(ROOT), more, os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    notebook = nbformat.read(FOLDER / name, as_version=4)
    path = {"metadata": {"path": str(tmp_path / "pipelines" / "notebooks")}}
    client = NotebookClient(notebook, timeout=580, resources=path, kernel_name="python3")
    client.execute()
    errors = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output["output_type"] == "error"
    ]
    assert errors == []
    assert any(cell.get("outputs") for cell in notebook.cells)
    tables = [
        str(output["data"].get("text/html"))
        for cell in notebook.cells
        if "i2r.run(" in cell["source"]
        for output in cell["outputs"]
        if output["output_type"] == "display_data"
    ]
    # Bars, not lines of a log; the last state of the table is what stays.
    assert any("done" in table and "stage" in table for table in tables)
