"""What stages say their units need is enough: compared with what these take on a worker process."""

import sys
from pathlib import Path

import pytest

from i2r.stages.base import list_own_verbs
from tests.benchmarks.estimates import describe_dense, measure_peaks

# Compared by ``python -m tests.benchmarks.estimates --pipeline pipelines/smoke.yaml``: trainings.
IN_BENCHMARK = {"train", "embed", "interactome", "genes", "map", "predict"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="of /proc")
def test_no_unit_takes_more_than_its_worker_is_asked_to_have(tmp_path: Path) -> None:
    # Kernels that no run has compiled yet are compiled by a worker of their own: LLVM keeps 220 MiB,
    # once, which no estimate counts.
    small = describe_dense(tmp_path / "small", wells=4, fields=2, edge=256, channels=2)
    measure_peaks(small, str(tmp_path / "first"))
    pipeline = describe_dense(tmp_path, wells=4, fields=2, edge=1536, channels=2)
    peaks = measure_peaks(pipeline, str(tmp_path / "e"))
    assert [str(peak) for peak in peaks if not peak.is_true] == []
    verbs = {stage.title: stage.stage for stage in pipeline.stages}
    measured = {verbs[peak.stage] for peak in peaks if peak.key != "*"}
    # A new stage is measured in one of both.
    assert measured | IN_BENCHMARK == set(list_own_verbs())
    assert {peak.stage for peak in peaks if peak.key == "*"} >= {"convert", "features", "screen"}
