"""Coarser levels for images and labels that an earlier i2r converted without."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from i2r.errors import DamageError, I2RError, join_problems
from i2r.store.experiment import Experiment
from i2r.store.images import add_levels
from i2r.store.ledger import LedgerWriter
from i2r.store.lock import RunLock
from i2r.store.outputs import OUTPUTS, Mark, record_outputs
from i2r.store.unit_result import Entry


class Added(NamedTuple):
    """What was completed: units of work, and images and label images in them."""

    n_units: int
    n_images: int


class _Completed(NamedTuple):
    entry: Entry
    outputs: dict[str, Mark]
    n_images: int
    problem: str


def add_overviews(
    experiment: Experiment,
    *,
    command: str = "add_overviews",
    say: Callable[[int, int], None] = lambda done, of: None,
) -> Added:
    """Write the levels that images and labels of an experiment lack, from the pixels it holds.

    No source file is read, level 0 is not touched, and everything that is done stays done: the
    ledger takes note of the new files under the units that made the images. When it is interrupted,
    the same call goes on.

    Parameters
    ----------
    experiment
        The experiment.
    command
        What is being run, for the lock.
    say
        Called with the number of units looked at, and how many there are.

    Raises
    ------
    I2RError
        If an image can't be read; all others are complete then.
    """
    with RunLock(experiment.url, command=command) as lock:
        experiment = experiment.reopen()
        ledger = experiment.ledger
        merged = {stage for stage in ledger.stages if ledger.is_merged(stage)}
        images = _list_units(experiment, "source")
        labels = _list_units(experiment, "labels")
        writer = LedgerWriter(ledger, ledger.last_run + 1)
        added, problems, changed = Added(0, 0), list[str](), set[str]()
        done, total = 0, len(images) + len(labels)
        try:
            with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
                for units in (images, labels):  # labels get the levels that their image has
                    for completed in pool.map(lambda e: _complete(experiment, e), units):
                        done += 1
                        say(done, total)
                        problems += [completed.problem] if completed.problem else []
                        if not completed.n_images:
                            continue
                        lock.check()
                        _note(writer, completed)
                        changed.add(completed.entry.stage)
                        added = Added(added.n_units + 1, added.n_images + completed.n_images)
            for stage in sorted(changed & merged):
                # Its merged tables still hold what its units wrote.
                _note(writer, _Completed(ledger.entry(stage, "*"), {}, 0, ""))  # type: ignore[arg-type]
        finally:
            writer.close()
        if problems:
            raise I2RError(join_problems(problems))
        return added


def _list_units(experiment: Experiment, wrote: str) -> list[Entry]:
    """List the done units of wells that wrote images, or labels."""
    return [
        entry
        for entry in experiment.ledger.entries()
        if entry.event == "done" and entry.key in experiment.wells and entry.report.wrote == wrote
    ]


def _complete(experiment: Experiment, entry: Entry) -> _Completed:
    """Write the levels that one unit's images lack."""
    excluded = entry.report.excluded
    n_images, problem = 0, ""
    with record_outputs(experiment.url) as outputs:
        for field in experiment.wells[entry.key].fields:
            url = experiment.image_url(entry.key, field)
            try:
                if entry.report.wrote == "source":
                    n_images += field not in excluded and add_levels(url) > 0
                else:
                    n_images += add_levels(f"{url}/labels/{entry.stage}", like=url) > 0
            except FileNotFoundError:
                # Labels of fields that were excluded; of others 'validate' finds what is gone.
                continue
            except DamageError as error:
                problem = str(error)
    return _Completed(entry, outputs, n_images, problem)


def _note(writer: LedgerWriter, completed: _Completed) -> None:
    """Say again that a unit is done, with the files that it has now."""
    entry, result = completed.entry, completed.entry.result
    if OUTPUTS in result:  # an earlier i2r took note of none
        result = result | {OUTPUTS: result[OUTPUTS] | completed.outputs}
    writer.write(
        entry.stage, entry.key, "done", entry.fingerprint,
        attempt=entry.attempt, seconds=entry.seconds, worker=entry.worker, result=result,
    )  # fmt: skip
    writer.flush()
