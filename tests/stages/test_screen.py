"""The screen: who is compared with whom, and that no well is on both sides of a split."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import i2r.stages.screen.cnn as stages_screen
import i2r.stages.screen.published as stages_published
from i2r.analysis.screen.contrasts import DRAW, UNCONTROLLED
from i2r.analysis.screen.ranking import CallRule, rank_conditions, summarise_calls
from i2r.lazy.ensembles import EnsemblePlan
from i2r.lazy.training import FoldPlan
from i2r.stages.screen import Screen, options
from i2r.stages.screen.plan import choose_wells, list_unused
from i2r.store.experiment import Experiment, open_experiment
from i2r.store.ledger import LedgerWriter


def plan(rows: list[tuple[str, str, str, str, float]]) -> Experiment:
    """Lay out a plate: plate, well, perturbation, role, dose."""
    layout = pd.DataFrame(rows, columns=["plate", "well", "perturbation", "role", "dose"])
    return Experiment(
        "/nowhere",
        layout=layout.assign(
            gene="", replicate="", fields=[["1"]] * len(rows), n_fields=1, height_px=4, width_px=4,
            dtype="uint16", pixel_size_um=1.0, channels=[["DNA"]] * len(rows),
        ),
    )  # fmt: skip


def wells(
    plate: str, numbers: range, name: str, role: str = "treated", dose: float = float("nan")
) -> list[tuple[str, str, str, str, float]]:
    return [(plate, f"A{n:02d}", name, role, dose) for n in numbers]


FULL = plan(
    wells("P1", range(1, 9), "dmso", "negative_control") + wells("P1", range(9, 12), "a")
    + wells("P1", range(12, 14), "b", "positive_control") + wells("P1", range(14, 15), "lonely")
    + wells("P1", range(15, 17), "dosed", dose=1.0) + wells("P1", range(17, 19), "dosed", dose=2.0)
    + wells("P2", range(1, 5), "dmso", "negative_control") + wells("P2", range(5, 7), "c")
)  # fmt: skip


def test_perturbations_are_compared_with_the_controls_of_their_plates() -> None:
    contrasts = Screen().contrasts(FULL)
    named = {name for name in contrasts if not name.startswith(DRAW)}
    assert named == {"a", "b", "dosed@1", "dosed@2", "c"}, "one well can't be held out"
    for name, plate in (("a", "P1"), ("c", "P2")):
        assert {key.split("/")[0] for key in contrasts[name].keys} == {plate}
    assert contrasts["b"].kind == "positive_control"
    assert sum(contrasts["a"].is_treated) == 3
    assert len(contrasts["a"].keys) == 3 + 8


@pytest.mark.parametrize("n_folds", [2, 4, 20])
def test_no_well_is_in_two_folds_and_every_fold_has_both_kinds(n_folds: int) -> None:
    for contrast in Screen(n_folds=n_folds).contrasts(FULL).values():
        assert len(set(contrast.keys)) == len(contrast.keys)
        by_fold: dict[int, set[bool]] = {}
        for treated, fold in zip(contrast.is_treated, contrast.folds, strict=True):
            by_fold.setdefault(fold, set()).add(treated)
        assert sorted(by_fold) == list(range(contrast.n_folds))
        assert all(kinds == {True, False} for kinds in by_fold.values())


def test_the_written_folds_are_those_and_no_well_is_in_two(screened_original: Path) -> None:
    folds = open_experiment(str(screened_original)).table("screen-folds")
    assert not folds.duplicated(["condition", "plate", "well"]).any()
    assert set(folds["kind"]) == {"treated", "control_draw"}
    drawn = folds[(folds["kind"] == "control_draw") & folds["is_treated"]]
    assert set(drawn["well"]) <= {"A01", "A03", "A05", "A07"}


def test_draws_are_of_controls_only_against_the_other_controls() -> None:
    contrasts = [
        c for c in Screen(control_draws=20).contrasts(FULL).values() if c.kind == "control_draw"
    ]
    assert len(contrasts) == 20 + 8, "of two wells, as most perturbations have, and of three"
    contrasts = [c for c in contrasts if c.shape == "1+1" and "P1" in c.keys[0]]
    layout = FULL.layout_by_key
    controls = set(layout.index[(layout["role"] == "negative_control") & (layout["plate"] == "P1")])
    for contrast in contrasts:
        assert set(contrast.keys) == controls
        assert len(contrast.treated_keys) == 2, "as most perturbations have"
    drawn = {tuple(k for k, t in zip(c.keys, c.is_treated, strict=True) if t) for c in contrasts}
    assert len(drawn) == len(contrasts) == 15, "three of four conditions of two wells are on P1"


def test_the_seed_decides_and_the_order_of_the_layout_does_not() -> None:
    def folds(experiment: Experiment, seed: int) -> dict[str, dict[str, int]]:
        return {
            name: dict(zip(c.keys, c.folds, strict=True))
            for name, c in Screen(seed=seed).contrasts(experiment).items() if not name.startswith(DRAW)
        }  # fmt: skip

    shuffled = Experiment("/nowhere", layout=FULL.layout.iloc[::-1].reset_index(drop=True))
    assert folds(FULL, 1) == folds(shuffled, 1)
    assert folds(FULL, 1) != folds(FULL, 2)


def test_units_use_the_wells_they_compare() -> None:
    screen = Screen(control_draws=0)
    keys = screen.keys(FULL)
    assert len(keys) == len(set(keys))
    used = screen.upstream_keys(FULL, "c/0", screen)
    assert set(used) == {f"P2/A{n:02d}" for n in range(1, 7)}


def test_draws_wait_for_what_they_copy_and_take_no_more_nuclei(tmp_path: Path) -> None:
    screen = Screen(control_draws=4, needs=("crop",))
    layout = FULL.layout[FULL.layout["plate"] == "P1"]
    experiment = Experiment(str(tmp_path), layout=layout, sources=pd.DataFrame())
    experiment.save_description()
    writer = LedgerWriter(experiment.ledger, 1)
    for key, row in experiment.layout_by_key.iterrows():
        n = {"b": 30, "dosed@1": 50, "dosed@2": 60}.get(row["condition"], 90)
        writer.write("crop", str(key), "done", "x", result={"nuclei": n})
    writer.close()
    experiment = Experiment(str(tmp_path), layout=layout)
    contrasts = screen.contrasts(experiment)
    copied = {k for name in ("b", "dosed@1", "dosed@2") for k in contrasts[name].treated_keys}
    draws = [c for c in contrasts.values() if c.kind == "control_draw" and c.shape == "1+1"]
    assert draws
    for draw in draws:
        assert screen.limit_nuclei(experiment, draw, by_field=False) == {"P1": 50}, "the median"
        used = set(screen.upstream_keys(experiment, f"{draw.condition}/0", screen))
        assert used == {*draw.keys, *copied}
    assert screen.limit_nuclei(experiment, contrasts["b"], by_field=False) == {}


def test_too_few_controls_are_refused() -> None:
    one = plan(wells("P1", range(1, 2), "dmso", "negative_control") + wells("P1", range(2, 5), "a"))
    assert any(
        "1 negative control well, expected 2 or more" in line for line in Screen().check(one)
    )
    assert any("no channel 'ER'" in line for line in Screen(channels=("ER",)).check(FULL))
    assert Screen().check(FULL) == []


def test_ranks_go_by_score_and_draws_and_unscored_ones_have_none() -> None:
    scores = pd.DataFrame(
        {
            "condition": ["a", "a", "b", "b", f"{DRAW} 01", "c"],
            "balanced_accuracy": [0.9, 0.7, 0.9, 0.9, 0.95, np.nan],
            "auc": 0.5, "n_test_treated": [10, 12, 3, 3, 5, 0], "note": ["", "", "", "", "", "too few"],
        }
    )  # fmt: skip
    described = pd.DataFrame(
        {
            "condition": ["a", "b", "c", "d", f"{DRAW} 01"], "perturbation": ["a", "b", "c", "d", DRAW], "gene": "",
            "dose": float("nan"), "kind": ["treated", "positive_control", "treated", "treated", "control_draw"],
            "shape": "1+1", "note": ["", "", "", "one well", ""],
        }
    )  # fmt: skip
    calls = summarise_calls(
        pd.DataFrame(columns=["condition", "well", "is_treated", "n_nuclei", "n_called"])
    )
    ranking = rank_conditions(
        scores,
        described,
        calls,
        pd.DataFrame(),
        rule=CallRule("fdr", 0.05, 1),
        n_independent={"1+1": 1},
    )
    assert list(ranking["condition"]) == [f"{DRAW} 01", "b", "a", "c", "d"]
    assert list(ranking["rank"]) == [0, 1, 2, 0, 0]
    assert ranking["score"].tolist()[:3] == pytest.approx([0.95, 0.9, 0.8])
    assert ranking.loc[2, "spread"] == pytest.approx(np.std([0.9, 0.7], ddof=1))
    assert list(ranking["n_nuclei"]) == [5, 6, 22, 0, 0]
    missing = (
        "no p-value: 0 degrees of freedom tell how scores scatter by chance, 6 are needed: about "
        "12 more control wells on its plates"
    )
    assert list(ranking["note"]) == ["", missing, missing, "too few", "one well"]
    assert ranking["p_value"].isna().all()
    assert not ranking["impactful"].any()


def test_scores_of_every_fold_are_kept(screened_original: Path) -> None:
    experiment = open_experiment(str(screened_original))
    scores, ranking = (
        experiment.table("screen-scores"),
        experiment.table("screen").set_index("condition"),
    )
    assert len(scores) == 6
    for condition, rows in scores.groupby("condition"):
        assert rows["balanced_accuracy"].mean() == pytest.approx(ranking.loc[condition, "score"])
        crops = experiment.table("crop")
        assert (rows["n_test_treated"] > 0).all()
        assert rows["n_test_treated"].sum() == ranking.loc[condition, "n_nuclei"]
        assert rows["n_test_treated"].sum() <= len(crops)


def test_the_wells_of_a_condition_are_read_once_for_all_its_folds(
    cropped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import i2r.stages.screen.cnn as module

    read, seen = module.read_channels, []

    def note(url: str, **options: Any) -> np.ndarray:
        seen.append(url)
        return read(url, **options)

    monkeypatch.setattr(module, "read_channels", note)
    experiment = open_experiment(str(cropped))
    screen = Screen(n_folds=2, control_draws=0, max_steps=2, needs=("crop",))
    for key in ("active/0", "active/1", "inert/0"):
        screen.build(experiment, key).compute(scheduler="sync")
    contrasts = screen.contrasts(experiment)
    wells = {*contrasts["active"].keys, *contrasts["inert"].keys}
    assert sorted(seen) == sorted(experiment.crops_url("crop", key) for key in wells)
    writer = LedgerWriter(experiment.ledger, 99)
    for key in wells:
        writer.write("crop", key, "done", "another", result={"nuclei": 1})
    writer.close()
    screen.build(open_experiment(str(cropped)), "active/0").compute(scheduler="sync")
    assert len(seen) == len(wells) + len(contrasts["active"].keys), "cut anew, so read anew"


PLANS = (FoldPlan, EnsemblePlan)


def count_in(folder: Path, layout: pd.DataFrame, counts: dict[str, int]) -> Experiment:
    """Have crops cut, so many of every well; those that are not named are not done."""
    experiment = Experiment(str(folder), layout=layout, sources=pd.DataFrame())
    experiment.save_description()
    writer = LedgerWriter(experiment.ledger, 1)
    for key, n in counts.items():
        writer.write("crop", key, "done", "x", result={"nuclei": n})
    writer.close()
    return Experiment(str(folder), layout=layout)


def test_wells_of_a_plate_whose_controls_turn_out_empty_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its controls gone, what a plate does would be taken for the perturbation."""
    rows = [
        row
        for plate in ("P1", "P2")
        for row in wells(plate, range(1, 4), "dmso", "negative_control")
        + wells(plate, range(4, 6), "a")
    ]
    layout = plan(rows).layout
    screen = Screen(control_draws=4, needs=("crop",))
    counts = {f"{plate}/A{n:02d}": 9 for plate in ("P1", "P2") for n in range(1, 6)}
    whole = count_in(tmp_path / "whole", layout, counts)
    contrasts = screen.contrasts(whole)
    assert choose_wells(whole, "crop", contrasts["a"]) == set(counts)
    assert list_unused(whole, "crop", contrasts.values()) == []
    counts |= {"P2/A01": 0, "P1/A03": 0}
    del counts["P2/A02"]
    experiment = count_in(tmp_path / "less", layout, counts)
    chosen = choose_wells(experiment, "crop", contrasts["a"])
    assert chosen == set(counts) - {"P2/A04", "P2/A05"}, "P1 has two controls left, P2 one"
    planned = []
    for module, name in ((stages_screen, "score_fold"), (stages_published, "score_ensemble")):
        score = getattr(module, name)

        def note(*given: Any, score: Any = score, **options: Any) -> Any:
            planned.extend(set(part.wells) for part in given if isinstance(part, PLANS))
            return score(*given, **options)

        monkeypatch.setattr(module, name, note)
    screen.build(experiment, "a/0")
    Screen(
        method="published",
        control_draws=4,
        imagenet=False,
        view="nucleus",
        needs=("segment", "crop"),
    ).build(experiment, "a/0")
    assert planned == [chosen, chosen]
    unused = list_unused(experiment, "crop", contrasts.values())
    assert unused == [
        ("well", "P1/A03", "no nuclei"), ("well", "P2/A01", "no nuclei"),
        ("well", "P2/A02", "not done in stage 'crop'"),
        ("well", "P2/A04", UNCONTROLLED), ("well", "P2/A05", UNCONTROLLED),
    ]  # fmt: skip
    drawn = [c for c in contrasts.values() if c.kind == "control_draw"]
    assert drawn
    for draw in drawn:
        others = {k for k, t in zip(draw.keys, draw.is_treated, strict=True) if not t}
        filled = {key.split("/")[0] for key in others if counts.get(key)}
        kept = choose_wells(experiment, "crop", draw) & set(draw.treated_keys)
        per_plate = pd.Series([key.split("/")[0] for key in others]).value_counts()
        enough = {p for p in filled if per_plate[p] == 1} | {
            p for p in filled if sum(counts.get(k, 0) > 0 for k in others if k[:2] == p) > 1
        }
        assert kept == {k for k in draw.treated_keys if k[:2] in enough and k in counts}


def lay_out_at_random(seed: int) -> Experiment:
    """Lay out a few wells: some plates lack controls, some conditions have one well."""
    random = np.random.default_rng(seed)
    rows = []
    for plate in ("P1", "P2", "P3"):
        names = random.choice(["a", "b", "c", "dmso"], size=random.integers(1, 5)).tolist()
        for number, name in enumerate(names, start=1):
            role = "negative_control" if name == "dmso" else "treated"
            rows += wells(plate, range(number, number + 1), name, role)
    return plan(rows + wells("P4", range(1, 3), "dmso", "negative_control"))


@pytest.mark.parametrize("method", ["fast", "cnn"])
@pytest.mark.parametrize("split_by", ["well", "position", "field"])
def test_a_look_at_few_conditions_answers_as_the_whole_plan_does(
    method: str, split_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "_FEW_CONDITIONS", 1)
    screen = Screen(method=method, split_by=split_by, needs=("crop", "features"))
    answers = []
    for seed in range(20):
        experiment = lay_out_at_random(seed)
        answers.append(any("can be compared" in line for line in screen.check(experiment)))
        assert answers[-1] == (not screen.contrasts(experiment)), seed
    assert {*answers} == {True, False}


def test_a_check_does_not_plan_the_whole_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 2,000 plates that takes a minute, before every look at an experiment that is done."""

    def refuse(*given: object, **options: object) -> None:
        raise AssertionError("planned")

    monkeypatch.setattr(options, "plan_screen", refuse)
    assert Screen().check(FULL) == []
