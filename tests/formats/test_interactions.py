"""Tables as STRING, HIPPIE, DepMap and R write them; what has no symbol is listed, not kept."""

from pathlib import Path

import pytest

from i2r.errors import InputError
from i2r.formats.gene_tables import read_vectors
from i2r.formats.interactions import read_interactions
from i2r.formats.panels import read_panel
from i2r.store.vocabulary import read_symbols

# As STRING has it: every interaction in both directions.
STRING = (
    "protein1 protein2 combined_score\n9606.ENSP1 9606.ENSP2 490\n9606.ENSP2 9606.ENSP1 490\n"
    "9606.ENSP3 9606.ENSP2 900\n"
)
# As STRING writes it: the last column may be empty, which says nothing of the name.
NAMES = (
    "#string_protein_id\tpreferred_name\tprotein_size\tannotation\n"
    "9606.ENSP1\tTP53\t393\tguards\n9606.ENSP2\tCDKN1A\t164\t\n"
)


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def listed(frame: object) -> set[tuple[str, str]]:
    return set(frame.itertuples(index=False, name=None))  # type: ignore[attr-defined]


def test_files_of_string_are_read_as_they_are_downloaded(tmp_path: Path) -> None:
    url = write(tmp_path / "links.txt", STRING)
    plain = read_interactions(url)
    assert plain.genes == ["9606.ENSP1", "9606.ENSP2", "9606.ENSP3"]
    assert (plain.n_rows, len(plain.dropped)) == (3, 0), "the same again loses nothing"
    symbols = read_symbols(write(tmp_path / "info.txt", NAMES))
    assert (symbols["9606.ENSP1"], symbols["ENSP2"]) == ("TP53", "CDKN1A")
    found = read_interactions(url, symbols)
    assert (found.genes, found.edges.tolist()) == (["CDKN1A", "TP53"], [[0, 1]])
    assert found.costs.tolist() == [0.51]
    assert listed(found.dropped) == {("9606.ENSP3", "no symbol")}


def test_identifiers_without_a_symbol_do_not_become_one_gene(tmp_path: Path) -> None:
    rows = "ENSG1.4,ENSG2,0.1\nENSG3,ENSG1,0.2\nENSG4,ENSG2,0.2\n"
    url = write(tmp_path / "e.csv", f"protein1,protein2,cost\n{rows}")
    found = read_interactions(url, {"ENSG1": "TP53", "ENSG2": "MDM2"})
    assert (found.genes, found.edges.tolist()) == (["MDM2", "TP53"], [[0, 1]])
    assert listed(found.dropped) == {("ENSG3", "no symbol"), ("ENSG4", "no symbol")}
    with pytest.raises(InputError, match="no interaction of two proteins with a symbol"):
        read_interactions(url, {"ENSG9": "TP53"})


def test_the_first_row_of_hippie_may_name_a_protein_twice(tmp_path: Path) -> None:
    loop = "AL1A1_HUMAN\t216\tAL1A1_HUMAN\t216\t0.76\tpulled down\n"
    edge = "P53_HUMAN\t7157\tMDM2_HUMAN\t4193\t0.99\tpulled down\n"
    found = read_interactions(write(tmp_path / "h.txt", loop + edge))
    assert found.genes == ["MDM2_HUMAN", "P53_HUMAN"]
    assert listed(found.dropped) == {("AL1A1_HUMAN", "interacts with itself")}


def test_of_two_columns_of_a_gene_the_first_counts(tmp_path: Path) -> None:
    panel = read_panel(write(tmp_path / "p.csv", "line,TP53,TP53,MDM2\nU2OS,1,2,3\nA,4,5,6\n"))
    assert (panel.genes, panel.values.tolist()) == (["TP53", "MDM2"], [[1, 3], [4, 6]])
    assert listed(panel.dropped) == {("TP53", "listed before")}
    panel = read_panel(write(tmp_path / "s.csv", "symbol,U2OS,A\n TP53,1,2\ntp53,3,4\n,5,6\n"))
    assert (panel.genes, panel.values.tolist()) == (["TP53"], [[1], [2]])
    assert listed(panel.dropped) == {("TP53", "listed before"), ("row 3", "no symbol")}


def test_row_names_of_r_are_a_column(tmp_path: Path) -> None:
    text = "TP53\tMDM2\nU2OS\t1\t2\nA\t3\t4\n"
    panel = read_panel(write(tmp_path / "r.tsv", text))
    assert (panel.lines, panel.genes) == (["U2OS", "A"], ["TP53", "MDM2"])
    assert panel.values.tolist() == [[1, 2], [3, 4]]
    vectors = read_vectors(str(tmp_path / "r.tsv"))
    assert (vectors.genes, vectors.names) == (["A", "U2OS"], ["TP53", "MDM2"])


def test_rows_with_more_fields_than_names_are_one_line(tmp_path: Path) -> None:
    url = write(tmp_path / "t.csv", "gene,e0\nA,x,1\nB,y,2\n")
    with pytest.raises(InputError, match="column 'Unnamed: 0' is not a number"):
        read_vectors(url)
    for text in ("gene,e0\nA,x,y,1\nB,x,y,2\n", ",e0\nA,x,1\nB,y,2\n"):
        with pytest.raises(InputError, match="more fields than the first line has names"):
            read_vectors(write(tmp_path / "t.csv", text))
