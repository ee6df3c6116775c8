"""All readers, found by path: the same plate gives the same sources and the same pixels."""

import pkgutil
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import i2r.readers
from i2r.errors import FieldError, InputError
from i2r.readers import ReaderOptions, did_you_mean, find_reader, list_readers
from i2r.readers.images import read_field, read_plane, read_shape, stat_source
from i2r.readers.sources import COLUMNS

# What bioio reads, the project's own environment has no package for; see test_vendors.py.
READERS = sorted(set(list_readers()) - {"vendors"})


def test_readers_are_found_by_path() -> None:
    modules = {module.name for module in pkgutil.iter_modules(i2r.readers.__path__)}
    known = {"imagexpress", "loaddata", "omefile", "omezarr", "pattern", "phenix", "samplesheet",
             "yokogawa"}  # fmt: skip
    assert known <= set(READERS) <= modules
    assert "images" not in READERS
    assert all(line.endswith(".") for line in list_readers().values())


@pytest.mark.parametrize("reader", READERS)
def test_same_plate_gives_same_sources_and_pixels(reader, builders, planes, tmp_path: Path) -> None:
    source, options = builders[reader](tmp_path, planes)
    images, _ = find_reader(reader, source)(source, options)
    assert tuple(images.columns) == COLUMNS
    assert (images["z"] == images["z"].iloc[0]).all()
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
        assert (row.size_bytes, row.mtime_ns) == stat_source(row.url)
        assert row.size_bytes > 0


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
    images = find_reader("auto", source, pattern=options.pattern)(source, options).images
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


@pytest.mark.parametrize("reader", READERS)
def test_auto_finds_the_reader_by_the_source(reader, builders, planes, tmp_path: Path) -> None:
    source, options = builders[reader](tmp_path, planes)
    assert find_reader("auto", source, pattern=options.pattern) is find_reader(reader, source)


def test_auto_without_anything_to_recognise(tmp_path: Path) -> None:
    assert find_reader("auto", str(tmp_path)).__module__ == "i2r.readers.pattern"
    assert find_reader("auto", str(tmp_path / "gone.CSV")).__module__ == "i2r.readers.loaddata"
    # No file system is asked where a pattern says how to read a folder.
    assert find_reader("auto", "s3://b/p", pattern="x").__module__ == "i2r.readers.pattern"


@pytest.mark.parametrize("reader", READERS)
def test_a_plane_that_is_gone_is_missed_by_its_name(reader, builders, planes, tmp_path) -> None:
    """What is gone after the scan, or is listed and not there, never reads as zeros."""
    source, options = builders[reader](tmp_path, planes)
    images = find_reader(reader, source)(source, options).images
    gone = images[images[["plate", "well", "field"]].eq(["P2", "B11", "10"]).all(axis=1)]
    for path in {Path(url) for url in gone["url"]}:
        if reader == "omezarr":
            shutil.rmtree(path.parents[1])
        else:
            path.unlink()
    with pytest.raises(FieldError, match=r"^missing: "):
        read_field(gone.itertuples(), channels=["DNA", "GFP"])
    with pytest.raises(FieldError, match=r"^missing: "):
        read_shape(gone["url"].iloc[0], page=gone["page"].iloc[0])
    again = find_reader(reader, source)(source, options).images
    if reader != "pattern":  # nobody but the folder itself says what should be in it
        assert len(again) == len(images)
        assert set(again.loc[again["size_bytes"] < 0, "field"]) == {"10"}
        assert (again["size_bytes"] < 0).sum() == 2


def test_did_you_mean_says_nothing_for_strangers() -> None:
    assert did_you_mean("zzz", ["well", "row"]) == ""
