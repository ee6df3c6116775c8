"""Data sets for training, and the fifth that is kept out of it."""

from hashlib import sha1
from pathlib import Path

import numpy as np
import pytest
import tifffile

from i2r.errors import InputError
from i2r.readers.labelled import keep_fifth_out, list_labelled, read_labelled


def write_set(folder: Path, n: int = 20) -> Path:
    random = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for i in range(n):
        if i % 2 == 0:  # the next image repeats this one, brighter and noisy
            image = np.kron(random.random((8, 8)) > 0.8, np.ones((8, 8))) * 500 + 50
        noisy = image * (1 + i % 2) + random.normal(0, 3, image.shape)
        tifffile.imwrite(folder / "images" / f"f{i:02d}.tif", noisy.astype(np.uint16))
        tifffile.imwrite(folder / "labels" / f"f{i:02d}.tif", (image > 100).astype(np.uint16))
    return folder


def test_images_and_labels_are_paired_and_read(tmp_path: Path) -> None:
    fields = list_labelled(str(write_set(tmp_path / "set")))
    assert [field.stem for field in fields] == [f"f{i:02d}" for i in range(20)]
    image, labels = read_labelled(fields[3])
    assert image.shape == labels.shape == (64, 64)
    assert image[labels > 0].min() > image[labels == 0].max()


def test_the_fifth_kept_out_holds_whole_groups(tmp_path: Path) -> None:
    fields = list_labelled(str(write_set(tmp_path / "set", 40)))
    used, kept = keep_fifth_out(fields)
    assert sorted(used + kept) == fields
    expected = {i for i in range(0, 40, 2) if int(sha1(b"f%02d" % i).hexdigest(), 16) % 5 == 0}
    assert expected
    assert {field.stem for field in kept} == {f"f{j:02d}" for i in expected for j in (i, i + 1)}


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", 4)
    (folder / "labels" / "f02.tif").unlink()
    with pytest.raises(InputError, match=r"no label image named f02 \(1 missing\)"):
        list_labelled(str(folder))
    tifffile.imwrite(folder / "labels" / "f02.tif", np.zeros((5, 6), np.uint16))
    with pytest.raises(InputError, match=r"labels are \(5, 6\)"):
        read_labelled(list_labelled(str(folder))[2])
