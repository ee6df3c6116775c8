"""What a unit reports of itself when it is done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal


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
