"""Control sets copy where perturbations sit."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2r.kernels.nulls import (
    draw_control_sets,
    find_structure,
    layout_repeats,
    name_shape,
    share_draws,
)

PLATES = np.repeat(["P1", "P2", "P3"], 5)
POSITIONS = np.tile([f"A{n:02d}" for n in range(5)], 3)


def test_structures_differ_only_in_what_matters() -> None:
    one = find_structure(["P1", "P2"], ["B02", "B02"])
    assert one == find_structure(["P2", "P1"], ["H09", "H09"]) == (("P1", "P2"),)
    assert find_structure(["P1", "P2"], ["B02", "B03"]) == (("P1",), ("P2",))
    assert find_structure(["P1", "P1"], ["B02", "B03"]) == (("P1",), ("P1",))


def test_a_repeated_position_is_copied_by_one_control_position() -> None:
    structure = find_structure(["P1", "P2", "P3"], ["C01"] * 3)
    drawn = draw_control_sets(PLATES, POSITIONS, structure, n_draws=50, seed=0)
    assert len(drawn.wells) == drawn.n_independent == 5
    for wells in drawn.wells:
        assert np.unique(POSITIONS[wells]).size == 1
        assert sorted(PLATES[wells]) == ["P1", "P2", "P3"]


def test_two_positions_are_copied_by_pairs_and_all_pairs_are_found() -> None:
    structure = find_structure(["P1", "P2"] * 2, ["C01", "C01", "C02", "C02"])
    drawn = draw_control_sets(PLATES, POSITIONS, structure, n_draws=50, seed=0)
    found = {tuple(np.unique(POSITIONS[wells]).tolist()) for wells in drawn.wells}
    assert found == set(combinations(np.unique(POSITIONS).tolist(), 2))
    assert drawn.n_independent == 2
    assert set(PLATES[drawn.wells].ravel()) == {"P1", "P2"}


def test_shuffled_wells_are_copied_by_one_control_of_each_plate() -> None:
    structure = find_structure(["P1", "P2", "P3"], ["C01", "C02", "C03"])
    drawn = draw_control_sets(PLATES, POSITIONS, structure, n_draws=60, seed=1)
    assert drawn.wells.shape == (60, 3)
    assert len({tuple(wells) for wells in drawn.wells.tolist()}) == 60
    assert drawn.n_independent == 5
    for wells in drawn.wells:
        assert sorted(PLATES[wells]) == ["P1", "P2", "P3"]
    again = draw_control_sets(PLATES, POSITIONS, structure, n_draws=60, seed=1)
    np.testing.assert_array_equal(drawn.wells, again.wells)


@pytest.mark.parametrize(
    ("plates", "positions"),
    [(["P4"], ["A01"]), (["P1"] * 5, list("ABCDE")), (["P1", "P4"], ["A01", "A01"])],
)
def test_what_controls_cannot_copy_has_no_draws(plates: list[str], positions: list[str]) -> None:
    drawn = draw_control_sets(
        PLATES, POSITIONS, find_structure(plates, positions), n_draws=9, seed=0
    )
    assert len(drawn.wells) == 0
    assert drawn.n_independent == 0


def test_repeated_layouts_are_told_from_shuffled_ones() -> None:
    random = np.random.default_rng(0)
    for n_plates in (2, 4, 8):
        plates = np.repeat(np.arange(n_plates), 18)
        names = np.array([*range(12), *[-1] * 6])
        sister = np.tile(random.permutation(names), n_plates)
        shuffled = np.concatenate([random.permutation(names) for _ in range(n_plates)])
        positions = np.tile(np.arange(18), n_plates)
        assert layout_repeats(plates, positions, sister)
        assert not layout_repeats(plates, positions, shuffled)
    assert not layout_repeats([0, 0], [1, 2], [0, 0]), "one plate repeats nothing"
    assert not layout_repeats([], [], [])


def test_shapes_forget_plates_and_keep_positions_and_wells() -> None:
    structures = [
        find_structure(plates, positions)
        for plates, positions in (
            (["P1", "P2", "P3"], ["A1", "A1", "A1"]),
            (["P2", "P3", "P4"], ["B7", "B7", "B7"]),
            (["P1", "P2", "P3"], ["A1", "B1", "C1"]),
            (["P1", "P2", "P2"], ["A1", "A1", "B2"]),
        )
    ]
    assert [name_shape(structure) for structure in structures] == ["3", "3", "1+1+1", "2+1"]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(any), st.integers(0, 50))
def test_draws_are_shared_out_in_proportion(counts: list[int], n_draws: int) -> None:
    shares = share_draws(counts, n_draws)
    assert sum(shares) == n_draws
    exact = n_draws * np.array(counts) / sum(counts)
    assert (np.abs(np.array(shares) - exact) < 1).all()
