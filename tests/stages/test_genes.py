"""Gene embeddings as a stage: every method, its tables, and one line for what can't be embedded."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from i2r.cluster import ClusterSpec, WorkerGroup
from i2r.errors import I2RError, InputError
from i2r.models import gae_settings
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.spec import parse_pipeline
from i2r.stages.genes import Genes
from i2r.store.experiment import Experiment, open_experiment
from i2r.store.networks import read_network, write_network
from i2r.testing import digest_experiment

SIZES = [12, 12, 12]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a network of three modules, with features, labels and gene sets that follow them."""
    folder = tmp_path_factory.mktemp("genes")
    graph = nx.random_partition_graph(SIZES, 0.5, 0.02, seed=3)
    graph = nx.relabel_nodes(graph, {i: f"G{i:02d}" for i in graph})
    nx.set_node_attributes(graph, {n: {"prize": 1.0, "terminal": False} for n in graph})
    nx.set_edge_attributes(graph, 0.5, "cost")
    graph.graph.clear()
    for node in graph:
        graph.nodes[node].pop("block")
    write_network(str(folder / "network.graphml"), graph)
    genes = sorted(graph)
    module = np.repeat(np.arange(3), SIZES)
    random = np.random.default_rng(0)
    numbers = random.standard_normal((36, 8)) + 3 * np.eye(8)[module]
    vectors = pd.DataFrame(numbers, columns=[f"c{i}" for i in range(8)])
    vectors.insert(0, "gene", genes)
    vectors.to_csv(folder / "vectors.csv", index=False)
    labels = pd.DataFrame({"gene": genes[::3], "label": module[::3]})
    labels.to_csv(folder / "labels.csv", index=False)
    lines = [
        f"M{m}\tx\t" + "\t".join(genes[i] for i in np.nonzero(module == m)[0]) for m in range(3)
    ]
    (folder / "modules.gmt").write_text("\r\n".join(lines))
    return folder


def run(folder: Path, target: Path, **options: Any) -> Experiment:
    stage = {"stage": "genes", "network": str(folder / "network.graphml"), **options}
    summary = run_pipeline(
        parse_pipeline({"stages": [stage]}, where="test"), str(target),
        cluster=ClusterSpec(type="none"), style="none",
    )  # fmt: skip
    experiment = open_experiment(str(target))
    errors = [e.error for e in experiment.ledger.entries() if e.error]
    assert summary.exit_code == 0, errors
    return experiment


def test_embeddings_find_modules_and_every_table_is_written(files: Path, tmp_path: Path) -> None:
    experiment = run(
        files, tmp_path / "e", seeds=3, clusters=3, features=str(files / "vectors.csv"),
        gene_sets=[str(files / "modules.gmt")],
    )  # fmt: skip
    table = experiment.table("genes")
    rows = table.filter(like="e").drop(columns="gene", errors="ignore").to_numpy()
    assert table["gene"].tolist() == [f"G{i:02d}" for i in range(36)]
    assert rows.shape == (36, 96)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    clusters = experiment.table("genes-clusters")
    assert (
        pd.crosstab(clusters["cluster"], clusters["gene"].str[1:].astype(int) // 12)
        .max(axis=1)
        .sum()
        >= 34
    )
    enrichment = experiment.table("genes-enrichment")
    assert (enrichment.groupby("cluster")["fdr"].min() < 1e-3).all()
    assert set(enrichment["universe"]) == {36}
    stability = experiment.table("genes-stability")
    assert len(stability) == 3
    assert stability["ari"].min() > 0.5
    quality = experiment.table("genes-quality")
    assert set(quality["method"]) == {"autoencoder", "spectral", "node2vec"}
    assert quality.loc[quality["method"] == "autoencoder", "auc"].mean() > 0.7
    curves = experiment.table("genes-curves")
    assert curves.loc[curves["chosen"], "k"].tolist() == [3]
    training = experiment.table("genes-training")
    assert len(training)
    # Links alone have a loss here: no labels, and features have no weight.
    np.testing.assert_allclose(training["training_links"], training["training"], rtol=1e-6)
    assert not training["training_labels"].any()
    neighbours = experiment.table("genes-neighbours")
    assert set(neighbours["universe"]) <= {35}
    assert experiment.table("genes-agreement")["ami"].max() > 0.5
    # The network is a file of the user's: nothing is known of what it was chosen from.
    assert not len(experiment.table("genes-background"))
    assert not len(experiment.table("genes-heldout"))


@pytest.mark.parametrize("source", ["file", "clusters"])
def test_labels_make_an_embedding_without_each_of_them(
    files: Path, tmp_path: Path, source: str
) -> None:
    names = {"file": "labels.csv", "clusters": "vectors.csv"}
    experiment = run(
        files, tmp_path / "e", seeds=1, labels=source, label_source=str(files / names[source]),
        label_clusters=3,
    )  # fmt: skip
    held_out = experiment.table("genes-heldout")
    labelled = 12 if source == "file" else 36
    assert held_out["held_out"].nunique() == labelled
    assert len(held_out) == 36 * labelled
    genes = experiment.table("genes")
    one = held_out[held_out["held_out"] == "G00"].drop(columns="held_out").reset_index(drop=True)
    assert not np.allclose(one.drop(columns="gene"), genes.drop(columns="gene"), atol=1e-3)


def test_published_settings_leave_genes_out_in_units_of_their_own(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(gae_settings.PUBLISHED, hidden=8, latent=8, epochs=20, learning_rate=0.01)
    monkeypatch.setattr(gae_settings, "PUBLISHED", few)
    labels = pd.read_csv(files / "labels.csv").iloc[:4]
    pd.concat([labels, pd.DataFrame({"gene": ["ELSE"], "label": [1]})]).to_csv(
        tmp_path / "l.csv", index=False
    )
    options = {"settings": "published", "labels": "file", "label_source": str(tmp_path / "l.csv")}
    experiment = run(files, tmp_path / "e", seeds=2, **options)
    keys = experiment.ledger.done_keys("genes")
    assert len(keys) == 2 * (1 + 4 + 1)
    assert "seed-1/without-ELSE" in keys
    held_out = experiment.table("genes-heldout")
    assert held_out["held_out"].value_counts().to_dict() == dict.fromkeys(labels["gene"], 36)
    quality = experiment.table("genes-quality")
    assert (quality["method"] == "spectral").sum() == 2
    assert (quality["method"] == "autoencoder").sum() == 2 * 5
    assert len(experiment.table("genes")) == 36
    # One that is lost is not replaced by an embedding that saw the label.
    monkeypatch.setattr(Genes, "keys", lambda *_: [*keys, "seed-1/without-G99"])
    with pytest.raises(I2RError, match="1 of 13 embeddings are not done"):
        Genes(**options, network=str(files / "network.graphml")).finish(experiment, sorted(keys))


def test_labels_that_stay_as_published_leak_and_give_no_p_values(
    files: Path, tmp_path: Path
) -> None:
    labels = pd.read_csv(files / "labels.csv").rename(columns={"label": "labels"})
    labels.set_index("gene").rename_axis(None).to_csv(tmp_path / "published.csv")
    common = {"network": str(files / "network.graphml"), "seeds": 1}
    stages = [
        {"stage": "genes", **common, "labels": "file", "held_out_labels": "published",
         "label_source": str(tmp_path / "published.csv")},
        {"stage": "map", "signatures": str(files / "vectors.csv"), "permutations": 19},
    ]  # fmt: skip
    summary = run_pipeline(
        parse_pipeline({"stages": stages}, where="test"), str(tmp_path / "e"),
        cluster=ClusterSpec(type="none"), style="none",
    )  # fmt: skip
    assert summary.exit_code == 0
    experiment = open_experiment(str(tmp_path / "e"))
    assert not len(experiment.table("genes-heldout"))
    assert (experiment.table("genes-genes")["label"] >= 0).sum() == 12
    scores = experiment.table("map-scores")
    assert set(scores["labels_of_genes"]) == {
        "seen by the embeddings that a gene is ranked in (as published)"
    }
    assert scores[["p_permutation", "p_chance"]].isna().all(axis=None)


def test_embeddings_made_without_genes_are_imported_as_they_are(
    files: Path, tmp_path: Path
) -> None:
    vectors = pd.read_csv(files / "vectors.csv")
    parts = [vectors.assign(held_out=name) for name in ("", "G00", "G05")]
    pd.concat(parts).to_csv(tmp_path / "h.csv", index=False)
    experiment = run(files, tmp_path / "e", method="import", embeddings=str(tmp_path / "h.csv"))
    assert len(experiment.table("genes")) == 36
    assert experiment.table("genes-heldout")["held_out"].value_counts().to_dict() == {
        "G00": 36, "G05": 36,
    }  # fmt: skip


def test_what_features_and_gene_sets_lack_is_said(files: Path, tmp_path: Path) -> None:
    """Two collections of one name are both tested; one whose sets are too small is named."""
    few, other = tmp_path / "few.gmt", tmp_path / "modules.gmt"
    few.write_text("SMALL\tx\tG00\tG01\tTP53\n")
    other.write_bytes((files / "modules.gmt").read_bytes())
    pd.read_csv(files / "vectors.csv").iloc[1:].to_csv(tmp_path / "v.csv", index=False)
    experiment = run(
        files, tmp_path / "e", seeds=1, features=str(tmp_path / "v.csv"), clusters=3,
        gene_sets=[str(files / "modules.gmt"), str(other), str(few)],
    )  # fmt: skip
    assert set(experiment.table("genes-enrichment")["collection"]) == {"modules", str(other)}
    assert experiment.ledger.result("genes", "*")["notes"] == [
        "1 of 36 genes are not in the features, such as G00: only their links speak for them",
        "few: no set is tested, the largest has 2 of the network's genes (sets of 10 to 500 are)",
    ]


@pytest.mark.parametrize("genes", [0, 1, 2])
def test_too_few_labels_are_one_line(files: Path, tmp_path: Path, genes: int) -> None:
    vectors = pd.read_csv(files / "vectors.csv").iloc[:4]
    vectors["gene"] = [*vectors["gene"][:genes], *(f"X{i}" for i in range(4 - genes))]
    vectors.to_csv(tmp_path / "few.csv", index=False)
    with pytest.raises(AssertionError, match=rf"{genes} gene\(s\) of the network have one"):
        run(
            files, tmp_path / "e", seeds=1, labels="clusters", label_clusters=2,
            label_source=str(tmp_path / "few.csv"),
        )  # fmt: skip


@pytest.mark.parametrize("method", ["spectral", "node2vec", "import"])
def test_baselines_and_imported_embeddings_have_the_same_tables(
    files: Path, tmp_path: Path, method: str
) -> None:
    experiment = run(
        files, tmp_path / "e", method=method, embeddings=str(files / "vectors.csv"), seeds=4
    )
    table = experiment.table("genes")
    assert len(table) == 36
    assert len(experiment.table("genes-clusters")) == 36
    if method == "import":
        expected = pd.read_csv(files / "vectors.csv").to_numpy()[:, 1:].astype(float)
        np.testing.assert_allclose(table.drop(columns="gene"), expected, rtol=1e-6)


def test_a_changed_file_redoes_what_depends_on_it_and_the_same_one_nothing(
    files: Path, tmp_path: Path
) -> None:
    sets = tmp_path / "sets.gmt"
    sets.write_bytes((files / "modules.gmt").read_bytes())
    options = {"method": "spectral", "gene_sets": [str(sets)]}
    before = digest_experiment(run(files, tmp_path / "e", **options).url)
    assert digest_experiment(run(files, tmp_path / "e", **options).url) == before
    last = open_experiment(str(tmp_path / "e")).ledger.entry("genes", "*")
    sets.write_text(sets.read_text() + "\nALL\tx\t" + "\t".join(f"G{i:02d}" for i in range(20)))
    experiment = run(files, tmp_path / "e", **options)
    assert experiment.ledger.entry("genes", "*") != last
    assert "ALL" in set(experiment.table("genes-enrichment")["gene_set"])


def test_networks_and_clustered_embeddings_are_found_by_name() -> None:
    before = [
        {"stage": "interactome", "method": "import", "network": "n.csv"},
        {"stage": "embed", "needs": [], "encoder": "e.pt"},
    ]
    chosen = {"labels": "clusters", "label_stage": "embed"}
    for options, network, embed in (
        ({}, "interactome", ""),
        ({"labels": "clusters"}, "interactome", "embed"),
        ({"labels": "clusters", "network": "n.csv"}, "", "embed"),
        ({**chosen, "needs": ["embed", "interactome"]}, "interactome", "embed"),
        ({**chosen, "needs": ["interactome", "embed"], "network": "n.csv"}, "", "embed"),
        ({"labels": "clusters", "label_source": "x.csv"}, "interactome", ""),
    ):
        stages = [before[0], {"stage": "genes", **options}]
        if "labels" in options and "label_source" not in options:
            stages[1:1] = [{"stage": "convert", "source": "s", "layout": "l", "pixel_size_um": 1},
                           "segment", "crop", before[1]]  # fmt: skip
        made = parse_pipeline({"stages": stages}, where="test").stages[-1]
        assert isinstance(made, Genes)
        assert (made.network_stage, made.embed_stage) == (network, embed), options


@pytest.mark.slow
def test_same_tables_for_any_workers(files: Path, tmp_path: Path) -> None:
    options = {"seeds": 2, "label_source": str(files / "labels.csv"), "labels": "file"}
    one = digest_experiment(run(files, tmp_path / "a", **options).url)
    stage = {"stage": "genes", "network": str(files / "network.graphml"), **options}
    workers = WorkerGroup(n_workers=2)
    run_pipeline(
        parse_pipeline({"stages": [stage]}, where="test"), str(tmp_path / "b"),
        cluster=ClusterSpec(cpu=workers, dashboard_address="127.0.0.1:0"), style="none",
    )  # fmt: skip
    two = digest_experiment(str(tmp_path / "b"))
    tables = {k: v for k, v in one.items() if k.startswith("tables/")}
    assert tables == {k: v for k, v in two.items() if k.startswith("tables/")}
    assert len(tables) == 21


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": ""}, "no network"),
        ({"network": "none.graphml"}, "no such file"),
        ({"method": "import"}, "without a file"),
        ({"labels": "file"}, "without a source"),
        ({"features": "labels"}, "is not a number|none of its genes"),
        ({"gene_sets": ["labels"]}, "field"),
    ],
)
def test_what_cannot_be_embedded_is_refused_in_one_line(
    files: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    given = {
        k: (
            str(files / "labels.csv")
            if v == "labels"
            else [str(files / "labels.csv")]
            if v == ["labels"]
            else v
        )
        for k, v in options.items()
    }
    if "features" in given:
        (tmp_path / "f.csv").write_text("gene,note\nG00,high\n")
        given["features"] = str(tmp_path / "f.csv")
    with pytest.raises(InputError, match=message) as caught:
        run(files, tmp_path / "e", **given)
    assert len(str(caught.value).splitlines()) == 1


def test_features_of_other_genes_and_tiny_networks_fail_in_one_line(
    files: Path, tmp_path: Path
) -> None:
    (tmp_path / "f.csv").write_text("gene,x\nENSG1,1\nENSG2,2\n")
    graph = nx.path_graph(["A", "B", "C"])
    nx.set_node_attributes(graph, {n: {"prize": 0.0, "terminal": False} for n in graph})
    nx.set_edge_attributes(graph, 0.1, "cost")
    write_network(str(tmp_path / "tiny.graphml"), graph)
    for options, message in (
        ({"features": str(tmp_path / "f.csv")}, "none of its genes"),
        ({"network": str(tmp_path / "tiny.graphml")}, "2 links between 3 genes"),
    ):
        with pytest.raises(AssertionError, match=message):
            run(files, tmp_path / message[:4], seeds=1, **options)


def test_the_network_of_the_stage_before_is_taken(files: Path, tmp_path: Path) -> None:
    network = str(files / "network.graphml")
    stages = [
        {"stage": "interactome", "method": "import", "network": network},
        {"stage": "genes", "method": "spectral"},
    ]
    summary = run_pipeline(
        parse_pipeline({"stages": stages}, where="test"), str(tmp_path / "e"),
        cluster=ClusterSpec(type="none"), style="none",
    )  # fmt: skip
    assert summary.exit_code == 0
    found = open_experiment(str(tmp_path / "e")).table("genes")
    pd.testing.assert_frame_equal(
        found, run(files, tmp_path / "f", method="spectral").table("genes")
    )


def test_a_network_of_ones_own_is_translated_with_all_that_names_its_genes(
    files: Path, tmp_path: Path
) -> None:
    """Identifiers in the network, symbols in the features, old symbols in sets and labels."""
    genes = sorted(nx.read_graphml(files / "network.graphml"))
    table = pd.DataFrame(
        {
            "symbol": genes,
            "ensembl_gene_id": [f"ENSG{n:011d}" for n in range(len(genes))],
            "prev_symbol": [f"OLD{n}" for n in range(len(genes))],
        }
    )
    table.to_csv(tmp_path / "hgnc.csv", index=False)
    graph = read_network(str(files / "network.graphml"))
    identifiers = dict(zip(genes, table["ensembl_gene_id"], strict=True))
    write_network(str(tmp_path / "network.graphml"), nx.relabel_nodes(graph, identifiers))
    old = dict(zip(genes, table["prev_symbol"], strict=True))
    labels = pd.read_csv(files / "labels.csv")
    labels.assign(gene=labels["gene"].map(old)).to_csv(tmp_path / "labels.csv", index=False)
    sets = (files / "modules.gmt").read_text()
    for gene, name in old.items():
        sets = sets.replace(f"\t{gene}", f"\t{name}")
    (tmp_path / "modules.gmt").write_text(sets)
    options = {"seeds": 1, "labels": "file", "features": str(files / "vectors.csv")}
    expected = run(
        files, tmp_path / "e", label_source=str(files / "labels.csv"),
        gene_sets=[str(files / "modules.gmt")], **options,
    )  # fmt: skip
    found = run(
        tmp_path, tmp_path / "f", label_source=str(tmp_path / "labels.csv"),
        gene_sets=[str(tmp_path / "modules.gmt")], symbols=str(tmp_path / "hgnc.csv"), **options,
    )  # fmt: skip
    for name in ("genes", "genes-heldout", "genes-clusters", "genes-genes"):
        pd.testing.assert_frame_equal(found.table(name), expected.table(name))
    assert len(found.table("genes-enrichment")) == len(expected.table("genes-enrichment")) > 0
    assert set(found.table("genes-vocabulary")["symbol"]) == set(genes), "for the map"


def test_symbols_belong_to_the_stage_that_makes_the_network(files: Path, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("name,symbol\nA,B\n")
    stage = Genes(symbols=str(tmp_path / "s.csv"), needs=("interactome",))
    (problem,) = stage.check(None)  # type: ignore[arg-type]
    assert "'symbols' with the network of 'interactome'. Set them there." in problem
    own = Genes(network=str(files / "network.graphml"), symbols=str(tmp_path / "nowhere.csv"))
    assert "nowhere.csv" in own.check(None)[0]  # type: ignore[arg-type]


def test_the_estimate_grows_with_the_square_of_the_genes(tmp_path: Path, files: Path) -> None:
    """Clusters take the distances of every two genes, 8 bytes each, and a copy of them."""
    graph = nx.empty_graph(20_000)
    nx.write_graphml(graph, tmp_path / "large.graphml")
    experiment = run(files, tmp_path / "out", method="spectral")
    small = Genes(network=str(files / "network.graphml"))
    large = Genes(network=str(tmp_path / "large.graphml"))
    assert small.peak_bytes(experiment, "seed-0") == 2**30
    assert large.peak_bytes(experiment, "seed-0") == pytest.approx(8 * 20_000**2, rel=0.2)
