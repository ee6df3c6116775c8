"""The map as a stage: planted and shuffled links, its tables, and one line for what is wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from i2r.analysis.regulation.gene_mapping import FIXED, NESTED, REPORTED
from i2r.cluster import ClusterSpec
from i2r.errors import InputError
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.spec import parse_pipeline
from i2r.store.experiment import Experiment, open_experiment
from i2r.testing import digest_experiment

GENES, PERTURBED = 60, 24


def write_sides(folder: Path, *, link: bool = True, seed: int = 0) -> dict[str, str]:
    """Write regulatory embeddings of modules, and perturbation embeddings that follow them."""
    random = np.random.default_rng(seed)
    module = np.arange(GENES) % 6
    regulatory = np.eye(6)[module] + 0.3 * random.standard_normal((GENES, 6))
    seen = random.permutation(GENES)[:PERTURBED]
    source = seen if link else random.permutation(seen)
    inputs = regulatory[source] @ random.standard_normal((6, 40))
    inputs += 0.5 * random.standard_normal(inputs.shape)
    folder.mkdir(parents=True, exist_ok=True)
    names = np.array([f"G{i:02d}" for i in range(GENES)])
    for name, genes, rows in (("genes", names, regulatory), ("images", names[seen], inputs)):
        table = pd.DataFrame(rows, columns=[f"v{i}" for i in range(rows.shape[1])])
        table.insert(0, "gene", genes)
        table.to_csv(folder / f"{name}.csv", index=False)
    return {"genes": str(folder / "genes.csv"), "images": str(folder / "images.csv")}


def run(sides: dict[str, str], target: Path, *more: dict[str, Any], **options: Any) -> Experiment:
    stages = [
        {"stage": "genes", "method": "import", "embeddings": sides["genes"]},
        {"stage": "map", "signatures": sides["images"], "permutations": 60, **options},
        *more,
    ]
    summary = run_pipeline(
        parse_pipeline({"stages": stages}, where="test"), str(target),
        cluster=ClusterSpec(type="none"), style="none",
    )  # fmt: skip
    experiment = open_experiment(str(target))
    assert summary.exit_code == 0, [e.error for e in experiment.ledger.entries() if e.error]
    return experiment


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    folder = tmp_path_factory.mktemp("map")
    return run(write_sides(folder), folder / "e", permutations=120, published_grid=True)


def test_a_planted_link_is_found_and_every_table_says_how_options_were_chosen(
    planted: Experiment,
) -> None:
    genes = planted.table("map")
    assert len(genes) == PERTURBED
    assert genes["rank"].median() <= 8
    assert genes["rank"].is_monotonic_increasing
    scores = planted.table("map-scores").set_index("method")
    assert scores.loc["map", "p_permutation"] == pytest.approx(1 / 121)
    assert scores.loc["map", "top_decile"] > 0.3
    assert scores["p_permutation"].notna().sum() == 1
    assert scores["selection"].to_dict() == {
        "map": NESTED, "plain tangent kernel": FIXED, "synthetic intervention": FIXED,
        "mean of training genes": FIXED, "mean of all candidates": FIXED,
        "best of the grid": REPORTED, "published grid": REPORTED,
    }  # fmt: skip
    assert (scores["log_score_low"] <= scores["log_score"]).all()
    curves = planted.table("map-curves")
    assert set(curves["method"]) == {*scores.index, "random", "shuffled link"}
    random = curves[curves["method"] == "random"]
    np.testing.assert_allclose(random["accuracy"], random["k"] / GENES)
    of_map = curves[curves["method"] == "map"]
    assert of_map["accuracy"].iloc[9] == (genes["rank"] <= 10).mean()
    assert ((of_map["low"] <= of_map["accuracy"]) & (of_map["accuracy"] <= of_map["high"])).all()
    grid = planted.table("map-grid")
    assert grid["published"].sum() == 1440
    null = planted.table("map-null")
    assert null["draw"].nunique() == 120
    assert len(null) == 120 * PERTURBED
    hubs = planted.table("map-hubs")
    assert hubs["occurrences"].sum() == 10 * PERTURBED
    nearest = planted.table("map-nearest")
    true = nearest[nearest["is_true"]].set_index("gene")["place"]
    assert (true == genes.set_index("gene")["rank"][true.index]).all()


def test_a_shuffled_link_is_not_found_and_takes_few_draws(tmp_path: Path) -> None:
    experiments = [
        run(write_sides(tmp_path / str(s), link=False, seed=s), tmp_path / f"e{s}", grid="plain")
        for s in range(5)
    ]
    found = [e.table("map-scores")["p_permutation"].iloc[0] for e in experiments]
    assert sum(p > 0.05 for p in found) >= 4
    assert min(e.table("map-null")["draw"].nunique() for e in experiments) < 60


def test_embeddings_of_encoders_that_never_saw_a_gene_are_spaces_of_their_own(
    tmp_path: Path,
) -> None:
    sides = write_sides(tmp_path)
    images = pd.read_csv(sides["images"])
    random, columns = np.random.default_rng(0), list(images.columns[1:])
    parts = [images.assign(held_out="")]
    for gene in images["gene"][:-1]:
        # Every encoder turns its space another way: averages over them would mean nothing.
        turn, _ = np.linalg.qr(random.standard_normal((len(columns), len(columns))))
        turned = pd.DataFrame(images[columns].to_numpy() @ turn, columns=columns)
        parts.append(turned.assign(gene=images["gene"], held_out=gene.lower()))
    pd.concat(parts).to_csv(tmp_path / "spaces.csv", index=False)
    spaces = run({**sides, "images": str(tmp_path / "spaces.csv")}, tmp_path / "s", permutations=20)
    plain = run(sides, tmp_path / "p", permutations=20)
    for name in ("map", "map-null"):
        pd.testing.assert_frame_equal(spaces.table(name), plain.table(name))
    table = pd.concat(parts)
    table[(table["held_out"] == "") | (table["gene"] != images["gene"][1])].to_csv(
        tmp_path / "spaces.csv", index=False
    )
    with pytest.raises(InputError, match="expected one from every encoder"):
        run({**sides, "images": str(tmp_path / "spaces.csv")}, tmp_path / "l")


def test_same_seed_same_tables_and_hubs_can_be_corrected(tmp_path: Path) -> None:
    sides = write_sides(tmp_path)
    options = {"grid": "plain", "hubs": "correct", "permutations": 51}
    one, two = (
        digest_experiment(run(sides, tmp_path / name, **options).url) for name in ("a", "b")
    )
    assert one == two
    corrected = pd.read_parquet(tmp_path / "a" / "tables" / "map" / "all.parquet")
    assert corrected["rank"].median() <= 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": ""}, "no perturbation embeddings"),
        ({"images": "none.csv"}, "no such file"),
    ],
)
def test_a_map_without_inputs_is_refused(
    tmp_path: Path, change: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        run({**write_sides(tmp_path), **change}, tmp_path / "e")
    assert len(str(caught.value).splitlines()) == 1


def test_symbols_that_match_nothing_are_one_line(tmp_path: Path) -> None:
    sides = write_sides(tmp_path)
    table = pd.read_csv(sides["images"])
    table["gene"] = "ENSG" + table["gene"]
    table.to_csv(sides["images"], index=False)
    with pytest.raises(AssertionError, match=r"0 gene\(s\) have both") as caught:
        run(sides, tmp_path / "e")
    assert "Check the symbols" in str(caught.value)


def test_genes_of_which_the_network_says_nothing_are_no_candidates(tmp_path: Path) -> None:
    """Zero is near to every short prediction: such genes would stand before most others."""
    sides = write_sides(tmp_path)
    without = run(sides, tmp_path / "a")
    genes, images = pd.read_csv(sides["genes"]), pd.read_csv(sides["images"])
    silent = pd.DataFrame(0.0, index=range(30), columns=genes.columns)
    silent["gene"] = [f"A{i}" for i in range(30)]
    pd.concat([silent, genes]).to_csv(sides["genes"], index=False)
    more = images.iloc[:2].assign(gene=["A3", "ELSEWHERE"])
    pd.concat([images, more]).to_csv(sides["images"], index=False)
    found = run(sides, tmp_path / "b")
    for name in ("map", "map-scores", "map-hubs"):
        pd.testing.assert_frame_equal(found.table(name), without.table(name))
    dropped = found.table("map-dropped")
    assert len(dropped) == 31
    assert dropped["gene"].iloc[-1] == "ELSEWHERE"
    assert found.ledger.result("map", "*")["notes"] == [
        "genes left out, regulatory embedding of zeros (30): A0, A1, A10, A11, A12 and 25 others",
        "genes left out, no regulatory embedding (1): ELSEWHERE",
    ]
    assert without.ledger.result("map", "*")["notes"] == []
