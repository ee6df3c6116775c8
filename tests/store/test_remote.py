"""Places on other machines that refuse, are silent, or can't list: one line each, by the kind."""

import io
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, unquote

import fsspec
import numpy as np
import pytest
import tifffile
import zarr

from i2r.errors import FieldError, InputError
from i2r.readers import ReaderOptions, find_reader
from i2r.readers.images import read_plane, read_shape
from i2r.store import files

pytest.importorskip("aiohttp", reason="aiohttp is not installed")

Serve = Callable[..., str]
PATTERN = r"(?P<well>[A-H]\d\d)"


class Refusal(BaseHTTPRequestHandler):
    """Answers everything in the same way, as S3 does."""

    status, code = 403, "AccessDenied"

    def do_GET(self) -> None:
        body = f"<Error><Code>{self.code}</Code><Message>x</Message></Error>".encode()
        self.send_response(self.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Folder(SimpleHTTPRequestHandler):
    """Gives files, and lists folders as HTML."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class PublicBucket(BaseHTTPRequestHandler):
    """A bucket of S3 that anybody may list and read, part by part, and nobody who signs."""

    objects: Mapping[str, bytes] = {}
    refused = ""
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        name = unquote(path).removeprefix("/plates").strip("/")
        self.asked.append(self.headers.get("Range", ""))
        if "Authorization" in self.headers or (self.refused and name == self.refused):
            return self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        if name in self.objects:
            return self._give(self.objects[name])
        if name:
            return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        wanted = parse_qs(query).get("prefix", [""])[0]
        listed = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(value)}</Size><ETag>&quot;{len(value)}&quot;"
            "</ETag><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for key, value in self.objects.items()
            if key.startswith(wanted)
        )
        return self._answer(200, f"<ListBucketResult>{listed}</ListBucketResult>".encode())

    do_HEAD = do_GET

    def _give(self, content: bytes) -> None:
        total = len(content)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return self._answer(200, content)
        first, last = int(asked[1]), int(asked[2] or total - 1)
        part = content[first : last + 1]
        return self._answer(
            206, part, {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{total}"}
        )

    def _answer(self, status: int, body: bytes, more: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        headers = {"Content-Length": str(len(body)), "ETag": '"1"', **(more or {})}
        headers["Last-Modified"] = "Thu, 01 Jan 2026 00:00:00 GMT"
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers on this machine; gives the address of each."""
    servers = []

    def start(handler: Callable[..., BaseHTTPRequestHandler], **answer: object) -> str:
        if answer:
            kind = handler if isinstance(handler, type) else Refusal
            handler = type("Answer", (kind,), answer)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Say where S3 is, with credentials of a sort, and without trying again for minutes."""
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    yield lambda url: monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    s3fs.S3FileSystem.clear_instance_cache()


def find_closed() -> str:
    """Give an address at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def scan(source: str, pattern: str | None = None) -> object:
    return find_reader("auto", source, pattern=pattern)(source, ReaderOptions(pattern=pattern))


def check_line(error: BaseException, *words: str) -> None:
    text = str(error)
    assert "\n" not in text
    assert all(word in text for word in words), text


def test_a_bucket_that_refuses(serve: Serve, s3: Callable[[str], None]) -> None:
    s3(serve(Refusal))
    with pytest.raises(InputError) as listed:
        scan("s3://plates/screen", PATTERN)
    check_line(listed.value, "s3://plates/screen: may not be listed", "give a CSV table")
    with pytest.raises(PermissionError) as read:
        scan("s3://plates/load_data.csv")
    check_line(read.value, "s3://plates/load_data.csv", "permission denied")
    assert (read.value.filename, read.value.errno) == ("s3://plates/load_data.csv", 13)


def test_a_bucket_that_is_not_there_or_silent(serve: Serve, s3: Callable[[str], None]) -> None:
    s3(serve(Refusal, status=404, code="NoSuchBucket"))
    with pytest.raises(InputError, match="s3://plates/screen: found no files, there is no such"):
        scan("s3://plates/screen", PATTERN)
    with pytest.raises(InputError, match=r"load_data\.csv: no such file"):
        scan("s3://plates/load_data.csv")


def test_a_bucket_at_a_closed_address(s3: Callable[[str], None]) -> None:
    s3(find_closed())
    with pytest.raises(ConnectionError) as caught:
        scan("s3://plates/screen", PATTERN)
    check_line(caught.value, "s3://plates: no answer", "Check the address")


def test_a_bucket_without_credentials_says_how_public_ones_are_read(
    serve: Serve, s3: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    s3(serve(Refusal))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(InputError) as caught:
        scan("s3://plates/load_data.csv")
    check_line(caught.value, "s3://plates: no credentials found", '{"s3": {"anon": true}}')


def test_pixels_of_a_public_bucket_are_read_without_credentials(
    serve: Serve, s3: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    planes = {f"screen/{well}_s1.tif": n for n, well in enumerate(("A01", "A02"))}
    objects = {}
    for key, number in planes.items():
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, np.full((300, 200), number, np.uint16), rowsperstrip=10)
        objects[key] = buffer.getvalue()
    asked: list[str] = []
    s3(serve(PublicBucket, objects=objects, asked=asked))
    with pytest.raises(InputError, match="may not be listed"):  # it refuses those who sign
        scan("s3://plates/screen", PATTERN)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setitem(fsspec.config.conf, "s3", {"anon": True})
    s3fs = pytest.importorskip("s3fs")
    s3fs.S3FileSystem.clear_instance_cache()
    images = scan("s3://plates/screen", PATTERN).images  # type: ignore[attr-defined]
    assert images["well"].tolist() == ["A01", "A02"]
    for number, url in enumerate(images["url"]):
        assert (read_plane(url) == number).all()
        assert read_shape(url) == ((300, 200), np.uint16)
    with files.open_file("s3://plates/screen/A02_s1.tif") as file:
        file.seek(-3, io.SEEK_END)
        assert file.read() == objects["screen/A02_s1.tif"][-3:]
    assert any(asked)  # headers are read in part
    with pytest.raises(FieldError) as gone:
        read_plane("s3://plates/screen/A03_s1.tif")
    check_line(gone.value, "missing: s3://plates/screen/A03_s1.tif")
    s3(serve(PublicBucket, objects=objects, refused="screen/A01_s1.tif"))
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(FieldError) as refused:
        read_plane("s3://plates/screen/A01_s1.tif")
    check_line(refused.value, "missing: s3://plates/screen/A01_s1.tif", "denied")
    assert (read_plane("s3://plates/screen/A02_s1.tif") == 1).all()
    s3(find_closed())
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(ConnectionError) as silent:
        read_plane("s3://plates/screen/A02_s1.tif")
    check_line(silent.value, "s3://plates", "no answer")


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [(403, PermissionError, "permission denied"), (401, PermissionError, "permission denied"),
     (404, InputError, "no such file"), (500, ConnectionError, "no answer"),
     (503, ConnectionError, "no answer"), (429, ConnectionError, "no answer")],
)  # fmt: skip
def test_a_table_at_a_web_server(
    serve: Serve, status: int, kind: type[Exception], words: str
) -> None:
    base = serve(Refusal, status=status)
    with pytest.raises(kind) as caught:
        scan(f"{base}/load_data.csv")
    check_line(caught.value, words, base)
    with pytest.raises((InputError, ConnectionError)) as listed:
        scan(f"{base}/plate", PATTERN)
    check_line(listed.value, base)


def test_a_web_server_that_is_not_there() -> None:
    for base in (find_closed(), "https://no-such-host.invalid"):
        with pytest.raises(ConnectionError) as caught:
            scan(f"{base}/load_data.csv")
        check_line(caught.value, f"{base}: no answer")


def test_public_folders_and_tables_are_read_without_a_name(serve: Serve, tmp_path: Path) -> None:
    for well in ("A01", "A02"):
        tifffile.imwrite(tmp_path / f"{well}_s1.tif", np.full((8, 9), 7, np.uint16))
    base = serve(partial(Folder, directory=str(tmp_path)))
    head = "Metadata_Plate,Metadata_Well"
    (tmp_path / "names.csv").write_text(
        f"{head},FileName_DNA\nP1,A01,A01_s1.tif\nP1,A02,gone.tif\n"
    )
    (tmp_path / "urls.csv").write_text(f"{head},URL_DNA\nP1,A01,{base}/A01_s1.tif\n")
    listed = scan(base, PATTERN)
    assert listed.images["well"].tolist() == ["A01", "A02"]  # type: ignore[attr-defined]
    named = scan(f"{base}/names.csv").images  # type: ignore[attr-defined]
    assert named["size_bytes"].gt(0).tolist() == [True, False]
    by_url = scan(f"{base}/urls.csv").images  # type: ignore[attr-defined]
    assert (read_plane(by_url["url"].iloc[0]) == 7).all()
    assert not files.exists(f"{base}/gone.tif")


@pytest.mark.parametrize("scheme", ["gs", "abfs", "nowhere"])
def test_schemes_that_need_a_package_or_are_none(scheme: str) -> None:
    with pytest.raises(InputError) as caught:
        scan(f"{scheme}://plates/load_data.csv")
    check_line(caught.value, f"{scheme}://plates")


class ClosedFolder(Folder):
    """Gives files, but none below a folder that is closed."""

    closed = ""

    def send_head(self) -> object:
        if self.closed and self.closed in self.path:
            self.send_error(403)
            return None
        return super().send_head()


def write_wells(folder: Path, wells: tuple[str, ...]) -> None:
    """Write an OME-Zarr plate with one field of one channel per well."""
    store = zarr.open_group(folder, mode="w", zarr_format=3)
    named = [{"path": f"{well[0]}/{int(well[1:])}"} for well in wells]
    store.attrs["ome"] = {"version": "0.5", "plate": {"name": "P1", "wells": named}}
    for number, well in enumerate(named):
        group = store.require_group(well["path"])
        group.attrs["ome"] = {"version": "0.5", "well": {"images": [{"path": "0"}]}}
        axes = {"axes": [{"name": a} for a in "cyx"], "datasets": [{"path": "s0"}]}
        field = group.require_group("0")
        field.attrs["ome"] = {"version": "0.5", "multiscales": [axes]}
        data = np.full((1, 8, 9), number + 1, np.uint16)
        field.create_array("s0", data=data, chunks=(1, 8, 9))


@pytest.mark.parametrize("closed", ["/B/3", "/B/3/0", "/B/3/0/s0/", "/B/3/0/s0/c/"])
def test_a_well_that_may_not_be_read_costs_that_well(
    serve: Serve, tmp_path: Path, closed: str
) -> None:
    """Of an OME-Zarr at a web server: its group, its image, the array, or its chunks alone."""
    write_wells(tmp_path / "p.zarr", ("B02", "B03", "B04"))
    base = serve(partial(type("C", (ClosedFolder,), {"closed": closed}), directory=str(tmp_path)))
    images, notes = scan(f"{base}/p.zarr")  # type: ignore[misc]
    assert images["well"].tolist() == ["B02", "B03", "B04"]
    assert images["size_bytes"].ge(0).tolist() == [True, False, True]
    (said,) = [note for note in notes if "may not be read" in note]
    assert said.startswith("WARNING images of 1 well (B3) may not be read and count as missing: ")
    assert "403" in said or "may not be listed" in said
    for well, value in (("B02", 1), ("B04", 3)):
        url = images.set_index("well")["url"][well]
        assert (read_plane(url) == value).all()
    with pytest.raises(FieldError, match=r"^missing: .*permission denied"):
        read_plane(images["url"][1])


def test_a_plate_that_may_not_be_read_at_all_is_one_error(serve: Serve, tmp_path: Path) -> None:
    write_wells(tmp_path / "p.zarr", ("B02", "B03"))
    for closed, kind in (("/p.zarr", PermissionError), ("/B/", InputError)):
        handler = type("C", (ClosedFolder,), {"closed": closed})
        base = serve(partial(handler, directory=str(tmp_path)))
        with pytest.raises(kind) as caught:
            scan(f"{base}/p.zarr")
        check_line(caught.value, base, "p.zarr")
