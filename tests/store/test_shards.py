"""Reading straight from a shard gives what zarr-python gives, for any region."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2r.errors import I2RError
from i2r.store import arrays, files, shards


@given(data=st.data())
def test_any_region_equals_zarrs(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)))
    chunk = tuple(data.draw(st.integers(1, n + 1)) for n in shape)
    dtype = data.draw(st.sampled_from(["uint8", "uint16", "int32", "float32"]))
    array = np.random.default_rng(len(shape)).integers(0, 200, shape).astype(dtype)
    url = str(tmp_path_factory.mktemp("array") / "a")
    arrays.write_array(url, array, chunk=chunk, axes=list("abcd")[: len(shape)])
    region = tuple(
        slice(*sorted((data.draw(st.integers(0, n)), data.draw(st.integers(0, n))))) for n in shape
    )
    assert shards.is_own_shard(json.loads(files.read_bytes(f"{url}/zarr.json")))
    found = arrays.read_array(url, region=region)
    expected = np.asarray(arrays.open_array(url)[region])
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(arrays.read_array(url), array)


def test_array_of_another_writer_is_read_too(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    array = np.arange(60, dtype=np.uint16).reshape(5, 12)
    zarr.create_array(str(tmp_path / "z"), data=array, chunks=(2, 5))
    np.testing.assert_array_equal(arrays.read_array(str(tmp_path / "z")), array)
    np.testing.assert_array_equal(
        arrays.read_array(str(tmp_path / "z"), region=(slice(1, 4),)), array[1:4]
    )


def test_damaged_index_is_one_clear_line(tmp_path: Path) -> None:
    url = str(tmp_path / "a")
    arrays.write_array(url, np.ones((4, 4), np.uint8), chunk=(2, 4), axes=["y", "x"])
    shard = tmp_path / "a" / "c" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[-8] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(I2RError, match="index is damaged"):
        arrays.read_array(url)


@pytest.mark.parametrize("kind", ["2int16", "1uint16", "V2", "object", "<u2", "uint1,,,6"])
def test_types_that_are_no_numbers_are_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    """Found by a fuzz of descriptions: NumPy takes these names too."""
    url = str(tmp_path / "a")
    arrays.write_array(url, np.ones((2, 4), np.uint16), chunk=(1, 4), axes=["y", "x"])
    document = json.loads((tmp_path / "a/zarr.json").read_text())
    (tmp_path / "a/zarr.json").write_text(json.dumps(document | {"data_type": kind}))
    with pytest.raises(I2RError, match="damaged"):
        arrays.read_array(url)
