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


# Every reader has one, or the test of all readers fails.
BUILDERS: dict[str, Callable[[Path, Planes], Built]] = {
    "pattern": build_pattern,
    "loaddata": build_loaddata,
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
