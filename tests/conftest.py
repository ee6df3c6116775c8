"""A small synthetic plate, and what became of it: made once per session, copied to be changed."""

import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from i2r.cli.group import run_command_line
from i2r.cluster import ClusterSpec
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.spec import Pipeline, load_pipeline, parse_pipeline
from i2r.pipeline.summary import Summary
from i2r.testing import PlateFiles, describe_pipeline, write_plate

Cli = Callable[..., tuple[int, str]]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what became of the faults that tests made (see tests/pipeline/test_moments.py)."""
    totals: Counter[str] = Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            if report.when == "call":
                for name, value in report.user_properties:
                    if name == "fault":
                        totals.update(
                            {**dict(value), "tried": 1, "survived": int(outcome == "passed")}
                        )
    if totals:
        terminalreporter.write_line(
            f"faults tried {totals['tried']}, survived {totals['survived']}, results lost "
            f"{totals['lost']}, units rerun {totals['rerun']} (of {totals['units']}; each was in "
            f"flight or unfinished), finished units rerun {totals['wasted']}"
        )


IN_PROCESS = ClusterSpec(type="none")


def run_here(pipeline: Pipeline, url: Path | str, **options: Any) -> Summary:
    """Run a pipeline in this process, silently."""
    options.setdefault("cluster", IN_PROCESS)
    return run_pipeline(pipeline, str(url), style="none", **options)


def short_pipeline(plate: PlateFiles, **changes: dict[str, Any]) -> Pipeline:
    """Make the chain up to the crops, with other options by stage."""
    content = describe_pipeline(plate, screen="screen" in changes)
    for stage in content["stages"]:
        stage.update(changes.get(stage["stage"], {}))
    return parse_pipeline(content, where="test")


@pytest.fixture(scope="session")
def plate(tmp_path_factory: pytest.TempPathFactory) -> PlateFiles:
    """Eight wells of two fields; nobody may change its files."""
    return write_plate(tmp_path_factory.mktemp("plate"), wells=8, fields=2)


@pytest.fixture
def own_plate(tmp_path: Path) -> Callable[..., PlateFiles]:
    """Write a plate of one's own, to be broken."""

    def make(**options: Any) -> PlateFiles:
        options.setdefault("wells", 4)
        return write_plate(tmp_path / "plate", **options)

    return make


@pytest.fixture(scope="session")
def cropped_original(plate: PlateFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the plate as far as the crops; nobody may change it."""
    url = tmp_path_factory.mktemp("cropped") / "experiment"
    assert run_here(short_pipeline(plate), url).exit_code == 0
    return url


@pytest.fixture
def cropped(cropped_original: Path, tmp_path: Path) -> Path:
    """An experiment that was run as far as the crops, to be changed."""
    return Path(shutil.copytree(cropped_original, tmp_path / "cropped"))


@pytest.fixture(scope="session")
def screened_original(plate: PlateFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the plate through the screen; nobody may change it."""
    url = tmp_path_factory.mktemp("screened") / "experiment"
    assert run_here(load_pipeline(str(plate.pipeline)), url).exit_code == 0
    return url


@pytest.fixture
def screened(screened_original: Path, tmp_path: Path) -> Path:
    """An experiment that was run through the screen, to be changed."""
    return Path(shutil.copytree(screened_original, tmp_path / "screened"))


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Run the command line as the shell does, in this process; returns exit code and output."""

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["i2r", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            run_command_line()
        said = capfd.readouterr()
        code = left.value.code
        return (code if isinstance(code, int) else int(code is not None)), said.out + said.err

    return run
