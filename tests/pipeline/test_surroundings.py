"""Disks, permissions and damaged files of i2r's own end in one line, and say how to go on."""

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from i2r.errors import I2RError, InputError
from i2r.pipeline.spec import load_pipeline
from i2r.pipeline.status import count_states
from i2r.readers.names import Found, natural_key
from i2r.readers.sources import ReaderOptions, build_sources
from i2r.store import files
from i2r.store.access import check_access
from i2r.store.experiment import open_experiment
from i2r.store.ledger import Ledger
from i2r.testing import PlateFiles, digest_experiment
from tests.conftest import Cli, run_here, short_pipeline

STATE = "ledger/state.parquet"


def run(cli: Cli, plate: PlateFiles, url: Path) -> tuple[int, str]:
    return cli("run", plate.pipeline, url, "--cluster", "none", "--yes", "--progress", "none")


def assert_one_line(code: int, said: str, *parts: str) -> None:
    assert code == 2, said
    assert "Traceback" not in said
    assert "bug" not in said
    assert len([line for line in said.splitlines() if line.startswith("error: ")]) == 1
    for part in parts:
        assert part in said


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Remount a folder read-only; skipped where this account may not."""
    mounted: list[Path] = []

    def remount(path: Path) -> None:
        for options in (["--bind"], ["-o", "remount,ro,bind"]):
            command = ["mount", *options, str(path), str(path)]
            if subprocess.run(command, capture_output=True, check=False).returncode:
                pytest.skip("nothing can be mounted here")
            if path not in mounted:
                mounted.append(path)

    yield remount
    for path in mounted:
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("where", ["", "ledger", "tables", "runs"])
def test_a_read_only_part_is_found_before_anything_starts(
    cropped: Path, plate: PlateFiles, cli: Cli, read_only: Callable[[Path], None], where: str
) -> None:
    run_count = len(list((cropped / "ledger").glob("*.jsonl")))
    read_only(cropped / where)
    assert_one_line(*run(cli, plate, cropped), str(cropped / where), "can't be written")
    assert len(list((cropped / "ledger").glob("*.jsonl"))) == run_count


@pytest.mark.parametrize("what", ["ledger/000001.jsonl", "run.lock"])
def test_a_folder_in_place_of_a_file(cropped: Path, plate: PlateFiles, cli: Cli, what: str) -> None:
    if what == "ledger/000001.jsonl":
        (cropped / STATE).unlink()
    (cropped / what).unlink(missing_ok=True)
    (cropped / what).mkdir()
    assert_one_line(*run(cli, plate, cropped), what)


def test_permissions_of_a_lock_and_a_ledger(cropped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an account that may not read them; tests often run as root, who may."""
    real = open

    def refuse(path: object, *rest: object, **options: object) -> object:
        if str(path).endswith(("run.lock", ".jsonl")):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, *rest, **options)  # type: ignore[call-overload]

    (cropped / "run.lock").write_text("{}")
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(InputError, match=r"run\.lock: can't be read \(Permission denied\)"):
        check_access(str(cropped))
    (cropped / STATE).unlink()
    with pytest.raises(InputError, match=r"jsonl: can't be read \(Permission denied\)"):
        Ledger(f"{cropped}/ledger")


def test_errors_of_the_surroundings_are_no_bugs(
    cropped: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(url: str) -> bytes:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), url)

    monkeypatch.setattr(files, "read_bytes", fail)
    monkeypatch.setattr(files, "open_file", fail)
    assert_one_line(*cli("status", cropped), "Stale file handle", str(cropped))


@pytest.mark.parametrize(
    "line",
    [
        '{"stage":1,"key":"P1/A01","event":"done","fingerprint":"0"}',
        '{"stage":"crop","key":["a"],"event":"done","fingerprint":"0"}',
        '{"stage":"crop","key":"P1/A01","event":"done","fingerprint":"0","result":[1]}',
        '{"stage":"crop","key":"P1/A01","event":"done","fingerprint":"0","attempt":1e3}',
        '{"stage":"crop","key":"P1/A01","event":"done","fingerprint":"0","attempt":'
        + "9" * 30
        + "}",
        '{"stage":"crop","key":"P1/A01","event":"done","fingerprint":"0","attempt":'
        + "9" * 5000
        + "}",
        '{"stage":"crop","key":"P1/A01","event":"done","fingerprint":"0","more":1}',
        "[" * 100_000,
        "17",
    ],
)
def test_lines_of_the_ledger_that_are_no_events(tmp_path: Path, line: str) -> None:
    (tmp_path / "000001.jsonl").write_text(line + "\n\n")
    with pytest.raises(InputError, match=r"000001\.jsonl line 1: no event"):
        Ledger(str(tmp_path))


@pytest.mark.parametrize("name", ["1" + "0" * 20, "000001.1" + "0" * 20, "1.2.3.4"])
def test_numbers_that_no_run_has(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.jsonl").write_text("")
    with pytest.raises(InputError, match="a number that no run has"):
        Ledger(str(tmp_path))
    (tmp_path / f"{name}.jsonl").rename(tmp_path / "notes.jsonl")
    (tmp_path / "²7.jsonl").write_text("")
    assert Ledger(str(tmp_path)).last_run == 0


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "empty":
        content = bytearray()
    elif how == "cut":
        del content[len(content) // 2 :]
    else:
        at = {"head": 40, "middle": len(content) // 2, "foot": len(content) - 20}[how]
        content[at] ^= 0xFF
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("how", ["empty", "cut", "head", "middle", "foot"])
def test_a_damaged_state_is_rebuilt(cropped: Path, plate: PlateFiles, how: str) -> None:
    pipeline = short_pipeline(plate)
    before = count_states(pipeline, open_experiment(str(cropped)))
    damage(cropped / STATE, how)
    experiment = open_experiment(str(cropped))
    assert count_states(pipeline, experiment) == before
    assert not run_here(pipeline, cropped).ran
    changed = short_pipeline(plate, crop={"min_solidity": 0.2})
    assert run_here(changed, cropped).exit_code == 0
    assert count_states(changed, open_experiment(str(cropped)))["crop"]["done"] == 9


@pytest.mark.parametrize("how", ["empty", "cut", "middle"])
@pytest.mark.parametrize("name", ["layout", "sources"])
def test_a_damaged_layout_says_how_to_restore_it(
    cropped: Path, cli: Cli, name: str, how: str
) -> None:
    before = digest_experiment(str(cropped))
    damage(cropped / f"{name}.parquet", how)
    code, said = cli("validate", cropped, "--against-source")
    assert_one_line(code, said, f"{name}.parquet: damaged", f"Copy {cropped}/runs/{name}.parquet")
    shutil.copy(cropped / f"runs/{name}.parquet", cropped / f"{name}.parquet")
    assert cli("validate", cropped)[0] == 0
    assert digest_experiment(str(cropped)) == before


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pipeline": 3}', "[" * 100_000])
def test_a_damaged_record_of_a_run(cropped: Path, cli: Cli, content: str) -> None:
    (cropped / "runs/000001.json").write_text(content)
    (cropped / "runs/notes.json").write_text("mine")
    assert_one_line(*cli("status", cropped), "runs/000001.json: damaged")


def test_field_numbers_of_thousands_of_digits() -> None:
    assert natural_key("s2") < natural_key("s10") < natural_key("s" + "9" * 5000)
    assert natural_key("007") == natural_key("7")
    found = [Found("P1", "A01", "1" * 5000, "DNA", "", "/a.tif", files.Stat(1, 1))]
    with pytest.raises(InputError, match=r"the field is 1+\.\.\. of 5000 characters") as caught:
        build_sources(found, ReaderOptions(), where="here")
    assert len(str(caught.value)) < 300


def test_an_emoji_as_a_stages_name(plate: PlateFiles, tmp_path: Path) -> None:
    pipeline = {"stages": [{"stage": "convert", "name": "🧬"}]}
    options = {"source": str(plate.source), "layout": str(plate.layout), "pixel_size_um": 1.0}
    pipeline["stages"][0].update(options)  # type: ignore[arg-type]
    path = tmp_path / "pipeline.yaml"
    path.write_text(json.dumps(pipeline))  # as two halves, \\ud83e\\uddec
    assert load_pipeline(str(path)).stages[0].title == "🧬"
    pipeline["stages"][0]["name"] = "\ud83e"
    path.write_text(json.dumps(pipeline))
    with pytest.raises(I2RError):
        load_pipeline(str(path))
