from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from i2r.kernels.splits import assign_folds, draw_control_wells


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


def test_draws_are_distinct_and_use_all_wells_equally() -> None:
    wells = np.array([f"B{column:02d}" for column in range(12)])
    draws = draw_control_wells(wells, n_wells=3, n_draws=24, seed=2)
    assert draws.shape == (24, 3)
    assert all(len(set(draw)) == 3 for draw in draws.tolist())
    assert len({tuple(draw) for draw in draws.tolist()}) == 24
    _, counts = np.unique(draws, return_counts=True)
    assert counts.tolist() == [6] * 12


def test_draws_do_not_depend_on_order_or_repeats() -> None:
    wells = np.array([f"B{column:02d}" for column in range(9)])
    draws = draw_control_wells(wells, n_wells=2, n_draws=5, seed=3)
    again = draw_control_wells(np.repeat(wells[::-1], 2), n_wells=2, n_draws=5, seed=3)
    np.testing.assert_array_equal(draws, again)
    other = draw_control_wells(wells, n_wells=2, n_draws=5, seed=4)
    assert (draws != other).any()


def test_draws_spread_over_plates() -> None:
    plates = np.repeat(["P1", "P2", "P3"], 4)
    wells = np.array([f"{plate}/{well:02d}" for well, plate in enumerate(plates)])
    draws = draw_control_wells(wells, n_wells=3, n_draws=10, seed=0, plates=plates)
    for draw in draws.tolist():
        assert {well.split("/")[0] for well in draw} == {"P1", "P2", "P3"}


def test_more_draws_than_sets_repeat_sets() -> None:
    draws = draw_control_wells(list("ABCD"), n_wells=2, n_draws=10, seed=0)
    assert len({tuple(draw) for draw in draws.tolist()}) == 6


def test_no_draws() -> None:
    assert draw_control_wells(list("ABCD"), n_wells=2, n_draws=0, seed=0).shape == (0, 2)


@pytest.mark.parametrize("n_wells", [1, 3])
def test_both_sides_of_a_draw_need_two_wells(n_wells: int) -> None:
    with pytest.raises(ValueError, match="both sides need two wells"):
        draw_control_wells(list("ABCD"), n_wells=n_wells, n_draws=1, seed=0)
