"""The run loop: submits ready units in a bounded window and records what becomes of each."""

import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from hashlib import sha256
from itertools import count

from i2r.cluster import WorkerKind
from i2r.errors import DiskFullError, I2RError
from i2r.pipeline.capacity import explain_excess, find_peak
from i2r.pipeline.deaths import DeathNote
from i2r.pipeline.executors import Executor
from i2r.pipeline.homes import Homes
from i2r.pipeline.progress import Progress
from i2r.pipeline.submissions import Finished
from i2r.pipeline.summary import Summary, collect_excluded, find_blocked
from i2r.pipeline.timings import Timings
from i2r.pipeline.units import Unit, UnitGraph
from i2r.pipeline.work import Outcome, Work, describe_failure, run_units
from i2r.store.damage import find_owner
from i2r.store.experiment import Experiment
from i2r.store.ledger import LedgerWriter
from i2r.store.outputs import OUTPUTS, Mark, is_of_array
from i2r.store.outputs import damaged as describe_damage

ATTEMPTS = 3
BUNDLE_MOST = 64


class RunLoop:
    """Runs the units of a graph on an executor.

    The ledger gets a durable ``start`` before a unit is submitted and ``done`` only after its
    output is complete, so whoever is killed at any moment loses at most the units in flight.

    Parameters
    ----------
    graph
        The units.
    executor
        Where they run.
    writer
        The run's ledger segment.
    progress
        What the user sees meanwhile.
    eligible
        Units that may run, ``name:key``; None for all. The others are left as they are.
    check
        Called again and again; its `I2RError` stops the run.
    token
        What identifies the run's lock: a unit writes only while that is there.
    """

    def __init__(
        self,
        graph: UnitGraph,
        executor: Executor,
        writer: LedgerWriter,
        progress: Progress,
        *,
        eligible: Collection[str] | None = None,
        check: Callable[[], None] = lambda: None,
        token: str = "",
    ) -> None:
        self._token = token
        self.graph, self.executor, self.writer, self.progress = graph, executor, writer, progress
        self.experiment: Experiment = graph.experiment
        self._eligible, self._check = eligible, check
        self._ready: dict[str, deque[Unit]] = {s.title: deque() for s in graph.stages}
        self._flying: dict[int, list[Unit]] = {}
        self._in_window: Counter[WorkerKind] = Counter()
        self._handles, self._run_id = count(1), uuid.uuid4().hex[:12]
        self._cost_s: dict[str, float] = {}
        self._homes = Homes()
        self._limits: dict[WorkerKind, int] = {}
        self._ran: Counter[str] = Counter()
        self._timings = Timings(executor.slots("cpu") + executor.slots("gpu"))
        # A unit whose worker died may be the one that kills. It runs again when nothing else does,
        # and only then counts its death as an attempt: whoever flew beside it is not to blame.
        self._suspected = set[Unit]()
        self._suspects = deque[Unit]()
        self._disk_full = ""
        self._damaged = set[tuple[str, str]]()

    def run(self) -> Summary:
        """Run everything that is not current; return when nothing is left."""
        started = time.perf_counter()
        stopped = ""
        try:
            self._take_ready()
            while self._flying or self._suspects or any(self._ready.values()):
                self._check()
                if not self._disk_full:
                    self._submit()
                elif not self._flying:
                    break
                self._collect(self.executor.wait(0.5))
                self.progress.refresh()
        except KeyboardInterrupt:
            stopped = "interrupted: the units in flight are lost, everything else is kept."
        except DiskFullError as error:
            self._disk_full = str(error)
        except I2RError as error:  # the cluster is gone, or the lock
            stopped = str(error)
        if self._disk_full:
            stopped = self._disk_full
        try:
            self.writer.close()
        except I2RError as error:
            stopped = str(error)
        units = list(self.graph)
        return Summary(
            ran=self._ran,
            failed=[u for u in units if u.state == "failed"],
            blocked=[u for u in find_blocked(self.graph) if self._may_run(u)],
            excluded=collect_excluded(self.graph),
            seconds=time.perf_counter() - started,
            stopped=stopped,
            timings=self._timings.describe(time.perf_counter() - started),
            damaged=frozenset(self._damaged),
        )

    def _may_run(self, unit: Unit) -> bool:
        name = f"{unit.stage.title}:{unit.key}"
        return self._eligible is None or name in self._eligible

    def _take_ready(self) -> None:
        """Queue what became ready, record what is blocked, settle what is current."""
        while taken := self.graph.take_ready():
            for unit in taken:
                title = unit.stage.title
                if unit.state == "blocked":
                    if self._may_run(unit):
                        self.writer.write(title, unit.key, "blocked", "", error=unit.error)
                        self.progress.count(title, "blocked")
                elif not self._may_run(unit):
                    unit.error = "not run this time"
                    self.graph.settle(unit, "blocked")
                else:
                    self._ready[title].append(unit)

    # ------------------------------------------------------------------ out

    def _group(self, unit: Unit) -> WorkerKind:
        """Give the workers a unit runs on: without GPU workers everything runs on CPUs."""
        wanted = unit.stage.worker_group
        return wanted if self.executor.slots(wanted) else "cpu"

    def _submit(self) -> None:
        """Fill the windows, later stages first, so that wells flow through to the end."""
        for title in reversed(self._ready):
            waiting = self._ready[title]
            while waiting:
                group = self._group(waiting[0])
                if self._in_window[group] >= self.executor.window(group):
                    break
                self._submit_bundle(waiting, group)
        if self._suspects and not self._flying:
            self._submit_bundle(self._suspects, self._group(self._suspects[0]))

    def _submit_bundle(self, waiting: deque[Unit], group: WorkerKind) -> None:
        units, works = list[Unit](), list[Work]()
        near = ""
        if waiting is not self._suspects:
            has_room = partial(self.executor.has_room, group=group)
            near = self._homes.bring_forward(waiting, has_room)
        size = self._bundle_size(waiting, group)
        while waiting and len(units) < size:
            unit = waiting.popleft()
            unit.attempt += 1
            try:
                peak = find_peak(unit.stage, self.experiment, unit.key)
                if excess := self._find_excess(unit, group, peak):
                    self._settle(unit, Outcome(error=excess, final=True))
                    continue
                graph = (
                    unit.stage.build(self.experiment, unit.key)
                    if unit.key != "*"
                    else (unit.stage.finish(self.experiment, self._done_keys(unit)))
                )
            except Exception as error:  # one unit's bug must not end the others
                self._settle(unit, describe_failure(error, worker="client"))
                continue
            if graph is None:
                self.writer.write(unit.stage.title, unit.key, "done", unit.fingerprint)
                self.graph.settle(unit, "done")
                continue
            unit.state = "running"
            for lost in self.graph.find_lost(unit):
                self.writer.write(
                    lost.stage, lost.key, "lost", lost.fingerprint, error=f"{unit.name} replaced it"
                )
            self.writer.write(
                unit.stage.title, unit.key, "start", unit.fingerprint, attempt=unit.attempt
            )
            units.append(unit)
            works.append(
                Work(
                    unit.name,
                    graph,
                    unit.stage.threads,
                    base=self.experiment.url,
                    expected=self._find_marks(unit),
                    token=self._token,
                    deaths=self._note_deaths(unit) if self.executor.hands_back else None,
                    peak_bytes=peak,
                )
            )
        self._take_ready()
        self.writer.flush()
        if not units:
            return
        handle = next(self._handles)
        self._flying[handle] = units
        self._in_window[group] += 1
        first = units[0]
        # A scheduler that outlives a client has its results by name: another run, or another
        # fingerprint, is another name.
        name = (
            f"{first.stage.title}-{handle}-{first.key}-attempt{first.attempt}"
            f"-{first.fingerprint[:12]}-{self._run_id}"
        )
        self.executor.submit(
            handle, name, run_units, works, group=group, threads=first.stage.threads, near=near
        )

    def _find_excess(self, unit: Unit, group: WorkerKind, peak: int) -> str:
        """Say that a unit does not fit, which may show only now, by what earlier stages found."""
        if group not in self._limits:
            self._limits[group] = self.executor.memory_bytes(group)
        limit = self._limits[group]
        return explain_excess(unit.stage, unit.key, peak, group=group, limit=limit)

    def _note_deaths(self, unit: Unit) -> DeathNote:
        """Give where it is noted that a unit begins, in this run."""
        title = unit.stage.title
        name = sha256(f"{self._run_id} {unit.name}".encode()).hexdigest()[:32]
        url = self.experiment.path("runs", "begun", f"{name}.json")
        return DeathNote(url, f"{self.experiment.model_url(title, unit.key)}.")

    def _find_marks(self, unit: Unit) -> dict[str, Mark]:
        """Find what the files that a unit reads should be; of single units, not of whole stages."""
        marks: dict[str, Mark] = {}
        for stage, key in self.graph.list_upstream(unit)[0]:
            outputs = (self.experiment.ledger.result(stage, key) or {}).get(OUTPUTS, {})
            # Arrays hold their own checksums.
            marks |= {
                self.experiment.path(path): Mark(*mark)
                for path, mark in outputs.items()
                if not is_of_array(path)
            }
        return marks

    def _done_keys(self, last: Unit) -> list[str]:
        units = self.graph.units[last.stage.title].values()
        return [u.key for u in units if u.state == "done" and u is not last]

    def _bundle_size(self, waiting: deque[Unit], group: WorkerKind) -> int:
        """Give how many units travel together, leaving work for others; see `Executor.bundle_s`."""
        cost_s = self._cost_s.get(waiting[0].stage.title)
        if cost_s is None or waiting is self._suspects:
            return 1
        fair = -(-len(waiting) // (2 * max(1, self.executor.slots(group))))
        within = int(self.executor.bundle_s / max(cost_s, 1e-3))
        most = min(within, BUNDLE_MOST, fair)
        return 1 if most < 2 else min(most, self._homes.count_together(waiting))

    # ------------------------------------------------------------------ in

    def _collect(self, finished: list[Finished]) -> None:
        for item in finished:
            units = self._flying.pop(item.handle)
            self._in_window[self._group(units[0])] -= 1
            if item.error is None:
                for unit, outcome in zip(units, item.value, strict=True):
                    self._homes.note(unit, item.address, seconds=outcome.seconds)
                    self._settle(unit, outcome)
                continue
            for unit in units:
                if self.executor.hands_back:
                    # A death that the client knows of counts as an attempt.
                    self._note_deaths(unit).end()
                unit.attempt -= unit not in self._suspected
                self._suspected.add(unit)
                self._settle(unit, Outcome(error=describe_loss(item.error)))
        if finished:
            self._take_ready()
            self.writer.flush()

    def _settle(self, unit: Unit, outcome: Outcome) -> None:
        """Record how an attempt ended; try again what may have been bad luck."""
        title = unit.stage.title
        if outcome.disk_full:
            self._disk_full = outcome.error
            unit.state = "ready"
            return
        if outcome.damaged and (owner := find_owner(self.experiment, outcome.damaged)):
            # Another try would read the same; the unit that wrote it has to run again first.
            self._damaged.add(owner)
            if not outcome.final:
                error = str(describe_damage(outcome.damaged, "missing"))
                outcome = replace(outcome, final=True, error=error, traceback="")
        if outcome.error and not outcome.final and unit.attempt < ATTEMPTS:
            unit.state = "ready"
            (self._suspects if unit in self._suspected else self._ready[title]).append(unit)
            return
        details = {
            "attempt": unit.attempt,
            "seconds": round(outcome.seconds, 4),
            "worker": outcome.worker,
        }
        self._timings.add(title, unit.key, "failed" if outcome.error else "done", outcome)
        if outcome.error:
            unit.error = outcome.error
            self.writer.write(
                title,
                unit.key,
                "failed",
                unit.fingerprint,
                error=outcome.error,
                traceback=outcome.traceback,
                **details,
            )
            self.graph.settle(unit, "failed")
            self.progress.count(title, "failed")
            return
        before = self._cost_s.get(title)
        cost_s = outcome.seconds
        self._cost_s[title] = cost_s if before is None else 0.7 * before + 0.3 * cost_s
        self.writer.write(
            title, unit.key, "done", unit.fingerprint, result=outcome.result, **details
        )
        self._ran[title] += 1
        self.graph.settle(unit, "done")
        self.progress.count(title, "done", outcome)


def describe_loss(error: BaseException) -> str:
    """Say why a submission never came back."""
    clear = isinstance(error, I2RError)
    return str(error) if clear else f"worker lost: {type(error).__name__}: {error}"
