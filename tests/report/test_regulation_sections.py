"""Sections of the regulation side, drawn from a simulated one."""

import re

import numpy as np
import pandas as pd
import pytest

from i2r.cluster import ClusterSpec
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.spec import parse_pipeline
from i2r.report.lines import Line, draw_lines
from i2r.report.page import make_page
from i2r.report.source import ReportSource
from i2r.simulation.regulation import RegulationDesign, write_regulation
from i2r.store.experiment import Experiment, open_experiment
from i2r.store.tables import read_table_with_metadata, write_table

EVIL = "<b>evil</b>"
STAGES = ["genes", "map", "predict"]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    folder = tmp_path_factory.mktemp("sections") / "side"
    design = RegulationDesign(genes=60, modules=4, perturbed=16, cells=10, noise=0.4)
    write_regulation(str(folder), design)
    queries = pd.read_csv(folder / "signatures.csv")
    queries.insert(0, "query", queries["gene"])
    queries.loc[0, "query"] = EVIL
    queries.to_csv(folder / "queries.csv", index=False)
    content = {
        "stages": [
            {
                "stage": "genes", "network": "network.graphml", "features": "expression.csv",
                "gene_sets": ["modules.gmt"], "seeds": 2, "clusters": 4,
            },
            {"stage": "map", "signatures": "signatures.csv", "permutations": 39, "grid": "plain"},
            {"stage": "predict", "queries": "queries.csv", "permutations": 39},
        ]
    }  # fmt: skip
    pipeline = parse_pipeline(content, where="test", folder=str(folder))
    target = str(folder / "experiment")
    assert (
        run_pipeline(pipeline, target, cluster=ClusterSpec(type="none"), style="none").exit_code
        == 0
    )
    return open_experiment(target)


def test_sections_show_what_the_tables_say(experiment: Experiment) -> None:
    made = make_page(ReportSource(experiment, STAGES))
    assert not made.problems
    content = made.content
    for anchor in ("genes", "mapping", "predictions"):
        assert f'<section id="{anchor}">' in content
    clusters = experiment.table("genes-clusters")
    assert content.count(": cluster ") == len(clusters)
    best = experiment.table("genes-enrichment").nsmallest(1, "p_value")["gene_set"].iloc[0]
    assert best in content
    score = experiment.table("map-scores").iloc[0]
    assert f"p = {score['p_permutation']:.2g}" in content
    assert "chosen without the gene (nested)" in content
    assert "chosen on the reported predictions (as published)" in content
    # A curve for every method, and bands for the map and the null.
    methods = experiment.table("map-curves")["method"].unique()
    assert all(f"<title>{method}" in content for method in methods)
    assert EVIL not in content
    assert "&lt;b&gt;evil&lt;/b&gt;" in content
    answered = (experiment.table("predict-queries")["answer"] == "ranked").sum()
    assert f"Answered: {answered} of 16 queries" in content
    assert ("were answered, and the" in content) == (answered > 0)


def test_what_labels_do_to_ranks_is_said(experiment: Experiment) -> None:
    said = "p (shuffled) is of ranks among the genes without a label"
    assert said not in make_page(ReportSource(experiment, STAGES)).content
    url = experiment.table_url("map")
    genes, metadata = read_table_with_metadata(url)
    write_table(url, genes.assign(rank_unlabelled=genes["rank"]), metadata=metadata)
    try:
        assert said in make_page(ReportSource(experiment, STAGES)).content
    finally:
        write_table(url, genes, metadata=metadata)


def test_sets_that_hold_no_known_gene_are_drawn(experiment: Experiment) -> None:
    url = experiment.table_url("predict-queries")
    queries, metadata = read_table_with_metadata(url)
    unknown = queries.assign(rank_true=np.nan, in_set=pd.array([None] * 16, dtype="boolean"))
    write_table(url, unknown, metadata=metadata)
    try:
        made = make_page(ReportSource(experiment, STAGES))
        assert not made.problems
        assert "The true gene is known" not in made.content
    finally:
        write_table(url, queries, metadata=metadata)


def test_sections_are_silent_without_their_stages(experiment: Experiment) -> None:
    content = make_page(ReportSource(experiment, [])).content
    assert not re.search(r'<section id="(genes|mapping|predictions)">', content)


def test_lines_leave_out_what_is_not_finite_and_survive_constant_values() -> None:
    figure = draw_lines(
        [Line("a", [1, 2, 3], [0.5, float("nan"), 0.5]), Line("b", [1, 3], [0.5, 0.5], [0.5] * 2, [0.5] * 2)],
        x_title="k", y_title="share <1", caption="Both.",
    )  # fmt: skip
    first, second = re.findall(r'<polyline points="([^"]*)"', figure)
    assert len(first.split()) == len(second.split()) == 2
    assert figure.count("<polygon") == 1
    assert "share &lt;1" in figure
    assert "nan" not in figure


def test_a_curve_that_covers_another_says_so() -> None:
    lines = [
        Line("below", [1, 2, 3], [0.1, 0.4, 0.5]),
        Line("apart", [1, 2, 3], [0.1, 0.2, 0.5]),
        Line("above", [1, 2, 3], [0.1, 0.4, 0.5]),
    ]
    drawn = str(draw_lines(lines, x_title="k", y_title="share", caption="Said."))
    assert "</span>above (covers below)</span>. Said." in drawn
    assert "</span>apart</span>, " in drawn
    assert drawn.count("covers") == 2, "in the legend, and where one points at the curve"
