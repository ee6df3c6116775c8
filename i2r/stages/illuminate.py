"""Find how unevenly each channel of a plate is lit; later stages divide it out."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import pandas as pd
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.errors import InputError
from i2r.lazy.illumination import MOST_KEPT, N_BLOCKS, Estimate, estimate_function
from i2r.readers.flatfield import locate_profile
from i2r.readers.illumination import normalise_function, read_function
from i2r.stages.base import Stage
from i2r.stages.outputs import Output
from i2r.stages.written.images import ILLUMINATE
from i2r.store import files, tables
from i2r.store.experiment import Experiment
from i2r.store.illumination import write_illumination

# Functions read before a run, to see whether their scale is that of images: a screen has hundreds.
LOOKED_AT = 16
# Where to look when a function isn't there.
_LOOK = {"import": "Look at 'functions'.", "given": "Look at the source, and at 'files_root'."}


class Illuminate(Stage):
    """Illumination functions: one per plate and channel; images are divided by them.

    The method 'median' takes the median of all fields of the plate, each relative to its own
    median, and smooths it: what is at one place in most fields is the light, not the cells. It
    needs some dozens of fields. 'given' takes the functions that the source itself lists, as a
    load_data.csv does in FileName_IllumDNA and the like, and Harmony in its flat-field profiles;
    'import' takes files by their names. Stages after this one (segment, crop, features) see
    corrected images; converted images stay as they were.
    """

    stage: Literal["illuminate"] = "illuminate"
    method: Literal["median", "given", "import"] = Field(
        "median", description="Where functions come from"
    )
    channels: tuple[str, ...] = Field((), description="Channels to correct (default: all)")
    smooth: float = Field(
        0.1, gt=0, le=1, description="Width of the smoothing, as a part of the field's longer edge"
    )
    functions: str = Field(
        "",
        description="Files of functions for the method 'import', with {plate} and {channel} in the "
        "name: 'illum/{plate}/{plate}_Illum{channel}.npy' (or .mat, .tif)",
        json_schema_extra={"path": True},
    )

    outputs: ClassVar[tuple[Output, ...]] = ILLUMINATE
    upstream_verbs: ClassVar[Mapping[str, bool]] = {"convert": True, "quality": False}

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse channels that no plate has, and functions that are not there or do not fit."""
        problems = self.list_missing_channels(experiment, self.channels)
        if self.functions and self.method != "import":
            problems.append(
                f"stage {self.title!r}: functions {self.functions!r} with the method "
                f"{self.method!r}, which does not read them. Set 'method' to import, or leave "
                "'functions' out."
            )
        if self.method == "median" or problems:
            return problems
        if self.method == "import" and "{channel}" not in self.functions:
            return [
                f"stage {self.title!r}: functions {self.functions!r}, expected a name with "
                "{channel} in it, and {plate} where plates differ."
            ]
        keys = self.keys(experiment)
        if self.method == "given" and (problems := self._find_doubts(experiment, keys)):
            return problems
        urls = {self._function_url(experiment, key): key for key in keys}
        problems = [
            f"stage {self.title!r}: function {url}: no such file, for {key}. {_LOOK[self.method]}"
            for url, key in urls.items()
            if not files.exists(locate_profile(url))
        ]
        if not problems:  # one tells whether they fit; a screen has hundreds
            url, key = next(iter(urls.items()))
            try:
                read_function(url, shape=experiment.plates[self._split(key)[0]].shape[1:])
            except InputError as error:
                problems.append(f"stage {self.title!r}: {error}")
        return problems

    def notes(self, experiment: Experiment) -> list[str]:
        """Say which functions are on another scale than around 1, and what is done about it."""
        if self.method == "median":
            return []
        keys = {self._function_url(experiment, key): key for key in self.keys(experiment)}
        urls = list(keys)[:: max(1, len(keys) // LOOKED_AT)]
        scaled: dict[str, float] = {}
        for url in urls:
            shape = experiment.plates[self._split(keys[url])[0]].shape[1:]
            try:
                _, divisor = normalise_function(read_function(url, shape=shape))
            except InputError:  # its unit says so
                continue
            if divisor != 1:
                scaled[url] = divisor
        if not scaled:
            return []
        url, divisor = next(iter(scaled.items()))
        return [
            f"stage {self.title!r}: {len(scaled)} of {len(urls)} functions looked at have a median "
            f"far from 1, for example {url} with {divisor:.4g}: each is divided by its median, "
            "which the table has as 'divided_by'"
        ]

    def _find_doubts(self, experiment: Experiment, keys: Sequence[str]) -> list[str]:
        """Refuse sources that name none, or several, for a channel of a plate."""
        counts = {key: len(experiment.given_functions.get(self._split(key), ())) for key in keys}
        return [
            f"stage {self.title!r}: the source names {n} illumination functions of {key}, expected "
            "one (a column FileName_IllumDNA beside FileName_OrigDNA, or Harmony's flat-field "
            "profiles). Set 'channels', or take the method 'median'."
            for key, n in counts.items()
            if n != 1
        ]

    def keys(self, experiment: Experiment) -> list[str]:
        """One unit per plate and channel."""
        return [
            f"{plate.name}/{channel}"
            for plate in experiment.plates.values()
            for channel in self.channels or plate.channels
        ]

    @staticmethod
    def _split(key: str) -> tuple[str, str]:
        plate, _, channel = key.partition("/")
        return plate, channel

    def _function_url(self, experiment: Experiment, key: str) -> str:
        plate, channel = self._split(key)
        if self.method == "given":
            return experiment.given_functions[plate, channel][0]
        return self.functions.replace("{plate}", plate).replace("{channel}", channel)

    def upstream_keys(
        self, experiment: Experiment, key: str, upstream: Stage
    ) -> Sequence[str] | None:
        """The wells of the plate."""
        plate, _ = self._split(key)
        return [f"{plate}/{well}" for well in experiment.plates[plate].wells]

    def downstream_keys(self, experiment: Experiment, key: str) -> Sequence[str] | None:
        """The channels of a well's plate."""
        if key not in experiment.wells:
            return None
        plate = experiment.plates[experiment.wells[key].plate]
        return [f"{plate.name}/{channel}" for channel in self.channels or plate.channels]

    def fingerprint_inputs(self, experiment: Experiment, key: str) -> object:
        """Describe the plate's fields, and the file where the function is given."""
        plate, channel = self._split(key)
        described = experiment.plates[plate]
        wells = [experiment.wells[f"{plate}/{well}"].fields for well in described.wells]
        given = ""
        if self.method != "median":
            given = str(files.stat(locate_profile(self._function_url(experiment, key))))
        return [wells, channel, described.shape, str(described.dtype), given]

    def external_files(self, experiment: Experiment) -> object:
        """Nothing, except where functions are given: then every unit is asked."""
        return [] if self.method == "median" else None

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Estimate or read one function."""
        name, channel = self._split(key)
        plate = experiment.plates[name]
        shape = plate.shape[1:]
        index = plate.channels.index(channel)
        images = [
            plate.images(well, fields=fields, channels=[index])[:, 0]
            for well in plate.wells
            if any(experiment.ledger.result(s, f"{name}/{well}") is not None for s in self.needs)
            and (fields := experiment.fields(f"{name}/{well}", self.needs))
        ]
        estimate = estimate_function(images, shape=shape, smooth=self.smooth)
        if self.method != "median":
            estimate = delayed(take_function)(
                estimate, self._function_url(experiment, key), shape=shape
            )
        return delayed(write_function)(
            estimate,
            plate=name,
            channel=channel,
            url=experiment.illumination_url(self.title, name, channel),
            part_url=experiment.part_url(self.title, key),
        )

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Put the table together: one row per plate and channel."""
        parts = [experiment.part_url(self.title, key) for key in keys]
        return delayed(tables.merge_tables)({experiment.table_url(self.title): parts})

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """One channel of a chunk of fields, the function, and fields that are kept as blocks."""
        plate = experiment.plates[self._split(key)[0]]
        plane = plate.shape[1] * plate.shape[2]
        counts = [experiment.n_fields(f"{plate.name}/{well}") for well in plate.wells]
        blocks = 2 * min(sum(counts), MOST_KEPT) * 4 * N_BLOCKS**2
        return max(counts) * plane * plate.dtype.itemsize + 32 * plane + blocks + 2**27

    def bytes_in(self, experiment: Experiment, key: str) -> int:
        """One channel of the plate."""
        plate = experiment.plates[self._split(key)[0]]
        wells = [f"{plate.name}/{well}" for well in plate.wells]
        return sum(experiment.well_bytes(well) for well in wells) // len(plate.channels)

    def bytes_out(self, experiment: Experiment, key: str) -> int:
        """A smooth function compresses to about two bytes per pixel."""
        plate = experiment.plates[self._split(key)[0]]
        return 2 * plate.shape[1] * plate.shape[2]


def take_function(estimate: Estimate, url: str, *, shape: tuple[int, int]) -> Estimate:
    """Take a function that somebody else made; the typical field shows whether it fits."""
    function, divisor = normalise_function(read_function(url, shape=shape))
    return estimate._replace(function=function, divisor=divisor)


def write_function(
    estimate: Estimate, *, plate: str, channel: str, url: str, part_url: str
) -> dict[str, Any]:
    """Write a function, the typical field behind it, and its row of the table."""
    written = write_illumination(url, estimate.function, estimate.typical)
    row = {
        "plate": plate,
        "channel": channel,
        "n_fields": estimate.n_fields,
        "least": float(estimate.function.min()),
        "greatest": float(estimate.function.max()),
        "divided_by": estimate.divisor,
    }
    tables.write_table(part_url, pd.DataFrame([row]))
    return {"fields": estimate.n_fields, "bytes_out": written, "wrote": "illumination"}
