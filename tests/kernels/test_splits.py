from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from i2r.kernels.splits import assign_folds, deal_groups, spread_controls


@st.composite
def screens(draw: st.DrawFn) -> dict[str, Any]:
    """Wells of both classes on some plates, one entry per nucleus, in any order."""
    classes = [True] * draw(st.integers(2, 7)) + [False] * draw(st.integers(2, 12))
    n_plates = draw(st.integers(1, 4))
    plate_of_well = [draw(st.integers(0, n_plates - 1)) for _ in classes]
    entries = [
        (f"P{plate}/{well:02d}", treated, f"P{plate}")
        for well, (treated, plate) in enumerate(zip(classes, plate_of_well, strict=True))
        for _ in range(draw(st.integers(1, 3)))
    ]
    order = draw(st.permutations(range(len(entries))))
    wells, treated, plates = zip(*(entries[place] for place in order), strict=True)
    return {
        "wells": np.array(wells),
        "is_treated": np.array(treated),
        "plates": np.array(plates),
        "n_folds": draw(st.integers(2, 6)),
        "seed": draw(st.integers(0, 2**32)),
    }


@given(screens())
@settings(deadline=None)
def test_no_well_is_in_two_folds_and_every_fold_has_both_classes(screen: dict[str, Any]) -> None:
    folds = assign_folds(**screen)
    wells, treated = screen["wells"], screen["is_treated"]
    n_made = min(screen["n_folds"], len(np.unique(wells[treated])), len(np.unique(wells[~treated])))
    assert set(folds.tolist()) == set(range(n_made))
    for well in np.unique(wells):
        assert len(np.unique(folds[wells == well])) == 1
    for fold in range(n_made):
        assert set(treated[folds == fold].tolist()) == {True, False}
        assert set(treated[folds != fold].tolist()) == {True, False}


@given(screens())
@settings(deadline=None)
def test_treated_wells_are_even_over_folds_on_every_plate(screen: dict[str, Any]) -> None:
    folds = assign_folds(**screen)
    _, first = np.unique(screen["wells"], return_index=True)
    of_treated = first[screen["is_treated"][first]]
    for where in (
        of_treated,
        *(
            of_treated[screen["plates"][of_treated] == plate]
            for plate in np.unique(screen["plates"])
        ),
    ):
        counts = np.bincount(folds[where], minlength=int(folds.max()) + 1)
        assert counts.max() - counts.min() <= 1


@given(screens(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_folds_do_not_depend_on_the_order_of_the_input(screen: dict[str, Any], random: Any) -> None:
    order = list(range(len(screen["wells"])))
    random.shuffle(order)
    shuffled = {
        name: value[order] if isinstance(value, np.ndarray) else value
        for name, value in screen.items()
    }
    np.testing.assert_array_equal(assign_folds(**screen)[order], assign_folds(**shuffled))


def test_three_wells_against_twelve_controls_on_one_plate() -> None:
    wells = np.arange(15)
    treated = wells < 3
    folds = assign_folds(wells, treated, n_folds=3, seed=np.random.SeedSequence(1))
    assert np.bincount(folds[treated]).tolist() == [1, 1, 1]
    assert np.bincount(folds[~treated]).tolist() == [4, 4, 4]


def test_replicate_plates_are_held_out_with_their_controls() -> None:
    plates = np.repeat(["P1", "P2", "P3"], 5)
    wells = np.array([f"{plate}/{well}" for well, plate in enumerate(plates)])
    treated = np.arange(15) % 5 == 0
    folds = assign_folds(wells, treated, n_folds=3, seed=4, plates=plates)
    for plate in np.unique(plates):
        assert len(np.unique(folds[plates == plate])) == 1


def test_seeds_give_different_folds() -> None:
    wells = np.arange(20)
    made = {tuple(assign_folds(wells, wells < 8, n_folds=4, seed=seed)) for seed in range(5)}
    assert len(made) == 5


@pytest.mark.parametrize(
    ("wells", "treated", "plates", "n_folds", "message"),
    [
        (["A", "B", "C"], [1, 0, 0], None, 3, r"1 treated well\(s\), expected 2 or more"),
        (["A", "B", "C"], [1, 1, 0], None, 3, r"1 control well\(s\), expected 2 or more"),
        (["A", "A", "B", "B", "C"], [1, 0, 1, 0, 0], None, 2, "'A' is in both classes"),
        (["A", "A", "B", "C", "D"], [1, 1, 1, 0, 0], list("12111"), 2, "more than one plate"),
        (["A", "B", "C", "D"], [1, 1, 0], None, 2, "one entry each"),
        (["A", "B", "C", "D"], [1, 1, 0, 0], None, 1, "n_folds is 1"),
    ],
)
def test_what_cannot_be_split(
    wells: list[str], treated: list[int], plates: Any, n_folds: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        assign_folds(wells, treated, n_folds=n_folds, seed=0, plates=plates)


@given(screens(), st.integers(2, 4))
@settings(deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_dealt_groups_stay_whole_and_folds_have_both_classes(
    screen: dict[str, Any], n_groups: int
) -> None:
    groups = np.array([f"G{hash_of % n_groups}" for hash_of in range(screen["wells"].size)])
    treated = screen["is_treated"]
    n_holding = np.unique(groups[treated]).size
    control_groups = np.unique(groups[~treated]).size
    assume(n_holding >= 2 and control_groups == np.unique(groups).size)
    folds = deal_groups(groups, treated, n_folds=screen["n_folds"], seed=screen["seed"])
    assert folds.max() + 1 == min(screen["n_folds"], n_holding)
    for group in np.unique(groups):
        assert np.unique(folds[groups == group]).size == 1
    for fold in range(folds.max() + 1):
        assert set(treated[folds == fold].tolist()) == {True, False}
    order = np.random.default_rng(1).permutation(groups.size)
    again = deal_groups(
        groups[order], treated[order], n_folds=screen["n_folds"], seed=screen["seed"]
    )
    np.testing.assert_array_equal(folds[order], again)


def test_groups_that_cannot_be_dealt() -> None:
    with pytest.raises(ValueError, match=r"in 1 group\(s\), expected 2 or more"):
        deal_groups(["P1", "P1", "P2"], [True, True, False], n_folds=2, seed=0)
    with pytest.raises(ValueError, match="1 of 2 folds have no control"):
        deal_groups(["P1", "P1", "P2"], [True, False, True], n_folds=2, seed=0)
    with pytest.raises(ValueError, match="1 folds for 2 groups"):
        deal_groups(["P1", "P2"], [True, True], n_folds=1, seed=0)


def test_shared_folds_of_controls_are_even_on_every_plate_and_in_all() -> None:
    plates = np.repeat(["P1", "P2", "P3"], [5, 7, 8])
    folds = spread_controls(plates, n_folds=4, seed=3)
    for plate in ("P1", "P2", "P3"):
        counts = np.bincount(folds[plates == plate], minlength=4)
        assert np.ptp(counts) <= 1
    assert np.bincount(folds).tolist() == [5, 5, 5, 5]
    np.testing.assert_array_equal(folds, spread_controls(plates, n_folds=4, seed=3))
    assert (folds != spread_controls(plates, n_folds=4, seed=4)).any()
    assert spread_controls([], n_folds=4, seed=0).shape == (0,)
