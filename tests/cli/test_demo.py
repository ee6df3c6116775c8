"""The demo's own parts; that it runs as a whole is tested from the wheel."""

from pathlib import Path

import pandas as pd
import pytest

from i2r.cli.demo import (
    demo,
    describe_screen,
    load_smoke_pipeline,
    shared_folder,
    simulate_screen,
)  # fmt: skip
from i2r.errors import InputError


def test_the_smoke_pipeline_reads_the_screen_of_the_demo(tmp_path: Path) -> None:
    path = shared_folder() / "pipelines" / "smoke.yaml"
    pipeline = load_smoke_pipeline(path, str(tmp_path))
    convert, interactome = (
        pipeline.stage(name).model_dump() for name in ("convert", "interactome")
    )
    assert convert["source"] == str(tmp_path / "images")
    assert interactome["interactions"] == str(tmp_path / "interactions.tsv")


def test_a_simulated_screen_is_kept_and_what_is_not_the_demos_is_not_touched(
    tmp_path: Path,
) -> None:
    (tmp_path / "pipeline.yaml").write_text("mine")
    simulate_screen(str(tmp_path))
    assert (tmp_path / "pipeline.yaml").read_text() == "mine"
    (tmp_path / "pipeline.yaml").rename(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="not empty"):
        simulate_screen(str(tmp_path))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_screen_is_told_with_its_null() -> None:
    rows = [("a", "treated", 0.9), ("b", "treated", 0.6), ("c", "positive_control", 0.95)]
    rows += [("draw 1", "control_draw", 0.7), ("draw 2", "control_draw", 0.4)]
    said = describe_screen(pd.DataFrame(rows, columns=["condition", "kind", "score"]))
    assert said.startswith("c is told from the controls best, with a score of 0.95")
    assert "2 of 3 score above every draw of control wells (up to 0.70)" in said


def test_what_is_said_of_the_plate_is_in_its_layout() -> None:
    layout = pd.read_csv(shared_folder() / "pipelines" / "demo" / "layout.csv")
    treated = layout[layout["role"] != "negative_control"]
    assert (set(treated["perturbation"]), treated["dose"].nunique()) == ({"wortmannin"}, 5)
    notebook = shared_folder() / "pipelines" / "notebooks" / "look_at_a_plate.ipynb"
    for text in (str(demo.help), notebook.read_text(encoding="utf-8")):
        assert "wortmannin in five doses" in text
