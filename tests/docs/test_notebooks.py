"""The notebooks run from start to end, as they are shipped: without outputs, on the public names."""

import os
import re
import shutil
from pathlib import Path

import nbformat
import pytest

import i2r

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "pipelines" / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))


def list_code(name: str) -> list[str]:
    notebook = nbformat.read(FOLDER / name, as_version=4)
    return [cell["source"] for cell in notebook.cells if cell["cell_type"] == "code"]


def test_there_are_four() -> None:
    assert len(NOTEBOOKS) == 4


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
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
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
