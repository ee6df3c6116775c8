"""How many units of every stage are done, out of date or to do; of millions of units as well.

What a unit's fingerprint would be now decides whether it is out of date. Computing all of them
takes long, so every run leaves in the ledger's state what it wants of every unit, together with a
digest of all that fingerprints depend on. While the digest is the same, so are the fingerprints.
"""

import json
from collections import Counter
from collections.abc import Collection
from hashlib import sha256
from importlib.metadata import version

from i2r.pipeline.spec import Pipeline
from i2r.pipeline.units import UnitGraph
from i2r.stages.base import Stage
from i2r.store import files
from i2r.store.experiment import Experiment

STATES = ("done", "out of date", "failed", "blocked", "interrupted", "to do")
_CHECKPOINT = ".checkpoint"
_WORDS = {"done": "out of date", "start": "interrupted", "lost": "to do", "": "to do"}


def count_states(pipeline: Pipeline, experiment: Experiment) -> dict[str, Counter[str]]:
    """Count the units of every stage by what the ledger knows of them.

    Returns
    -------
    dict
        By stage: ``done``, ``out of date`` (done with other inputs), ``failed``, ``blocked``,
        ``interrupted`` and ``to do``.
    """
    wanted_by = digest_inputs(pipeline, experiment)
    counts: dict[str, Counter[str]] = {}
    for stage in pipeline.stages:
        tally = experiment.ledger.tally(stage.title, wanted_by=wanted_by)
        if tally is None:
            return recount_states(pipeline, experiment)
        of_stage = counts[stage.title] = Counter()
        for (event, current), number in tally.items():
            of_stage["done" if current else _WORDS.get(event, event)] += number
    return counts


def is_settled(
    pipeline: Pipeline, experiment: Experiment, *, only: Collection[str] | None = None
) -> bool:
    """Tell whether the ledger's state says that all units are done with their present inputs.

    No unit is looked at, so a screen of thousands of plates takes seconds. False also where the
    state does not know.
    """
    wanted_by = digest_inputs(pipeline, experiment)
    for stage in pipeline.stages:
        if only is not None and stage.title not in only:
            continue
        tally = experiment.ledger.tally(stage.title, wanted_by=wanted_by)
        if not tally or any(event != "done" or not current for event, current in tally):
            return False
    return experiment.is_described()


def recount_states(pipeline: Pipeline, experiment: Experiment) -> dict[str, Counter[str]]:
    """Count as `count_states` does, from the fingerprints of all units as they are now."""
    counts: dict[str, Counter[str]] = {stage.title: Counter() for stage in pipeline.stages}
    for unit in look_ahead(pipeline, experiment):
        entry = experiment.ledger.entry(unit.stage.title, unit.key)
        event = entry.event if entry is not None else ""
        # By the ledger, as `count_states` does: what other units will replace is done until then.
        current = unit.was_current or experiment.ledger.is_done(
            unit.stage.title, unit.key, unit.fingerprint
        )
        counts[unit.stage.title]["done" if current else _WORDS.get(event, event)] += 1
    return counts


def count_checkpoints(pipeline: Pipeline, experiment: Experiment) -> dict[str, int]:
    """Count the interrupted units of every stage that go on from a checkpoint.

    Those that were begun with the options and inputs of now; all fingerprints are computed, but
    only where there is a checkpoint at all.
    """
    begun: dict[str, dict[str, str]] = {}
    for stage in pipeline.stages:
        folder = experiment.path("models", stage.title)
        found = files.find_files(folder, lambda path: path.endswith(_CHECKPOINT))
        kept = [file.path for file in found]
        for entry in experiment.ledger.entries(stage.title) if kept else ():
            start = f"{experiment.model_url(stage.title, entry.key)}.".removeprefix(f"{folder}/")
            if entry.event == "start" and any(path.startswith(start) for path in kept):
                begun.setdefault(stage.title, {})[entry.key] = entry.fingerprint
    if not begun:
        return {}
    wanted = {(u.stage.title, u.key): u.fingerprint for u in look_ahead(pipeline, experiment)}
    counts = {
        title: sum(wanted.get((title, key)) == fingerprint for key, fingerprint in keys.items())
        for title, keys in begun.items()
    }
    return {title: number for title, number in counts.items() if number}


def look_ahead(pipeline: Pipeline, experiment: Experiment) -> UnitGraph:
    """Give all units their fingerprints, as if those that are not done were going to be."""
    graph = UnitGraph(pipeline, experiment)
    while taken := graph.take_ready():
        for unit in taken:
            if unit.state == "ready":
                graph.settle(unit, "done")
    return graph


def fold_ledger(pipeline: Pipeline, experiment: Experiment) -> None:
    """Fold the ledger before a run, with what the run wants of every unit (under the lock only).

    The experiment's description has to be stored before.
    """
    graph = look_ahead(pipeline, experiment)
    wanted = {
        title: {key: unit.fingerprint for key, unit in units.items()}
        for title, units in graph.units.items()
    }
    experiment.ledger.fold(wanted, wanted_by=digest_inputs(pipeline, experiment))


def digest_inputs(pipeline: Pipeline, experiment: Experiment) -> str:
    """Identify everything that the fingerprints of all units together depend on.

    Returns
    -------
    str
        Empty for an experiment that is not stored yet.
    """
    described = experiment.digest_description()
    if not described:
        return ""
    stages = [
        (type(stage).__qualname__, type(stage).version, stage.model_dump(mode="json"),
         _find_outside(stage, experiment))
        for stage in pipeline.stages
    ]  # fmt: skip
    content = json.dumps([version("i2r"), described, stages], separators=(",", ":"))
    return sha256(content.encode()).hexdigest()


def _find_outside(stage: Stage, experiment: Experiment) -> object:
    """Describe what a stage reads outside; ask every unit of one that does not say so."""
    outside = stage.external_files(experiment)
    if outside is None and type(stage).fingerprint_inputs is not Stage.fingerprint_inputs:
        return [stage.fingerprint_inputs(experiment, key) for key in stage.keys(experiment)]
    return outside
