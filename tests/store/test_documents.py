"""Documents of the user's: a few bytes that stand for any amount end in one line."""

import gzip
import os
from pathlib import Path

import pytest

from i2r.cluster import load_cluster
from i2r.errors import InputError
from i2r.pipeline.spec import load_pipeline
from i2r.store.documents import parse_json, parse_yaml, read_bounded, read_json
from i2r.store.layout import read_layout


def write_laughs(n_levels: int = 9) -> bytes:
    lines = ['l0: &l0 ["lol"]']
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, n_levels + 1)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (write_laughs(), "stands for more than 100000 values"),
        (b"stages: " + b"[" * 20_000 + b"]" * 20_000, "levels|no valid YAML"),
        (b"a: &a [*a]", "holds itself"),
        (b"seed: " + b"1" * 5000, "no valid YAML"),
        (b"when: 2001-99-99", "no valid YAML"),
        (b"a: b: c", "line 1: no valid YAML"),
        (b"\xff\xfe\x00", "no valid YAML"),
        (b"# " + b"x" * 2**20, "more than 1048576 bytes"),
    ],
)
def test_yaml_is_refused_before_it_takes_memory(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    for load in (load_pipeline, load_cluster):
        with pytest.raises(InputError, match=found) as caught:
            load(str(path))
        assert len(str(caught.value)) < 400


def test_yaml_of_modest_aliases_is_what_safe_load_makes_of_it() -> None:
    content = b"a: &a {x: [1, 2], y: yes}\nb: *a\nc: {<<: *a, z: 3.5}\nd: null\n"
    expected = {"x": [1, 2], "y": True}
    found = parse_yaml(content, where="here")
    assert found == {"a": expected, "b": expected, "c": {**expected, "z": 3.5}, "d": None}
    assert parse_yaml(b"", where="here") is None


def test_layout_of_gzip_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "layout.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(600):
            file.write(b"\n" * 2**20)
    with pytest.raises(InputError, match="over 536870912 bytes when unpacked"):
        read_layout(str(path))


def test_pipes_and_folders_are_no_documents(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match="a device or a pipe"):
        read_layout(str(tmp_path / "pipe.csv"))
    with pytest.raises(IsADirectoryError):
        read_bounded(str(tmp_path), where="here")


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b"[1]", b"{", b"\xff", b"null"]
)
def test_json_is_an_object_or_a_value_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(content)
    (tmp_path / "zarr.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        read_json(str(tmp_path / "zarr.json"))
