"""Suggested patterns: what they read, and that there is none where names don't say enough."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from i2r.readers.suggestions import explain_wells, suggest_naming, suggest_pattern
from i2r.types import Well, parse_well

NAMINGS: dict[str, Callable[[Well, int, int], str]] = {
    "spaces": lambda w, f, c: f"Exp7 {w.row_name}{w.column} pos{f} {('DRAQ5', 'FKHR')[c]}.tif",
    "metaxpress": lambda w, f, c: f"EXP_P7_{w.name}_s{f}_w{c + 1}.TIF",
    "phenix": lambda w, f, c: f"r{w.row:02d}c{w.column:02d}f{f:02d}p01-ch{c + 1}sk1.tiff",
    "row and column": lambda w, f, c: f"ch{c}_f{f}_{w.row_name}-{w.column:02d}.png",
    "lower case": lambda w, f, c: f"scan_{w.name.lower()}_Field{f}_ch{c}.tif",
    "mixed case": lambda w, f, c: f"{w.name.lower() if w.column % 2 else w.name}_s{f}_w{c}.TIFF",
    "plates": lambda w, f, c: f"plate {f}/{w.name}_{('dapi', 'gfp')[c]}.tif",
}


@pytest.mark.parametrize("naming", NAMINGS)
@settings(max_examples=25)
@given(
    wells=st.lists(
        st.builds(Well, st.integers(1, 16), st.integers(1, 24)), min_size=2, max_size=4, unique=True
    ),
    fields=st.lists(st.integers(1, 12), min_size=2, max_size=3, unique=True),
)
def test_every_plane_is_read_as_what_it_is(
    naming: str, wells: list[Well], fields: list[int]
) -> None:
    planes = [(w, f, c) for w in wells for f in fields for c in (0, 1)]
    paths = [NAMINGS[naming](*plane) for plane in planes]
    pattern = re.compile(suggest_naming(paths).pattern)
    read = [match.groupdict() for path in paths if (match := pattern.search(path))]
    assert len(read) == len(planes)
    found = [parse_well(g.get("well") or f"{g['row']}{g['column']}") for g in read]
    assert found == [well for well, _, _ in planes]
    fields_read = [re.sub(r"\D", "", g.get("field") or g.get("plate") or "") for g in read]
    assert [int(text) for text in fields_read] == [field for _, field, _ in planes]
    stains = {(c, g["channel"]) for (_, _, c), g in zip(planes, read, strict=True)}
    assert len(stains) == 2


@pytest.mark.parametrize(
    "paths",
    [
        [],
        ["image.tif"],
        ["A01.tif", "overview.tif"],
        ["A01_x.tif", "A01_x.png"],
        ["Z01.tif", "Z02.tif"],
        ["A99.tif"],
    ],
)
def test_no_suggestion_where_names_do_not_say(paths: list[str]) -> None:
    assert suggest_naming(paths) is None
    assert suggest_pattern(paths) == ""


def test_numbers_that_count_up_are_no_channels() -> None:
    paths = [f"A{n:02d}_{5000 + n}.tif" for n in range(1, 20)]
    pattern = re.compile(suggest_naming(paths).pattern)
    assert list(pattern.groupindex) == ["well"]
    assert [m["well"] for path in paths if (m := pattern.search(path))] == [p[:3] for p in paths]


def test_a_field_at_the_end_of_a_name_is_no_channel() -> None:
    names = [f"A0{well}_s{site}.tif" for well in (1, 2) for site in (1, 2)]
    pattern = suggest_pattern(names)
    assert "(?P<field>" in pattern
    assert "(?P<channel>" not in pattern


def test_a_field_may_stand_behind_a_space() -> None:
    names = [f"{w} pos {f} {c}.tiff" for w in ("B2", "C3") for f in (1, 2) for c in ("DAPI", "GFP")]
    match = re.search(suggest_pattern(names), "C3 pos 2 GFP.tiff")
    assert match is not None
    assert match.groupdict() == {"well": "C3", "field": "2", "channel": "GFP"}


def test_counted_wells_are_named_without_what_follows() -> None:
    assert explain_wells(["W0014F0001T0001Z001C1.tif"]).startswith("wells are counted (W0014), ")
