"""OME-Zarr of all versions and makers: old axes, big-endian, plates without omero, images alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from i2r.errors import FieldError, InputError
from i2r.readers import ReaderOptions, find_reader
from i2r.readers.images import read_field
from i2r.readers.omezarr import scan

IMAGE = np.random.default_rng(0).integers(1, 60000, (2, 5, 6)).astype(np.uint16)  # c y x


def write_image(
    group: zarr.Group,
    *,
    axes: Any = None,
    version: str = "0.4",
    dtype: str = "<u2",
    omero: bool = False,
    scale: list[float] | None = None,
    leading: int = 2,
    array: np.ndarray = IMAGE,
) -> None:
    """Write an image as (t, c, z, y, x), or with fewer axes."""
    whole = array[None, :, None] if leading == 2 else array
    data = group.create_array(
        "0", shape=whole.shape, chunks=(1,) * (whole.ndim - 2) + (5, 6), dtype=dtype
    )
    data[...] = whole
    dataset: dict[str, Any] = {"path": "0"}
    if scale:
        dataset["coordinateTransformations"] = [{"type": "scale", "scale": scale}]
    multiscale = {"version": version, "datasets": [dataset]}
    if axes is not None:
        multiscale["axes"] = axes
    content: dict[str, Any] = {"multiscales": [multiscale]}
    if omero:
        content["omero"] = {"channels": [{"label": "DNA"}, {"label": "ER"}]}
    group.attrs.update({"ome": content} if version == "0.5" else content)


def write_plate(path: Path, wells: list[str], **options: Any) -> str:
    version = options.get("version", "0.4")
    root = zarr.open_group(path, mode="w", zarr_format=3 if version == "0.5" else 2)

    def describe(group: zarr.Group, content: dict[str, Any]) -> None:
        group.attrs.update({"ome": content} if version == "0.5" else content)

    describe(root, {"plate": {"name": "P1", "wells": [{"path": well} for well in wells]}})
    for well in wells:
        group = root.create_group(well)
        describe(group, {"well": {"images": [{"path": "0"}]}})
        write_image(group.create_group("0"), **options)
    return str(path)


@pytest.mark.parametrize(
    "options",
    [
        {"version": "0.1"},
        {"version": "0.2"},
        {"version": "0.3", "axes": list("tczyx")},
        {"version": "0.3", "axes": list("cyx"), "leading": 1},
        {"version": "0.4", "axes": [{"name": a} for a in "tczyx"]},
        {"version": "0.4", "axes": [{"name": a} for a in "tczyx"], "dtype": ">u2"},
        {"version": "0.4", "axes": [{"name": a} for a in "tczyx"], "dtype": ">i4"},
        {"version": "0.5", "axes": [{"name": a} for a in "cyx"], "leading": 1},
        {"version": "0.5", "axes": [{"name": a} for a in "tczyx"], "dtype": "float32"},
    ],
)
@pytest.mark.parametrize("omero", [False, True])
def test_every_version_gives_the_same_pixels(
    tmp_path: Path, options: dict[str, Any], omero: bool
) -> None:
    images = scan(
        write_plate(tmp_path / "x.zarr", ["A/1"], omero=omero, **options), ReaderOptions()
    )
    channels = ["DNA", "ER"] if omero else ["0", "1"]
    field = read_field(images.images.itertuples(), channels=channels).image
    np.testing.assert_array_equal(field, IMAGE)
    assert field.dtype == np.uint16
    assert field.dtype.isnative


def test_fewer_axes_without_names_are_of_no_version(tmp_path: Path) -> None:
    url = write_plate(tmp_path / "x.zarr", ["A/1"], version="0.2", leading=1)
    with pytest.raises(InputError, match=r"found the axes None of \(2, 5, 6\) \(OME-Zarr 0.2\)"):
        scan(url, ReaderOptions())


@pytest.mark.parametrize(
    ("unit", "size"), [("micrometer", 0.325), ("nanometer", 0.000325), ("millimeter", 0), (None, 0)]
)
def test_the_pixel_size_has_a_unit(tmp_path: Path, unit: str | None, size: float) -> None:
    factor = 1000 if unit == "nanometer" else 1
    axes = [{"name": a, **({"unit": unit} if unit and a in "yx" else {})} for a in "tczyx"]
    scale = [1, 1, 1, 0.325 * factor, 0.325 * factor]
    url = write_plate(tmp_path / "x.zarr", ["A/1"], axes=axes, scale=scale)
    images = scan(url, ReaderOptions()).images
    assert images["pixel_size_um"].tolist() == pytest.approx([size * factor] * 2)


def test_listed_wells_without_images_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    url = write_plate(path, ["A/1"], axes=[{"name": a} for a in "tczyx"], omero=True)
    content = json.loads((path / ".zattrs").read_text())
    content["plate"]["wells"].append({"path": "A/2"})
    (path / ".zattrs").write_text(json.dumps(content))
    images, notes = scan(url, ReaderOptions())
    assert images["well"].tolist() == ["A01", "A01", "A02", "A02"]
    assert images["channel"].tolist() == ["DNA", "ER"] * 2
    assert images["size_bytes"].lt(0).tolist() == [False, False, True, True]
    assert "1 well has no image at all: P1/A02" in notes


def test_a_field_without_its_array_is_missing_by_its_place(tmp_path: Path) -> None:
    url = write_plate(tmp_path / "x.zarr", ["A/1", "A/2"], axes=[{"name": a} for a in "tczyx"])
    shutil.rmtree(tmp_path / "x.zarr" / "A" / "2" / "0" / "0")
    images, notes = scan(url, ReaderOptions())
    gone = images[images["well"] == "A02"]
    assert gone["url"].str.endswith("A/2/0/0/.zarray").all()
    assert not Path(str(gone["url"].iloc[0])).exists()
    assert "missing files: A/2/0/0" in notes
    with pytest.raises(FieldError, match="expected a Zarr array"):
        read_field(gone.itertuples(), channels=["0", "1"])


def test_pixels_that_are_not_square_have_no_size(tmp_path: Path) -> None:
    axes = [{"name": a, "unit": "micrometer"} for a in "tczyx"]
    for height, size in ((0.65, 0), (0.651, 0.65)):
        url = write_plate(
            tmp_path / f"{height}.zarr", ["A/1"], axes=axes,
            scale=[1, 1, 1, height, 0.65 if size else 0.325],
        )  # fmt: skip
        assert scan(url, ReaderOptions()).images["pixel_size_um"].tolist() == [size] * 2


def test_an_axis_is_named_once(tmp_path: Path) -> None:
    url = write_plate(tmp_path / "x.zarr", ["A/1"], axes=[{"name": a} for a in "xccyx"])
    with pytest.raises(InputError, match="found the axes"):
        scan(url, ReaderOptions())


@pytest.mark.parametrize("is_collection", [False, True])
def test_images_without_a_plate_are_read_by_a_pattern(tmp_path: Path, is_collection: bool) -> None:
    for number, well in enumerate(("A01", "B02")):
        group = zarr.open_group(tmp_path / f"{well}.zarr", mode="w", zarr_format=2)
        if is_collection:
            group.attrs["bioformats2raw.layout"] = 3
            group = group.create_group("0")
        write_image(group, axes=[{"name": a} for a in "tczyx"], array=IMAGE + np.uint16(number))
    source = str(tmp_path)
    with pytest.raises(InputError, match=r"found 2 OME-Zarr images without a plate.*Set 'pattern'"):
        find_reader("auto", source)(source, ReaderOptions())
    pattern = r"(?P<well>[A-P]\d\d)\.zarr" + (r"/(?P<field>\d+)" if is_collection else "")
    images = find_reader("auto", source, pattern=pattern)(
        source, ReaderOptions(pattern=pattern)
    ).images
    assert images["well"].tolist() == ["A01", "A01", "B02", "B02"]
    assert set(images["field"]) == {"0" if is_collection else "1"}
    field = read_field(images[2:].itertuples(), channels=["0", "1"]).image
    np.testing.assert_array_equal(field, IMAGE + 1)
    with pytest.raises(InputError, match="matches none of 2 OME-Zarr images"):
        scan(source, ReaderOptions(pattern=r"(?P<well>X\d)"))
    with pytest.raises(InputError, match="holds 2 channels"):
        scan(source, ReaderOptions(pattern=r"(?P<well>A(?P<channel>0)1)"))


def test_a_time_is_chosen_by_number(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    root = zarr.open_group(path, mode="w", zarr_format=2)
    root.attrs["plate"] = {"name": "P1", "wells": [{"path": "A/1"}]}
    well = root.create_group("A/1")
    well.attrs["well"] = {"images": [{"path": "0"}]}
    write_image(well.create_group("0"), axes=list("tyx"), leading=0)
    with pytest.raises(InputError, match="Set 'time' to one of 0 to 1"):
        scan(str(path), ReaderOptions())
    images = scan(str(path), ReaderOptions(time=1)).images
    np.testing.assert_array_equal(read_field(images.itertuples(), channels=["0"]).image, IMAGE[1:])
