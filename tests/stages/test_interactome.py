"""The network of a planted module is found; real interactions give the published figures."""

import os
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from i2r.analysis.regulation.interactome_inputs import prepare_interactome
from i2r.cluster import ClusterSpec, WorkerGroup
from i2r.errors import I2RError, InputError
from i2r.formats.interactions import read_interactions
from i2r.formats.panels import read_panel
from i2r.pipeline.spec import parse_pipeline
from i2r.stages.interactome import Interactome
from i2r.store.experiment import Experiment, open_experiment
from i2r.store.vocabulary import read_symbols
from i2r.testing import digest_experiment
from tests.conftest import Cli, run_here
from tests.stages.profiled import lay_out, screen_features, write_features

MODULE = [f"M{i}" for i in range(8)]


def write_tables(folder: Path, seed: int = 0) -> dict[str, Any]:
    """Write a ring of a cheap module in a dear random network, expressed unlike other lines."""
    random = np.random.default_rng(seed)
    others = [f"R{i}" for i in range(60)]
    rows = [(MODULE[i], MODULE[(i + 1) % 8], 0.1) for i in range(8)]
    rows += [(others[i], others[(i + 1) % 60], 0.5) for i in range(60)]
    rows += [(*random.choice(others, 2, replace=False), 0.55) for _ in range(100)]
    rows += [("M0", "R0", 0.5), ("M1", "M1", 0.1), ("M0", "M1", 0.3), ("R0", "LOST", 0.8)]
    table = pd.DataFrame(rows, columns=["protein1", "protein2", "cost"])
    table.to_csv(folder / "ppi.txt", sep="\t", index=False)
    genes = [*MODULE, *others]
    lines = pd.DataFrame(
        random.normal(size=(12, len(genes))) * 0.1, columns=[f"{g} (1)" for g in genes]
    )
    lines.iloc[0, :8] += 2.0
    lines.insert(0, "line", ["U-2 OS", *(f"L{i}" for i in range(11))])
    lines.to_csv(folder / "lines.csv", index=False)
    return {
        "stage": "interactome", "interactions": str(folder / "ppi.txt"), "expression": str(folder / "lines.csv"),
        "targets": ["M0", "M4", "LOST"], "hub_quantile": 1.0, "beta_last": 2.0, "noise_runs": 4,
    }  # fmt: skip


def run_network(options: dict[str, Any], folder: Path) -> Experiment:
    pipeline = parse_pipeline({"stages": [options]}, where="test")
    summary = run_here(pipeline, folder)
    assert summary.exit_code == 0, [u.error for u in summary.failed]
    return open_experiment(str(folder))


def test_the_planted_module_connects_its_targets(tmp_path: Path) -> None:
    experiment = run_network(write_tables(tmp_path), tmp_path / "e")
    graph = experiment.network("interactome")
    assert {"M0", "M4"} <= set(graph)
    assert len(set(graph) & set(MODULE)) >= 5
    assert nx.is_connected(graph)
    genes = experiment.table("interactome").set_index("gene")
    assert genes.index[genes["terminal"]].tolist() == ["M0", "M4"]
    assert genes.loc["M0", "frequency"] == 1
    sweep = experiment.table("interactome-sweep")
    assert len(sweep) == 20
    assert sweep["chosen"].sum() == 1
    chosen = sweep[sweep["chosen"]].iloc[0]
    assert chosen["components"] == 1
    assert 1 <= chosen["communities"] < len(graph)
    assert sweep["overlap"].iloc[1:].between(0, 1).all()
    assert np.isnan(sweep["overlap"].iloc[0])
    assert (sweep["value"] <= 2 * sweep["lower_bound"] * (1 + 1e-9)).all()
    expression = experiment.table("interactome-expression").set_index("gene")
    assert list(expression.columns) == ["log_fold_change", "t", "p_value", "fdr", "prize"]
    assert len(expression) == 68
    assert (expression.loc[MODULE, "fdr"] < 0.01).all()
    assert (expression.loc[["M0", "M4"], "prize"] == 1).all()
    largest = expression["log_fold_change"].abs().max()
    assert expression.loc["R7", "prize"] == abs(expression.loc["R7", "log_fold_change"]) / largest
    hubs = experiment.table("interactome-hubs")
    assert hubs["hubs"].is_monotonic_decreasing
    assert hubs["genes"].iloc[-1] == 68
    assert hubs["targets"].iloc[-1] == 2
    dropped = experiment.table("interactome-dropped")
    reasons = set(zip(dropped["symbol"], dropped["reason"], strict=True))
    assert ("M1", "interacts with itself") in reasons
    assert ("M0 - M1", "listed again with a higher cost") in reasons
    assert ("LOST", "target: no interaction below the cost cut") in reasons


def test_a_target_in_another_part_of_the_network_is_named(tmp_path: Path, cli: Cli) -> None:
    options = write_tables(tmp_path)
    with (tmp_path / "ppi.txt").open("a", encoding="utf-8") as table:
        table.write("FAR\tAWAY\t0.1\n")
    names = [text for name in ("M0", "M4", "FAR", "NOBODY") for text in ("--targets", name)]
    code, said = cli(
        "interactome", tmp_path / "e", "--interactions", options["interactions"], *names,
        "--hub-quantile", 1.0, "--beta-last", 2.0, "--noise-runs", 1, "--cluster", "none",
    )  # fmt: skip
    assert code == 0, said
    said = " ".join(said.split())
    assert (
        "interactome: 2 of 4 targets not in the network: NOBODY (not in the interactions), " in said
    )
    assert "FAR (not in the largest part)" in said
    assert "interactions listed with two costs, such as M0 - M1: the lower one counts" in said
    experiment = open_experiment(str(tmp_path / "e"))
    dropped = experiment.table("interactome-dropped").set_index("symbol")["reason"]
    assert dropped["FAR"] == "target: not in the largest part"
    assert "FAR" not in experiment.network("interactome")
    assert {"M0", "M4"} <= set(experiment.network("interactome"))


@pytest.mark.slow
def test_the_regulation_side_is_the_same_for_any_workers(tmp_path: Path) -> None:
    options = write_tables(tmp_path)
    random = np.random.default_rng(0)
    vectors = pd.DataFrame(random.standard_normal((20, 6))).add_prefix("v")
    vectors.insert(0, "gene", [*MODULE, *(f"R{i}" for i in range(12))])
    vectors.to_csv(tmp_path / "vectors.csv", index=False)
    given = str(tmp_path / "vectors.csv")
    stages = [
        options,
        {"stage": "genes", "method": "import", "embeddings": given},
        {"stage": "map", "signatures": given, "permutations": 120},
        {"stage": "predict", "queries": given},
    ]
    pipeline = parse_pipeline({"stages": stages, "seed": 3}, where="test")
    digests = []
    for number in (1, 2):
        workers = WorkerGroup(n_workers=number)
        cluster = ClusterSpec(cpu=workers, dashboard_address="127.0.0.1:0")
        assert run_here(pipeline, tmp_path / str(number), cluster=cluster).exit_code == 0
        digests.append(digest_experiment(str(tmp_path / str(number))))
        graph = tmp_path / str(number) / "networks" / "interactome.graphml"
        digests[-1]["graph"] = str(hash(graph.read_bytes()))
    assert digests[0] == digests[1]
    assert len(digests[0]) > 20


def test_the_same_seed_gives_the_same_files_and_nothing_is_redone(tmp_path: Path) -> None:
    options = write_tables(tmp_path)
    first, second = (run_network(options, tmp_path / name) for name in "ab")
    urls = [e.network_url("interactome") for e in (first, second)]
    assert Path(urls[0]).read_bytes() == Path(urls[1]).read_bytes()
    assert not run_here(parse_pipeline({"stages": [options]}, where="test"), tmp_path / "a").ran


def screen_genes(folder: Path, active: tuple[str, ...]) -> Experiment:
    """Screen two genes of the module and four others, of which some change a feature."""
    names = ["M0", "M4", "R1", "R2", "R3", "R4", *["ctrl"] * 10]
    random = np.random.default_rng(0)
    layout = lay_out({f"P{n}": random.permutation(names).tolist() for n in (1, 2, 3)})
    experiment = write_features(
        folder,
        layout,
        change=lambda name, values: values + np.array([1.2 * (name in active), 0, 0, 0]),
    )
    screen_features(experiment)
    return experiment


def test_targets_are_what_the_screen_calls_where_none_are_listed(tmp_path: Path) -> None:
    options = write_tables(tmp_path)
    del options["targets"]
    stages = [{"stage": "screen", "method": "fast", "needs": []}, options]
    chain = parse_pipeline({"stages": stages}, where="test")
    assert chain.stage("interactome").needs == ("screen",)
    listed = parse_pipeline({"stages": [stages[0], {**options, "targets": ["M0"]}]}, where="test")
    assert listed.stage("interactome").needs == (), "nothing waits for a screen that is not read"

    def connect(active: tuple[str, ...]) -> Experiment:
        experiment = screen_genes(tmp_path / "-".join(["e", *active]), active)
        stage = chain.stage("interactome")
        keys = list(stage.keys(experiment))
        for key in keys:
            stage.build(experiment, key).compute(scheduler="sync")
        last = stage.finish(experiment, keys)
        assert last is not None
        last.compute(scheduler="sync")
        return experiment

    genes = connect(("M0", "M4")).table("interactome")
    assert genes.loc[genes["terminal"], "gene"].tolist() == ["M0", "M4"]
    with pytest.raises(I2RError, match="'screen' calls no gene impactful, so there is nothing"):
        connect(())


@pytest.mark.parametrize("suffix", ["graphml", "csv"])
def test_a_network_of_the_users_is_taken_as_it_is(tmp_path: Path, suffix: str) -> None:
    url = tmp_path / f"mine.{suffix}"
    if suffix == "csv":
        url.write_text("gene1,gene2,cost\nA,b,0.5\nB,C,0.25\n")
    else:
        nx.write_graphml_xml(nx.Graph([("a", "b"), ("b", "c")]), str(url))
    options = {"stage": "interactome", "method": "import", "network": str(url), "targets": ["c"]}
    graph = run_network(options, tmp_path / "e").network("interactome")
    assert sorted(graph) == ["A", "B", "C"]
    assert [g for g in graph if graph.nodes[g]["terminal"]] == ["C"]


@pytest.mark.parametrize("suffix", ["graphml", "csv"])
def test_what_an_imported_network_lacks_is_said(tmp_path: Path, suffix: str) -> None:
    url = tmp_path / f"mine.{suffix}"
    links = [("ENSG1", "b", 0.2), ("B", "c", 0.3), ("Ensg1", "B", 0.1), ("ENSG9", "B", 0.1)]
    if suffix == "csv":
        rows = "".join(f"{a},{b},{cost}\n" for a, b, cost in links)
        url.write_text(f"gene1,gene2,cost\n{rows}")
    else:
        graph = nx.Graph()
        graph.add_weighted_edges_from(links, weight="cost")
        nx.write_graphml_xml(graph, str(url))
    (tmp_path / "symbols.csv").write_text("id,symbol\nENSG1,A\n")
    options = {
        "stage": "interactome", "method": "import", "network": str(url), "targets": ["c", "gone"],
        "symbols": str(tmp_path / "symbols.csv"),
    }  # fmt: skip
    pipeline = parse_pipeline({"stages": [options]}, where="test")
    assert run_here(pipeline, tmp_path / "e").exit_code == 0
    experiment = open_experiment(str(tmp_path / "e"))
    edges = experiment.table("interactome-edges")
    assert edges[["gene1", "gene2", "cost"]].to_numpy().tolist() == [
        ["A", "B", 0.1], ["B", "C", 0.3],
    ]  # fmt: skip
    dropped = experiment.table("interactome-dropped").to_numpy().tolist()
    assert ["ENSG9", "no symbol"] in dropped
    assert ["GONE", "target: not in the network"] in dropped
    notes = experiment.ledger.result("interactome", "*")["notes"]
    assert "1 of 2 targets not in the network: GONE (not in the network)" in notes


def test_the_report_draws_the_network_offline(tmp_path: Path) -> None:
    stages = [write_tables(tmp_path), "report"]
    assert run_here(parse_pipeline({"stages": stages}, where="test"), tmp_path / "e").exit_code == 0
    report = (tmp_path / "e" / "report.html").read_text()
    assert '<h2><a href="#interactome">Interactome</a></h2>' in report
    assert "M0: " in report
    assert "no tree has less than" in report
    assert "could not be drawn" not in report


# --------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("step", "last", "betas"),
    [(0.1, 0.3, [0.1, 0.2, 0.3]), (0.35, 1.0, [0.35, 0.7]), (2.0, 1.0, [2.0])],
)
def test_the_sweep_ends_with_the_last_value(step: float, last: float, betas: list[float]) -> None:
    assert Interactome(beta_step=step, beta_last=last).betas == betas


def test_logarithms_are_not_taken_twice(tmp_path: Path) -> None:
    options = write_tables(tmp_path) | {"logarithm": True}
    stage = Interactome(**{k: v for k, v in options.items() if k != "stage"})
    with pytest.raises(I2RError, match="expected 0 or more where 'logarithm' is set"):
        prepare_interactome(stage.model_dump())


def check_stage(**options: Any) -> list[str]:
    return Interactome(**options).check(Experiment("unused"))


def test_what_cannot_work_is_said_in_one_line(tmp_path: Path) -> None:
    options = write_tables(tmp_path)
    del options["stage"]
    assert check_stage(**options) == []
    absent = check_stage(**{**options, "targets": ("NOBODY", "NOTHING")})
    assert len(absent) == 1
    assert "none of the 2 targets (NOBODY, NOTHING, ...) is in the network" in absent[0]
    assert "'interactions' is not given" in check_stage(targets=("A",))[0]
    assert "no line 'HeLa', found U-2 OS" in check_stage(**{**options, "line": "HeLa"})[0]
    foreign = tmp_path / "foreign.csv"
    foreign.write_text("line,ENSG1,ENSG2\nU2OS,1,2\nX,1,2\n")
    assert "no symbol of" in check_stage(**{**options, "expression": str(foreign)})[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("protein1\tprotein2\tcost\nA\tB\t0.5\nA\tC\t-0.1\n", r"line 3: A - C has the cost -0.1"),
        ("protein1\tprotein2\tcost\nA\tB\tx\n", "line 2: A - B has the cost x, expected 0 or more"),
        ("a\tb\n1\t2\n", "expected protein1, protein2 and cost"),
    ],
)  # fmt: skip
def test_bad_interactions_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "i.tsv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_interactions(str(tmp_path / "i.tsv"))


def test_tables_of_string_and_hippie_are_read(tmp_path: Path) -> None:
    (tmp_path / "string.tsv").write_text("#node1\tnode2\tcombined_score\nA\tB\t0.9\nB\tC\t0.4\n")
    assert read_interactions(str(tmp_path / "string.tsv")).costs == pytest.approx([0.1, 0.6])
    (tmp_path / "hippie.txt").write_text("A\t1\tB\t2\t0.76\tx\nB\t2\tC\t3\t0.5\ty\n")
    found = read_interactions(str(tmp_path / "hippie.txt"))
    assert (found.genes, found.n_rows) == (["A", "B", "C"], 2)
    assert found.costs == pytest.approx([0.24, 0.5])


def test_missing_expression_and_symbols_are_accounted_for(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("id,symbol,U-2 OS,HeLa\n1,A,1,2\n2,,1,2\n3,a,5,6\n4,B,,3\n")
    panel = read_panel(str(tmp_path / "p.csv"))
    assert panel.genes == ["A"]
    assert panel.lines[-2:] == ["U-2 OS", "HeLa"]
    assert panel.dropped.to_numpy().tolist() == [
        ["row 2", "no symbol"],
        ["A", "listed before"],
        ["B", "expression is missing"],
    ]


def test_ensembl_identifiers_and_aliases_become_symbols(tmp_path: Path) -> None:
    (tmp_path / "s.tsv").write_text("name\tsymbol\nENSG1\tTP53\nMEK1\tMap2k1\n")
    symbols = read_symbols(str(tmp_path / "s.tsv"))
    (tmp_path / "p.csv").write_text(
        "line,ENSG1.7,mek1,ENSG9,SRC,TP53\nU2OS,1,2,3,4,5\nX,1,2,3,4,5\n"
    )
    panel = read_panel(str(tmp_path / "p.csv"), symbols)
    assert panel.genes == ["TP53", "MAP2K1", "SRC"]
    assert panel.dropped.to_numpy().tolist() == [["ENSG9", "no symbol"], ["TP53", "listed before"]]
    (tmp_path / "i.csv").write_text("gene1,gene2,cost\nMEK1,ENSG1,0.5\n")
    assert read_interactions(str(tmp_path / "i.csv"), symbols).genes == ["MAP2K1", "TP53"]
    (tmp_path / "one.csv").write_text("name\nA\n")
    with pytest.raises(InputError, match="one column, expected name and symbol"):
        read_symbols(str(tmp_path / "one.csv"))


@pytest.mark.parametrize(
    ("cost", "scale"),
    [("spearman", "counts"), ("mutual_information", "counts"), ("pearson", "signatures")],
)
def test_correlations_over_cells_make_costs(tmp_path: Path, cost: str, scale: str) -> None:
    options = write_tables(tmp_path)
    random = np.random.default_rng(1)
    shared = random.poisson(20, (30, 1))
    counts = np.hstack([shared + random.poisson(1, (30, 8)), random.poisson(20, (30, 60))])
    if scale == "signatures":
        counts = (counts - counts.mean(0)) / counts.std(0)
    cells = pd.DataFrame(counts, columns=[*MODULE, *(f"R{i}" for i in range(60))])
    cells.insert(0, "cell", [f"c{i}" for i in range(30)])
    cells.to_csv(tmp_path / "cells.csv", index=False)
    options |= {
        "cells": str(tmp_path / "cells.csv"),
        "min_genes": 10,
        "min_cells": 3,
        "edge_cost": cost,
        "cells_scale": scale,
    }
    del options["stage"]
    pruned = prepare_interactome(Interactome(**options).model_dump())
    module = np.array([g in MODULE for g in pruned.genes])[pruned.edges].all(axis=1)
    # Of 30 cells a histogram of 10,000 bins nearly tells everything, also between strangers.
    border = 0.07 if cost == "mutual_information" else 0.4
    assert pruned.costs[module].mean() < border < pruned.costs[~module].mean()


# ---------------------------------------------------------------------------------- real data

REAL = pytest.mark.skipif("I2R_DATA" not in os.environ, reason="needs iRefIndex (I2R_DATA)")


def real_interactions() -> str:
    return f"{os.environ['I2R_DATA']}/interactome/iRefIndex_v14_MIScore_interactome_C9.costs.txt.gz"


@REAL
def test_the_real_interactions_have_the_published_counts() -> None:
    found = read_interactions(real_interactions())
    assert (found.n_rows, len(found.genes), len(found.edges)) == (182_002, 15_759, 181_955)
    assert (found.dropped["reason"] == "interacts with itself").sum() == 47


@REAL
def test_pruning_the_real_interactions_removes_the_thirteen_hubs() -> None:
    options = Interactome(interactions=real_interactions(), targets=("BRAF", "SRC")).model_dump()
    steps = prepare_interactome(options).steps.set_index("step")
    assert steps.loc["hubs", "note"] == (
        "degree 238.14 or more: UBC 7004, APP 1938, SUMO2 662, TP53 413, EGFR 322, KRT40 298, EP300 290, "
        "UBE2I 287, CSNK2A1 286, SUMO1 269, GOLGA2 265, HDAC1 260, ESR1 252"
    )
