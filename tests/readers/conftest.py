"""One small plate, written in the way of each reader."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import tifffile

from i2r.readers import ReaderOptions
from i2r.store import images
from i2r.types import parse_well

Planes = dict[tuple[str, str, str, str], npt.NDArray[np.uint16]]


class Built(NamedTuple):
    """A source on disk and how to read it."""

    source: str
    options: ReaderOptions


def build_pattern(folder: Path, planes: Planes) -> Built:
    """A folder per plate; rows and columns as numbers, as Phenix writes them."""
    for (plate, well, field, channel), plane in planes.items():
        row, column = "ABCDEFGH".index(well[0]) + 1, int(well[1:])
        path = (
            folder / plate / "Images" / f"r{row:02d}c{column:02d}f{int(field):02d}-{channel}.tiff"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, plane, compression="lzw")
    pattern = (
        r"^(?P<plate>[^/]+)/Images/r(?P<row>\d+)c(?P<column>\d+)f(?P<field>\d+)"
        r"-(?P<channel>\w+)\.tiff$"
    )
    return Built(str(folder), ReaderOptions(pattern=pattern))


def build_loaddata(folder: Path, planes: Planes) -> Built:
    """One table, files all over the place, wells without zeros, sites as floats."""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for number, ((plate, well, field, channel), plane) in enumerate(planes.items()):
        path = folder / f"batch{number % 2}" / f"{number}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, plane, compression="zlib")
        row = rows.setdefault((plate, well, field), {})
        row[f"FileName_Orig{channel}"] = path.name
        row[f"PathName_Orig{channel}"] = str(path.parent)
        row["Metadata_Plate"] = plate
        row["Metadata_Well"] = f"{well[0].lower()}{int(well[1:])}"
        row["Metadata_Site"] = f"{field}.0"
    table = folder / "load_data.csv"
    pd.DataFrame(list(rows.values())).to_csv(table, index=False)
    return Built(str(table), ReaderOptions())


def build_samplesheet(folder: Path, planes: Planes) -> Built:
    """One row per file, paths relative to the sheet, rows and columns as numbers."""
    rows = []
    for number, ((plate, well, field, channel), plane) in enumerate(planes.items()):
        path = folder / "files" / f"{number}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, plane)
        row, column = "ABCDEFGH".index(well[0]) + 1, int(well[1:])
        rows.append((channel, f"files/{number}.tif", "lab", "b1", plate, field, row, column))
    sheet = folder / "samplesheet.csv"
    names = ["channel", "path", "source", "batch", "plate", "site", "row", "col"]
    pd.DataFrame(rows, columns=names).to_csv(sheet, index=False)
    return Built(str(sheet), ReaderOptions())


def build_phenix(folder: Path, planes: Planes) -> Built:
    """A measurement per plate, its index in Images, as Harmony exports them."""
    for plate in sorted({key[0] for key in planes}):
        images = folder / f"{plate}__2020-11-08T18_18_00-Measurement 1" / "Images"
        images.mkdir(parents=True)
        entries = []
        for (owner, well, field, channel), plane in planes.items():
            if owner != plate:
                continue
            row, column = "ABCDEFGH".index(well[0]) + 1, int(well[1:])
            number = {"DNA": 1, "GFP": 2}[channel]
            name = f"r{row:02d}c{column:02d}f{int(field):02d}p01-ch{number}sk1fk1fl1.tiff"
            tifffile.imwrite(images / name, plane, compression="lzw")
            entries.append(describe_phenix_image(name, row, column, field, number, channel))
        (images / "Index.idx.xml").write_text(describe_phenix(plate, entries))
    return Built(str(folder), ReaderOptions())


def describe_phenix(plate: str, images: list[str]) -> str:
    """Write an index with what stands around the images."""
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<EvaluationInputData xmlns="http://www.perkinelmer.com/PEHH/HarmonyV5" Version="1">\n'
        f"<User>x</User><Plates><Plate><PlateID>{plate}</PlateID><Name>{plate}</Name>"
        "<PlateRows>16</PlateRows><PlateColumns>24</PlateColumns></Plate></Plates>\n"
        f"<Images>{''.join(images)}</Images></EvaluationInputData>\n"
    )


def describe_phenix_image(
    name: str,
    row: int,
    column: int,
    field: str,
    number: int,
    channel: str,
    *,
    z: int = 1,
    time: int = 0,
    at: tuple[float, float] | None = None,
) -> str:
    """Write one image of an index; where it was taken in metres."""
    place = (
        f'<PositionX Unit="m">{at[0]}</PositionX><PositionY Unit="m">{at[1]}</PositionY>'
        if at
        else ""
    )
    return (
        f'<Image Version="1"><id>{row:02d}{column:02d}K1F{field}P{z}R{number}</id><State>Ok</State>'
        f"<URL>{name}</URL><Row>{row}</Row><Col>{column}</Col><FieldID>{field}</FieldID>"
        f"<PlaneID>{z}</PlaneID><TimepointID>{time}</TimepointID><ChannelID>{number}</ChannelID>"
        f"<ChannelName>{channel}</ChannelName>{place}"
        '<ImageResolutionX Unit="m">5.9799998E-07</ImageResolutionX></Image>\n'
    )


def build_imagexpress(folder: Path, planes: Planes) -> Built:
    """A folder per plate with its .HTD, exported with thumbnails."""
    for (plate, well, field, channel), plane in planes.items():
        number = {"DNA": 1, "GFP": 2}[channel]
        place = folder / f"{plate}_Plate_7" / "TimePoint_1"
        place.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(place / f"{plate}_{well}_s{field}_w{number}.TIF", plane)
        tifffile.imwrite(place / f"{plate}_{well}_s{field}_w{number}_thumb.TIF", plane[:2, :2])
        wells = sorted({key[1] for key in planes if key[0] == plate})
        (place.parent / f"{plate}.HTD").write_text(describe_htd(wells))
    return Built(str(folder), ReaderOptions())


def describe_htd(
    wells: list[str], *, sites: int = 10, waves: tuple[str, ...] = ("DNA", "GFP")
) -> str:
    """Write a .HTD of a 96-well plate with the given wells selected."""
    lines = ['"HTSInfoFile", Version 1.0', '"Description", "x"', '"XWells", 12', '"YWells", 8']
    for row in range(8):
        names = [f"{'ABCDEFGH'[row]}{column + 1:02d}" for column in range(12)]
        chosen = ", ".join("TRUE" if name in wells else "FALSE" for name in names)
        lines.append(f'"WellsSelection{row + 1}", {chosen}')
    lines += ['"Sites", TRUE', f'"XSites", {sites}', '"YSites", 1']
    lines += [f'"SiteSelection1", {", ".join(["TRUE"] * sites)}', f'"NWavelengths", {len(waves)}']
    lines += [f'"WaveName{n}", "{name}"' for n, name in enumerate(waves, start=1)]
    return "\r\n".join([*lines, '"EndFile"', ""])


def build_omezarr(folder: Path, planes: Planes) -> Built:
    """A folder of two plates, as i2r itself writes them."""
    for plate in sorted({key[0] for key in planes}):
        url = f"{folder}/{plate}.ome.zarr"
        places = [key[1:3] for key in planes if key[0] == plate and key[3] == "DNA"]
        wells = sorted({parse_well(well) for well, _ in places})
        images.write_plate(url, name=plate, wells=wells, field_count=2)
        for well in wells:
            fields = [field for name, field in places if name == well.name]
            images.write_well(f"{url}/{well.path}", fields)
            for field in fields:
                image = np.stack([planes[plate, well.name, field, c] for c in ("DNA", "GFP")])
                images.write_image(f"{url}/{well.path}/{field}", image, channels=["DNA", "GFP"])
    return Built(str(folder), ReaderOptions())


def build_omefile(folder: Path, planes: Planes) -> Built:
    """A set of OME-TIFF files, one per field, with their companion."""
    images = []
    for number, place in enumerate(dict.fromkeys(key[:3] for key in planes)):
        pages = np.stack([planes[(*place, channel)] for channel in ("DNA", "GFP")])
        text = f'<OME UUID="urn:{number}"><BinaryOnly MetadataFile="all.companion.ome" UUID="urn:c"/></OME>'
        tifffile.imwrite(folder / f"f{number}.ome.tif", pages, description=text, metadata=None)
        blocks = "".join(
            f'<TiffData IFD="{c}" FirstC="{c}" PlaneCount="1"><UUID FileName="f{number}.ome.tif">'
            f"urn:{number}</UUID></TiffData>"
            for c in (0, 1)
        )
        images.append(
            f'<Image ID="Image:{number}" Name="{" ".join(place)}"><Pixels DimensionOrder="XYCZT" '
            f'SizeC="2" SizeZ="1" SizeT="1" Type="uint16"><Channel Name="DNA"/><Channel Name="GFP"/>'
            f"{blocks}</Pixels></Image>"
        )
    (folder / "all.companion.ome").write_text(f'<OME UUID="urn:c">{"".join(images)}</OME>')
    pattern = r"/(?P<plate>\w+) (?P<well>\w+) (?P<field>\d+)$"
    return Built(str(folder / "all.companion.ome"), ReaderOptions(pattern=pattern))


def build_yokogawa(folder: Path, planes: Planes) -> Built:
    """A measurement per plate, with its list, details and settings."""
    space = 'xmlns:bts="http://www.yokogawa.co.jp/BTS/BTSSchema/1.0"'
    for plate in sorted({key[0] for key in planes}):
        place = folder / f"{plate}_20230918_135839"
        place.mkdir()
        records = []
        for (owner, well, field, channel), plane in planes.items():
            if owner != plate:
                continue
            row, column = "ABCDEFGH".index(well[0]) + 1, int(well[1:])
            number = {"DNA": 1, "GFP": 2}[channel]
            name = f"{plate}_{well}_T0001F{int(field):03d}L01A01Z01C{number:02d}.tif"
            tifffile.imwrite(place / name, plane)
            records.append(
                f'<bts:MeasurementRecord bts:Type="IMG" bts:Row="{row}" bts:Column="{column}" '
                f'bts:FieldIndex="{field}" bts:TimePoint="1" bts:ZIndex="1" bts:Ch="{number}">'
                f"{name}</bts:MeasurementRecord>"
            )
        body = "".join(records)
        (place / "MeasurementData.mlf").write_text(f"<bts:Data {space}>{body}</bts:Data>")
        named = f'<bts:MeasurementSamplePlate bts:Name="{plate}"/>'
        (place / "MeasurementDetail.mrf").write_text(f"<bts:Detail {space}>{named}</bts:Detail>")
        dyes = '<bts:Channel bts:Ch="1" bts:Fluorophore="DNA"/><bts:Channel bts:Ch="2" bts:Fluorophore="GFP"/>'
        (place / "Settings.mes").write_text(f"<bts:Setting {space}>{dyes}</bts:Setting>")
    return Built(str(folder), ReaderOptions())


# Every reader has one, or the test of all readers fails.
BUILDERS: dict[str, Callable[[Path, Planes], Built]] = {
    "imagexpress": build_imagexpress,
    "loaddata": build_loaddata,
    "omefile": build_omefile,
    "omezarr": build_omezarr,
    "pattern": build_pattern,
    "phenix": build_phenix,
    "samplesheet": build_samplesheet,
    "yokogawa": build_yokogawa,
}


@pytest.fixture
def builders() -> dict[str, Callable[[Path, Planes], Built]]:
    """The builder of each reader, by the reader's name."""
    return BUILDERS


@pytest.fixture
def planes() -> Planes:
    """Two plates, three wells, fields 2 and 10, two channels; each plane is another one."""
    rng = np.random.default_rng(7)
    return {
        (plate, well, field, channel): rng.integers(0, 5000, (9, 12)).astype(np.uint16)
        for plate in ("01", "P2")
        for well in ("A01", "B11", "H12")
        for field in ("2", "10")
        for channel in ("DNA", "GFP")
    }
