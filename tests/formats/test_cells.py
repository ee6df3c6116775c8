"""The same counts from a table, a 10x folder and AnnData; what is no count is refused."""

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from scipy.io import mmwrite
from scipy.sparse import coo_matrix, csc_matrix, csr_matrix

from i2r.analysis.regulation.interactome_sizes import estimate_interactome
from i2r.errors import InputError
from i2r.formats.cells import read_counts

COUNTS = np.array([[0, 3, 1, 7], [2, 0, 0, 8]])
NAMES = ["a", "B", "C", "A"]
EXPECTED = (["A", "B", "C"], [[0, 3, 1], [2, 0, 0]], [["A", "listed before"]])


def check_counts(url: Path) -> None:
    genes, counts, dropped = read_counts(str(url))
    assert (genes, counts.toarray().tolist(), dropped.to_numpy().tolist()) == EXPECTED


def test_tables_and_10x_folders(tmp_path: Path) -> None:
    rows = [",".join(map(str, row)) for row in COUNTS]
    (tmp_path / "t.csv").write_text(f"cell,{','.join(NAMES[:3])},A\nx,{rows[0]}\ny,{rows[1]}\n")
    text = io.BytesIO()
    mmwrite(text, coo_matrix(COUNTS.T))
    (tmp_path / "matrix.mtx.gz").write_bytes(gzip.compress(text.getvalue()))
    with pytest.raises(InputError, match=r"no features\.tsv beside it"):
        read_counts(str(tmp_path / "matrix.mtx.gz"))
    features = "".join(f"ENSG{i}\t{name}\tGene Expression\n" for i, name in enumerate(NAMES))
    (tmp_path / "features.tsv").write_text(features)
    check_counts(tmp_path / "t.csv")
    check_counts(tmp_path / "matrix.mtx.gz")


def test_features_of_10x_that_are_no_genes_do_not_count(tmp_path: Path) -> None:
    matrix = "%%MatrixMarket matrix coordinate integer general\n3 2 3\n1 1 5\n2 1 7\n3 2 100\n"
    (tmp_path / "matrix.mtx").write_text(matrix)
    kinds = ["A\tGene Expression", "B\tGene Expression", "CD3\tAntibody Capture"]
    (tmp_path / "features.tsv").write_text("".join(f"ENSG{k[0]}\t{k}\n" for k in kinds))
    genes, counts, dropped = read_counts(str(tmp_path / "matrix.mtx"))
    assert (genes, counts.toarray().tolist()) == (["A", "B"], [[5, 7], [0, 0]])
    assert dropped.to_numpy().tolist() == [["CD3", "no gene: Antibody Capture"]]
    (tmp_path / "features.tsv").write_bytes(b"A\x81\nB\nC\n")
    with pytest.raises(InputError, match="no table as text in UTF-8"):
        read_counts(str(tmp_path / "matrix.mtx"))


def test_of_two_columns_of_a_gene_the_first_counts(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("cell,A,A,B\nx,1,2,3\n")
    genes, counts, dropped = read_counts(str(tmp_path / "t.csv"))
    assert (genes, counts.toarray().tolist()) == (["A", "B"], [[1, 3]])
    assert dropped.to_numpy().tolist() == [["A", "listed before"]]


@pytest.mark.parametrize("kind", ["dense", "csr", "csc"])
def test_anndata_files(tmp_path: Path, kind: str) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5ad", "w") as file:
        var = file.create_group("var")
        var.attrs["_index"] = "symbol"
        var["symbol"] = NAMES
        if kind == "dense":
            file["X"] = COUNTS
        else:
            matrix = (csr_matrix if kind == "csr" else csc_matrix)(COUNTS)
            group = file.create_group("X")
            group.attrs["encoding-type"], group.attrs["shape"] = f"{kind}_matrix", matrix.shape
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(matrix, name)
    check_counts(tmp_path / "x.h5ad")


@pytest.mark.parametrize("kind", ["text", "categories"])
def test_features_of_anndata_that_are_no_genes_do_not_count(tmp_path: Path, kind: str) -> None:
    """With names as pandas' strings, which newer versions write as values and a mask."""
    h5py = pytest.importorskip("h5py")
    kinds = ["Gene Expression", "Antibody Capture", "Gene Expression"]
    with h5py.File(tmp_path / "x.h5ad", "w") as file:
        file["X"] = [[1.0, 50.0, 2.0]]
        var = file.create_group("var")
        var.attrs["_index"] = "_index"
        var["_index/values"], var["_index/mask"] = ["A", "CD3", "B"], [False] * 3
        if kind == "text":
            var["feature_types"] = kinds
        else:
            var["feature_types/categories"] = sorted(set(kinds))
            var["feature_types/codes"] = np.array([1, 0, 1], dtype="i1")
    genes, counts, dropped = read_counts(str(tmp_path / "x.h5ad"))
    assert (genes, counts.toarray().tolist()) == (["A", "B"], [[1, 2]])
    assert dropped.to_numpy().tolist() == [["CD3", "no gene: Antibody Capture"]]


def test_what_is_no_count_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("cell,A,B\nx,1,\n")
    with pytest.raises(InputError, match="cell 1 gene B: missing or no number, expected 0 or more"):
        read_counts(str(tmp_path / "c.csv"))
    (tmp_path / "c.csv").write_text("cell,A,B\nx,1,2\ny,-3,4\n")
    with pytest.raises(InputError, match="cell 2 gene A: -3, expected 0 or more"):
        read_counts(str(tmp_path / "c.csv"))
    (tmp_path / "x.h5ad").write_bytes(b"nothing")
    with pytest.raises(InputError, match="no readable AnnData file"):
        read_counts(str(tmp_path / "x.h5ad"))


@pytest.mark.parametrize(
    "header", ["coordinate real general\n10000000000 10 1", "coordinate real general\n2 2 9000000000"]
)  # fmt: skip
def test_a_matrix_that_declares_more_than_there_is_memory(header: str, tmp_path: Path) -> None:
    (tmp_path / "features.tsv").write_text("g\tA\n")
    (tmp_path / "matrix.mtx").write_text(f"%%MatrixMarket matrix {header}\n1 1 1\n")
    with pytest.raises(InputError, match=r"GiB as numbers, expected 32 at most\. Give a sample"):
        read_counts(str(tmp_path / "matrix.mtx"))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("array real general\n2 1\n1\n2\n", "does not begin with"),
        ("coordinate integer symmetric\n1 1 1\n1 1 5\n", "does not begin with"),
        ("coordinate integer general\n1 2 1\n2 1 5\n", "1 entries, 1 of them outside the matrix"),
        ("coordinate integer general\n1 2 1\n0 1 5\n", "1 entries, 1 of them outside the matrix"),
        ("coordinate integer general\n1 2 2\n1 1 5\n", "expected 2 in 1 x 2"),
        ("coordinate integer general\n1 2 1\n1 1.5 5\n", "1 entries, 1 of them outside the matrix"),
        (
            "coordinate integer general\n1 2 1\n1 1e999 5\n",
            "1 entries, 1 of them outside the matrix",
        ),
        ("coordinate integer general\n1 -2 1\n1 1 5\n", "a size below 0"),
        ("coordinate integer general\n1 2 1\n1 1\n", "no matrix market file"),
        ("coordinate integer general\n1 2 1\n1 99999999999999999999 1\n", "1 of them outside"),
    ],
)
def test_a_damaged_matrix_is_one_line(content: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "features.tsv").write_text("g\tA\n")
    (tmp_path / "matrix.mtx").write_text(f"%%MatrixMarket matrix {content}")
    with pytest.raises(InputError, match=found) as caught:
        read_counts(str(tmp_path / "matrix.mtx"))
    assert "\n" not in str(caught.value)


def test_a_matrix_without_entries_holds_no_counts(tmp_path: Path) -> None:
    (tmp_path / "features.tsv").write_text("g\tA\n")
    (tmp_path / "matrix.mtx").write_text(
        "%%MatrixMarket matrix coordinate integer general\n%x\n1 3 0\n"
    )
    genes, counts, _ = read_counts(str(tmp_path / "matrix.mtx"))
    assert (genes, counts.toarray().tolist()) == (["A"], [[0.0], [0.0], [0.0]])


@pytest.mark.parametrize("kind", ["dense", "csr"])
def test_an_anndata_file_that_declares_more_than_there_is_memory(kind: str, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5ad", "w") as file:
        var = file.create_group("var")
        var.attrs["_index"], var["symbol"] = "symbol", NAMES
        size = {"shape": (10**7, 10**5), "dtype": "f4", "chunks": (64, 64), "compression": "gzip"}
        if kind == "dense":
            file.create_dataset("X", **size)
        else:
            group = file.create_group("X")
            group.attrs["encoding-type"], group.attrs["shape"] = "csr_matrix", (2, 4)
            group.create_dataset("data", **size | {"shape": (10**12,), "chunks": (64,)})
    assert (tmp_path / "x.h5ad").stat().st_size < 10**5
    with pytest.raises(InputError, match="GiB as numbers, expected 32 at most"):
        read_counts(str(tmp_path / "x.h5ad"))


def test_a_sparse_matrix_with_an_index_out_of_range_is_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5ad", "w") as file:
        file["X/data"], file["X/indices"] = np.ones(2), np.array([0, 10**7])
        file["X/indptr"] = np.array([0, 2])
        file["X"].attrs.update({"encoding-type": "csr_matrix", "shape": np.array([1, 2])})
        file["var/_index"] = np.array([b"TP53", b"MYC"])
        file["var"].attrs["_index"] = "_index"
    with pytest.raises(InputError, match="no readable AnnData file"):
        read_counts(str(tmp_path / "x.h5ad"))


@pytest.mark.parametrize("kind", ["mtx", "mtx.gz", "h5ad"])
def test_memory_is_estimated_from_the_header(tmp_path: Path, kind: str) -> None:
    url, matrix = tmp_path / f"c.{kind}", csr_matrix(COUNTS)
    if kind == "h5ad":
        h5py = pytest.importorskip("h5py")
        with h5py.File(url, "w") as file:
            for name in ("data", "indices", "indptr"):
                file[f"X/{name}"] = getattr(matrix, name)
    else:
        text = io.BytesIO()
        mmwrite(text, coo_matrix(COUNTS))
        url.write_bytes(gzip.compress(text.getvalue()) if kind == "mtx.gz" else text.getvalue())
    options = {"interactions": "", "expression": "", "cells": str(url), "cells_layer": ""}
    taken = estimate_interactome({**options, "edge_cost": "spearman"})
    assert taken - estimate_interactome({**options, "edge_cost": "mi_score"}) == 16 * matrix.nnz
    lost = {**options, "cells": str(tmp_path / "lost.csv"), "interactions": "s3://b/i.csv"}
    assert estimate_interactome({**lost, "edge_cost": "pearson"}) == 350_000_000
