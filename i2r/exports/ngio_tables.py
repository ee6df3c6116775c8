"""Tables inside OME-Zarr plates, as Fractal and ngio define them.

https://fractal-analytics-platform.github.io/ngio/stable/table_specs/overview: a group ``tables``
lists tables; each is a group with its kind and a file, here CSV or Parquet.
"""

import io
from collections.abc import Mapping
from typing import Any

import pandas as pd

from i2r.exports.zarr_writers import ZarrWriter
from i2r.store import files


def write_tables(
    writer: ZarrWriter, url: str, tables: Mapping[str, tuple[pd.DataFrame, dict[str, Any]]]
) -> None:
    """Write tables of an image or of a plate.

    Parameters
    ----------
    writer
        Writes the groups.
    url
        The image or plate.
    tables
        Table and attributes by name: see `describe_conditions`, `describe_features` and
        `describe_places`.
    """
    if not tables:
        return
    writer.write_group(f"{url}/tables", tables=list(tables))
    for name, (table, attributes) in tables.items():
        writer.write_group(f"{url}/tables/{name}", **attributes)
        buffer = io.BytesIO()
        if attributes["backend"] == "parquet":
            table.to_parquet(buffer, index=False)
        else:
            table.to_csv(buffer, index=False)
        files.write_bytes(f"{url}/tables/{name}/table.{attributes['backend']}", buffer.getvalue())


def describe_conditions(table: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Describe a table of what was done to wells."""
    return table, {"type": "condition_table", "table_version": "1", "backend": "csv"}


def describe_features(table: pd.DataFrame, label: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Describe a table with a row per label of a label image, in the column ``label``."""
    return table, {
        "type": "feature_table",
        "table_version": "1",
        "backend": "parquet",
        "region": {"path": f"../labels/{label}"},
        "instance_key": "label",
        "index_key": "label",
        "index_type": "int",
    }


def describe_places(
    names: list[str], corners_um: list[tuple[float, float]], size_um: tuple[float, float]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Describe where fields lie in a fused image: first corner and size (y, x), in microns."""
    table = pd.DataFrame(
        {
            "FieldIndex": names,
            "x_micrometer": [x for _, x in corners_um],
            "y_micrometer": [y for y, _ in corners_um],
            "z_micrometer": 0.0,
            "len_x_micrometer": size_um[1],
            "len_y_micrometer": size_um[0],
            "len_z_micrometer": 1.0,
        }
    )
    return table, {
        "type": "roi_table",
        "table_version": "1",
        "backend": "csv",
        "index_key": "FieldIndex",
        "index_type": "str",
    }
