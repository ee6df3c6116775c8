"""Plate maps of others: columns named, roles translated, tables joined, or one clear line."""

from pathlib import Path
from typing import Any

import pytest

from i2r.errors import InputError
from i2r.formats.platemaps import read_platemap

MAP = "Barcode,Position,Reagent\nP1,A1,r1\nP1,A2,r2\nP2,A1,r3\nP2,A2,\n"
REAGENTS = "Reagent\tSymbol\tkind\nr1\tBFP\tneg\nr2\tKRAS\ttrt\nr3\tTP53\ttrt\n"
COLUMNS = {
    "plate": "Barcode", "well": "Position", "perturbation": "Symbol", "gene": "Symbol",
    "role": "kind",
}  # fmt: skip
ROLES = {"neg": "negative_control", "": "empty", "*": "treated"}


def read(folder: Path, reagents: str = REAGENTS, **options: Any) -> Any:
    (folder / "map.csv").write_text(MAP)
    (folder / "reagents.tsv").write_text(reagents)
    given = {"columns": COLUMNS, "roles": ROLES, "join": [str(folder / "reagents.tsv")], **options}
    return read_platemap(str(folder / "map.csv"), **given)


def test_tables_are_joined_and_columns_named(tmp_path: Path) -> None:
    layout = read(tmp_path)
    columns = ["plate", "well", "perturbation", "gene", "role", "Reagent"]
    assert layout[columns].to_numpy().tolist() == [
        ["P1", "A01", "BFP", "BFP", "negative_control", "r1"],
        ["P1", "A02", "KRAS", "KRAS", "treated", "r2"],
        ["P2", "A01", "TP53", "TP53", "treated", "r3"],
        ["P2", "A02", "", "", "empty", ""],
    ]
    assert "Symbol" not in layout


def test_plates_are_chosen_before_rows_are_checked(tmp_path: Path) -> None:
    assert read(tmp_path, plates=["P1"])["plate"].tolist() == ["P1", "P1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {**COLUMNS, "dose": "uM"}}, "no column 'uM', found 'Barcode'"),
        ({"roles": {"neg": "control"}}, "role 'control' is unknown"),
        ({"roles": {**ROLES, "nge": "empty"}}, "no row has the role 'nge'"),
        ({"roles": {"neg": "negative_control"}}, "role 'trt' is unknown"),
        ({"plates": ["P3"]}, "no plate 'P3', found 'P1', 'P2'"),
        ({"columns": {**COLUMNS, "role": "Reagent"}, "join": []}, "no column 'Symbol'"),
        ({"reagents": "id\tSymbol\nr1\tBFP\n"}, "shares no column with"),
        ({"reagents": REAGENTS + "r2\tNRAS\ttrt\n"}, "line 5: Reagent 'r2' is there twice"),
        ({"reagents": REAGENTS.replace("\nr", "\nR")}, "no row is in"),
    ],
)
def test_what_does_not_fit_is_refused(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, **options)
