"""The ledger: which unit of work is done, with which inputs, and what became of the others.

JSON lines, one segment per run (``ledger/000007.jsonl``), never appended to by a later run. A
unit is done when its last event, over all segments in the order of run number and line, is
``done`` with the wanted fingerprint. Nothing else commits anything: the existence of a file or a
group means nothing. A torn last line (the writer was killed) is ignored. ``state.parquet`` folds
all finished segments, so that thousands of plates open quickly.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import IO, Any

from i2r.errors import DiskFullError, I2RError
from i2r.store import files
from i2r.store.segments import (
    PART_BITS,
    SLICE_BITS,
    append_durably,
    list_segments,
    read_segment,
)
from i2r.store.state import (
    DAMAGED,
    FoldedState,
    Tally,
    update_rows,
    write_state,
)
from i2r.store.unit_result import Entry, EventKind, PackedEntries, PackedEntry, UnitResult

__all__ = ["Entry", "EventKind", "Ledger", "LedgerWriter", "Tally"]


class Ledger:
    """What happened to every unit of an experiment, read once and kept up by the run loop.

    Parameters
    ----------
    url
        The experiment's ``ledger`` folder; it need not exist.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        # What is newer than the state.
        self._newer: dict[str, PackedEntries] = {}
        # Events that were recorded here, so that others may remember what they made of them.
        self.n_events = 0
        self._obsolete: dict[str, frozenset[str]] = {}
        self._read(FoldedState(files.join_url(url, "state.parquet")))

    def _read(self, state: FoldedState) -> None:
        """Take a state, and read all segments that are newer."""
        self._state, self.last_run = state, state.last_run
        for run, segment in list_segments(self.url):
            self.last_run = max(self.last_run, run)
            if run > state.last_run:
                for entry in read_segment(files.join_url(self.url, segment), run):
                    self.record(entry)

    def _forget_state(self) -> None:
        """Do without a damaged state: everything in it is in the segments too."""
        self._obsolete.clear()
        self._read(FoldedState(""))

    def record(self, entry: Entry) -> None:
        """Take note of one event; the latest one of a unit counts."""
        self.n_events += 1
        self._obsolete.pop(entry.stage, None)
        of_stage = self._newer.setdefault(entry.stage, PackedEntries())
        before: Entry | PackedEntry | None = of_stage.get(entry.key)
        if before is None and entry.run <= self._state.last_run:
            before = self.entry(entry.stage, entry.key)
        if before is None or (entry.run, entry.line) >= (before.run, before.line):
            of_stage.add(entry)

    @property
    def stages(self) -> list[str]:
        """The stages that the ledger knows."""
        return list(dict.fromkeys([*self._state.stages, *self._newer]))

    def _newer_than_state(self, stage: str) -> PackedEntries:
        return self._newer.get(stage, PackedEntries())

    def entry(self, stage: str, key: str) -> Entry | None:
        """Return the last event of a unit, None if it was never started."""
        found = self._newer_than_state(stage).get(key)
        if found is None:
            if not self._state.groups(stage):
                return None
            try:
                return self._state.entry(stage, key)
            except DAMAGED:
                self._forget_state()
                found = self._newer_than_state(stage).get(key)
        return found.unpack(stage, key) if found is not None else None

    def entries(self, stage: str | None = None, *, matching: str = "") -> Iterator[Entry]:
        """Iterate over the last events of one stage's units, or of all; not of obsolete ones.

        Only some of them are held at a time.

        Parameters
        ----------
        stage
            The stage; None for all.
        matching
            Only units whose result, as JSON, matches this regular expression: quicker than
            looking into all results. What happened since the state was written comes anyway.
        """
        for name in self.stages if stage is None else [stage]:
            obsolete = self.list_obsolete(name)
            for entry in self._iterate(name, matching):
                if entry.key not in obsolete:
                    yield entry

    def _iterate(self, stage: str, matching: str) -> Iterator[Entry]:
        """Iterate over the last events of one stage's units, those of obsolete ones too."""
        state, given = self._state, set[str]()
        newer = self._newer_than_state(stage)
        for group in state.groups(stage):
            try:
                found = state.list_entries(group, matching=matching)
            except DAMAGED:
                for earlier in range(state.groups(stage).start, group):
                    given.update(state.read_group(earlier, ("key",))["key"].to_pylist())
                self._forget_state()
                newer = self._newer_than_state(stage)
                break
            for entry in found:
                later = newer.get(entry.key)
                if later is not None:
                    given.add(entry.key)
                yield later.unpack(stage, entry.key) if later is not None else entry
        for key, packed in list(newer.items()):
            if key not in given:
                yield packed.unpack(stage, key)

    def list_obsolete(self, stage: str) -> frozenset[str]:
        """Name the units that the pipeline of the latest run does not have any more.

        Such as the wells of a plate that was taken out of the layout. Their results stay, and are
        used again when the plate comes back.
        """
        if stage not in self._obsolete:
            try:
                known = self._state.obsolete(stage)
            except DAMAGED:
                self._forget_state()
                return frozenset()
            self._obsolete[stage] = known.difference(self._newer_than_state(stage))
        return self._obsolete[stage]

    def is_done(self, stage: str, key: str, fingerprint: str) -> bool:
        """Tell whether the unit's last event is ``done`` with exactly these inputs."""
        entry = self._newer_than_state(stage).get(key)
        if entry is None:
            try:
                return self._state.fingerprint_done(stage, key) == fingerprint
            except DAMAGED:
                self._forget_state()
                entry = self._newer_than_state(stage).get(key)
        return entry is not None and entry.event == "done" and entry.fingerprint == fingerprint

    def done_keys(self, stage: str) -> list[str]:
        """List the units of a stage whose output may be read, without the last unit ``*``."""
        obsolete = self.list_obsolete(stage)
        try:
            done = self._state.done_keys(stage)
        except DAMAGED:
            self._forget_state()
            done = []
        newer = self._newer_than_state(stage)
        done = [key for key in done if key not in newer]
        done += [key for key, entry in newer.items() if entry.event == "done"]
        return sorted(key for key in done if key != "*" and key not in obsolete)

    def result(self, stage: str, key: str) -> dict[str, Any] | None:
        """Return what a done unit reported of itself, None if it is not done."""
        entry = self.entry(stage, key)
        return entry.result if entry is not None and entry.event == "done" else None

    def report(self, stage: str, key: str) -> UnitResult:
        """Give what a done unit reported of itself; nothing where it is not done."""
        entry = self.entry(stage, key)
        return entry.report if entry is not None else UnitResult()

    def is_merged(self, stage: str) -> bool:
        """Tell whether the stage's last unit is done and no other unit ran after it."""
        last = self.entry(stage, "*")
        if last is None or last.event != "done":
            return False
        position = (last.run, last.line)
        obsolete = self.list_obsolete(stage)
        try:
            if self._state.find_latest(stage, but=obsolete) > position:
                return False
        except DAMAGED:
            self._forget_state()
        newer = self._newer_than_state(stage).items()
        return all((e.run, e.line) <= position for key, e in newer if key not in obsolete)

    def tally(self, stage: str, *, wanted_by: str) -> Tally | None:
        """Count a stage's units by last event, and whether that is what the last run wanted.

        Parameters
        ----------
        stage
            The stage.
        wanted_by
            What the fingerprints depend on, as it is now.

        Returns
        -------
        Counter or None
            By event (empty where there was none) and whether the unit is current; None where
            what the last run wanted is not known, or is not what ``wanted_by`` gives.
        """
        if not wanted_by or self._state.wanted_by != wanted_by:
            return None
        try:
            return self._state.tally(stage, self._newer_than_state(stage))
        except DAMAGED:
            self._forget_state()
            return None

    def fold(
        self, wanted: Mapping[str, Mapping[str, str]] | None = None, *, wanted_by: str = ""
    ) -> None:
        """Write the state of all segments into ``state.parquet`` (under the run lock only).

        Parameters
        ----------
        wanted
            The fingerprints that a run is about to give its units, by stage and key; None
            keeps what is known.
        wanted_by
            What tells later whether the fingerprints still are those.
        """
        if self.last_run == self._state.last_run and wanted is None:
            return
        try:
            self._fold(wanted, wanted_by)
        except DAMAGED:
            self._forget_state()
            self._fold(wanted, wanted_by)

    def _fold(self, wanted: Mapping[str, Mapping[str, str]] | None, wanted_by: str) -> None:
        url = files.join_url(self.url, "state.parquet")
        tables = {
            stage: update_rows(
                self._state, stage, self._newer_than_state(stage),
                None if wanted is None else wanted.get(stage, {}),
            )
            for stage in dict.fromkeys([*self.stages, *(wanted or ())])
        }  # fmt: skip
        wanted_by = self._state.wanted_by if wanted is None else wanted_by
        write_state(url, tables, last_run=self.last_run, wanted_by=wanted_by)
        state = FoldedState(url)
        if state.last_run == self.last_run:
            self._state, self._newer = state, {}
        self._obsolete.clear()


class LedgerWriter:
    """Appends one run's events to its own segment.

    On a local disk a segment is one file, synchronised to the disk at every `flush`. Object
    stores can't append: there every flush makes one numbered object
    ``000007.000001.jsonl``, ``000007.000002.jsonl``, ...

    Parameters
    ----------
    ledger
        The experiment's ledger; events are recorded there too.
    run
        The run's number, taken under the run lock.
    slice_number
        Which of several writers of the same run this is, none of which touch the same units:
        its segment is ``000007.000003.jsonl``. None for a run's only writer.
    """

    def __init__(self, ledger: Ledger, run: int, *, slice_number: int | None = None) -> None:
        self._ledger, self._run = ledger, run
        self._pending, self._parts = list[str](), 0
        self._stem, self._lines = f"{run:06d}", 0
        if slice_number is not None:
            self._stem += f".{slice_number:06d}"
            # Its events come after those of a slice with a lower number.
            bits = PART_BITS if files.is_local(ledger.url) else SLICE_BITS
            self._lines = slice_number << bits
        self._file: IO[bytes] | None = None
        ledger.last_run = max(ledger.last_run, run)

    def write(
        self, stage: str, key: str, event: EventKind, fingerprint: str, **details: Any
    ) -> Entry:
        """Queue one event; `flush` makes it durable."""
        self._lines += 1
        entry = Entry(
            stage, key, event, fingerprint, self._run, self._lines, time_s=time.time(), **details
        )
        record = {k: v for k, v in entry._asdict().items() if k not in ("run", "line")}
        self._pending.append(json.dumps(record, separators=(",", ":")) + "\n")
        self._ledger.record(entry)
        return entry

    def flush(self) -> None:
        """Make everything queued durable.

        Raises
        ------
        DiskFullError
            If there is no space for it; what was durable before stays so.
        I2RError
            If it can't be written for another reason, such as a disk that became read-only, or if
            what was written before is gone.
        """
        self._check_presence()
        if not self._pending:
            return
        data = "".join(self._pending).encode()
        try:
            if files.is_local(self._ledger.url):
                if self._file is None:
                    path = files.local_path(self._ledger.url)
                    os.makedirs(path, exist_ok=True)
                    self._file = open(  # noqa: SIM115 - closed by close()
                        os.path.join(path, f"{self._stem}.jsonl"), "xb", buffering=0
                    )
                append_durably(self._file, data)
            else:
                self._parts += 1
                name = f"{self._stem}.{self._parts:06d}.jsonl"
                files.write_bytes(files.join_url(self._ledger.url, name), data)
        except FileExistsError:
            # Two writers of one segment: a bug, or a lock that was removed by hand.
            raise
        except OSError as error:
            if files.is_full(error):
                raise DiskFullError(
                    f"{self._ledger.url}: no space left for the ledger. "
                    "Free some space and run the same command again: it goes on where it stopped."
                ) from error
            raise I2RError(
                f"{self._ledger.url}: the ledger can't be written ({error.strerror or error}). "
                "Mend that and run the same command again: it goes on where it stopped."
            ) from error
        self._pending.clear()

    def _check_presence(self) -> None:
        """Refuse to go on when the segment is gone: a file without a name takes every line."""
        if self._file is not None:
            is_gone = not files.is_at(self._file, self._file.name)
        else:
            name = f"{self._stem}.{self._parts:06d}.jsonl"
            is_gone = self._parts > 0 and not files.exists(files.join_url(self._ledger.url, name))
        if is_gone:
            self._pending.clear()
            raise I2RError(
                f"{self._ledger.url}: the ledger of this run is gone, expected nobody to touch it. "
                "What was done is kept in 'state.parquet'; run the same command again for the rest."
            )

    def close(self) -> None:
        """Flush and close the segment."""
        try:
            self.flush()
        finally:
            if self._file is not None:
                self._file.close()
