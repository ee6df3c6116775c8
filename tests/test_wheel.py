"""The wheel works alone: the demo runs from it, without the source checkout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_demo_runs_from_the_built_wheel(tmp_path: Path) -> None:
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--outdir",
        str(tmp_path / "dist"),
        str(ROOT),
    ]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    if done.returncode and "No matching distribution" in done.stdout + done.stderr:
        pytest.skip("no package registry: the build backend can't be installed")
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
    subprocess.run([*pip, str(wheel)], check=True)

    environment = {**os.environ, "PYTHONPATH": str(target)}
    origin = subprocess.run(
        [sys.executable, "-c", "import i2r; print(i2r.__file__)"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert origin.stdout.startswith(str(target))
    demo = subprocess.run(
        [sys.executable, "-m", "i2r", "demo", str(tmp_path / "demo"), "--progress", "plain"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    for folder in ("plate", "simulated/experiment"):
        assert (tmp_path / "demo" / folder / "report.html").stat().st_size > 10_000
    assert "wortmannin" in demo.stdout
    assert "36 of 36 planted genes called" in demo.stdout
    assert "which the map was not shown" in demo.stdout
    assert "report:" in demo.stdout
