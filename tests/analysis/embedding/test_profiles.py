"""Profiles are averages over all nuclei; wells in two dimensions also without umap-learn."""

import sys
import weakref
from types import ModuleType, SimpleNamespace
from typing import Literal

import numpy as np
import pandas as pd
import pytest

from i2r.analysis.embedding import profiles
from i2r.analysis.screen import condition_blocks
from i2r.kernels.profiles import Correction, measure_retrieval


# Not installed, or taken away again: numba's caches stay in a folder that is imported as a package.
@pytest.mark.parametrize("umap", [None, ModuleType("umap")])
def test_principal_components_stand_in_for_umap(
    umap: ModuleType | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "umap", umap)
    random = np.random.default_rng(0)
    line = np.linspace(-1, 1, 24)
    rows = np.outer(line, [3.0, -2.0, 1.0]) + 1e-3 * random.normal(size=(24, 3))
    wells = pd.DataFrame({"plate": "P1", "well": [f"A{n:02d}" for n in range(24)], "class": "x"})
    counts = np.r_[0, np.ones(23)]
    found = profiles._lay_out(
        SimpleNamespace(umap=True, wells=wells),
        SimpleNamespace(wells=rows, well_counts=counts),
        np.random.SeedSequence(1),
    )
    assert set(found["method"]) == {"principal components"}
    assert found["well"].tolist() == wells["well"].tolist()[1:]
    assert abs(np.corrcoef(found["x"], line[1:])[0, 1]) > 0.999
    nothing = profiles._lay_out(
        SimpleNamespace(umap=False, wells=wells),
        SimpleNamespace(wells=rows, well_counts=counts),
        np.random.SeedSequence(1),
    )
    assert list(nothing.columns) == list(found.columns)
    assert not len(nothing)


@pytest.mark.parametrize("aggregate", ["mean", "median"])
@pytest.mark.parametrize("correction", ["none", "sphering"])
def test_profiles_are_those_of_all_nuclei_and_means_hold_one_well_at_a_time(
    aggregate: Literal["mean", "median"], correction: Correction
) -> None:
    random = np.random.default_rng(0)
    names = ["ctrl", "ctrl", "ctrl", "a", "a", "", "", "none"]
    values = {f"P1/A{n:02d}": random.normal(size=(20 + n, 3)).astype(np.float32) for n in range(8)}
    values["P1/A07"] = values["P1/A07"][:0]
    wells = pd.DataFrame(
        {"class": names, "control": [name == "ctrl" for name in names], "group": "P1"}, list(values)
    )
    plan = profiles.ProfilePlan(wells, {"": tuple(values)}, aggregate, correction, umap=False)
    alive: weakref.WeakValueDictionary[int, np.ndarray] = weakref.WeakValueDictionary()
    most = 0

    def read(url: str) -> np.ndarray:
        nonlocal most
        found = values[url].copy()
        alive[len(alive) + 1000 * len(found)] = found
        most = max(most, len(alive))
        return found

    transforms = profiles._fit_corrections(plan, tuple(values), read)
    found = profiles._aggregate(plan, tuple(values), read, transforms)
    average = {"mean": np.mean, "median": np.median}[aggregate]
    corrected = [transforms["P1"].apply(v) if transforms else v for v in values.values()]
    for well, own in zip(found.wells[:7], corrected, strict=False):
        np.testing.assert_allclose(well, average(own, axis=0), rtol=1e-5, atol=1e-9)
    assert found.classes == ["a", "ctrl", "none"]
    for row, own in ((0, slice(3, 5)), (1, slice(0, 3))):
        np.testing.assert_allclose(
            found.of_class[row],
            average(np.concatenate(corrected[own]), axis=0),
            rtol=1e-5,
            atol=1e-9,
        )
    assert np.isnan(found.of_class[2]).all()
    assert np.isnan(found.wells[7]).all()
    assert found.class_counts.tolist() == [23 + 24, 20 + 21 + 22, 0]
    if aggregate == "mean":
        assert most <= 2, "this one, and the one before that is about to go"


def test_the_wells_of_all_classes_are_ranked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is found is what each class finds among controls, and among the others."""
    random = np.random.default_rng(0)
    names = ["ctrl"] * 4 + ["a"] * 3 + ["b"] * 2 + [""] + ["c"] * 2
    wells = pd.DataFrame(
        {"class": names, "control": [name == "ctrl" for name in names], "plate": "P1"}
    )
    rows, counts = random.normal(size=(12, 5)), np.ones(12, dtype=np.int64)
    rows[4:7] += [5, 0, 0, 0, 0]
    counts[11] = 0
    ranked: list[int] = []
    rank = profiles.rank_neighbours

    def note(given: np.ndarray) -> np.ndarray:
        ranked.append(len(given))
        return rank(given)

    monkeypatch.setattr(profiles, "rank_neighbours", note)
    given = SimpleNamespace(
        wells=rows, well_counts=counts, classes=["a", "b", "c", "ctrl"], of_class=None
    )
    found = profiles._measure_reproducibility(
        SimpleNamespace(wells=wells), given, np.random.SeedSequence(1)
    ).set_index("class")
    assert ranked == [6, 4 + 3, 4 + 2, 4 + 1], "all classes, and each beside the controls"
    assert found["n_wells"].to_dict() == {"a": 3, "b": 2, "c": 1}
    for kind, theirs in (("controls", [0, 1, 2, 3]), ("others", [7, 8, 10])):
        alone = measure_retrieval(rank(rows[[4, 5, 6, *theirs]]), range(3), seed=0, n_draws=1)
        assert found.loc["a", f"precision_{kind}"] == pytest.approx(alone.precision)
    assert found.loc["a", "precision_others"] == 1
    assert np.isnan(found.loc["c", ["precision_controls", "p_value_others"]].astype(float)).all()


def test_wells_of_one_plate_are_compared_with_wells_of_that_plate() -> None:
    """What a plate does to its wells makes no replicate; too few wells on it give the reason."""
    p_values, notes = [], []
    for seed in range(60):
        random = np.random.default_rng(seed)
        names = ["ctrl"] * 24 + ["a"] * 4 + ["b"] * 4 + ["c"] * 4
        on = np.array([f"P{n % 3}" for n in range(24)] + ["P0"] * 4 + ["P1"] * 4 + ["P2"] * 4)
        wells = pd.DataFrame(
            {"class": names, "control": [name == "ctrl" for name in names], "plate": on}
        )
        shift = dict(zip(("P0", "P1", "P2"), random.normal(size=(3, 6)), strict=True))
        rows = random.normal(size=(36, 6)) + np.array([shift[name] for name in on])
        given = SimpleNamespace(
            wells=rows,
            well_counts=np.ones(36, dtype=np.int64),
            classes=["a", "b", "c", "ctrl"],
            of_class=None,
        )
        found = profiles._measure_reproducibility(
            SimpleNamespace(wells=wells), given, np.random.SeedSequence(seed)
        )
        p_values += found["p_value_controls"].tolist()
        notes += found["note"].tolist()
        assert found["p_value_others"].isna().all(), "no other condition lies on its plate"
    assert (np.array(p_values) <= 0.05).mean() < 0.09
    assert all("1 sets of wells could lie on its plates" in note for note in notes)


def test_many_plates_are_asked_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes of a block are among its own wells; one on all plates is asked where it has most."""
    random = np.random.default_rng(0)
    names, on = [], []
    for plate in range(6):
        own = [f"G{plate // 2}-{n}" for n in range(3)]
        names += ["ctrl"] * 4 + own + ["pos"] * (2 if plate == 4 else 1)
        on += [f"P{plate}"] * (8 + (plate == 4))
    wells = pd.DataFrame({"class": names, "control": [n == "ctrl" for n in names], "plate": on})
    centres = {name: 3 * random.normal(size=6) for name in sorted({*names} - {"ctrl"})}
    rows = random.normal(size=(len(names), 6)) + np.array([centres.get(n, np.zeros(6)) for n in names])  # fmt: skip
    given = SimpleNamespace(
        wells=rows, well_counts=np.ones(len(names), dtype=np.int64), classes=sorted({*names})
    )
    plan, seed = SimpleNamespace(wells=wells), np.random.SeedSequence(1)
    whole = profiles._measure_reproducibility(plan, given, seed).set_index("class")
    sizes: list[int] = []
    rank = profiles.rank_neighbours
    monkeypatch.setattr(profiles, "rank_neighbours", lambda x: sizes.append(len(x)) or rank(x))
    for module in (profiles, condition_blocks):
        monkeypatch.setattr(module, "MAX_WELLS", 20)
    monkeypatch.setattr(condition_blocks, "WIDE", 2)
    cut = profiles._measure_reproducibility(plan, given, seed).set_index("class")
    assert max(sizes) < 20
    assert list(cut.index) == list(whole.index)
    assert cut["n_wells"].tolist() == whole["n_wells"].tolist()
    assert (cut["precision_others"] >= whole["precision_others"] - 1e-9)[cut.index != "pos"].all()
    assert cut["note"].str.startswith("3 of its wells").tolist() == (cut.index == "pos").tolist()


def test_classes_beyond_the_sample_join_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    truth = np.arange(40) % 2
    rows = 10.0 * truth[:, None] + random.normal(size=(40, 4))
    classes = [f"G{n:02d}" for n in range(40)]
    wells = pd.DataFrame({"class": classes, "control": False})
    given = SimpleNamespace(classes=classes, class_counts=np.ones(40), of_class=rows)
    monkeypatch.setattr(profiles, "MAX_CLASSES", 10)
    plan = SimpleNamespace(wells=wells)
    found = profiles._cluster(plan, given, np.random.SeedSequence(1))["-clusters"]
    assert sorted(found["order"]) == list(range(40))
    assert len({(a, b) for a, b in zip(found["cluster"], truth, strict=True)}) == 2
    sides = truth[np.argsort(found["order"])]
    assert np.abs(np.diff(sides)).sum() == 1, "one group beside the other"
