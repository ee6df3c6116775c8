"""All readers, found by path: the same plate gives the same sources and the same pixels."""

import pkgutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import i2r.readers
from i2r.errors import InputError
from i2r.readers import ReaderOptions, did_you_mean, find_reader, list_readers
from i2r.readers.images import read_field, read_plane
from i2r.readers.sources import COLUMNS

READERS = sorted(list_readers())


def test_readers_are_found_by_path() -> None:
    modules = {module.name for module in pkgutil.iter_modules(i2r.readers.__path__)}
    assert {"pattern", "loaddata"} <= set(READERS) <= modules
    assert "images" not in READERS
    assert all(line.endswith(".") for line in list_readers().values())


@pytest.mark.parametrize("reader", READERS)
def test_same_plate_gives_same_sources_and_pixels(reader, builders, planes, tmp_path: Path) -> None:
    source, options = builders[reader](tmp_path, planes)
    images, _ = find_reader(reader, source)(source, options)
    assert tuple(images.columns) == COLUMNS
    assert (images["page"] == 0).all()
    assert (images["z"] == 0).all()
    assert images[["z", "page", "size_bytes", "mtime_ns"]].dtypes.eq("int64").all()
    keys = list(images[["plate", "well", "field", "channel"]].itertuples(index=False, name=None))
    # Natural order: field 2 before field 10.
    assert keys == [
        (plate, well, field, channel)
        for plate in ("01", "P2")
        for well in ("A01", "B11", "H12")
        for field in ("2", "10")
        for channel in ("DNA", "GFP")
    ]
    for key, row in zip(keys, images.itertuples(), strict=True):
        np.testing.assert_array_equal(read_plane(row.url, page=row.page), planes[key])
        status = Path(row.url).stat()
        assert (row.size_bytes, row.mtime_ns) == (status.st_size, status.st_mtime_ns)


@pytest.mark.parametrize("reader", READERS)
def test_channels_rename_restrict_and_order(reader, builders, planes, tmp_path: Path) -> None:
    source, options = builders[reader](tmp_path, planes)
    options = ReaderOptions(pattern=options.pattern, channels={"GFP": "FKHR"})
    images, notes = find_reader(reader, source)(source, options)
    assert set(images["channel"]) == {"FKHR"}
    assert len(images) == len(planes) // 2
    assert any(f"DNA ({len(planes) // 2} files)" in note for note in notes)
    options = ReaderOptions(pattern=options.pattern, channels={"DNA": "DNA", "GPF": "FKHR"})
    with pytest.raises(InputError, match=r"'GPF'.*nowhere.*Did you mean 'GFP'\?"):
        find_reader(reader, source)(source, options)


@pytest.mark.parametrize("reader", READERS)
def test_field_reads_in_the_order_asked(reader, builders, planes, tmp_path: Path) -> None:
    source, options = builders[reader](tmp_path, planes)
    images = find_reader("auto", source)(source, options).images
    rows = images[images[["plate", "well", "field"]].eq(["P2", "B11", "10"]).all(axis=1)]
    field = read_field(rows.itertuples(), channels=["GFP", "DNA"])
    for place, channel in enumerate(["GFP", "DNA"]):
        np.testing.assert_array_equal(field.image[place], planes["P2", "B11", "10", channel])
    assert set(field.digests) == set(rows["url"])


@pytest.mark.parametrize("reader", READERS)
def test_scan_is_repeatable(reader, builders, planes, tmp_path: Path) -> None:
    source, options = builders[reader](tmp_path, planes)
    first, second = (find_reader(reader, source)(source, options) for _ in range(2))
    pd.testing.assert_frame_equal(first.images, second.images)
    assert first.notes == second.notes


def test_unknown_reader_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'patern'.*Did you mean 'pattern'\?"):
        find_reader("patern", "x")
    with pytest.raises(InputError, match="images"):
        find_reader("images", "x")


def test_auto_goes_by_the_name() -> None:
    names = {
        s: find_reader("auto", s).__module__ for s in ("a.CSV", "a.csv.gz", "folder", "s3://b/p")
    }
    assert names == {
        "a.CSV": "i2r.readers.loaddata",
        "a.csv.gz": "i2r.readers.loaddata",
        "folder": "i2r.readers.pattern",
        "s3://b/p": "i2r.readers.pattern",
    }


def test_did_you_mean_says_nothing_for_strangers() -> None:
    assert did_you_mean("zzz", ["well", "row"]) == ""
