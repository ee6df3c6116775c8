"""Wells: every way to write one means the same place, everything else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2r.errors import join_problems
from i2r.types import PLATE_FORMATS, Well, parse_well

WELLS = st.builds(Well, st.integers(1, 32), st.integers(1, 48))


@pytest.mark.parametrize(
    "text", ["A1", "A01", "a01", "A001", "A-01", "a 1", " A1 ", "r01c01", "R1C1"]
)
def test_all_spellings_are_one_well(text: str) -> None:
    assert parse_well(text) == Well(1, 1)


@given(WELLS)
def test_a_wells_own_names_are_read_back(well: Well) -> None:
    assert parse_well(well.name) == well
    assert parse_well(well.path.replace("/", "")) == well
    assert parse_well(f"r{well.row:02d}c{well.column:02d}") == well


@given(WELLS, WELLS)
def test_two_wells_never_share_a_name_or_a_path(one: Well, other: Well) -> None:
    assert (one.name == other.name) == (one == other)
    assert (one.path == other.path) == (one == other)


def test_rows_beyond_z_have_two_letters() -> None:
    assert [Well(row, 1).row_name for row in (1, 26, 27, 32)] == ["A", "Z", "AA", "AF"]


@pytest.mark.parametrize(
    "text", ["", "A", "1", "A0", "A00", "0A1", "AG1", "A49", "r0c1", "r33c1", "A1.5", "*"]
)
def test_what_is_no_well_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="well"):
        parse_well(text)


@given(st.text(max_size=8))
def test_any_text_is_a_well_of_the_largest_plate_or_refused(text: str) -> None:
    try:
        well = parse_well(text)
    except ValueError:
        return
    assert 1 <= well.row <= 32
    assert 1 <= well.column <= 48


def test_formats_have_as_many_wells_as_they_say() -> None:
    assert all(rows * columns == number for number, (rows, columns) in PLATE_FORMATS.items())


def test_of_many_problems_five_and_the_count_are_shown() -> None:
    assert join_problems([str(n) for n in range(7)]).splitlines() == [
        *"01234",
        "... and 2 more like these",
    ]
    assert join_problems(["one"]) == "one"
