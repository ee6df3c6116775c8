"""What files hold, by channel, focal plane and time: every plane is the one that was written."""

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from i2r.errors import FieldError, InputError
from i2r.readers import ReaderOptions, Sources
from i2r.readers.contents import read_contents
from i2r.readers.images import read_field, read_plane
from i2r.readers.loaddata import scan as scan_table
from i2r.readers.nucleus_size import propose_pixel_size
from i2r.readers.omefile import scan as scan_file
from i2r.readers.pattern import scan
from i2r.readers.plates import choose_pixel_size

NAMES = ["DAPI", "GFP"]
WELL = r"(?P<well>[A-P]\d\d)"
STACK = np.random.default_rng(0).integers(0, 65000, (2, 3, 2, 6, 7)).astype(np.uint16)  # t z c y x


@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize(
    ("axes", "options"),
    [
        ("TZCYX", {"imagej": True}),
        ("TZCYX", {"photometric": "minisblack"}),
        ("CZTYX", {"photometric": "minisblack", "byteorder": ">"}),
        ("ZCYX", {"imagej": True, "byteorder": ">"}),
        ("TCYX", {"imagej": True}),
        ("CYX", {"imagej": True}),
        ("ZYX", {"imagej": True}),
        ("TYX", {"photometric": "minisblack"}),
    ],
)
def test_every_plane_is_the_one_that_was_written(
    tmp_path: Path, axes: str, options: dict[str, Any], truncate: bool
) -> None:
    """ImageJ's and tifffile's own stacks, in any order, with one directory or many."""
    path = str(tmp_path / "x.tif")
    kept = tuple(slice(None) if axis in axes else 0 for axis in "TZC")
    order = [[a for a in "TZCYX" if a in axes].index(axis) for axis in axes]
    stack = STACK[kept].transpose(order)
    tifffile.imwrite(path, stack, metadata={"axes": axes}, truncate=truncate, **options)
    with tifffile.TiffFile(path) as file:
        assert (len(file.pages) == 1) == truncate
    (series,) = read_contents(path).series
    assert not series.unknown
    assert len(series.planes) == np.prod(stack.shape[:-2])
    for plane in series.planes:
        expected = STACK[plane.time, plane.z, int(plane.channel or 0)]
        np.testing.assert_array_equal(read_plane(path, page=plane.page), expected)
    with pytest.raises(FieldError, match=r"^missing: .*expected page 24"):
        read_plane(path, page=24)


def test_stacks_that_are_cut_are_no_single_planes(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    for options in ({"imagej": True}, {"photometric": "minisblack"}):
        tifffile.imwrite(path, STACK[0, :, 0], metadata={"axes": "ZYX"}, truncate=True, **options)
        path.write_bytes(path.read_bytes()[:-60])
        with pytest.raises(FieldError, match=r"^truncated: "):
            read_contents(str(path))


@pytest.mark.parametrize("axes", ["QQYX", "QZYX", "RZYX"])
def test_axes_of_no_known_meaning_are_named(tmp_path: Path, axes: str) -> None:
    path = str(tmp_path / "x.tif")
    stack = STACK[:, :, 0]
    tifffile.imwrite(path, stack, metadata={"axes": axes}, photometric="minisblack")
    with pytest.raises(FieldError, match=rf"^ambiguous: .*axes {axes[0]} 2, {axes[1]} 3"):
        read_contents(path)


@pytest.mark.parametrize("axes", ["TZCYX", "CZTYX", "ZCTYX"])
def test_ome_tiff(tmp_path: Path, axes: str) -> None:
    path = str(tmp_path / "x.ome.tif")
    stack = STACK.transpose(["TZCYX".index(axis) for axis in axes])
    about = {"axes": axes, "Channel": {"Name": NAMES}, "PhysicalSizeX": 325}
    tifffile.imwrite(path, stack, metadata={**about, "PhysicalSizeXUnit": "nm"})
    (series,) = read_contents(path).series
    assert series.pixel_size_um == pytest.approx(0.325)
    assert len(series.planes) == 12
    for plane in series.planes:
        expected = STACK[plane.time, plane.z, NAMES.index(plane.channel)]
        np.testing.assert_array_equal(read_plane(path, page=plane.page), expected)


def write_set(folder: Path, *, companion: bool) -> None:
    """Write one file per channel; one OME-XML says which is which."""
    blocks = "".join(
        f'<TiffData FirstC="{c}" FirstZ="0" FirstT="0" IFD="0" PlaneCount="1">'
        f'<UUID FileName="A01_{c}.ome.tif">urn:uuid:{c}</UUID></TiffData>'
        for c in (0, 1)
    )
    channels = "".join(f'<Channel ID="Channel:0:{c}" Name="{NAMES[c]}"/>' for c in (0, 1))
    whole = (
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="7" '
        f'SizeY="6" SizeC="2" SizeZ="1" SizeT="1" PhysicalSizeX="0.5">{channels}{blocks}</Pixels>'
        "</Image>"
    )
    ome = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{}">{}</OME>'
    )
    for c in (0, 1):
        only = f'<BinaryOnly MetadataFile="x.companion.ome" UUID="urn:uuid:{c}"/>'
        text = ome.format(c, only if companion else whole)
        tifffile.imwrite(
            folder / f"A01_{c}.ome.tif", STACK[0, 0, c], description=text, metadata=None
        )
    if companion:
        (folder / "x.companion.ome").write_text(ome.format("meta", whole))


@pytest.mark.parametrize("companion", [False, True])
def test_sets_of_ome_tiffs_give_each_file_its_own_planes(tmp_path: Path, companion: bool) -> None:
    write_set(tmp_path, companion=companion)
    images = scan(str(tmp_path), ReaderOptions(pattern=WELL)).images
    assert images["channel"].tolist() == NAMES
    assert images["page"].tolist() == [0, 0]
    assert images["pixel_size_um"].tolist() == [0.5, 0.5]
    for c, row in enumerate(images.itertuples()):
        np.testing.assert_array_equal(read_plane(row.url, page=row.page), STACK[0, 0, c])


def test_an_ome_tiff_with_another_name_is_itself(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK[0, :, 0], metadata={"axes": "ZYX"})
    (tmp_path / "a.ome.tif").rename(tmp_path / "b.ome.tif")
    assert len(read_contents(str(tmp_path / "b.ome.tif")).series[0].planes) == 3


def save(folder: Path, name: str, axes: str, **options: Any) -> None:
    """Write a stack (c, y, x), (z, y, x) and so on under a name."""
    kept = tuple(slice(None) if axis in axes else 0 for axis in "TZC")
    about = {"axes": axes, **({"Channel": {"Name": NAMES}} if "C" in axes else {})}
    tifffile.imwrite(
        folder / name, STACK[kept], metadata=about, photometric="minisblack", **options
    )


def look(folder: Path, pattern: str = WELL, **options: Any) -> Sources:
    return scan(str(folder), ReaderOptions(pattern=pattern, **options))


def test_channels_of_a_file_are_channels_by_name_or_number(tmp_path: Path) -> None:
    for well in ("A01", "A02"):
        save(tmp_path, f"{well}.ome.tif", "CYX")
    images, notes = look(tmp_path)
    assert images["channel"].tolist() == NAMES * 2
    assert "2 files hold 2 channels (DAPI, GFP)" in notes
    for key in ("GFP", "1"):
        chosen = look(tmp_path, channels={key: "x"}).images
        assert chosen["channel"].tolist() == ["x", "x"]
        np.testing.assert_array_equal(
            read_field(chosen[:1].itertuples(), channels=["x"]).image[0], STACK[0, 0, 1]
        )
    with pytest.raises(InputError, match=r"'2' .* found 'DAPI', 'GFP'"):
        look(tmp_path, channels={"2": "x"})


def test_focal_planes_and_times_are_chosen_by_number(tmp_path: Path) -> None:
    save(tmp_path, "A01.ome.tif", "TZCYX")
    with pytest.raises(InputError, match=r"2 channels .*, 3 focal planes, 2 time points.*'time'"):
        look(tmp_path)
    with pytest.raises(InputError, match="3 focal planes"):
        look(tmp_path, time=1)
    with pytest.raises(InputError, match="expected 2"):
        look(tmp_path, time=2)
    rows = look(tmp_path, time=1, z=2).images
    field = read_field(rows.itertuples(), channels=NAMES).image
    np.testing.assert_array_equal(field, STACK[1, 2])
    rows = look(tmp_path, time=0, z="max").images
    field = read_field(rows.itertuples(), channels=NAMES).image
    np.testing.assert_array_equal(field, STACK[0].max(axis=0))


@pytest.mark.parametrize(
    ("meaning", "channels"), [("channel", ["0", "1", "2"]), ("z", ["channel"])]
)
def test_pages_that_nothing_describes_are_what_the_user_says(
    tmp_path: Path, meaning: Any, channels: list[str]
) -> None:
    for well in ("A01", "A02"):
        tifffile.imwrite(
            tmp_path / f"{well}.tif", STACK[0, :, 0], metadata=None, photometric="minisblack"
        )
    with pytest.raises(InputError, match=r"A01.tif has 3 pages.*\n.*A02.tif has 3 pages"):
        look(tmp_path)
    images = look(tmp_path, pages=meaning, z="max").images
    assert sorted(set(images["channel"])) == channels
    if meaning == "channel":
        field = read_field(images[:3].itertuples(), channels=channels).image
        np.testing.assert_array_equal(field, STACK[0, :, 0])
    else:
        times = look(tmp_path, pages="time", time=2).images
        np.testing.assert_array_equal(read_plane(times["url"][0], page=2), STACK[0, 2, 0])


def test_names_and_files_that_disagree_are_refused(tmp_path: Path) -> None:
    save(tmp_path, "A01_w1.ome.tif", "CYX")
    with pytest.raises(InputError, match=r"A01_w1.ome.tif holds 2 channels .* channel '1'"):
        look(tmp_path, WELL + r"_w(?P<channel>\d)")
    save(tmp_path, "A01_z2.tif", "ZYX")
    with pytest.raises(InputError, match=r"A01_z2.tif holds 3 focal planes.* focal plane 2"):
        look(tmp_path, WELL + r"_z(?P<z>\d)", z="max")


def test_one_odd_file_costs_one_field(tmp_path: Path) -> None:
    """Each file is looked at: an odd one has a problem, and the others stay what they are."""
    for well in ("A01", "A02", "A03"):
        save(tmp_path, f"{well}.ome.tif", "CYX" if well != "A02" else "TCYX")
    images, notes = look(tmp_path)
    odd = images[images["problem"] != ""]
    assert set(odd["well"]) == {"A02"}
    assert odd["channel"].tolist() == NAMES
    assert any("fields of 1 file will be excluded" in note for note in notes)
    with pytest.raises(FieldError, match=r"^ambiguous: .*2 time points"):
        read_field(odd.itertuples(), channels=NAMES)


def test_files_that_are_gone_are_expected_to_be_like_the_others(tmp_path: Path) -> None:
    for well in ("A01", "A02"):
        save(tmp_path, f"{well}.ome.tif", "CYX")
    (tmp_path / "A02.ome.tif").write_bytes(b"cut")
    images = look(tmp_path).images
    assert images["channel"].tolist() == NAMES * 2
    assert images["dtype"].tolist() == ["uint16", "uint16", "", ""]


def test_any_number_after_the_last_page_is_none_to_come(tmp_path: Path) -> None:
    for well in ("A01", "A02"):
        path = tmp_path / f"{well}.tif"
        tifffile.imwrite(path, STACK[0, 0, 0], metadata=None)
        with tifffile.TiffFile(path) as file:
            directory = file.pages[0].offset
        with path.open("r+b") as raw:
            raw.seek(directory)
            (count,) = struct.unpack("<H", raw.read(2))
            raw.seek(directory + 2 + 12 * count)
            raw.write(b"\xcd\xcd\xcd\xcd")
    images = look(tmp_path).images
    assert len(images) == 2
    assert (images["dtype"] != "").all()
    field = read_field(images[images["well"] == "A02"].itertuples(), channels=["channel"]).image
    np.testing.assert_array_equal(field[0], STACK[0, 0, 0])


@pytest.mark.parametrize("is_ome", [True, False])
def test_a_file_whose_last_pages_are_cut_off_is_not_one_of_fewer_planes(
    tmp_path: Path, is_ome: bool
) -> None:
    for well in ("A01", "A02", "A03"):
        if is_ome:
            save(tmp_path, f"{well}.ome.tif", "CYX")
        else:
            tifffile.imwrite(
                tmp_path / f"{well}.tif", STACK[0, :, 0], metadata=None, photometric="minisblack"
            )
    cut = next(tmp_path.glob("A02*"))
    with tifffile.TiffFile(cut) as file:
        second = file.pages[1].offset
    cut.write_bytes(cut.read_bytes()[:second])
    images = look(tmp_path, z="refuse" if is_ome else "max").images
    assert set(images[images["dtype"] == ""]["well"]) == {"A02"}
    assert images.groupby("well").size().tolist() == [len(images) // 3] * 3
    with pytest.raises(FieldError, match=r"^truncated: .*A02.* can't be decoded"):
        read_field(images[images["well"] == "A02"].itertuples(), channels=sorted({*images.channel}))


def test_mixed_numbers_of_pages(tmp_path: Path) -> None:
    """Each file has as many focal planes as it has: the first decides for none."""
    tifffile.imwrite(tmp_path / "A01.tif", STACK[0, 0, 0], metadata=None)
    for well in ("A02", "A03"):
        path = tmp_path / f"{well}.tif"
        tifffile.imwrite(path, STACK[0, :, 0], metadata=None, photometric="minisblack")
    images, notes = look(tmp_path, z="max")
    assert images["well"].tolist() == ["A01", *["A02"] * 3, *["A03"] * 3]
    assert any("A01" in note and "1 focal planes, most have" in note for note in notes)


def test_frames_and_series_of_a_table(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "A01.tif", STACK[0, :, 0], metadata=None, photometric="minisblack")
    with tifffile.TiffWriter(tmp_path / "B.ome.tif", ome=True) as writer:
        writer.write(STACK[0, 0], metadata={"axes": "CYX"}, photometric="minisblack")
        writer.write(STACK[1, 1], metadata={"axes": "CYX"}, photometric="minisblack")
    columns = "FileName_A,Frame_A,Series_A,FileName_B,Frame_B,Series_B,Metadata_Well\n"
    table = tmp_path / "load_data.csv"
    table.write_text(columns + "A01.tif,2,0,B.ome.tif,1,1,A01\n")
    rows = scan_table(str(table), ReaderOptions()).images
    field = read_field(rows.itertuples(), channels=["A", "B"]).image
    np.testing.assert_array_equal(field, [STACK[0, 2, 0], STACK[1, 1, 1]])
    for wrong, message in (("A01.tif,3,0,B.ome.tif,1,1,A01", "3 planes, expected plane 3"),
                           ("A01.tif,2,0,B.ome.tif,1,2,A01", "2 images, expected image 2"),
                           ("A01.tif,2,0,B.ome.tif,,,A01", "2 images, expected one"),
                           ("A01.tif,x,0,B.ome.tif,1,1,A01", "'x', expected a number")):  # fmt: skip
        table.write_text(columns + wrong + "\n")
        with pytest.raises(InputError, match=message):
            scan_table(str(table), ReaderOptions())


def test_white_is_zero_is_turned_kept_or_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "A01.tif", STACK[0, 0, 0], photometric="miniswhite")
    images, notes = look(tmp_path)
    assert any("1 file says that 0 is white" in note for note in notes)
    field = read_field(images.itertuples(), channels=["channel"]).image[0]
    np.testing.assert_array_equal(field, 65535 - STACK[0, 0, 0])
    kept = look(tmp_path, white_is_zero="keep").images
    field = read_field(kept.itertuples(), channels=["channel"]).image[0]
    np.testing.assert_array_equal(field, STACK[0, 0, 0])
    with pytest.raises(InputError, match="Set 'white_is_zero'"):
        look(tmp_path, white_is_zero="refuse")


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"imagej": True, "resolution": (2, 2), "metadata": {"unit": "um"}}, 0.5),
        ({"imagej": True, "resolution": (2, 2), "metadata": {"unit": "\\u00B5m"}}, 0.5),
        ({"imagej": True, "resolution": (2, 2), "metadata": {"unit": "pixel"}}, 0),
        ({"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}, 0.5),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, 0),
        ({"ome": True, "metadata": {"PhysicalSizeX": 0.5}}, 0.5),
        ({"ome": True, "metadata": {"PhysicalSizeX": 5e-4, "PhysicalSizeXUnit": "mm"}}, 0.5),
        ({"ome": True, "metadata": {"PhysicalSizeX": 1, "PhysicalSizeXUnit": "pixel"}}, 0),
    ],
)  # fmt: skip
def test_pixel_sizes_of_tiffs(tmp_path: Path, options: dict[str, Any], size: float) -> None:
    tifffile.imwrite(tmp_path / "A01.tif", STACK[0, 0, 0], **options)
    assert look(tmp_path).images["pixel_size_um"].tolist() == pytest.approx([size])


@pytest.mark.parametrize(
    "options",
    [
        {"imagej": True},
        {"imagej": True, "truncate": True},
        {"metadata": None, "compression": "lzw"},
    ],
)
def test_planes_of_a_file_that_is_cut_are_read_where_they_are_whole(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    planes = np.random.default_rng(0).integers(0, 60000, (4, 64, 64)).astype(np.uint16)
    for well in ("A01", "A02", "A03"):
        about = {"photometric": "minisblack", "metadata": {"axes": "ZYX"}, **options}
        tifffile.imwrite(tmp_path / f"{well}.tif", planes, **about)
    cut = tmp_path / "A02.tif"
    with tifffile.TiffFile(cut) as file:
        # The last plane is not all there.
        end = file.pages[3].offset + 40 if len(file.pages) == 4 else cut.stat().st_size - 60
    cut.write_bytes(cut.read_bytes()[:end])
    pages = {} if "imagej" in options else {"pages": "z"}
    for z, is_whole in ((0, True), (3, False)):
        images, notes = look(tmp_path, z=z, **pages)
        assert (images["dtype"] != "").tolist() == [True, is_whole, True]
        rows = images[images["well"] == "A02"].itertuples()
        if is_whole:
            read = read_field(rows, channels=["channel"]).image[0]
            np.testing.assert_array_equal(read, planes[z])
        else:
            with pytest.raises(FieldError, match=r"^truncated: "):
                read_field(rows, channels=["channel"])
        assert any("1 file can't be read whole, for example: " in note for note in notes)
    whole = look(tmp_path, z="max", **pages).images
    assert whole[whole["dtype"] == ""]["well"].unique().tolist() == ["A02"]


def test_a_cut_file_that_says_that_0_is_white_is_turned_too(tmp_path: Path) -> None:
    for well in ("A01", "A02", "A03"):
        tifffile.imwrite(
            tmp_path / f"{well}.tif", STACK[0, :, 0], photometric="miniswhite", metadata=None,
            compression="zlib",
        )  # fmt: skip
    cut = tmp_path / "A02.tif"
    with tifffile.TiffFile(cut) as file:
        cut.write_bytes(cut.read_bytes()[: file.pages[2].offset + 4])
    images = look(tmp_path, z=0, pages="z").images
    assert images["inverted"].tolist() == [True] * 3


@pytest.mark.parametrize("n_without", [1, 3])
def test_a_companion_that_is_gone_is_named(tmp_path: Path, n_without: int) -> None:
    """A file of its set can't be read without it: it costs that file, or all of them."""
    for number in range(3):
        text = (
            '<OME UUID="urn:1"><BinaryOnly MetadataFile="plate.companion.ome" UUID="urn:c"/></OME>'
        )
        is_one = number < n_without
        tifffile.imwrite(
            tmp_path / f"A0{number + 1}.ome.tif", STACK[0, 0, 0],
            **({"description": text, "metadata": None} if is_one else {}),
        )  # fmt: skip
    said = r"plate.companion.ome has the OME-XML of the images beside it, but there is no such file"
    if n_without == 3:
        with pytest.raises(InputError, match=said) as raised:
            look(tmp_path)
        assert str(raised.value).count("\n") == 0
        with pytest.raises(InputError, match=said):
            scan_file(str(tmp_path / "A01.ome.tif"), ReaderOptions())
        return
    images, notes = look(tmp_path)
    assert images["problem"].str.contains("plate.companion.ome").tolist() == [True, False, False]
    assert any(re.search(f"fields of 1 file will be excluded.*{said}", note) for note in notes)


def test_a_file_may_have_the_description_of_the_others(tmp_path: Path) -> None:
    """The first file of a set stands for a companion; each file has its own planes by it."""
    write_set(tmp_path, companion=False)
    only = (
        '<OME UUID="urn:uuid:1"><BinaryOnly MetadataFile="A01_0.ome.tif" UUID="urn:uuid:0"/></OME>'
    )
    path = tmp_path / "A01_1.ome.tif"
    tifffile.imwrite(path, STACK[0, 0, 1], description=only, metadata=None)
    with tifffile.TiffFile(tmp_path / "A01_0.ome.tif") as file:
        text = str(file.pages[0].aspage().description)
    tifffile.tiffcomment(
        tmp_path / "A01_0.ome.tif", re.sub('UUID="urn:uuid:{}"|UUID="urn:uuid:.*?"', 'UUID="urn:uuid:0"', text, count=1).encode()
    )  # fmt: skip
    images = look(tmp_path).images
    assert images["channel"].tolist() == NAMES
    np.testing.assert_array_equal(
        read_field(images.itertuples(), channels=NAMES).image, STACK[0, 0]
    )


def test_files_of_a_set_that_are_gone_are_named(tmp_path: Path) -> None:
    write_set(tmp_path, companion=False)
    assert not any("belongs to a set" in note for note in look(tmp_path).notes)
    assert not any("belongs to a set" in note for note in look(tmp_path, WELL + "_0").notes)
    (tmp_path / "A01_1.ome.tif").unlink()
    notes = look(tmp_path).notes
    assert any(
        "A01_0.ome.tif belongs to a set of 2 files, of which 1 is missing: A01_1.ome.tif" in note
        for note in notes
    )


OBLONG = [
    {"imagej": True, "resolution": (2, 1.9), "metadata": {"unit": "um"}},
    {"resolution": (20000, 19000), "resolutionunit": "CENTIMETER"},
    {"ome": True, "metadata": {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5263}},
]


@pytest.mark.parametrize("options", OBLONG)
def test_pixels_that_are_not_square_have_no_size(tmp_path: Path, options: dict[str, Any]) -> None:
    for well in ("A01", "A02"):
        tifffile.imwrite(tmp_path / f"{well}.tif", STACK[0, 0, 0], **options)
    images = look(tmp_path).images
    assert images["pixel_size_um"].tolist() == [0, 0]
    said = r"A01.tif \(and 1 file more\) says that a pixel is 0.5 um wide and 0.5263 um high"
    with pytest.raises(InputError, match=f"plate 'P': {said}.*set 'pixel_size_um'"):
        choose_pixel_size(images, "P", None)
    size, (doubt,) = choose_pixel_size(images, "P", 0.5)
    assert size == 0.5
    assert re.match(f"WARNING plate 'P': {said}", doubt)
    size, (doubt,) = propose_pixel_size(images, None)
    assert size is None
    assert re.match(f"WARNING {said}", doubt)


def test_a_pixel_is_square_within_rounding(tmp_path: Path) -> None:
    about = {"PhysicalSizeX": 0.65, "PhysicalSizeY": 0.6499}
    tifffile.imwrite(tmp_path / "A01.ome.tif", STACK[0, 0, 0], metadata=about)
    images = look(tmp_path).images
    assert images["pixel_size_um"].tolist() == [0.65]
    assert images["oblong"].tolist() == [""]
