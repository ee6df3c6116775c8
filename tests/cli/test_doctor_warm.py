"""``i2r doctor --warm`` compiles ahead; without it an experiment is needed."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from i2r.cli.demo import load_smoke_pipeline, shared_folder
from i2r.cli.group import i2r
from i2r.pipeline.spec import parse_pipeline
from i2r.simulation import PRESETS, write_screen
from i2r.testing import describe_pipeline, write_plate
from tests.conftest import run_here


def test_without_experiment_and_warm_it_says_what_is_missing() -> None:
    result = CliRunner().invoke(i2r, ["doctor"])
    assert result.exit_code == 2
    assert "--warm" in result.output


Compiled = dict[Path, int]


def list_compiled(folder: Path) -> Compiled:
    """List what Numba wrote: kernels, and the indices of their versions, with times."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.nb[ci]")}


@pytest.fixture(scope="module")
def warmed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Compiled]:
    """Compile into an empty folder, as after an installation."""
    folder = tmp_path_factory.mktemp("compiled")
    warm(folder)
    return folder, list_compiled(folder)


def warm(folder: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "i2r", "doctor", "--warm"],
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder)},
        check=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)  # to compile everything takes minutes where others work too
def test_warm_compiles_once_and_needs_no_experiment(warmed: tuple[Path, Compiled]) -> None:
    folder, before = warmed
    assert len(before) > 120
    warm(folder)
    assert list_compiled(folder) == before


def run_smoke(folder: Path) -> None:
    """Run every stage on a small simulated screen, the second half of the demo."""
    write_screen(str(folder), PRESETS["smoke"]._replace(fields=1, field_px=240))
    smoke = load_smoke_pipeline(shared_folder() / "pipelines" / "smoke.yaml", str(folder))
    assert run_here(smoke, folder / "experiment").exit_code == 0


def run_variants(folder: Path) -> None:
    """Run 8-bit images with defects, two channels, a network, and crops that are not masked."""
    plate = write_plate(folder, wells=4, channels=("DNA", "GFP"), shape=(160, 128))
    for number, path in enumerate(sorted(plate.source.rglob("*.tif"))):
        image = (tifffile.imread(path) >> 4).astype(np.uint8)
        if number % 4 == 0:
            image[30, 40] = image[60:62, :] = 255  # a hot pixel, a broken line
        elif number % 4 == 2:
            image[:, :60] = 0  # a margin
        tifffile.imwrite(path, image, compression="lzw")
    unmasked = {"stage": "crop", "name": "whole", "mask": False}
    for method, more in (("threshold", []), ("unet", [unmasked])):
        content = describe_pipeline(plate, channels=("DNA", "GFP"), screen=False)
        content["stages"][2]["method"] = method
        content["stages"] += [*more, {"stage": "features", "needs": ["segment", "crop"]}]
        pipeline = parse_pipeline(content, where="test")
        assert run_here(pipeline, folder / f"experiment-{method}").exit_code == 0
        labels = str(folder / method)
        arguments = ["segment-images", str(plate.source / "P1"), labels, "--method", method]
        result = CliRunner().invoke(i2r, arguments)
        assert result.exit_code == 0, result.output


@pytest.mark.slow
@pytest.mark.timeout(900)  # to compile everything takes minutes where others work too
@pytest.mark.parametrize("run", [run_smoke, run_variants])
def test_a_run_after_warm_compiles_nothing(
    warmed: tuple[Path, Compiled], tmp_path: Path, run: Callable[[Path], None]
) -> None:
    folder, before = warmed
    code = f"from {__name__} import *; {run.__name__}(Path({str(tmp_path)!r}))"
    subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder)},
        check=True,
    )
    after = list_compiled(folder)
    assert [p.name for p in after if after[p] != before.get(p)] == []
