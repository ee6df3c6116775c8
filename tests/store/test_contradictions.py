"""Layouts that say two things at once are refused by their lines; what is suspicious is noted."""

import io
from pathlib import Path

import pytest

from i2r.errors import InputError
from i2r.formats.platemaps import read_platemap
from i2r.store.layout import check_layout, read_layout
from i2r.store.sheets import read_table

HEADER = "plate,well,perturbation,gene,role\n"
CONTROLS = "P1,A01,DMSO,,negative_control\nP1,A02,DMSO,,negative_control\n"


def write(folder: Path, text: str | bytes, name: str = "layout.csv") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def complain(folder: Path, rows: str, header: str = HEADER, controls: str = CONTROLS) -> str:
    with pytest.raises(InputError) as error:
        read_layout(write(folder, header + controls + rows))
    return str(error.value)


def notes_on(folder: Path, rows: str, header: str = HEADER, controls: str = CONTROLS) -> list[str]:
    url, notes = write(folder, header + controls + rows), list[str]()
    check_layout(read_table(url), url, notes=notes)
    return notes


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ("P1,A03,c1,TP53,\nP1,A04,c1,MYC,\nP2,A03,c1,MYC,\n",
         "'c1' has the gene 'TP53' on line 4 and the gene 'MYC' on lines 5 and 6"),
        ("P1,A03,c1,A|B,\nP1,A04,c1,A|C,\n", "the gene 'A|C' on line 5"),
        ("P1,A03,c1,,treated\nP1,A04,c1,,positive_control\n",
         "'c1' is 'treated' on line 4 and 'positive_control' on line 5"),
        ("P1,A03,DMSO,,treated\n", "'DMSO' is 'negative_control' on lines 2 and 3 and 'treated'"),
        ("P1,A03,DMSO,,\n", "'DMSO' has no role on line 4"),
        ("P1,A03,EMPTY,,\nP1,A04,empty ,,\n", "'EMPTY' has no role on lines 4 and 5"),
        ("P1,A03,Non-targeting 2,,\n", "'Non-targeting 2' has no role on line 4"),
        ("P1,A03,c1,TP53,\nP1,A04,c2,tp53,\n", "gene is written 'TP53' on line 4 and 'tp53'"),
        ("P1,A03,c1,,\nP1,A04,C1,,\n", "perturbation is written 'c1' on line 4 and 'C1' on line 5"),
        ("P1,A03,10 \u00b5M,,\nP1,A04,10 \u03bcM,,\n", "(U+00B5 and U+03BC)"),
        ("P1,A03,caf\u00e9,,\nP1,A04,cafe\u0301,,\n", "perturbation is written"),
        ("P1,A03,a  b,,\nP1,A04,a b,,\n", "perturbation is written 'a  b'"),
        ("P1,A03,s1,2-Sep,\nP1,A04,s2,Mar-01,\n", "gene '2-Sep' on lines 4 and 5 is a date"),
        ("P1,A03,s1,2023-03-01 00:00:00,\n", "a spreadsheet made of a name"),
        ("P1,A03,s1,1-Dez,\n", "a spreadsheet made of a name"),
        ("P1,A03,s1,01/03/2023,\n", "a spreadsheet made of a name"),
        ("P1,A03,s1,44621,\nP1,A04,s2,TP53,\nP1,A05,s3,MYC,\n", "gene '44621' on line 4"),
        ("P1,A03,s1,2.31E+13,\n", "gene '2.31E+13' on line 4"),
        ("P1,A03,2-Sep,,\n", "perturbation '2-Sep' on line 4"),
        ("P1,A03,sgNTC_1,NTC,\n", "'sgNTC_1' has no role on line 4"),
        ("P1,A03,s1,Luciferase,\n", "'s1' (gene 'Luciferase') has no role on line 4"),
        ("P1,A03,DMSO (vehicle),,\nP1,A04,no cells,,\n", "has no role on lines 4 and 5"),
        ("P1,A03,siControl #2,,\n", "'siControl #2' has no role on line 4"),
        ("P1,A03,s1,01. Mrz,\nP1,A04,s2,2-f\u00e9vr.,\nP1,A05,s3,3/1,\n", "on lines 4, 5 and 6 is a date"),
        ("P1,A03,g1,TP53,\nP1,A04,g2,\u0422\u0420\u0035\u0033,\n", "(U+0054 and U+0422)"),
        ("P1,A03,g1,,\nP1,A04,g1\u200b,,\n", "(U+0020 and U+200B)"),
        ("P1,A03,BAY-11,,\nP1,A04,BAY\u201311,,\n", "(U+002D and U+2013)"),
        ('P1,A03,"c1\n2",,\n', "'c1\\n2' on line 5 holds a line break"),
        ("P1,A03,-,TP53,\n", "line 4: well A03 has no perturbation"),
    ],
)  # fmt: skip
def test_a_contradiction_is_refused_by_its_lines(tmp_path: Path, rows: str, found: str) -> None:
    assert found in complain(tmp_path, rows)


DOSED = "well,perturbation,dose,dose_unit,role\n"
UNDOSED = "A01,DMSO,,,negative_control\nA02,DMSO,0,M,negative_control\n"


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ("A03,c1,1,uM,\nA04,c1,1,nM,\n", "column 'dose_unit' is 'uM' on line 4 and 'nM' on line 5"),
        ("A03,c1,-666,uM,\n", "dose '-666' is below 0"),
        ("A03,c1,3-Jan,uM,\n", "dose '3-Jan' is a date"),
        ("A03,c1,5,,\nA04,c1,7,,\nA05,c1@5,,,\n", "'c1@5' names a perturbation (line 6) and a dose of 'c1' (line 4)"),
    ],
)  # fmt: skip
def test_doses_that_would_be_pooled_are_refused(tmp_path: Path, rows: str, found: str) -> None:
    assert found in complain(tmp_path, rows, DOSED, UNDOSED)


@pytest.mark.parametrize(
    "rows",
    [
        "P1,A03,c1,TP53,\nP1,A04,c2,TP53,\n",
        "P1,A03,c1,A|B,\nP1,A04,c1,B|A,\n",
        "P1,A03,DMSO,,empty\n",
        "P1,A03,a,7157,\nP1,A04,b,44621,\n",
        "P1,A03,SEPT2,SEPT2,\nP1,A04,DEC1,DEC1,\nP1,A05,MARCH1,MARCH1,\n",
        "P1,A03,c1,,positive_control\nP1,A04,c1,,positive_control\n",
        "P1,A03,JUN-1,JUN,\nP1,A04,WT1,WT1,\n",
    ],
    ids=["two reagents", "targets", "excluded", "Entrez", "old symbols", "positive", "guides"],
)
def test_what_is_no_contradiction_passes(tmp_path: Path, rows: str) -> None:
    assert len(read_layout(write(tmp_path, HEADER + CONTROLS + rows))) > 2
    assert notes_on(tmp_path, rows) == []


def test_units_are_known_by_their_values_too(tmp_path: Path) -> None:
    header = "well,perturbation,dose,mmoles_per_liter_unit,role\n"
    found = complain(tmp_path, "A03,c1,1,uM,\nA04,c1,1,nM,\n", header, UNDOSED)
    assert "column 'mmoles_per_liter_unit' is 'uM' on line 4 and 'nM' on line 5" in found
    header = "well,perturbation,dose,unit_of_time,role\n"
    rows = "A01,DMSO,,d,negative_control\nA03,c1,1,h,\nA04,c1,1,d,\n"
    assert len(read_layout(write(tmp_path, header + rows))) == 3


def test_a_micro_sign_of_either_kind_is_one_unit(tmp_path: Path) -> None:
    rows = "A03,c1,1,\u00b5M,\nA04,c1,2,\u03bcM,\n"
    assert len(read_layout(write(tmp_path, DOSED + UNDOSED + rows))) == 4


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ("P1,A03,c1,TP53,\nP1,A04,c1,,\n", "has the gene 'TP53' on line 4 and none on line 5"),
        ("P1,A03,mock,,treated\n", "its name is that of untreated wells"),
        ("P1,A03,c1,||,\n", "gene '||' on line 4 is read as missing"),
        ('P1,A03,c1,"TP53,MDM2",\nP1,A04,c2,A/B,\n', "'TP53,MDM2' on line 4 (1 others alike)"),
        ("P1,A03,TP53,MYC,\nP1,A04,g,TP53,\n", "has the gene 'MYC' (line 4), and is a gene itself"),
        ("P1,A03,c1,NA,\n", "gene 'NA' on line 4 is read as missing. In quotes (\"NA\")"),
    ],
)
def test_what_is_suspicious_is_noted(tmp_path: Path, rows: str, found: str) -> None:
    (note,) = notes_on(tmp_path, rows)
    assert found in note


def test_rounded_doses_and_missing_ones_are_noted(tmp_path: Path) -> None:
    rows = "A03,c1,3.33,,\nA04,c1,3.3333,,\nA05,c1,,,\n"
    notes = notes_on(tmp_path, rows, DOSED, UNDOSED)
    assert len(notes) == 2
    assert "'c1' has doses, and none on line 6" in notes[0]
    assert "3.33 (line 4) and 3.3333 (line 5), which are two conditions" in notes[1]


def test_a_gene_called_na_is_one_in_quotes(tmp_path: Path) -> None:
    rows = 'P1,A03,c1,NA,\nP1,A04,c2,"NA",\nP1,A05,c3,nan,\nP1,A06,c4, "NAN",\n'
    table = read_layout(write(tmp_path, HEADER + CONTROLS + rows))
    assert table["gene"].tolist()[2:] == ["", "NA", "", "NAN"]


def test_a_missing_perturbation_is_no_perturbation_called_na(tmp_path: Path) -> None:
    assert "line 4: well A03 has no perturbation" in complain(tmp_path, "P1,A03,NA,NA,\n")


def test_columns_that_differ_in_case_are_taken_and_near_ones_named(tmp_path: Path) -> None:
    header = "Plate,Well,Perturbation,Gene,ROLE,dose_uM\n"
    rows = "P1,A01,DMSO,,negative_control,\nP1,A02,c1,TP53,,5\n"
    table = read_layout(write(tmp_path, header + rows))
    assert table["gene"].tolist() == ["", "TP53"]
    (note,) = notes_on(tmp_path, rows, header, "")
    assert "no column 'dose'; 'dose_uM' is kept as text" in note
    twice = write(tmp_path, "well,Gene,GENE,perturbation\nA1,a,b,c\n")
    with pytest.raises(InputError, match="'Gene' and 'GENE' are both 'gene'"):
        read_layout(twice)


def test_columns_of_other_programs_are_taken_or_named(tmp_path: Path) -> None:
    rows = "P1,A,1,DMSO,,negative_control\nP1,A,2,c1,5,\n"
    header = "Metadata_Plate,Row,Column,perturbation,concentration,role\n"
    table = read_layout(write(tmp_path, header + rows))
    assert table["plate"].tolist() == ["P1", "P1"]
    assert table["well"].tolist() == ["A01", "A02"]
    (note,) = notes_on(tmp_path, rows.replace("A,", "1,"), header, "")
    assert "no column 'dose'; 'concentration' is kept as text" in note
    (note,) = notes_on(
        tmp_path, "A01,DMSO,negative_control,1\n", "well,perturbation,role,fields\n", ""
    )
    assert "column 'fields' has the name of one that i2r writes" in note


def test_units_missing_beside_doses_are_noted(tmp_path: Path) -> None:
    (note,) = notes_on(tmp_path, "A03,c1,1,uM,\nA04,c1,1,,\n", DOSED, UNDOSED)
    assert "column 'dose_unit' on line 5 has doses without a unit" in note


def test_lists_in_cells_do_not_decide_the_separator(tmp_path: Path) -> None:
    text = HEADER + CONTROLS + "P1,A03,c1,A;B;C;D;E;F;G;H,\n"
    assert read_layout(write(tmp_path, text))["gene"].tolist()[2] == "A|B|C|D|E|F|G|H"
    text = "Map, by me, on a day, of, May\n" + (HEADER + CONTROLS).replace(",", ";")
    text += "P1;A03;c1;A,B,C,D,E,F,G,H;\n"
    assert read_layout(write(tmp_path, text))["gene"].tolist()[2] == "A,B,C,D,E,F,G,H"


GOOD = "plate,well,perturbation,dose,role\nP1,A01,DMSO,,negative_control\nP1,A02,caf\u00e9,0.5,treated\n"


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (GOOD.encode("utf-16"), ""),
        (GOOD.replace(",", "\t").encode("utf-16"), ""),
        (GOOD.encode("utf-32"), ""),
        (GOOD.encode("cp1252"), "read as Windows-1252, for example 'caf\u00e9'"),
        (("\ufeff" + GOOD.replace("\n", "\r")).encode(), ""),
        (GOOD.replace(",", "\t").encode(), ""),
        (GOOD.replace(",", ";").replace("0.5", "0,5").encode(), ""),
        (("Plate map, 2024-05-01,,,\n\n" + GOOD).encode(), "1 line(s) above the columns' names"),
        ((GOOD + ",,,,\n;\n"[:5]).replace("\n", "\r\n").encode(), ""),
    ],
    ids=["UTF-16", "UTF-16 tabs", "UTF-32", "Windows", "old Mac", "tabs", "semicolons", "title", "trailing"],
)  # fmt: skip
def test_tables_of_other_programs_give_the_same(tmp_path: Path, data: bytes, note: str) -> None:
    url, notes = write(tmp_path, data), list[str]()
    table = read_platemap(url, columns={}, roles={}, notes=notes)
    assert table["perturbation"].tolist() == ["DMSO", "caf\u00e9"]
    assert table["dose"].tolist()[1] == 0.5
    assert (note in notes[0]) if note else not notes


def test_thousands_are_not_taken_for_decimals(tmp_path: Path) -> None:
    text = GOOD.replace(",", ";").replace("0.5", "1,000")
    with pytest.raises(InputError, match="dose '1,000' is not a number"):
        read_layout(write(tmp_path, text))


def test_a_plate_as_a_grid_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the plate as a grid"):
        read_layout(write(tmp_path, ",1,2,3\nA,DMSO,DMSO,TP53\nB,MYC,EGFR,DMSO\n"))


def make_workbook(rows: list[list[object]]) -> bytes:
    openpyxl = pytest.importorskip("openpyxl")
    book, buffer = openpyxl.Workbook(), io.BytesIO()
    for row in rows:
        book.active.append(row)
    book.save(buffer)
    return buffer.getvalue()


def test_the_first_sheet_of_a_workbook_is_a_layout(tmp_path: Path) -> None:
    from datetime import datetime

    rows: list[list[object]] = [
        ["Screen of May", None, None, None, None],
        [None, None, None, None, None],
        ["plate", "well", "perturbation", "gene", "role", "dose"],
        [1, "A01", "DMSO", "NA", "negative_control", None],
        [1, "A02", "c1", '"NA"', "treated", 0.5],
    ]
    table = read_layout(write(tmp_path, make_workbook(rows), "layout.xlsx"))
    assert table["plate"].tolist() == ["1", "1"]
    assert table["gene"].tolist() == ["", "NA"]
    rows.append([1, "A03", "s1", datetime(2024, 9, 2), "treated", 1])
    with pytest.raises(InputError, match="gene '2024-09-02 00:00:00' on line 6 is a date"):
        read_layout(write(tmp_path, make_workbook(rows), "layout.xlsx"))


def test_the_sheet_with_the_columns_is_read_and_named(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book, notes = openpyxl.Workbook(), list[str]()
    book.active.append(["Read me first"])
    for row in (["well", "perturbation", "role"], ["A01", "DMSO", "negative_control"]):
        (book["map"] if "map" in book.sheetnames else book.create_sheet("map")).append(row)
    book.save(tmp_path / "layout.xlsx")
    table = read_platemap(str(tmp_path / "layout.xlsx"), columns={}, roles={}, notes=notes)
    assert table["well"].tolist() == ["A01"]
    assert "read from the sheet 'map'" in notes[0]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"PK\x03\x04 xl/workbook.xml <x/>", "no readable Excel file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "an old Excel file"),
        (b"PK\x03\x04 content.xml", "a packed file"),
    ],
)
def test_damaged_and_other_workbooks_are_refused(tmp_path: Path, data: bytes, found: str) -> None:
    with pytest.raises(InputError, match=found):
        read_layout(write(tmp_path, data, "layout.xlsx"))


# ------------------------------------------------------------------------------- plate maps


def write_jump(folder: Path) -> str:
    (folder / "platemap").mkdir()
    write(
        folder,
        "plate_map_name\twell_position\tbroad_sample\nM1\tA01\t\nM1\tA02\tBRD-1\nM1\tA03\tBRD-2\n",
        "platemap/M1.txt",
    )
    write(
        folder,
        "broad_sample\tpert_type\tcontrol_type\ttarget\n\tcontrol\tnegcon\t\n"
        "BRD-1\ttrt\t\tA|B\nBRD-2\tcontrol\tposcon\t\n",
        "compounds.tsv",
    )
    return write(
        folder,
        "Assay_Plate_Barcode,Plate_Map_Name,batch\nBR1,M1,x\nBR2,M1,y\n",
        "barcode_platemap.csv",
    )


def test_one_plate_map_serves_replicate_plates(tmp_path: Path) -> None:
    table = read_platemap(
        write_jump(tmp_path),
        columns={"perturbation": "broad_sample", "role": "pert_type+control_type", "gene": "target"},
        roles={"trt": "treated", "control+negcon": "negative_control", "control+poscon": "positive_control"},
        join=[str(tmp_path / "compounds.tsv")],
        control_name="DMSO",
    )  # fmt: skip
    assert table[["plate", "well"]].agg("/".join, axis=1).tolist() == [
        "BR1/A01", "BR1/A02", "BR1/A03", "BR2/A01", "BR2/A02", "BR2/A03",
    ]  # fmt: skip
    assert table["perturbation"].tolist()[:3] == ["DMSO", "BRD-1", "BRD-2"]
    assert table["role"].tolist()[:3] == ["negative_control", "treated", "positive_control"]
    assert table["batch"].tolist() == ["x", "x", "x", "y", "y", "y"]
    assert table["gene"][1] == "A|B"


def test_headers_in_other_case_and_compounds_not_listed(tmp_path: Path) -> None:
    url, notes = write_jump(tmp_path), list[str]()
    Path(url).write_text("assay_plate_barcode,plate_map_name\nBR1,M1\n,\n")
    maps = tmp_path / "platemap" / "M1.txt"
    maps.write_text(maps.read_text().replace("well_position", "Well") + "M1\tA04\tBRD-9\n")
    table = read_platemap(
        url, columns={"perturbation": "broad_sample", "role": "pert_type"},
        roles={"trt": "treated", "control": "negative_control", "*": "treated"},
        join=[str(tmp_path / "compounds.tsv")], control_name="DMSO", notes=notes,
    )  # fmt: skip
    assert table["plate"].tolist() == ["BR1"] * 4
    assert any("broad_sample 'BRD-9' is not in" in note for note in notes)
    Path(url).write_text("Assay_Plate_Barcode,Plate_Map_Name\nBR1,M1\n,M1\n")
    with pytest.raises(InputError, match="line 3: no Assay_Plate_Barcode"):
        read_platemap(url, columns={"perturbation": "broad_sample"}, roles={})


def test_a_plate_map_that_is_not_there_is_named(tmp_path: Path) -> None:
    url = write_jump(tmp_path)
    (tmp_path / "platemap" / "M1.txt").unlink()
    with pytest.raises(InputError, match=r"no plate map 'M1', expected .*platemap/M1\.txt"):
        read_platemap(url, columns={}, roles={})


def test_a_title_above_columns_of_other_names_is_passed_over(tmp_path: Path) -> None:
    url = write(tmp_path, "Screen 7,,\nWell,Gene Symbol,Kind\nA1,none,ctl\nA2,TP53,trt\n")
    notes: list[str] = []
    table = read_platemap(
        url,
        columns={"perturbation": "Gene Symbol", "role": "Kind", "well": "Well"},
        roles={"ctl": "negative_control", "trt": "treated"},
        notes=notes,
    )
    assert table["perturbation"].tolist() == ["none", "TP53"]
    assert "1 line(s) above" in notes[0]


def test_one_note_stands_for_all_perturbations_of_a_kind(tmp_path: Path) -> None:
    rows = "".join(f"A{3 + n},c{n},{d},,\n" for n in range(4) for d in ("3.33",))
    rows += "".join(f"B{3 + n},c{n},{d},,\n" for n in range(4) for d in ("3.3333",))
    (note,) = notes_on(tmp_path, rows, DOSED, UNDOSED)
    assert "(3 others alike)" in note
