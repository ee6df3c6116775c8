"""A run as a job array: for sites where no scheduler may run on the compute nodes.

Units are dealt into slices by key, so that a well's units stay together, and into waves: within a
wave no slice waits for another one. Every wave is a run of its own in the ledger, every slice of it
one process that works alone on its units, one after another, and writes its own segment.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from i2r.errors import I2RError, InputError
from i2r.pipeline.executors import InProcess
from i2r.pipeline.loop import RunLoop
from i2r.pipeline.preview import Say, preview_units
from i2r.pipeline.progress import Progress, Style
from i2r.pipeline.records import describe_run
from i2r.pipeline.run import ask_before_replacing, begin_stages, prepare
from i2r.pipeline.spec import Pipeline, parse_pipeline
from i2r.pipeline.status import fold_ledger
from i2r.pipeline.summary import Summary
from i2r.pipeline.units import UnitGraph
from i2r.stages.base import FINISH
from i2r.store import files
from i2r.store.access import check_access
from i2r.store.experiment import Experiment, open_experiment
from i2r.store.ledger import LedgerWriter
from i2r.store.lock import hold_for_array, read_array_lock, release_array
from i2r.store.segments import next_slice_number


class Place(NamedTuple):
    """Where a unit runs: in which wave, and in which slice of it."""

    wave: int
    slice: int


class ArrayPlan(NamedTuple):
    """A prepared array: its runs, one per wave, and the stages with units in each."""

    runs: tuple[int, ...]
    n_slices: int
    stages: tuple[tuple[str, ...], ...]


def place_units(graph: UnitGraph, n_slices: int) -> dict[str, Place]:
    """Deal the units of a graph into waves and slices.

    A unit's wave is the latest one of what it waits for, or the one after where that is in
    another slice. It depends on the pipeline and the layout alone, so every slice finds the same.

    Returns
    -------
    dict
        By ``stage:key``.
    """
    numbers: dict[str, int] = {}
    places: dict[str, Place] = {}
    # The latest wave of every stage, by slice: what a unit that waits for a whole stage needs.
    latest: dict[str, dict[int, int]] = {}
    for stage in graph.stages:
        of_stage = latest[stage.title] = defaultdict(int)
        for key in graph.units[stage.title]:
            if key == FINISH:
                continue
            number = numbers.setdefault(key, len(numbers)) % n_slices
            wave = 1
            for name in stage.needs:
                used = graph.find_read(stage, key, name)
                waves = latest[name] if used is None else _find_waves(places, name, used)
                wave = max(wave, _wave_after(waves, number) if waves else 1)
            if followed := stage.follows(graph.experiment, key):
                waves = _find_waves(places, stage.title, followed)
                wave = max(wave, _wave_after(waves, number))
            places[f"{stage.title}:{key}"] = Place(wave, number)
            of_stage[number] = max(of_stage[number], wave)
        if stage.has_finish():
            wave = _wave_after(of_stage, 0) if of_stage else 1
            places[f"{stage.title}:{FINISH}"] = Place(wave, 0)
            of_stage[0] = max(of_stage[0], wave)
    return places


def _find_waves(places: Mapping[str, Place], name: str, keys: Sequence[str]) -> dict[int, int]:
    """Give the latest wave of some units of a stage, by slice."""
    waves: dict[int, int] = {}
    for place in (places[f"{name}:{key}"] for key in keys):
        waves[place.slice] = max(waves.get(place.slice, 0), place.wave)
    return waves


def _wave_after(latest: Mapping[int, int], number: int) -> int:
    """Give the first wave in which a slice has everything of a stage."""
    return max(wave + (other != number) for other, wave in latest.items())


def prepare_array(
    pipeline: Pipeline,
    url: str,
    *,
    n_slices: int,
    command: str,
    say: Say = lambda line: None,
    confirm: Callable[[str], bool] = lambda question: True,
) -> ArrayPlan | None:
    """Check a run, lock the experiment, and write down what the slices have to do.

    Returns
    -------
    ArrayPlan or None
        None where there is nothing to do.

    Raises
    ------
    InputError
        As for any run.
    """
    experiment = prepare(pipeline, url, say=say)
    preview = preview_units(pipeline, experiment)
    pending = {f"{stage}:{key}" for stage, keys in preview.items() for key in keys}
    if not pending:
        return None
    ask_before_replacing(pipeline, experiment, preview, confirm, say=say)
    check_access(url)
    places = place_units(UnitGraph(pipeline, experiment), n_slices)
    waves = sorted({place.wave for name, place in places.items() if name in pending})
    token = hold_for_array(url, command=command, array=f"a job array of {n_slices} slices")
    try:
        experiment = experiment.reopen()
        experiment.save_description()
        begin_stages(pipeline, experiment, preview)
        fold_ledger(pipeline, experiment)
        first = experiment.ledger.last_run + 1
        stages = []
        for run, wave in enumerate(waves, start=first):
            record = describe_run(pipeline, InProcess(), run=run, command=command)
            record["array"] = {"wave": wave, "slices": n_slices, "token": token}
            record_url = experiment.path("runs", f"{run:06d}.json")
            files.write_bytes(record_url, json.dumps(record, indent=1).encode())
            names = {n.partition(":")[0] for n in pending if places[n].wave == wave}
            stages.append(tuple(s.title for s in pipeline.stages if s.title in names))
    except BaseException:
        release_array(url)
        raise
    return ArrayPlan(tuple(range(first, first + len(waves))), n_slices, tuple(stages))


def run_slice(url: str, *, run: int, number: int, style: Style = "plain") -> Summary:
    """Run one slice of one wave in this process.

    Raises
    ------
    InputError
        If there is no such array, or it was finished meanwhile.
    """
    experiment = open_experiment(url)
    pipeline, array = _read_record(experiment, run)
    if read_array_lock(url) != array["token"]:
        raise InputError(f"{url}: run {run} is over. Start another one: i2r run ... --array.")
    n_slices = int(array["slices"])
    if not 0 <= number < n_slices:
        raise InputError(f"slice {number}: run {run} has the slices 0 to {n_slices - 1}. Name one.")
    graph = UnitGraph(pipeline, experiment)
    here = Place(int(array["wave"]), number)
    eligible = {name for name, p in place_units(graph, n_slices).items() if p == here}
    ledger = experiment.ledger
    segment = next_slice_number(ledger.url, run, first=number, step=n_slices)
    writer = LedgerWriter(ledger, run, slice_number=segment)
    with Progress(graph, slots=1, style=style) as progress:
        return RunLoop(
            graph, InProcess(), writer, progress, eligible=eligible, token=str(array["token"])
        ).run()


def finish_array(url: str) -> dict[str, int]:
    """End an array: gather what its slices wrote, and give the lock back.

    Returns
    -------
    dict
        Number of units by how they ended: ``done``, ``failed``, ``blocked``, and what is left.

    Raises
    ------
    InputError
        If no array holds the experiment.
    """
    token = read_array_lock(url)
    if token is None:
        raise InputError(f"{url}: no job array works here. Start one: i2r run ... --array N.")
    experiment = open_experiment(url)
    experiment.ledger.fold()
    totals: dict[str, int] = defaultdict(int)
    pipeline: Pipeline | None = None
    for record_url in experiment.list_records():
        record = json.loads(files.read_bytes(record_url))
        if record.get("array", {}).get("token") == token:
            record["finished_s"] = time.time()
            files.write_bytes(record_url, json.dumps(record, indent=1).encode())
            pipeline = parse_pipeline(record["pipeline"], where=record_url, recorded=True)
    if pipeline is not None:
        words: dict[str | None, str] = {
            "start": "interrupted",
            "lost": "to do",
            None: "to do",
        }
        for unit in UnitGraph(pipeline, experiment):
            entry = experiment.ledger.entry(unit.stage.title, unit.key)
            event = entry.event if entry is not None else None
            totals[words.get(event, str(event))] += 1
    release_array(url)
    return dict(totals)


def _read_record(experiment: Experiment, run: int) -> tuple[Pipeline, dict[str, Any]]:
    """Read the pipeline of a run, and what it says of its array."""
    url = experiment.path("runs", f"{run:06d}.json")
    try:
        record = json.loads(files.read_bytes(url))
    except FileNotFoundError as error:
        raise InputError(
            f"{experiment.url}: there is no run {run}. See its folder 'runs'."
        ) from error
    if "array" not in record:
        raise InputError(
            f"{experiment.url}: run {run} is not a job array. Start one: i2r run ... --array N."
        )
    return parse_pipeline(record["pipeline"], where=url, recorded=True), record["array"]


def task_command(url: str, run: int, number: str) -> list[str]:
    """Give the command of one slice, and of the end where the run is 0."""
    if not run:
        return [sys.executable, "-m", "i2r", "array", "finish", url]
    return [
        *(sys.executable, "-m", "i2r", "array", "task", url),
        *("--run", str(run), "--slice", number),
    ]


def check_slices(n_slices: int) -> None:
    """Refuse impossible numbers of slices."""
    if not 1 <= n_slices <= 10_000:
        raise I2RError(f"--array {n_slices}: expected 1 to 10000 slices. Give another number.")
