"""Nuclei of pictures that belong to no plate, cut and described as an experiment's were."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import pandas as pd
from dask import delayed
from dask.delayed import Delayed

from i2r.analysis.embedding.encoders import embed_nuclei
from i2r.analysis.embedding.profiles import Aggregate
from i2r.analysis.features import PLACE, measure_features
from i2r.analysis.nuclei import Place, measure_fields
from i2r.errors import I2RError
from i2r.kernels.checks import freeze
from i2r.kernels.crops import crop_fields
from i2r.kernels.pools import PoolArrays
from i2r.kernels.regions import frame_field, place_windows, scale_field


class Picture(NamedTuple):
    """A picture and its nuclei, all lazy.

    Attributes
    ----------
    name
        What it is called in tables and messages.
    image, labels
        Shapes (1, c, y, x) and (1, y, x).
    """

    name: str
    image: da.Array
    labels: da.Array


class CropRules(NamedTuple):
    """How nuclei are chosen and cut: arguments of `i2r.kernels.crops.crop_fields`."""

    limits: Mapping[str, Any]
    size_px: int
    masked: bool
    cut_px: int | None = None


def embed_pictures(
    pictures: Sequence[Picture],
    encoders: Mapping[str, Delayed],
    *,
    channels: Sequence[str],
    pixel_size_um: float,
    rules: CropRules,
    aggregate: Aggregate | None,
) -> Delayed:
    """Embed the nuclei of pictures and average them, by every encoder.

    Parameters
    ----------
    pictures
        One or more.
    encoders
        Delayed `i2r.models.encoder.Encoder` by name.
    channels
        Names of the pictures' channels.
    pixel_size_um
        Edge of a pixel.
    rules
        How nuclei are chosen and cut.
    aggregate
        Nuclei to a profile; None leaves them apart.

    Returns
    -------
    Delayed
        Of a DataFrame with a row per encoder: encoder, n_nuclei, d0, d1, ...; NaN without nuclei.
        Nuclei that are left apart have a row each, with n_nuclei 1.
        It raises `I2RError` where an encoder sees a channel that the pictures lack.
    """
    names = list(encoders)
    found: list[list[Delayed]] = [[] for _ in names]
    for picture in pictures:
        nuclei, cropped = _cut(picture, channels, pixel_size_um, rules)
        for place, encoder in enumerate(encoders.values()):
            arrays = delayed(_gather)(
                encoder, cropped, nuclei, picture.image, channels=list(channels), where=picture.name
            )
            found[place].append(delayed(embed_nuclei)(encoder, arrays, where=picture.name))
    return delayed(_tabulate)(found, names, aggregate)


def measure_pictures(
    pictures: Sequence[Picture],
    *,
    channels: Sequence[str],
    pixel_size_um: float,
    rules: CropRules,
    **options: Any,
) -> Delayed:
    """Measure the features of the nuclei of pictures.

    Parameters
    ----------
    options
        ``measured``, the channels whose features are measured, and lengths, as
        `i2r.analysis.features.measure_features` takes them.

    Returns
    -------
    Delayed
        Of a DataFrame with a row per nucleus: encoder (empty), n_nuclei (1) and features.
    """
    measured = {name: list(channels).index(name) for name in options.pop("measured")}
    tables = []
    for picture in pictures:
        nuclei, cropped = _cut(picture, channels, pixel_size_um, rules)
        tables.append(
            delayed(measure_features)(
                picture.image,
                picture.labels,
                nuclei,
                cropped[1],
                fields=[picture.name],
                channels=measured,
                pixel_size_um=pixel_size_um,
                **options,
            )
        )
    return delayed(_stack)(tables)


def _cut(
    picture: Picture, channels: Sequence[str], pixel_size_um: float, rules: CropRules
) -> tuple[Delayed, tuple[Delayed, Delayed]]:
    """Measure and cut the nuclei of one picture."""
    nuclei = delayed(measure_fields)(
        picture.image,
        picture.labels,
        place=Place("", ""),
        fields=[picture.name],
        channels=list(channels),
        pixel_size_um=pixel_size_um,
    )
    crops, table = delayed(crop_fields, nout=2)(
        delayed(freeze)(picture.image),
        delayed(freeze)(picture.labels),
        nuclei,
        fields=[picture.name],
        limits=rules.limits,
        size=rules.size_px,
        masked=rules.masked,
        cut_px=rules.cut_px or rules.size_px,
    )
    return nuclei, (crops, delayed(pd.DataFrame)(table))


def _gather(
    encoder: Any,
    cropped: tuple[np.ndarray, pd.DataFrame],
    nuclei: pd.DataFrame,
    image: np.ndarray,
    *,
    channels: Sequence[str],
    where: str,
) -> PoolArrays:
    """Show an encoder what it sees: its channels of the crops, and the field around them."""
    settings = encoder.settings
    missing = [channel for channel in settings.channels if channel not in channels]
    if missing:
        raise I2RError(
            f"{where}: the encoder sees {missing[0]!r}, the pictures show {', '.join(channels)}. "
            "Say which page of the files shows it, such as --pages DNA=0."
        )
    seen = [channels.index(channel) for channel in settings.channels]
    crops, table = cropped
    rows = table[table["crop"] >= 0].sort_values("crop")
    numbers = np.arange(len(rows))
    fields = places = None
    if "region" in settings.view:
        frame = {"size_px": settings.window_px, "halved": settings.halved}
        fields = np.stack([frame_field(scale_field(image[0, c]), **frame) for c in seen])[None]
        centres = rows.merge(nuclei, on=["field", "label"], how="left")
        places = np.zeros((len(rows), 3), dtype=np.int64)
        places[:, 1:] = place_windows(
            centres["centroid_y_px"].to_numpy(),
            centres["centroid_x_px"].to_numpy(),
            halved=settings.halved,
        )
    window = settings.window_px // 2 if settings.halved else settings.window_px
    names = np.full(len(rows), where)
    return PoolArrays(crops[:, seen], 0 * numbers, numbers, names, fields, places, window)


def _tabulate(
    found: Sequence[Sequence[np.ndarray]], names: Sequence[str], aggregate: Aggregate | None
) -> pd.DataFrame:
    """Put the nuclei of all pictures together, and average them where that is wanted."""
    together = [np.concatenate(parts) for parts in found]
    counts = np.array([len(rows) for rows in together])
    if aggregate is None:
        values = np.concatenate(together)
        encoders, n_nuclei = np.repeat(list(names), counts), np.ones(len(values), dtype=int)
    else:
        average = np.mean if aggregate == "mean" else np.median
        values = np.stack(
            [
                average(rows.astype(np.float64), axis=0) if len(rows) else rows.sum(axis=0) * np.nan
                for rows in together
            ]
        )
        encoders, n_nuclei = np.array(list(names)), counts
    table = pd.DataFrame(values, columns=[f"d{i}" for i in range(values.shape[1])])
    table.insert(0, "n_nuclei", n_nuclei)
    table.insert(0, "encoder", encoders)
    return table


def _stack(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put the nuclei of all pictures under each other."""
    filled = [table for table in tables if len(table)] or list(tables[:1])
    table = pd.concat(filled, ignore_index=True).drop(columns=PLACE)
    table.insert(0, "n_nuclei", 1)
    table.insert(0, "encoder", "")
    return table
