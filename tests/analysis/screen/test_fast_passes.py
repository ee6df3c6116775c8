"""Passes over plates give what holding all nuclei at once gave."""

import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from i2r.analysis.screen import head_fitting, plate_sums
from i2r.analysis.screen.contrasts import plan_contrasts
from i2r.analysis.screen.held_out import COMPARED
from i2r.analysis.screen.plate_plans import FastPlan, PlatePlans, WellFeatures
from i2r.analysis.screen.plate_sums import sum_plate
from i2r.analysis.screen.screening import FastScores, score_plates
from i2r.errors import I2RError
from i2r.stages.screen import Screen, fast_units
from i2r.store.experiment import Experiment
from i2r.store.features import PLACE
from i2r.store.ledger import LedgerWriter
from tests.analysis.screen.whole_screen import score_whole_screen
from tests.stages.profiled import NAMES, lay_out, screen_features, write_features

SEED = np.random.SeedSequence(5)


def make_screen(
    *, d: int = 5, by_field: bool = False, gaps: float = 0.0, n_plates: int = 4
) -> tuple[FastPlan, dict[str, WellFeatures]]:
    """Lay out plates that don't repeat; some wells lie empty, one plate has a single control."""
    random = np.random.default_rng(d)
    genes = [f"G{n}" for n in range(7)]
    contents = {
        f"P{n}": random.permutation([*genes, *["ctrl"] * 6, "pos"]).tolist()
        for n in range(1, n_plates + 1)
    }
    contents["P9"] = [*genes[:3], "ctrl"]
    layout = lay_out(contents)
    layout.loc[layout["perturbation"] == "pos", "role"] = "positive_control"
    table = Experiment("memory://none", layout=layout, sources=pd.DataFrame()).layout_by_key
    plan = plan_contrasts(
        table, group="field" if by_field else "well", n_folds=3, n_draws=3, seed=SEED,
        shared_controls=True,
    )  # fmt: skip
    keys = sorted({key for c in plan.contrasts.values() for key in c.keys} | {"P9/A04", "P9/A01"})
    rows = table.loc[keys]
    shift = {name: 0.7 * random.standard_normal(d) for name in ("G0", "G1", "pos")}
    names = tuple(f"f{n}" for n in range(d))
    # Components well apart, so that they are the same both ways.
    mixing = np.linalg.qr(random.standard_normal((d, d)))[0] * 0.7 ** np.arange(d)[:, None]
    wells = {}
    for key, row in rows.iterrows():
        n = 0 if key in (keys[1], keys[20]) else int(random.integers(15, 60))
        values = random.standard_normal((n, d)) @ mixing
        values += shift.get(row["perturbation"], 0)
        values += 0.1 * random.standard_normal(d) + 5
        if gaps:
            values[random.random(n) < gaps, 1] = np.nan
            values[random.random(n) < gaps / 10, 2] = np.nan
        wells[str(key)] = WellFeatures(names, values.astype(np.float32), np.where(np.arange(n) % 2, "2", "1").astype(str))  # fmt: skip
    return FastPlan(
        tuple(keys), tuple(rows["plate"]), tuple(rows["well"]), (2,) * len(keys),
        tuple(c if r in COMPARED else "" for c, r in zip(rows["condition"], rows["role"], strict=True)),
        tuple(plan.contrasts.values()), by_field, (np.nan,) * len(keys), tuple(rows["perturbation"]),
    ), wells  # fmt: skip


def score(plan: FastPlan, wells: dict[str, WellFeatures]) -> FastScores:
    readers: list[Callable[[], WellFeatures]] = [partial(wells.__getitem__, k) for k in plan.keys]
    return score_plates(plan, readers, n_draws=200, seed=SEED)


def assert_alike(found: FastScores, oracle: FastScores) -> None:
    for name, one, two in zip(FastScores._fields, found, oracle, strict=True):
        pd.testing.assert_frame_equal(one, two, check_dtype=False, rtol=1e-6, atol=1e-6, obj=name)


@pytest.mark.parametrize(
    ("d", "by_field", "gaps"), [(5, False, 0.0), (5, True, 0.0), (5, False, 0.03)]
)
def test_passes_over_plates_give_what_all_nuclei_at_once_gave(
    d: int, by_field: bool, gaps: float
) -> None:
    plan, wells = make_screen(d=d, by_field=by_field, gaps=gaps)
    oracle = score_whole_screen([wells[key] for key in plan.keys], plan, 200, SEED)
    found = score(plan, wells)
    assert oracle.scores["balanced_accuracy"].notna().sum() > 20
    assert (oracle.scores["kind"] == "control_draw").any()
    assert_alike(found, oracle)
    reasons = set(found.left_out["what"])
    assert reasons == ({"well", "nuclei", "feature"} if gaps else {"well"})


@pytest.mark.parametrize("by_field", [False, True])
@pytest.mark.parametrize("gaps", [0.0, 0.03])
def test_control_wells_that_are_not_held_are_read_again(
    by_field: bool, gaps: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, wells = make_screen(by_field=by_field, gaps=gaps)
    held = score(plan, wells)
    monkeypatch.setattr(plate_sums, "HELD_BYTES", 2000)  # one well of some
    for one, two in zip(score(plan, wells), held, strict=True):
        pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_no_more_than_a_fold_of_control_nuclei_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plate_sums, "HELD_BYTES", 0)
    layout = lay_out({"P1": ["G0", "G0", "G1", "G1", *["ctrl"] * 80]})
    table = Experiment("memory://none", layout=layout, sources=pd.DataFrame()).layout_by_key
    plan = plan_contrasts(
        table, group="well", n_folds=4, n_draws=1, seed=SEED, shared_controls=True
    )
    names, shape = tuple(f"f{n}" for n in range(20)), (4000, 20)
    of_one = 4 * shape[0] * shape[1]

    def read(number: int) -> WellFeatures:
        values = np.random.default_rng(number).standard_normal(shape, dtype=np.float32)
        return WellFeatures(names, values, np.full(len(values), "1"))

    kinds = zip(table["condition"], table["role"], strict=True)
    screen = FastPlan(
        tuple(table.index), tuple(table["plate"]), tuple(table["well"]), (1,) * len(table),
        tuple(c if r in COMPARED else "" for c, r in kinds), tuple(plan.contrasts.values()), False,
    )  # fmt: skip
    readers = [partial(read, number) for number in range(len(table))]
    tracemalloc.start()
    found = score_plates(screen, readers, n_draws=50, seed=SEED)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.scores["balanced_accuracy"].notna().all()
    # A fold's wells twice, as they are joined, and some copies of the well at hand.
    assert peak < (2 * 20 + 12) * of_one


def test_more_features_than_are_tested_become_components(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.analysis.screen import whole_screen

    for module in (head_fitting, plate_sums, whole_screen):
        for name, number in (("MAX_FEATURES", 4), ("MAX_TESTED", 6)):
            monkeypatch.setattr(module, name, number)
    plan, wells = make_screen(d=8, n_plates=3)
    oracle = score_whole_screen([wells[key] for key in plan.keys], plan, 200, SEED)
    found = score(plan, wells)
    assert found.features["feature"].str.startswith("component ").all()
    np.testing.assert_allclose(found.scores["auc"], oracle.scores["auc"], atol=1e-4)
    np.testing.assert_allclose(found.tests["p_value"], oracle.tests["p_value"], rtol=0.02)


def test_a_plate_alone_would_use_other_features_than_the_screen() -> None:
    """Its nuclei lack a feature here and there; in the whole screen that is rare."""
    plan, wells = make_screen()
    own = [key for key in plan.keys if key.startswith("P2/")]
    for key in own:
        wells[key].values[:2, 3] = np.nan
    plans = PlatePlans(plan.keys, [not c for c in plan.conditions], plan.contrasts, by_field=False)
    alone = sum_plate(plans["P2"], [partial(wells.__getitem__, key) for key in plans["P2"].keys])
    assert alone.usable.tolist() == [True, True, True, False, True]
    oracle = score_whole_screen([wells[key] for key in plan.keys], plan, 200, SEED)
    assert "feature" in set(oracle.left_out["what"])
    assert_alike(score(plan, wells), oracle)
    for key in own[3:]:  # now it is kept
        wells[key].values[:2, 3] = 0.0
    oracle = score_whole_screen([wells[key] for key in plan.keys], plan, 200, SEED)
    assert "feature" not in set(oracle.left_out["what"])
    assert_alike(score(plan, wells), oracle)


def test_wells_with_other_features_are_named() -> None:
    plan, wells = make_screen()
    wells["P3/A02"] = wells["P3/A02"]._replace(names=("a", "b", "c", "d", "e"))
    with pytest.raises(I2RError, match=r"P3/A0.*5 features"):
        score(plan, wells)


def test_units_of_plates_give_the_tables_of_one_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [*[f"G{n}" for n in range(5)], *["ctrl"] * 5]
    random = np.random.default_rng(0)
    layout = lay_out({f"P{n}": random.permutation(names).tolist() for n in range(1, 6)})
    change = lambda name, values: values + 1.0 * (name == "G0")  # noqa: E731
    experiment = write_features(tmp_path, layout, change=change)
    screen = Screen(method="fast", needs=("features",))
    keys = screen.keys(experiment)
    assert keys == [
        *(f"sums/P{n}" for n in range(1, 6)), "heads", *(f"treated/P{n}" for n in range(1, 6)),
        *(f"controls/P{n}" for n in range(1, 6)), "all",
    ]  # fmt: skip
    assert screen.follows(experiment, "treated/P3") == ("heads",)
    assert screen.upstream_keys(experiment, "heads", screen) == ()
    many = screen_features(experiment)
    # Another layout is another fingerprint of every pass.
    other = Experiment(experiment.url, layout=layout.assign(perturbation=layout["perturbation"].replace("G1", "G2")))  # fmt: skip
    for key in keys:
        prints = {screen.fingerprint(e, key, {}) for e in (experiment, other)}
        assert len(prints) == 2
    monkeypatch.setattr(fast_units, "FEW_PLATES", 5)
    assert screen.keys(experiment) == ["all"]
    few = screen_features(experiment)
    for name, table in few.items():
        pd.testing.assert_frame_equal(many[name], table, rtol=1e-9, obj=name)
    assert "G0" in set(few[""].query("impactful")["condition"])


def test_a_plate_that_failed_is_left_out(tmp_path: Path) -> None:
    layout = lay_out({f"P{n}": ["G0", "G1", "G2", "ctrl", "ctrl", "ctrl"] for n in range(1, 6)})
    experiment = write_features(tmp_path, layout)
    screen = Screen(method="fast", needs=("features",))
    writer = LedgerWriter(experiment.ledger, 2)
    for key in screen.keys(experiment):
        if key.endswith("P4"):
            continue
        result = screen.build(experiment, key).compute(scheduler="sync")
        writer.write("screen", key, "done", "x", result=result)
    writer.close()
    screen.finish(experiment, screen.keys(experiment)).compute(scheduler="sync")
    assert set(experiment.table("screen-calls")["plate"]) == {"P1", "P2", "P3", "P5"}


def test_a_units_memory_does_not_grow_with_the_number_of_plates() -> None:
    names = [*[f"G{n}" for n in range(320)], *["ctrl"] * 64]
    wells = [f"{row}{column:02d}" for row in "ABCDEFGHIJKLMNOP" for column in range(1, 25)]
    found = []
    for n_plates in (4, 12):
        layout = lay_out({f"P{n}": names[:2] for n in range(n_plates)})
        layout = layout.loc[layout.index.repeat(192)].reset_index(drop=True)
        layout["well"], layout["perturbation"] = wells * n_plates, names * n_plates
        layout["role"] = np.where(layout["perturbation"] == "ctrl", "negative_control", "treated")
        layout["fields"] = [list("123456789")] * len(layout)
        experiment = Experiment("memory://none", layout=layout, sources=pd.DataFrame())
        screen = Screen(method="fast", needs=("features",))
        found.append([screen.peak_bytes(experiment, key) for key in ("sums/P1", "controls/P1", "heads", "all")])  # fmt: skip
    assert found[0][:2] == found[1][:2]
    assert max(map(max, found)) < 1.2 * 2**30


def test_the_estimate_of_one_unit_counts_control_nuclei_and_real_columns(tmp_path: Path) -> None:
    layout = lay_out({"P1": ["G0", "G0", "G1", "G1", *["ctrl"] * 8]})
    screen = Screen(method="fast", needs=("features",))
    few, many = (
        screen.peak_bytes(
            write_features(tmp_path / str(n), layout, n_nuclei={"ctrl": n}), "all"
        )
        for n in (400, 8000)
    )  # fmt: skip
    # Two of eight wells are held out at once, four times, and eight copies of the well at hand.
    assert many - few == (4 * 2 + 8) * 7600 * (len(NAMES) + len(PLACE)) * 4 + 8 * 8 * 7600
