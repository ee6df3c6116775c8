"""How the process ends: with its exit code, with everything said and closed, and never aborted."""

import subprocess
import sys

import pytest

# Taking the interpreter apart would delete the object, and end the process by a signal.
CODE = """
import atexit, os, sys

class Last:
    def __del__(self, abort=os.abort):
        abort()

sys.last = Last()
atexit.register(print, "closed")
sys.argv = ["i2r", *sys.argv[1:]]
print("began")
from i2r.cli import main
main()
"""


def run(*arguments: str, code: str = CODE) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "code"), [(("--version",), 0), (("status", "/nowhere"), 2), (("nonsense",), 2)]
)
def test_the_process_ends_with_its_code_and_takes_nothing_apart(
    arguments: tuple[str, ...], code: int
) -> None:
    done = run(*arguments)
    assert done.returncode == code, done.stderr
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-1]) == ("began", "closed")
    assert ("error: " in done.stderr) == bool(code)


def test_the_object_would_abort_a_process_that_is_taken_apart() -> None:
    taken_apart = CODE.replace("import main\nmain()", "import run_command_line\nrun_command_line()")
    done = run("--version", code=taken_apart.replace("i2r.cli import", "i2r.cli.group import"))
    assert done.returncode == -6
