"""What was planted and what was found, in one table and one unit."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from i2r.pipeline.spec import parse_pipeline
from i2r.simulation.designs import ScreenDesign, plan_genes, plan_layout
from i2r.simulation.truth import predict_changes
from tests.conftest import Cli, run_here

DESIGN = ScreenDesign(genes=16, null_genes=8, plates=3, controls=12, strength=2.0)
WELL_SD = 0.2


def measure_planted(folder: Path) -> Path:
    """Write layout, truth and nuclei in which the planted effects move two features each."""
    random = np.random.default_rng(0)
    layout, genes = plan_layout(DESIGN), plan_genes(DESIGN)
    (folder / "truth").mkdir()
    genes.to_csv(folder / "truth" / "genes.csv", index=False)
    layout.to_csv(folder / "layout.csv", index=False)
    kinds = [name for name in genes if name.startswith("change_")]
    changes = genes.set_index("gene")[kinds]
    # A size of 0.1 moves f0 by 0.5: 2.5 standard deviations of a control well, and f1 half as far.
    rows = []
    for row in layout.itertuples():
        nuclei = random.standard_normal((60, 6)) + WELL_SD * random.standard_normal(6)
        if row.gene:
            nuclei[:, 0] += 5.0 * changes.loc[row.gene, "change_size"]
            nuclei[:, 1] += 2.5 * changes.loc[row.gene, "change_size"]
            nuclei[:, 2] += 1.0 * changes.loc[row.gene, "change_texture"]
        frame = pd.DataFrame(nuclei, columns=[f"f{n}" for n in range(6)])
        rows.append(frame.assign(plate=row.plate, well=row.well))
    pd.concat(rows).to_parquet(folder / "cells.parquet")
    stages = [
        {"stage": "features", "method": "import", "table": str(folder / "cells.parquet"),
         "layout": str(folder / "layout.csv")},
        {"stage": "screen", "method": "fast", "control_draws": 4},
    ]  # fmt: skip
    assert run_here(parse_pipeline({"stages": stages}, where="t"), folder / "e").exit_code == 0
    return folder / "e"


def test_truth_and_result_are_joined_in_standard_deviations_of_control_wells(
    tmp_path: Path, cli: Cli
) -> None:
    experiment = measure_planted(tmp_path)
    code, text = cli("simulate", tmp_path, "--join", experiment)
    assert code == 0, text
    assert "null genes: 0 of 8 called" in text
    found = pd.read_csv(tmp_path / "truth" / "found.csv").set_index("gene")
    genes = plan_genes(DESIGN).set_index("gene")
    assert set(found.index) == set(genes.index)
    assert (found.loc[genes.index[genes["is_null"]], "planted_sd"] == 0).all()
    size = found[found["effect"] == "size"]
    assert (size["planted_feature"] == "f0").all()
    deviation = np.sqrt(WELL_SD**2 + 1 / 60)
    expected = 5.0 * genes.loc[size.index, "change_size"] / deviation
    np.testing.assert_allclose(size["planted_sd"], expected, rtol=0.35)
    assert np.abs(size["found_sd"] - size["planted_sd"]).max() < 1.5
    large = found[found["planted_sd"].abs() > 4]
    assert len(large)
    assert large["impactful"].all()
    assert found["planted_sd"].abs().is_monotonic_decreasing
    assert {"p_value", "fdr", "rank"} <= set(found)

    other = tmp_path / "other"
    (other / "truth").mkdir(parents=True)
    genes.rename(index=lambda name: f"X{name}").to_csv(other / "truth" / "genes.csv")
    code, text = cli("simulate", other, "--join", experiment)
    assert code == 2
    assert "none of its 16 genes" in text
    code, text = cli("simulate", tmp_path / "nowhere", "--join", experiment)
    assert code == 2
    assert "no such file" in text


def test_a_kind_that_nobody_has_predicts_nothing() -> None:
    moved = pd.DataFrame({"a": [1.0, 2.0, np.nan], "b": [0.0, 0.0, 0.0]})
    expected = predict_changes(moved, np.array([[1.0, 0], [2.0, 0], [3.0, 0]]))
    np.testing.assert_allclose(expected, [[1, 0], [2, 0], [3, 0]], atol=1e-12)


@pytest.mark.parametrize("content", ["gene,module\nA,1\n", "\x00\x01"])
def test_another_table_is_refused(content: str, tmp_path: Path) -> None:
    from i2r.errors import InputError
    from i2r.simulation.truth import join_truth
    from i2r.store.experiment import Experiment

    path = tmp_path / "genes.csv"
    path.write_text(content)
    empty = Experiment(str(tmp_path / "e"), layout=pd.DataFrame(), sources=pd.DataFrame())
    with pytest.raises(InputError, match="expected what 'i2r simulate' writes"):
        join_truth(empty, str(path))
