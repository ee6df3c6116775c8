"""An experiment in an object store, end to end with workers: moto's server stands for S3."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from i2r.cluster import ClusterSpec, WorkerGroup
from i2r.errors import InputError
from i2r.readers import ReaderOptions, find_reader
from i2r.store import files, lock
from i2r.store.experiment import open_experiment
from i2r.store.lock import RunLock
from i2r.store.validate import find_problems
from i2r.testing import PlateFiles, digest_experiment
from tests.conftest import run_here, short_pipeline

pytestmark = pytest.mark.slow
pytest.importorskip("s3fs", reason="s3fs is not installed")
pytest.importorskip("moto", reason="moto is not installed")

WORKERS = ClusterSpec(
    cpu=WorkerGroup(n_workers=2, memory_limit="2GiB"),
    gpu=WorkerGroup(n_workers=0),
    dashboard_address="127.0.0.1:0",
)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a server with one bucket; the environment tells clients and workers where it is."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("moto")
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=log, stderr=log,
        )  # fmt: skip
    own = {
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }  # fmt: skip
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        import s3fs

        deadline = time.monotonic() + 120
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
            except OSError:
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.1)
        s3fs.S3FileSystem(skip_instance_cache=True).mkdir("screens")
        yield "s3://screens"
    finally:
        server.terminate()
        server.wait()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def test_an_experiment_in_a_bucket_is_like_one_on_a_disk(
    bucket: str, plate: PlateFiles, cropped_original: Path
) -> None:
    url = f"{bucket}/nested/experiment"
    summary = run_here(short_pipeline(plate), url, cluster=WORKERS)
    assert (summary.exit_code, sum(summary.ran.values())) == (0, 36)
    assert digest_experiment(url) == digest_experiment(str(cropped_original))
    experiment = open_experiment(url)
    assert find_problems(experiment) == []
    assert len(experiment.table("crop")) > 0
    # Segments are numbered objects; nobody holds the lock any more.
    segments = [n for n in files.list_folder(f"{url}/ledger") if n.endswith(".jsonl")]
    assert segments[0] == "000001.000001.jsonl"
    assert not files.exists(f"{url}/run.lock")
    # The same again has nothing to do, and a change redoes what depends on it.
    assert run_here(short_pipeline(plate), url).ran == {}
    changed = short_pipeline(plate, crop={"mask": False})
    assert run_here(changed, url, cluster=WORKERS).ran == {"crop": 9}


def test_a_public_bucket_is_read_without_credentials(
    bucket: str, plate: PlateFiles, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import fsspec
    import s3fs

    for path in plate.source.rglob("*.tif"):
        files.write_bytes(f"{bucket}/public/{path.relative_to(plate.source)}", path.read_bytes())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    pattern = r"(?P<plate>P\d)/(?P<well>[A-H]\d\d)_s(?P<field>\d)_(?P<channel>\w+)\.tif"
    source = f"{bucket}/public"
    with pytest.raises(InputError, match="no credentials found"):
        find_reader("auto", source, pattern=pattern)(source, ReaderOptions(pattern=pattern))
    monkeypatch.setitem(fsspec.config.conf, "s3", {"anon": True})
    s3fs.S3FileSystem.clear_instance_cache()
    images, _ = find_reader("auto", source, pattern=pattern)(source, ReaderOptions(pattern=pattern))
    assert len(images) == len(list(plate.source.rglob("*.tif")))
    # moto refuses every anonymous HEAD, so the pixels themselves are not asked for here.
    assert images["size_bytes"].gt(0).all()
    s3fs.S3FileSystem.clear_instance_cache()


def test_of_two_that_lock_at_once_one_wins(bucket: str) -> None:
    url = f"{bucket}/locked"
    assert files.create_exclusively(f"{url}/file", b"1")
    assert not files.create_exclusively(f"{url}/file", b"2")
    assert files.read_bytes(f"{url}/file") == b"1"
    with RunLock(url, command="i2r run"):
        second = RunLock(url, command="another")
        with pytest.raises(InputError, match="held by process"):
            second.__enter__()
    assert not files.exists(f"{url}/run.lock")


def test_the_put_itself_is_exclusive(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looked too early learns it from the store (If-None-Match)."""
    url = f"{bucket}/race/file"
    assert files.create_exclusively(url, b"1")
    system, _ = files._open_system(url)
    system = getattr(system, "_system", system)
    monkeypatch.setattr(type(system), "exists", lambda self, path, **options: False)
    assert not files.create_exclusively(url, b"2")
    monkeypatch.undo()
    assert files.read_bytes(url) == b"1"


def test_a_stale_lock_of_another_machine_is_taken_over(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{bucket}/stale"
    files.write_bytes(f"{url}/run.lock", b'{"host": "elsewhere", "pid": 1, "token": "x"}')
    monkeypatch.setattr(lock, "STALE_S", 0.4)
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.1)
    with RunLock(url, command="i2r run") as held:
        holder = held._read()
        assert holder is not None
        assert holder["pid"] == os.getpid()
