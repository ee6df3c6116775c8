"""Synthetic plates with planted effects, and digests of experiments: for tests and benchmarks.

Everything is drawn from a seed, so the same call makes the same files.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.errors import DamageError
from i2r.store import files
from i2r.store.arrays import read_array
from i2r.store.tables import read_table
from i2r.types import PLATE_FORMATS, Well

Effect = Literal["intensity", "size", "none"]

PIXEL_SIZE_UM = 1.0
# Nuclei sit on a jittered grid of this pitch, so they neither touch nor leave the field.
PITCH_PX = 24
# What a treated nucleus is multiplied by: plain to see, within the range of real nuclei.
EFFECT_SIZE: Mapping[Effect, float] = {"intensity": 2.5, "size": 1.25, "none": 1.0}


class PlateFiles(NamedTuple):
    """A synthetic plate on disk.

    Attributes
    ----------
    source
        The folder of images, ``P1/B02_s1_DNA.tif`` and so on.
    load_data
        CellProfiler's table of the same images.
    layout
        The layout table.
    pipeline
        A pipeline file that runs every stage of the chain up to the screen on it.
    """

    source: Path
    load_data: Path
    layout: Path
    pipeline: Path


def draw_field(
    seed: int | np.random.SeedSequence,
    *,
    shape: tuple[int, int] = (96, 128),
    channels: int = 1,
    gain: float = 1.0,
    radius_px: float = 8.0,
    occupancy: float = 0.7,
    dtype: npt.DTypeLike = np.uint16,
) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Draw a field of nuclei: smooth ellipses on a dim background, with noise.

    Parameters
    ----------
    seed
        Decides everything that is random.
    shape
        Rows and columns in pixels.
    channels
        How many; all show the same nuclei, each in its own brightness.
    gain
        Brightness of the nuclei in the last channel, relative to the others' wells.
    radius_px
        Mean radius of a nucleus.
    occupancy
        The probability that a place of the grid holds a nucleus; 0 draws background only.
    dtype
        uint8 or uint16.

    Returns
    -------
    ndarray
        Shape (channels, y, x).
    """
    random = np.random.default_rng(seed)
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    image = np.zeros((channels, height, width), dtype=np.float32)
    for centre_y in np.arange(PITCH_PX * 0.75, height - PITCH_PX * 0.5, PITCH_PX):
        for centre_x in np.arange(PITCH_PX * 0.75, width - PITCH_PX * 0.5, PITCH_PX):
            # Drawn for every place, so that occupancy and gain do not move the other nuclei.
            dy, dx, angle, stretch, size, present = random.uniform(-1, 1, 6)
            if (present + 1) / 2 >= occupancy:
                continue
            cosine, sine = np.cos(np.pi * angle), np.sin(np.pi * angle)
            radius = radius_px * (1 + 0.06 * size)
            # Further away it adds less than a grey value in a million million.
            reach = 7 * radius + 2
            near = tuple(
                slice(max(0, int(centre - reach)), int(centre + reach) + 1)
                for centre in (centre_y, centre_x)
            )
            shifted_y, shifted_x = y[near] - centre_y - 1.5 * dy, x[near] - centre_x - 1.5 * dx
            long = (cosine * shifted_x + sine * shifted_y) / (radius * (1 + 0.1 * stretch))
            short = (cosine * shifted_y - sine * shifted_x) / (radius * (1 - 0.1 * stretch))
            # A logistic edge two pixels wide.
            profile = 1 / (1 + np.exp(np.clip(6 * (np.hypot(long, short) - 1), -30, 30)))
            for channel in range(channels):
                image[channel][near] += profile * (1 + 0.2 * channel)
    image[-1] *= gain
    full = np.iinfo(np.dtype(dtype)).max
    noisy = full * (0.02 + 0.15 * image + 0.002 * random.standard_normal(image.shape))
    drawn: npt.NDArray[np.unsignedinteger[Any]] = np.clip(noisy, 0, full).astype(dtype)
    return drawn


def name_wells(number: int, *, plate_format: int = 96) -> list[str]:
    """Name so many wells of a plate, row by row from ``A01``."""
    rows, columns = PLATE_FORMATS[plate_format]
    if number > rows * columns:
        raise ValueError(f"{number} wells, a plate of {plate_format} has {rows * columns}")
    return [Well(i // columns + 1, i % columns + 1).name for i in range(number)]


def write_plate(
    folder: Path,
    *,
    wells: int = 8,
    fields: int = 2,
    channels: Sequence[str] = ("DNA",),
    shape: tuple[int, int] = (96, 128),
    effect: Effect = "intensity",
    seed: int = 0,
    compression: str | None = "lzw",
    plate: str = "P1",
    empty_wells: Sequence[str] = (),
    plate_format: int = 96,
) -> PlateFiles:
    """Write a plate as a microscope would, with its layout and a pipeline that runs it.

    Half of the wells are negative controls; the others hold, by turns, the perturbations
    ``active`` (with the planted effect, in the last channel) and ``inert`` (like the controls).

    Parameters
    ----------
    folder
        Where to write; made where needed.
    wells, fields
        Number of wells, and of fields per well.
    channels
        Names of the channels.
    shape
        Of a field, rows and columns in pixels of one micron.
    effect
        What ``active`` changes: the brightness of nuclei, their size, or nothing.
    seed
        Decides everything that is random.
    compression
        Of the TIFF files; None for none.
    plate
        The plate's name.
    empty_wells
        Wells without any nuclei.
    plate_format
        Wells of the full plate; names are given row by row.

    Returns
    -------
    PlateFiles
        Where everything is.
    """
    import tifffile

    source = folder / "images"
    (source / plate).mkdir(parents=True, exist_ok=True)
    layout, listed = [], []
    factor = EFFECT_SIZE[effect]
    for number, well in enumerate(name_wells(wells, plate_format=plate_format)):
        perturbation = ("control", "active", "control", "inert")[number % 4]
        treated = perturbation == "active"
        role = "negative_control" if perturbation == "control" else "treated"
        layout.append({"plate": plate, "well": well, "perturbation": perturbation, "role": role})
        for field in range(1, fields + 1):
            image = draw_field(
                np.random.SeedSequence(seed, spawn_key=(number, field)),
                shape=shape,
                channels=len(channels),
                gain=factor if treated and effect == "intensity" else 1.0,
                radius_px=8.0 * (factor if treated and effect == "size" else 1.0),
                occupancy=0.0 if well in empty_wells else 0.7,
            )
            row = {"Metadata_Plate": plate, "Metadata_Well": well, "Metadata_Site": str(field)}
            for channel, plane in zip(channels, image, strict=True):
                name = f"{well}_s{field}_{channel}.tif"
                tifffile.imwrite(source / plate / name, plane, compression=compression)
                row[f"FileName_Orig{channel}"] = name
                row[f"PathName_Orig{channel}"] = str(source / plate)
            listed.append(row)
    written = PlateFiles(
        source, folder / "load_data.csv", folder / "layout.csv", folder / "pipeline.yaml"
    )
    _write_csv(written.load_data, listed)
    _write_csv(written.layout, layout)
    content = describe_pipeline(written, channels=channels)
    # JSON is YAML.
    written.pipeline.write_text(json.dumps(content, indent=1))
    return written


def describe_pipeline(
    plate: PlateFiles, *, channels: Sequence[str] = ("DNA",), screen: bool = True
) -> dict[str, Any]:
    """Give a pipeline that fits a synthetic plate, its trainings as short as can be.

    Parameters
    ----------
    plate
        From `write_plate`.
    channels
        The channels that were written: the first is segmented, the last is screened.
    screen
        Whether to train networks; everything before takes milliseconds per well.

    Returns
    -------
    dict
        Plain values for `i2r.pipeline.spec.parse_pipeline` or a YAML file.
    """
    stages: list[dict[str, Any]] = [
        {
            "stage": "convert",
            "source": str(plate.load_data),
            "layout": str(plate.layout),
            "pixel_size_um": PIXEL_SIZE_UM,
        },
        {"stage": "quality"},
        {"stage": "segment", "channel": channels[0]},
        {"stage": "crop", "size_px": 32, "min_area_um2": 60.0},
    ]
    if screen:
        stages.append(
            {
                "stage": "screen",
                "channels": [channels[-1]],
                "n_folds": 2,
                "control_draws": 1,
                "max_steps": 60,
            }
        )
    return {"seed": 0, "stages": stages}


def _write_csv(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def digest_experiment(url: str) -> dict[str, str]:
    """Hash what an experiment says, as decoded values, so that equal results have equal digests.

    Parameters
    ----------
    url
        An experiment, whole or half done.

    Returns
    -------
    dict
        Hash by path inside the experiment: of every Zarr array (shape, type, values, attributes),
        every Zarr group (attributes), every table (columns, types, values) and
        ``experiment.json``. The ledger, the records of runs and reports hold times and are left
        out, and so is how arrays and tables are encoded.
    """
    found = {}
    for file in files.find_files(url, lambda path: not path.startswith(("ledger/", "runs/"))):
        folder, _, name = file.path.rpartition("/")
        if name == "zarr.json":
            found[folder] = _digest_node(f"{url}/{folder}")
        elif name.endswith(".parquet"):
            found[file.path] = _digest_table(f"{url}/{file.path}")
        elif name == "experiment.json":
            found[file.path] = sha256(files.read_bytes(f"{url}/{file.path}")).hexdigest()
    return found


def _digest_node(url: str) -> str:
    """Hash a Zarr array or group; one that can't be read has a digest of its own."""
    try:
        document = json.loads(files.read_bytes(f"{url}/zarr.json"))
    except ValueError:
        return "damaged"
    # Checksums tell of the bytes, not of the values; earlier versions wrote none.
    attributes = {
        k: v
        for k, v in document.get("attributes", {}).items()
        if k != "i2r" or not (isinstance(v, dict) and set(v) == {"crc32c"})
    }
    digest = sha256(json.dumps(attributes, sort_keys=True).encode())
    if document.get("node_type") == "array":
        try:
            array = read_array(url)
        except DamageError:
            return "damaged"
        digest.update(repr((array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _digest_table(url: str) -> str:
    table = read_table(url)
    digest = sha256(repr([(name, str(kind)) for name, kind in table.dtypes.items()]).encode())
    for _, column in table.items():
        digest.update(json.dumps(column.tolist(), default=_as_json).encode())
    return digest.hexdigest()


def _as_json(value: Any) -> object:
    """Write a missing value as null and an array as a list."""
    return None if value is pd.NA else list(value)
