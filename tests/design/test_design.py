"""Plans from a pilot: what it learns, what they find, and where wells lie."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from i2r.audit.screen import prepare_screen
from i2r.audit.wells import summarise_table
from i2r.cli.design import _say_spread
from i2r.design.pilot import Pilot, _estimate_correlation, _shrink_variances, learn_pilot
from i2r.design.places import deal_plate, name_grid, write_layout
from i2r.design.planted import find_strength
from i2r.design.power import Plan, compare_plans, draw_wells, predict_power
from i2r.errors import InputError
from i2r.kernels.conditions import find_displaced
from i2r.kernels.conditions.noise import shrink_correlation
from i2r.simulation.designs import ScreenDesign
from tests.conftest import Cli

FEATURES = 12


def write_pilot(folder: Path, *, controls: int = 16, well_sd: float = 0.3) -> tuple[Path, Path]:
    """Write nuclei of one plate: controls, and conditions that do nothing."""
    random = np.random.default_rng(0)
    wells = [f"{row}{column:02d}" for row in "ABCDEFGH" for column in range(1, 13)]
    own = random.permutation(96)[: controls + 24]
    rows, layout = [], []
    for number, index in enumerate(own):
        name = "DMSO" if number < controls else f"drug {number}"
        role = "negative_control" if number < controls else "treated"
        layout.append(("P1", wells[index], name, role))
        nuclei = well_sd * random.standard_normal(FEATURES) + random.standard_normal((60, FEATURES))
        frame = pd.DataFrame(nuclei, columns=[f"f{i}" for i in range(FEATURES)])
        rows.append(frame.assign(plate="P1", well=wells[index]))
    table, places = folder / "cells.parquet", folder / "layout.csv"
    pd.concat(rows).to_parquet(table)
    columns = ["plate", "well", "perturbation", "role"]
    pd.DataFrame(layout, columns=columns).to_csv(places, index=False)
    return table, places


def make_pilot(of_wells: float = 0.04) -> Pilot:
    return Pilot(np.full(8, of_wells), np.full(8, 1.0), np.eye(8), np.ones(4), 80.0, 16)


@pytest.mark.parametrize("plate_format", [96, 384])
def test_every_plate_holds_all_conditions_once_and_its_controls_among_them(
    plate_format: int,
) -> None:
    layout = write_layout(
        [f"c{n}" for n in range(70)], replicates=3, controls=12, plate_format=plate_format, seed=1
    )
    assert sorted(layout["plate"].unique()) == ["R1", "R2", "R3"]
    for _, plate in layout.groupby("plate"):
        assert (plate["role"] == "negative_control").sum() == 12
        treated = plate.loc[plate["role"] == "treated", "perturbation"]
        assert sorted(treated) == sorted(f"c{n}" for n in range(70))
        assert not plate["well"].duplicated().any()
    first, second = (
        layout[layout["plate"] == p].set_index("well")["perturbation"] for p in ("R1", "R2")
    )
    assert (first.reindex(second.index) != second).mean() > 0.8, "plates are shuffled anew"


def test_more_conditions_than_a_plate_holds_go_on_sets_of_plates() -> None:
    layout = write_layout(
        [f"c{n}" for n in range(100)], replicates=2, controls=8, plate_format=96, seed=0
    )
    assert sorted(layout["plate"].unique()) == ["S1R1", "S1R2", "S2R1", "S2R2"]
    assert (layout[layout["role"] == "treated"]["perturbation"].value_counts() == 2).all()
    assert Plan(100, 2, 8, 80, 96).plates == 4
    assert Plan(100, 2, 8, 80, 96).wells == len(layout)


def test_a_condition_may_have_several_wells_on_a_plate() -> None:
    layout = write_layout(
        [f"c{n}" for n in range(30)],
        replicates=2, controls=8, plate_format=96, seed=0, per_plate=4,
    )  # fmt: skip
    plan = Plan(30, 2, 8, 80, 96, per_plate=4)
    assert plan.sets == 2
    assert plan.wells == len(layout)
    wells = layout[layout["role"] == "treated"].groupby(["perturbation", "plate"]).size()
    assert (wells == 4).all()
    assert wells.groupby("perturbation").size().eq(2).all()


def test_four_wells_on_a_plate_find_more_than_two() -> None:
    two, four = (
        predict_power(make_pilot(), Plan(20, 1, 12, 80, 96, w), screens=4, sizes=(3,)).at(3)
        for w in (2, 4)
    )
    assert four > two + 0.1


def test_controls_lie_where_conditions_lie() -> None:
    random = np.random.default_rng(0)
    rows, columns = name_grid(384)
    for _ in range(20):
        dealt = deal_plate(60, 16, 384, random)
        controls, used = dealt == -1, dealt > -2
        for place in (rows, columns):
            middle = np.median(place[used])
            assert 5 <= (place[controls] > middle).sum() <= 11
    found = [
        find_displaced(draw_wells(make_pilot(), Plan(60, 3, 16, 80), 60, np.random.default_rng(n)))
        for n in range(40)
    ]
    assert np.mean(np.array(found) < 0.01) <= 0.05, "the test of places takes them for alike"


def test_a_plate_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="96 wells"):
        deal_plate(90, 8, 96, np.random.default_rng(0))


def test_a_pilot_says_how_wells_differ(tmp_path: Path) -> None:
    table, layout = write_pilot(tmp_path)
    pilot = learn_pilot(
        prepare_screen(summarise_table(str(table), str(layout), names={}, roles={}))
    )
    # On the scale of control nuclei: their own scatter and that of wells.
    scale = np.sqrt(1 + 0.3**2)
    expected = np.sqrt(0.3**2 + 1 / 60) / scale
    assert np.median(pilot.deviation(60)) == pytest.approx(expected, rel=0.25)
    assert pilot.nuclei == 60
    assert np.abs(pilot.correlation - np.eye(FEATURES)).max() < 0.5


def test_a_pilot_of_three_controls_says_too_little(tmp_path: Path) -> None:
    table, layout = write_pilot(tmp_path, controls=3)
    with pytest.raises(InputError, match=r"3 wells can be compared .* expected 6"):
        learn_pilot(prepare_screen(summarise_table(str(table), str(layout), names={}, roles={})))


def test_more_replicates_find_more_and_large_changes_are_found() -> None:
    few, many = (
        predict_power(make_pilot(), Plan(40, r, 12, 80), screens=4, sizes=(1, 3, 8))
        for r in (2, 4)
    )  # fmt: skip
    assert few.curve["power"].is_monotonic_increasing
    assert many.at(3) > few.at(3) + 0.15
    assert few.at(8) > 0.9
    assert few.at(1) < 0.3
    assert many.least < few.least


def test_more_conditions_than_wells_of_a_plate_are_simulated_in_part() -> None:
    plan = Plan(200, 2, 8, 80, plate_format=96)
    power = predict_power(make_pilot(), plan, screens=2, sizes=(2, 8))
    assert plan.sets == 3
    assert power.at(8) > 0.9


def test_the_same_seed_gives_the_same_plan() -> None:
    plan = Plan(30, 2, 8, 80)
    one, two = (predict_power(make_pilot(), plan, screens=2, sizes=(2, 4)) for _ in range(2))
    pd.testing.assert_frame_equal(one.curve, two.curve)


def test_the_command_writes_a_page_tables_and_a_layout(tmp_path: Path, cli: Cli) -> None:
    table, layout = write_pilot(tmp_path)
    names = tmp_path / "names.txt"
    names.write_text("\n".join(["<b>bold</b>", *[f"gene {n}" for n in range(29)]]))
    arguments = ["design", table, "--layout", layout, "--names", names, "--replicates", "2,3",
                 "--controls", "8", "--screens", "2", "--change", "6", "--plate-format", "96"]  # fmt: skip
    code, text = cli(*arguments, "-o", tmp_path / "plan")
    assert code == 0, text
    assert "replicates with 8 controls per plate" in text
    assert "Only one plate of the pilot says enough of its noise" in text
    plans = pd.read_csv(tmp_path / "plan" / "design.csv")
    assert plans["replicates"].tolist() == [2, 3]
    assert plans["power"].between(0, 1).all()
    dealt = pd.read_csv(tmp_path / "plan" / "layout.csv")
    assert set(dealt.loc[dealt["role"] == "treated", "perturbation"]) == set(
        names.read_text().split("\n")
    )
    page = (tmp_path / "plan" / "design.html").read_text()
    assert "What each finds" in page
    assert "<b>bold</b>" not in page
    code, text = cli(*arguments, "-o", tmp_path / "plan")
    assert code == 2
    assert "kept as it is" in text or "--yes" in text
    code, text = cli(*arguments, "--json", "--replicates", "1,2")
    assert code == 0
    assert len(json.JSONDecoder().raw_decode(text)[0]["plans"]) == 1, "single wells are left out"
    assert json.JSONDecoder().raw_decode(text)[0]["plans"][0]["wells"] == 76


def test_the_result_is_the_same_for_any_number_of_processes() -> None:
    plans = [Plan(20, r, 8, 80, 96) for r in (2, 3)]
    options = {"fdr": 0.05, "active": 0.25, "screens": 2, "seed": 0}
    said: list[str] = []
    alone = compare_plans(make_pilot(), plans, **options, say=said.append)
    beside = compare_plans(make_pilot(), plans, **options, workers=2)
    for one, other in zip(alone, beside, strict=True):
        pd.testing.assert_frame_equal(one.curve, other.curve)
    assert said[1] == (
        "plan 2 of 2: 3 replicate plates, 1 well per plate, 8 controls per plate, 80 nuclei"
    )


def test_sizes_that_can_only_give_the_same_are_not_simulated() -> None:
    plan, sizes = Plan(20, 2, 8, 80, 96), (0.1, 0.3, 3.0, 10.0, 20.0)
    curve = predict_power(make_pilot(), plan, fdr=0.001, screens=2, sizes=sizes).curve
    every = [
        predict_power(make_pilot(), plan, fdr=0.001, screens=2, sizes=(size,)).at(size)
        for size in sizes
    ]
    assert curve["power"].tolist() == every
    assert curve["n"].tolist() == [0, 10, 10, 10, 0]


def test_plates_of_a_pilot_answer_one_by_one(tmp_path: Path, cli: Cli) -> None:
    """A plate that is twice as noisy finds less, and the answer says from where to where."""
    parts = []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        table, layout = write_pilot(folder)
        parts.append((pd.read_parquet(table), pd.read_csv(layout)))
        parts[-1][0]["plate"] = parts[-1][1]["plate"] = f"P{number}"
    values = parts[2][0].select_dtypes("number").columns
    random = np.random.default_rng(5)
    by_well = {w: random.standard_normal(len(values)) for w in parts[2][1]["well"]}
    parts[2][0][values] += np.array([by_well[w] for w in parts[2][0]["well"]])
    pd.concat([table for table, _ in parts]).to_parquet(tmp_path / "features.parquet")
    pd.concat([layout for _, layout in parts]).to_csv(tmp_path / "layout.csv", index=False)
    code, text = cli(
        "design", tmp_path / "features.parquet", "--layout", tmp_path / "layout.csv", "--conditions",
        "20", "--replicates", "2", "--controls", "8", "--screens", "4", "--plate-format", "96",
        "--json",
    )  # fmt: skip
    assert code == 0, text
    shares = json.JSONDecoder().raw_decode(text)[0]["by_plate"]
    assert len(shares) == 3
    assert all(0 <= share <= 1 for share in shares)
    assert _say_spread([0.5, 0.75]).endswith("finds 50% to 75% of these changes.")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--conditions"),
        (["--conditions", "40", "--controls", "96", "--plate-format", "96"], "96 of 96 wells"),
        (["--conditions", "40", "--replicates", "two"], "whole numbers such as 2,3,4"),
        (["--conditions", "40", "--replicates", "1"], "Add --wells-per-plate 2"),
        (["--conditions", "40", "--names", "missing.txt"], "missing.txt"),
    ],
)
def test_what_can_not_be_planned_is_said(
    options: list[str], words: str, tmp_path: Path, cli: Cli
) -> None:
    table, layout = write_pilot(tmp_path)
    code, text = cli("design", table, "--layout", layout, *options)
    assert code == 2
    assert words in text


def test_correlations_of_a_small_pilot_are_as_large_as_those_of_wells() -> None:
    random = np.random.default_rng(0)
    mixing = random.standard_normal((40, 4)) + 0.2 * random.standard_normal((40, 4))
    truth = mixing @ mixing.T + 0.3 * np.eye(40)
    scale = np.sqrt(np.diag(truth))
    truth = truth / np.outer(scale, scale)
    off = ~np.eye(40, dtype=bool)
    sizes, shrunk = [], []
    for _ in range(20):
        rows = random.multivariate_normal(np.zeros(40), truth, size=20)
        found = _estimate_correlation(rows, 20)
        assert np.linalg.eigvalsh(found).min() > -1e-9
        sizes.append((found[off] ** 2).mean())
        shrunk.append((shrink_correlation(rows)[off] ** 2).mean())
    expected = (truth[off] ** 2).mean()
    assert np.mean(sizes) == pytest.approx(expected, rel=0.2)
    assert np.mean(shrunk) < 0.75 * expected


def test_chance_is_no_correlation_and_no_smaller_noise() -> None:
    """Rows of wells less the mean of their replicates have fewer degrees of freedom."""
    random = np.random.default_rng(0)
    sizes, levels = [], []
    for _ in range(40):
        rows = random.standard_normal((10, 2, 40))
        rows = (rows - rows.mean(axis=1, keepdims=True)).reshape(20, 40) * np.sqrt(2)
        sizes.append((_estimate_correlation(rows, 10) ** 2).sum() / 40 - 1)
        levels.append(_shrink_variances(random.chisquare(10, 40) / 10, 10).mean())
    assert np.mean(sizes) / 39 < 0.01, "a tenth would be chance"
    assert np.mean(levels) == pytest.approx(1.0, abs=0.02)


def test_simulated_effects_have_the_size_that_was_asked_for() -> None:
    design = ScreenDesign(genes=6, null_genes=2, fields=1, field_px=200, controls=6, seed=2)
    strength = find_strength(design, 2.0)
    assert 0 < strength <= 2
    assert find_strength(design, 4.0) == pytest.approx(2 * strength, abs=0.02)
    with pytest.raises(InputError, match="--effect 1000, found that planted genes move"):
        find_strength(design, 1000.0)
    with pytest.raises(InputError, match="no gene has an effect"):
        find_strength(design._replace(null_genes=6), 2.0)
