"""The record of a run: the same pipeline can be made of it, on what it ran is in it."""

import json
import sys
from importlib.metadata import version

from i2r.pipeline.executors import InProcess
from i2r.pipeline.records import PACKAGES, describe_run, find_version
from i2r.pipeline.spec import parse_pipeline
from i2r.testing import PlateFiles
from tests.conftest import short_pipeline


def test_a_record_is_enough_to_run_the_same_again(plate: PlateFiles) -> None:
    pipeline = short_pipeline(plate, crop={"size_px": 32})
    record = json.loads(json.dumps(describe_run(pipeline, InProcess(), run=7, command="i2r run")))
    assert (record["run"], record["command"]) == (7, "i2r run")
    assert parse_pipeline(record["pipeline"], where="record").dump() == pipeline.dump()
    assert set(record["stage_versions"]) == {stage.title for stage in pipeline.stages}
    assert set(record["versions"]) == set(PACKAGES)
    assert record["versions"]["numpy"] == version("numpy")
    assert record["python"] == sys.version.split()[0]
    assert record["cluster"] == {"type": "none"}


def test_what_is_not_installed_has_no_version() -> None:
    assert find_version("no-such-package-of-anyone") == ""
