"""Tables of genes as users have them, and one line for what is wrong with one."""

import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from i2r.errors import InputError
from i2r.formats.gene_tables import digest_files, read_gene_sets, read_labels, read_vectors
from i2r.formats.interactions import read_interactions
from i2r.store.frames import to_numbers


def write(path: Path, text: str) -> str:
    path.write_bytes(text.encode())
    return str(path)


def test_vectors_are_averaged_per_gene_whatever_the_format(tmp_path: Path) -> None:
    rows = "gene,e0,e1\nJun,1,2\n TP53 ,5,6\njun,3,4\n,9,9\n"
    urls = [
        write(tmp_path / "a.csv", rows),
        write(tmp_path / "b.tsv", "\ufeff" + rows.replace(",", "\t").replace("\n", "\r\n")),
    ]
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(rows.encode()))
    frame = pd.DataFrame({"gene": ["JUN", "TP53"], "e0": [2.0, 5], "e1": [3.0, 6], "n_wells": 4})
    frame.to_parquet(tmp_path / "d.parquet")
    # As pandas writes an index, and so published embeddings come.
    urls.append(write(tmp_path / "e.csv", rows.replace("gene,", ",", 1)))
    for url in [*urls, str(tmp_path / "c.csv.gz"), str(tmp_path / "d.parquet")]:
        vectors = read_vectors(url)
        assert vectors.genes == ["JUN", "TP53"]
        assert vectors.names == ["e0", "e1"]
        np.testing.assert_array_equal(vectors.values, [[2, 3], [5, 6]])
        np.testing.assert_array_equal(vectors.take(["TP53", "JUN"]), [[5, 6], [2, 3]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,e0\nA,1\n", "no column 'gene'"),
        ("gene,e0\nA,high\n", "'e0' is not a number"),
        ("gene\nA\n", "no column of numbers"),
        ("gene,e0\n", "not a number|no row"),
        ("gene,e0\nA,1\nB,\n", "gene 'B' has no finite value in 'e0'"),
        ("", "no table"),
    ],
)
def test_a_wrong_table_of_vectors_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_vectors(write(tmp_path / "v.csv", text))
    assert "\n" not in str(caught.value)


def test_gene_sets_are_read_with_any_line_ends(tmp_path: Path) -> None:
    text = "CYCLE\thttp://x\tCDK1\tccnb1\t\n\nEMPTY END\t\tTP53,1.0\tMDM2\n"
    for number, ends in enumerate(("\n", "\r\n", "\r")):
        found = read_gene_sets(write(tmp_path / f"{number}.gmt", text.replace("\n", ends)))
        assert found == {"CYCLE": {"CDK1", "CCNB1"}, "EMPTY END": {"TP53", "MDM2"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CYCLE CDK1 CCNB1\n", "line 1: 1 field"),
        ("A\tx\tG1\nA\tx\tG2\n", "comes twice"),
        ("\n", "no gene set"),
    ],
)
def test_a_wrong_file_of_gene_sets_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_gene_sets(write(tmp_path / "s.gmt", text))


def test_labels_are_one_per_gene(tmp_path: Path) -> None:
    assert read_labels(write(tmp_path / "l.csv", "gene,label\njun,0\nFOS,1\nJUN,0\n")) == {
        "JUN": "0", "FOS": "1",
    }  # fmt: skip
    # Genes without a label are no class of their own.
    assert read_labels(write(tmp_path / "l.csv", "gene,label\njun,a\nFOS,\n,b\nMYC, \n")) == {
        "JUN": "a"
    }
    with pytest.raises(InputError, match="has the labels"):
        read_labels(write(tmp_path / "l.csv", "gene,label\njun,0\nJUN,1\n"))
    with pytest.raises(InputError, match="no column 'label'"):
        read_labels(write(tmp_path / "l.csv", "gene,cluster\njun,0\n"))


def test_files_that_are_not_there_or_no_text(tmp_path: Path) -> None:
    for url in ("none.csv", "none.parquet"):
        with pytest.raises(InputError, match=r"none\."):
            read_vectors(str(tmp_path / url))
    (tmp_path / "x.csv").write_bytes(b"gene\x81\xfe\n")
    with pytest.raises(InputError, match="UTF-8"):
        read_labels(str(tmp_path / "x.csv"))


@pytest.mark.skipif("I2R_DATA" not in os.environ, reason="I2R_DATA names no folder of data sets")
def test_public_collections_are_read_whole() -> None:
    folder = Path(os.environ["I2R_DATA"]) / "genesets"
    hallmark = read_gene_sets(str(folder / "msigdb_hallmark_v7.0_symbols.gmt"))
    assert len(hallmark) == 50
    assert len(frozenset.union(*hallmark.values())) == 4384
    assert len(read_gene_sets(str(folder / "enrichr_GO_Biological_Process_2021.gmt"))) == 6036


def test_numbers_of_any_length_and_words_are_read_as_floats() -> None:
    table = pd.DataFrame({"a": ["1", "x", ""], "b": [2, 3, 4]})
    assert np.array_equal(to_numbers(table), [[1, 2], [np.nan, 3], [np.nan, 4]], equal_nan=True)
    huge = pd.DataFrame({"a": ["9" * 400, "-1.5", "x"]})
    assert np.array_equal(to_numbers(huge)[:, 0], [np.inf, -1.5, np.nan], equal_nan=True)
    whole = pd.DataFrame({"a": pd.Series([10**400, 2, None], dtype=object)})
    assert np.array_equal(to_numbers(whole)[:, 0], [np.inf, 2, np.nan], equal_nan=True)


def test_an_interaction_without_a_name_is_left_out_and_listed(tmp_path: Path) -> None:
    text = 'protein1,protein2,cost\nA,B,0.5\nB,,1\nnan,B,1\n"NAN",B,1\n'
    (tmp_path / "i.csv").write_text(text)
    found = read_interactions(str(tmp_path / "i.csv"))
    assert found.genes == ["A", "B", "NAN"]
    assert found.dropped["symbol"].tolist() == ["line 3", "line 4"]
    (tmp_path / "i.csv").write_text("protein1,protein2,cost\nB,,1\n")
    with pytest.raises(InputError, match="no row with two names"):
        read_interactions(str(tmp_path / "i.csv"))


def test_embeddings_of_several_encoders_are_never_averaged(tmp_path: Path) -> None:
    table = pd.DataFrame({"gene": ["A", "B", "A", "B"], "held_out": ["", "", "A", "A"]})
    table = table.assign(e0=[1.0, 2.0, 30.0, 40.0])
    table.to_csv(tmp_path / "several.csv", index=False)
    with pytest.raises(InputError, match="'held_out' has 2 values, each from an encoder of its"):
        read_vectors(str(tmp_path / "several.csv"))
    table[:2].to_csv(tmp_path / "one.csv", index=False)
    assert read_vectors(str(tmp_path / "one.csv")).values.tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize("name", ["Gene", "SYMBOL", "gene_symbol", " hgnc_symbol"])
def test_the_column_of_genes_may_have_a_name_of_others(tmp_path: Path, name: str) -> None:
    (tmp_path / "v.csv").write_text(f"{name},a,b\nTP53,0.5,2\nMYC,1.5,3\n")
    assert read_vectors(str(tmp_path / "v.csv")).genes == ["MYC", "TP53"]
    (tmp_path / "v.csv").write_text(f"{name},Symbol ,a\nTP53,x,2\nMYC,y,3\n")
    with pytest.raises(InputError, match="no column 'gene'"):
        read_vectors(str(tmp_path / "v.csv"))


def test_a_column_that_numbers_the_rows_is_no_measurement(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("n,gene,a\n0,A,0.5\n1,B,1.5\n2,C,0.1\n")
    with pytest.raises(InputError, match="column 'n' numbers the rows"):
        read_vectors(str(tmp_path / "v.csv"))


def test_a_folder_is_digested_by_all_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "10x"
    folder.mkdir()
    (folder / "matrix.mtx").write_text("a")
    (folder / "features.tsv").write_text("b")
    file = tmp_path / "table.csv"
    file.write_text("c")
    first = digest_files(str(folder), str(file), "", str(tmp_path / "nowhere"))
    assert first[2:] == ["", str(tmp_path / "nowhere")]
    (folder / "features.tsv").write_text("other")
    again = digest_files(str(folder), str(file))
    assert (again[0] != first[0], again[1]) == (True, first[1])
    (folder / "features.tsv").rename(folder / "genes.tsv")
    assert digest_files(str(folder))[0] != again[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gene,a,entrez_id\nX,1.5,7157\nY,2.5,4193\n", "'entrez_id' is an identifier by its name"),
        ("gene,a,b\nX,1,2\nY,1,2\nZ,1,2\n", "every gene has the same vector"),
        ("gene,a,b\nX,1e200,2\nY,1,2\n", r"up to 1e\+200 in size"),
        ("gene,a,b\nX,1e-300,2e-300\nY,0,0\n", "in size, expected 1e-100"),
    ],
)
def test_vectors_that_can_not_be_compared_are_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "v.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_vectors(str(tmp_path / "v.csv"))
