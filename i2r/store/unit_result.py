"""What happened to a unit last, and what it reports of itself when it is done."""

import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple, get_args


@dataclass(frozen=True, slots=True)
class UnitResult:
    """What a unit reports of itself, of everything that the ledger keeps the part with a meaning.

    Attributes
    ----------
    fields, nuclei
        How many of them it worked on.
    excluded
        Fields that later stages leave out, with the reasons.
    wrote
        Which arrays it wrote beside its tables: images, labels, or an illumination function.
    left_out
        Of crops: nuclei without one, by reason. None for units that cut no crops.
    after
        Of crops: the stages whose illumination functions and exclusions they follow.
    encoders
        Of embeddings: the names of their encoders, "" for a single one. None for other units.
    trained_by
        Of embeddings: the stage that trained the encoder on this screen; "" for a foreign one.
    trained
        Of trainings: whether there is an encoder.
    notes
        Lines for the user at the end of a run.
    """

    fields: int = 0
    nuclei: int = 0
    excluded: Mapping[str, str] = field(default_factory=dict)
    wrote: Literal["", "source", "labels", "illumination"] = ""
    left_out: Mapping[str, int] | None = None
    after: Sequence[str] = ()
    encoders: Sequence[str] | None = None
    trained_by: str = ""
    trained: bool = False
    notes: Sequence[str] = ()

    @classmethod
    def parse(cls, result: Mapping[str, Any]) -> "UnitResult":
        """Take what a unit returned, or the ledger's record of it; other entries are left alone."""
        return cls(**{name: result[name] for name in _NAMES if name in result})


_NAMES = tuple(each.name for each in fields(UnitResult))

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


class PackedEntry(NamedTuple):
    """An entry of which only the first values are unpacked.

    Attributes
    ----------
    event, fingerprint, run, line
        As in `Entry`.
    details, words
        The other values, but for stage and key, as compressed JSON; what its compression knew.
    """

    event: EventKind
    fingerprint: str
    run: int
    line: int
    details: bytes
    words: bytes

    def unpack(self, stage: str, key: str) -> Entry:
        """Make the entry of a unit again."""
        unpacker = zlib.decompressobj(-_WINDOW_BITS, zdict=self.words)
        details = json.loads(unpacker.decompress(self.details) + unpacker.flush())
        return Entry(stage, key, self.event, self.fingerprint, self.run, self.line, *details)


class PackedEntries(Mapping[str, PackedEntry]):
    """The last events of one stage's units by key, in a tenth of their memory.

    A run holds one of every unit that it ran. What the units of a stage report is much the same, so
    only what differs from the first report is kept.
    """

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}
        self._words = b""

    def add(self, entry: Entry) -> None:
        """Take an entry in the place of its unit's earlier one."""
        details = json.dumps(entry[_FIRST_DETAIL:], separators=(",", ":")).encode()
        packer = zlib.compressobj(1, zlib.DEFLATED, -_WINDOW_BITS, 5, zdict=self._words)
        kind = _EVENTS.index(entry.event)
        fingerprint = entry.fingerprint.encode("utf-8", "surrogatepass")
        if _is_digest(entry.fingerprint):
            kind, fingerprint = kind | _DIGEST, bytes.fromhex(entry.fingerprint)
        kind |= _KNOWS_WORDS * bool(self._words)
        head = _HEAD.pack(kind, len(fingerprint), entry.run, entry.line)
        self._packed[entry.key] = b"".join(
            [head, fingerprint, packer.compress(details), packer.flush()]
        )
        if entry.result and not self._words:
            self._words = details[: 2**_WINDOW_BITS]

    def __getitem__(self, key: str) -> PackedEntry:
        packed = self._packed[key]
        kind, length, run, line = _HEAD.unpack_from(packed)
        own, details = packed[_HEAD.size : _HEAD.size + length], packed[_HEAD.size + length :]
        fingerprint = own.hex() if kind & _DIGEST else own.decode("utf-8", "surrogatepass")
        words = self._words if kind & _KNOWS_WORDS else b""
        event = _EVENTS[kind % _KNOWS_WORDS]
        return PackedEntry(event, fingerprint, run, line, details, words)

    def __contains__(self, key: object) -> bool:
        return key in self._packed

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)


def _is_digest(text: str) -> bool:
    """Tell whether a text comes back from its bytes as a hexadecimal number."""
    return len(text) == 32 and not set(text) - set("0123456789abcdef")


_FIRST_DETAIL = Entry._fields.index("line") + 1
_EVENTS: tuple[EventKind, ...] = get_args(EventKind)
# Of a packed entry: kind of event and how it is packed, length of the fingerprint, run, line.
_HEAD = struct.Struct("<BHIq")
_KNOWS_WORDS, _DIGEST = 2**6, 2**7
# No stage's is longer than 32; it must fit what a packed entry says of its length.
LONGEST_FINGERPRINT = 1000
# Reports are small: a window of 4 kB is quick to begin with.
_WINDOW_BITS = 12

_KINDS: Mapping[str, tuple[type, ...]] = {
    "stage": (str,), "key": (str,), "event": (str,), "fingerprint": (str,), "attempt": (int,),
    "time_s": (int, float), "seconds": (int, float), "worker": (str,), "result": (dict,),
    "error": (str,), "traceback": (str,),
}  # fmt: skip


def check_record(record: Mapping[str, Any]) -> None:
    """Refuse a line of the ledger that has other values than events have.

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
    for name, is_known in (
        ("event", record.get("event", "done") in _EVENTS),
        ("fingerprint", len(record.get("fingerprint", "")) <= LONGEST_FINGERPRINT),
    ):
        if not is_known:
            raise ValueError(f"{name} is {record[name][:40]!r}")
