"""What happened to a unit last, and what it reports of itself when it is done."""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple


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
    """An entry in a quarter of its memory or less: a run holds one of every unit that it ran.

    Attributes
    ----------
    event, fingerprint, run, line
        As in `Entry`.
    details
        The other values, but for stage and key, as compressed JSON.
    """

    event: EventKind
    fingerprint: str
    run: int
    line: int
    details: bytes

    @classmethod
    def pack(cls, entry: Entry) -> "PackedEntry":
        """Pack an entry."""
        details = json.dumps(entry[_FIRST_DETAIL:], separators=(",", ":"))
        own = (entry.event, entry.fingerprint, entry.run, entry.line)
        return cls(*own, zlib.compress(details.encode(), 1))

    def unpack(self, stage: str, key: str) -> Entry:
        """Make the entry of a unit again."""
        details = json.loads(zlib.decompress(self.details))
        return Entry(stage, key, self.event, self.fingerprint, self.run, self.line, *details)


_FIRST_DETAIL = Entry._fields.index("line") + 1

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
