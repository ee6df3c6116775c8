"""What a survey says of plates before anything is converted: their pixels, channels and formats."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from i2r.readers.pixels import pixel_type
from i2r.readers.plates import (
    choose_factor,
    choose_format,
    choose_pixel_size,
    complete_headers,
    find_common,
    list_odd,
)


class Described(NamedTuple):
    """The layout with what plates' files have in common, the images, and notes."""

    layout: pd.DataFrame
    images: pd.DataFrame
    notes: tuple[str, ...]


def describe_plates(
    layout: pd.DataFrame,
    images: pd.DataFrame,
    *,
    channels: Sequence[str],
    scale: float | None,
    pixel_size_um: float | None,
    plate_format: int | None,
) -> Described:
    """Add to the layout what each plate's files have in common.

    Parameters
    ----------
    layout, images
        A row per well, and per plane of their images.
    channels
        Names in the order wanted; others follow by name.
    scale, pixel_size_um, plate_format
        What the user says; None for what the files say.

    Raises
    ------
    InputError
        If a plate's files contradict each other or what the user says.
    """
    images = complete_headers(images)
    notes: list[str] = []
    described, factors = [], pd.Series(1.0, index=images.index)
    formats: dict[str, int] = {}
    order = {name: number for number, name in enumerate(channels)}
    for plate, rows in layout.groupby("plate", sort=False):
        of_plate = images[images["plate"] == plate]
        common = find_common(of_plate, str(plate))
        factor, scaled = choose_factor(of_plate, common, str(plate), scale)
        factors[of_plate.index] = factor
        size, doubts = choose_pixel_size(of_plate, str(plate), pixel_size_um)
        notes += [*scaled, *doubts]
        names = sorted(of_plate["channel"].unique(), key=lambda n: (order.get(n, len(order)), n))
        formats[str(plate)] = choose_format(of_plate, rows, str(plate), plate_format)
        described.append(
            rows.assign(
                height_px=common.shape[0],
                width_px=common.shape[1],
                dtype=pixel_type(common.dtype).name,
                stored_dtype=common.dtype,
                pixel_size_um=size,
                channels=[names] * len(rows),
            )
        )
    layout = pd.concat(described, ignore_index=True)
    if any(formats.values()):
        layout["plate_format"] = layout["plate"].map(formats).astype("int64")
    notes += list_odd(images, layout)
    return Described(layout, images.assign(factor=factors), tuple(notes))
