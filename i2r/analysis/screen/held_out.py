"""What the comparisons of a screen hold out: pieces of wells, and the fold of each."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.kernels.splits import assign_folds, deal_groups, spread_controls

Indices = npt.NDArray[np.intp]
Objects = npt.NDArray[np.object_]
Kind = Literal["treated", "positive_control", "control_draw"]
SplitBy = Literal["well", "position", "plate", "batch", "field"]
COMPARED = ("treated", "positive_control")
# What the nuclei of a condition's only well are cut into, by turns.
HALVES = ("1/2", "2/2")


class Side(NamedTuple):
    """The pieces on one side of a comparison.

    Attributes
    ----------
    keys, fields
        Wells, and of each one field, or "" for the whole well. Where a condition has one well, its
        fields are `HALVES`.
    folds
        Of each piece.
    """

    keys: tuple[str, ...]
    fields: tuple[str, ...]
    folds: tuple[int, ...]


class Contrast(NamedTuple):
    """A set of wells against control wells, each in a fold.

    Attributes
    ----------
    condition, kind
        What the treated wells hold.
    treated, controls
        The pieces compared. Controls are one object for all comparisons that have the same.
    shape
        How its treated wells lie (`i2r.kernels.nulls.name_shape`): draws of the same shape are
        its null.
    """

    condition: str
    kind: Kind
    treated: Side
    controls: Side
    shape: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """The well of each piece, treated ones first."""
        return self.treated.keys + self.controls.keys

    @property
    def fields(self) -> tuple[str, ...]:
        """The field of each piece, likewise."""
        return self.treated.fields + self.controls.fields

    @property
    def folds(self) -> tuple[int, ...]:
        """The fold of each piece, likewise."""
        return self.treated.folds + self.controls.folds

    @property
    def is_treated(self) -> tuple[bool, ...]:
        """Whether each piece is treated."""
        return (True,) * len(self.treated.keys) + (False,) * len(self.controls.keys)

    @property
    def n_folds(self) -> int:
        """The number of folds in which a treated piece is held out."""
        return max(self.treated.folds) + 1

    @property
    def treated_keys(self) -> tuple[str, ...]:
        """The treated wells."""
        return tuple(dict.fromkeys(self.treated.keys))


def list_sides(contrasts: Iterable[Contrast]) -> list[Side]:
    """List the sides of comparisons, those that many have in common once."""
    sides = (side for contrast in contrasts for side in (contrast.treated, contrast.controls))
    return list({id(side): side for side in sides}.values())


def list_compared(contrasts: Iterable[Contrast]) -> list[str]:
    """List the wells of comparisons, sorted."""
    return sorted({key for side in list_sides(contrasts) for key in side.keys})


def list_words(column: "pd.Series[str] | pd.Index[str]") -> Objects:
    """Give a column's texts as Python's own, the same object for equal ones.

    Indexing pandas' costs a screen of plates minutes.
    """
    codes, words = pd.factorize(column, use_na_sentinel=False)
    return np.array([str(word) for word in words], dtype=object)[codes]


class Pieces(NamedTuple):
    """What can be held out: wells, or their fields.

    Attributes
    ----------
    ends : (well + 1,) intp
        Pieces of a well are those from one to the next.
    keys, fields, names : (piece,) str
        Well, field ("" for the whole well), a name unique over plates (``P1/B03``, ``P1/B03/2``
        for a field).
    plates : (piece,) intp
        Number of the plate, in the order of their names.
    groups : (piece,) str
        Position, plate or batch of each; none where wells or fields are held out.
    is_control, is_compared : (piece,) bool
        Whether its well is a negative control, and whether it holds a condition.
    """

    ends: Indices
    keys: Objects
    fields: Objects
    names: Objects
    plates: Indices
    groups: Objects
    is_control: npt.NDArray[np.bool_]
    is_compared: npt.NDArray[np.bool_]

    def of(self, rows: Indices) -> Indices:
        """Give the pieces of wells."""
        if len(self.keys) == len(self.ends) - 1:
            return rows
        found = [np.arange(self.ends[row], self.ends[row + 1]) for row in rows]
        return np.concatenate([np.zeros(0, dtype=np.intp), *found]).astype(np.intp)


def cut_pieces(table: pd.DataFrame, group: SplitBy) -> Pieces:
    """Cut wells into what is held out."""
    keys = list_words(table.index)
    plates = pd.factorize(list_words(table["plate"]), sort=True)[0].astype(np.intp)
    fields: list[tuple[str, ...]] = [("",)] * len(table)
    if group == "field":
        fields = [tuple(map(str, own)) for own in table["fields"]]
    counts = np.array([len(own) for own in fields], dtype=np.intp)
    well = np.repeat(np.arange(len(table)), counts)
    field = np.array([name for own in fields for name in own], dtype=object)
    names = [f"{key}/{name}" if name else key for key, name in zip(keys[well], field, strict=True)]
    groups = np.zeros(0, dtype=object)
    if group in ("position", "plate", "batch"):
        column = {"position": "well"}.get(group, group)
        groups = np.array(table[column].astype(str).tolist(), dtype=object)[well]
    return Pieces(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.intp), keys[well], field,
        np.array(names, dtype=object), plates[well], groups,
        (table["role"] == "negative_control").to_numpy()[well],
        table["role"].isin(COMPARED).to_numpy()[well],
    )  # fmt: skip


class Folder:
    """Puts the pieces of a comparison into folds."""

    def __init__(
        self,
        pieces: Pieces,
        *,
        group: SplitBy,
        n_folds: int,
        seed: np.random.SeedSequence,
        shared: bool,
    ) -> None:
        self.pieces, self.group, self.n_folds, self.shared = pieces, group, n_folds, shared
        self.entropy = seed
        controls = np.flatnonzero(pieces.is_control)
        self.control_folds = np.full(len(pieces.keys), -1, dtype=np.intp)
        self.control_folds[controls] = spread_controls(
            pieces.plates[controls], n_folds=n_folds, seed=self._seed("controls")
        )
        self.group_folds: dict[str, int] = {}
        # Controls by digest: hundreds of conditions have the same.
        self._controls: dict[bytes, Side] = {}
        # Why groups that all comparisons share can't be dealt into folds.
        self.refusal = ""
        if shared and len(pieces.groups):
            used = pieces.is_control | pieces.is_compared
            names, is_treated = pieces.groups[used].astype(str), ~pieces.is_control[used]
            if np.unique(names[is_treated]).size >= 2:
                try:
                    folds = deal_groups(
                        names, is_treated, n_folds=n_folds, seed=self._seed("groups")
                    ).tolist()
                    self.group_folds = dict(zip(names.tolist(), folds, strict=True))
                except ValueError as error:
                    self.refusal = f"can't be held out by {group}: {error}"

    def _seed(self, name: str) -> np.random.SeedSequence:
        """A stream of its own for every comparison, whatever others there are."""
        words = np.frombuffer(sha256(name.encode()).digest()[:16], np.uint32)
        return np.random.SeedSequence(
            self.entropy.entropy, spawn_key=(*self.entropy.spawn_key, *words.tolist())
        )

    def fold(self, condition: str, kind: Kind, rows: Indices, controls: Indices) -> Contrast | str:
        """Fold the wells of a comparison; say why where that can't be done."""
        if self.refusal:
            return self.refusal
        treated, others = self.pieces.of(rows), self.pieces.of(controls)
        chosen = np.concatenate([treated, others])
        is_treated = np.arange(len(chosen)) < len(treated)
        try:
            folds = self._assign(condition, kind, chosen, is_treated)
        except ValueError as error:
            return f"can't be held out by {self.group}: {error}"
        if np.unique(folds[is_treated]).size < 2:
            return f"all its wells are in one {self.group}: nothing can be held out"
        return Contrast(
            condition, kind, self._take(treated, folds[is_treated]),
            self._share(others, folds[~is_treated]),
        )  # fmt: skip

    def halve(self, condition: str, kind: Kind, row: int, controls: Indices) -> Contrast:
        """Hold out halves of the nuclei of a condition's one well, and whole control wells."""
        halves = Side((str(self.pieces.keys[row]),) * 2, HALVES, (0, 1))
        others = self._share(controls, self.control_folds[controls])
        return Contrast(condition, kind, halves, others)

    def _take(self, pieces: Indices, folds: Indices) -> Side:
        """Take some pieces, with the folds they are in."""
        columns = (self.pieces.keys[pieces], self.pieces.fields[pieces], folds)
        return Side(*(tuple(column.tolist()) for column in columns))

    def _share(self, controls: Indices, folds: Indices) -> Side:
        """Take the pieces of controls: the same object for the same pieces in the same folds."""
        digest = sha256(controls.tobytes() + folds.tobytes()).digest()
        if digest not in self._controls:
            self._controls[digest] = self._take(controls, folds)
        return self._controls[digest]

    def _assign(
        self, condition: str, kind: Kind, chosen: Indices, is_treated: npt.NDArray[np.bool_]
    ) -> Indices:
        pieces, seed = self.pieces, self._seed(condition)
        if len(pieces.groups):
            groups = pieces.groups[chosen].astype(str)
            if self.group_folds:
                return np.array([self.group_folds[name] for name in groups.tolist()], dtype=np.intp)
            return deal_groups(groups, is_treated, n_folds=self.n_folds, seed=seed)
        if not self.shared:
            plates = pieces.plates[chosen]
            names = pieces.names[chosen].astype(str)
            return assign_folds(names, is_treated, n_folds=self.n_folds, seed=seed, plates=plates)
        folds = self.control_folds[chosen]
        if kind != "control_draw":
            n_made = min(self.n_folds, int(is_treated.sum()))
            plates = pieces.plates[chosen[is_treated]]
            folds[is_treated] = spread_controls(plates, n_folds=n_made, seed=seed)
        return folds
