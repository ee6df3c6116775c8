"""What is written down of a run, so that others can do the same again."""

import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from i2r.pipeline.executors import Executor
from i2r.pipeline.spec import Pipeline
from i2r.stages.base import find_stage

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


def list_options(pipeline: Mapping[str, Any]) -> dict[str, Any]:
    """List the seed, and of every stage of a recorded pipeline the options that are not defaults.

    Returns
    -------
    dict
        ``{"seed": 0, "segment.channel": "DNA"}``, plain values.
    """
    values: dict[str, Any] = {"seed": pipeline.get("seed", 0)}
    for stage in pipeline.get("stages", []):
        title = str(stage.get("name") or stage["stage"])
        fields = find_stage(str(stage["stage"])).choose(stage).model_fields
        for name, value in stage.items():
            field = fields.get(name)
            default = field.get_default(call_default_factory=True) if field else None
            plain = list(default) if isinstance(default, tuple) else default
            if name not in ("stage", "name") and value != plain:
                values[f"{title}.{name}"] = value
    return values


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
