"""Tables: what is written is read back, and parts make a whole with the right types."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from i2r.store import files, tables
from i2r.store.tables import (
    concatenate,
    merge_tables,
    read_table,
    read_table_with_metadata,
    write_table,
)

TABLE = pd.DataFrame(
    {
        "name": ["a", "", "ü"], "flag": [True, False, True], "n": [1, 2, 3], "x": [0.5, float("nan"), 1.0],
        "small": np.array([1, 2, 3], np.int32), "fields": [["1"], [], ["1", "2"]],
    }
)  # fmt: skip


@pytest.mark.parametrize("scheme", ["local", "memory"])
def test_a_table_is_read_back_with_its_types(scheme: str, tmp_path: Path) -> None:
    folder = str(tmp_path) if scheme == "local" else f"memory://{uuid.uuid4().hex}"
    url = f"{folder}/deep/down/table.parquet"
    assert write_table(url, TABLE) == files.stat(url).size_bytes
    again = read_table(url)
    pd.testing.assert_frame_equal(again.drop(columns="fields"), TABLE.drop(columns="fields"))
    assert [list(f) for f in again["fields"]] == list(TABLE["fields"])
    assert list(read_table(url, columns=["x", "n"]).columns) == ["x", "n"]


def test_metadata_travel_with_the_table(tmp_path: Path) -> None:
    url = str(tmp_path / "t.parquet")
    write_table(url, TABLE, metadata={"last_run": 7})
    table, metadata = read_table_with_metadata(url)
    assert metadata == {"last_run": 7}
    assert len(table) == 3
    write_table(url, TABLE)
    assert read_table_with_metadata(url)[1] == {}


def test_the_index_is_not_kept(tmp_path: Path) -> None:
    write_table(str(tmp_path / "t.parquet"), TABLE.iloc[[2, 0]])
    assert list(read_table(str(tmp_path / "t.parquet")).index) == [0, 1]


THREADS = """
import os, sys
import pandas as pd
from i2r.store.tables import read_table, read_table_with_metadata, write_table
before = len(os.listdir("/proc/self/task"))
write_table(sys.argv[1], pd.DataFrame({"n": range(1000), "fields": [["1"]] * 1000}), metadata={})
read_table(sys.argv[1], columns=["n"])
read_table_with_metadata(sys.argv[1])
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(
    not os.path.isdir("/proc/self/task"), reason="counts threads as Linux lists them"
)
def test_reading_and_writing_start_no_threads(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", THREADS, str(tmp_path / "t.parquet")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "0"


def test_empty_parts_decide_no_types() -> None:
    empty = TABLE.iloc[:0].astype({"n": float})
    whole = concatenate([empty, TABLE, empty])
    assert whole["n"].dtype == TABLE["n"].dtype
    assert len(whole) == 3
    assert list(concatenate([empty, empty]).columns) == list(TABLE.columns)
    assert concatenate([]).empty


def test_merging_keeps_the_order_of_the_parts(tmp_path: Path) -> None:
    parts = []
    for number in (2, 0, 1):
        parts.append(str(tmp_path / f"{number}.parquet"))
        write_table(parts[-1], pd.DataFrame({"n": [number]}))
    merge_tables({str(tmp_path / "all.parquet"): parts})
    assert list(read_table(str(tmp_path / "all.parquet"))["n"]) == [2, 0, 1]


@pytest.mark.parametrize(
    "change",
    [
        lambda part: part,
        lambda part: part.iloc[:0],
        lambda part: part.assign(n=part["n"] + 0.5),
        lambda part: part.assign(name=None),
        lambda part: part.assign(x=np.nan),
        lambda part: part.assign(name=pd.Categorical(["b", "c", "b"])),
        lambda part: part.drop(columns="flag"),
        lambda part: part[list(reversed(part.columns))],
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_merged_parts_are_what_pandas_makes_of_them(tmp_path: Path, change, is_first) -> None:
    parts = [str(tmp_path / f"{n}.parquet") for n in range(3)]
    write_table(parts[0], change(TABLE) if is_first else TABLE, metadata={"of": "one part"})
    write_table(parts[1], TABLE if is_first else change(TABLE))
    write_table(parts[2], TABLE)
    merge_tables({str(tmp_path / "all.parquet"): parts})
    write_table(str(tmp_path / "expected.parquet"), concatenate([read_table(p) for p in parts]))
    merged, expected = (str(tmp_path / f"{name}.parquet") for name in ("all", "expected"))
    pd.testing.assert_frame_equal(read_table(merged), read_table(expected), check_exact=True)


def test_only_texts_have_a_dictionary(tmp_path: Path) -> None:
    url = str(tmp_path / "t.parquet")
    write_table(url, TABLE)
    group = pq.ParquetFile(url).metadata.row_group(0)
    columns = [group.column(n) for n in range(group.num_columns)]
    coded = [c.path_in_schema for c in columns if "RLE_DICTIONARY" in c.encodings]
    assert coded == ["name", "fields.list.element"]


def make_columns(n_rows: int) -> dict[str, np.ndarray]:
    values = np.arange(2.0 * n_rows).reshape(n_rows, 2)
    values[1:2, 1] = np.nan
    return {
        "plate": np.full(n_rows, "P1", dtype=object),
        "field": np.array([str(n) for n in range(n_rows)], dtype=object),
        "label": np.arange(n_rows),
        "mean": values[:, 1],  # every other value in memory
        "seen": np.arange(n_rows) > 1,
    }


@pytest.mark.parametrize("n_rows", [0, 1, 5])
def test_columns_are_written_as_pandas_would_have_them_written(n_rows: int) -> None:
    columns = make_columns(n_rows)
    assert tables.encode_table(columns) == tables.encode_table(pd.DataFrame(columns))


def test_columns_are_read_as_arrays(tmp_path: Path) -> None:
    columns = make_columns(4)
    tables.write_table(str(tmp_path / "t.parquet"), columns)
    read = tables.read_arrays(str(tmp_path / "t.parquet"), ["field", "mean", "seen"])
    assert list(read) == ["field", "mean", "seen"]
    for name, values in read.items():
        np.testing.assert_array_equal(values, columns[name])
        assert values.dtype == columns[name].dtype


def test_texts_are_added_as_pandas_adds_columns() -> None:
    frame = pd.DataFrame(make_columns(3)).assign(reason="old", more=1)
    texts = {"reason": ["", "a", "b"], "sha256": ["x", "y", "z"]}
    added = tables.add_texts(tables.to_arrow(frame), texts)
    expected = frame.drop(columns="reason").assign(**texts)
    assert tables.encode_table(added) == tables.encode_table(expected)


def test_rows_are_listed_as_plain_values() -> None:
    rows = tables.list_rows(tables.to_arrow(pd.DataFrame(make_columns(3))))
    assert [(row.field, row.label, row.seen) for row in rows] == [
        ("0", 0, False), ("1", 1, False), ("2", 2, True),
    ]  # fmt: skip
    assert [row.mean for row in rows] == [1.0, pytest.approx(float("nan"), nan_ok=True), 5.0]
    assert type(rows[0].label) is int
