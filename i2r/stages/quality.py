"""Measure focus, saturation and background of every field, and exclude bad ones."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import pandas as pd
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.kernels.quality import measure_quality
from i2r.stages.base import Stage
from i2r.stages.outputs import Output
from i2r.stages.written.images import QUALITY
from i2r.store import tables
from i2r.store.experiment import Experiment
from i2r.store.plate import StoredFields

Limits = dict[str, float]

COLUMNS = ("focus", "saturated_fraction", "mean", "background")


class Quality(Stage):
    """Measure image quality per field and channel, and exclude fields.

    Excluded are fields beyond a limit and everything listed; later stages leave them out, and
    every one is counted with its reason. Limits are per channel and off by default, because no
    value fits every microscope: look at the table 'quality' and the report first.
    """

    stage: Literal["quality"] = "quality"
    min_focus: Limits = Field(
        {}, description="Least focus (variance of the Laplacian) by channel, e.g. DNA=0.002"
    )
    max_saturated: Limits = Field(
        {}, description="Largest fraction of saturated pixels by channel, e.g. DNA=0.01"
    )
    max_background: Limits = Field({}, description="Brightest background by channel, e.g. DNA=900")
    exclude: tuple[str, ...] = Field(
        (), description="Plates, wells or fields to leave out: PLATE, PLATE/B03 or PLATE/B03/2"
    )

    outputs: ClassVar[tuple[Output, ...]] = QUALITY
    upstream_verbs: ClassVar[Mapping[str, bool]] = {"convert": True}

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse limits for channels, and names of plates and wells, that are not there."""
        known = {c for plate in experiment.plates.values() for c in plate.channels}
        named = {**self.min_focus, **self.max_saturated, **self.max_background}
        problems = [
            f"stage {self.title!r}: no channel {name!r}, found {', '.join(sorted(known))}. Correct "
            "the limits."
            for name in named
            if name not in known
        ]
        keys = set(experiment.well_keys)
        for item in self.exclude:
            key, _, field = item.rpartition("/")
            is_field = key in keys and field in experiment.fields(key, [])
            if item not in experiment.plates and item not in keys and not is_field:
                problems.append(
                    f"stage {self.title!r}: exclude {item!r}: no such plate, well or field, "
                    "expected PLATE, PLATE/B03 or PLATE/B03/2. Correct it, or leave it out."
                )
        return problems

    def settings_of(self, key: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Keep of the list what is of one well, so that another field redoes its own well only."""
        plate = key.rpartition("/")[0]
        own = [x for x in self.exclude if x in (plate, key) or x.startswith(f"{key}/")]
        return {**settings, "exclude": own}

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Measure the fields of one well and note which are excluded."""
        plate, well = experiment.locate(key)
        fields = experiment.fields(key, self.needs)
        listed = [f for f in fields if {plate.name, key, f"{key}/{f}"} & set(self.exclude)]
        work = partial(
            measure_well,
            plate.find_images(key, fields),
            plate=plate.name,
            well=well,
            fields=fields,
            channels=plate.channels,
            listed=listed,
            part_url=experiment.part_url(self.title, key),
            limits=[
                ("blurred", "focus", -1, self.min_focus),
                ("saturated", "saturated_fraction", 1, self.max_saturated),
                ("background", "background", 1, self.max_background),
            ],
        )
        return delayed(work)()

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Merge the tables."""
        return delayed(tables.merge_tables)(self.merges(experiment, keys))

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """A well's images, and one plane in float32."""
        return 2 * experiment.well_bytes(key) + 2**27


def measure_well(
    images: StoredFields,
    *,
    plate: str,
    well: str,
    fields: Sequence[str],
    channels: Sequence[str],
    listed: Sequence[str],
    part_url: str,
    limits: Sequence[tuple[str, str, int, Limits]],
) -> dict[str, Any]:
    """Measure the fields of a well; see `flag_fields`."""
    rows = [
        (plate, well, field, channel, *measure_quality(plane))
        for field, image in zip(fields, images, strict=True)
        for channel, plane in zip(channels, image, strict=True)
    ]
    names = dict.fromkeys(("plate", "well", "field", "channel"), object)
    table = pd.DataFrame(rows, columns=[*names, *COLUMNS]).astype(
        {**names, **dict.fromkeys(COLUMNS, float)}
    )
    return flag_fields(table, listed=listed, part_url=part_url, limits=limits)


def flag_fields(
    table: pd.DataFrame,
    *,
    listed: Sequence[str],
    part_url: str,
    limits: Sequence[tuple[str, str, int, Limits]],
) -> dict[str, Any]:
    """Give every row its reason, write the table, and report the excluded fields.

    Parameters
    ----------
    table
        One row per field and channel.
    listed
        Fields that the user listed.
    part_url
        Where the table goes.
    limits
        Reason, column, direction (1: too large is bad, -1: too small) and limit by channel.
    """
    reasons = pd.Series("", index=table.index)
    for reason, column, direction, by_channel in limits:
        limit = table["channel"].map(by_channel).astype(float)
        beyond = direction * (table[column] - limit) > 0
        reasons = reasons.mask(beyond & (reasons == ""), reason)
    reasons = reasons.mask(table["field"].isin(listed), "listed")
    table = table.assign(reason=reasons.astype(object))
    flagged = table[table["reason"] != ""]
    excluded = dict(zip(flagged["field"], flagged["reason"], strict=True))
    tables.write_table(part_url, table)
    return {"fields": table["field"].nunique(), "excluded": excluded}
