"""Another lab's plates: JPEG, siRNA, two plates of six wells. Nothing can be significant here."""

import os
from pathlib import Path

import pandas as pd
import pytest

from i2r.pipeline.spec import parse_pipeline
from i2r.store.experiment import open_experiment
from tests.conftest import run_here

ROLES = {"sample": "treated", "negative control": "negative_control"}


@pytest.mark.slow
def test_a_small_sirna_screen_runs_and_says_what_it_cannot_test(tmp_path: Path) -> None:
    root = os.environ.get("I2R_DATA")
    if root is None:
        pytest.skip("I2R_DATA does not name the folder of the shared real data")
    data = Path(root) / "imagehts_sirna"
    wells = pd.read_csv(data / "platemap.csv")
    roles = wells["role"].map(lambda role: next((r for k, r in ROLES.items() if role.startswith(k)), "positive_control"))  # fmt: skip
    layout = wells[["plate", "well", "gene"]].assign(perturbation=wells["gene"], role=roles)
    layout.to_csv(tmp_path / "layout.csv", index=False)
    content = {
        "seed": 1,
        "stages": [
            {
                "stage": "convert", "source": str(data / "images"),
                "layout": str(tmp_path / "layout.csv"),
                "pattern": r"(?P<plate>[^/_]+)_(?P<well>[A-H]\d+)_(?P<channel>Hoechst)\.jpg",
                "channels": {"Hoechst": "DNA"}, "pixel_size_um": 0.65,
            },
            "segment",
            {"stage": "crop", "min_area_um2": 40},
            "features",
            {"stage": "screen", "method": "fast"},
            "report",
        ],
    }  # fmt: skip
    summary = run_here(parse_pipeline(content, where="test"), tmp_path / "e")
    assert summary.exit_code == 0, [unit.error for unit in summary.failed]
    experiment = open_experiment(str(tmp_path / "e"))
    counts = experiment.table("segment").groupby(["plate", "well"]).size()
    published = wells.set_index(["plate", "well"])["otsu_n_nuclei"]
    assert counts.reindex(published.index).corr(published) > 0.9
    ranking = experiment.table("screen").set_index("condition")
    print(ranking[["kind", "score", "p_value", "n_wells", "n_nuclei", "note"]])
    treated = ranking[ranking["kind"].isin(["treated", "positive_control"])]
    assert set(treated.index) == set(
        layout.loc[layout["role"] != "negative_control", "perturbation"]
    )
    assert ((treated["score"].notna()) | (treated["note"] != "")).all()
    assert not treated["impactful"].any()
