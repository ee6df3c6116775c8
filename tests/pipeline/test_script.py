"""A script that calls i2r.run: workers import it again, so the call needs a guard."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from i2r.pipeline.script import is_unguarded
from i2r.testing import PlateFiles, describe_pipeline

CALL = 'import i2r\ni2r.run("p.yaml", "e"{})\n'


def run_script(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(text)
    return subprocess.run(
        [sys.executable, "script.py"], cwd=folder, check=False, capture_output=True, text=True
    )


@pytest.fixture
def folder(plate: PlateFiles, tmp_path: Path) -> Path:
    content = describe_pipeline(plate, screen=False)
    content["stages"] = content["stages"][:1]
    (tmp_path / "p.yaml").write_text(json.dumps(content))
    return tmp_path


def test_a_script_without_guard_is_one_line(folder: Path) -> None:
    done = run_script(folder, CALL.format(""))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(
        "i2r.errors.InputError: script.py line 2: i2r.run is called while the script is imported"
    )
    assert done.stderr.count("Traceback") == 1, "Python's own, of an error that nobody caught"
    assert not (folder / "e").exists()


def test_without_workers_no_guard_is_needed(folder: Path) -> None:
    done = run_script(folder, CALL.format(", cluster='none', progress='none'"))
    assert done.returncode == 0, done.stderr
    assert (folder / "e" / "experiment.json").exists()


@pytest.mark.parametrize(
    ("text", "line", "unguarded"),
    [
        ("import i2r\ni2r.run()", 2, True),
        ("def main():\n    i2r.run()\nmain()", 3, True),
        ("if True:\n    i2r.run()", 2, True),
        ("i2r.run()\nif __name__ == '__main__':\n    pass", 1, True),
        ("if __name__ == '__main__':\n    i2r.run()", 2, False),
        ("if '__main__' == __name__:\n    i2r.run()", 2, False),
        ("import sys\nif __name__ != '__main__':\n    sys.exit()\ni2r.run()", 4, False),
        ("if __name__ == '__main__' and True:\n    main()", 2, False),
    ],
)
def test_what_a_guard_is(text: str, line: int, unguarded: bool) -> None:
    assert is_unguarded(ast.parse(text), line) is unguarded
