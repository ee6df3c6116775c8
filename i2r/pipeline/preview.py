"""What a run would compute, and which done units have to run again."""

from collections.abc import Callable, Collection

from i2r.pipeline.spec import Pipeline
from i2r.pipeline.status import is_settled
from i2r.pipeline.units import UnitGraph
from i2r.stages.base import FINISH
from i2r.store.damage import find_damage, iterate_outputs
from i2r.store.experiment import Experiment
from i2r.store.outputs import is_of_array

Say = Callable[[str], None]


def preview_units(
    pipeline: Pipeline,
    experiment: Experiment,
    *,
    only: Collection[str] | None = None,
    retry: bool = False,
    damaged: Collection[tuple[str, str]] = (),
) -> dict[str, list[str]]:
    """List the units that a run would compute, by stage, if none of them failed."""
    if not damaged and is_settled(pipeline, experiment, only=only):
        return {stage.title: [] for stage in pipeline.stages}
    graph = UnitGraph(pipeline, experiment, only=only, damaged=damaged)
    eligible = find_failed(graph) | graph.list_damaged() if retry else None
    pending: dict[str, list[str]] = {stage.title: [] for stage in pipeline.stages}
    while taken := graph.take_ready():
        for unit in taken:
            if unit.state == "blocked":
                continue
            name = f"{unit.stage.title}:{unit.key}"
            if eligible is not None and name not in eligible:
                graph.settle(unit, "blocked")
                continue
            pending[unit.stage.title].append(unit.key)
            graph.settle(unit, "done")
    return pending


def find_failed(graph: UnitGraph) -> set[str]:
    """Name the units that failed, were blocked or interrupted, and all that depend on them.

    Interrupted ones too, so that a retry that was stopped goes on with the next one.
    """
    ledger = graph.experiment.ledger
    affected: dict[str, set[str]] = {}
    for stage in graph.stages:
        units = graph.units[stage.title]
        found = {
            key
            for key in units
            if (entry := ledger.entry(stage.title, key)) and entry.event != "done"
        }
        for name in stage.needs:
            found |= {
                key
                for key in units
                if key in affected[name] or (affected[name] and key not in graph.units[name])
            }
        if found:
            # Later passes of a stage over what earlier ones left.
            for key in (key for key in units if key != FINISH):
                if not found.isdisjoint(stage.follows(graph.experiment, key)):
                    found.add(key)
        affected[stage.title] = found | ({FINISH} & set(units) if found else set())
    return {f"{title}:{key}" for title, keys in affected.items() for key in keys}


def find_damaged_units(
    pipeline: Pipeline,
    experiment: Experiment,
    *,
    only: Collection[str] | None = None,
    retry: bool = False,
    say: Say = lambda line: None,
    deep: Collection[str] | None = None,
) -> tuple[set[tuple[str, str]], dict[str, list[str]]]:
    """Find what a run would compute, done units whose output is gone or changed among it.

    Of everything it is looked whether it is there with the right size. The tables and models of a
    stage that a unit is about to read as a whole are read, and compared with their checksums;
    workers do that with the other files that they read.

    Parameters
    ----------
    pipeline, experiment, only, retry, say, deep
        As for `run_pipeline`.

    Returns
    -------
    damaged : set of (str, str)
        Stage and key of those done units.
    preview : dict
        As of `preview_units`.
    """
    titles = [s.title for s in pipeline.stages if only is None or s.title in only]
    # Gone through anew each time: a screen of a thousand plates has too many files to list.
    found = find_damage(experiment, iterate_outputs(experiment, stages=titles))
    if deep is not None:
        outputs = iterate_outputs(experiment, stages=titles)
        chosen = (output for output in outputs if not deep or output.key in deep)
        found += find_damage(experiment, chosen, content=True)
    damaged = {(damage.stage, damage.key) for damage in found}
    pending = preview_units(pipeline, experiment, only=only, retry=retry, damaged=damaged)
    if not any(pending.values()):
        return damaged, pending
    graph = UnitGraph(pipeline, experiment, only=only)
    read = {
        title
        for stage, keys in pending.items()
        for key in keys
        for title in graph.list_upstream(graph.units[stage][key])[1]
    }
    outputs = iterate_outputs(experiment, stages=read.intersection(titles))
    tables = (output for output in outputs if not is_of_array(output.path))
    unread = find_damage(experiment, tables, content=True)
    found += unread
    for line in dict.fromkeys(damage.line for damage in found[:5]):
        say(line)
    if found:
        damaged = {(damage.stage, damage.key) for damage in found}
        say(f"to be made again: {list_units(damaged)}")
    if unread:
        pending = preview_units(pipeline, experiment, only=only, retry=retry, damaged=damaged)
    return damaged, pending


def list_units(units: Collection[tuple[str, str]]) -> str:
    """Name some units, at most five of them."""
    names = [f"{stage} {key}" for stage, key in sorted(units)]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
