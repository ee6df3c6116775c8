"""The command line run as the shell does."""

import sys
from collections.abc import Callable

import pytest

from i2r.cli.group import run_command_line

Cli = Callable[..., tuple[int, str]]


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
