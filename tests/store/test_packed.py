"""A small file that unpacks into a huge one is refused before it takes the memory."""

import gzip
import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from i2r.errors import InputError
from i2r.formats.cells import read_counts
from i2r.formats.gene_tables import read_gene_sets
from i2r.readers.illumination import read_function
from i2r.readers.sheets import read_sheet
from i2r.store import packed, tables
from i2r.store.frames import read_frame

BOUND = 2**20
HUGE = 2**26


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "MAX_BYTES", BOUND)


def bomb(line: bytes) -> bytes:
    data = gzip.compress(line * (HUGE // len(line)))
    assert len(data) < HUGE / 100
    return data


@given(parts=st.lists(st.binary(max_size=100), min_size=1, max_size=3))
def test_what_is_compressed_comes_back_and_the_rest_stays(parts: list[bytes]) -> None:
    content = b"".join(parts)
    assert packed.unpack(b"".join(map(gzip.compress, parts)), "it") == content
    plain = content.lstrip(b"\x1f\x8b")
    assert packed.unpack(plain, "it") == plain


def test_a_file_of_the_greatest_size_is_read(bound: None) -> None:
    assert len(packed.unpack(gzip.compress(bytes(BOUND)), "it")) == BOUND
    with pytest.raises(InputError, match="over 1048576 bytes when unpacked"):
        packed.unpack(gzip.compress(bytes(BOUND + 1)), "it")
    in_two = gzip.compress(bytes(BOUND)) + gzip.compress(b"x")
    with pytest.raises(InputError, match="when unpacked"):
        packed.unpack(in_two, "it")


@pytest.mark.parametrize("keep", [0.3, 0.99])
def test_a_damaged_file_is_named(keep: float) -> None:
    data = gzip.compress(np.random.default_rng(0).bytes(1000))
    with pytest.raises(InputError, match=r"t\.gz: damaged gzip file"):
        packed.unpack(data[: int(keep * len(data))], "t.gz")


READERS: dict[str, tuple[str, bytes, Callable[[str], object]]] = {
    "sheet": ("load_data.csv.gz", b"P1,A01,1\n", read_sheet),
    "table of genes": ("genes.csv.gz", b"TP53,1\n", read_frame),
    "gene sets": ("sets.gmt.gz", b"SET\td\tTP53\n", read_gene_sets),
    "matrix of cells": (
        "matrix.mtx.gz",
        b"%%MatrixMarket matrix coordinate integer general\n",
        read_counts,
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_every_reader_of_tables_is_bounded(name: str, tmp_path: Path, bound: None) -> None:
    file, line, read = READERS[name]
    (tmp_path / file).write_bytes(bomb(line))
    (tmp_path / "features.tsv").write_text("g1\tG1\n")
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=f"{file}: over {BOUND} bytes when unpacked"):
            read(str(tmp_path / file))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * BOUND


def test_a_matrix_of_many_entries_may_be_larger_than_a_table(tmp_path: Path, bound: None) -> None:
    """Its text is read in pieces: what it holds are the entries that its header declares."""
    n_cells = BOUND // 8
    lines = "".join(f"1 {cell} 1\n" for cell in range(1, n_cells + 1))
    header = f"%%MatrixMarket matrix coordinate integer general\n1 {n_cells} {n_cells}\n"
    assert len(lines) > BOUND
    (tmp_path / "matrix.mtx.gz").write_bytes(gzip.compress((header + lines).encode()))
    (tmp_path / "features.tsv").write_text("g1\tTP53\n")
    _, counts, _ = read_counts(str(tmp_path / "matrix.mtx.gz"))
    assert counts.sum() == n_cells


def test_a_matlab_file_is_bounded(tmp_path: Path, bound: None) -> None:
    buffer = io.BytesIO()
    savemat(buffer, {"Image": np.ones(HUGE // 8)}, do_compression=True)
    path = tmp_path / "function.mat"
    path.write_bytes(buffer.getvalue())
    assert path.stat().st_size < BOUND
    with pytest.raises(InputError, match=f"unreadable .over {BOUND} bytes when unpacked"):
        read_function(str(path), shape=(8, 9))
    small = io.BytesIO()
    savemat(small, {"Image": np.ones((8, 9))}, do_compression=True)
    path.write_bytes(small.getvalue())
    assert read_function(str(path), shape=(8, 9)).shape == (8, 9)


def test_a_table_of_repeated_values_is_bounded_by_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, n_rows = str(tmp_path / "t.parquet"), HUGE // 32
    tables.write_table(url, pd.DataFrame({"a": np.zeros(n_rows), "b": np.int32(1)}))
    assert Path(url).stat().st_size < HUGE / 100
    monkeypatch.setattr(tables, "MEMORY_BYTES", 12 * n_rows)
    assert len(read_frame(url)) == n_rows
    monkeypatch.setattr(tables, "MEMORY_BYTES", 12 * n_rows - 1)
    with pytest.raises(InputError, match=f"{n_rows} rows of 2 columns take .* GiB, this machine"):
        read_frame(url)
    assert tables.read_table(url, columns=["b"])["b"].sum() == n_rows
