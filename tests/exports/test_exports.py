"""Results in the formats of other tools: equal values, whole files, nothing replaced unasked."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import networkx as nx
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import zarr

from i2r.errors import InputError
from i2r.exports import written_whole
from i2r.exports.h5ad import write_anndata
from i2r.exports.parquet import write_parquet
from i2r.exports.profiles import Profiles, choose_profiles
from i2r.store.arrays import write_embeddings
from i2r.store.experiment import Experiment, open_experiment
from i2r.store.ledger import LedgerWriter
from i2r.store.networks import write_network
from i2r.testing import PlateFiles, describe_pipeline
from tests.conftest import run_here, short_pipeline

Cli = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def measured(plate: PlateFiles, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """The plate with features and embeddings; one well has no nuclei."""
    from i2r.pipeline.spec import parse_pipeline

    url = tmp_path_factory.mktemp("measured") / "e"
    content = describe_pipeline(plate, screen=False)
    content["stages"].append({"stage": "features"})
    assert run_here(parse_pipeline(content, where="test"), url).exit_code == 0
    experiment = open_experiment(str(url))
    writer = LedgerWriter(experiment.ledger, 2)
    for key in experiment.well_keys:
        n_nuclei = len(experiment.plates["P1"].crops(key.partition("/")[2]))
        values = np.random.default_rng(len(key)).normal(size=(n_nuclei, 3)).astype(np.float32)
        write_embeddings(
            experiment.embeddings_url("embed", key), values, attributes={"crops": "crop"}
        )
        writer.write("embed", key, "done", "x", result={"nuclei": n_nuclei})
    writer.close()
    return open_experiment(str(url))


def stack(profiles: Profiles) -> tuple[pd.DataFrame, np.ndarray]:
    blocks = list(profiles.blocks())
    described = pd.concat([b.described for b in blocks], ignore_index=True)
    return described, np.concatenate([b.values for b in blocks])


def test_features_come_first_and_every_nucleus_once(measured: Experiment) -> None:
    profiles = choose_profiles(measured, None)
    assert (profiles.name, profiles.kind) == ("features", "features")
    assert not {"plate", "well", "field", "label", "crop"} & set(profiles.names)
    described, values = stack(profiles)
    table = measured.table("features")
    np.testing.assert_array_equal(values, table[profiles.names].to_numpy(np.float32))
    pd.testing.assert_frame_equal(described[["plate", "well", "field", "label"]],
                                  table[["plate", "well", "field", "label"]])  # fmt: skip
    layout = measured.layout.set_index("well")["perturbation"]
    assert described["perturbation"].tolist() == layout.loc[described["well"]].tolist()


def test_embeddings_are_in_the_crops_order(measured: Experiment) -> None:
    profiles = choose_profiles(measured, "embed")
    assert profiles.names == ["embedding_0", "embedding_1", "embedding_2"]
    described, values = stack(profiles)
    opened = measured.embeddings("embed")
    np.testing.assert_array_equal(values, opened["embedding"].to_numpy())
    assert described["label"].tolist() == opened["label"].to_numpy().tolist()


def test_stages_without_profiles_are_refused_with_those_that_have_some(
    measured: Experiment, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"'convert' has no features.*features, segment, embed"):
        Profiles(measured, "convert")
    with pytest.raises(InputError, match="'nothing' has no features"):
        Profiles(measured, "nothing")


# ------------------------------------------------------------------------------- pycytominer


def test_parquet_has_the_columns_that_pycytominer_knows(
    measured: Experiment, tmp_path: Path
) -> None:
    target = tmp_path / "profiles.parquet"
    profiles = Profiles(measured, "features")
    assert write_parquet(profiles, target) == len(measured.table("features"))
    frame = pd.read_parquet(target)
    features = [name for name in frame if not name.startswith("Metadata_")]
    # pycytominer infers features by these prefixes, and metadata by this one.
    assert all(name.startswith(("Cells_", "Nuclei_", "Cytoplasm_", "Image_")) for name in features)
    assert {"Metadata_Plate", "Metadata_Well", "Metadata_Site"} <= set(frame)
    assert frame[features].dtypes.eq("float32").all()
    medians = frame.groupby(["Metadata_Plate", "Metadata_Well"])[features].median()
    table = measured.table("features")
    expected = table.groupby(["plate", "well"])[profiles.names].median()
    np.testing.assert_allclose(medians.to_numpy(), expected.to_numpy(np.float32), rtol=1e-6)
    assert pq.ParquetFile(target).num_row_groups == 8


def test_pycytominer_aggregates_and_normalizes_it(measured: Experiment, tmp_path: Path) -> None:
    pycytominer = pytest.importorskip("pycytominer", reason="pycytominer allows no pandas 3")
    target = tmp_path / "profiles.parquet"
    profiles = Profiles(measured, "features")
    write_parquet(profiles, target)
    loaded = pycytominer.cyto_utils.load_profiles(str(target))
    assert len(pycytominer.cyto_utils.infer_cp_features(loaded)) == len(profiles.names)
    wells = pycytominer.aggregate(loaded, strata=["Metadata_Plate", "Metadata_Well"])
    assert len(wells) == measured.table("features")["well"].nunique()


def test_columns_of_the_layout_and_positions_are_in_every_export(
    measured: Experiment, tmp_path: Path
) -> None:
    layout = measured.layout.assign(batch="B1", label="mine", **{"cell/line": "U2OS"})
    opened = Experiment(measured.url, layout=layout)
    profiles = Profiles(opened, "features")
    write_anndata(profiles, tmp_path / "x.h5ad", unstructured={})
    write_parquet(profiles, tmp_path / "x.parquet")
    frame = pd.read_parquet(tmp_path / "x.parquet")
    segmented = opened.table("segment").set_index(["plate", "well", "field", "label"])
    size = next(iter(opened.plates.values())).pixel_size_um
    keys = pd.MultiIndex.from_frame(
        frame[["Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_ObjectNumber"]]
    )
    expected = segmented.loc[keys, ["centroid_x_px", "centroid_y_px"]].to_numpy() * size
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(frame[["Metadata_x_um", "Metadata_y_um"]], expected)
    assert set(frame["Metadata_batch"]) == {"B1"}
    with h5py.File(tmp_path / "x.h5ad") as file:
        np.testing.assert_allclose(file["obsm/spatial"][:], expected)
        obs = read_frame(file["obs"])
    assert set(obs["cell_line"]) == {"U2OS"}
    assert set(obs["layout_label"]) == {"mine"}
    assert obs["label"].tolist() == frame["Metadata_ObjectNumber"].tolist()


# ------------------------------------------------------------------------------- AnnData


def read_frame(group: h5py.Group) -> pd.DataFrame:
    """Read a table after the format's description, with nothing of ours."""
    assert group.attrs["encoding-type"] == "dataframe"
    columns = {}
    for name in group.attrs["column-order"]:
        node = group[name]
        if node.attrs["encoding-type"] == "categorical":
            categories = node["categories"].asstr()[:]
            columns[name] = categories[node["codes"][:]]
        else:
            columns[name] = node[:]
    index = group[group.attrs["_index"]].asstr()[:]
    return pd.DataFrame(columns, index=index)


def test_h5ad_holds_the_same_values(measured: Experiment, tmp_path: Path) -> None:
    target = tmp_path / "x.h5ad"
    profiles = Profiles(measured, "features")
    number = write_anndata(profiles, target, unstructured={"i2r_pipeline": {"seed": 0}})
    described, values = stack(profiles)
    with h5py.File(target) as file:
        assert file.attrs["encoding-type"] == "anndata"
        np.testing.assert_array_equal(file["X"][:], values)
        obs, var = read_frame(file["obs"]), read_frame(file["var"])
        assert json.loads(file["uns/i2r_pipeline"].asstr()[()]) == {"seed": 0}
        assert {"layers", "obsm", "obsp", "varm", "varp", "uns"} <= set(file)
    assert len(obs) == number == len(values)
    assert var.index.tolist() == profiles.names
    assert obs.index.is_unique
    assert obs.index[0] == "P1/A01/1/1"
    for column in ("plate", "well", "field", "perturbation", "role"):
        assert obs[column].tolist() == described[column].astype(str).tolist()
    assert obs["label"].tolist() == described["label"].tolist()


def test_the_zarr_store_holds_what_the_file_holds(measured: Experiment, tmp_path: Path) -> None:
    profiles = Profiles(measured, "features")
    for name in ("x.h5ad", "x.zarr", "x.zarr"):  # the second time it is replaced
        write_anndata(profiles, tmp_path / name, unstructured={"i2r_stage": "features"})
    store = zarr.open_group(tmp_path / "x.zarr", mode="r")
    with h5py.File(tmp_path / "x.h5ad") as file:
        compared: list[str] = []

        def compare(name: str, node: h5py.Group | h5py.Dataset) -> None:
            other = store[name]
            for key, value in node.attrs.items():
                found = other.attrs[key]
                assert (list(value) == found) if isinstance(found, list) else (value == found), name
            if isinstance(node, h5py.Dataset):
                is_text = h5py.check_string_dtype(node.dtype) is not None
                np.testing.assert_array_equal(other[...], (node.asstr() if is_text else node)[()])
                compared.append(name)

        file.visititems(compare)
        assert store.attrs["encoding-type"] == file.attrs["encoding-type"] == "anndata"
        assert set(store) == set(file)
    assert {"X", "obs/_index", "obs/role/codes", "var/_index", "uns/i2r_stage"} <= set(compared)


def test_no_folder_but_an_anndata_is_replaced(measured: Experiment, tmp_path: Path) -> None:
    kept = tmp_path / "mine.zarr"
    kept.mkdir()
    (kept / "notes.txt").write_text("mine")
    for target in (kept, tmp_path):
        with pytest.raises(InputError, match="a folder that is no AnnData"):
            write_anndata(Profiles(measured, "features"), target, unstructured={})
    assert (kept / "notes.txt").read_text() == "mine"


def test_anndata_reads_it_back(measured: Experiment, tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata", reason="anndata allows no pandas 3; CI has pandas 3")
    profiles = Profiles(measured, "features")
    write_anndata(profiles, tmp_path / "x.h5ad", unstructured={})
    opened = anndata.read_h5ad(tmp_path / "x.h5ad")
    assert opened.shape == (len(measured.table("features")), len(profiles.names))
    write_anndata(profiles, tmp_path / "x.zarr", unstructured={})
    assert (anndata.read_zarr(tmp_path / "x.zarr").X == opened.X).all()


def test_scanpy_plots_it(measured: Experiment, tmp_path: Path) -> None:
    scanpy = pytest.importorskip("scanpy", reason="scanpy needs anndata, which allows no pandas 3")
    write_anndata(Profiles(measured, "features"), tmp_path / "x.h5ad", unstructured={})
    opened = scanpy.read_h5ad(tmp_path / "x.h5ad")
    scanpy.pp.scale(opened)
    scanpy.pp.pca(opened, n_comps=2)
    axes = scanpy.pl.pca(opened, color="perturbation", show=False)
    assert axes.get_legend() is not None


# ------------------------------------------------------------------------------- whole or not at all


def test_a_file_is_whole_or_what_it_was(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_text("before")
    with pytest.raises(ZeroDivisionError), written_whole(target) as partial:
        partial.write_text(str(1 / 0))
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert target.read_text() == "before"
    with written_whole(target) as partial:
        partial.write_text("after")
    assert target.read_text() == "after"


@pytest.mark.parametrize(
    "write", [write_parquet, lambda p, t: write_anndata(p, t, unstructured={})]
)
def test_no_nuclei_at_all(
    write: Callable[..., int], own_plate: Callable[..., PlateFiles], tmp_path: Path
) -> None:
    plate = own_plate(wells=2, fields=1)
    run_here(short_pipeline(plate, crop={"min_area_um2": 1700.0}), tmp_path / "e")
    experiment = open_experiment(str(tmp_path / "e"))
    profiles = Profiles(experiment, "segment")
    profiles.blocks = lambda: iter(())  # type: ignore[method-assign]
    with pytest.raises(InputError, match="no nuclei to write"):
        write(profiles, tmp_path / "x")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((".x", "x"))]


# ------------------------------------------------------------------------------- the command


@pytest.mark.parametrize(("kind", "says"), [("h5ad", "nuclei"), ("parquet", "nuclei")])
def test_the_command_asks_before_it_replaces(
    kind: str, says: str, cli: Cli, measured: Experiment, tmp_path: Path
) -> None:
    target = tmp_path / f"out.{kind}"
    code, said = cli("export", measured.url, "--format", kind, "-o", target)
    assert code == 0, said
    assert says in said
    assert "features of the stage 'features'" in said
    before = target.read_bytes()
    code, said = cli("export", measured.url, "--format", kind, "-o", target, "--name", "embed")
    assert (code, "exists and will be replaced. Give --yes" in said) == (2, True)
    assert target.read_bytes() == before
    code, said = cli(
        "export", measured.url, "--format", kind, "-o", target, "--name", "embed", "--yes"
    )
    assert code == 0, said
    assert target.read_bytes() != before


def test_tables_as_csv(cli: Cli, measured: Experiment, tmp_path: Path) -> None:
    code, said = cli("export", measured.url, "--format", "csv", "-o", tmp_path / "all")
    assert code == 0, said
    names = {path.stem for path in (tmp_path / "all").iterdir()}
    assert names == {*measured.tables(), "layout"}
    assert len(pd.read_csv(tmp_path / "all" / "crop.csv")) == len(measured.table("crop"))
    code, _ = cli("export", measured.url, "--format", "csv", "-o", tmp_path / "all")
    assert code == 2, "every file of the folder would be replaced"
    target = tmp_path / "crop.csv"
    assert cli("export", measured.url, "--format", "csv", "-o", target, "--name", "crop")[0] == 0
    assert target.read_bytes() == (tmp_path / "all" / "crop.csv").read_bytes()


def test_networks_as_graphml(cli: Cli, cropped: Path, tmp_path: Path) -> None:
    target = tmp_path / "net.graphml"
    code, said = cli("export", cropped, "--format", "graphml", "-o", target)
    assert (code, "there are the networks none yet" in said) == (2, True)
    graph = nx.Graph()
    graph.add_node("A", prize=1.0, terminal=True)
    graph.add_node("B", prize=0.0, terminal=False)
    graph.add_edge("A", "B", cost=0.5)
    write_network(open_experiment(str(cropped)).network_url("interactome"), graph)
    code, said = cli("export", cropped, "--format", "graphml", "-o", target)
    assert code == 0, said
    assert "2 genes, 1 interactions" in said
    read = nx.read_graphml(target)
    assert read.nodes["A"]["prize"] == 1.0
    assert read.edges["A", "B"]["cost"] == 0.5


def test_there_must_be_a_folder_to_write_in(cli: Cli, cropped: Path, tmp_path: Path) -> None:
    code, said = cli("export", cropped, "--format", "csv", "-o", tmp_path / "no" / "x")
    assert (code, "Make it first" in said) == (2, True)


def test_a_table_that_is_not_complete_is_left_out_and_named(
    cli: Cli, screened: Path, tmp_path: Path
) -> None:
    writer = LedgerWriter(open_experiment(str(screened)).ledger, 2)
    writer.write("screen", "active/0", "done", "x")
    writer.close()
    code, output = cli("export", str(screened), "--format", "csv", "-o", str(tmp_path / "t"))
    assert code == 0
    assert "not complete, left out: screen" in output
    names = {path.stem for path in (tmp_path / "t").iterdir()}
    assert {"layout", "segment"} <= names
    assert "screen" not in names


def test_csv_is_written_part_by_part(measured: Experiment, cli: Cli, tmp_path: Path) -> None:
    """Also of a stage that is not complete, whose table is still in parts."""
    target = tmp_path / "features.csv"
    for name in ("features", "segment", "layout"):
        code, said = cli(
            "export", measured.url, "--format", "csv", "-o", str(target), "--name", name, "--yes"
        )
        assert code == 0, said
        whole = measured.layout if name == "layout" else measured.table(name)
        assert target.read_text() == whole.to_csv(index=False)
