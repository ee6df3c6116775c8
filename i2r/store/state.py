"""The folded state of a ledger: one row per unit, some row groups per stage of a Parquet file.

A stage is read on demand, a row group at a time, and counted without making an object of every
unit, so an experiment of millions of units opens at once and takes little memory. The file also
says which fingerprint the latest run wanted of every unit: with it, what is out of date is counted
without computing any fingerprint again.
"""

import io
import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import accumulate

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from i2r.store import files
from i2r.store.unit_result import Entry, PackedEntry

_NUMBERS = {"run": "int64", "line": "int64", "attempt": "int64", "time_s": "float64"}
_NUMBERS |= {"seconds": "float64"}
# What the latest run wanted: null where its pipeline has no such unit, '=' for the row's own
# fingerprint (nothing to store), empty where there was nothing that the unit could have read.
WANTED, SAME = "wanted", "="
_SCHEMA = pa.schema(
    [(name, _NUMBERS.get(name, "string")) for name in Entry._fields] + [(WANTED, "string")]
)
_RESULT = Entry._fields.index("result")
# Units of a row group; groups and entries of single units that are kept once they were read.
GROUP_ROWS = 2**13
_KEPT_GROUPS, _KEPT_ENTRIES = 32, 2**14
# Two counts of a stage's units: by last event ('' before the first), and whether it is current.
Tally = Counter[tuple[str, bool]]


# What reading a damaged state may raise.
DAMAGED = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError)


class FoldedState:
    """What ``state.parquet`` holds; nothing where there is none.

    Parameters
    ----------
    url
        The file; it need not exist.
    """

    def __init__(self, url: str) -> None:
        self.last_run, self.wanted_by = 0, ""
        # The row groups of every stage.
        self._groups: dict[str, range] = {}
        self._rows: dict[str, _Rows] = {}
        # Caches of this object: its file does not change.
        self._read_columns = lru_cache(_KEPT_GROUPS)(self._read_group_columns)
        self.entry = lru_cache(_KEPT_ENTRIES)(self._find_entry)
        if not url or not files.exists(url):
            return
        try:
            # Without any of Arrow's threads: see `i2r.store.tables`.
            buffer = pa.BufferReader(files.read_bytes(url))
            self._file = pq.ParquetFile(buffer, pre_buffer=False, page_checksum_verification=True)
            own = json.loads(self._file.metadata.metadata[b"i2r"])
            # Earlier a stage was one group.
            ends = list(accumulate(own.get("groups", [1] * len(own["stages"]))))
            starts = [0, *ends[:-1]]
            self._groups = {
                stage: range(start, end)
                for stage, start, end in zip(own["stages"], starts, ends, strict=True)
            }
            self.last_run, self.wanted_by = int(own["last_run"]), str(own["wanted_by"])
            n_groups = ends[-1] if ends else 0
            if not 0 <= self.last_run < 10**9 or self._file.num_row_groups != n_groups:
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

    def groups(self, stage: str) -> range:
        """Give the numbers of the row groups of a stage."""
        return self._groups.get(stage, range(0))

    def read(self, stage: str, columns: Iterable[str] = _SCHEMA.names) -> pa.Table:
        """Read columns of one stage's units; no rows where it has none."""
        names = list(columns)
        if stage not in self._groups:
            return _SCHEMA.empty_table().select(names)
        groups = list(self._groups[stage])
        return self._file.read_row_groups(groups, columns=names, use_threads=False).select(names)

    def read_group(self, group: int, columns: Iterable[str] = _SCHEMA.names) -> pa.Table:
        """Read columns of one row group."""
        names = list(columns)
        return self._file.read_row_group(group, columns=names, use_threads=False).select(names)

    def list_entries(self, group: int, *, matching: str = "") -> list[Entry]:
        """Make an entry of every unit of a row group that was ever begun.

        Parameters
        ----------
        group
            One of `groups`.
        matching
            Only of units whose result, as JSON, matches this regular expression.
        """
        table = self.read_group(group, Entry._fields)
        wanted = pc.not_equal(table["event"], "")
        if matching:
            wanted = pc.and_(wanted, pc.match_substring_regex(table["result"], matching))
        table = table.filter(wanted)
        columns = [table[name].to_pylist() for name in Entry._fields]
        columns[_RESULT] = [json.loads(text) if text != "{}" else {} for text in columns[_RESULT]]
        return [Entry(*row) for row in zip(*columns, strict=True)]

    def _find_entry(self, stage: str, key: str) -> Entry | None:
        """Make the entry of one unit; None where it was never begun."""
        found = self._find(stage, key)
        if found is None:
            return None
        columns, at = found
        values = [columns[name][at].as_py() for name in Entry._fields]
        values[_RESULT] = json.loads(values[_RESULT])
        return Entry(*values)

    def fingerprint_done(self, stage: str, key: str) -> str | None:
        """Give the fingerprint that a unit is done with; None where it is not done."""
        found = self._find(stage, key)
        if found is None or found[0]["event"][found[1]].as_py() != "done":
            return None
        fingerprint: str = found[0]["fingerprint"][found[1]].as_py()
        return fingerprint

    def _find(self, stage: str, key: str) -> tuple[Mapping[str, pa.Array], int] | None:
        """Give the columns of the group that a begun unit is in, and where in them."""
        if stage not in self._groups:
            return None
        if stage not in self._rows:
            blocks = (self.read_group(group, ("key",))["key"] for group in self._groups[stage])
            self._rows[stage] = _Rows(blocks)
        rows = self._rows[stage]
        for row in rows.find(key):
            group, at = rows.locate(row)
            columns = self._read_columns(self._groups[stage][group])
            if columns["key"][at].as_py() == key:
                return (columns, at) if columns["event"][at].as_py() else None
        return None

    def _read_group_columns(self, group: int) -> Mapping[str, pa.Array]:
        (batch,) = self.read_group(group).combine_chunks().to_batches()
        return dict(zip(batch.schema.names, batch.columns, strict=True))

    def find_latest(self, stage: str, *, but: Iterable[str] = ()) -> tuple[int, int]:
        """Give run and line of the last event of a stage; zeros where there is none.

        Parameters
        ----------
        stage
            The stage.
        but
            Units that don't count.
        """
        table = self.read(stage, ("key", "run", "line"))
        others = pa.array(list(but), "string")
        if len(others):
            table = table.filter(pc.invert(pc.is_in(table["key"], value_set=others)))
        if not len(table):
            return 0, 0
        run = pc.max(table["run"])
        lines = table["line"].filter(pc.equal(table["run"], run))
        return run.as_py(), pc.max(lines).as_py()

    def done_keys(self, stage: str) -> list[str]:
        """List the units of a stage that are done."""
        table = self.read(stage, ("key", "event"))
        keys: list[str] = table["key"].filter(pc.equal(table["event"], "done")).to_pylist()
        return keys

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

    def tally(self, stage: str, newer: Mapping[str, PackedEntry]) -> Tally:
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
    columns[WANTED] = _compare_wanted(columns["key"], columns["fingerprint"], wanted)
    return pa.table(columns, schema=_SCHEMA)


def _list_wanted(rows: pa.Table) -> dict[str, str]:
    """Give the fingerprint that the latest run wanted of units, by key."""
    rows = rows.filter(pc.is_valid(rows[WANTED]))
    columns = (rows[name].to_pylist() for name in ("key", "fingerprint", WANTED))
    return {k: own if w == SAME else w for k, own, w in zip(*columns, strict=True)}


def _compare_wanted(
    keys: Iterable[str], fingerprints: Iterable[str], wanted: Mapping[str, str]
) -> list[str | None]:
    """Say what is wanted of units, in short where that is what they have."""
    found = ((own, wanted.get(key)) for key, own in zip(keys, fingerprints, strict=True))
    return [SAME if own and now == own else now for own, now in found]


def update_rows(
    state: FoldedState,
    stage: str,
    newer: Mapping[str, PackedEntry],
    wanted: Mapping[str, str] | None,
) -> Iterator[pa.Table]:
    """Make the rows of one stage from those of a state and what happened since.

    Parameters
    ----------
    state
        The state.
    stage
        The stage.
    newer
        What happened to some units since, by key.
    wanted
        The fingerprints that are wanted by key; None keeps what the state says of them.
    """
    kept = {} if wanted is None else {key: wanted[key] for key in newer if key in wanted}
    left = set(wanted or ()).difference(newer)
    replaced = pa.array(list(newer), "string")
    for group in state.groups(stage):
        rows = state.read_group(group)
        if newer:
            is_newer = pc.is_in(rows["key"], value_set=replaced)
            if wanted is None:
                kept |= _list_wanted(rows.filter(is_newer))
            rows = rows.filter(pc.invert(is_newer))
        if wanted is not None:
            # Units that were never begun come at the end, as far as they still are wanted.
            rows = rows.filter(pc.not_equal(rows["event"], ""))
            keys, prints = (rows[name].to_pylist() for name in ("key", "fingerprint"))
            left.difference_update(keys)
            now = pa.array(_compare_wanted(keys, prints, wanted), "string")
            rows = rows.set_column(rows.schema.get_field_index(WANTED), WANTED, now)
        yield rows.cast(_SCHEMA)
    for keys in _cut(newer):
        entries = {key: newer[key].unpack(stage, key) for key in keys}
        yield tabulate(entries, {key: kept[key] for key in keys if key in kept}, stage)
    now_wanted = wanted or {}
    for keys in _cut(now_wanted):
        yield tabulate({}, {key: now_wanted[key] for key in keys if key in left}, stage)


def _cut(keys: Iterable[str]) -> Iterator[list[str]]:
    """Cut keys into parts of a group: only so many entries are held as objects at a time."""
    listed, size = list(keys), max(1, GROUP_ROWS // 8)
    for at in range(0, len(listed), size):
        yield listed[at : at + size]


def write_state(
    url: str, stages: Mapping[str, Iterable[pa.Table]], *, last_run: int, wanted_by: str
) -> None:
    """Write the state, replacing it in one step.

    Parameters
    ----------
    url
        Where to write.
    stages
        The rows of every stage, in any number of tables.
    last_run
        The latest run whose events are in it.
    wanted_by
        What tells whether the wanted fingerprints still are those.
    """
    buffer, groups = io.BytesIO(), dict[str, int]()
    with pq.ParquetWriter(buffer, _SCHEMA, compression="zstd", write_page_checksum=True) as writer:
        for stage, rows in stages.items():
            for block in _regroup(rows):
                writer.write_table(block, row_group_size=len(block))
                groups[stage] = groups.get(stage, 0) + 1
        own = {"last_run": last_run, "wanted_by": wanted_by, "stages": list(groups),
               "groups": list(groups.values())}  # fmt: skip
        writer.add_key_value_metadata({"i2r": json.dumps(own)})
    files.write_bytes(url, buffer.getvalue())


def _regroup(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Cut rows into groups of one size, the last one smaller."""
    kept: list[pa.Table] = []
    for table in tables:
        kept.append(table)
        if sum(map(len, kept)) < GROUP_ROWS:
            continue
        whole = pa.concat_tables(kept)
        full = len(whole) - len(whole) % GROUP_ROWS
        for at in range(0, full, GROUP_ROWS):
            yield whole.slice(at, GROUP_ROWS)
        kept = [whole.slice(full)]
    if sum(map(len, kept)):
        yield pa.concat_tables(kept)


class _Rows:
    """Where the units of one stage are: 16 bytes a unit, by a hash of its key.

    Parameters
    ----------
    blocks
        The keys of every row group.
    """

    def __init__(self, blocks: Iterable[pa.ChunkedArray]) -> None:
        parts, sizes = [], [0]
        for block in blocks:
            parts.append(np.fromiter(map(hash, block.to_pylist()), np.int64, len(block)))
            sizes.append(len(block))
        hashes = np.concatenate(parts)
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]
        self._starts = list(accumulate(sizes))

    def find(self, key: str) -> list[int]:
        """List the rows that may be a unit's."""
        wanted = hash(key)
        at, found = int(self._hashes.searchsorted(wanted)), list[int]()
        while at < len(self._hashes) and self._hashes[at] == wanted:
            found.append(int(self._order[at]))
            at += 1
        return found

    def locate(self, row: int) -> tuple[int, int]:
        """Give the number of a row's group, and where it is in it."""
        group = bisect_right(self._starts, row) - 1
        return group, row - self._starts[group]
