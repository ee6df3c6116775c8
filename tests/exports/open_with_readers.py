"""Opens plates with the readers that others use, in an environment without i2r; prints JSON.

``python open_with_readers.py PLATE...`` with ome-zarr, ngio, napari-ome-zarr, ome-zarr-models and
zarr installed. Of every plate and reader it says what was found: SHA-256 of the pixels of one
image, label numbers, tables, conditions.
"""

import hashlib
import json
import sys
import warnings
from typing import Any

import numpy as np
import zarr

warnings.simplefilter("ignore")


def digest(array: Any) -> str:
    """Hash pixels in their own type and order."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def open_with_zarr(plate: str, image: str) -> dict[str, Any]:
    """Read an image's levels, and its labels, with the format of the plate alone."""
    version = 2 if read_version(plate) == "0.4" else 3
    group = zarr.open_group(f"{plate}/{image}", mode="r", zarr_format=version)
    ome = group.attrs.get("ome", group.attrs)
    paths = [level["path"] for level in ome["multiscales"][0]["datasets"]]
    levels = [group[path][:] for path in paths]
    labels = group["labels"]
    named = labels.attrs.get("ome", labels.attrs)["labels"]
    return {
        "pixels": digest(levels[0]),
        "shapes": [list(level.shape) for level in levels],
        "labels": {name: len(np.unique(labels[name]["0"][:])) - 1 for name in named},
    }


def open_with_ome_zarr(plate: str, image: str) -> dict[str, Any]:
    """Read the plate, and one image, with ome-zarr-py."""
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    nodes = list(Reader(parse_url(f"{plate}/{image}", mode="r"))())
    found = nodes[0]
    of_plate = list(Reader(parse_url(plate, mode="r"))())
    return {
        "pixels": digest(found.data[0]),
        "channels": found.metadata["channel_names"],
        "windows": found.metadata["contrast_limits"],
        "labels": sum(1 for node in nodes[1:] if node.data),
        "plate": [list(node.data[-1].shape) for node in of_plate if node.data][:1],
        "plate_overview_bytes": int(of_plate[0].data[-1].nbytes) if of_plate[0].data else 0,
    }


def open_with_ngio(plate: str, image: str) -> dict[str, Any]:
    """Read the plate, one image, its labels and tables with ngio."""
    from ngio import open_ome_zarr_container, open_ome_zarr_plate

    opened = open_ome_zarr_plate(plate, mode="r")
    container = open_ome_zarr_container(f"{plate}/{image}", mode="r")
    found = {
        "pixels": digest(container.get_image(path="0").get_as_numpy()),
        "wells": len(opened.wells_paths()),
        "rows": len(opened.rows),
        "columns": len(opened.columns),
        "levels": container.level_paths,
        "channels": container.channel_labels,
        "labels": container.list_labels(),
        "label_numbers": {
            name: len(np.unique(container.get_label(name, path="0").get_as_numpy())) - 1
            for name in container.list_labels()
        },
    }
    if "condition" not in opened.list_tables():
        return found
    conditions = opened.get_condition_table("condition").dataframe
    names = container.list_tables()
    tables = {name: container.get_table(name) for name in names}
    features = {n: t for n, t in tables.items() if t.table_type() == "feature_table"}
    joined = opened.concatenate_image_tables("condition").dataframe
    return found | {
        "tables": {
            name: {
                "rows": len(table.dataframe),
                "columns": len(table.dataframe.columns),
                "labels": table.reference_label,
            }
            for name, table in features.items()
        },
        "nuclei": len(opened.concatenate_image_tables(next(iter(features))).dataframe),
        "rois": len(tables["FOV_ROI_table"].rois()) if "FOV_ROI_table" in names else 0,
        "conditions": conditions["perturbation"].tolist(),
        "paths": conditions["path"].tolist(),
        "joined": sorted(joined["perturbation"].tolist()),
    }


def open_with_napari(plate: str, image: str) -> dict[str, Any]:
    """Read the plate, and one image, as napari's plugin does; no window is opened."""
    from napari_ome_zarr import napari_get_reader

    layers = napari_get_reader(f"{plate}/{image}")(f"{plate}/{image}")
    data, metadata, _ = layers[0]
    of_plate = napari_get_reader(plate)(plate)
    lowest = of_plate[0][0][-1]
    return {
        "pixels": digest(data[0]),
        "kinds": [layer[2] for layer in layers],
        "names": metadata["name"],
        "limits": metadata["contrast_limits"],
        "plate_kinds": [layer[2] for layer in of_plate],
        "plate_levels": [list(level.shape) for level in of_plate[0][0]],
        "plate_overview_bytes": int(lowest.nbytes),
        "plate_overview": digest(lowest.compute()),
    }


def open_with_models(plate: str, image: str) -> dict[str, Any]:
    """Validate every group with ome-zarr-models."""
    if read_version(plate) == "0.4":
        from ome_zarr_models.v04.hcs import HCS
        from ome_zarr_models.v04.image import Image
        from ome_zarr_models.v04.image_label import ImageLabel
    else:
        from ome_zarr_models.v05.hcs import HCS
        from ome_zarr_models.v05.image import Image
        from ome_zarr_models.v05.image_label import ImageLabel

    hcs = HCS.from_zarr(zarr.open_group(plate, mode="r"))
    wells = list(hcs.well_groups)
    found = Image.from_zarr(zarr.open_group(f"{plate}/{image}", mode="r"))
    labels = zarr.open_group(f"{plate}/{image}/labels", mode="r")
    label = labels.attrs.get("ome", labels.attrs)["labels"][0]
    ImageLabel.from_zarr(zarr.open_group(f"{plate}/{image}/labels/{label}", mode="r"))
    levels = len(found.ome_attributes.multiscales[0].datasets)
    return {"wells": len(wells), "label": label, "levels": levels}


def read_version(plate: str) -> str:
    """Tell 0.4 from 0.5."""
    attributes = zarr.open_group(plate, mode="r").attrs
    return "0.5" if "ome" in attributes else str(attributes["plate"]["version"])


def find_image(plate: str) -> str:
    """Name the first image of the first well."""
    group = zarr.open_group(plate, mode="r")
    well = group.attrs.get("ome", group.attrs)["plate"]["wells"][0]["path"]
    of_well = group[well].attrs
    first = of_well.get("ome", of_well)["well"]["images"][0]["path"]
    return f"{well}/{first}"


READERS = {
    "zarr": open_with_zarr,
    "ome-zarr": open_with_ome_zarr,
    "ngio": open_with_ngio,
    "napari-ome-zarr": open_with_napari,
    "ome-zarr-models": open_with_models,
}


def main() -> None:
    """Open every plate with every reader."""
    results: dict[str, dict[str, Any]] = {}
    for plate in sys.argv[1:]:
        image = find_image(plate)
        results[plate] = {}
        for name, reader in READERS.items():
            try:
                results[plate][name] = reader(plate, image)
            except Exception as error:  # whatever a reader of others raises is its answer
                results[plate][name] = {"error": f"{type(error).__name__}: {error}"[:600]}
    print("RESULTS " + json.dumps(results))


if __name__ == "__main__":
    main()
