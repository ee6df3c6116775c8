"""Environments of their own for tests with programs that i2r does not depend on.

They lie in ``.environments/NAME`` and are made once, with pip; where that can't be done the test
is skipped, and says why. ``I2R_ENVIRONMENTS`` names another folder.
"""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def require_environment(name: str, packages: Sequence[str]) -> Path:
    """Give the Python of an environment with some packages, or skip the test.

    Parameters
    ----------
    name
        Its folder.
    packages
        What pip is asked for.
    """
    folder = Path(os.environ.get("I2R_ENVIRONMENTS", ROOT / ".environments")) / name
    python, complete = folder / "bin" / "python", folder / "complete"
    wanted = "\n".join(packages)
    if complete.exists() and complete.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    command = [
        str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--retries", "1", "--timeout", "20", *packages,
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
        problem = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    except subprocess.TimeoutExpired:
        problem = ["pip took longer than 800 s"]
    if problem:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"{', '.join(packages)} can't be installed ({problem[0][:200]})")
    complete.write_text(wanted)
    return python


def require_packages(name: str, packages: Sequence[str]) -> Path:
    """Give a folder for ``PYTHONPATH`` with some packages without what they need, or skip the test.

    Parameters
    ----------
    name
        Its folder.
    packages
        What pip is asked for; what they need has to be here already.
    """
    folder = Path(os.environ.get("I2R_ENVIRONMENTS", ROOT / ".environments")) / name
    complete, wanted = folder / "complete", "\n".join(packages)
    if complete.exists() and complete.read_text() == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--retries", "1", "--timeout", "20", "--target", str(folder), *packages,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        problem = done.stderr.strip().splitlines()[-1:]
        pytest.skip(f"{', '.join(packages)} can't be installed ({''.join(problem)[:200]})")
    complete.write_text(wanted)
    return folder


def run_in(python: Path, *arguments: object, cwd: Path | None = None) -> str:
    """Run the Python of an environment; its output, or a failed test."""
    outside = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(python), *map(str, arguments)],
        capture_output=True, text=True, env=outside, cwd=cwd, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout
