"""What a command line owes its users: silence, JSON, completion, colours, and a question first."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from i2r.cli.options import confirm_overwriting
from i2r.cli.plan import format_bytes, format_seconds
from i2r.errors import InputError
from i2r.testing import PlateFiles, describe_pipeline

Cli = Callable[..., tuple[int, str]]
HERE = ("--cluster", "none", "--progress", "none")


@pytest.fixture
def pipeline(plate: PlateFiles, tmp_path: Path) -> Path:
    """A pipeline file up to the crops."""
    path = tmp_path / "pipeline.yaml"
    path.write_text(json.dumps(describe_pipeline(plate, screen=False)))
    return path


def i2r(*arguments: object, **environment: str) -> str:
    """Run the command line in a process of its own; returns what it writes to its output."""
    done = subprocess.run(
        [sys.executable, "-m", "i2r", *map(str, arguments)],
        check=False, capture_output=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip
    return done.stdout


# ------------------------------------------------------------------------------- JSON


def test_scripts_get_json(cli: Cli, pipeline: Path, cropped: Path) -> None:
    code, said = cli("status", cropped, "--json")
    assert code == 0
    stages = {row["stage"]: row for row in json.loads(said)["stages"]}
    assert stages["crop"]["done"] == 9
    assert stages["crop"]["failed"] == 0
    code, said = cli("plan", pipeline, cropped, "--json", "--cluster", "none")
    plan = json.loads(said)
    assert (plan["wells"], plan["fields"]) == (8, 16)
    assert [row["stage"] for row in plan["stages"]] == ["convert", "quality", "segment", "crop"]
    assert all(row["units_to_run"] == 0 and row["fits"] for row in plan["stages"])
    assert plan["largest_unit"] == {"name": "", "needed_bytes": 0}
    assert json.loads(cli("errors", cropped, "--json")[1]) == []
    code, said = cli("validate", cropped, "--json", "--sample", "3")
    assert code == 0
    assert json.loads(said) == {
        "plates": 1, "wells": 8, "fields": 16, "problems": [], "missing": [], "gone": [],
        "compared": "3 planes of 3 fields compared with their source: no differences, 0 missing",
    }  # fmt: skip


def test_json_has_every_failure(
    cli: Cli, own_plate: Callable[..., PlateFiles], tmp_path: Path
) -> None:
    plate = own_plate()
    gone = plate.source / "P1" / "A02_s1_DNA.tif"
    gone.unlink()
    (tmp_path / "p.yaml").write_text(json.dumps(describe_pipeline(plate, screen=False)))
    assert cli("run", tmp_path / "p.yaml", tmp_path / "e", *HERE)[0] == 3
    code, said = cli("errors", tmp_path / "e", "--json")
    assert code == 3
    (found,) = json.loads(said)
    assert f"{gone} can't be opened" in found.pop("message")
    assert found == {
        "stage": "convert", "key": "P1/A02", "event": "excluded", "field": "1", "error": "missing"
    }  # fmt: skip
    code, said = cli("validate", tmp_path / "e", "--against-source")
    assert code == 3, said
    assert f"plate 'P1' well 'A02' field 1 channel 'DNA': missing: {gone} can't be opened" in said
    assert "7 planes of 8 fields compared with their source: no differences, 1 missing" in said


def test_a_changed_source_is_exit_code_2(
    cli: Cli, own_plate: Callable[..., PlateFiles], tmp_path: Path
) -> None:
    plate = own_plate()
    (tmp_path / "p.yaml").write_text(json.dumps(describe_pipeline(plate, screen=False)))
    assert cli("run", tmp_path / "p.yaml", tmp_path / "e", *HERE)[0] == 0
    one, other = (plate.source / "P1" / f"A0{n}_s1_DNA.tif" for n in (1, 2))
    one.write_bytes(other.read_bytes())
    assert cli("validate", tmp_path / "e")[0] == 0, "everything is there and well-formed"
    code, said = cli("validate", tmp_path / "e", "--against-source")
    assert code == 2
    assert re.search(r"well 'A01' field 1 channel 'DNA': \d+ of 12288 pixels differ", said)
    assert "8 planes of 8 fields compared with their source: 1 difference, 0 missing\n" in said


def test_a_source_that_went_is_no_difference(
    cli: Cli, own_plate: Callable[..., PlateFiles], tmp_path: Path
) -> None:
    plate = own_plate()
    (tmp_path / "p.yaml").write_text(json.dumps(describe_pipeline(plate, screen=False)))
    assert cli("run", tmp_path / "p.yaml", tmp_path / "e", *HERE)[0] == 0
    (plate.source / "P1" / "A02_s1_DNA.tif").unlink()
    code, said = cli("validate", tmp_path / "e", "--against-source")
    assert code == 3
    assert (
        "7 planes of 8 fields compared with their source: no differences, 0 missing, 1 whose "
        "source can't be read any more"
    ) in said
    assert "no problems" in said
    code, said = cli("validate", tmp_path / "e", "--against-source", "--json")
    assert code == 3
    assert len(json.loads(said)["gone"]) == 1


# ------------------------------------------------------------------------------- how much is said


@pytest.mark.parametrize("before", [True, False])
def test_quiet_says_only_what_failed(
    before: bool, cli: Cli, own_plate: Callable[..., PlateFiles], tmp_path: Path
) -> None:
    plate = own_plate()
    (tmp_path / "p.yaml").write_text(json.dumps(describe_pipeline(plate, screen=False)))
    command = ("run", tmp_path / "p.yaml", tmp_path / "e", "--cluster", "none")
    assert cli(*(["-q", *command] if before else [*command, "--quiet"])) == (0, "")
    (plate.source / "P1" / "A02_s1_DNA.tif").write_bytes(b"")
    code, said = cli(*command, "-q", "--yes")
    assert code == 3
    assert said.splitlines()[-1].startswith("1 field excluded (1 truncated); see 'i2r errors")


def test_verbose_shows_where_an_error_comes_from(cli: Cli, tmp_path: Path) -> None:
    code, said = cli("status", tmp_path)
    assert (code, "Traceback" in said) == (2, False)
    code, said = cli("status", tmp_path, "-v")
    assert (code, "Traceback" in said) == (2, True)
    assert said.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4 s"), (12.2, "12 s"), (59.7, "60 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_times_have_human_units(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_sizes_have_human_units() -> None:
    sizes = (0, 1023, 1024, 20 * 2**20, 3 * 2**30, 2**42)
    assert [format_bytes(n) for n in sizes] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "20 MiB",
        "3.0 GiB",
        "4.0 TiB",
    ]


# ------------------------------------------------------------------------------- the shell


def complete(*words: str) -> list[str]:
    """Ask for completions of the last word as bash does; returns the plain ones."""
    said = i2r(
        _I2R_COMPLETE="bash_complete", COMP_WORDS=" ".join(["i2r", *words]), COMP_CWORD=str(len(words))
    )  # fmt: skip
    return [line.partition(",")[2] for line in said.splitlines() if line]


def test_the_shell_completes_commands_options_and_tables(cropped: Path) -> None:
    assert complete("qua") == ["quality"]
    assert "--min-area-um2" in complete("crop", "x", "--mi")
    assert complete("table", str(cropped), "q") == ["quality"]
    assert complete("table", str(cropped / "nowhere"), "q") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_its_script(shell: str) -> None:
    assert "_I2R_COMPLETE" in i2r(_I2R_COMPLETE=f"{shell}_source")


def test_no_colour_where_none_is_wanted() -> None:
    colour = re.compile(r"\x1b\[[0-9;]*3[0-9]")
    assert colour.search(i2r("--help", FORCE_COLOR="1"))
    assert not colour.search(i2r("--help", FORCE_COLOR="1", NO_COLOR="1"))
    assert "\x1b" not in i2r("--help"), "no codes at all in files and pipes"


# ------------------------------------------------------------------------------- other people's files


def test_a_file_is_replaced_only_after_a_question(
    cli: Cli, cropped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "mine.csv"
    target.write_text("precious")
    code, said = cli("table", cropped, "crop", "--csv", target)
    assert code == 2
    assert "exists and will be replaced. Give --yes to go on." in said
    assert target.read_text() == "precious"
    assert cli("table", cropped, "crop", "--csv", target, "--yes")[0] == 0
    assert target.read_text().startswith("plate,")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda *_, **__: False)
    monkeypatch.setattr("rich_click.confirm", lambda *_, **__: False)
    with pytest.raises(InputError, match="kept as it is"):
        confirm_overwriting(target, yes=False)


def test_help_keeps_paragraphs_apart() -> None:
    lines = [line.strip() for line in i2r("predict", "--help").splitlines()]
    assert lines[lines.index("Runs after: map, genes.") - 1] == ""


def test_rows_are_counted_from_zero(cli: Cli, cropped: Path) -> None:
    code, said = cli("table", cropped, "crop", "--rows", "-3")
    assert code == 2, "pandas takes -3 as all but the last three"
    assert "-3 is not in the range" in said


def test_a_name_with_separators_of_lines_is_one_line(cli: Cli, tmp_path: Path) -> None:
    """Found by the fuzz: a column called so made nine lines of one."""
    header = b"Metadata_Pl,te,FileName_OrigDNA,PathName\x1c\x1b[2J_OrigDNA\n"
    (tmp_path / "load_data.csv").write_bytes(header + b"P1,A01,a.tif,/images\n")
    (tmp_path / "layout.csv").write_text("well,perturbation,role\nA01,c,negative_control\n")
    pipeline = tmp_path / "p.yaml"
    pipeline.write_text("stages: [{stage: convert, source: load_data.csv, layout: layout.csv}]")
    code, said = cli("run", pipeline, tmp_path / "e", "--cluster", "none")
    assert code == 2
    assert said.count("\n") == said.count("error: ") == 1
    assert "\\x1c" in said
    assert "\x1b" not in said
