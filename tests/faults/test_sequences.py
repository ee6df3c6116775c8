"""Random sequences of signals and changed options: one per ten of ``I2R_FAULTS``, one in CI."""

from pathlib import Path

import pytest

from tests.faults.sequences import (
    Setup,
    list_done,
    list_wasted,
    make_setup,
    read_ledger,
    run_sequence,
)
from tests.pipeline.test_faults import FAULTS

SEQUENCES = -(-FAULTS // 10)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    return make_setup(tmp_path_factory.mktemp("sequences"), wells=6, screen=False)


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_a_sequence_ends_as_if_nothing_had_happened(
    seed: int, setup: Setup, tmp_path: Path
) -> None:
    assert run_sequence(setup, tmp_path / "e", seed).problems == []


def test_what_the_harness_calls_wasted(cropped: Path) -> None:
    """On a ledger by hand: only what was done with the same fingerprint, and not lost since."""

    def event(kind: str, key: str, fingerprint: str) -> dict[str, str]:
        return {"stage": "crop", "key": key, "event": kind, "fingerprint": fingerprint}

    before = {("crop", "a"): "1", ("crop", "b"): "1", ("crop", "c"): "1"}
    events = [
        event("start", "a", "1"), event("start", "b", "2"), event("lost", "c", "1"),
        event("start", "c", "1"), event("done", "d", "1"), event("start", "d", "1"),
    ]  # fmt: skip
    assert list_wasted(before, iter(events)) == ["crop/a", "crop/d"]
    assert ("crop", "P1/A01") in list_done(read_ledger(cropped))
