"""The units of work of a pipeline: what each waits for, and whether its output is current."""

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from i2r.pipeline.spec import Pipeline
from i2r.stages.base import FINISH, WHOLE, Stage
from i2r.store.experiment import Experiment
from i2r.store.ledger import Entry

State = Literal["waiting", "ready", "running", "done", "failed", "blocked"]


@dataclass(slots=True, eq=False)
class Unit:
    """One unit of work of one stage."""

    stage: Stage
    key: str
    state: State = "waiting"
    fingerprint: str = ""
    waits_for: int = 0
    # A list of their own only for units that have several: there may be a million units.
    dependents: "Sequence[Unit | _Gate]" = ()
    attempt: int = 0
    # Done before, with the same inputs: there was nothing to do.
    was_current: bool = False
    error: str = ""

    @property
    def name(self) -> str:
        """How messages and the ledger's readers call it: ``segment PLATE/B03``."""
        return f"{self.stage.title} {self.key}"


@dataclass(slots=True, eq=False)
class _Gate:
    """Stands between several units and those that wait for all of them: fewer edges."""

    waits_for: int = 0
    dependents: "Sequence[Unit | _Gate]" = ()


class UnitGraph:
    """All units of a pipeline, kept up while they finish one after another.

    A unit waits for what it reads: the units that its stage names (`Stage.upstream_keys`), else the
    unit of the same key; where there is none, all units of the stage that it needs, the last one
    included. Units of one stage may wait for others of it (`Stage.follows`). A unit is ready when
    everything it waits for is done, failed or blocked, and blocked when then nothing it could
    read of a stage is done.

    Parameters
    ----------
    pipeline, experiment
        What to do and where.
    only
        Names of the stages to run; the others count as done where the ledger says so. None for
        all.
    damaged
        Stage and key of done units whose output is gone or changed: they run again.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        experiment: Experiment,
        *,
        only: Collection[str] | None = None,
        damaged: Collection[tuple[str, str]] = (),
    ) -> None:
        self.experiment = experiment
        self.stages = pipeline.stages
        self._by_title = {stage.title: stage for stage in pipeline.stages}
        self.units: dict[str, dict[str, Unit]] = {}
        self._open: dict[str, int] = {}
        self._waiting_for_stage: dict[str, list[Unit]] = {}
        self._gates: dict[tuple[str, tuple[str, ...]], _Gate] = {}
        self._digests: dict[str, str] = {}
        self._group_digests: dict[tuple[str, tuple[str, ...]], str] = {}
        self._ready = deque[Unit]()
        # Done so far, but what they wrote is replaced by a unit that is about to run.
        self._lost = set(damaged)
        for stage in pipeline.stages:
            self._add_stage(stage, runs=only is None or stage.title in only)

    def _add_stage(self, stage: Stage, *, runs: bool) -> None:
        """Make the units of a stage and tie them to what they wait for."""
        title = stage.title
        keys = list(stage.keys(self.experiment))
        if len(set(keys)) != len(keys):
            raise AssertionError(f"stage {title!r} lists a unit twice")
        units = self.units[title] = {key: Unit(stage, key) for key in keys}
        self._waiting_for_stage.setdefault(title, [])
        last = Unit(stage, FINISH) if stage.has_finish() else None
        self._open[title] = len(units) + (last is not None)
        if not runs:
            self._take_from_ledger(stage, units, last)
            return
        for unit in units.values():
            for name in stage.needs:
                used = self.find_read(stage, unit.key, name)
                if used is not None:
                    self._tie(unit, name, used)
                elif self._open[name]:
                    self._waiting_for_stage[name].append(unit)
                    unit.waits_for += 1
            self._tie(unit, title, stage.follows(self.experiment, unit.key))
        if last is not None:
            # For all others of its stage together: see `settle`.
            last.waits_for = min(len(units), 1)
            units[FINISH] = last
        self._ready += [unit for unit in units.values() if not unit.waits_for]

    def find_read(self, stage: Stage, key: str, name: str) -> Sequence[str] | None:
        """List the units of the stage of a name that a unit of another stage reads.

        Waiting, fingerprints and job arrays ask here, so that they agree.

        Returns
        -------
        sequence of str, or None
            None for the whole stage.
        """
        used = stage.upstream_keys(self.experiment, key, self._by_title[name])
        # Two stages that are one unit each: the later one reads the earlier one's tables.
        if used is None and key in self.units[name] and key != WHOLE:
            return [key]
        return used

    def _tie(self, unit: Unit, name: str, keys: Sequence[str]) -> None:
        """Let a unit wait for some units of a stage."""
        if len(keys) == 1:
            waited: Unit | _Gate = self.units[name][keys[0]]
        elif keys:
            waited = self._make_gate(name, tuple(keys))
        if keys and not _is_settled(waited):
            _add_dependent(waited, unit)
            unit.waits_for += 1

    def _make_gate(self, name: str, keys: tuple[str, ...]) -> _Gate:
        """Give the gate that opens when all these units of a stage are settled."""
        gate = self._gates.get((name, keys))
        if gate is None:
            gate = self._gates[name, keys] = _Gate()
            alone = (gate,)
            for key in keys:
                unit = self.units[name][key]
                if not _is_settled(unit):
                    if unit.dependents:
                        _add_dependent(unit, gate)
                    else:
                        unit.dependents = alone
                    gate.waits_for += 1
        return gate

    def _take_from_ledger(self, stage: Stage, units: dict[str, Unit], last: Unit | None) -> None:
        """Give the units of a stage that does not run the state that the ledger knows."""
        if last is not None:
            units[FINISH] = last
        for key, unit in units.items():
            entry = self.experiment.ledger.entry(stage.title, key)
            done = entry is not None and entry.event == "done"
            unit.state = "done" if done else "blocked"
            unit.fingerprint = entry.fingerprint if entry is not None and done else ""
            unit.was_current = True
            unit.error = "" if done else f"{unit.name} was not run"
        self._open[stage.title] = 0

    def __iter__(self) -> Iterator[Unit]:
        for units in self.units.values():
            yield from units.values()

    def take_ready(self) -> list[Unit]:
        """Take the units that became ready since the last call; each has its fingerprint.

        Units that turned out to be current or blocked are settled here and not returned, except
        blocked ones, whose state the caller records.
        """
        taken = []
        while self._ready:
            unit = self._ready.popleft()
            reason = self._resolve(unit)
            if reason:
                unit.error = reason
                self.settle(unit, "blocked")
                taken.append(unit)
            elif self._is_current(unit):
                unit.was_current = True
                self.settle(unit, "done")
            else:
                unit.state = "ready"
                self._lose(unit)
                taken.append(unit)
        return taken

    def _is_current(self, unit: Unit) -> bool:
        """Tell whether a unit is done with its present inputs, and nobody replaces its output."""
        title = unit.stage.title
        return (title, unit.key) not in self._lost and self.experiment.ledger.is_done(
            title, unit.key, unit.fingerprint
        )

    def list_damaged(self) -> set[str]:
        """Name the units that run again because their output is gone or changed, ``stage:key``."""
        return {f"{stage}:{key}" for stage, key in self._lost}

    def list_upstream(self, unit: Unit) -> tuple[list[tuple[str, str]], list[str]]:
        """List what a unit reads: other units one by one, and stages as a whole.

        Returns
        -------
        units : list of (str, str)
            Stage and key.
        whole : list of str
            Stages of which it reads what there is.
        """
        units: list[tuple[str, str]] = []
        whole = [unit.stage.title] if unit.key == FINISH else []
        for name in unit.stage.needs if unit.key != FINISH else ():
            used = self.find_read(unit.stage, unit.key, name)
            if used is None:
                whole.append(name)
            else:
                units += [(name, key) for key in used]
        if unit.key != FINISH:
            title = unit.stage.title
            units += [(title, key) for key in unit.stage.follows(self.experiment, unit.key)]
        return units, whole

    def find_lost(self, unit: Unit) -> list[Entry]:
        """List what the ledger calls done and a unit, once it begins, deletes or replaces."""
        entries = [
            self.experiment.ledger.entry(title, key)
            for title, key in unit.stage.replaces(self.experiment, unit.key)
        ]
        return [entry for entry in entries if entry is not None and entry.event == "done"]

    def _lose(self, unit: Unit) -> None:
        """Take note of what is not done any more once a unit begins."""
        for entry in self.find_lost(unit):
            self._lost.add((entry.stage, entry.key))
            lost = self.units.get(entry.stage, {}).get(entry.key)
            # Of a stage that does not run this time, so nobody will make it again.
            if lost is not None and lost.state == "done" and lost.was_current:
                lost.state, lost.error = "blocked", f"{unit.name} replaces what {lost.name} wrote"

    def settle(self, unit: Unit, state: State) -> None:
        """Note how a unit ended, and make ready what waited only for it."""
        unit.state = state
        title = unit.stage.title
        self._open[title] -= 1
        if self._open[title] == 1 and unit.key != FINISH and FINISH in self.units[title]:
            self._release(self.units[title][FINISH])
        for dependent in unit.dependents:
            self._release(dependent)
        unit.dependents = ()
        if not self._open[title]:
            for waiting in self._waiting_for_stage[title]:
                self._release(waiting)
            self._waiting_for_stage[title] = []

    def _release(self, waiting: Unit | _Gate) -> None:
        waiting.waits_for -= 1
        if waiting.waits_for:
            return
        if isinstance(waiting, Unit):
            self._ready.append(waiting)
            return
        for dependent in waiting.dependents:
            self._release(dependent)
        waiting.dependents = ()

    def _resolve(self, unit: Unit) -> str:
        """Compute a ready unit's fingerprint; return why it is blocked, or nothing."""
        stage, upstream = unit.stage, dict[str, str]()
        if unit.key == FINISH:
            digest = self._digest(stage.title)
            if not digest:
                return f"no unit of {stage.title} is done"
            upstream[stage.title] = digest
        else:
            followed = tuple(stage.follows(self.experiment, unit.key))
            for name in stage.needs:
                units = self.units[name]
                used = self.find_read(stage, unit.key, name)
                verb = self._by_title[name].stage
                required = stage.chosen_upstream.get(verb, stage.chosen_upstream.get("*", True))
                if used is not None and not used and (followed or not required):
                    continue  # it reads what units of its own stage wrote, or the last one reads it
                if used is None:
                    upstream[name] = self._digest(name) or "absent"
                    # A report is wanted most when something failed: it reads what there is.
                    if upstream[name] == "absent" and required:
                        return f"no unit of {name} is done"
                    continue
                prints = {k: units[k].fingerprint for k in used if units[k].state == "done"}
                if not prints:
                    first = units[used[0]] if used else None
                    return f"{first.name} is not done" if first else f"it uses nothing of {name}"
                upstream.update({f"{name}:{k}": prints.get(k, "absent") for k in used})
            if followed:
                upstream[stage.title] = self._digest_group(stage.title, followed)
                if not upstream[stage.title]:
                    return f"{self.units[stage.title][followed[0]].name} is not done"
        unit.fingerprint = stage.fingerprint(self.experiment, unit.key, upstream)
        return ""

    def _digest_group(self, title: str, keys: tuple[str, ...]) -> str:
        """Fingerprint those of some units of a stage together that are done; empty for none."""
        if (title, keys) not in self._group_digests:
            units = self.units[title]
            done = [key for key in keys if units[key].state == "done"]
            self._group_digests[title, keys] = _digest_prints(done, units)
        return self._group_digests[title, keys]

    def _digest(self, title: str) -> str:
        """Fingerprint all done units of a stage together; empty when none is done."""
        if not self._open[title] and title in self._digests:
            return self._digests[title]
        units = self.units[title]
        digest = _digest_prints(sorted(k for k, u in units.items() if u.state == "done"), units)
        if not self._open[title]:
            self._digests[title] = digest
        return digest


def _digest_prints(keys: Sequence[str], units: Mapping[str, Unit]) -> str:
    """Fingerprint those of some units together; empty for none.

    It is that of the list of their keys and fingerprints as Python writes it, which for a million
    units is too long to be held.
    """
    if not keys:
        return ""
    digest, between = sha256(b"["), ""
    for key in keys:
        digest.update(f"{between}{(key, units[key].fingerprint)!r}".encode())
        between = ", "
    digest.update(b"]")
    return digest.hexdigest()[:32]


def _add_dependent(waited: Unit | _Gate, dependent: Unit | _Gate) -> None:
    """Let one more wait for a unit, or a gate."""
    if not isinstance(waited.dependents, list):
        waited.dependents = list(waited.dependents)
    waited.dependents.append(dependent)


def _is_settled(waited: Unit | _Gate) -> bool:
    """Tell whether nothing has to wait for a unit, or a gate, any more."""
    if isinstance(waited, Unit):
        return waited.state in ("done", "failed", "blocked")
    return not waited.waits_for
