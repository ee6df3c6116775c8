"""Files by URL: addresses never leave their folder, writes are whole or not at all."""

import errno
import os
import re
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2r.errors import InputError
from i2r.store import files


@pytest.fixture(params=["local", "file", "memory"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty folder on each kind of file system."""
    if request.param == "memory":
        url = f"memory://{uuid.uuid4().hex}"
        yield url
        files.remove_tree("memory://", url.removeprefix("memory://"))
    else:
        yield str(tmp_path) if request.param == "local" else f"file://{tmp_path}"


# ------------------------------------------------------------------------------- addresses


@given(
    base=st.sampled_from(["/a/b", "/a/b/", "memory://x", "s3://bucket/prefix", "file:///a/b"]),
    part=st.one_of(
        st.text(),
        st.text(alphabet="./\\ab\x00", max_size=8),
        st.lists(st.sampled_from(["..", ".", "", "a", "B", "3", "x.y"]), max_size=4).map("/".join),
    ),
)
def test_joined_urls_stay_inside(base: str, part: str) -> None:
    try:
        url = files.join_url(base, part)
    except InputError:
        return
    assert url == f"{base.rstrip('/')}/{part}"
    if files.is_local(url):
        path, root = os.path.normpath(files.local_path(url)), files.local_path(base).rstrip("/")
        assert path.startswith(root + "/")
        assert len(path) > len(root) + 1
    rest = url.removeprefix(base.rstrip("/"))
    assert not {"", ".", ".."} & set(rest[1:].split("/"))
    assert not re.search(r"[\\\x00*?\[\]:]", rest)


@pytest.mark.parametrize(
    "part",
    [
        *("", ".", "..", "../x", "a/../b", "/etc", "a//b", "a/", "a\\b", "a\0", "a\nb", "*"),
        *("s3://b/c", "x::y", "con", "NUL.txt", "COM1", "x" * 256, "ü" * 128),
    ],
)
def test_dangerous_parts_are_refused(part: str) -> None:
    with pytest.raises(InputError, match=r"^path .*: found .*, expected .* Rename it\.$"):
        files.join_url("/base", "fine", part)


def test_names_of_plates_are_fine() -> None:
    for name in ("BR00117006", "Plate 1 (copy)", "a%2Fb", "2016-04-01__x", "Ü", "contra", "B/3/1"):
        assert files.join_url("/base", name) == f"/base/{name}"


def test_normal_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert files.normalise_url("a/../b/") == str(tmp_path / "b")
    assert files.normalise_url(f"file://{tmp_path}/") == str(tmp_path)
    assert files.normalise_url("s3://b/c//") == "s3://b/c"
    assert files.parent_url("a/b.csv") == str(tmp_path / "a")
    assert files.parent_url("s3://b/c/d.csv") == "s3://b/c"
    assert files.resolve_url("x.csv", "conf") == str(tmp_path / "conf" / "x.csv")
    assert files.resolve_url("../x.csv", "conf") == str(tmp_path / "x.csv")
    assert files.resolve_url("x.csv", "s3://b/conf") == "s3://b/conf/x.csv"
    assert files.resolve_url("/x.csv", "s3://b/conf") == "/x.csv"
    assert files.resolve_url("s3://b/x", "conf") == "s3://b/x"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@host/a?token=1", "https://host/a"),
        ("s3://key:secret@bucket/a", "s3://bucket/a"),
        ("/a/b?c@d", "/a/b?c@d"),
        ("memory://a", "memory://a"),
        ("s3://key:se/cr?e@t@bucket/a", "s3://bucket/a"),
        ("cache::s3://key:secret@bucket/a", "cache::s3://bucket/a"),
        ("http://host:8080/a@b", "http://host:8080/a@b"),
    ],
)
def test_secrets_are_left_out(url: str, shown: str) -> None:
    assert files.without_secrets(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:hunter2@bucket/a", "s3://key:hun/ter2@bucket/a", "s3://key:hun?ter2@bucket",
        "https://me:hunter2@host:8080/a", "https://host/a?X-Amz-Signature=hunter2&x=1",
        "https://host/a?x=1&token=hunter2", "https://host/a?AWSAccessKeyId=hunter2",
        "tls://me:hunter2@host:8786", "cache::s3://:hunter2@bucket/a", "abfs://a?sig=hunter2",
    ],
)  # fmt: skip
def test_a_url_with_a_secret_is_refused_without_repeating_it(url: str) -> None:
    for use in (files.normalise_url, files.read_bytes, files.refuse_secrets):
        with pytest.raises(InputError, match=r"holds a password.*environment") as refused:
            use(url)
        assert "ter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/a", "sftp://me@host/a", "http://host:8080/a@b", "http://host/a?download=1",
        "http://host/a:b@c", "memory://a?token=", "gs://bucket/a/b:c",
    ],
)  # fmt: skip
def test_a_url_without_a_secret_is_none_to_refuse(url: str) -> None:
    assert files.normalise_url(url) == url


# ------------------------------------------------------------------------------- one file


def test_write_read_stat_remove(base: str) -> None:
    url = files.join_url(base, "a", "b", "c.bin")
    assert not files.exists(url)
    for missing in (files.read_bytes, files.stat, files.open_file):
        with pytest.raises(FileNotFoundError):
            missing(url)
    assert files.write_bytes(url, b"one", b"", b"two") == 6
    assert files.exists(url)
    assert files.read_bytes(url) == b"onetwo"
    with files.open_file(url) as file:
        file.seek(3)
        assert file.read() == b"two"
    first = files.stat(url)
    assert first.size_bytes == 6
    assert files.stat(url) == first
    files.write_bytes(url, b"three")
    assert files.read_bytes(url) == b"three"
    assert files.stat(url) != first
    assert files.list_folder(files.join_url(base, "a", "b")) == ["c.bin"]
    files.remove_file(url)
    files.remove_file(url)
    assert not files.exists(url)


def test_a_file_is_made_once(base: str) -> None:
    url = files.join_url(base, "lock", "run.lock")
    made: list[bool] = []
    threads = [
        threading.Thread(target=lambda n=n: made.append(files.create_exclusively(url, b"%d" % n)))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made)[:7] == [False] * 7
    if files.is_local(base):
        assert sum(made) == 1
    assert not files.create_exclusively(url, b"again")
    assert files.read_bytes(url) != b"again"


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    url = str(tmp_path / "x")
    files.write_bytes(url, b"old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space") as error:
        files.write_bytes(url, b"new")
    assert files.is_full(error.value)
    assert not files.is_full(ValueError("full"))
    assert files.read_bytes(url) == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    url, contents = str(tmp_path / "x"), {bytes([n]) * 300_000 for n in range(8)}
    files.write_bytes(url, min(contents))
    stop = threading.Event()
    seen = set[bytes]()

    def read() -> None:
        while not stop.is_set():
            seen.add(files.read_bytes(url))

    reader = threading.Thread(target=read)
    reader.start()
    for content in sorted(contents) * 5:
        files.write_bytes(url, content[:100_000], content[100_000:])
    stop.set()
    reader.join()
    assert seen <= contents


# ------------------------------------------------------------------------------- folders


def test_folders(base: str) -> None:
    assert files.list_folder(base) == []
    for name in ("p/b.tif", "p/a.tif", "p/sub/c.tif", "p/.hidden/d.tif", "p/._a.tif"):
        files.write_bytes(f"{base}/{name}", b"x" * len(name))
    assert [n for n in files.list_folder(f"{base}/p") if n[0] != "."] == ["a.tif", "b.tif", "sub"]
    asked: list[str] = []

    def accept(path: str) -> bool:
        asked.append(path)
        return path != "b.tif"

    found = {file.path: file.stat.size_bytes for file in files.find_files(f"{base}/p", accept)}
    assert found == {"a.tif": 7, "sub/c.tif": 11}
    assert asked == ["a.tif", "b.tif", "sub/c.tif"]
    assert list(files.find_files(f"{base}/nothing", accept)) == []


def test_remove_tree_stays_inside(base: str) -> None:
    files.write_bytes(f"{base}/p/sub/c", b"x")
    files.write_bytes(f"{base}/q", b"x")
    with pytest.raises(ValueError, match="needs the name"):
        files.remove_tree(base)
    for part in ("..", "p/..", "", "*", "/"):
        with pytest.raises(InputError):
            files.remove_tree(base, part)
    files.remove_tree(base, "p", "missing")
    files.remove_tree(base, "p")
    assert files.list_folder(base) == ["q"]
    files.remove_tree(base, "p")


def test_links_are_removed_not_followed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").write_text("keep")
    (tmp_path / "experiment").mkdir()
    os.symlink(tmp_path / "data", tmp_path / "experiment" / "plates")
    files.remove_tree(str(tmp_path / "experiment"), "plates")
    assert (tmp_path / "data" / "x").read_text() == "keep"
    assert os.listdir(tmp_path / "experiment") == []


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(InputError, match="found a file, expected a folder"):
        files.list_folder(str(tmp_path / "x"))
    with pytest.raises(InputError, match="can't be written"):
        files.check_writable(str(tmp_path / "x"))


def test_writable_and_space(base: str) -> None:
    files.check_writable(files.join_url(base, "new"))
    assert files.list_folder(files.join_url(base, "new")) == []
    free = files.free_bytes(files.join_url(base, "not", "yet"))
    assert free is None if "memory" in base else free is not None and free > 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o500)
    with pytest.raises(InputError, match="Permission denied"):
        files.check_writable(str(tmp_path / "shut" / "x"))
