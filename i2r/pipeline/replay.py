"""One row of a result computed again from the raw files, apart from everything that is stored."""

import tempfile
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from i2r.errors import I2RError, InputError
from i2r.pipeline.executors import InProcess
from i2r.pipeline.loop import RunLoop
from i2r.pipeline.progress import Progress
from i2r.pipeline.run import begin_stages, load_last_pipeline
from i2r.pipeline.spec import Pipeline
from i2r.pipeline.units import UnitGraph
from i2r.stages.base import FINISH
from i2r.store import files, tables
from i2r.store.experiment import Experiment
from i2r.store.ledger import LedgerWriter
from i2r.store.results import iterate_result
from i2r.types import unit_key

Unit = tuple[str, str]


class Value(NamedTuple):
    """One number or text, as it is stored and as it came out again."""

    column: str
    stored: Any
    replayed: Any
    equal: bool


class Replay(NamedTuple):
    """What became of a replay.

    Attributes
    ----------
    unit
        Stage and key of the unit that made the row; the key is ``*`` for the stage as a whole.
    units
        How many units were computed, by stage.
    n_files, n_bytes
        Source files that were read.
    share
        Their part of the bytes of all source files.
    values
        One per column of the row.
    """

    unit: Unit
    units: Mapping[str, int]
    n_files: int
    n_bytes: int
    share: float
    values: list[Value]

    @property
    def is_equal(self) -> bool:
        """Tell whether every value came out again, bit by bit."""
        return all(value.equal for value in self.values)


def replay_row(experiment: Experiment, table: str, row: int) -> Replay:
    """Compute a row of a table again from the source files, and compare it bit by bit.

    Only the units that the row depends on run, in this process and in a folder of their own, which
    is removed at the end; the experiment is read for the row alone, its layout, the list of source
    files and the last pipeline.

    Parameters
    ----------
    experiment
        The experiment.
    table
        The name of a table that a stage made.
    row
        Which row, from 0, as `Experiment.table` gives it.

    Raises
    ------
    InputError
        If there is no such row, or it was made with other options than those of the last run.
    I2RError
        If a unit fails, or a source file is not the one that was converted.
    """
    pipeline = load_last_pipeline(experiment)
    if pipeline is None:
        raise InputError(f"{experiment.url}: nothing was run here. There is nothing to replay.")
    stored = find_row(experiment, table, row)
    unit, position = find_unit(experiment, pipeline, table, stored, row)
    wanted = list_needed(UnitGraph(pipeline, experiment), unit)
    with tempfile.TemporaryDirectory(prefix="i2r-replay-") as folder:
        scratch = Experiment(
            f"{folder}/experiment", layout=experiment.layout, sources=experiment.sources
        )
        scratch.save_description()
        _compute(pipeline, scratch, wanted, unit)
        _check_same(experiment, scratch, unit)
        _check_sources(experiment, scratch, wanted)
        again = _read(scratch, table, unit)
        if not position < len(again):
            raise I2RError(
                f"{table}: row {row} is the row {position} of its unit, which has {len(again)} "
                "now. The stored table is not what these sources and options give."
            )
        values = compare_rows(stored, again.iloc[position])
    sources = experiment.sources
    keys = {key for stage, key in wanted if stage in _list_converters(pipeline)}
    read = (
        pd.concat([experiment.sources_by_key[key] for key in sorted(keys)]) if keys else sources[:0]
    )
    known = sources.drop_duplicates("url")["size_bytes"].clip(lower=0).sum()
    read = read.drop_duplicates("url")
    n_bytes = int(read["size_bytes"].clip(lower=0).sum())
    counts = Counter(stage for stage, _ in wanted)
    return Replay(unit, counts, len(read), n_bytes, n_bytes / max(1, int(known)), values)


def find_row(experiment: Experiment, table: str, row: int) -> pd.Series:
    """Find a row of a table of any size; an `InputError` says how many there are."""
    n_rows = 0
    for part in iterate_result(experiment, table):
        if 0 <= row - n_rows < len(part):
            return part.iloc[row - n_rows]
        n_rows += len(part)
    raise InputError(f"{table}: no row {row}, expected 0 to {n_rows - 1}. 'i2r table' shows them.")


def find_unit(
    experiment: Experiment, pipeline: Pipeline, table: str, stored: pd.Series, row: int
) -> tuple[Unit, int]:
    """Find the unit that made a row, and the row's place in what that unit wrote.

    Returns
    -------
    unit : (str, str)
        Of rows of one well the well's unit; of all others the stage's last one.
    position : int
        From 0.

    Raises
    ------
    InputError
        If no stage of the last run makes the table.
    """
    titles = [s.title for s in pipeline.stages]
    makers = [title for title in titles if table == title or table.startswith(f"{title}-")]
    if not makers:
        raise InputError(
            f"{table}: made by none of the last run's stages ({', '.join(titles)}). Run the "
            "pipeline that makes it again."
        )
    stage = max(makers, key=len)
    if {"plate", "well"} <= set(stored.index):
        key = unit_key(str(stored["plate"]), str(stored["well"]))
        part_url = experiment.part_url(table, key)
        n_rows = position = of_well = 0
        for part in iterate_result(experiment, table):
            own = ((part["plate"] == stored["plate"]) & (part["well"] == stored["well"])).to_numpy()
            position += int(own[: max(0, row - n_rows)].sum())
            of_well += int(own.sum())
            n_rows += len(part)
        if files.exists(part_url) and tables.count_rows(part_url) == of_well:
            return (stage, key), position
    return (stage, FINISH), row


def list_needed(graph: UnitGraph, unit: Unit) -> set[Unit]:
    """List a unit and all that it depends on, through every stage before it."""
    stage, key = unit
    if key not in graph.units.get(stage, {}):  # a stage without a last unit
        waiting = [(stage, each) for each in graph.units[stage]]
    else:
        waiting = [unit]
    found = set[Unit]()
    while waiting:
        at = waiting.pop()
        if at in found:
            continue
        found.add(at)
        single, whole = graph.list_upstream(graph.units[at[0]][at[1]])
        waiting += single
        waiting += [(title, each) for title in whole for each in graph.units[title]]
    return found


def compare_rows(stored: pd.Series, replayed: pd.Series) -> list[Value]:
    """Compare two rows column by column, numbers bit by bit."""
    missing = object()
    return [
        Value(str(name), value, other := replayed.get(name, missing), _is_same(value, other))
        for name, value in stored.items()
    ]


def _is_same(one: object, other: object) -> bool:
    if isinstance(one, float | np.floating) and isinstance(other, float | np.floating):
        return np.asarray(one).tobytes() == np.asarray(other).tobytes()
    if isinstance(one, np.ndarray | list) and isinstance(other, np.ndarray | list):
        return np.asarray(one).tobytes() == np.asarray(other).tobytes()
    if one is None or other is None or one is pd.NA or other is pd.NA:
        return bool(pd.isna(one) and pd.isna(other))
    return type(one) is type(other) and bool(one == other)


def _list_converters(pipeline: Pipeline) -> list[str]:
    return [stage.title for stage in pipeline.stages if stage.stage == "convert"]


def _compute(pipeline: Pipeline, scratch: Experiment, wanted: Collection[Unit], unit: Unit) -> None:
    """Run some units in a folder of their own."""
    titles = {stage for stage, _ in wanted}
    graph = UnitGraph(pipeline, scratch, only=titles)
    pending = {
        stage.title: sorted(key for title, key in wanted if title == stage.title)
        for stage in pipeline.stages
    }
    begin_stages(pipeline, scratch, pending)
    with InProcess() as executor:
        loop = RunLoop(
            graph,
            executor,
            LedgerWriter(scratch.ledger, 1),
            Progress(graph, slots=1, style="none"),
            eligible={f"{stage}:{key}" for stage, key in wanted},
        )
        summary = loop.run()
    state = graph.units[unit[0]].get(unit[1])
    if summary.stopped or (state is not None and state.state != "done"):
        why = summary.stopped or next(
            (f"{u.name}: {u.error}" for u in [*summary.failed, *summary.blocked] if u.error), ""
        )
        raise I2RError(f"{unit[0]} {unit[1]}: can't be computed again ({why}).")


def _check_same(experiment: Experiment, scratch: Experiment, unit: Unit) -> None:
    """Refuse to compare with what other options made."""
    stored, again = (each.ledger.entry(*unit) for each in (experiment, scratch))
    if stored is None or again is None or stored.event != "done":
        return
    if stored.fingerprint != again.fingerprint:
        raise InputError(
            f"{unit[0]} {unit[1]}: stored results were made with other options, inputs or another "
            "i2r than those of the last run. 'i2r status' shows what is out of date; run it again "
            "first."
        )


def _check_sources(experiment: Experiment, scratch: Experiment, wanted: Collection[Unit]) -> None:
    """Compare the SHA-256 of source files with those that were converted."""
    for stage, key in sorted(wanted):
        parts = [each.part_url(stage, key) for each in (experiment, scratch)]
        if key == FINISH or not all(map(files.exists, parts)):
            continue
        if "sha256" not in tables.read_columns(parts[0]):
            continue
        before, now = (tables.read_table(part, columns=["url", "sha256"]) for part in parts)
        both = before.merge(now, on="url", suffixes=("_before", "_now"))
        changed = both[
            (both["sha256_before"] != both["sha256_now"]) & (both["sha256_before"] != "")
        ]
        if len(changed):
            raise I2RError(
                f"{changed['url'].iloc[0]}: not the file that was converted ({len(changed)} of "
                f"{len(both)} files of {key}). Nothing can be said of the stored row."
            )


def _read(scratch: Experiment, table: str, unit: Unit) -> pd.DataFrame:
    if unit[1] == FINISH:
        return scratch.table(table)
    return tables.read_table(scratch.part_url(table, unit[1]))
