"""One vocabulary for every table of a chain: old symbols, aliases and identifiers meet as one."""

import itertools
from pathlib import Path

import numpy as np

from i2r.pipeline.spec import parse_pipeline
from i2r.store.experiment import open_experiment
from tests.conftest import run_here

GENES = [f"G{n:02d}" for n in range(16)]


def test_signatures_and_features_under_other_names_are_found(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    names = "hgnc_id\tsymbol\tprev_symbol\tensembl_gene_id\n"
    names += "".join(f"HGNC:{n}\t{g}\tOLD{n}\tENSG{n:011d}\n" for n, g in enumerate(GENES))
    (tmp_path / "hgnc.txt").write_text(names)
    pairs = list(itertools.combinations(GENES, 2))[::2]
    rows = "".join(f"{a},{b},{random.uniform(0.1, 0.5):.3f}\n" for a, b in pairs)
    (tmp_path / "i.csv").write_text(f"gene1,gene2,cost\n{rows}")

    def write(name: str, of: str) -> str:
        values = random.normal(size=(16, 4)).round(3)
        lines = [
            ",".join(map(str, [of.format(n=n), *row])) for n, row in enumerate(values.tolist())
        ]
        (tmp_path / name).write_text("gene,a,b,c,d\n" + "\n".join(lines) + "\n")
        return str(tmp_path / name)

    sets = "\t".join(["set", "x", *(f"old{n}" for n in range(5))])
    (tmp_path / "s.gmt").write_text(f"{sets}\n")
    content = {
        "stages": [
            {
                "stage": "interactome", "method": "import", "network": str(tmp_path / "i.csv"),
                "targets": ["old3", "ENSG00000000004", "G05"], "symbols": str(tmp_path / "hgnc.txt"),
            },
            {
                "stage": "genes", "method": "spectral", "features": write("f.csv", "OLD{n}"),
                "feature_sets": str(tmp_path / "s.gmt"),
            },
            {"stage": "map", "signatures": write("m.csv", "ENSG{n:011d}.2"), "permutations": 19},
        ]
    }  # fmt: skip
    run_here(parse_pipeline(content, where="test"), tmp_path / "e")
    experiment = open_experiment(str(tmp_path / "e"))
    network = experiment.table("interactome")
    assert sorted(network["gene"][network["terminal"]]) == ["G03", "G04", "G05"]
    translated = experiment.table("interactome-symbols")
    assert translated[["table", "name", "symbol", "how"]].to_numpy().tolist() == [
        ["targets", "OLD3", "G03", "previous symbol"],
        ["targets", "ENSG00000000004", "G04", "identifier"],
    ]
    assert experiment.table("genes-genes")["has_features"].all()
    assert sorted(experiment.table("map")["gene"]) == GENES
