"""The command line: what it prints, and the exit codes scripts go by."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from i2r.cli.group import COMMANDS, i2r
from i2r.stages.base import list_verbs
from i2r.store.experiment import open_experiment
from i2r.testing import PlateFiles, describe_pipeline
from tests.pipeline.test_loop import snapshot

Cli = Callable[..., tuple[int, str]]
HERE = ("--cluster", "none", "--progress", "none")


@pytest.fixture
def pipeline(plate: PlateFiles, tmp_path: Path) -> Path:
    """A pipeline file up to the crops."""
    path = tmp_path / "pipeline.yaml"
    path.write_text(json.dumps(describe_pipeline(plate, screen=False)))
    return path


def die_with_the_lock(url: Path) -> None:
    """Leave the run lock behind, as a killed client does."""
    code = "import os, sys; from i2r.store.lock import RunLock as R; "
    code += "R(sys.argv[1], command='').__enter__(); os._exit(0)"
    subprocess.run([sys.executable, "-c", code, str(url)], check=True)
    assert (url / "run.lock").exists()


def test_run_says_what_it_did_and_a_second_one_that_nothing_is_to_do(
    cli: Cli, pipeline: Path, tmp_path: Path
) -> None:
    code, said = cli("run", pipeline, tmp_path / "e", *HERE)
    assert code == 0, said
    assert "36 units in" in said
    assert "convert 9, quality 9, segment 9, crop 9" in said
    before = snapshot(str(tmp_path / "e"))
    code, said = cli("run", pipeline, tmp_path / "e", *HERE)
    assert (code, "nothing to do" in said) == (0, True), said
    assert snapshot(str(tmp_path / "e")) == before
    die_with_the_lock(tmp_path / "e")  # after its last unit
    code, said = cli("run", pipeline, tmp_path / "e", *HERE)
    assert (code, "nothing to do" in said) == (0, True), said
    assert snapshot(str(tmp_path / "e")).keys() == before.keys()


def test_run_with_a_screen_shows_the_ranking(cli: Cli, plate: PlateFiles, screened: Path) -> None:
    code, said = cli("run", plate.pipeline, screened, *HERE)
    assert code == 0, said
    assert "active" in said
    assert "draws of control wells" in said


def test_changed_results_are_replaced_only_with_yes(
    cli: Cli, plate: PlateFiles, pipeline: Path, cropped: Path
) -> None:
    content = describe_pipeline(plate, screen=False)
    content["stages"][3]["mask"] = False
    pipeline.write_text(json.dumps(content))
    code, said = cli("run", pipeline, cropped, *HERE)
    assert code == 2, said
    assert (
        "8 results were made with other options or inputs and will be replaced "
        "(crop: mask was true, is false). Give --yes"
    ) in said
    code, said = cli("plan", pipeline, cropped, "--cluster", "none")
    assert "changed since the last run: crop: mask was true, is false" in said
    code, said = cli("run", pipeline, cropped, *HERE, "--yes")
    assert code == 0, said
    assert "crop 9" in said


def test_a_run_can_be_an_array_of_tasks_in_this_process(
    cli: Cli, pipeline: Path, tmp_path: Path
) -> None:
    code, said = cli("run", pipeline, tmp_path / "e", "--array", "2", "--strict")
    assert code == 2, said
    assert "--strict" in said
    assert not (tmp_path / "e").exists()
    code, said = cli("run", pipeline, tmp_path / "e", "--array", "2")
    assert code == 0, said
    assert "36 done" in said
    code, said = cli("run", pipeline, tmp_path / "e", "--array", "2")
    assert code == 0, said
    assert "nothing to do" in said


@pytest.mark.parametrize("style", ["auto", "plain", "json", "none", "rich"])
def test_progress_is_shown_in_the_asked_style(
    style: str, cli: Cli, pipeline: Path, tmp_path: Path
) -> None:
    code, said = cli("run", pipeline, tmp_path / "e", "--cluster", "none", "--progress", style)
    assert code == 0, said
    if style != "rich":
        assert "\x1b" not in said, "no control codes where there is no terminal"
    if style == "none":
        assert "9/9" not in said
    elif style == "json":
        rows = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        assert {(r["stage"], r["units"], r["done"]) for r in rows} >= {
            ("convert", 9, 9),
            ("crop", 9, 9),
        }
        assert all(r["fields_per_s"] < 1e5 and r["nuclei_per_s"] < 1e5 for r in rows), (
            "no rate of two units at once"
        )
    else:
        assert "segment" in said
        assert "9/9" in said


def test_a_problem_is_one_line_and_exit_code_2(
    cli: Cli, plate: PlateFiles, pipeline: Path, tmp_path: Path
) -> None:
    content = describe_pipeline(plate, screen=False)
    content["stages"][2]["chanel"] = "DNA"
    pipeline.write_text(json.dumps(content))
    code, said = cli("run", pipeline, tmp_path / "e", *HERE)
    assert code == 2
    assert said.splitlines() == [
        f"error: pipeline {pipeline} stage 3 (segment): unknown field 'chanel'; did you mean 'channel'?"
    ]
    assert not (tmp_path / "e").exists()


def test_a_bug_is_exit_code_1_with_its_traceback(
    cli: Cli, pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("i2r.pipeline.run.run_pipeline", lambda *a, **k: 1 / 0)
    code, said = cli("run", pipeline, tmp_path / "e", *HERE)
    assert code == 1
    assert "ZeroDivisionError" in said
    assert "this is a bug in i2r" in said


def test_bad_fields_are_exit_code_3_and_strictly_2(
    cli: Cli, own_plate: Callable[..., PlateFiles], pipeline: Path, tmp_path: Path
) -> None:
    plate = own_plate()
    (plate.source / "P1" / "A02_s1_DNA.tif").write_bytes(b"")
    pipeline.write_text(json.dumps(describe_pipeline(plate, screen=False)))
    code, said = cli("run", pipeline, tmp_path / "e", *HERE, "--strict")
    assert code == 2
    assert "error: P1/A02 field 1 channel DNA: truncated: " in said
    assert not (tmp_path / "e").exists()
    code, said = cli("run", pipeline, tmp_path / "e", *HERE)
    assert code == 3, said
    assert "1 field excluded (1 truncated)" in said
    code, said = cli("errors", tmp_path / "e")
    assert code == 3
    assert "convert P1/A02 field 1: excluded: truncated: " in said
    assert f"{plate.source}/P1/A02_s1_DNA.tif can't be decoded" in said
    code, said = cli("validate", tmp_path / "e")
    assert code == 0, said


# ------------------------------------------------------------------------------- looking


def test_plan_shows_everything_and_writes_nothing(
    cli: Cli, pipeline: Path, cropped: Path, tmp_path: Path
) -> None:
    code, said = cli("plan", pipeline, tmp_path / "absent", "--cluster", "none")
    assert code == 0, said
    assert "1 plate, 8 wells, 16 fields" in said
    assert "changed" not in said
    rows = {line.split()[0]: line.split()[1:3] for line in said.splitlines() if line.strip()}
    assert rows["convert"] == rows["crop"] == ["9", "9"]
    (largest,) = (line for line in said.splitlines() if line.startswith("largest unit: "))
    assert re.fullmatch(r"largest unit: \w+ (P1/\w+|last unit), whose worker needs up to [\d.]+ MiB; the smallest worker has .*B", largest)  # fmt: skip
    assert not (tmp_path / "absent").exists()
    before = snapshot(str(cropped))
    code, said = cli("plan", pipeline, cropped, "--cluster", "none")
    rows = {line.split()[0]: line.split()[1:3] for line in said.splitlines() if line.strip()}
    assert (code, rows["convert"]) == (0, ["0", "9"]), said
    assert snapshot(str(cropped)) == before


def test_status_counts_what_is_done(cli: Cli, cropped: Path) -> None:
    code, said = cli("status", cropped)
    assert code == 0, said
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.strip()}
    assert rows["convert"] == rows["crop"] == ["9", "9"]


def test_errors_without_any_says_so(cli: Cli, cropped: Path) -> None:
    assert cli("errors", cropped) == (0, "no failed units, no excluded fields\n")


def test_tables_are_listed_printed_and_written(cli: Cli, cropped: Path, tmp_path: Path) -> None:
    code, said = cli("table", cropped)
    assert (code, said.split()) == (
        0,
        ["convert", "crop", "quality", "segment", "segment-fields", "layout", "sources"],
    )
    code, said = cli("table", cropped, "quality", "--rows", "2")
    assert code == 0
    assert "14 more rows" in said
    target = tmp_path / "out.csv"
    code, said = cli("table", cropped, "crop", "--csv", target)
    assert (code, str(target) in said) == (0, True)
    rows = list(csv.DictReader(io.StringIO(target.read_text())))
    assert len(rows) == len(open_experiment(str(cropped)).table("crop"))
    for name in ("layout", "sources", "segment"):
        code, said = cli("table", cropped, name, "--rows", "0")
        assert code == 0, said
    code, said = cli("table", cropped, "crops")
    assert code == 2
    assert said.startswith("error: ")
    assert "there are: convert, crop" in said
    code, said = cli("table", cropped, "crop", "--csv", tmp_path / "no" / "such" / "out.csv")
    assert code == 2


def test_validate_names_what_is_missing(cli: Cli, cropped: Path) -> None:
    code, said = cli("validate", cropped)
    assert (code, said) == (0, "1 plate, 8 wells, 16 fields: no problems\n")
    (cropped / "plates/P1.ome.zarr/A/3/2/0/c/0/0/0").unlink()
    document = cropped / "plates/P1.ome.zarr/A/4/1/0/zarr.json"
    document.write_bytes(document.read_bytes()[:50])
    (cropped / "tables/crop/P1/A05.parquet").unlink()
    code, said = cli("validate", cropped)
    assert code == 2
    lines = said.splitlines()
    assert len(lines) == 4
    for part in ("A/3/2/0: its shard", "A/4/1/0: missing", "tables/crop/P1/A05.parquet: missing"):
        assert any(part in line for line in lines[:3]), said
    assert lines[-1].endswith("3 problems")


@pytest.mark.parametrize("command", ["status", "errors", "validate", "table", "retry", "crop"])
def test_what_is_no_experiment_is_exit_code_2(command: str, cli: Cli, tmp_path: Path) -> None:
    code, said = cli(command, tmp_path)
    assert code == 2, said
    assert said.splitlines()[-1].startswith("error: ")
    assert "no experiment here" in said
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------------------- retry, stages


def test_retry_runs_what_failed(cli: Cli, plate: PlateFiles, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    for path in sorted(plate.source.glob("P1/*.tif")):
        (masks / "P1").mkdir(parents=True, exist_ok=True)
        if "A03_s1" not in path.name:
            shutil.copy(path, masks / path.name)
    import numpy as np
    import tifffile
    from scipy import ndimage

    for path in masks.glob("P1/*.tif"):
        labels = ndimage.label(tifffile.imread(path) > 8000)[0]
        tifffile.imwrite(path, labels.astype(np.uint16))
    content = describe_pipeline(plate, screen=False)
    content["stages"][2] |= {"method": "import", "masks": str(masks)}
    (tmp_path / "p.yaml").write_text(json.dumps(content))
    code, said = cli("run", tmp_path / "p.yaml", tmp_path / "e", *HERE)
    assert code == 3, said
    assert "failed: segment P1/A03: " in said
    code, said = cli("errors", tmp_path / "e")
    assert code == 3
    assert "segment P1/A03: failed on client, attempt 1: P1/A03 field 1: no mask" in said
    assert "crop P1/A03: blocked: segment P1/A03 is not done" in said
    shutil.copy(masks / "A03_s2_DNA.tif", masks / "A03_s1_DNA.tif")
    code, said = cli("retry", tmp_path / "e", *HERE)
    assert code == 0, said
    assert "4 units in" in said
    assert "segment 2, crop 2" in said
    assert cli("errors", tmp_path / "e")[0] == 0


def test_a_stage_runs_by_its_verb_with_its_options_kept(cli: Cli, cropped: Path) -> None:
    code, said = cli("crop", cropped, "--no-mask", "--yes", *HERE)
    assert code == 0, said
    assert "crop 9" in said
    assert "stage crop: mask False, size_px 32, " in said, "options of the last run are kept"
    code, said = cli("crop", cropped, *HERE)
    assert (code, "nothing to do" in said) == (0, True), said
    code, said = cli(
        "quality", cropped, "--max-background", "DNA=60000", "--exclude", "P1/A01/1", "--yes", *HERE
    )
    assert code == 0, said
    assert "quality 9" in said
    code, said = cli("status", cropped)
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.strip()}
    assert rows["crop"][:2] == ["9", "9"], "nine units, nine of them out of date now"


def test_a_chain_can_be_run_verb_by_verb(cli: Cli, plate: PlateFiles, tmp_path: Path) -> None:
    url = tmp_path / "e"
    code, said = cli(
        "convert",
        url,
        "--source",
        plate.load_data,
        "--layout",
        plate.layout,
        "--pixel-size-um",
        "1.0",
        *HERE,
    )
    assert code == 0, said
    for verb in ("quality", "segment"):
        code, said = cli(verb, url, *HERE)
        assert code == 0, said
        assert f"{verb} 9" in said
    code, said = cli("crop", url, "--size-px", "32", *HERE)
    assert code == 0, said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("crop", "--size-px", "big"), "size-px"),
        (("crop", "--size-px", "4"), "'size_px' is 4"),
        (("quality", "--min-focus", "DNA"), "expected NAME=VALUE"),
        (("quality", "--min-focus", "DNA=sharp"), "min_focus"),
        (("segment", "--channel", "ER"), "has no channel 'ER'"),
        (("crop", "--colour", "red"), "--colour"),
        (("screen", "--needs", "crops"), "did you mean 'crop'"),
    ],
)
def test_wrong_options_are_exit_code_2(
    arguments: tuple[str, ...], expected: str, cli: Cli, cropped: Path
) -> None:
    verb, *rest = arguments
    code, said = cli(verb, cropped, *rest, *HERE)
    assert code == 2, said
    assert expected in said
    assert "Traceback" not in said


def test_a_dry_run_of_convert_writes_nothing(cli: Cli, plate: PlateFiles, tmp_path: Path) -> None:
    code, said = cli(
        "convert", tmp_path / "e", "--source", plate.load_data, "--layout", plate.layout,
        "--pixel-size-um", "1.0", "--dry-run",
    )  # fmt: skip
    assert code == 0, said
    assert "DNA" in said
    assert not (tmp_path / "e").exists()


# ------------------------------------------------------------------------------- the rest


def test_a_mistyped_command_is_guessed(cli: Cli) -> None:
    code, said = cli("sement")
    assert code == 2
    assert "Did you mean 'segment'?" in said
    code, said = cli("xyzzy")
    assert code == 2
    assert "xyzzy" in said


@pytest.mark.parametrize("command", [*COMMANDS, *list_verbs()])
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(i2r, [command, "--help"], terminal_width=120)
    assert result.exit_code == 0, result.output
    assert "Usage" in result.output


def test_help_writes_a_default_as_one_gives_it(cli: Cli) -> None:
    code, said = cli("screen", "--help")
    assert code == 0
    assert "(DNA)" in said
    assert "('" not in said


def test_the_version_is_the_packages(cli: Cli) -> None:
    import i2r as package

    code, said = cli("--version")
    assert (code, package.__version__ in said) == (0, True)


def test_the_public_names_are_there_and_nothing_else() -> None:
    import i2r as package

    for name in package.__all__:
        assert getattr(package, name) is not None
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        package.nonsense  # noqa: B018


def test_the_module_runs_like_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "i2r", "--version"], capture_output=True, text=True, check=True
    )
    assert "i2r" in done.stdout
