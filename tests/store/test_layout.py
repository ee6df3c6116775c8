"""Layout tables: what is wrong gets one clear line, whatever the bytes are."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from i2r.errors import InputError
from i2r.store.layout import conditions, join_images, read_layout

GOOD = "plate,well,perturbation,role,dose\nP1,A1,dmso,negative_control,\nP1,a02,drug,,2.5\n"


def read(text: str | bytes, folder: Path, name: str = "layout.csv") -> pd.DataFrame:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_layout(str(path))


def images_of(*places: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(places, columns=["plate", "well", "field"]).assign(channel="DNA")


# ------------------------------------------------------------------------------- reading


def test_wells_roles_and_doses_are_normalised(tmp_path: Path) -> None:
    table = read(GOOD, tmp_path)
    assert list(table["well"]) == ["A01", "A02"]
    assert list(table["role"]) == ["negative_control", "treated"]
    assert np.isnan(table["dose"][0])
    assert table["dose"][1] == 2.5
    assert list(table["gene"]) == ["", ""]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("\ufeff" + GOOD, "layout.csv"),
        (GOOD.replace("\n", "\r\n"), "layout.csv"),
        ("\ufeff" + GOOD.replace("\n", "\r\n"), "layout.csv"),
        (GOOD.replace(",", "\t"), "layout.tsv"),
        (GOOD.replace(",", ", "), "layout.csv"),
        (GOOD.replace(",", ";"), "layout.csv"),
        (GOOD.rstrip("\n"), "layout.csv"),
        (GOOD + "\n\n", "layout.csv"),
        (GOOD.replace("plate,well", " plate , well "), "layout.csv"),
    ],
    ids=[
        "BOM",
        "Windows",
        "BOM and Windows",
        "TSV",
        "spaces",
        "semicolons",
        "no last line end",
        "blank lines",
        "header spaces",
    ],
)
def test_other_ways_to_save_a_table_give_the_same(text: str, name: str, tmp_path: Path) -> None:
    pd.testing.assert_frame_equal(read(text, tmp_path, name), read(GOOD, tmp_path))


def test_other_columns_are_kept_as_text(tmp_path: Path) -> None:
    table = read(
        GOOD.replace("dose", "dose,batch")
        .replace("2.5", "2.5,01")
        .replace("control,", "control,,"),
        tmp_path,
    )
    assert list(table["batch"]) == ["", "01"]


def test_gene_names_that_look_like_missing_values_stay(tmp_path: Path) -> None:
    table = read(
        'well,perturbation,role\nA1,"NA",negative_control\nA2,"None",treated\nA3,"nan",\nA4, "NULL",\n',
        tmp_path,
    )
    assert list(table["perturbation"]) == ["NA", "None", "nan", "NULL"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "no CSV table"),
        ("\n\n", "no CSV table"),
        (b"\xff\xfe\x00w\x00", "UTF-8"),
        (b"w\x00e\x00", "UTF-8"),
        (b"\x89HDF\r\n", "an HDF5 file"),
        ("well,perturbation\n", "no rows"),
        ("well|perturbation\nA1|x\n", "expected 'well'"),
        ("wells,perturbation\nA1,x\n", "did you mean 'wells'"),
        ("well,Pertubation\nA1,x\n", "did you mean 'Pertubation'"),
        ("a,b\n1,2\n", "'well' and 'perturbation'"),
        (GOOD.replace("negative_control", "negative control"), "line 2: role 'negative control' is unknown (did you mean 'negative_control'?)"),
        (GOOD.replace("negative_control", "xyz"), "expected one of treated"),
        (GOOD.replace("a02", "A01"), "'A01' is on lines 2, 3"),
        (GOOD.replace("negative_control", "treated"), "no well has the role 'negative_control'"),
        (GOOD.replace("a02", "Z99"), "line 3: well 'Z99'"),
        (GOOD.replace("a02", ""), "line 3: "),
        (GOOD.replace("2.5", "2.5 uM"), "line 3: dose '2.5 uM' is not a number. Write one number"),
        (GOOD.replace("2.5", "inf"), "line 3: dose 'inf' is not a number. Write one"),
        (GOOD.replace("2.5", '"2,5"'), "dose '2,5' is not a number. Write decimals with a point"),
        (GOOD.replace("drug", ""), "line 3: well a02 has no perturbation"),
        ("well,perturbation,well\nA1,x,A2\n", "twice"),
        ("well , well,perturbation\nA1,A2,x\n", "twice"),
        ("well,perturbation\nA1,x,y\nA2,x,y\n", "layout"),
        ("well,perturbation\nA1,x\nA2,x,y\n", "layout"),
        ('well,perturbation\n"A1,x\n', "layout"),
    ],
)  # fmt: skip
def test_every_mistake_gets_one_clear_line(text: str | bytes, found: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read(text, tmp_path)
    (line,) = str(error.value).splitlines()
    assert found in line
    assert str(tmp_path / "layout.csv") in line


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.csv: no such file"):
        read_layout(str(tmp_path / "nowhere.csv"))


def test_many_mistakes_are_shown_at_once_with_their_number(tmp_path: Path) -> None:
    rows = "".join(f"A{n},x,wrong\n" for n in range(1, 9))
    with pytest.raises(InputError) as error:
        read("well,perturbation,role\n" + rows, tmp_path)
    lines = str(error.value).splitlines()
    assert len(lines) == 6
    assert lines[-1] == "... and 3 more like these"


def test_lines_are_counted_as_the_editor_counts_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 5: role"):
        read("well,perturbation,role\n\nA1,x,negative_control\n\nA2,y,wrong\n", tmp_path)


@given(data=st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_layout_or_an_input_error(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name in ("fuzz.csv", "fuzz.tsv"):
        with suppress(InputError):
            read(data, folder, name)


CELLS = st.text(st.sampled_from("AB019 ,\t\"'\r\n.-_;ńx"), max_size=6)


@given(
    header=st.lists(
        st.sampled_from(["well", "perturbation", "role", "dose", "plate", "x", "", " well"]),
        max_size=6,
    ),
    rows=st.lists(
        st.lists(
            CELLS | st.sampled_from(["A1", "A2", "negative_control", "nan", "1e999"]), max_size=7
        ),
        max_size=4,
    ),
)
@settings(max_examples=300, deadline=None)
def test_any_table_is_a_layout_or_an_input_error(
    header: list[str], rows: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = "\n".join([",".join(header), *(",".join(row) for row in rows)])
    try:
        table = read(text, tmp_path_factory.getbasetemp(), "fuzz.csv")
    except InputError:
        return
    assert (table["role"] == "negative_control").any()
    assert not table.duplicated(["plate", "well"]).any()


# ------------------------------------------------------------------------------- with the images


def test_fields_are_listed_in_their_order_and_extra_wells_are_noted(tmp_path: Path) -> None:
    images = images_of(
        ("P1", "A01", "2"), ("P1", "A01", "1"), ("P1", "A02", "1"), ("P1", "H12", "1")
    )
    layout, notes = join_images(read(GOOD, tmp_path), images, url="layout.csv")
    assert [list(f) for f in layout["fields"]] == [["2", "1"], ["1"]]
    assert list(layout["n_fields"]) == [2, 1]
    (note,) = notes
    assert "1 well of the source" in note
    assert "P1/H12" in note


@pytest.mark.parametrize(
    ("images", "found"),
    [
        ([("P1", "A01", "1")], "plate 'P1' well 'A02' has no images"),
        (
            [("P2", "A01", "1"), ("P2", "A02", "1")],
            "plate 'P1' has no images; the images are of 'P2'",
        ),
    ],
)
def test_wells_and_plates_without_images_are_refused_once(
    images: list[tuple[str, str, str]], found: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        join_images(read(GOOD, tmp_path), images_of(*images), url="layout.csv")
    (line,) = str(error.value).splitlines()
    assert found in line


def test_a_layout_without_plates_belongs_to_the_only_plate(tmp_path: Path) -> None:
    layout = read("well,perturbation,role\nA1,dmso,negative_control\n", tmp_path)
    joined, _ = join_images(layout, images_of(("P7", "A01", "1")), url="layout.csv")
    assert list(joined["plate"]) == ["P7"]
    with pytest.raises(InputError, match="no column 'plate'"):
        join_images(layout, images_of(("P7", "A01", "1"), ("P8", "A01", "1")), url="layout.csv")


def test_plates_are_the_same_however_their_letters_are_composed(tmp_path: Path) -> None:
    """A table from Excel on Windows, folders copied from macOS."""
    text = "plate,well,perturbation,role\nGr\u00f6\u00dfe1,A01,c,negative_control\n"
    apart = "Gro\u0308\u00dfe1"
    joined, _ = join_images(read(text, tmp_path), images_of((apart, "A01", "1")), url="layout.csv")
    assert joined["plate"].tolist() == [apart]


def test_empty_wells_need_no_images(tmp_path: Path) -> None:
    layout = read("well,perturbation,role\nA1,dmso,negative_control\nA2,,empty\n", tmp_path)
    joined, notes = join_images(layout, images_of(("P1", "A01", "1")), url="layout.csv")
    assert list(joined["well"]) == ["A01"]
    assert notes == []


# ------------------------------------------------------------------------------- conditions


def test_a_dose_is_named_only_where_there_are_several() -> None:
    layout = pd.DataFrame(
        {
            "perturbation": ["a", "a", "b", "c", "c"],
            "dose": [1.0, 2.5, 3.0, float("nan"), float("nan")],
        }
    )
    assert list(conditions(layout)) == ["a@1", "a@2.5", "b", "c", "c"]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c"]),
            st.sampled_from([float("nan"), 0.0, 1.0, 1.0000001, 2.5, 3e-9]),
        ),
        max_size=12,
    )
)
def test_conditions_are_named_well_by_well(wells: list[tuple[str, float]]) -> None:
    layout = pd.DataFrame(wells, columns=["perturbation", "dose"]).astype({"dose": float})
    expected = []
    for name, dose in wells:
        doses = {other for own, other in wells if own == name and other == other}
        same = {other for other in doses if f"{other:g}" == f"{dose:g}"}
        shown = f"@{dose}" if len(same) > 1 else f"@{dose:g}"
        expected.append(name + (shown if len(doses) > 1 and dose == dose else ""))
    assert conditions(layout).tolist() == expected
