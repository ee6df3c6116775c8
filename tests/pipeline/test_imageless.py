"""An experiment without images: regulation stages alone, by every command."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from i2r.cli.group import i2r
from i2r.cli.stages import make_stage_command
from i2r.errors import InputError
from i2r.pipeline.run import prepare
from i2r.pipeline.spec import Pipeline, load_pipeline, parse_pipeline, resolve_needs
from i2r.stages.base import find_stage
from i2r.store.experiment import open_experiment
from i2r.testing import PlateFiles
from tests.conftest import run_here
from tests.pipeline.stubs import Stub

EXAMPLE = Path(__file__).parents[1] / "stages" / "imageless"
Cli = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def tally(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = importlib.import_module("i2r.stages")
    monkeypatch.setattr(stages, "__path__", [*stages.__path__, str(EXAMPLE)])


@pytest.fixture
def cli() -> Cli:
    def call(*arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(i2r, [str(a) for a in arguments], terminal_width=200)
        return result.exit_code, result.output

    return call


def test_every_command_works_without_an_image(cli: Cli, tmp_path: Path) -> None:
    file, experiment = tmp_path / "p.yaml", tmp_path / "experiment"
    file.write_text("stages: [tally, report]\n")
    code, said = cli("plan", file, experiment)
    assert code == 0, said
    assert not experiment.exists()
    code, said = cli("run", file, experiment, "--cluster", "none")
    assert code == 0, said
    code, said = cli("run", file, experiment, "--cluster", "none")
    assert code == 0, said
    assert "nothing to do" in said
    for command in (["status"], ["validate"], ["errors"], ["table"], ["table", "tally"]):
        code, said = cli(command[0], experiment, *command[1:])
        assert code == 0, said
    assert "cab" in said
    assert "0 plates, 0 wells, 0 fields: no problems" in cli("validate", experiment)[1]
    assert open_experiment(str(experiment)).table("tally")["letters"].tolist() == [2, 3]
    assert "Provenance" in (experiment / "report.html").read_text()


def test_a_single_stage_begins_an_experiment_from_its_command(tmp_path: Path) -> None:
    arguments = [str(tmp_path / "e"), "--words", "four", "--cluster", "none"]
    result = CliRunner().invoke(make_stage_command("tally"), arguments)
    assert result.exit_code == 0, result.output
    assert open_experiment(str(tmp_path / "e")).table("tally")["letters"].tolist() == [4]


def test_images_can_join_later_and_networks_can_join_images(
    plate: PlateFiles, tmp_path: Path
) -> None:
    alone = parse_pipeline({"stages": ["tally"]}, where="test")
    images = load_pipeline(str(plate.pipeline)).stages[:1]
    both = Pipeline(resolve_needs([*images, *alone.stages], where="test"))
    assert run_here(alone, tmp_path / "e").exit_code == 0
    summary = run_here(both, tmp_path / "e")
    assert summary.ran["convert"] == 9
    assert summary.ran["tally"] == 0
    assert len(open_experiment(str(tmp_path / "e")).layout) == 8
    run_here(alone, tmp_path / "e")
    assert len(open_experiment(str(tmp_path / "e")).layout) == 8


def test_what_reads_others_does_not_begin_an_experiment(tmp_path: Path) -> None:
    assert find_stage("convert").may_begin()
    assert find_stage("tally").may_begin()
    assert not any(find_stage(v).may_begin() for v in ("segment", "screen", "report"))
    with pytest.raises(InputError, match="no experiment here"):
        prepare(parse_pipeline({"stages": ["report"]}, where="test"), str(tmp_path / "e"))


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="not empty and no i2r experiment"):
        run_here(Pipeline((Stub(log=str(tmp_path / "log")),)), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
