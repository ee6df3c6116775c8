"""What is written: read back equal by zarr-python, valid for ome-zarr-models, open to ome-zarr."""

import itertools
import json
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from ome_zarr_models.v05.hcs import HCS
from ome_zarr_models.v05.image import Image
from ome_zarr_models.v05.image_label import ImageLabel
from ome_zarr_models.v05.labels import Labels

from i2r.errors import FieldError, InputError
from i2r.store import arrays, files, images, shards
from i2r.store.images import halve
from i2r.types import parse_well

RNG = np.random.default_rng(3)
FIELD = RNG.integers(0, 4000, (3, 41, 57)).astype(np.uint16)
CHANNELS = ["DNA", "ER", "Mito"]


@pytest.fixture(params=["local", "memory"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty folder, local or not."""
    if request.param == "local":
        yield str(tmp_path)
    else:
        name = uuid.uuid4().hex
        yield f"memory://{name}/x"
        files.remove_tree("memory://", name)


@pytest.fixture
def plate(tmp_path: Path) -> str:
    """A plate of three wells with two fields each and two kinds of labels."""
    url = str(tmp_path / "P1.ome.zarr")
    wells = [parse_well(name) for name in ("B03", "C05", "C12")]
    for number, well in enumerate(wells):
        for field in ("1", "2"):
            image = f"{url}/{well.path}/{field}"
            images.write_image(image, FIELD + number, channels=CHANNELS, pixel_size_um=0.65)
            for name in ("nuclei", "cells"):
                images.write_labels(image, name, (FIELD[0] > 2000) * 7, pixel_size_um=0.65)
        images.write_well(f"{url}/{well.path}", ["1", "2"])
    images.write_plate(url, name="P1", wells=wells, field_count=2)
    return url


def count_files(folder: str) -> int:
    return sum(len(names) for _, _, names in os.walk(folder))


# ------------------------------------------------------------------------------- plates


def test_models_accept_plate_well_image_and_labels(plate: str) -> None:
    hcs = HCS.from_zarr(zarr.open_group(plate, mode="r"))
    assert hcs.n_wells == 3
    assert len(list(hcs.well_groups)) == 3
    for well in ("B/3", "C/5", "C/12"):
        for field in ("1", "2"):
            image = f"{plate}/{well}/{field}"
            Image.from_zarr(zarr.open_group(image, mode="r"))
            labels = Labels.from_zarr(zarr.open_group(f"{image}/labels", mode="r"))
            assert labels.label_paths == ["cells", "nuclei"]
            ImageLabel.from_zarr(zarr.open_group(f"{image}/labels/nuclei", mode="r"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_ome_zarr_opens_the_image(plate: str) -> None:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    location = parse_url(f"{plate}/B/3/1", mode="r")
    assert location is not None
    nodes = list(Reader(location)())
    np.testing.assert_array_equal(np.asarray(nodes[0].data[0]), FIELD)
    assert nodes[0].metadata["channel_names"] == CHANNELS
    labels = [node for node in nodes[1:] if node.data]
    assert labels
    assert all(int(np.asarray(node.data[0]).max()) == 7 for node in labels)


def test_seven_files_per_field_with_labels(plate: str) -> None:
    assert count_files(f"{plate}/B/3/1") == 3 + 1 + 3 + 3
    field = f"{plate}/B/3/3"
    images.write_image(field, FIELD, channels=CHANNELS)
    assert count_files(field) == 3
    images.write_labels(field, "nuclei", FIELD[0])
    assert count_files(field) == 7


def test_every_array_is_one_shard(plate: str) -> None:
    image = zarr.open_array(f"{plate}/B/3/1/0", mode="r")
    assert image.chunks == (1, 41, 57)
    assert image.shards == image.shape == FIELD.shape
    labels = zarr.open_array(f"{plate}/B/3/1/labels/nuclei/0", mode="r")
    assert labels.shape == (labels.shards or labels.chunks)
    assert labels.dtype == np.int32
    assert image.metadata.dimension_names == ("c", "y", "x")


# ------------------------------------------------------------------------------- images


def test_images_and_labels_on_any_file_system(base: str) -> None:
    url = f"{base}/B/3/1"
    written = images.write_image(url, FIELD, channels=CHANNELS)
    np.testing.assert_array_equal(arrays.read_array(f"{url}/0"), FIELD)
    assert written > 1000
    images.write_labels(url, "nuclei", FIELD[0])
    np.testing.assert_array_equal(arrays.read_array(f"{url}/labels/nuclei/0"), FIELD[0])
    images.write_labels(url, "cells", FIELD[1].astype(np.uint64))
    images.write_labels(url, "nuclei", FIELD[2])
    assert files.list_folder(f"{url}/labels") == ["cells", "nuclei", "zarr.json"]
    np.testing.assert_array_equal(arrays.read_array(f"{url}/labels/nuclei/0"), FIELD[2])
    np.testing.assert_array_equal(arrays.read_array(f"{url}/labels/cells/0"), FIELD[1])
    # A new image takes the labels of the old one with it, and its levels.
    images.write_image(url, FIELD[:, :5], channels=CHANNELS)
    assert files.list_folder(url) == ["0", "zarr.json"]


def test_labels_added_at_once_are_all_listed(tmp_path: Path) -> None:
    url = str(tmp_path / "1")
    images.write_image(url, FIELD, channels=CHANNELS)
    names = ["a", "b", "c", "d"]
    with ThreadPoolExecutor(len(names)) as pool:
        for _ in range(10):
            list(pool.map(lambda name: images.write_labels(url, name, FIELD[0]), names))
            assert zarr.open_group(f"{url}/labels", mode="r").attrs["ome"]["labels"] == names


@settings(max_examples=60, deadline=None)
@given(
    image=hnp.arrays(
        dtype=st.sampled_from([np.uint8, np.uint16]),
        shape=hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=40),
    )
)
def test_images_of_any_shape(tmp_path_factory: pytest.TempPathFactory, image: np.ndarray) -> None:
    url = str(tmp_path_factory.mktemp("image") / "1")
    images.write_image(url, image, channels=["C"] * len(image))
    found = arrays.read_array(f"{url}/0", shape=image.shape, dtype=image.dtype)
    np.testing.assert_array_equal(found, image)
    Image.from_zarr(zarr.open_group(url, mode="r"))


@pytest.mark.parametrize(
    ("shape", "factors"),
    [
        ((256, 100), [1]),
        ((257, 11), [1, 2]),
        ((520, 696), [1, 3]),
        ((1080, 1080), [1, 5]),
        ((2160, 2160), [1, 9]),
        ((7, 5300), [1, 2, 4, 24]),
        ((5121, 30), [1, 2, 20]),
    ],
)
def test_fields_have_an_overview(
    tmp_path: Path, shape: tuple[int, int], factors: list[int]
) -> None:
    image = RNG.integers(0, 65536, (2, *shape)).astype(np.uint16)
    url = str(tmp_path / "1")
    images.write_image(url, image, channels=["DNA", "ER"], pixel_size_um=0.5)
    images.write_labels(url, "nuclei", image[0], pixel_size_um=0.5)
    group = Image.from_zarr(zarr.open_group(url, mode="r"))
    datasets = group.ome_attributes.multiscales[0].datasets
    assert [d.coordinateTransformations[0].scale[1] / 0.5 for d in datasets] == factors
    ImageLabel.from_zarr(zarr.open_group(f"{url}/labels/nuclei", mode="r"))
    fine, labels = image.astype(np.int64), image[0]
    for number, (before, factor) in enumerate(itertools.pairwise(factors), start=1):
        rows, columns = (min(factor // before, n) for n in labels.shape)
        fine = fine[:, : labels.shape[0] // rows * rows, : labels.shape[1] // columns * columns]
        parts = fine.reshape(2, -1, rows, fine.shape[2] // columns, columns)
        fine = np.floor(parts.mean(axis=(2, 4)) + 0.5)
        np.testing.assert_array_equal(arrays.read_array(f"{url}/{number}"), fine)
        middle = labels[(rows - 1) // 2 :: rows, (columns - 1) // 2 :: columns]
        labels = middle[: fine.shape[1], : fine.shape[2]]
        np.testing.assert_array_equal(arrays.read_array(f"{url}/labels/nuclei/{number}"), labels)
    assert max(labels.shape) <= 256
    if max(shape) <= 2560:
        assert count_files(url) <= 11


def test_levels_for_viewers_that_expect_halves() -> None:
    assert halve((1080, 1080)) == [1, 2, 4, 8]
    assert halve((257, 3)) == [1, 2]
    assert halve((256, 256)) == [1]


def test_viewers_are_shown_the_pixels_there_are(tmp_path: Path) -> None:
    ramp = np.linspace(0, 4000, 512 * 512).reshape(512, 512)
    image = np.stack([np.full((512, 512), 300), ramp]).astype(np.uint16)
    images.write_image(str(tmp_path / "1"), image, channels=["DNA", "ER"])
    omero = zarr.open_group(tmp_path / "1", mode="r").attrs["ome"]["omero"]
    flat, slope = (channel["window"] for channel in omero["channels"])
    assert (flat["start"], flat["end"]) == (300, 301)
    assert 0 <= slope["start"] < 100
    assert 3800 < slope["end"] < 4000
    assert slope["max"] == 65535
    shown = np.percentile(image[1, ::16, ::16], (0.5, 99.8))
    assert (slope["start"], slope["end"]) == tuple(shown)


def test_labels_that_do_not_fit(tmp_path: Path) -> None:
    for labels in (np.array([[2**31]]), np.array([[-1]])):
        with pytest.raises(ValueError, match="expected 0 to"):
            images.write_labels(str(tmp_path / "1"), "nuclei", labels)
    with pytest.raises(InputError):
        images.write_labels(str(tmp_path / "1"), "../nuclei", FIELD[0])


def test_only_zarr_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "thesis.docx").write_text("")
    with pytest.raises(InputError, match=r"found thesis\.docx.*replaces only what it wrote"):
        images.write_image(str(tmp_path / "1"), FIELD, channels=CHANNELS)
    with pytest.raises(InputError, match="replaces only"):
        arrays.write_crops(str(tmp_path / "1"), np.zeros((1, 1, 4, 4), np.uint8))


@pytest.mark.parametrize("seed", range(6))
def test_what_a_killed_removal_leaves_is_replaced(tmp_path: Path, seed: int) -> None:
    """Files go one after another, in any order: the document may be the first of them."""
    url, random = tmp_path / "1", np.random.default_rng(seed)
    pixels = np.ones((2, 8, 9), np.uint16)
    images.write_image(str(url), pixels, channels=["a", "b"])
    images.write_labels(str(url), "segment", np.ones((8, 9), np.int32))
    written = sorted(path for path in url.rglob("*") if path.is_file())
    gone = random.permutation(len(written))[: random.integers(1, len(written) + 1)]
    for number in {*gone, written.index(url / "zarr.json")}:
        written[number].unlink()
    images.write_image(str(url), pixels, channels=["a", "b"])
    np.testing.assert_array_equal(arrays.read_array(f"{url}/0"), pixels)
    (url / "zarr.json").unlink()
    (url / "0" / "c" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="i2r replaces only what it wrote"):
        images.write_image(str(url), pixels, channels=["a", "b"])


# ------------------------------------------------------------------------------- crops


@pytest.mark.parametrize("n_nuclei", [0, 1, 512, 513, 1200])
def test_crops(base: str, n_nuclei: int) -> None:
    crops = RNG.integers(0, 255, (n_nuclei, 2, 64, 64)).astype(np.uint16)
    arrays.write_crops(f"{base}/B03", np.ones((600, 3, 64, 64), np.uint8))
    arrays.write_crops(f"{base}/B03", crops, attributes={"channels": ["DNA", "ER"]})
    array = arrays.open_array(f"{base}/B03")
    np.testing.assert_array_equal(array[...], crops)
    assert array.shape == (n_nuclei, 2, 64, 64)
    assert array.attrs["channels"] == ["DNA", "ER"]
    assert array.chunks[0] <= 512
    assert array.chunks[1:] == (1, 64, 64)
    # Chunks of one length: no chunk is mostly filling.
    assert (array.shards or array.chunks)[0] - n_nuclei < max(2, n_nuclei / 512 + 1)
    if files.is_local(base):
        assert count_files(f"{base}/B03") == (2 if n_nuclei else 1)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_arrays_of_any_kind(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    dtype = data.draw(
        hnp.unsigned_integer_dtypes(endianness="?")
        | hnp.integer_dtypes(endianness="?")
        | hnp.floating_dtypes(endianness="?", sizes=(32, 64))
        | hnp.boolean_dtypes()
    )
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=9))
    array = data.draw(hnp.arrays(dtype, shape))
    if data.draw(st.booleans()):
        array = array.T
    chunk = tuple(data.draw(st.integers(1, max(1, n))) for n in array.shape)
    codec = data.draw(st.sampled_from([shards.PLANES, shards.CROPS]))
    url = str(tmp_path_factory.mktemp("array") / "a")
    axes = "tcyx"[: array.ndim]
    arrays.write_array(url, array, chunk=chunk, axes=axes, codec=codec)
    found = arrays.read_array(url)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype.newbyteorder("=")
    if array.size:
        region = tuple(slice(n // 2, n) for n in array.shape)
        np.testing.assert_array_equal(arrays.read_array(url, region=region), array[region])


def test_planes_are_compressed_in_large_blocks(tmp_path: Path) -> None:
    """As the description says, which other programs read too."""
    plane = np.random.default_rng(0).integers(0, 4000, (1024, 1024)).astype(np.uint16)
    url = str(tmp_path / "a")
    arrays.write_array(url, plane, chunk=plane.shape, axes="yx")
    data = files.read_bytes(f"{url}/c/0/0")
    described = json.loads(files.read_bytes(f"{url}/zarr.json"))["codecs"][0]["configuration"]
    (block_bytes,) = [
        codec["configuration"]["blocksize"]
        for codec in described["codecs"]
        if codec["name"] == "blosc"
    ]
    assert block_bytes == 2**20
    assert int.from_bytes(data[8:12], "little") == block_bytes  # Blosc's header: its block size
    np.testing.assert_array_equal(zarr.open_array(url, mode="r")[:], plane)


def test_what_is_read_is_what_was_expected(tmp_path: Path) -> None:
    url = str(tmp_path / "a")
    arrays.write_array(url, FIELD, chunk=(1, 41, 57), axes="cyx")
    with pytest.raises(FieldError, match=r"^shape: .*\(3, 41, 57\), expected \(3, 40, 57\)"):
        arrays.read_array(url, shape=(3, 40, 57))
    with pytest.raises(FieldError, match=r"^dtype: .*uint16, expected uint8"):
        arrays.read_array(url, dtype=np.uint8)
    with pytest.raises(FileNotFoundError):
        arrays.read_array(str(tmp_path / "gone"))


@pytest.mark.skipif("I2R_DATA" not in os.environ, reason="set I2R_DATA to the real data sets")
def test_real_fields_come_back_equal_and_smaller(tmp_path: Path) -> None:
    from i2r.readers.images import read_plane

    folder = Path(os.environ["I2R_DATA"]) / "cellpainting_fields"
    for number, path in enumerate(
        sorted(folder.glob("BBBC022*.tif")) + list(folder.glob("JUMP*tiff"))
    ):
        plane = read_plane(str(path))
        url = str(tmp_path / str(number))
        written = images.write_image(url, plane[np.newaxis], channels=["DNA"], pixel_size_um=0.656)
        np.testing.assert_array_equal(arrays.read_array(f"{url}/0")[0], plane)
        assert written < 0.75 * plane.nbytes
