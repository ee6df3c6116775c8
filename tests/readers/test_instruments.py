"""Names that instruments give: each is read as what it is, and what is ambiguous is asked about."""

import re
from collections.abc import Callable

import pytest

from i2r.readers.instruments import NAMINGS
from i2r.readers.suggestions import explain_wells, suggest_naming
from i2r.types import Well, parse_well

WELLS = (Well(1, 1), Well(1, 2), Well(2, 1))
DYES = ("DAPI", "GFP")
# By instrument: the path of a well, field (from 1) and channel (from 1).
PATHS: dict[str, Callable[[Well, int, int], str]] = {
    "Operetta and Opera Phenix": lambda w, f, c: (
        f"Images/r{w.row:02d}c{w.column:02d}f{f:02d}p01-ch{c}sk1fk1fl1.tiff"
    ),
    "Yokogawa CV7000 and CV8000": lambda w, f, c: (
        f"AssayPlate_P1_{w.name}_T0001F{f:03d}L01A0{c}Z01C0{c}.tif"
    ),
    "ImageXpress": lambda w, f, c: f"P1/P1_{w.name}_s{f}_w{c}.TIF",
    "InCell": lambda w, f, c: f"{w.row_name} - {w.column:02d}(fld {f} wv UV - {DYES[c - 1]}).tif",
    "InCell 7": lambda w, f, c: (
        f"{w.row_name}_{w.column:02d}_f{f}_c{c}_xUV_m{DYES[c - 1]}_z1_t1.tif"
    ),
    "Squid": lambda w, f, c: f"0/{w.name}_{f}_0_Fluorescence_{400 + c}_nm_Ex.tiff",
    "Cellomics": lambda w, f, c: f"MFGTMP-PC_160219170001_{w.name}f{f:02d}d{c - 1}.TIF",
    "ScanR": lambda w, f, c: (
        f"{w.row_name}{w.column}--W{w.column:05d}--P{f:05d}--Z00000--T00000--{DYES[c - 1]}.tif"
    ),
    "Cytation and Gen5": lambda w, f, c: f"{w.row_name}{w.column}_01_{c}_{f}_{DYES[c - 1]}_001.tif",
    "Incucyte": lambda w, f, c: f"VID{c}_{w.row_name}{w.column}_{f}_00d00h00m.tif",
    "Micro-Manager": lambda w, f, c: (
        f"{w.row_name}{w.column}-Site_{f}/img_channel{c:03d}_position{f:03d}_time000000000_z000.tif"
    ),
    "Micro-Manager 1": lambda w, f, c: (
        f"{w.row_name}{w.column}-Site_{f}/img_000000000_{DYES[c - 1]}_000.tif"
    ),
    "Nikon JOBS": lambda w, f, c: (
        f"Well{w.name}_Point{w.name}_{f:04d}_Channel{DYES[c - 1]}_Seq{f:04d}.tif"
    ),
    "Columbus": lambda w, f, c: f"{w.row:03d}{w.column:03d}-{f}-001001{c:03d}.tif",
}


def list_paths(instrument: str) -> list[tuple[Well, int, int, str]]:
    n_channels = 1 if instrument == "Incucyte" else 2
    return [
        (well, field, channel, PATHS[instrument](well, field, channel))
        for well in WELLS
        for field in (1, 2)
        for channel in range(1, n_channels + 1)
    ]


@pytest.mark.parametrize("instrument", PATHS)
def test_every_instruments_names_are_read(instrument: str) -> None:
    planes = list_paths(instrument)
    found = suggest_naming([path for *_, path in planes])
    assert found is not None
    assert found.instrument == instrument
    assert (found.n_read, found.others) == (len(planes), ())
    for well, field, channel, path in planes:
        match = re.search(found.pattern, path)
        assert match is not None
        groups = match.groupdict()
        assert parse_well(groups.get("well") or groups["row"] + groups["column"]) == well
        assert int(groups["field"]) == field
        if instrument == "Squid":
            assert groups["channel"] == f"Fluorescence_{400 + channel}_nm_Ex"
        elif instrument != "Incucyte":
            assert groups["channel"].endswith((str(channel), str(channel - 1), DYES[channel - 1]))


def test_every_naming_has_a_test() -> None:
    assert {naming.instrument for naming in NAMINGS} == set(PATHS)


@pytest.mark.parametrize("instrument", PATHS)
def test_times_are_not_planes_and_a_stray_image_changes_nothing(instrument: str) -> None:
    paths = [path for *_, path in list_paths(instrument)]
    strays = ["DC_DCAM#1_CAM3.tif", "overview.png"][: len(paths) // 6]
    found = suggest_naming([*strays, *paths])
    assert found is not None
    assert found.instrument == instrument
    assert found.others == tuple(strays)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("--W00001--P0000{f}--Z00000--T00000--DAPI.tif", "wells are counted"),
        ("W1F00{f}T0001Z01C1.tif", "wells are counted"),
        ("P1_B02.a1_T0001F00{f}L01A01Z01C01.tif", "B02.a1 is a part of a well"),
        ("EXP_P07_A01_s{f}_w1.png", "P07, A01"),
    ],
)
def test_ambiguous_wells_are_asked_about(name: str, said: str) -> None:
    paths = [name.format(f=field) for field in (1, 2, 3)]
    assert suggest_naming(paths) is None
    assert said in explain_wells(paths)


def test_rows_of_1536_wells_have_two_letters() -> None:
    wells = [Well(row, column) for row in (1, 27, 32) for column in (1, 48)]
    paths = [f"{well.name}_s1_w{channel}.tif" for well in wells for channel in (1, 2)]
    pattern = re.compile(suggest_naming(paths).pattern)
    read = [parse_well(match["well"]) for path in paths if (match := pattern.search(path))]
    assert read == [well for well in wells for _ in (1, 2)]


@pytest.mark.parametrize("text", ["W00001", "P00001", "A0001", "001000", "000001", "0010001"])
def test_counted_wells_are_no_well_names(text: str) -> None:
    with pytest.raises(ValueError, match="well"):
        parse_well(text)


def test_what_stands_before_the_well_may_be_the_plate() -> None:
    paths = [f"PK-{p}B_{w.name}_{dye}.jpg" for p in (10, 12) for w in WELLS for dye in DYES]
    pattern = re.compile(suggest_naming(paths).pattern)
    read = [match["plate"] for path in paths if (match := pattern.search(path))]
    assert read == [path.partition("_")[0] for path in paths]


@pytest.mark.parametrize(
    ("names", "channels"),
    [
        ([f"A - {w:02}(fld 1 wv {dye} wix {n}).tif" for w in (1, 2)
          for n, dye in enumerate(("UV - DAPI", "Blue - FITC"))], ["Blue - FITC", "UV - DAPI"]),
        ([f"A0{w}_fld{f}_wv{c}.tif" for w in (1, 2) for f in (1, 2) for c in (1, 2)], ["1", "2"]),
        ([f"exp_A0{w}_{f}_2024y01m02d_00h00m.tif" for w in (1, 2) for f in (1, 2)], []),
    ],
    ids=["InCell 2200", "IN Carta", "MuviCyte"],
)  # fmt: skip
def test_other_forms_of_instruments_names(names: list[str], channels: list[str]) -> None:
    pattern = suggest_naming(names).pattern
    found = [match.groupdict() for name in names if (match := re.search(pattern, name))]
    assert len(found) == len(names)
    assert sorted({text for groups in found if (text := groups.get("channel"))}) == channels
