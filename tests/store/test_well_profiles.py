"""Profiles of wells, conditions and genes: on the controls' scale, and read by others."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from i2r.cli.group import i2r
from i2r.errors import InputError
from i2r.formats.profile_tables import open_profiles, read_batches
from i2r.kernels.normalisation import normalise_wells
from i2r.store import tables
from i2r.store.experiment import Experiment
from i2r.store.ledger import LedgerWriter
from tests.conftest import run_here
from tests.stages.imported import make_cells
from tests.stages.profiled import NAMES, lay_out, write_features
from tests.stages.test_import_features import import_pipeline

CONTENTS = {p: ["a", "b", "b", *["ctrl"] * 8] for p in ("P1", "P2", "P3")}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    layout = lay_out(CONTENTS)
    layout.loc[layout["perturbation"] == "b", "gene"] = "tp53"
    return write_features(tmp_path_factory.mktemp("profiles"), layout, n_nuclei={"a": 0})


@pytest.mark.parametrize("method", ["standardise", "robust", "sphering"])
def test_controls_of_every_plate_are_the_unit(method: str) -> None:
    random = np.random.default_rng(0)
    plates = np.repeat([0, 1], 40)
    values = random.standard_normal((80, 5)) @ random.standard_normal((5, 5))
    values = values * np.where(plates, 3, 1)[:, None] + 10 * plates[:, None]
    values[:, 4] = 2.0
    control = np.arange(80) % 2 == 0
    found = normalise_wells(values, plates, control, method)  # type: ignore[arg-type]
    middle, spread = (np.median, lambda v, axis: 1.4826 * np.median(np.abs(v), axis)) if method == "robust" else (np.mean, np.std)  # fmt: skip
    for plate in (0, 1):
        own = found[(plates == plate) & control][:, :4]
        np.testing.assert_allclose(middle(own, axis=0), 0, atol=1e-9)
        if method != "sphering":
            np.testing.assert_allclose(spread(own, axis=0), 1, rtol=0.03)
    assert (found[:, 4] == 0).all()
    if method == "sphering":
        covariance = np.cov(found[control][:, :4].T)
        off = covariance - np.diag(covariance.diagonal())
        assert np.abs(off).max() < 0.2 < covariance.diagonal().min()


def test_a_plate_with_one_control_has_no_scale() -> None:
    found = normalise_wells(np.ones((3, 2)), ["a", "a", "a"], [True, False, False], "standardise")
    assert np.isnan(found).all()


def test_wells_conditions_and_genes(experiment: Experiment) -> None:
    wells = experiment.profiles()
    assert len(wells) == 30, "wells without nuclei are left out"
    assert list(wells.columns[-4:]) == list(NAMES)
    controls = wells[wells["role"] == "negative_control"].groupby("plate")[list(NAMES)]
    np.testing.assert_allclose(controls.mean(), 0, atol=1e-5)
    np.testing.assert_allclose(controls.std(), 1, rtol=1e-4)
    rows = experiment.profiles("condition").set_index("condition")
    assert rows.loc["b", ["n_wells", "n_nuclei"]].tolist() == [6, 240]
    own = wells.loc[wells["condition"] == "b", list(NAMES)].mean()
    np.testing.assert_allclose(rows.loc["b", list(NAMES)].astype(float), own, rtol=1e-5)
    genes = experiment.profiles("gene")
    assert genes["gene"].tolist() == ["TP53"]
    raw = experiment.profiles(normalise="none")
    key = raw.loc[0, "plate"] + "/" + raw.loc[0, "well"]
    first = tables.read_table(experiment.part_url("features", key))[list(NAMES)].mean()
    np.testing.assert_allclose(raw.loc[0, list(NAMES)].astype(float), first, rtol=1e-5)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    layout = lay_out(CONTENTS)
    experiment = Experiment(str(tmp_path), layout=layout, sources=pd.DataFrame())
    with pytest.raises(InputError, match="no features and no embeddings yet"):
        experiment.profiles()
    writer = LedgerWriter(experiment.ledger, 1)
    writer.write("crop", "P1/A01", "done", "x", result={})
    writer.close()
    with pytest.raises(InputError, match="'crop' has no features or embeddings of P1/A01"):
        Experiment(str(tmp_path), layout=layout).profiles(source="crop")


def test_the_stage_and_the_export_are_read_back_by_others(tmp_path: Path) -> None:
    written = make_cells(tmp_path, plates=2, n_conditions=4, n_controls=4)
    written.cells.to_parquet(tmp_path / "cells.parquet")
    stage = {"stage": "profiles", "by": "condition", "normalise": "robust"}
    pipeline = import_pipeline(tmp_path / "cells.parquet", written.layout, stage)
    assert run_here(pipeline, tmp_path / "e").exit_code == 0
    experiment = Experiment(str(tmp_path / "e"))
    expected = experiment.profiles("condition", normalise="robust")
    pd.testing.assert_frame_equal(experiment.table("profiles"), expected)
    target = tmp_path / "wells.parquet"
    arguments = ["export", str(tmp_path / "e"), "--format", "profiles", "-o", str(target)]
    result = CliRunner().invoke(i2r, arguments)
    assert result.exit_code == 0, result.output
    assert "16 wells" in result.output
    columns = pd.read_parquet(target).columns
    assert {"Metadata_Plate", "Metadata_Well", "Metadata_Object_Count"} <= set(columns)
    assert all(name.startswith(("Metadata_", "Nuclei_")) for name in columns)
    (batch,) = read_batches(open_profiles(str(target)))
    np.testing.assert_allclose(batch.values, experiment.profiles().iloc[:, -8:], rtol=1e-6)
    assert batch.places["count"].sum() == len(written.cells)
