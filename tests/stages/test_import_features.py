"""What others computed enters: tables of nuclei or wells begin a pipeline, or join its nuclei."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from i2r.errors import InputError
from i2r.formats.profile_tables import ROWS_PER_BATCH, open_profiles, read_batches
from i2r.pipeline.run import prepare
from i2r.pipeline.spec import Pipeline, parse_pipeline
from i2r.stages import imports
from i2r.stages.features import Features
from i2r.store.experiment import open_experiment
from i2r.testing import PlateFiles
from tests.conftest import run_here, short_pipeline
from tests.stages.imported import FEATURES, Written, average_wells, make_cells


def import_pipeline(table: Path, layout: Path, *more: dict[str, object] | str) -> Pipeline:
    first = {"stage": "features", "method": "import", "table": str(table), "layout": str(layout)}
    return parse_pipeline({"stages": [first, *more]}, where="test")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return make_cells(tmp_path_factory.mktemp("cells"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("small")
    return make_cells(folder, plates=2, active=(), n_conditions=4, n_controls=4)


FAST = {"stage": "screen", "method": "fast", "control_draws": 8}


def test_a_table_of_nuclei_is_screened_and_reported_without_an_image(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shuffled rows, written to their wells in several pieces, read in one pass."""
    monkeypatch.setattr(imports, "KEPT_BYTES", 40_000)
    monkeypatch.setattr("i2r.formats.profile_tables.ROWS_PER_BATCH", 500)
    passes = []
    monkeypatch.setattr(imports, "read_batches", lambda t: passes.append(1) or read_batches(t))
    table = tmp_path / "cells.parquet"
    written.cells.sample(frac=1, random_state=0).to_parquet(table)
    pipeline = import_pipeline(table, written.layout, FAST, "report")
    assert run_here(pipeline, tmp_path / "e").exit_code == 0
    assert len(passes) == 1
    experiment = open_experiment(str(tmp_path / "e"))
    ranking = experiment.table("screen")
    called = set(ranking.loc[ranking["impactful"], "condition"])
    # An FDR of 5 % allows a false call in one screen of ten where two are true.
    assert called >= {"G00", "G01"}
    assert len(called) <= 3
    assert ranking.loc[ranking["condition"] == "G00", "feature"].item() == FEATURES[0]
    features = experiment.table("features")
    assert len(features) == len(written.cells)
    assert [name for name in features if name in FEATURES] == list(FEATURES)
    assert features["ImageNumber" if "ImageNumber" in features else "label"].min() == 1
    own = features.query("plate == 'plate 2' and well == 'C03'").sort_values(["field", "label"])
    theirs = written.cells.query("Metadata_Plate == 'plate 2' and Metadata_Well == 'C3'")
    theirs = theirs.sort_values(["Metadata_Site", "Metadata_ObjectNumber"])
    np.testing.assert_array_equal(own[list(FEATURES)], theirs[list(FEATURES)])
    page = (tmp_path / "e" / "report.html").read_text()
    assert "could not be drawn" not in page
    assert "Ranking" in page
    assert not (tmp_path / "e" / "incoming").exists()
    assert run_here(pipeline, tmp_path / "e").ran == {}


def test_a_table_of_i2r_is_read_once_though_its_parts_lie_beside_it(tmp_path: Path) -> None:
    rows = pd.DataFrame({"plate": "P1", "well": ["A01", "A02"], "area": [1.0, 2.5]})
    (tmp_path / "features" / "P1").mkdir(parents=True)
    rows.to_parquet(tmp_path / "features" / "P1.parquet")
    for well, part in rows.groupby("well"):
        part.to_parquet(tmp_path / "features" / "P1" / f"{well}.parquet")
    table = open_profiles(str(tmp_path / "features"))
    assert [url.rpartition("/")[2] for url in table.urls] == ["P1.parquet"]
    assert sum(len(batch.values) for batch in read_batches(table)) == 2


def write_deepprofiler(cells: pd.DataFrame, folder: Path) -> None:
    """Write what DeepProfiler writes: a file per field, with a pickle that must stay shut."""
    for (plate, well, site), rows in cells.groupby(
        ["Metadata_Plate", "Metadata_Well", "Metadata_Site"]
    ):
        place = folder / str(plate) / str(well)
        place.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            place / f"{site}.npz", features=rows[list(FEATURES)].to_numpy(np.float32),
            locations=np.ones((len(rows), 2)), metadata=np.array({"Well": well}, dtype=object),
        )  # fmt: skip


def test_deepprofilers_files_are_a_table(small: Written, tmp_path: Path) -> None:
    folder = tmp_path / "features"
    write_deepprofiler(small.cells, folder)
    table = open_profiles(str(folder))
    assert len(table.columns.features) == len(FEATURES)
    assert set(table.columns.places) == {"plate", "well", "field", "x", "y"}
    batches = list(read_batches(table))
    assert sum(len(batch.values) for batch in batches) == len(small.cells)
    assert run_here(import_pipeline(folder, small.layout), tmp_path / "e").exit_code == 0
    found = open_experiment(str(tmp_path / "e")).table("features")
    assert len(found) == len(small.cells)
    own = found.query("plate == 'plate 1' and well == 'B02' and field == '1'")
    theirs = small.cells.query(
        "Metadata_Plate == 'plate 1' and Metadata_Well == 'B2' and Metadata_Site == 1"
    )
    np.testing.assert_array_equal(
        own[list(table.columns.features)].to_numpy(), theirs[list(FEATURES)].to_numpy()
    )


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"embedding": np.zeros((2, 3))}, r"no array 'features', found 'embedding'"),
        ({"features": np.zeros(3)}, r"of shape \(3,\)"),
        ({"features": np.array([{}], dtype=object)}, r"can't be read as \.npz"),
    ],
)
def test_other_arrays_are_one_line(
    arrays: dict[str, np.ndarray], problem: str, tmp_path: Path
) -> None:
    (tmp_path / "P1" / "A01").mkdir(parents=True)
    np.savez(tmp_path / "P1" / "A01" / "1.npz", **arrays)
    with pytest.raises(InputError, match=problem):
        open_profiles(str(tmp_path))


def test_profiles_of_wells_are_tested_and_have_no_score(written: Written, tmp_path: Path) -> None:
    table = tmp_path / "profiles.csv"
    average_wells(written.cells).to_csv(table, index=False)
    said: list[str] = []
    pipeline = import_pipeline(table, written.layout, FAST, "report")
    assert run_here(pipeline, tmp_path / "e", say=said.append).exit_code == 0
    assert any("one row per well" in line for line in said)
    experiment = open_experiment(str(tmp_path / "e"))
    ranking = experiment.table("screen")
    ranking = ranking[ranking["kind"] == "treated"]
    assert set(ranking["condition"].iloc[:2]) == {"G00", "G01"}
    assert ranking["p_value"].is_monotonic_increasing
    assert (ranking["fdr"].iloc[:2] < 0.05).all()
    assert ranking[["score", "ci_low", "ci_high"]].isna().all(axis=None)
    (note,) = (experiment.ledger.result("screen", "*") or {})["notes"]
    assert "one row each" in note
    assert "Metadata_Object_Count" not in experiment.table("features")
    page = (tmp_path / "e" / "report.html").read_text()
    assert "could not be drawn" not in page
    assert " nan" not in page


@pytest.mark.parametrize("ending", ["csv.gz", "tsv", "h5ad"])
def test_every_format_gives_the_same_features(
    ending: str, written: Written, tmp_path: Path
) -> None:
    cells, table = written.cells, tmp_path / f"cells.{ending}"
    if ending == "h5ad":
        write_h5ad(cells, table)
    else:
        cells.to_csv(table, index=False, sep="\t" if ending == "tsv" else ",")
    (batch,) = read_batches(open_profiles(str(table)))
    np.testing.assert_allclose(batch.values, cells[list(FEATURES)], rtol=1e-6)
    assert batch.places["plate"].tolist() == cells["Metadata_Plate"].tolist()
    assert batch.places["nucleus"].tolist() == cells["Metadata_ObjectNumber"].astype(str).tolist()
    assert batch.places["well"].str.fullmatch(r"[B-G]\d\d").all()


def write_h5ad(cells: pd.DataFrame, target: Path) -> None:
    """Write what anndata writes: categories, numbers, and sparse rows."""
    h5py = pytest.importorskip("h5py")
    from scipy.sparse import csr_matrix

    x = csr_matrix(cells[list(FEATURES)].to_numpy())
    with h5py.File(target, "w") as file:
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "shape": x.shape})
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(x, name)
        obs = file.create_group("obs")
        obs.attrs["_index"] = "_index"
        obs["_index"] = np.arange(len(cells)).astype("S")
        for name in ("Metadata_Well", "Metadata_Plate"):
            coded = pd.Categorical(cells[name])
            category = obs.create_group(name)
            category["codes"] = coded.codes
            category["categories"] = coded.categories.to_numpy(dtype="S")
        obs["Metadata_ObjectNumber"] = cells["Metadata_ObjectNumber"].to_numpy()
        var = file.create_group("var")
        var.attrs["_index"] = "_index"
        var["_index"] = np.array(FEATURES, dtype="S")


def test_a_folder_of_tables_is_one_table(written: Written, tmp_path: Path) -> None:
    for plate, rows in written.cells.groupby("Metadata_Plate"):
        rows.to_csv(tmp_path / f"{plate}.csv", index=False)
    table = open_profiles(str(tmp_path))
    assert sum(len(batch.values) for batch in read_batches(table)) == len(written.cells)
    rows.drop(columns=FEATURES[0]).to_csv(tmp_path / "z.csv", index=False)
    with pytest.raises(InputError, match=r"z\.csv: has other columns .*Nuclei_AreaShape_F0"):
        open_profiles(str(tmp_path))


def change_well(cells: pd.DataFrame) -> pd.DataFrame:
    return cells.assign(Metadata_Well=cells["Metadata_Well"].mask(cells.index == 5, "Z99"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cells: cells.drop(columns="Metadata_Well"), "no column for the well"),
        (lambda cells: cells.drop(columns=list(FEATURES)), "no column with features"),
        (lambda cells: cells.assign(Metadata_Plate="other"), "plate 'plate 1' has no row in"),
        (lambda cells: cells.drop(columns="Metadata_Plate"), "has 3 plates"),
        (change_well, "row 7, column 'Metadata_Well'"),
        (lambda cells: cells.iloc[:0], "no (rows|column with features)"),
    ],
)
def test_wrong_tables_are_refused_in_one_line_with_nothing_written(
    change: Callable[[pd.DataFrame], pd.DataFrame], message: str, written: Written, tmp_path: Path
) -> None:
    table = tmp_path / "cells.csv"
    change(written.cells).to_csv(table, index=False)
    with pytest.raises(InputError, match=message):
        prepare(import_pipeline(table, written.layout), str(tmp_path / "e"))
    assert not (tmp_path / "e").exists()


def test_text_far_down_in_a_feature_is_named_by_its_row(written: Written, tmp_path: Path) -> None:
    table = tmp_path / "cells.csv"
    many = pd.concat([written.cells] * 2, ignore_index=True)
    assert 2_000 < len(many) < ROWS_PER_BATCH
    many[FEATURES[2]] = many[FEATURES[2]].astype(object)
    many.loc[len(many) - 1, FEATURES[2]] = "n/k"
    many.to_csv(table, index=False)
    with pytest.raises(InputError, match=rf"row {len(many) + 1}, column '{FEATURES[2]}': 'n/k'"):
        list(read_batches(open_profiles(str(table))))


@pytest.mark.parametrize("first", [0, 1_000])
def test_a_column_that_numbers_rows_is_no_feature(
    first: int, small: Written, tmp_path: Path
) -> None:
    table = tmp_path / "cells.parquet"
    small.cells.assign(cell=np.arange(len(small.cells)) + first).to_parquet(table)
    with pytest.raises(InputError, match=r"column 'cell' rises by 1 .* Take it out"):
        run_here(import_pipeline(table, small.layout), tmp_path / "e")
    assert not (tmp_path / "e" / "incoming").exists()
    small.cells.assign(index=np.arange(len(small.cells))).to_parquet(table)
    assert run_here(import_pipeline(table, small.layout), tmp_path / "e").exit_code == 0


def test_a_column_that_describes_wells_is_no_feature(small: Written, tmp_path: Path) -> None:
    table, wells = tmp_path / "cells.parquet", pd.factorize(small.cells["Metadata_Well"])[0]
    small.cells.assign(cluster=wells * 3).to_parquet(table)
    with pytest.raises(InputError, match=r"'cluster' is the same for all nuclei .* 'Metadata_clus"):
        run_here(import_pipeline(table, small.layout), tmp_path / "e")
    ids = np.arange(len(small.cells)) * 7 + 3
    small.cells.assign(spot=ids).to_parquet(table)
    with pytest.raises(InputError, match=r"column 'spot' rises by 7 "):
        run_here(import_pipeline(table, small.layout), tmp_path / "e")
    small.cells.assign(**dict.fromkeys(FEATURES, 1.0)).to_parquet(table)
    with pytest.raises(InputError, match="columns of features holds one value in all rows"):
        run_here(import_pipeline(table, small.layout), tmp_path / "e")
    for factor, found in ((1e-40, "differ by less than 1e-18"), (1e200, "too large for single")):
        own = {FEATURES[0]: small.cells[FEATURES[0]].astype(float) * factor}
        small.cells.assign(**own).to_parquet(table)
        with pytest.raises(InputError, match=found):
            run_here(import_pipeline(table, small.layout), tmp_path / "e")
    told = {"well_number": wells, "Metadata_cluster": wells, "cell_id": ids, "timestamp": ids}
    small.cells.assign(**told, Nuclei_Const=1.0, Nuclei_None=np.nan).to_parquet(table)
    assert run_here(import_pipeline(table, small.layout), tmp_path / "e").exit_code == 0
    found = open_experiment(str(tmp_path / "e")).table("features")
    assert not set(told) & set(found)
    assert {"Nuclei_Const", "Nuclei_None"} <= set(found)


def test_wells_without_rows_and_rows_without_wells_are_counted(
    small: Written, tmp_path: Path
) -> None:
    cells = small.cells
    cells = cells[~((cells["Metadata_Plate"] == "plate 1") & (cells["Metadata_Well"] == "B2"))]
    extra = cells.iloc[:9].assign(Metadata_Well="H12")
    table = tmp_path / "cells.csv"
    pd.concat([cells, extra]).to_csv(table, index=False)
    said: list[str] = []
    run_here(import_pipeline(table, small.layout), tmp_path / "e", say=said.append)
    assert any("9 rows are left out, of 1 well not in the layout" in line for line in said), said
    assert any("1 well of the layout has no row" in line for line in said), said
    experiment = open_experiment(str(tmp_path / "e"))
    assert (experiment.ledger.result("features", "plate 1/B02") or {})["nuclei"] == 0
    assert len(experiment.table("features")) == len(cells)


def test_an_edited_table_is_imported_anew_and_options_of_measurements_change_nothing(
    small: Written, tmp_path: Path
) -> None:
    table = tmp_path / "cells.parquet"
    small.cells.to_parquet(table)
    pipeline = import_pipeline(table, small.layout)
    n_wells = run_here(pipeline, tmp_path / "e").ran["features"] - 1
    assert run_here(pipeline, tmp_path / "e").ran == {}
    changed = small.cells.assign(**{FEATURES[0]: 1.0})
    changed.to_parquet(table)
    assert run_here(pipeline, tmp_path / "e").ran["features"] == n_wells + 1
    assert (open_experiment(str(tmp_path / "e")).table("features")[FEATURES[0]] == 1).all()


def test_measurements_keep_their_fingerprints(cropped_original: Path) -> None:
    experiment = open_experiment(str(cropped_original))
    stage = Features(needs=("convert", "segment", "crop"))
    key = experiment.well_keys[0]
    settings = stage.model_dump(exclude=set(Features.not_fingerprinted) | {"name", "needs"})
    assert set(settings) == {"stage", "threads", "channels", "curvature_step_um", "radius_um", "texture_um"}  # fmt: skip
    assert stage.fingerprint_inputs(experiment, key)[-1] is None


@pytest.mark.parametrize("by", ["centroid", "number"])
def test_rows_join_the_nuclei_of_their_images(
    by: str, plate: PlateFiles, cropped_original: Path, tmp_path: Path
) -> None:
    """Found elsewhere a micron away, in another order; one nucleus lost, one that isn't there."""
    known = open_experiment(str(cropped_original)).table("segment")
    random = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "Metadata_Plate": known["plate"], "Metadata_Well": known["well"],
            "Metadata_Site": known["field"], "Nuclei_Intensity_Mean": known["label"] * 1.0,
        }
    )  # fmt: skip
    if by == "centroid":
        rows["Nuclei_Location_Center_X"] = known["centroid_x_px"] + random.uniform(-0.4, 0.4, len(known))  # fmt: skip
        rows["Nuclei_Location_Center_Y"] = known["centroid_y_px"] + random.uniform(-0.4, 0.4, len(known))  # fmt: skip
        rows.loc[1, "Nuclei_Location_Center_X"] = -50.0
    else:
        rows["Metadata_ObjectNumber"] = known["label"].mask(known.index == 1, 999)
    table = tmp_path / "cells.csv"
    rows.drop(index=3).sample(frac=1, random_state=1).to_csv(table, index=False)
    base = short_pipeline(plate)
    stage = {"stage": "features", "method": "import", "table": str(table), "max_distance_um": 1.0}
    pipeline = parse_pipeline({"stages": [*base.dump()["stages"][:-1], stage]}, where="test")
    assert run_here(pipeline, tmp_path / "e").exit_code == 0
    experiment = open_experiment(str(tmp_path / "e"))
    joined = experiment.table("features")
    assert len(joined) == len(known) - 2
    assert (joined["label"] == joined["Nuclei_Intensity_Mean"]).all()
    (note,) = (experiment.ledger.result("features", "*") or {})["notes"]
    assert "1 rows have none, 2 nuclei no row" in note


def test_embeddings_enter_as_features_do_with_their_profiles(
    small: Written, tmp_path: Path
) -> None:
    table = tmp_path / "cells.parquet"
    small.cells.to_parquet(table)
    stage = {"stage": "embed", "method": "import", "table": str(table), "layout": str(small.layout), "umap": False}  # fmt: skip
    pipeline = parse_pipeline({"stages": [stage, {"stage": "profiles"}, "report"]}, where="test")
    assert run_here(pipeline, tmp_path / "e").exit_code == 0
    experiment = open_experiment(str(tmp_path / "e"))
    opened = experiment.embeddings("embed")
    assert opened["embedding"].shape == (len(small.cells), len(FEATURES))
    plate, well = (str(opened[name].values[0]) for name in ("plate", "well"))
    theirs = small.cells[
        (small.cells["Metadata_Plate"] == plate)
        & (small.cells["Metadata_Well"] == f"{well[0]}{int(well[1:])}")
    ]
    np.testing.assert_array_equal(opened["embedding"].values[: len(theirs)], theirs[list(FEATURES)])
    assert (
        opened["label"].values[: len(theirs)].tolist() == theirs["Metadata_ObjectNumber"].tolist()
    )
    assert len(experiment.table("profiles")) == 16
    assert {"embed-reproducibility", "embed-clusters"} <= set(experiment.tables())
    assert "could not be drawn" not in (tmp_path / "e" / "report.html").read_text()
    assert not (tmp_path / "e" / "incoming").exists()
    assert run_here(pipeline, tmp_path / "e").ran == {}
