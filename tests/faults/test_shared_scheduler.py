"""Several runs on one scheduler that is somebody else's: its workers outlive a client."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from i2r.pipeline.spec import parse_pipeline
from i2r.store.experiment import open_experiment
from i2r.testing import PlateFiles, describe_pipeline, digest_experiment
from tests.conftest import run_here
from tests.faults.sequences import read_ledger

TRAIN = {
    "stage": "train", "n_folds": 2, "widths": [4, 8], "nucleus_px": 16, "embedding_dim": 4,
    "max_epochs": 60, "patience": 60, "batch_size": 8,
}  # fmt: skip


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Start a scheduler and one worker of one thread; give the scheduler's address."""
    folder = tmp_path / "scheduler"
    folder.mkdir()
    file, module = folder / "address.json", [sys.executable, "-m"]
    commands = [
        ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
         "--scheduler-file", str(file)],
        ["distributed.cli.dask_worker", "--scheduler-file", str(file), "--nthreads", "1",
         "--resources", "CPU=1,GPU=0", "--no-dashboard", "--death-timeout", "60"],
    ]  # fmt: skip
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = []
    try:
        for command in commands:
            started.append(subprocess.Popen([*module, *command], cwd=folder, **quiet))
            while not (file.exists() and file.read_text().endswith("}")):  # complete
                assert started[0].poll() is None
                time.sleep(0.05)
        yield str(json.loads(file.read_bytes())["address"])
    finally:
        for process in reversed(started):
            children = psutil.Process(process.pid).children(recursive=True)
            for each in [*children, psutil.Process(process.pid)]:
                each.kill()
            process.wait()


def describe(plate: PlateFiles, **options: Any) -> dict[str, Any]:
    content = describe_pipeline(plate, screen=False)
    content["stages"].append({**TRAIN, **options})
    return content


def begin(content: dict[str, Any], url: Path, address: str) -> subprocess.Popen[bytes]:
    pipeline = url.with_suffix(".yaml")
    pipeline.write_text(json.dumps(content))
    command = [sys.executable, "-m", "i2r", "run", str(pipeline), str(url), "--cluster", address]
    return subprocess.Popen(
        [*command, "--progress", "none", "--yes"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def read_models(url: Path) -> dict[str, bytes]:
    """Give the content of every file of models, by its path."""
    found = sorted(path for path in (url / "models").rglob("*") if path.is_file())
    return {str(path.relative_to(url)): path.read_bytes() for path in found}


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_a_client_killed_while_a_model_trains_leaves_nothing_of_it(
    address: str, plate: PlateFiles, tmp_path: Path
) -> None:
    """The next run wants other options of the same unit, on the worker that still trains."""
    url = tmp_path / "e"
    first = begin(describe(plate), url, address)

    def has_begun() -> bool:
        return any(e["stage"] == "train" and e["event"] == "start" for e in read_ledger(url))

    while not has_begun() and first.poll() is None:
        time.sleep(0.02)
    time.sleep(0.5)  # the worker has it by now
    assert first.poll() is None, "the training is too short to be killed in"
    first.kill()
    first.communicate()
    wanted = describe(plate, learning_rate=0.02)
    second = begin(wanted, url, address)
    said, _ = second.communicate(timeout=600)
    assert second.returncode == 0, said.decode()

    assert run_here(parse_pipeline(wanted, where="test"), tmp_path / "undisturbed").exit_code == 0
    assert digest_experiment(str(url)) == digest_experiment(str(tmp_path / "undisturbed"))
    models = read_models(url)
    assert models == read_models(tmp_path / "undisturbed")
    assert models
    ledgers = [open_experiment(str(u)).ledger for u in (url, tmp_path / "undisturbed")]
    keys = ledgers[0].done_keys("train")
    assert keys
    for key in keys:
        mine, undisturbed = (ledger.entry("train", key) for ledger in ledgers)
        assert mine is not None
        assert undisturbed is not None
        assert (mine.event, mine.fingerprint) == ("done", undisturbed.fingerprint)
