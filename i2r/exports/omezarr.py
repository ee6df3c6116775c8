"""Plates as OME-Zarr 0.4 or 0.5 for viewers: halves of halves, fused wells, labels and tables."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from i2r.errors import InputError
from i2r.exports import written_whole
from i2r.exports.ngio_tables import (
    describe_conditions,
    describe_features,
    describe_places,
    write_tables,
)
from i2r.exports.profiles import IDENTITY, find_segmentation, list_features
from i2r.exports.well_images import (
    FieldInfo,
    Slots,
    WellImage,
    fuse_fields,
    join_windows,
    place_fields,
    read_fields,
    read_info,
)
from i2r.exports.zarr_writers import Zarr2Writer, Zarr3Writer, ZarrWriter
from i2r.store import files, ngff, tables
from i2r.store.catalog import quote_name, well_path
from i2r.store.crops import OF_IMAGES
from i2r.store.experiment import Experiment
from i2r.store.images import halve, shrink_image, shrink_labels
from i2r.store.plate import Plate
from i2r.types import parse_well

Version = Literal["0.4", "0.5"]
WellImages = Literal["fused", "fields"]
# Wells written at once; each holds a fused image with its levels.
_THREADS = 4
_WRITERS: dict[Version, Callable[[], ZarrWriter]] = {"0.4": Zarr2Writer, "0.5": Zarr3Writer}


class Exported(NamedTuple):
    """What was written: plates, wells, images, and what the user should know."""

    plates: int
    wells: int
    images: int
    notes: list[str]


class _PlateExport(NamedTuple):
    """What the wells of one plate have in common."""

    experiment: Experiment
    writer: ZarrWriter
    url: str
    labels: list[str]
    features: dict[str, str]
    windows: list[tuple[float, float]]
    slots: Slots | None


def write_omezarr(
    experiment: Experiment,
    target: Path,
    *,
    ngff_version: Version = "0.5",
    well_images: WellImages = "fields",
    wells: Sequence[str] = (),
) -> Exported:
    """Write the images of an experiment as OME-Zarr plates, with labels and tables.

    Pixels and labels are those of the experiment. Every level is half of the one before, down to
    256 pixels. Channels have the same contrast in all wells of a plate. Each plate has a table
    ``condition`` (also each image, of its own well), and each image a table of features per stage
    that measured nuclei.

    Parameters
    ----------
    experiment
        The experiment.
    target
        A folder, which gets ``PLATE.ome.zarr`` of each plate; or, if its name ends in ``.zarr``,
        the only plate itself. It is there only when it is complete.
    ngff_version
        0.4 is on Zarr 2, 0.5 on Zarr 3.
    well_images
        ``fields`` keeps an image per field; ``fused`` puts the fields of a well into one image,
        at their positions where the plate's metadata has them, else side by side.
    wells
        ``B03``, or ``PLATE/B03``; none takes all.

    Raises
    ------
    InputError
        If nothing was converted, a well isn't there, or several plates should become one.
    """
    chosen = choose_wells(experiment, wells)
    if target.suffix == ".zarr" and len(chosen) > 1:
        raise InputError(
            f"{target}: {len(chosen)} plates are to be written ({', '.join(list(chosen)[:3])}), "
            "expected one under a name that ends in .zarr. Name a folder, or choose --wells."
        )
    total, notes = Exported(0, 0, 0, []), list[str]()
    with written_whole(target) as partial_target:
        for plate, keys in chosen.items():
            url = str(partial_target.absolute())
            if target.suffix != ".zarr":
                url = files.join_url(url, f"{quote_name(plate)}.ome.zarr")
            n_images, said = _write_plate(
                experiment,
                experiment.plates[plate],
                keys,
                url=url,
                writer=_WRITERS[ngff_version](),
                fused=well_images == "fused",
            )
            notes += said
            total = Exported(
                total.plates + 1, total.wells + len(keys), total.images + n_images, notes
            )
    return total


def check_target(target: Path) -> None:
    """Refuse a place that holds anything but OME-Zarr: it would be deleted.

    Raises
    ------
    InputError
        If something else is there.
    """
    if not target.exists():
        return
    names = os.listdir(target) if target.is_dir() else [target.name]
    is_plate = any(name in names for name in ("zarr.json", ".zgroup"))
    others = [name for name in names if not name.endswith(".zarr")]
    if not target.is_dir() or (others and not is_plate):
        raise InputError(
            f"{target}: found {others[0] if others else 'a file'}, expected nothing or plates of "
            "OME-Zarr. Name another folder."
        )


def choose_wells(experiment: Experiment, wells: Sequence[str]) -> dict[str, list[str]]:
    """List the keys of converted wells by plate."""
    converted = [key for key in experiment.ledger.done_keys("convert") if key in experiment.wells]
    if not converted:
        raise InputError(f"{experiment.url}: no converted images here. Run 'convert' first.")
    wanted = None if not wells else set[str]()
    for text in wells:
        plate, _, name = text.rpartition("/")
        try:
            well = parse_well(name).name
        except ValueError as error:
            raise InputError(f"--wells {text!r}: {error}.") from error
        found = [
            key
            for key in converted
            if experiment.wells[key].well == well and plate in ("", experiment.wells[key].plate)
        ]
        if not found:
            raise InputError(
                f"--wells {text!r}: no such converted well, expected one such as {converted[0]}. "
                "Correct it."
            )
        assert wanted is not None
        wanted |= set(found)
    chosen: dict[str, list[str]] = {}
    for key in experiment.well_keys:
        if key in converted and (wanted is None or key in wanted) and _fields(experiment, key):
            chosen.setdefault(experiment.wells[key].plate, []).append(key)
    return chosen


def _fields(experiment: Experiment, key: str) -> list[str]:
    return experiment.fields(key, ["convert"])


def _write_plate(
    experiment: Experiment,
    plate: Plate,
    keys: list[str],
    *,
    url: str,
    writer: ZarrWriter,
    fused: bool,
) -> tuple[int, list[str]]:
    """Write one plate; returns the number of images, and notes."""
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        places = [(key, field) for key in keys for field in _fields(experiment, key)]
        infos = dict(
            zip(places, pool.map(lambda at: read_info(experiment, *at), places), strict=True)
        )
        slots = notes = None
        if fused:
            slots = place_fields(infos, shape=plate.shape[1:], pixel_size_um=plate.pixel_size_um)
            if slots.origin_um is None and len({field for _, field in places}) > 1:
                notes = f"plate {plate.name!r}: fields lie side by side, no positions are known"
        labels = _find_labels(experiment, keys)
        export = _PlateExport(
            experiment,
            writer,
            url,
            labels,
            _find_features(experiment, labels),
            join_windows(list(infos.values())),
            slots,
        )
        by_well: dict[str, dict[str, FieldInfo]] = {key: {} for key in keys}
        for (key, field), info in infos.items():
            by_well[key][field] = info
        counts = list(pool.map(partial(_write_well, export), keys, by_well.values()))
    rows = sorted({well_path(experiment.wells[key].well)[0] for key in keys})
    for row in rows:
        writer.write_group(files.join_url(url, row))
    write_tables(writer, url, {"condition": describe_conditions(list_conditions(experiment, keys))})
    wells = [parse_well(experiment.wells[key].well) for key in keys]
    document = ngff.plate_document(
        plate.name, wells, field_count=max(counts), size=plate.format_size
    )
    writer.write_group(url, document["attributes"]["ome"])
    return sum(counts), [notes] if notes else []


def _find_labels(experiment: Experiment, keys: Sequence[str]) -> list[str]:
    """Name the stages that labelled some of these wells."""
    ledger = experiment.ledger
    return [
        stage
        for stage in ledger.stages
        if any(ledger.report(stage, key).wrote == "labels" for key in keys)
    ]


def _find_features(experiment: Experiment, labels: Sequence[str]) -> dict[str, str]:
    """Name the stages with a table of nuclei, and whose labels those are."""
    found = {name: find_segmentation(experiment, name) for name in list_features(experiment)}
    return {name: label for name, label in found.items() if label in labels}


def list_conditions(experiment: Experiment, keys: Sequence[str]) -> pd.DataFrame:
    """Give what the layout says of wells: row, column, path, condition and its own columns."""
    chosen = experiment.layout_by_key.loc[list(keys)]
    wells = [parse_well(str(well)) for well in chosen["well"]]
    table = pd.DataFrame(
        {
            "row": [well.row_name for well in wells],
            "column": [well.column for well in wells],
            "path": [well.path for well in wells],
        }
    )
    for name in chosen.columns:
        if name not in (*OF_IMAGES, *table.columns):
            table[name] = chosen[name].to_numpy()
    return table


def _write_well(export: _PlateExport, key: str, fields: dict[str, FieldInfo]) -> int:
    """Write the images of one well; returns how many."""
    experiment = export.experiment
    plate, well = experiment.locate(key)
    url = files.join_url(export.url, *well_path(well))
    labels = [name for name in export.labels if _has_labels(experiment, key, name, fields)]
    if export.slots is None:
        images = read_fields(experiment, key, fields, labels)
    else:
        images = iter([fuse_fields(experiment, key, list(fields), labels, export.slots)])
    nuclei = {
        name: tables.read_table(part)
        for name, label in export.features.items()
        if label in labels and files.exists(part := experiment.part_url(name, key))
    }
    names = []
    for image in images:
        names.append(image.name)
        _write_image(export, plate, url=f"{url}/{image.name}", image=image)
        described = {"condition": describe_conditions(list_conditions(experiment, [key]))}
        for name, table in nuclei.items():
            label = export.features[name]
            measured = image.select(table, label)
            kept = [c for c in measured if c not in IDENTITY and measured[c].dtype.kind in "iufb"]
            if kept:
                columns = ["label", *(["field"] if export.slots else []), *kept]
                described[name] = describe_features(measured[columns], label)
        if export.slots is not None and image.fields:
            described["FOV_ROI_table"] = _describe_fields(image, plate)
        write_tables(export.writer, f"{url}/{image.name}", described)
    document = ngff.well_document(names)
    export.writer.write_group(url, document["attributes"]["ome"])
    return len(names)


def _has_labels(experiment: Experiment, key: str, name: str, fields: dict[str, FieldInfo]) -> bool:
    """Tell whether each of some fields has labels: a stage may have excluded one."""
    return all(
        files.exists(f"{experiment.image_url(key, field)}/labels/{name}/zarr.json")
        for field in fields
    )


def _write_image(export: _PlateExport, plate: Plate, *, url: str, image: WellImage) -> None:
    """Write one image with its labels, each with halves."""
    shape = (int(image.image.shape[1]), int(image.image.shape[2]))
    factors, tile = halve(shape), (plate.shape[1], plate.shape[2])
    about: dict[str, Any] = {
        "pixel_size_um": plate.pixel_size_um,
        "factors": factors,
        "position_um": image.position_um,
    }
    document = ngff.image_document(
        plate.channels, dtype=image.image.dtype, windows=export.windows, name=image.name, **about
    )
    export.writer.write_levels(url, shrink_image(image.image, factors), tile=tile)
    for name, labels in image.labels.items():
        place = f"{url}/labels/{name}"
        export.writer.write_levels(
            place, [np.ascontiguousarray(p) for p in shrink_labels(labels, factors)], tile=tile
        )
        described = ngff.label_image_document(name=name, **about)
        export.writer.write_group(place, described["attributes"]["ome"])
    if image.labels:
        listed = ngff.labels_document(list(image.labels))
        export.writer.write_group(f"{url}/labels", listed["attributes"]["ome"])
    export.writer.write_group(url, document["attributes"]["ome"])


def _describe_fields(image: WellImage, plate: Plate) -> tuple[pd.DataFrame, dict[str, Any]]:
    pixel = plate.pixel_size_um if plate.pixel_size_um > 0 else 1.0
    corners = [(top * pixel, left * pixel) for _, (top, left), _ in image.fields]
    size = (plate.shape[1] * pixel, plate.shape[2] * pixel)
    return describe_places([name for name, _, _ in image.fields], corners, size)
