"""Blocks of plates give the scores of the whole screen, and its calls."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from i2r.analysis.screen import condition_blocks
from i2r.analysis.screen.condition_blocks import cut_wells
from i2r.stages.screen import Screen
from tests.stages.profiled import lay_out, screen_features, write_features


def test_plates_that_share_conditions_stay_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets of two plates with genes of their own; a positive control lies on all."""
    monkeypatch.setattr(condition_blocks, "MAX_WELLS", 20)
    monkeypatch.setattr(condition_blocks, "WIDE", 2)
    plates, conditions = [], []
    for number in range(8):
        own = [f"G{number % 4}-{n}" for n in range(3)]
        plates += [f"P{number}"] * 6
        conditions += [*own, "", "", "pos"]
    blocks = cut_wells(plates, conditions)
    assert len(blocks) == 4
    assert np.array_equal(np.sort(np.concatenate(blocks)), np.arange(48))
    for own in blocks:
        assert len({plates[row] for row in own}) == 2
    # Once plates hang together, conditions take the controls of their plates with them.
    monkeypatch.setattr(condition_blocks, "WIDE", 16)
    blocks = cut_wells(plates, conditions)
    whole = [set(np.array(conditions)[own]) - {""} for own in blocks]
    assert sorted(name for names in whole for name in names) == sorted({*conditions} - {""})
    for own in blocks:
        on = {plates[row] for row in own if conditions[row]}
        controls = [row for row in range(48) if plates[row] in on and not conditions[row]]
        assert set(controls) <= set(own.tolist())


def test_a_screen_in_blocks_gives_the_scores_of_one_in_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random, contents = np.random.default_rng(0), {}
    for number in range(6):
        genes = [f"G{number // 2 * 12 + n}" for n in range(12)]
        contents[f"P{number}"] = random.permutation([*genes, "pos", *["ctrl"] * 8]).tolist()
    layout = lay_out(contents)
    layout.loc[layout["perturbation"] == "pos", "role"] = "positive_control"
    moves = lambda name, x: x + 1.0 * (name in ("G0", "G13", "pos"))  # noqa: E731
    experiment = write_features(tmp_path / "whole", layout, change=moves)
    whole = screen_features(experiment)
    screen = Screen(method="fast", needs=("features",))
    one = screen.fingerprint(experiment, "all", {})
    monkeypatch.setattr(condition_blocks, "MAX_WELLS", 50)
    monkeypatch.setattr(condition_blocks, "WIDE", 4)
    experiment = write_features(tmp_path / "cut", layout.copy(), change=moves)
    keys = screen.keys(experiment)
    assert [key for key in keys if key.startswith("tests/")] == [f"tests/000{n}" for n in (1, 2, 3)]
    assert screen.follows(experiment, "tests/0002") == ["controls/P2", "controls/P3"]
    assert list(screen.follows(experiment, "all")) == keys[-4:-1]
    assert screen.fingerprint(experiment, "all", {}) == one
    assert screen.peak_bytes(experiment, "tests/0001") < 2**30
    cut = screen_features(experiment)
    by = {"-scores": ["condition", "fold"], "-calls": ["condition", "plate", "well"]}
    for name, columns in by.items():
        pd.testing.assert_frame_equal(
            cut[name].sort_values(columns, ignore_index=True),
            whole[name].sort_values(columns, ignore_index=True),
        )  # fmt: skip
    pd.testing.assert_frame_equal(cut["-folds"], whole["-folds"])
    pd.testing.assert_frame_equal(cut["-left-out"], whole["-left-out"])
    found, known = (t[""].set_index("condition").sort_index() for t in (cut, whole))
    assert found.index.tolist() == known.index.tolist()
    pd.testing.assert_frame_equal(found[["score", "auc", "n_wells", "position_calls"]], known[["score", "auc", "n_wells", "position_calls"]])  # fmt: skip
    assert set(found.index[found["impactful"]]) == set(known.index[known["impactful"]])
    assert {"G0", "G13", "pos"} <= set(found.index[found["impactful"]])
    tested = known["p_value"].notna()
    assert found.loc[tested, "p_value"].notna().all()
    # Of the one condition that all blocks share: one row, ten features or fewer, wells that add up.
    assert (cut["-features"]["condition"] == "pos").sum() == 4
    shares = cut["-wells"].groupby("condition")["share"].sum()
    np.testing.assert_allclose(shares[shares.index != ""], 1)
    assert len(cut["-wells"]) == len(layout)
    changes = found.loc[tested, "change"].astype(float)
    assert np.corrcoef(changes, known.loc[tested, "change"].astype(float))[0, 1] > 0.9


def test_blocks_warn_of_conditions_with_one_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {f"P{n}": [*(f"G{n}-{i}" for i in range(6)), *["ctrl"] * 6] for n in range(4)}
    layout = lay_out(contents)
    experiment = write_features(tmp_path / "whole", layout)
    screen_features(experiment)
    (known,) = experiment.table("screen-statistics")["warning"]
    assert "Every condition has one well" in known
    monkeypatch.setattr(condition_blocks, "MAX_WELLS", 24)
    experiment = write_features(tmp_path / "cut", layout.copy())
    assert "tests/0002" in Screen(method="fast", needs=("features",)).keys(experiment)
    screen_features(experiment)
    assert experiment.table("screen-statistics")["warning"].tolist() == [known]
