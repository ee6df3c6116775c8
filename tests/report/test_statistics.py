"""Medians of what stages without a section measured: never of more wells than memory has room for."""

from pathlib import Path

import pytest

from i2r.report.sections import statistics
from i2r.report.source import ReportSource
from tests.stages.profiled import lay_out, write_features


def test_of_many_wells_some_of_every_role_and_plate_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = lay_out({f"P{n}": ["G0", "G1", "G2", "G3", "ctrl", "ctrl"] for n in range(4)})
    source = ReportSource(write_features(tmp_path, layout), ["features"])
    (stage,) = source.stages
    whole = statistics._read(source, stage)
    assert whole is not None
    assert len(whole) == 24 * 40
    said = statistics.draw(source)
    assert said is not None
    assert "area_um2" in said
    monkeypatch.setattr(source, "table", lambda *_: pytest.fail("read whole"))
    monkeypatch.setattr(statistics, "MOST_NUCLEI", 10)
    thinned = statistics._read(source, stage)
    assert thinned is not None
    assert (thinned.groupby(["plate", "well"]).size() == 10).all()
    monkeypatch.setattr(statistics, "MAX_WELLS", 8)
    some = statistics._read(source, stage)
    assert some is not None
    wells = some[["plate", "well"]].drop_duplicates()
    assert len(wells) <= 8
    assert wells["plate"].nunique() == 4
    assert {"A05", "A06"} & set(wells["well"]), "controls"
    assert {"A01", "A02", "A03", "A04"} & set(wells["well"])
    assert statistics.draw(source) is not None
