"""The ledger: the last event by run and line counts, and no crash of its writer can change that."""

import errno
import json
import os
import tracemalloc
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from i2r.errors import DiskFullError, InputError
from i2r.store import files
from i2r.store import state as folded_state
from i2r.store.ledger import Entry, Ledger, LedgerWriter
from i2r.store.unit_result import EventKind, PackedEntries, UnitResult

KINDS = st.sampled_from(["start", "done", "failed", "blocked"])
# What one run writes: (stage, key, event) in the order of lines.
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["crop", "segment"]), st.sampled_from(["P/A01", "P/A02", "*"]), KINDS
    ),
    max_size=8,
)


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A ledger's place, local or not."""
    if request.param == "local":
        yield str(tmp_path / "ledger")
    else:
        name = uuid.uuid4().hex
        yield f"memory://{name}/ledger"
        files.remove_tree("memory://", name)


def write_run(
    url: str, run: int, events: list[tuple[Any, ...]], *, times: list[float] | None = None
) -> None:
    """Write one segment by hand, so that its clock can be wrong."""
    lines = [
        json.dumps({"stage": s, "key": k, "event": e, "fingerprint": f"{run}-{n}", "time_s": times[n] if times else 0.0})
        for n, (s, k, e) in enumerate(events)
    ]  # fmt: skip
    files.write_bytes(f"{url}/{run:06d}.jsonl", "".join(f"{line}\n" for line in lines).encode())


def state(ledger: Ledger) -> dict[tuple[str, str], Entry]:
    return {(e.stage, e.key): e for e in ledger.entries()}


# ------------------------------------------------------------------------------- what counts


def test_an_absent_ledger_is_empty(url: str) -> None:
    ledger = Ledger(url)
    assert list(ledger.entries()) == []
    assert ledger.last_run == 0
    assert ledger.entry("crop", "P/A01") is None
    assert not ledger.is_done("crop", "P/A01", "")
    assert ledger.result("crop", "P/A01") is None


def test_everything_written_is_read_back(url: str) -> None:
    ledger = Ledger(url)
    writer = LedgerWriter(ledger, 1)
    writer.write("crop", "P/A01", "start", "f1", attempt=1)
    writer.flush()
    result = {"fields": 2, "excluded": {"1": "größe"}, "deep": [1, {"x": None}]}
    writer.write(
        "crop", "P/A01", "done", "f1", attempt=2, seconds=1.5, worker="cpu-0", result=result
    )
    writer.write(
        "crop", "P/A02", "failed", "f2", error='line\nbreak " quote', traceback="Trace\n  x"
    )
    writer.close()
    again = state(Ledger(url))
    assert {k: v._replace(line=0) for k, v in again.items()} == {
        k: v._replace(line=0) for k, v in state(ledger).items()
    }
    done = again["crop", "P/A01"]
    assert (done.event, done.attempt, done.seconds, done.worker) == ("done", 2, 1.5, "cpu-0")
    assert done.result == result
    assert again["crop", "P/A02"].error == 'line\nbreak " quote'


def test_done_means_done_with_the_same_fingerprint(url: str) -> None:
    ledger = Ledger(url)
    writer = LedgerWriter(ledger, 1)
    writer.write("crop", "P/A01", "done", "one", result={"fields": 3})
    writer.close()
    for opened in (ledger, Ledger(url)):
        assert opened.is_done("crop", "P/A01", "one")
        assert not opened.is_done("crop", "P/A01", "two")
        assert not opened.is_done("segment", "P/A01", "one")
        assert opened.result("crop", "P/A01") == {"fields": 3}
    later = LedgerWriter(Ledger(url), 2)
    later.write("crop", "P/A01", "start", "one")
    later.close()
    assert not Ledger(url).is_done("crop", "P/A01", "one"), "a later start takes it back"
    assert Ledger(url).result("crop", "P/A01") is None


@given(
    runs=st.dictionaries(st.integers(1, 2_000_000), EVENTS, max_size=5),
    clock=st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_the_last_event_by_run_and_line_counts_whatever_the_clock_says(
    runs: dict[int, list[tuple[str, str, str]]],
    clock: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    url = str(tmp_path_factory.mktemp("ledger"))
    expected = {}
    for run in sorted(runs):
        for n, (stage, key, event) in enumerate(runs[run]):
            expected[stage, key] = (event, run, f"{run}-{n}")
    for run in clock.sample(sorted(runs), len(runs)):  # written in any order, at any time
        write_run(url, run, runs[run], times=[clock.uniform(0, 1e9) for _ in runs[run]])
    ledger = Ledger(url)
    assert {k: (e.event, e.run, e.fingerprint) for k, e in state(ledger).items()} == expected
    assert ledger.last_run == max(runs, default=0)
    for stage in ("crop", "segment"):
        done = sorted(
            k for (s, k), (e, *_) in expected.items() if (s, e) == (stage, "done") and k != "*"
        )
        assert ledger.done_keys(stage) == done


@given(runs=st.lists(EVENTS, max_size=4), folded_after=st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_folding_at_any_point_changes_nothing(
    runs: list[list[tuple[str, str, str]]],
    folded_after: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    plain, folding = (str(tmp_path_factory.mktemp("ledger")) for _ in range(2))
    for number, events in enumerate(runs, start=1):
        for url in (plain, folding):
            write_run(url, number, events)
        if number == folded_after:
            Ledger(folding).fold()
    unfolded, folded = Ledger(plain), Ledger(folding)
    assert state(folded) == state(unfolded)
    assert folded.last_run == unfolded.last_run
    for stage in ("crop", "segment"):
        assert folded.is_merged(stage) == unfolded.is_merged(stage)
    folded.fold()
    assert state(Ledger(folding)) == state(unfolded)


def test_a_folded_ledger_does_not_read_its_segments_again(url: str) -> None:
    write_run(url, 1, [("crop", "P/A01", "done")])
    Ledger(url).fold()
    files.remove_file(f"{url}/000001.jsonl")
    assert Ledger(url).done_keys("crop") == ["P/A01"]
    assert Ledger(url).last_run == 1
    write_run(url, 2, [("crop", "P/A01", "failed")])
    assert Ledger(url).done_keys("crop") == []


@pytest.mark.parametrize("group_rows", [1, 3, 100])
def test_units_in_several_row_groups_are_found_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group_rows: int
) -> None:
    monkeypatch.setattr(folded_state, "GROUP_ROWS", group_rows)
    url, keys = str(tmp_path / "ledger"), [f"P/A{n:02d}" for n in range(1, 11)]
    writer = LedgerWriter(Ledger(url), 1)
    for n, key in enumerate(keys):
        excluded = {"1": "dark"} if n == 4 else {}
        writer.write("crop", key, "done", f"f{n}", result={"nuclei": n, "excluded": excluded})
    writer.write("crop", "*", "done", "last")
    writer.close()
    wanted = {key: f"f{n}" for n, key in enumerate(keys)} | {"P/B01": "new"}
    folded = Ledger(url)
    folded.fold({"crop": wanted}, wanted_by="me")
    # What was folded is dropped, and read back from the state.
    ledger = Ledger(url)
    for each in (folded, ledger):
        assert each.done_keys("crop") == keys
        assert each.result("crop", "P/A08") == {"nuclei": 7, "excluded": {}}
        assert each.entry("crop", "P/B01") is None
        assert each.is_done("crop", "P/A10", "f9")
        assert not each.is_done("crop", "P/A10", "f8")
        assert not each.is_done("crop", "P/B01", "new")
        assert each.list_obsolete("crop") == {"*"}
        matching = r'"excluded": \{"'
        assert [e.key for e in each.entries("crop", matching=matching)] == ["P/A05"]
        assert each.tally("crop", wanted_by="me") == {("done", True): 10, ("", False): 1}
    writer = LedgerWriter(ledger, 2)
    writer.write("crop", "P/A03", "failed", "f2")
    writer.write("crop", "P/B01", "done", "new")
    assert [e.key for e in ledger.entries("crop")] == [*keys, "P/B01"]
    assert ledger.done_keys("crop") == [*keys[:2], *keys[3:], "P/B01"]
    assert ledger.tally("crop", wanted_by="me") == {("done", True): 10, ("failed", False): 1}
    writer.close()
    ledger.fold()
    assert [e.key for e in Ledger(url).entries("crop")] == [*keys[:2], *keys[3:], "P/A03", "P/B01"]
    assert Ledger(url).tally("crop", wanted_by="me") == {("done", True): 10, ("failed", False): 1}


def test_damage_in_a_later_row_group_gives_every_unit_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folded_state, "GROUP_ROWS", 3)
    url, keys = str(tmp_path / "ledger"), [f"P/A{n:02d}" for n in range(1, 11)]
    write_run(url, 1, [("crop", key, "done") for key in keys])
    Ledger(url).fold()
    path = Path(url, "state.parquet")
    data = path.read_bytes()
    at = pq.ParquetFile(path).metadata.row_group(2).column(3).data_page_offset
    path.write_bytes(
        data[: at + 30] + bytes(255 - byte for byte in data[at + 30 : at + 40]) + data[at + 40 :]
    )
    write_run(url, 2, [("crop", "P/A02", "failed")])
    events = [(e.key, e.event) for e in Ledger(url).entries("crop")]
    expected = [(key, "failed" if key == "P/A02" else "done") for key in keys]
    assert sorted(events) == expected
    ledger = Ledger(url)
    assert ledger.is_done("crop", "P/A08", "1-7")
    assert ledger.done_keys("crop") == [keys[0], *keys[2:]]


def test_a_state_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    url = str(tmp_path / "ledger")
    write_run(
        url, 1, [(stage, f"P/A{n:02d}", "done") for stage in ("crop", "segment") for n in (1, 2)]
    )
    Ledger(url).fold()
    path = Path(url, "state.parquet")
    file = pq.ParquetFile(path)
    own = json.loads(file.metadata.metadata[b"i2r"])
    del own["groups"]
    groups = [file.read_row_group(number) for number in range(2)]
    with pq.ParquetWriter(
        path, file.schema_arrow.with_metadata({b"i2r": json.dumps(own)})
    ) as writer:
        for group in groups:
            writer.write_table(group)
    files.remove_file(f"{url}/000001.jsonl")
    assert Ledger(url).done_keys("segment") == ["P/A01", "P/A02"]
    assert Ledger(url).last_run == 1


def test_a_stage_is_merged_only_while_nothing_ran_after_its_last_unit(url: str) -> None:
    write_run(url, 1, [("crop", "P/A01", "done"), ("crop", "*", "start")])
    assert not Ledger(url).is_merged("crop")
    write_run(url, 2, [("crop", "*", "done"), ("segment", "P/A01", "done")])
    assert Ledger(url).is_merged("crop")
    assert not Ledger(url).is_merged("segment")
    write_run(url, 3, [("crop", "P/A02", "start")])
    assert not Ledger(url).is_merged("crop")


# ------------------------------------------------------------------------------- crashes


def test_cut_at_any_byte_the_complete_lines_count(tmp_path: Path) -> None:
    writer = LedgerWriter(Ledger(str(tmp_path)), 1)
    for n, (key, event) in enumerate(
        [("P/A01", "start"), ("P/A02", "start"), ("P/A01", "done"), ("P/A02", "failed")]
    ):
        writer.write("crop", key, event, f"f{n}", error="ünicode\n" if event == "failed" else "")  # type: ignore[arg-type]
    writer.close()
    segment = tmp_path / "000001.jsonl"
    data = segment.read_bytes()
    ends = [n + 1 for n, byte in enumerate(data) if byte == ord("\n")]
    assert len(ends) == 4
    states = []
    for complete in range(5):
        segment.write_bytes(data[: ends[complete - 1] if complete else 0])
        states.append(state(Ledger(str(tmp_path))))
    for cut in range(len(data) + 1):
        segment.write_bytes(data[:cut])
        # A line is complete with its closing brace; the line break may be lost.
        complete = sum(end - 1 <= cut for end in ends)
        assert state(Ledger(str(tmp_path))) == states[complete], f"cut at byte {cut}"


def test_a_last_line_of_zeros_after_a_power_cut_is_ignored(tmp_path: Path) -> None:
    write_run(str(tmp_path), 1, [("crop", "P/A01", "done")])
    with (tmp_path / "000001.jsonl").open("ab") as file:
        file.write(b"\0" * 300)
    assert Ledger(str(tmp_path)).done_keys("crop") == ["P/A01"]


@pytest.mark.parametrize(
    "damage",
    [b"xx", b'{"stage": "crop"', b"5", b"{}", b'{"stage":"crop","surprise":1}', b"\xff\xfe"],
)
def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(
    damage: bytes, tmp_path: Path
) -> None:
    write_run(str(tmp_path), 1, [("crop", "P/A01", "done"), ("crop", "P/A02", "done")])
    segment = tmp_path / "000001.jsonl"
    first, rest = segment.read_bytes().split(b"\n", 1)
    segment.write_bytes(first + b"\n" + damage + b"\n" + rest)
    with pytest.raises(InputError, match=r"000001\.jsonl line 2: .*damaged"):
        Ledger(str(tmp_path))


def test_a_later_run_never_appends_to_an_earlier_segment(tmp_path: Path) -> None:
    write_run(str(tmp_path), 1, [("crop", "P/A01", "done")])
    before = (tmp_path / "000001.jsonl").read_bytes()
    writer = LedgerWriter(Ledger(str(tmp_path)), 1)
    writer.write("crop", "P/A02", "done", "f")
    with pytest.raises(FileExistsError):
        writer.flush()
    assert (tmp_path / "000001.jsonl").read_bytes() == before


def test_nothing_is_written_before_the_first_event(tmp_path: Path) -> None:
    LedgerWriter(Ledger(str(tmp_path / "ledger")), 1).close()
    assert not (tmp_path / "ledger").exists()


def test_what_was_flushed_can_be_read_by_others_at_once(url: str) -> None:
    writer = LedgerWriter(Ledger(url), 4)
    for number in range(1, 4):
        writer.write("crop", f"P/A{number:02d}", "start", "f")
        assert len(list(Ledger(url).entries())) == number - 1
        writer.flush()
        writer.flush()
        assert len(list(Ledger(url).entries())) == number
    assert Ledger(url).last_run == 4
    writer.close()


def test_parts_of_a_run_on_an_object_store_keep_their_order() -> None:
    url = f"memory://{uuid.uuid4().hex}/ledger"
    writer = LedgerWriter(Ledger(url), 1)
    for number in range(12):
        writer.write("crop", "P/A01", "start" if number % 2 else "failed", f"f{number}")
        writer.flush()
    writer.close()
    assert len(files.list_folder(url)) == 12
    entry = Ledger(url).entry("crop", "P/A01")
    assert entry is not None
    assert entry.fingerprint == "f11"


class Choking:
    """A file on a disk that fills up in the middle of a line."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self.room = file, room

    def write(self, data: Any) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._file.write(bytes(data)[: self.room])
        self.room -= written
        return int(written)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_an_interrupt_in_the_middle_of_a_line_damages_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(number: int) -> None:
        os.ftruncate(number, os.fstat(number).st_size - 5)  # as if the rest was still to be written
        raise KeyboardInterrupt

    writer = LedgerWriter(Ledger(str(tmp_path)), 1)
    writer.write("crop", "P/A01", "done", "f1")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        writer.flush()
    monkeypatch.undo()
    writer.write("crop", "P/A02", "done", "f2")
    writer.close()
    assert Ledger(str(tmp_path)).done_keys("crop") == ["P/A01", "P/A02"]


def test_a_disk_that_fills_in_the_middle_of_a_line_damages_nothing(tmp_path: Path) -> None:
    writer = LedgerWriter(Ledger(str(tmp_path)), 1)
    writer.write("crop", "P/A01", "done", "f1")
    writer.flush()
    choking = writer._file = Choking(writer._file, room=20)  # type: ignore[assignment]
    writer.write("crop", "P/A02", "done", "f2")
    with pytest.raises(DiskFullError, match="no space left"):
        writer.flush()
    assert Ledger(str(tmp_path)).done_keys("crop") == ["P/A01"]
    choking.room = 10_000  # somebody made space
    writer.write("crop", "P/A03", "done", "f3")
    writer.close()
    assert Ledger(str(tmp_path)).done_keys("crop") == ["P/A01", "P/A02", "P/A03"]


def test_what_a_unit_reports_has_names_and_defaults(tmp_path: Path) -> None:
    url = f"{tmp_path}/ledger"
    writer = LedgerWriter(Ledger(url), 1)
    writer.write(
        "crop", "P1/A01", "done", "x", result={"nuclei": 7, "left_out": {"edge": 2}, "own": 1}
    )
    writer.write("crop", "P1/A02", "failed", "x", result={"nuclei": 7})
    writer.close()
    ledger = Ledger(url)
    report = ledger.report("crop", "P1/A01")
    assert (report.nuclei, report.left_out, report.encoders, report.wrote) == (
        7,
        {"edge": 2},
        None,
        "",
    )
    assert ledger.result("crop", "P1/A01") == {"nuclei": 7, "left_out": {"edge": 2}, "own": 1}
    for key in ("P1/A02", "P1/A03"):
        assert ledger.report("crop", key) == UnitResult()


REPORTS = st.dictionaries(
    st.text(), st.one_of(st.none(), st.floats(allow_nan=False), st.text(), st.lists(st.text()))
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(get_args(EventKind)), st.text() | st.just("0123456789abcdef" * 2),
            st.integers(-(2**63), 2**63 - 1), REPORTS, st.text(),
        ),
        max_size=4,
    )
)  # fmt: skip
def test_packed_entries_are_the_entries_again(given: list[Any]) -> None:
    """Before and after there is a report whose words the others share."""
    packed = PackedEntries()
    entries = [
        Entry("crop", f"P/A{n}", event, fingerprint, n, line, 2, 1.5, 0.25, "w", result, error)
        for n, (event, fingerprint, line, result, error) in enumerate(given)
    ]
    for entry in entries:
        packed.add(entry)
    assert [packed[key].unpack("crop", key) for key in packed] == entries
    for entry in entries:
        head = packed[entry.key][:4]
        assert head == (entry.event, entry.fingerprint, entry.run, entry.line)
    assert len(packed) == len(entries)


def test_a_run_of_many_units_takes_little_memory(tmp_path: Path) -> None:
    """With what a well of nine fields wrote, as objects, an entry takes 4.9 kB."""
    ledger = Ledger(str(tmp_path))
    paths = [f"plates/P1.ome.zarr/B/3/{n}/{name}" for n in range(9) for name in ("0", "zarr.json")]
    keys = [f"P1/{n}" for n in range(500)]
    tracemalloc.start()
    try:
        for n, key in enumerate(keys):
            outputs = {path: [10**6 + n, (n + 1) * 7919 * at] for at, path in enumerate(paths)}
            ledger.record(
                Entry(
                    "convert", key, "done", "f", 1, n, 1, 1.7e9, 2.5, "cpu-0", {"outputs": outputs}
                )
            )
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert used / len(keys) < 800
    assert (ledger.result("convert", keys[7]) or {})["outputs"][paths[1]] == [10**6 + 7, 8 * 7919]


@pytest.mark.parametrize(
    "changed", [{"event": "donetrue"}, {"event": ""}, {"fingerprint": "0" * 70_000}]
)
def test_what_no_event_is_like_is_damage(changed: dict[str, str], url: str) -> None:
    line = {"stage": "crop", "key": "P/A01", "event": "done", "fingerprint": "0", **changed}
    files.write_bytes(f"{url}/000001.jsonl", f"{json.dumps(line)}\n\n".encode())
    with pytest.raises(InputError, match=r"000001.jsonl line 1: no event, the ledger is damaged"):
        Ledger(url)


def test_a_slice_of_a_number_that_no_line_can_have_is_refused(url: str) -> None:
    files.write_bytes(f"{url}/000001.999999999.000001.jsonl", b"")
    with pytest.raises(InputError, match="found a number that no run has"):
        Ledger(url)
