"""The smoke pipeline: every stage on a simulated screen, and what was planted is found."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from i2r.pipeline.spec import Pipeline, parse_pipeline
from i2r.simulation import PRESETS
from i2r.simulation.recovery import (
    Recovery,
    describe_answer,
    describe_recovery,
    measure_recovery,
)  # fmt: skip
from i2r.simulation.screens import describe_pipeline, write_network
from i2r.stages.base import list_own_verbs
from i2r.store.experiment import Experiment, open_experiment
from tests.conftest import run_here
from tests.outputs import find_mismatches

ROOT = Path(__file__).parents[2]
# All but those for several screens, for measurements of one's own, and for wells placed by 'umap'.
SECTIONS = (
    "Overview", "Accounting", "Plates", "Illumination", "Segmentation", "Nuclei", "Position effects",
    "Ranking", "Features", "Encoders", "Embeddings", "Interactome", "Regulatory genes",
    "From perturbations to genes", "Predicted genes", "Timings", "Provenance",
)  # fmt: skip
REGULATION = {"interactome", "genes", "map", "predict"}


def read_stages(prefix: str = "") -> list[dict[str, Any]]:
    """Read the stages of the smoke pipeline, the simulated screen in another place."""
    text = (ROOT / "pipelines" / "smoke.yaml").read_text().replace("../smoke/", prefix)
    stages = yaml.safe_load(text)["stages"]
    return [{"stage": stage} if isinstance(stage, str) else stage for stage in stages]


def test_every_stage_is_in_it_and_the_simulated_pipeline_is_the_same() -> None:
    stages = read_stages()
    assert {stage["stage"] for stage in stages} == set(list_own_verbs())
    own = {"train", "embed"}
    simulated = describe_pipeline(PRESETS["smoke"])["stages"]
    assert [s for s in stages if s.get("name", s["stage"]) not in own] == simulated


def relink(folder: Path) -> Pipeline:
    """Deal the genes to places in the network anew; the images stay."""
    write_network(str(folder / "shuffled"), PRESETS["smoke"]._replace(linked=False))
    stages = read_stages(f"{folder}/smoke/")
    for stage in stages:
        for name, value in stage.items():
            if stage["stage"] in REGULATION and f"{folder}/smoke/" in str(value):
                text = json.dumps(value).replace(f"{folder}/smoke/", f"{folder}/shuffled/")
                stage[name] = json.loads(text)
    return parse_pipeline({"seed": 0, "stages": stages}, where="test")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do what the pipeline's first lines say."""
    folder = tmp_path_factory.mktemp("chain")
    shutil.copytree(ROOT / "pipelines", folder / "pipelines")
    for arguments in (
        ["simulate", "smoke", "--preset", "smoke", "--workers", "2"],
        ["run", "pipelines/smoke.yaml", "smoke/experiment", "--progress", "plain"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "i2r", *arguments],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def open_smoke(folder: Path) -> Experiment:
    return open_experiment(str(folder / "smoke" / "experiment"))


def measure(folder: Path, modules: str = "smoke") -> Recovery:
    genes = str(folder / "smoke" / "truth" / "genes.csv")
    return measure_recovery(
        open_smoke(folder), genes, str(folder / modules / "truth" / "modules.csv")
    )


@pytest.mark.slow
def test_what_was_planted_is_found_and_nothing_with_the_link_shuffled(ran: Path) -> None:
    found = measure(ran)
    assert found.nulls_called == 0
    assert found.planted_called == found.planted == 36
    assert found.p_map <= 0.01
    assert found.top_decile >= 0.3
    assert found.own_module > 2 * found.own_module_chance
    assert found.answered > 0
    assert found.in_set >= 0.85
    assert "36 of 36 planted genes called, 0 of 8 null genes" in describe_recovery(found)[0]
    assert "make the set that should hold it" in describe_answer(open_smoke(ran))
    # In the same experiment: what the images gave stays as it is.
    summary = run_here(relink(ran), ran / "smoke" / "experiment", only=REGULATION)
    assert summary.exit_code == 0
    assert set(summary.ran) == REGULATION
    shuffled = measure(ran, "shuffled")
    assert shuffled.planted_called == 36
    assert shuffled.p_map > 0.05
    assert shuffled.answered == 0
    assert "no answer, the map finds genes no better" in describe_answer(open_smoke(ran))


@pytest.mark.slow
def test_the_report_has_a_section_for_every_stage(ran: Path) -> None:
    report = (ran / "smoke" / "experiment" / "report.html").read_text()
    assert "could not be drawn" not in report
    for title in SECTIONS:
        assert f">{title}</a></h2>" in report, title
    timings = json.loads(next((ran / "smoke" / "experiment" / "runs").glob("*1.json")).read_text())
    assert set(timings["timings"]["stages"]) >= set(list_own_verbs())


@pytest.mark.slow
def test_tables_hold_the_columns_that_their_stages_declare(ran: Path) -> None:
    assert find_mismatches(open_smoke(ran)) == []


@pytest.mark.slow
def test_every_well_is_embedded(ran: Path) -> None:
    wells = open_smoke(ran).table("embed")
    assert len(wells) == 112
    assert pd.notna(wells.filter(regex=r"^e\d+$")).all(axis=None)
