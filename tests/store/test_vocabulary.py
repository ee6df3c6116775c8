"""Names of genes become symbols, from the tables of nomenclature as they are downloaded."""

from pathlib import Path

import pytest

from i2r.errors import InputError
from i2r.formats.interactions import read_interactions
from i2r.formats.panels import clean_symbols
from i2r.store.vocabulary import (
    Vocabulary,
    read_symbols,
    read_vocabulary,
    tabulate_translations,
    translate,
    write_vocabulary,
)

HGNC = (
    "hgnc_id\tsymbol\tname\tstatus\talias_symbol\tprev_symbol\tentrez_id\tensembl_gene_id\tuniprot_ids\n"
    'HGNC:9165\tSEPTIN2\tseptin 2\tApproved\t"DIFF6|Pnutl3"\t"NEDD5|SEPT2"\t4735\tENSG00000168385\tQ15019\n'
    'HGNC:11998\tTP53\t"tumor protein ""p53"""\tApproved\t"p53|LFS1|KET"\t\t7157\tENSG00000141510\tP04637\n'
    'HGNC:15979\tTP63\ttumor protein p63\tApproved\t"p63|KET"\t\t8626\tENSG00000073282\tQ9H3D4\n'
    "HGNC:1\tMARC1\tx\tApproved\tMARCHF1\t\t64757\tENSG1\t\n"
    "HGNC:2\tMARCHF1\tx\tApproved\t\tMARCH1\t55016\tENSG2\t\n"
    "HGNC:3\tOLD~withdrawn\tx\tSymbol Withdrawn\t\t\t\t\t\n"
)
BIOMART = (
    "Gene stable ID,Gene stable ID version,Gene name,NCBI gene (formerly Entrezgene) ID,Gene Synonym\n"
    "ENSG00000141510,ENSG00000141510.18,TP53,7157,LFS1\n"
    "ENSG00000141510,ENSG00000141510.18,TP53,7157,P53\nENSG00000000003,ENSG00000000003.1,,,\n"
)
NCBI = (
    "#tax_id\tGeneID\tSymbol\tLocusTag\tSynonyms\tdbXrefs\n"
    "9606\t7157\tTP53\t-\tBCC7|LFS1\tMIM:191170|HGNC:HGNC:11998|Ensembl:ENSG00000141510\n"
)
ALIASES = (
    "#string_protein_id\talias\tsource\n9606.ENSP00000269305\tA0A087\tUniProt_AC\n"
    "9606.ENSP00000269305\tTP53\tEnsembl_HGNC_symbol\n"
)


def read(folder: Path, text: str, name: str = "s.txt") -> Vocabulary:
    (folder / name).write_text(text)
    return read_symbols(str(folder / name))


def test_the_complete_set_of_hgnc(tmp_path: Path) -> None:
    symbols = read(tmp_path, HGNC)
    for name in ("ENSG00000141510", "ENSG00000141510.12", "7157", "HGNC:11998", "p04637", "LFS1"):
        assert translate(name, symbols) == "TP53"
    assert translate("Sept2", symbols) == translate("NEDD5", symbols) == "SEPTIN2"
    assert translate("OLD", symbols) == "OLD"
    assert symbols.kinds["SEPT2"] == "previous symbol"
    # An alias that is another gene's symbol does not swallow that gene.
    assert translate("MARCHF1", symbols) == "MARCHF1"
    assert translate("MARCH1", symbols) == "MARCHF1"
    # An alias of two genes is of none.
    assert (translate("KET", symbols), symbols.ambiguous["KET"]) == ("KET", ("TP53", "TP63"))
    assert translate("ENSG00000999999", symbols) == ""


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (BIOMART, ["ENSG00000141510", "ENSG00000141510.18", "7157", "LFS1", "P53"]),
        (NCBI, ["ENSG00000141510", "7157", "BCC7"]),
        (ALIASES, ["9606.ENSP00000269305", "ENSP00000269305"]),
        ("TP53,ENSG00000141510\nMDM2,ENSG00000135679\n", ["ENSG00000141510"]),
        ("ENSG00000141510\tTP53\nENSG00000135679\tMDM2\n", ["ENSG00000141510"]),
        ("name;symbol\nP53_HUMAN;TP53\n", ["P53_HUMAN"]),
    ],
    ids=["BioMart", "NCBI", "STRING's aliases", "symbol first", "no header", "semicolons"],
)
def test_tables_of_others(tmp_path: Path, text: str, names: list[str]) -> None:
    symbols = read(tmp_path, text)
    assert [translate(name, symbols) for name in names] == ["TP53"] * len(names)


def test_quotes_that_never_close_swallow_no_line(tmp_path: Path) -> None:
    text = "#string_protein_id\tpreferred_name\tsize\tannotation\n"
    text += 'ENSP1\tA\t1\t"open\nENSP2\tB\t1\tx\nENSP3\tC\t1\t"also\n'
    symbols = read(tmp_path, text)
    assert [translate(f"ENSP{n}", symbols) for n in (1, 2, 3)] == ["A", "B", "C"]


def test_a_network_that_has_both_names_keeps_both_genes(tmp_path: Path) -> None:
    symbols = read(tmp_path, "alias,symbol\nSRC,EGFR\nERBB,EGFR\nENSG9,EGFR\n", "a.csv")
    (tmp_path / "i.csv").write_text(
        "gene1,gene2,cost\nSRC,EGFR,0.1\nERBB1,MYC,0.1\nENSG9,MYC,0.2\n"
    )
    log: list = []
    found = read_interactions(str(tmp_path / "i.csv"), symbols, log=log)
    assert found.genes == ["EGFR", "ERBB1", "MYC", "SRC"]
    assert found.symbols is not None
    assert translate("src", found.symbols) == "SRC", "the same for targets and panels"
    assert log[0].to_numpy().tolist() == [
        ["interactions", "SRC", "SRC|EGFR", "ambiguous"],
        ["interactions", "ENSG9", "EGFR", "alias"],
    ]


def test_a_vocabulary_is_the_same_after_it_was_written(tmp_path: Path) -> None:
    symbols, url = read(tmp_path, HGNC), str(tmp_path / "v.parquet")
    write_vocabulary(url, symbols)
    again = read_vocabulary(url)
    assert again is not None
    assert dict(again) == dict(symbols)
    assert (again.approved, again.kinds, again.ambiguous) == (
        symbols.approved, symbols.kinds, symbols.ambiguous,
    )  # fmt: skip
    write_vocabulary(url, Vocabulary({}))
    assert read_vocabulary(url) is None


def test_tables_that_name_nothing_are_refused(tmp_path: Path) -> None:
    for text, found in (("name\nA\n", "one column"), ("name,symbol\nA,\n", "no row with a name")):
        with pytest.raises(InputError, match=found):
            read(tmp_path, text, "s.csv")
    with pytest.raises(InputError, match="no alias is the gene's symbol"):
        read(tmp_path, ALIASES.replace("Ensembl_HGNC_symbol", "x"))


def test_dates_and_missing_names_are_no_symbols() -> None:
    genes, kept, dropped = clean_symbols(["NAN", "\ue000NAN", "2-Sep", "tp53", ""])
    assert (genes, kept) == (["NAN", "TP53"], [1, 3])
    assert [name for name, _ in dropped] == ["NAN", "2-Sep", "row 5"]
    assert tabulate_translations(["A"], None, table="x").empty
