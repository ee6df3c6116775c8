"""Signatures of the Connectivity Map's format: means by gene, landmarks alone, bounded memory."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2r.errors import InputError
from i2r.formats.gctx import read_signatures
from i2r.formats.gene_tables import read_vectors

h5py = pytest.importorskip("h5py")


def write(path: Path, matrix: np.ndarray, rows: dict[str, Any], columns: dict[str, Any]) -> str:
    """Write a file as cmapPy does: a row of the matrix is a signature."""
    with h5py.File(path, "w") as file:
        file.attrs["version"] = "GCTX1.0"
        file.create_dataset("0/DATA/0/matrix", data=matrix, compression="gzip")
        for where, fields in (("ROW", rows), ("COL", columns)):
            for name, values in fields.items():
                data = np.array(values)
                data = data.astype("S") if data.dtype.kind == "U" else data
                file.create_dataset(f"0/META/{where}/{name}", data=data)
    return str(path)


MATRIX = np.arange(20, dtype=np.float32).reshape(5, 4)
ROWS = {"id": ["10", "20", "30", "40"], "pr_gene_symbol": ["A", "B", "C", "D"]}
COLUMNS = {"id": list("vwxyz"), "pert_iname": ["jun", "FOS", "JUN", "EMPTY", "FOS"]}


@pytest.mark.parametrize("block_bytes", [1, 64, 2**26])
def test_signatures_of_a_gene_are_averaged(tmp_path: Path, block_bytes: int) -> None:
    kinds = ["trt_oe", "trt_oe", "trt_oe", "ctl_vector", "trt_oe"]
    url = write(tmp_path / "a.gctx", MATRIX, ROWS, {**COLUMNS, "pert_type": kinds})
    genes, values, names = read_signatures(url, block_bytes=block_bytes)
    assert (genes, names) == (["FOS", "JUN"], ["A", "B", "C", "D"])
    np.testing.assert_array_equal(
        values, [MATRIX[[1, 4]].mean(axis=0), MATRIX[[0, 2]].mean(axis=0)]
    )


@pytest.mark.parametrize(
    "flags", [{"pr_is_lm": [1, 0, 1, 0]}, {"feature_space": ["landmark", "bing", "landmark", ""]}]
)
def test_landmarks_are_taken_where_they_are_flagged(tmp_path: Path, flags: dict[str, Any]) -> None:
    url = write(tmp_path / "a.gctx", MATRIX, {**ROWS, **flags}, COLUMNS)
    vectors = read_vectors(url)
    assert vectors.names == ["A", "C"]
    assert vectors.genes == ["EMPTY", "FOS", "JUN"]
    np.testing.assert_array_equal(vectors.take(["JUN"])[0], MATRIX[[0, 2]].mean(axis=0)[[0, 2]])


def test_memory_is_that_of_a_block(tmp_path: Path) -> None:
    """A matrix of 64 MB is read with a tenth of that."""
    columns = {
        "id": [str(i) for i in range(8000)],
        "pert_iname": [f"G{i % 5}" for i in range(8000)],
    }
    rows = {"id": [str(i) for i in range(1000)]}
    matrix = np.ones((8000, 1000))
    url = write(tmp_path / "a.gctx", matrix, rows, columns)
    read_signatures(write(tmp_path / "warm.gctx", MATRIX, ROWS, COLUMNS))
    tracemalloc.start()
    _, values, _ = read_signatures(url, block_bytes=2**20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (values == 1).all()
    assert peak < matrix.nbytes / 8


def test_what_is_no_such_file_is_one_line(tmp_path: Path) -> None:
    nameless = {"id": COLUMNS["id"]}
    mixed = {**COLUMNS, "pert_type": ["trt_oe", "trt_sh", "trt_oe", "trt_oe", "trt_oe"]}
    holes = MATRIX.copy()
    holes[1, 1] = np.nan
    (tmp_path / "text.gctx").write_text("no")
    for url, message in (
        (write(tmp_path / "n.gctx", MATRIX, ROWS, nameless), "no META/COL/pert_iname"),
        (write(tmp_path / "m.gctx", MATRIX, ROWS, mixed), "treatments of 2 types"),
        (write(tmp_path / "h.gctx", holes, ROWS, COLUMNS), "1 means are not finite"),
        (write(tmp_path / "s.gctx", MATRIX.T, ROWS, COLUMNS), "no readable GCTX"),
        (str(tmp_path / "text.gctx"), "no readable GCTX"),
        (str(tmp_path / "none.gctx"), "no such file"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            read_vectors(url)
        assert len(str(caught.value).splitlines()) == 1


def test_the_table_of_signatures_may_be_a_file_of_its_own(tmp_path: Path) -> None:
    url = write(tmp_path / "a.gctx", MATRIX, ROWS, {"id": list("vwxyz")})
    with pytest.raises(InputError, match="Give the table of signatures"):
        read_vectors(url)
    info = tmp_path / "siginfo.txt"
    rows = [
        "z\tFOS\ttrt_sh",
        "y\tEMPTY\tctl_vector",
        "x\tJUN\ttrt_sh",
        "w\tFOS\ttrt_sh",
        "v\tjun\ttrt_sh",
    ]
    info.write_text("\n".join(["sig_id\tcmap_name\tpert_type", *rows, "a\tMYC\ttrt_sh"]))
    vectors = read_vectors(url, info=str(info))
    assert vectors.genes == ["FOS", "JUN"]
    np.testing.assert_array_equal(vectors.values[1], MATRIX[[0, 2]].mean(axis=0))
    info.write_text("\n".join(["sig_id\tcmap_name\tpert_type", *rows[:3]]))
    with pytest.raises(InputError, match=r"2 of 5 signatures of .* are not in it, such as 'v'"):
        read_vectors(url, info=str(info))
    newer = write(tmp_path / "b.gctx", MATRIX, ROWS, {"id": list("vwxyz"), "cmap_name": ["A"] * 5})
    assert read_vectors(newer).genes == ["A"]
