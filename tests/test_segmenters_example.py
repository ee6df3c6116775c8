"""The example package in pipelines/notebooks/segmenters: what it declares is there and fits."""

import importlib.util
import inspect
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from i2r.analysis.segmenters import GROUP

FOLDER = Path(__file__).parents[1] / "pipelines" / "notebooks" / "segmenters"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("i2r_segmenters", FOLDER / "i2r_segmenters.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "i2r_segmenters", module)
    spec.loader.exec_module(module)
    return module


def test_every_declared_segmenter_takes_an_image_and_a_pixel_size(example: ModuleType) -> None:
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    declared = project["entry-points"][GROUP]
    assert set(declared) == {"cellpose", "stardist"}
    for value in declared.values():
        module, _, name = value.partition(":")
        assert module == "i2r_segmenters"
        parameters = list(inspect.signature(getattr(example, name)).parameters)
        assert parameters == ["image", "pixel_size_um"]


@pytest.mark.parametrize("name", ["cellpose", "stardist"])
def test_without_its_library_an_example_says_which_is_missing(
    name: str, example: ModuleType
) -> None:
    if importlib.util.find_spec(name) is not None:
        pytest.skip(f"{name} is installed")
    with pytest.raises(ModuleNotFoundError, match=r"cellpose|csbdeep"):
        getattr(example, f"{name}_nuclei")(np.zeros((8, 8), np.uint8), 0.65)
