"""The folded state of a ledger: one row per unit, one row group per stage of a Parquet file.

A stage is read on demand, and counted without making an object of every unit, so an experiment of
millions of units opens at once. The file also says which fingerprint the latest run wanted of
every unit: with it, what is out of date is counted without computing any fingerprint again.
"""

import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from i2r.store import files
from i2r.store.unit_result import UnitResult

# "lost": it was done, and another unit is about to delete or replace what it wrote.
EventKind = Literal["start", "done", "failed", "blocked", "lost"]


class Entry(NamedTuple):
    """The last thing that happened to one unit."""

    stage: str
    key: str
    event: EventKind
    fingerprint: str
    run: int
    line: int
    attempt: int = 1
    time_s: float = 0.0
    seconds: float = 0.0
    worker: str = ""
    result: dict[str, Any] = {}
    error: str = ""
    traceback: str = ""

    @property
    def report(self) -> UnitResult:
        """What the unit reported of itself; nothing where it is not done."""
        return UnitResult.parse(self.result if self.event == "done" else {})


_NUMBERS = {"run": "int64", "line": "int64", "attempt": "int64", "time_s": "float64"}
_NUMBERS |= {"seconds": "float64"}
# What the latest run wanted: null where its pipeline has no such unit, '=' for the row's own
# fingerprint (nothing to store), empty where there was nothing that the unit could have read.
WANTED, SAME = "wanted", "="
_SCHEMA = pa.schema(
    [(name, _NUMBERS.get(name, "string")) for name in Entry._fields] + [(WANTED, "string")]
)
# Two counts of a stage's units: by last event ('' before the first), and whether it is current.
Tally = Counter[tuple[str, bool]]


# What reading a damaged state may raise.
DAMAGED = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError)

_KINDS: Mapping[str, tuple[type, ...]] = {
    "stage": (str,), "key": (str,), "event": (str,), "fingerprint": (str,), "attempt": (int,),
    "time_s": (int, float), "seconds": (int, float), "worker": (str,), "result": (dict,),
    "error": (str,), "traceback": (str,),
}  # fmt: skip


def check_record(record: Mapping[str, Any]) -> None:
    """Refuse a line of the ledger that has values of other types than events have.

    Raises
    ------
    ValueError
        If one has.
    """
    for name, value in record.items():
        kinds = _KINDS.get(name, ())
        if not isinstance(value, kinds) or (
            isinstance(value, int) and not -(2**63) < value < 2**63
        ):
            raise ValueError(f"{name} is {str(value)[:40]!r}")


class FoldedState:
    """What ``state.parquet`` holds; nothing where there is none.

    Parameters
    ----------
    url
        The file; it need not exist.
    """

    def __init__(self, url: str) -> None:
        self.last_run, self.wanted_by = 0, ""
        self._groups: dict[str, int] = {}
        if not url or not files.exists(url):
            return
        try:
            # Without any of Arrow's threads: see `i2r.store.tables`.
            buffer = pa.BufferReader(files.read_bytes(url))
            self._file = pq.ParquetFile(buffer, pre_buffer=False, page_checksum_verification=True)
            own = json.loads(self._file.schema_arrow.metadata[b"i2r"])
            self._groups = {stage: number for number, stage in enumerate(own["stages"])}
            self.last_run, self.wanted_by = int(own["last_run"]), str(own["wanted_by"])
            if not 0 <= self.last_run < 10**9 or self._file.num_row_groups != len(self._groups):
                raise ValueError("no state")
        except PermissionError:
            raise
        except DAMAGED:
            # Damaged, or of another i2r: nothing is in it that is not in the segments.
            self._groups, self.last_run, self.wanted_by = {}, 0, ""

    @property
    def stages(self) -> list[str]:
        """The stages that have a unit."""
        return list(self._groups)

    def read(self, stage: str, columns: Iterable[str] = _SCHEMA.names) -> pa.Table:
        """Read columns of one stage's units; no rows where it has none."""
        names = list(columns)
        if stage not in self._groups:
            return _SCHEMA.empty_table().select(names)
        group = self._groups[stage]
        return self._file.read_row_group(group, columns=names, use_threads=False).select(names)

    def entries(self, stage: str) -> dict[str, Entry]:
        """Make an entry of every unit of one stage that was ever begun, by key."""
        table = self.read(stage, Entry._fields)
        table = table.filter(pc.not_equal(table["event"], ""))
        columns = [table[name].to_pylist() for name in Entry._fields]
        at = Entry._fields.index("result")
        columns[at] = [json.loads(text) if text != "{}" else {} for text in columns[at]]
        return {row[1]: Entry(*row) for row in zip(*columns, strict=True)}

    def wanted(self, stage: str) -> dict[str, str]:
        """Give the fingerprint that the latest run wanted of every unit of a stage, by key."""
        table = self.read(stage, ("key", "fingerprint", WANTED))
        table = table.filter(pc.is_valid(table[WANTED]))
        columns = (table[name].to_pylist() for name in table.column_names)
        return {k: own if w == SAME else w for k, own, w in zip(*columns, strict=True)}

    def obsolete(self, stage: str) -> frozenset[str]:
        """Name the units of a stage that were begun, and that the latest run does not have.

        None where it did not have the stage at all: then it says nothing about its units.
        """
        table = self.read(stage, ("key", "event", WANTED))
        is_wanted = pc.is_valid(table[WANTED])
        if not pc.any(is_wanted).as_py():
            return frozenset()
        table = table.filter(pc.and_(pc.invert(is_wanted), pc.not_equal(table["event"], "")))
        return frozenset(table["key"].to_pylist())

    def tally(self, stage: str, newer: Mapping[str, Entry]) -> Tally:
        """Count the units of a stage that the latest run wanted.

        Parameters
        ----------
        stage
            The stage.
        newer
            What happened to some units since, by key.
        """
        counts: Tally = Counter()
        table = self.read(stage, ("event", WANTED, *(("key", "fingerprint") if newer else ())))
        table = table.filter(pc.is_valid(table[WANTED]))
        if newer:
            is_newer = pc.is_in(table["key"], value_set=pa.array(list(newer), "string"))
            changed = table.filter(is_newer).to_pylist()
            table = table.filter(pc.invert(is_newer))
            for row in changed:
                entry = newer[row["key"]]
                wanted = row["fingerprint"] if row[WANTED] == SAME else row[WANTED]
                is_done = entry.event == "done" and entry.fingerprint == wanted
                counts[entry.event, is_done] += 1
        current = pc.and_(pc.equal(table["event"], "done"), pc.equal(table[WANTED], SAME))
        grouped = pa.table({"event": table["event"], "current": current})
        by = grouped.group_by(["event", "current"], use_threads=False)
        for row in by.aggregate([([], "count_all")]).to_pylist():
            counts[row["event"], row["current"]] += row["count_all"]
        return counts


def tabulate(entries: Mapping[str, Entry], wanted: Mapping[str, str], stage: str) -> pa.Table:
    """Make the rows of one stage.

    Parameters
    ----------
    entries
        The last events by key.
    wanted
        The fingerprints that are wanted by key; units without an event get a row too.
    stage
        The stage.
    """
    never = [
        Entry(stage, key, "", "", 0, 0)  # type: ignore[arg-type]
        for key in wanted
        if key not in entries
    ]
    rows = [*entries.values(), *never]
    columns = dict(zip(Entry._fields, map(list, zip(*rows, strict=True)), strict=False))
    if not rows:
        return _SCHEMA.empty_table()
    columns["result"] = [json.dumps(value) if value else "{}" for value in columns["result"]]
    columns[WANTED] = [
        SAME if row.fingerprint and fingerprint == row.fingerprint else fingerprint
        for row, fingerprint in ((row, wanted.get(row.key)) for row in rows)
    ]
    return pa.table(columns, schema=_SCHEMA)


def write_state(url: str, stages: Mapping[str, pa.Table], *, last_run: int, wanted_by: str) -> None:
    """Write the state, replacing it in one step.

    Parameters
    ----------
    url
        Where to write.
    stages
        The rows of every stage.
    last_run
        The latest run whose events are in it.
    wanted_by
        What tells whether the wanted fingerprints still are those.
    """
    filled = {stage: table for stage, table in stages.items() if len(table)}
    own = {"last_run": last_run, "wanted_by": wanted_by, "stages": list(filled)}
    buffer = io.BytesIO()
    schema = _SCHEMA.with_metadata({b"i2r": json.dumps(own).encode()})
    with pq.ParquetWriter(buffer, schema, compression="zstd", write_page_checksum=True) as writer:
        for table in filled.values():
            writer.write_table(table, row_group_size=len(table))
    files.write_bytes(url, buffer.getvalue())
