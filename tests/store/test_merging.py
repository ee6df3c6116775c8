"""Merged tables: the same as if all parts were held at once, in the memory of a few of them."""

import os
import tracemalloc
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from i2r.errors import DamageError
from i2r.store import files, tables
from i2r.store.outputs import guard_writes, mark_bytes, record_outputs


def make_part(number: int, n: int = 1000, **columns: object) -> pd.DataFrame:
    random = np.random.default_rng(number)
    values = {f"x{i}": random.standard_normal(n).astype(np.float32) for i in range(20)}
    named = {"well": f"A{number:02d}", "label": np.arange(n), "reason": ["", "small"] * (n // 2)}
    return pd.DataFrame({**named, **values, **columns})


def write_parts(folder: str, parts: Sequence[pd.DataFrame]) -> list[str]:
    urls = [f"{folder}/parts/{number}.parquet" for number in range(len(parts))]
    for url, part in zip(urls, parts, strict=True):
        tables.write_table(url, part)
    return urls


def merge_whole(urls: Sequence[str]) -> pd.DataFrame:
    return tables.concatenate([tables.read_table(url) for url in urls])


@pytest.mark.parametrize("scheme", ["local", "memory"])
def test_a_large_merged_table_is_what_its_parts_are(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "GROUP_BYTES", 2**18)
    folder = str(tmp_path) if scheme == "local" else f"memory://{uuid.uuid4().hex}"
    parts = [make_part(number, 0 if number in (0, 5) else 1000) for number in range(12)]
    urls = write_parts(folder, parts)
    with record_outputs(folder) as outputs:
        tables.merge_tables({f"{folder}/all.parquet": urls})
    merged = tables.read_table(f"{folder}/all.parquet")
    pd.testing.assert_frame_equal(merged, merge_whole(urls))
    data = files.read_bytes(f"{folder}/all.parquet")
    assert outputs == {"all.parquet": mark_bytes(data)}
    if scheme == "local":
        assert sorted(os.listdir(tmp_path)) == ["all.parquet", "parts"]


def test_a_small_merged_table_is_the_same_file_as_ever(tmp_path: Path) -> None:
    urls = write_parts(str(tmp_path), [make_part(number) for number in range(3)])
    tables.merge_tables({str(tmp_path / "all.parquet"): urls})
    whole = tables.encode_table(merge_whole(urls))
    assert (tmp_path / "all.parquet").read_bytes() == whole


@pytest.mark.parametrize(
    "late",
    [{"area": 0.5}, {"area": np.int64(3)}, {"area": None}, {"more": 1}, {"label": "text"}],
    ids=["fractions", "other width", "nothing", "another column", "other kind"],
)
def test_parts_that_differ_late_make_the_table_that_they_made(
    late: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "GROUP_BYTES", 2**17)
    parts = [make_part(number, area=np.int32(7)).astype({"area": np.int32}) for number in range(6)]
    parts[4] = make_part(4, **({"area": np.int32(7)} | late))
    urls = write_parts(str(tmp_path), parts)
    target = str(tmp_path / "all.parquet")
    if late.get("label") == "text":  # no column holds text and numbers
        with pytest.raises((pa.ArrowTypeError, pa.ArrowInvalid)):
            tables.merge_tables({target: urls})
        assert not Path(target).exists()
    else:
        tables.merge_tables({target: urls})
        tables.write_table(str(tmp_path / "expected.parquet"), merge_whole(urls))
        expected = tables.read_table(str(tmp_path / "expected.parquet"))
        pd.testing.assert_frame_equal(tables.read_table(target), expected)
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]


def test_a_merge_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "GROUP_BYTES", 2**17)
    urls = write_parts(str(tmp_path), [make_part(number) for number in range(6)])
    target = str(tmp_path / "all.parquet")
    tables.merge_tables({target: urls[:2]})
    before = Path(target).read_bytes()
    Path(urls[5]).write_bytes(b"no table")
    with pytest.raises(DamageError, match="damaged"):
        tables.merge_tables({target: urls})

    def refuse() -> None:
        raise OSError("not now")

    with guard_writes(refuse), pytest.raises(OSError, match="not now"):
        tables.merge_tables({target: urls[:5]})
    assert Path(target).read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["all.parquet", "parts"]


def test_memory_does_not_grow_with_the_number_of_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "GROUP_BYTES", 2**19)
    urls = write_parts(str(tmp_path), [make_part(number) for number in range(8)]) * 6
    peaks = []
    for chosen in (urls[:12], urls):
        tracemalloc.start()
        tables.merge_tables({str(tmp_path / "all.parquet"): chosen})
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0], peaks
