"""Chromatin and shape features of the nuclei of a well, field by field."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.errors import I2RError
from i2r.kernels.checks import freeze
from i2r.kernels.chromatin import measure_chromatin
from i2r.kernels.crops import BOX, Stack
from i2r.kernels.moments import measure_hu_moments
from i2r.kernels.neighbourhood import measure_neighbourhood
from i2r.kernels.outlines import measure_outlines
from i2r.kernels.texture import TEXTURE_COLUMNS, measure_texture

PLACE = ["plate", "well", "field", "label", "crop"]
# A column's unit is the end of its name: what it becomes in microns, and the power of the length.
UNITS = (("_per_px2", "_per_um2", -2), ("_per_px", "_per_um", -1), ("_px", "_um", 1))


def measure_features(
    images: Stack,
    labels: Iterable[np.ndarray],
    nuclei: pd.DataFrame,
    crops: pd.DataFrame,
    *,
    fields: Sequence[str],
    channels: Mapping[str, int],
    pixel_size_um: float,
    curvature_step_um: float,
    radius_um: float,
    texture_um: Sequence[float],
) -> pd.DataFrame:
    """Measure the features of every nucleus of a well that has a crop.

    Parameters
    ----------
    images, labels
        Shapes (field, c, y, x) and (field, y, x).
    nuclei
        The well's measured nuclei, with or without a crop: all of them are neighbours.
    crops
        The well's accounts: ``field``, ``label`` and ``crop``, -1 for those without.
    fields
        Names along the first axis.
    channels
        Index of each channel to measure, by name.
    pixel_size_um
        Edge of a pixel.
    curvature_step_um, radius_um, texture_um
        Step of the boundary's curvature, radius of the neighbourhood, distances of the texture.

    Returns
    -------
    DataFrame
        One row per crop, in the order of the crops: plate, well, field, label, crop and float32
        features. Lengths are in microns; features of a channel end in its name, those of texture
        in distance and channel.

    Raises
    ------
    I2RError
        If a nucleus with a crop is not among the labels.
    """
    kept = crops.loc[crops["crop"] >= 0, PLACE]
    nuclei = nuclei.merge(kept[["field", "label", "crop"]], on=["field", "label"], how="left")
    steps = [max(1, round(distance / pixel_size_um)) for distance in texture_um]
    # No nucleus of no field first: it gives the columns their names and types.
    nothing = np.zeros((images.shape[1], 1, 1), images.dtype)
    tables = []
    for field, plane_stack, labelled in chain(
        [(None, nothing, np.zeros((1, 1), np.int32))], zip(fields, images, labels, strict=True)
    ):
        image, label_image = freeze(plane_stack), freeze(labelled)
        own = nuclei[nuclei["field"] == field] if field is not None else nuclei.iloc[:0]
        around = measure_neighbourhood(
            own["centroid_y_px"].to_numpy(),
            own["centroid_x_px"].to_numpy(),
            shape=label_image.shape,
            radius_px=radius_um / pixel_size_um,
        )
        has_crop = own["crop"].notna().to_numpy()
        cropped = own[has_crop]
        ids, bbox = cropped["label"].to_numpy(), cropped[list(BOX)].to_numpy()
        columns: dict[str, npt.NDArray[Any]] = _take_shapes(cropped)
        columns |= measure_hu_moments(label_image, label_ids=ids, bbox=bbox)
        columns |= measure_outlines(
            label_image,
            label_ids=ids,
            bbox=bbox,
            curvature_step_px=curvature_step_um / pixel_size_um,
        )
        columns |= {name: values[has_crop] for name, values in around.items()}
        columns = _convert_units(columns, pixel_size_um)
        for name, index in channels.items():
            plane = image[index]
            measured = _convert_units(
                measure_chromatin(plane, label_image, label_ids=ids, bbox=bbox), pixel_size_um
            )
            columns |= {f"{kind}_{name}": values for kind, values in measured.items()}
            texture = measure_texture(
                plane, label_image, label_ids=ids, bbox=bbox, distances_px=steps
            )
            for place, distance in enumerate(texture_um):
                for number, kind in enumerate(TEXTURE_COLUMNS):
                    columns[f"{kind}_{distance:g}um_{name}"] = texture[:, place, number]
        place_columns = cropped[PLACE].astype({"crop": np.int64}).reset_index(drop=True)
        features = {name: values.astype(np.float32) for name, values in columns.items()}
        tables.append(place_columns.join(pd.DataFrame(features)))
    table = pd.concat([own for own in tables if len(own)] or tables[:1], ignore_index=True)
    table = table.sort_values("crop", ignore_index=True)
    n_crops = int((crops["crop"] >= 0).sum())
    if not np.array_equal(table["crop"], np.arange(n_crops)):
        raise I2RError(
            f"features: found {len(table)} of the {n_crops} nuclei with a crop among the labels. "
            "Let this stage need the 'segment' stage that its 'crop' stage needs, and the same "
            "'quality' stage or none."
        )
    return table


def _take_shapes(nuclei: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
    """Take over what the segmentation measured, and derive what follows from it alone."""
    area = nuclei["area_px"].to_numpy(dtype=np.float64)
    major = nuclei["major_axis_px"].to_numpy()
    minor = nuclei["minor_axis_px"].to_numpy()
    rows = nuclei["bbox_y1"].to_numpy() - nuclei["bbox_y0"].to_numpy()
    columns = nuclei["bbox_x1"].to_numpy() - nuclei["bbox_x0"].to_numpy()
    return {
        "area_um2": nuclei["area_um2"].to_numpy(),
        "major_axis_px": major,
        "minor_axis_px": minor,
        "aspect_ratio": np.divide(minor, major, out=np.ones(len(major)), where=major > 0),
        "eccentricity": nuclei["eccentricity"].to_numpy(),
        "solidity": nuclei["solidity"].to_numpy(),
        "extent": area / (rows * columns),
    }


def _convert_units(
    columns: Mapping[str, npt.NDArray[Any]], pixel_size_um: float
) -> dict[str, npt.NDArray[Any]]:
    """Turn lengths in pixels into microns, by the unit that a column's name ends in."""
    converted = {}
    for name, values in columns.items():
        for ending, microns, power in UNITS:
            if name.endswith(ending):
                converted[name.removesuffix(ending) + microns] = values * pixel_size_um**power
                break
        else:
            converted[name] = values
    return converted
