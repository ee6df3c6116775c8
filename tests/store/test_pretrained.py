"""Weights of ImageNet: fetched once and checked, or not at all, never other ones unnoticed."""

from hashlib import sha256
from pathlib import Path

import pytest

from i2r.errors import InputError
from i2r.store.pretrained import Source, fetch_imagenet, read_weights


def test_weights_are_downloaded_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "resnet-0000.pth"
    there.write_bytes(b"weights")
    source = Source(there.as_uri(), sha256(b"weights").hexdigest()[:8])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "kept"))
    path = fetch_imagenet(source)
    assert path == str(tmp_path / "kept/hub/checkpoints/resnet-0000.pth"), "where torch looks too"
    there.unlink()
    assert read_weights(fetch_imagenet(source)) == b"weights"


def test_another_file_than_expected_and_no_network_give_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "kept"))
    there = tmp_path / "resnet-0000.pth"
    there.write_bytes(b"others")
    assert fetch_imagenet(Source(there.as_uri(), "f37072fd")) is None
    assert not list((tmp_path / "kept").rglob("*.pth"))
    assert fetch_imagenet(Source("https://nowhere.invalid/resnet.pth", "f37072fd")) is None


def test_weights_that_a_worker_cannot_read_are_an_error() -> None:
    assert read_weights(None) is None
    with pytest.raises(InputError, match="no such file on this worker"):
        read_weights("/nowhere/resnet.pt")
