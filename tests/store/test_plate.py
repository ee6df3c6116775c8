"""A plate's images and labels: lazy, whole wells in one chunk, checked when they are read."""

from pathlib import Path

import dask
import numpy as np
import pytest
import tifffile

from i2r.errors import FieldError, InputError
from i2r.store import plate as plate_module
from i2r.store.arrays import write_array
from i2r.store.experiment import open_experiment
from i2r.store.plate import StoredFields, read_lazily
from i2r.testing import PlateFiles


def test_images_are_the_source_files_values(cropped_original: Path, plate: PlateFiles) -> None:
    opened = open_experiment(str(cropped_original)).plates["P1"]
    assert opened.wells == [f"A{n:02d}" for n in range(1, 9)]
    assert (opened.channels, opened.pixel_size_um, opened.shape) == (["DNA"], 1.0, (1, 96, 128))
    assert opened.dtype == np.uint16
    assert opened.field_bytes() == 96 * 128 * 2
    for well in ("A01", "A08"):
        expected = np.stack(
            [tifffile.imread(plate.source / "P1" / f"{well}_s{f}_DNA.tif")[None] for f in (1, 2)]
        )
        images = opened.images(well)
        assert images.numblocks == (1, 1, 1, 1)
        np.testing.assert_array_equal(images.compute(), expected)
        np.testing.assert_array_equal(opened.images(well, fields=["2"]).compute(), expected[1:])


def test_fields_may_be_numbers_and_unknown_ones_are_a_line(cropped_original: Path) -> None:
    opened = open_experiment(str(cropped_original)).plates["P1"]
    for open_all in (opened.images, opened.labels):
        assert open_all("A01", fields=[2]).shape[0] == 1
        with pytest.raises(InputError, match="no field '7', expected one of 1, 2"):
            open_all("A01", fields=[7])


def test_labels_belong_to_the_table_of_nuclei(cropped_original: Path) -> None:
    experiment = open_experiment(str(cropped_original))
    labels = experiment.plates["P1"].labels("A03").compute()
    assert labels.shape == (2, 96, 128)
    assert labels.dtype == np.int32
    nuclei = experiment.table("segment")
    for field, plane in zip(("1", "2"), labels, strict=True):
        listed = nuclei[(nuclei["well"] == "A03") & (nuclei["field"] == field)]["label"]
        assert set(np.unique(plane)) - {0} == set(listed)


def test_opening_reads_nothing() -> None:
    absent = read_lazily(
        StoredFields(["/nowhere/0", "/nowhere/1"], (1, 4, 5), np.dtype(np.uint16)), per_chunk=2
    )
    assert absent.shape == (2, 1, 4, 5)
    with pytest.raises(FileNotFoundError):
        absent.compute()


def test_large_wells_are_split_along_the_fields_into_equal_chunks(
    tmp_path: Path,
) -> None:
    urls = []
    for number in range(7):
        urls.append(str(tmp_path / str(number)))
        write_array(urls[-1], np.full((2, 3), number, np.uint16), chunk=(2, 3), axes=("y", "x"))
    stacked = read_lazily(StoredFields(urls, (2, 3), np.dtype(np.uint16)), per_chunk=3)
    assert stacked.chunks == ((3, 2, 2), (2,), (3,))
    with dask.config.set(scheduler="synchronous"):
        assert stacked[:, 0, 0].compute().tolist() == list(range(7))


def test_labels_are_chunked_like_images_of_any_size(
    cropped_original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plate = open_experiment(str(cropped_original)).plates["P1"]
    monkeypatch.setattr(plate_module, "CHUNK_BYTES", plate.field_bytes())
    assert plate.images("A03").chunks[0] == plate.labels("A03").chunks[0] == (1, 1)


def test_no_fields_are_an_array_of_no_length() -> None:
    empty = read_lazily(StoredFields([], (2, 96, 128), np.dtype(np.uint8)), per_chunk=1)
    assert empty.shape == (0, 2, 96, 128)
    assert empty.compute().shape == (0, 2, 96, 128)


def test_an_image_of_another_shape_or_type_is_an_error_when_read(tmp_path: Path) -> None:
    url = str(tmp_path / "a")
    write_array(url, np.zeros((2, 3), np.uint16), chunk=(2, 3), axes=("y", "x"))
    for shape, dtype in (((3, 2), np.uint16), ((2, 3), np.uint8)):
        with pytest.raises(FieldError, match="expected"):
            read_lazily(StoredFields([url], shape, np.dtype(dtype)), per_chunk=1).compute()
