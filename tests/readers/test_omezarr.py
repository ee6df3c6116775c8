"""OME-Zarr plates that others wrote: versions, axes, and what is wrong with them."""

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from i2r.errors import FieldError, InputError
from i2r.readers import ReaderOptions
from i2r.readers.images import read_field, read_shape, stat_source
from i2r.readers.omezarr import scan


def write_plate(
    url: Path, array: np.ndarray, *, axes: str, version: int = 3, labels: tuple[str, ...] = (),
    images: tuple[dict[str, object], ...] = ({"path": "0"},),
) -> str:  # fmt: skip
    """Write a plate with the well B/3 by zarr-python, in either version."""

    def describe(group: zarr.Group, content: dict[str, object]) -> None:
        group.attrs.update({"ome": {"version": "0.5", **content}} if version == 3 else content)

    store = zarr.open_group(url, mode="w", zarr_format=version)
    describe(store, {"plate": {"name": "P1", "wells": [{"path": "B/3"}]}})
    well = store.require_group("B/3")
    describe(well, {"well": {"images": list(images)}})
    for image in images:
        group = well.require_group(str(image["path"]))
        scales = {"axes": [{"name": name} for name in axes], "datasets": [{"path": "s0"}]}
        omero = {"channels": [{"label": label} for label in labels]}
        describe(group, {"multiscales": [scales], "omero": omero})
        chunks = (1,) * (array.ndim - 2) + array.shape[-2:]
        group.create_array("s0", data=array, chunks=chunks)
    return str(url)


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 60000, shape).astype(np.uint16)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("axes", "shape"), [("tczyx", (1, 2, 3, 5, 6)), ("cyx", (2, 5, 6)), ("zcyx", (3, 2, 5, 6))]
)
def test_every_plane_is_found_whatever_the_axes(
    version: int, axes: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    array = draw(*shape)
    url = write_plate(tmp_path / "x.zarr", array, axes=axes, version=version, labels=("DNA", "ER"))
    images, _ = scan(url, ReaderOptions(z="max"))
    assert set(images["channel"]) == {"DNA", "ER"}
    assert len(images) == np.prod(shape[:-2])
    field = read_field(images.itertuples(), channels=["ER", "DNA"])
    whole = array if axes[0] != "t" else array[0]
    expected = (
        whole.max(axis="".join(a for a in axes if a != "t").index("z")) if "z" in axes else whole
    )
    np.testing.assert_array_equal(field.image, expected[::-1])
    assert read_shape(images["url"].iloc[0]) == ((5, 6), np.dtype(np.uint16))


def test_a_folder_of_plates_and_channels_without_names(tmp_path: Path) -> None:
    for name in ("a.ome.zarr", "b.zarr"):
        write_plate(tmp_path / name, draw(2, 5, 6), axes="cyx")
    for document in (tmp_path / "a.ome.zarr/zarr.json", tmp_path / "b.zarr/zarr.json"):
        content = json.loads(document.read_text())
        del content["attributes"]["ome"]["plate"]["name"]
        document.write_text(json.dumps(content))
    images = scan(str(tmp_path), ReaderOptions()).images
    assert images["plate"].unique().tolist() == ["a", "b"]
    assert images["channel"].unique().tolist() == ["0", "1"]


def test_a_changed_chunk_changes_the_stat(tmp_path: Path) -> None:
    url = write_plate(tmp_path / "x.zarr", draw(1, 5, 6), axes="cyx")
    image = scan(url, ReaderOptions()).images["url"].iloc[0]
    before = stat_source(image)
    chunk = next(
        path for path in Path(image).parent.rglob("*") if path.is_file() and path.name == "0"
    )
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    assert stat_source(image) != before


def test_a_plane_without_chunks_is_missing_and_not_black(tmp_path: Path) -> None:
    array = draw(2, 5, 6)
    array[1] = 0
    url = write_plate(tmp_path / "x.zarr", array, axes="cyx", labels=("DNA", "ER"))
    images = scan(url, ReaderOptions()).images
    with pytest.raises(FieldError, match=r"^missing: .* holds no pixels of plane 1"):
        read_field(images.itertuples(), channels=["DNA", "ER"])


def test_damaged_chunks_and_other_pixels(tmp_path: Path) -> None:
    url = write_plate(tmp_path / "x.zarr", draw(1, 5, 6), axes="cyx")
    rows = scan(url, ReaderOptions()).images
    chunk = next(
        p for p in Path(rows["url"].iloc[0]).parent.rglob("*") if p.is_file() and p.name == "0"
    )
    chunk.write_bytes(b"no chunk")
    with pytest.raises(FieldError, match=r"^truncated: "):
        read_field(rows.itertuples(), channels=["0"])
    url = write_plate(tmp_path / "y.zarr", draw(1, 5, 6).astype(np.int8), axes="cyx")
    with pytest.raises(FieldError, match=r"^dtype: .*int8"):
        read_field(scan(url, ReaderOptions()).images.itertuples(), channels=["0"])
    Path(rows["url"].iloc[0]).write_text("{")
    with pytest.raises(FieldError, match=r"^truncated: "):
        read_shape(rows["url"].iloc[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axes": "tcyx", "shape": (2, 1, 5, 6)}, "2 time points"),
        ({"axes": "cxy", "shape": (1, 5, 6)}, "found the axes"),
        ({"axes": "yx", "shape": (1, 5, 6)}, "found the axes"),
        ({"axes": "zyx", "shape": (2, 5, 6)}, "2 focal planes"),
        (
            {"images": ({"path": "0", "acquisition": 1}, {"path": "1", "acquisition": 2})},
            "several acquisitions",
        ),
    ],
)
def test_what_cannot_be_taken_is_explained(options, message: str, tmp_path: Path) -> None:
    values = {"axes": "cyx", "shape": (1, 5, 6), **options}
    url = write_plate(tmp_path / "x.zarr", draw(*values.pop("shape")), **values)
    with pytest.raises(InputError, match=message) as error:
        scan(url, ReaderOptions())
    assert "\n" not in str(error.value)


def test_paths_that_lead_out_are_refused(tmp_path: Path) -> None:
    url = write_plate(tmp_path / "x.zarr", draw(1, 5, 6), axes="cyx")
    document = tmp_path / "x.zarr" / "zarr.json"
    document.write_text(document.read_text().replace("B/3", "../other"))
    with pytest.raises(InputError, match=r"'\.\.'"):
        scan(url, ReaderOptions())


@pytest.mark.parametrize("plate", [{"wells": [{}]}, {"wells": 3}, {"wells": [{"path": 3}]}])
def test_metadata_that_is_no_plates(plate: object, tmp_path: Path) -> None:
    content = {"attributes": {"ome": {"plate": plate}}}
    (tmp_path / "zarr.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="metadata is not that of an OME-Zarr plate"):
        scan(str(tmp_path), ReaderOptions())


def test_no_plate(tmp_path: Path) -> None:
    (tmp_path / "zarr.json").write_text("[]")
    with pytest.raises(InputError, match="found no OME-Zarr plate"):
        scan(str(tmp_path), ReaderOptions())


def test_one_of_several_acquisitions(tmp_path: Path) -> None:
    both = ({"path": "0", "acquisition": 1}, {"path": "1", "acquisition": 2})
    url = write_plate(tmp_path / "p.zarr", draw(2, 8, 9), axes="cyx", images=both)
    for number, path in ((1, "0"), (2, "1")):
        images = scan(url, ReaderOptions(acquisition=number)).images
        assert set(images["field"]) == {path}
        assert images["url"].str.contains(f"/B/3/{path}/").all()
    with pytest.raises(InputError, match=r"several acquisitions \(1, 2\).*Set 'acquisition'"):
        scan(url, ReaderOptions())
    with pytest.raises(InputError, match="no well has the acquisition 3"):
        scan(url, ReaderOptions(acquisition=3))
