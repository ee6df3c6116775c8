"""Where the time of a run went, counted where files are read and written."""

import json
import logging
import time
from pathlib import Path

import pytest
from dask.utils import key_split

from i2r.cluster import ClusterSpec, WorkerGroup
from i2r.pipeline.timings import Timings
from i2r.pipeline.work import Outcome
from i2r.store import files
from i2r.store.outputs import Traffic, measure_traffic
from tests.conftest import run_here
from tests.pipeline.stubs import Stub, chain


def test_sums_and_shares_are_these() -> None:
    timings = Timings(2)
    for seconds in (1.0, 3.0):
        traffic = Traffic(read_bytes=10, read_s=0.25, written_bytes=20, write_s=0.5)
        timings.add("crop", "P1/A01", "done", Outcome(seconds=seconds, traffic=traffic))
    assert timings.describe(4.0) == {
        "slots": 2,
        "busy_fraction": 0.5,
        "stages": {
            "crop": {
                "units": 2, "seconds": 4.0, "read_bytes": 20, "read_s": 0.5,
                "written_bytes": 40, "write_s": 1.0, "compute_s": 2.5,
            }
        },
    }  # fmt: skip
    assert Timings(0).describe(0.0) == {"slots": 1, "busy_fraction": 0.0, "stages": {}}


def test_every_byte_is_counted_once_and_only_inside(tmp_path: Path) -> None:
    url = str(tmp_path / "file")
    began = time.perf_counter()
    files.write_bytes(url, b"outside")
    with measure_traffic() as traffic:
        files.write_bytes(url, b"abc", b"de")
        assert files.read_bytes(url) == b"abcde"
        with measure_traffic() as inner:
            files.read_bytes(url)
        files.read_bytes(url)
    files.read_bytes(url)
    assert (traffic.read_bytes, traffic.written_bytes) == (10, 5)
    assert (inner.read_bytes, inner.written_bytes) == (5, 0)
    elapsed_s = time.perf_counter() - began
    assert 0 < traffic.read_s < elapsed_s
    assert 0 < traffic.write_s < elapsed_s


def test_the_record_of_a_run_says_what_its_units_read_and_wrote(cropped: Path) -> None:
    record = json.loads((cropped / "runs" / "000001.json").read_text())
    stages = record["timings"]["stages"]
    assert set(stages) == {"convert", "quality", "segment", "crop"}
    shards = [p for p in (cropped / "nuclei").rglob("*") if p.is_file() and p.suffix != ".json"]
    sources = sum(path.stat().st_size for path in shards)
    assert stages["crop"]["written_bytes"] >= sources > 0
    for stage in stages.values():
        assert stage["units"] == 9
        assert stage["read_bytes"] > 0
        total = stage["read_s"] + stage["compute_s"] + stage["write_s"]
        assert total == pytest.approx(stage["seconds"], abs=0.01)
    assert 0 < record["timings"]["busy_fraction"] <= 1


def test_every_unit_is_logged_as_one_json_document(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = chain(tmp_path / "log", Stub, stub={"behave": {"P1/A02": "refuse"}})
    with caplog.at_level(logging.INFO, logger="i2r.units"):
        run_here(pipeline, tmp_path / "e")
    logged = [json.loads(record.message) for record in caplog.records if record.name == "i2r.units"]
    assert len(logged) == 12
    (failed,) = [entry for entry in logged if entry["event"] == "failed"]
    assert (failed["stage"], failed["key"]) == ("stub", "P1/A02")
    assert "Write one" in failed["error"]


@pytest.mark.parametrize("title", ["segment", "crop-gfp", "screen_dna"])
def test_dasks_dashboard_shows_the_stages_by_name(title: str) -> None:
    """Its progress bars and its task stream are per prefix of the tasks' names."""
    assert key_split(f"{title}-12-P1/B03-attempt1") == title


def test_the_performance_report_of_dask_is_written_on_demand(tmp_path: Path) -> None:
    cluster = ClusterSpec(
        cpu=WorkerGroup(n_workers=1, memory_limit="1GiB"),
        gpu=WorkerGroup(n_workers=0),
        dashboard_address="127.0.0.1:0",
    )
    pipeline, url = chain(tmp_path / "log", Stub), tmp_path / "e"
    assert run_here(pipeline, url, cluster=cluster, performance_report=True).exit_code == 0
    assert "Duration" in (url / "runs" / "000001.html").read_text()
    # Without workers there is nothing to report, and no report.
    assert run_here(pipeline, tmp_path / "f", performance_report=True).exit_code == 0
    assert not (tmp_path / "f" / "runs" / "000001.html").exists()
