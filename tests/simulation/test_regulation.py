"""A regulation side with planted modules, and the whole chain from it to ranked genes."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from i2r.cli.group import i2r
from i2r.cluster import ClusterSpec
from i2r.errors import InputError
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.spec import load_pipeline
from i2r.simulation.regulation import RegulationDesign, draw_regulation, write_regulation
from i2r.store.experiment import Experiment, open_experiment


def test_links_expression_and_signatures_follow_modules() -> None:
    truth = draw_regulation(RegulationDesign(seed=1))
    module = truth.genes["module"].to_numpy()
    same = module[truth.edges[:, 0]] == module[truth.edges[:, 1]]
    assert same.mean() > 0.75
    assert set(truth.edges.ravel()) == set(range(240))
    assert (truth.edges[:, 0] < truth.edges[:, 1]).all()
    degree = np.bincount(truth.edges.ravel())
    assert degree.mean() == pytest.approx(7, abs=0.8)
    together = module[:, None] == module
    np.fill_diagonal(together, False)
    correlation = np.corrcoef(truth.expression)
    assert correlation[together].mean() > 0.25
    assert abs(correlation[module[:, None] != module].mean()) < 0.05
    seen = truth.genes["perturbed"].to_numpy()
    assert seen.sum() == 60
    assert (truth.genes.loc[seen, "module"].value_counts() == 5).all()
    assert np.isfinite(truth.signatures).all(axis=1).tolist() == seen.tolist()


def test_shuffled_links_move_signatures_among_the_perturbed_genes_only() -> None:
    one, other = (draw_regulation(RegulationDesign(linked=linked)) for linked in (True, False))
    np.testing.assert_array_equal(one.edges, other.edges)
    seen = one.genes["perturbed"].to_numpy()
    a, b = one.signatures[seen], other.signatures[seen]
    assert not np.allclose(a, b)
    np.testing.assert_array_equal(np.sort(a[:, 0]), np.sort(b[:, 0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"genes": 10}, "five genes"),
        ({"perturbed": 500}, "500 perturbed"),
        ({"links": 0.0}, "1 or more"),
        ({"cells": 1}, "2 cells"),
    ],
)
def test_designs_that_cannot_be_made_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw_regulation(RegulationDesign(**change))


def test_the_command_writes_what_it_says_and_leaves_other_files_alone(tmp_path: Path) -> None:
    folder = tmp_path / "side"
    arguments = ["simulate", str(folder), "--side", "regulation", "--genes", "24"]
    result = CliRunner().invoke(i2r, arguments)
    assert result.exit_code == 0, result.output
    assert "240 genes in 12 modules, 24 perturbed" in result.output
    again = CliRunner().invoke(i2r, arguments)
    assert isinstance(again.exception, InputError)
    wrong = CliRunner().invoke(
        i2r, [*arguments[:1], str(tmp_path / "x"), *arguments[2:], "--plates", "2"]
    )
    assert wrong.exit_code == 2


def run_side(folder: Path, design: RegulationDesign) -> Experiment:
    write_regulation(str(folder), design)
    pipeline = load_pipeline(str(folder / "pipeline.yaml"))
    target = str(folder / "experiment")
    summary = run_pipeline(pipeline, target, cluster=ClusterSpec(type="none"), style="none")
    assert summary.exit_code == 0
    return open_experiment(target)


@pytest.mark.slow
def test_a_planted_link_is_found_end_to_end_and_a_shuffled_one_is_not(tmp_path: Path) -> None:
    found = run_side(tmp_path / "linked", RegulationDesign())
    score = found.table("map-scores").iloc[0]
    assert score["p_permutation"] <= 0.01
    assert score["top_decile"] >= 0.3
    queries = found.table("predict-queries")
    answered = queries["answer"] == "ranked"
    assert answered.mean() > 0.5
    # Sets of what is not answered hold everything.
    assert queries.loc[answered, "in_set"].mean() >= 0.85
    shuffled = run_side(tmp_path / "shuffled", RegulationDesign(linked=False))
    assert shuffled.table("map-scores")["p_permutation"].iloc[0] > 0.05
    assert (shuffled.table("predict-queries")["answer"] == "abstained").mean() >= 0.9
