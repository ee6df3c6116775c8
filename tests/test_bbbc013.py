"""The whole chain on a real plate: GFP finds the high doses, DNA finds nothing, chance is 0.5."""

import os
from pathlib import Path

import pytest

from tests.benchmarks.bbbc013 import compare, screen_plate


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_gfp_finds_high_doses_and_dna_finds_nothing(tmp_path: Path) -> None:
    root = os.environ.get("I2R_DATA")
    if root is None:
        pytest.skip("I2R_DATA does not name the folder of the shared real data")
    table, figures = compare(screen_plate(Path(root) / "bbbc013_u2os_plate", tmp_path))
    print(table.round(3).to_string(index=False))
    print(figures)
    assert len(table) == 20
    assert figures["gfp_high_doses"] >= 0.90
    assert figures["dna_highest"] <= 0.65
    assert figures["gfp_minus_dna"] >= 0.25
    for channel in ("gfp", "dna"):
        assert figures[f"{channel}_draws"] >= 20
        assert figures[f"{channel}_draws_mean"] == pytest.approx(0.5, abs=0.04)
