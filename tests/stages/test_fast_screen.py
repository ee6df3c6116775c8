"""The fast screen: planted changes are called, bad input is named, nothing leaks."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from i2r.analysis.screen.plate_plans import FastPlan
from i2r.errors import I2RError
from i2r.stages.quality import Quality
from i2r.stages.screen import Screen
from i2r.store import tables
from i2r.store.experiment import Experiment
from i2r.store.ledger import LedgerWriter
from tests.analysis.screen import whole_screen
from tests.stages.profiled import lay_out, screen_features, write_features

GENES = [f"G{number:02d}" for number in range(10)]
ACTIVE = ("G00", "G01", "G02")


def shift_area(name: str, values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values[:, 0] += 0.8 * (name in ACTIVE)
    return values


def shuffled(names: list[str], plates: int = 3, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return lay_out({f"P{n}": random.permutation(names).tolist() for n in range(1, plates + 1)})


@pytest.fixture(scope="module")
def screened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    layout = shuffled([*GENES, *["ctrl"] * 10])
    experiment = write_features(tmp_path_factory.mktemp("fast"), layout, change=shift_area)
    return screen_features(experiment)


def test_planted_changes_are_called_with_intervals_and_their_feature(
    screened: dict[str, pd.DataFrame],
) -> None:
    ranking = screened[""]
    wanted = [
        "perturbation", "gene", "score", "p_value", "fdr", "impactful", "ci_low", "ci_high", "n_wells", "n_nuclei",
    ]  # fmt: skip
    assert set(wanted) <= set(ranking.columns)
    called = ranking[ranking["impactful"]]
    assert set(called["gene"]) == set(ACTIVE)
    assert (called["feature"] == "area_um2").all()
    assert (called["ci_low"] < called["score"]).all()
    assert (called["score"] < called["ci_high"]).all()
    genes = ranking[ranking["kind"] == "treated"]
    assert (genes["n_nuclei"] == 120).all()
    assert (genes["n_wells"] == 3).all()
    assert (ranking["kind"] == "control_draw").sum() == 20
    assert ranking.loc[ranking["kind"] == "control_draw", "p_value"].isna().all()


def test_the_statistics_are_stated(screened: dict[str, pd.DataFrame]) -> None:
    row = screened["-statistics"].iloc[0]
    assert row["method"] == "fast"
    assert row["impactful"] == "fdr < 0.05"
    assert row["tail"] == "exponential"
    assert row["n_draws"] == 2000
    # Ten genes on three plates and thirty controls: 20 + 27 degrees of freedom, less the plates'.
    assert 40 <= row["freedom"] <= 47
    assert row["borrows"]
    assert row["warning"] == ""
    assert row["needed"] == pytest.approx(0.05 / 10)
    assert not row["is_leaking"]
    assert not row["layout_repeats"]


def test_no_well_is_in_two_folds_and_controls_have_one_fold_for_all(
    screened: dict[str, pd.DataFrame],
) -> None:
    folds = screened["-folds"]
    assert not folds.duplicated(["condition", "plate", "well"]).any()
    controls = folds[~folds["is_treated"]]
    assert controls.groupby(["plate", "well"])["fold"].nunique().max() == 1
    calls = screened["-calls"]
    per_condition = calls[calls["is_treated"]].groupby("condition")["n_nuclei"].sum()
    assert (per_condition[GENES] == 120).all(), "every nucleus is held out once"


def test_the_same_seed_gives_the_same_tables_and_wells_come_in_any_order(tmp_path: Path) -> None:
    layout = shuffled([*GENES[:4], *["ctrl"] * 6])
    made = [
        screen_features(write_features(tmp_path / name, table, change=shift_area), seed=seed)[""]
        for name, table, seed in (("a", layout, 1), ("b", layout, 1), ("c", layout, 2))
    ]
    pd.testing.assert_frame_equal(made[0], made[1])
    assert not made[0].equals(made[2])


def test_splitting_by_field_is_marked_as_leaking_and_scores_higher(tmp_path: Path) -> None:
    """Wells differ: who has seen a field of a well knows its other field."""
    layout = shuffled([*GENES, *["ctrl"] * 10], plates=2)
    random = np.random.default_rng(3)
    wells = {name: 1.5 * random.standard_normal(4) for name in GENES}
    experiment = write_features(
        tmp_path, layout, change=lambda name, values: values + wells.get(name, 0) * (random.random() < 0.5)
    )  # fmt: skip
    by = {split: screen_features(experiment, split_by=split) for split in ("well", "field")}
    assert by["field"]["-statistics"].loc[0, "is_leaking"]
    mean = {k: t[""].query("kind == 'treated'")["score"].mean() for k, t in by.items()}
    assert mean["field"] > mean["well"] + 0.05
    pieces = by["field"]["-folds"]
    assert set(pieces["field"]) == {"1", "2"}


@pytest.mark.parametrize(
    ("split", "contents", "note"),
    [
        ("plate", {"P1": ["a", "a", "ctrl", "ctrl"], "P2": ["b", "ctrl", "ctrl"], "P3": ["b", "ctrl", "ctrl"]},
         "all its wells are in one plate"),
        ("position", {f"P{n}": ["a", "b", "b", "ctrl", "ctrl", "ctrl", "ctrl"] for n in (1, 2)},
         "all its wells are in one position"),
    ],
)  # fmt: skip
def test_what_cannot_be_held_out_is_listed_and_the_rest_is_scored(
    split: str, contents: dict[str, list[str]], note: str, tmp_path: Path
) -> None:
    found = screen_features(write_features(tmp_path, lay_out(contents)), split_by=split)
    ranking = found[""].set_index("condition")
    assert note in ranking.loc["a", "note"]
    assert np.isnan(ranking.loc["a", "score"])
    assert not np.isnan(ranking.loc["b", "score"])
    assert note in found["-left-out"].set_index("where").loc["a", "reason"]
    folds = found["-folds"]
    column = {"plate": "plate", "position": "well"}[split]
    assert folds.groupby(["condition", column])["fold"].nunique().max() == 1


def test_batches_come_from_the_layout(tmp_path: Path) -> None:
    layout = shuffled([*GENES[:3], *["ctrl"] * 4], plates=4)
    experiment = write_features(tmp_path, layout)
    problem = Screen(method="fast", needs=("features",), split_by="batch").check(experiment)
    assert "no column 'batch'" in problem[0]
    batched = layout.assign(batch=layout["plate"].map({"P1": "x", "P2": "x", "P3": "y", "P4": "y"}))
    found = screen_features(write_features(tmp_path / "b", batched), split_by="batch")["-folds"]
    assert found.groupby("plate")["fold"].unique().map(tuple).to_dict() in (
        {"P1": (0,), "P2": (0,), "P3": (1,), "P4": (1,)}, {"P1": (1,), "P2": (1,), "P3": (0,), "P4": (0,)},
    )  # fmt: skip


def test_wrong_genes_are_listed_with_reasons_and_never_dropped(tmp_path: Path) -> None:
    layout = lay_out(
        {
            "P1": ["a", "once", "few", "empty", "half", *["ctrl"] * 8],
            "P2": ["a", "few", "empty", "far", "half", *["ctrl"] * 8],
            "P3": ["far", "far", "a"],
        }
    )
    experiment = write_features(tmp_path, layout, n_nuclei={"few": 1, "empty": 0})
    # Of 'half' one well is without nuclei and the other far from everything.
    for well, rows in (("P1/A05", slice(0)), ("P2/A05", slice(None))):
        url = experiment.part_url("features", well)
        table = tables.read_table(url).iloc[rows]
        tables.write_table(url, table.assign(area_um2=table["area_um2"] + np.float32(20)))
    found = screen_features(experiment)
    ranking = found[""].set_index("condition")
    assert {"a", "once", "few", "empty", "far"} <= set(ranking.index)
    assert ranking.loc["once", "note"].startswith("one well: halves of its nuclei are held out")
    assert 0 < ranking.loc["once", "score"] < 1
    assert (
        "2 of 3 wells left out: fewer than two control wells on plate P3"
        in ranking.loc["far", "note"]
    )
    assert "1 of 3 wells left out" in ranking.loc["a", "note"]
    assert ranking.loc["a", "score"] == ranking.loc["a", "score"]
    for name in ("empty", "half"):
        assert "a fold has no nuclei of one kind" in ranking.loc[name, "note"]
        assert np.isnan(ranking.loc[name, ["score", "p_value", "fdr"]].astype(float)).all()
        assert not ranking.loc[name, "impactful"]
    assert ranking.loc["few", "n_nuclei"] == 2
    left_out = found["-left-out"]
    assert {"once", "far", "a", "empty", "half"} <= set(left_out["where"])
    assert (
        "no nuclei" in left_out.loc[left_out["where"].isin(["P1/A04", "P2/A03"]), "reason"].tolist()
    )


@pytest.mark.parametrize("n_controls", [12, 4])
def test_a_screen_of_single_wells_is_ranked(n_controls: int, tmp_path: Path) -> None:
    """Of halves of their nuclei; p-values where control wells tell how wells scatter."""
    layout = shuffled([*GENES, *["ctrl"] * n_controls], plates=1)
    experiment = write_features(
        tmp_path, layout, change=lambda name, v: shift_area(name, shift_area(name, v))
    )
    screen = Screen(method="fast", needs=("features",))
    assert not screen.check(experiment)
    notes = " ".join(screen.notes(experiment))
    assert "Every condition has one well" in notes
    assert ("No p-value is possible: 4 control wells" in notes) == (n_controls == 4)
    found = screen_features(experiment)
    ranking = found[""]
    assert ranking["rank"].tolist() == list(range(1, 11))
    assert set(ranking["gene"].iloc[:3]) == set(ACTIVE)
    assert ranking["score"].notna().all()
    assert (ranking["n_nuclei"] == 40).all(), "each half is held out once"
    assert (found["-calls"].groupby("condition")["is_treated"].sum() == 1).all()
    if n_controls == 12:
        assert set(ranking.loc[ranking["impactful"], "gene"]) == set(ACTIVE)
        assert ranking["note"].str.startswith("one well").all()
    else:
        assert ranking["p_value"].isna().all()
        assert ranking["note"].str.contains("3 more control wells").all()


def test_controls_on_other_plates_only_are_an_error_before_anything_runs(tmp_path: Path) -> None:
    layout = lay_out({"P1": ["a", "a", "b", "b"], "P2": ["ctrl"] * 4})
    problems = Screen(method="fast", needs=("features",)).check(write_features(tmp_path, layout))
    assert "no perturbation can be compared" in problems[0]
    assert "fewer than two control wells on plate P1" in problems[0]
    assert "needs a stage 'features' or 'embed'" in Screen(method="fast").check(
        write_features(tmp_path / "2", shuffled(["a", "a", "ctrl", "ctrl"]))
    )[0]  # fmt: skip


def test_missing_values_are_left_out_and_listed(tmp_path: Path) -> None:
    layout = shuffled([*GENES, *["ctrl"] * 10])
    experiment = write_features(tmp_path, layout, change=shift_area)
    key = next(iter(experiment.well_keys))
    for well in experiment.well_keys:
        table = tables.read_table(experiment.part_url("features", well))
        table["roundness"] = np.float32("nan")
        if well == key:
            table.loc[:1, "spots"] = np.float32("nan")
        tables.write_table(experiment.part_url("features", well), table)
    found = screen_features(experiment)
    listed = found["-left-out"].set_index("where")["reason"]
    assert listed["roundness"] == "missing in 100.0% of the nuclei"
    assert listed[key] == "2 with missing features"
    assert set(found[""].loc[found[""]["impactful"], "gene"]) == set(ACTIVE)


def test_features_that_say_nothing_at_all_are_an_error(tmp_path: Path) -> None:
    layout = shuffled([*GENES[:2], *["ctrl"] * 4], plates=2)
    experiment = write_features(
        tmp_path, layout, change=lambda name, values: np.full_like(values, np.nan)
    )
    with pytest.raises(I2RError, match=r"every feature is missing \(NaN\)"):
        screen_features(experiment)
    empty = write_features(tmp_path / "2", layout, n_nuclei={"ctrl": 0})
    with pytest.raises(I2RError, match="all control wells are without nuclei"):
        screen_features(empty)


def test_few_nuclei_are_a_phenotype_of_their_own_and_no_change_of_features(tmp_path: Path) -> None:
    """Means of few nuclei scatter more: that is not an effect, their small number is one."""
    layout = shuffled([*GENES, *["ctrl"] * 20], plates=4)
    found = screen_features(write_features(tmp_path, layout, n_nuclei={"G05": 4}, scatter=5))
    row = found[""].set_index("condition").loc["G05"]
    assert not row["impactful"]
    assert row["count_fdr"] < 0.01
    assert row["count_change"] < -2


def test_several_reagents_of_a_gene_have_one_p_value_and_agree(tmp_path: Path) -> None:
    layout = shuffled([*GENES, *["ctrl"] * 10])
    gene_of = {"G00": "A", "G01": "A", "G02": "A", "G03": "B", "G04": "B", "G05": "C"}
    layout["gene"] = layout["perturbation"].map(gene_of).fillna("")
    found = screen_features(write_features(tmp_path, layout, change=shift_area))
    genes = found["-genes"].set_index("gene")
    assert list(genes.index) == ["A", "B"], "C has one reagent alone"
    assert genes.loc["A", "fdr"] < 0.01
    assert genes.loc["B", "p_value"] > 0.05
    assert genes.loc["A", ["n_reagents", "n_called"]].tolist() == [3, 3]
    assert genes.loc["A", "agreement"] > 0.5


def test_fields_that_were_left_out_make_no_fewer_nuclei(tmp_path: Path) -> None:
    """Half of G00's fields are excluded: it has half the nuclei, as many per field."""
    layout = shuffled([*GENES, *["ctrl"] * 10])
    experiment = write_features(tmp_path, layout, n_nuclei={"G00": 20})
    writer = LedgerWriter(experiment.ledger, 2)
    for key in experiment.layout_by_key.query("condition == 'G00'").index:
        writer.write("quality", key, "done", "x", result={"excluded": {"2": "blurred"}})
    writer.close()
    experiment = Experiment(experiment.url, layout=layout)
    kept = screen_features(experiment, upstream=("quality", "features"))
    everything = screen_features(experiment)
    changes = [found[""].set_index("condition")["count_change"] for found in (kept, everything)]
    assert abs(changes[0]["G00"]) < 0.2
    assert changes[1]["G00"] < -0.8


def test_a_gene_called_for_its_place_is_told_by_the_controls_there(tmp_path: Path) -> None:
    """A01 is bright on every plate; G00 is there on two, a control on the third."""
    rest = [*GENES[2:], *["ctrl"] * 10]
    layout = lay_out(
        {
            "P1": ["G00", "G01", *rest],
            "P2": ["G00", "G01", *rest],
            "P3": ["ctrl", "G00", "G01", *rest],
        }
    )
    experiment = write_features(tmp_path, layout)
    for plate in ("P1", "P2", "P3"):
        url = experiment.part_url("features", f"{plate}/A01")
        table = tables.read_table(url)
        tables.write_table(url, table.assign(area_um2=table["area_um2"] + np.float32(2)))
    ranking = screen_features(experiment)[""].set_index("condition")
    assert ranking.loc["G00", "score"] > 0.65
    assert ranking.loc["G00", "position_calls"] > 0.3
    assert abs(ranking["position_calls"].drop("G00")).median() < 0.2


@pytest.mark.parametrize(("rule", "expected"), [("top", 2), ("knee", 3)])
def test_other_rules_call_by_score(rule: str, expected: int, tmp_path: Path) -> None:
    layout = shuffled([*GENES, *["ctrl"] * 10], plates=4)
    strong = lambda name, values: values + 2.5 * (name in ACTIVE) * np.eye(4)[0]  # noqa: E731
    experiment = write_features(tmp_path, layout, change=strong)
    found = screen_features(experiment, impactful=rule, top=2)
    ranking = found[""]
    assert ranking["impactful"].sum() == expected
    assert ranking[ranking["kind"] == "treated"]["impactful"].iloc[:expected].all()
    assert found["-statistics"].loc[0, "impactful"] == {"top": "top 2", "knee": "knee"}[rule]


def test_fast_and_network_read_different_stages() -> None:
    assert Screen().chosen_upstream == {"crop": True, "quality": False}
    assert set(Screen(method="fast").chosen_upstream) == {"features", "embed", "quality"}
    assert Screen().worker_group == "gpu"
    assert Screen(method="fast").worker_group == "cpu"


def empty_wells(experiment: Experiment, keys: Iterable[str]) -> None:
    for key in keys:
        url = experiment.part_url("features", key)
        tables.write_table(url, tables.read_table(url).iloc[:0])


def test_a_plate_whose_controls_turn_out_empty_is_not_compared(tmp_path: Path) -> None:
    """P3 is far from the others: without its controls nobody knows that this is the plate."""
    layout = shuffled([*GENES, *["ctrl"] * 12])
    experiment = write_features(tmp_path, layout)
    rows = experiment.layout_by_key
    there = rows[rows["plate"] == "P3"]
    controls = there.index[there["role"] == "negative_control"]
    empty_wells(experiment, controls[1:])
    found = screen_features(experiment)
    genes = found[""].query("kind == 'treated'")
    assert (genes["n_wells"] == 2).all()
    assert (genes["n_nuclei"] == 80).all()
    assert set(found["-calls"].query("is_treated and condition in @GENES")["plate"]) == {"P1", "P2"}
    reasons = found["-left-out"].query("what == 'well'").set_index("where")["reason"]
    assert reasons.index.is_unique
    alone = "fewer than two control wells of its plate have nuclei"
    assert (reasons[there.index[there["role"] == "treated"]] == alone).all()
    assert (reasons[controls[1:]] == "no nuclei").all()
    empty_wells(experiment, rows.index[rows["role"] == "negative_control"][1:])
    with pytest.raises(I2RError, match="no plate has two control wells with nuclei"):
        screen_features(experiment)


def test_wells_that_a_stage_before_did_not_make_are_listed(tmp_path: Path) -> None:
    layout = shuffled([*GENES, *["ctrl"] * 8])
    experiment = write_features(tmp_path, layout)
    rows = experiment.layout_by_key
    gone = rows.index[rows["condition"] == "G03"][0]
    writer = LedgerWriter(experiment.ledger, 2)
    writer.write("features", gone, "failed", "x", error="disk")
    writer.close()
    found = screen_features(Experiment(experiment.url, layout=layout))
    assert found["-left-out"].to_numpy().tolist()[-1] == [
        "well", gone, "not done in stage 'features'",
    ]  # fmt: skip
    wells = found[""].set_index("condition")["n_wells"]
    assert wells["G03"] == 2
    assert (wells[[name for name in GENES if name != "G03"]] == 3).all()


def test_only_what_has_a_p_value_counts_as_tested(tmp_path: Path) -> None:
    layout = shuffled([*GENES, *["ctrl"] * 10])
    experiment = write_features(tmp_path, layout, n_nuclei={"G00": 0, "G01": 0})
    found = screen_features(experiment)
    assert found[""].query("kind == 'treated'")["p_value"].notna().sum() == 8
    assert found["-statistics"].loc[0, "n_tests"] == 8
    assert found["-statistics"].loc[0, "needed"] == pytest.approx(0.05 / 8)


def test_control_wells_lie_as_far_from_all_controls_as_they_are() -> None:
    """Each is standardised without itself; an empty one and unequal ones don't count as one."""
    counts, plates = np.array([40, 10, 0, 20, 30]), ("P1",) * 5
    start = np.cumsum([0, *counts])
    is_control = np.array([True, True, True, True, False])
    values = np.random.default_rng(0).standard_normal((100, 3))
    of_well = np.repeat(np.arange(5), counts)
    centred = np.zeros_like(values)
    for well in range(5):
        others = is_control[of_well] & (of_well != well)
        centred[of_well == well] = values[of_well == well] - values[others].mean(axis=0)
    standard = centred.astype(np.float32)
    nuclei = whole_screen._Nuclei(["a", "b", "c"], standard, standard, start, np.array([]))
    keys = tuple(f"P1/A0{n}" for n in range(1, 6))
    plan = FastPlan(keys, plates, (), (1,) * 5, ("", "", "", "", "G"), (), False)
    found, variances = whole_screen._summarise_wells(nuclei, plan, is_control)
    centre = values[is_control[of_well]].mean(axis=0)
    for well in (0, 1, 3, 4):
        expected = values[of_well == well].mean(axis=0) - centre
        np.testing.assert_allclose(found[well], expected, atol=1e-6)
        np.testing.assert_allclose(variances[well], values[of_well == well].var(axis=0), atol=1e-5)


def test_a_change_of_the_fast_test_trains_no_network_again() -> None:
    assert Screen(method="fast").version_of("all") == Screen.version
    assert Screen(method="cnn").version_of("drug@1/0") == 4
    assert Screen(method="cnn").version_of("*") == Screen.version


def test_a_least_change_is_asked_for_beside_the_call(tmp_path: Path) -> None:
    layout = shuffled([*GENES, *["ctrl"] * 10])
    strong = {"G00": 3.0, "G01": 0.8}
    change = lambda name, values: values + strong.get(name, 0.0) * np.eye(4)[0]  # noqa: E731
    experiment = write_features(tmp_path, layout, change=change)
    plain, strict = screen_features(experiment), screen_features(experiment, min_change=10)
    called = [set(found[""].query("impactful")["condition"]) for found in (plain, strict)]
    assert called == [{"G00", "G01"}, {"G00"}]
    assert strict["-statistics"].loc[0, "impactful"] == "fdr < 0.05, change of 10 or more"


def test_an_option_that_came_later_leaves_results_current_at_its_default() -> None:
    experiment = Experiment("memory://none", layout=shuffled(GENES), sources=pd.DataFrame())
    prints = [
        Screen(method="fast", **given).fingerprint(experiment, "*", {})  # type: ignore[arg-type]
        for given in ({}, {"min_change": 0.0}, {"min_change": 1.0})
    ]
    assert prints[0] == prints[1] != prints[2]


def test_a_call_that_comes_from_blur_alone_is_named_so(tmp_path: Path) -> None:
    """Nuclei look larger where fields are out of focus, as they are in all wells of six genes."""
    genes = [f"G{number:02d}" for number in range(24)]
    blurred, grown = genes[:6], genes[6:8]

    def change(name: str, values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values[:, 0] += 0.8 * (name in blurred)
        values[:, 1] += 0.8 * (name in grown)
        return values

    layout = shuffled([*genes, *["ctrl"] * 12])
    experiment = write_features(tmp_path, layout, change=change)
    random = np.random.default_rng(0)
    for key, row in experiment.layout_by_key.iterrows():
        is_blurred = row["perturbation"] in blurred
        focus = 0.01 * np.exp(0.1 * random.standard_normal(4)) * (0.3 if is_blurred else 1)
        table = pd.DataFrame(
            {
                "field": ["1", "1", "2", "2"], "channel": ["DNA", "GFP"] * 2,
                # Of another channel, and of a field that is left out, nothing is read.
                "focus": np.where([True, False, False, False], focus, 1.0),
                "reason": ["", "", "blurred", ""],
            }
        )  # fmt: skip
        tables.write_table(experiment.part_url("quality", str(key)), table)
    ranking = screen_features(experiment, upstream=("quality", "features"))[""]
    words = ranking.set_index("condition")["explained"]
    assert (words[blurred] == "focus").sum() >= 5
    assert (words[grown] == "own").all()
    without = screen_features(experiment)[""].set_index("condition")
    assert (without.loc[blurred, "explained"] == "own").all()
    assert without["p_focus"].isna().all()


def test_trainings_of_networks_do_not_depend_on_the_focus(tmp_path: Path) -> None:
    """Only their last unit asks for it, so a limit of 'quality' that drops nothing redoes none."""
    experiment = write_features(tmp_path, shuffled([*GENES, *["ctrl"] * 10]))
    quality = Quality()
    network = Screen(needs=("crop", "quality"))
    fast = Screen(method="fast", needs=("features", "quality"))
    assert not network.upstream_keys(experiment, network.keys(experiment)[0], quality)
    assert set(fast.upstream_keys(experiment, "all", quality)) == set(
        experiment.layout_by_key.index
    )
