"""An installation without PyTorch: the fast screen runs to its report, networks say what they need."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from i2r.testing import PlateFiles, describe_pipeline

# The import system, but for one package that it does not find.
WITHOUT_TORCH = """
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name == "torch" else find(name, *rest)
from i2r.cli.group import run_command_line
run_command_line()
"""


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)


@pytest.fixture
def fast(plate: PlateFiles, tmp_path: Path) -> Path:
    content = describe_pipeline(plate, screen=False)
    content["stages"] += [
        {"stage": "features"},
        {"stage": "screen", "method": "fast", "n_folds": 2},
        {"stage": "report"},
    ]
    path = tmp_path / "fast.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.slow
def test_the_fast_screen_runs_to_its_report(fast: Path, tmp_path: Path) -> None:
    done = call("run", fast, tmp_path / "e", "--cluster", "none", "--yes", "--progress", "plain")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "e" / "report.html").stat().st_size > 10_000
    assert (tmp_path / "e" / "tables" / "screen" / "all.parquet").exists()


@pytest.mark.parametrize(
    "stage", [{"stage": "screen", "method": "cnn"}, {"stage": "segment", "method": "unet"}]
)
def test_a_network_is_refused_before_anything_runs(
    stage: dict[str, str], fast: Path, tmp_path: Path
) -> None:
    content = yaml.safe_load(fast.read_text())
    content["stages"] = [
        {**entry, **stage} if entry["stage"] == stage["stage"] else entry
        for entry in content["stages"]
    ]
    fast.write_text(yaml.safe_dump(content))
    done = call("run", fast, tmp_path / "e", "--cluster", "none", "--yes")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"stage '{stage['stage']}' needs a network" in done.stderr
    assert "pip install 'i2r[torch]'" in done.stderr
    assert not (tmp_path / "e").exists()


def test_a_command_that_needs_a_network_says_so(plate: PlateFiles, tmp_path: Path) -> None:
    done = call("segment-images", plate.source / "P1", tmp_path / "labels", "--method", "unet")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "i2r[torch]" in done.stderr
