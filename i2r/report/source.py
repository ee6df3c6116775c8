"""What sections of the report draw from: the experiment, its stages and their results."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.errors import InputError
from i2r.store import files, tables
from i2r.store.arrays import read_array
from i2r.store.experiment import Experiment
from i2r.store.ledger import Entry

NEGATIVE_CONTROL = "negative control"
# A chunk is decoded whole for one crop: below this one read of all is quicker.
CROPS_AT_ONCE = 1024
_URL = re.compile(r"[\w+.-]+://[^\s'\"]+")
_SECRET = re.compile(r"pass(word|wd)|secret|token|credential|private|api_?key|access_?key", re.I)


class StageRecord(NamedTuple):
    """One stage as it was last run: its name, its verb, what it reads, and all its options."""

    title: str
    verb: str
    needs: tuple[str, ...]
    options: Mapping[str, Any]


class ReportSource:
    """Gives sections what they show; reads only what the ledger calls done.

    Parameters
    ----------
    experiment
        The experiment.
    stages
        Names of the stages to report on, in the order of the pipeline.
    gallery_nuclei
        Nuclei to show per condition.
    """

    def __init__(
        self, experiment: Experiment, stages: Sequence[str], *, gallery_nuclei: int = 8
    ) -> None:
        self.experiment = experiment
        self.gallery_nuclei = gallery_nuclei
        self.stages = tuple(_find_stages(self.runs, stages))
        # What took long to compute and more than one figure draws from, by name.
        self.kept: dict[str, Any] = {}

    # ------------------------------------------------------------------ what was run

    @cached_property
    def runs(self) -> list[dict[str, Any]]:
        """The records of all runs, oldest first, without secrets."""
        records = [json.loads(files.read_bytes(url)) for url in self.experiment.list_records()]
        return [hide_secrets(record) for record in records]

    @cached_property
    def description(self) -> str:
        """What the last pipeline says of itself in a line; empty where it says nothing."""
        last = self.runs[-1] if self.runs else {}
        return str(last.get("pipeline", {}).get("description") or "")

    def stages_of(self, verb: str) -> list[StageRecord]:
        """List the stages of one verb, such as all 'crop' stages."""
        return [stage for stage in self.stages if stage.verb == verb]

    def upstream(self, stage: StageRecord, verb: str) -> StageRecord | None:
        """Find the stage of a verb that another stage reads, directly or through others."""
        by_title = {other.title: other for other in self.stages}
        wanted = [by_title[name] for name in reversed(stage.needs) if name in by_title]
        for other in wanted:
            if other.verb == verb:
                return other
        found = (self.upstream(other, verb) for other in wanted)
        return next((other for other in found if other is not None), None)

    # ------------------------------------------------------------------ what came of it

    def entries(self) -> Iterator[Entry]:
        """Iterate over the last event of every unit of the stages reported on."""
        for stage in self.stages:
            for entry in self.experiment.ledger.entries(stage.title):
                yield entry._replace(error=hide_secrets(entry.error))

    def results(self, stage: str) -> dict[str, dict[str, Any]]:
        """Give what each done unit of a stage reported of itself, by key, in a stable order."""
        ledger = self.experiment.ledger
        return {key: ledger.result(stage, key) or {} for key in ledger.done_keys(stage)}

    @cached_property
    def nuclei_per_well(self) -> dict[str, int]:
        """Count the labelled nuclei of every segmented well, by key, of the last 'segment'."""
        segment = self.stages_of("segment")[-1:]
        return {
            key: int(result.get("nuclei", 0))
            for stage in segment
            for key, result in self.results(stage.title).items()
        }

    @cached_property
    def excluded_fields(self) -> pd.DataFrame:
        """List the excluded fields: stage, key, field, reason; the first stage's word counts."""
        rows = [
            (stage.title, key, str(field), str(reason))
            for stage in self.stages
            for key, result in self.results(stage.title).items()
            for field, reason in result.get("excluded", {}).items()
        ]
        table = pd.DataFrame(rows, columns=["stage", "key", "field", "reason"])
        return table.drop_duplicates(["key", "field"], ignore_index=True)

    def table(self, name: str, *, columns: list[str] | None = None) -> pd.DataFrame | None:
        """Read a stage's table; None where it has none, or no unit of it is done."""
        if not self.experiment.ledger.done_keys(name):
            return None
        try:
            return self.experiment.table(name, columns=columns)
        except InputError:
            return None

    def reduced_table(self, stage: str, name: str) -> pd.DataFrame | None:
        """Read a table that a stage's last unit makes; None where that is not done."""
        if not self.experiment.ledger.is_merged(stage):
            return None
        url = self.experiment.table_url(name)
        return tables.read_table(url) if files.exists(url) else None

    def list_reduced(
        self, verb: str, names: Mapping[str, str]
    ) -> Iterator[tuple[str, pd.DataFrame]]:
        """Give tables that last units made and that figures draw from, those that have rows.

        Parameters
        ----------
        verb
            Of the stages.
        names
            What a table shows, by the end of its name.
        """
        for stage in self.stages_of(verb):
            for name, words in names.items():
                table = self.reduced_table(stage.title, f"{stage.title}-{name}")
                if table is not None and len(table):
                    yield f"{stage.title} {words}", table

    def part(self, name: str, key: str) -> pd.DataFrame:
        """Read one well's part of a stage's table."""
        return tables.read_table(self.experiment.part_url(name, key))

    # ------------------------------------------------------------------ wells and pixels

    @cached_property
    def wells(self) -> pd.DataFrame:
        """The layout by key; negative controls are one condition, ``given`` says which it was."""
        wells = self.experiment.layout_by_key
        is_control = wells["role"] == "negative_control"
        return wells.assign(
            given=wells["condition"],
            condition=wells["condition"].mask(is_control, NEGATIVE_CONTROL),
        )

    @cached_property
    def channels(self) -> list[str]:
        """The names of all channels, in the order of the first plate that has them."""
        named = [name for plate in self.experiment.plates.values() for name in plate.channels]
        return list(dict.fromkeys(named))

    @cached_property
    def pixel_size_um(self) -> float:
        """The edge of a pixel in microns; NaN where plates differ or none is known."""
        sizes = {plate.pixel_size_um for plate in self.experiment.plates.values()}
        return sizes.pop() if len(sizes) == 1 else float("nan")

    def image(self, key: str, field: str) -> npt.NDArray[Any]:
        """Read a field's image, shape (c, y, x)."""
        return read_array(f"{self.experiment.image_url(key, field)}/0")

    def labels(self, stage: str, key: str, field: str) -> npt.NDArray[np.integer]:
        """Read a field's label image, shape (y, x), 0 = background."""
        return read_array(f"{self.experiment.image_url(key, field)}/labels/{stage}/0")

    def cut_px(self, stage: str, key: str, size_px: int) -> int:
        """Give the edge of what a well's crops show, in pixels of the field."""
        url = self.experiment.crops_url(stage, key)
        attributes = json.loads(files.read_bytes(f"{url}/zarr.json")).get("attributes", {})
        return int(attributes.get("cut_px", size_px))

    def crops(self, stage: str, key: str, indices: Sequence[int]) -> npt.NDArray[Any]:
        """Read some crops of a well, at least one, shape (nucleus, c, y, x)."""
        url = self.experiment.crops_url(stage, key)
        first, last = min(indices), max(indices) + 1
        if last - first <= CROPS_AT_ONCE:
            return read_array(url, region=(slice(first, last),))[np.asarray(indices) - first]
        return np.concatenate([read_array(url, region=(slice(i, i + 1),)) for i in indices])


def _find_stages(runs: Sequence[Mapping[str, Any]], titles: Sequence[str]) -> Iterator[StageRecord]:
    """Find how each stage was last run; one that no record has is taken by its name."""
    known: dict[str, StageRecord] = {}
    for run in runs:
        for options in run.get("pipeline", {}).get("stages", []):
            title = options.get("name") or options["stage"]
            known[title] = StageRecord(title, options["stage"], tuple(options["needs"]), options)
    for title in titles:
        yield known.get(title, StageRecord(title, title, (), {}))


def hide_secrets(value: Any) -> Any:
    """Take users, passwords, signatures and tokens out of a record, however deep they are."""
    if isinstance(value, Mapping):
        return {
            key: "(hidden)" if item and _SECRET.search(str(key)) else hide_secrets(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [hide_secrets(item) for item in value]
    if isinstance(value, str):
        return _URL.sub(lambda found: files.without_secrets(found[0]), value)
    return value
