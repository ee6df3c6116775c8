"""What is written down of a run, so that others can do the same again."""

import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from i2r.pipeline.executors import Executor
from i2r.pipeline.spec import Pipeline

PACKAGES = ("i2r", "numpy", "dask", "distributed", "zarr", "torch", "numba", "pandas")


def describe_run(
    pipeline: Pipeline, executor: Executor, *, run: int, command: str
) -> dict[str, Any]:
    """Record what is needed to do the same again: options, versions, machine, cluster."""
    return {
        "run": run,
        "command": command,
        "started_s": time.time(),
        "pipeline": pipeline.dump(),
        "stage_versions": {stage.title: type(stage).version for stage in pipeline.stages},
        "versions": {name: find_version(name) for name in PACKAGES},
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "git_sha": _find_commit(),
        "cluster": dict(executor.description),
    }


def find_version(name: str) -> str:
    """Give the version of an installed package; empty where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _find_commit() -> str:
    """Give the commit of a source checkout; empty for an installed package."""
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],
            check=False,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
