"""A SLURM for the tests that need one, and what the quick pipeline gives without any cluster."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from i2r.pipeline.spec import load_pipeline
from tests import slurm
from tests.conftest import run_here

QUICK = Path(__file__).parents[2] / "pipelines" / "quick.yaml"


@pytest.fixture(scope="session")
def slurm_conf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start SLURM; skip, with the reason, where it can't be had."""
    pytest.importorskip("dask_jobqueue", reason="SLURM: dask-jobqueue is not installed")
    if reason := slurm.find_reason_against():
        pytest.skip(f"SLURM: {reason}")
    folder = tmp_path_factory.mktemp("slurm")
    environment = slurm.start(folder)
    os.environ.update(environment)
    try:
        yield environment["SLURM_CONF"]
    finally:
        slurm.stop(folder)
        for name in environment:
            del os.environ[name]


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the quick pipeline in this process; nobody may change it."""
    url = tmp_path_factory.mktemp("quick") / "experiment"
    assert run_here(load_pipeline(str(QUICK)), url).exit_code == 0
    return url
