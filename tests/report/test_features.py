"""The section on features: names, what moved and by how much, and what is left out."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from i2r.report import distributions, feature_profiles
from i2r.report.distributions import read_relative
from i2r.report.feature_profiles import read_feature_profiles
from i2r.report.sections import features
from i2r.report.source import ReportSource
from i2r.store import files
from i2r.store.experiment import Experiment
from i2r.store.ledger import LedgerWriter
from tests.stages.profiled import NAMES, lay_out, screen_features, write_features

GENES = [f"G{number:02d}" for number in range(8)]


def shift(name: str, values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values[:, 1] += 1.5 * (name == "G00")
    return values


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    random = np.random.default_rng(0)
    names = ["<i>" if name == "G07" else name for name in GENES]
    contents = {f"P{n}": random.permutation([*names, *["ctrl"] * 6]).tolist() for n in (1, 2, 3)}
    return write_features(tmp_path_factory.mktemp("features"), lay_out(contents), change=shift)


def with_screen(experiment: Experiment, folder: Path) -> Experiment:
    """Screen a copy of the experiment, as a run would record it."""
    import shutil

    copy = folder / "screened"
    shutil.copytree(experiment.url.removeprefix("file://"), copy)
    opened = Experiment(str(copy))
    screen_features(opened)
    writer = LedgerWriter(opened.ledger, 2)
    writer.write("screen", "all", "done", "x")
    writer.write("screen", "*", "done", "x")
    writer.close()
    stages = [
        {"stage": "features", "needs": []},
        {"stage": "screen", "method": "fast", "needs": ["features"]},
    ]
    record = {"run": 2, "pipeline": {"stages": stages}}
    files.write_bytes(opened.path("runs", "000002.json"), json.dumps(record).encode())
    return Experiment(str(copy))


def test_without_a_screen_features_are_ranked_by_their_change(experiment: Experiment) -> None:
    source = ReportSource(experiment, ["features"])
    stage = source.stages_of("features")[0]
    profiles = read_feature_profiles(source, stage)
    assert profiles is not None
    assert profiles.names == list(NAMES)
    assert profiles.order[0] == "G00"
    assert profiles.list_moved("G00")[0].feature == "texture"
    body = features.draw(source)
    assert body is not None
    assert "texture" in body
    assert "<i>" not in body
    assert "&lt;i&gt;" in body
    assert "Plate against plate" in body


def test_with_a_screen_its_changes_and_intervals_are_shown(
    experiment: Experiment, tmp_path: Path
) -> None:
    source = ReportSource(with_screen(experiment, tmp_path), ["features", "screen"])
    stage = source.stages_of("features")[0]
    profiles = read_feature_profiles(source, stage)
    assert profiles is not None
    assert profiles.screen is not None
    assert profiles.order[0] == "G00"
    moved = profiles.list_moved("G00")[0]
    told = source.reduced_table("screen", "screen-features")
    assert told is not None
    first = told[(told["condition"] == "G00") & (told["place"] == 1)].iloc[0]
    assert moved.feature == first["feature"] == "texture"
    assert (moved.change, moved.low, moved.high) == (first["change"], first["low"], first["high"])
    body = features.draw(source)
    assert body is not None
    assert re.search(r"first 6 conditions by p-value in (&#39;|')screen", body)


def test_nuclei_are_relative_to_the_controls_of_their_plates(experiment: Experiment) -> None:
    source = ReportSource(experiment, ["features"])
    stage = source.stages_of("features")[0]
    wells = source.wells
    found = read_relative(source, stage, wells.index[wells["condition"] == "G00"].tolist())
    assert found is not None
    assert (found.n_wells, found.n_control_wells) == (3, 18)
    assert found.controls.mean(axis=0) == pytest.approx(0, abs=0.02)
    assert found.nuclei[:, 1].mean() == pytest.approx(1.5, abs=0.25)
    # A control well is compared with the others, never with itself.
    controls = wells.index[(wells["role"] == "negative_control") & (wells["plate"] == "P1")]
    alone = read_relative(source, stage, [controls[0]])
    assert alone is not None
    assert alone.n_control_wells == 5


def test_of_a_large_well_some_nuclei_are_drawn(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributions, "MOST_NUCLEI", 10)
    source = ReportSource(experiment, ["features"])
    keys = source.wells.index[source.wells["condition"] == "G00"].tolist()
    found = read_relative(source, source.stages_of("features")[0], keys)
    assert found is not None
    assert (len(found.nuclei), len(found.controls)) == (30, 180)


def test_what_is_not_read_is_said(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_profiles, "MOST_WELLS", 25)
    source = ReportSource(experiment, ["features"])
    body = features.draw(source)
    assert body is not None
    assert "6 conditions more are not in its figures" in body


def test_without_controls_or_features_there_is_no_section(tmp_path: Path) -> None:
    layout = lay_out({"P1": ["G00", "G01"]})
    assert features.draw(ReportSource(write_features(tmp_path, layout), ["features"])) is None
    empty = ReportSource(Experiment(str(tmp_path), layout=layout, sources=pd.DataFrame()), [])
    assert features.draw(empty) is None
