"""The fast screen's first pass: the sums of one plate.

Passes hold some control wells of one plate and one well besides, so memory grows neither with the
number of plates nor with that of control nuclei.
"""

from collections.abc import Sequence
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

from i2r.analysis.screen.contrasts import UNCONTROLLED
from i2r.analysis.screen.plate_plans import (
    Floats,
    Indices,
    PlatePlan,
    Reader,
    Singles,
    WellFeatures,
    Words,
    choose_nuclei,
)
from i2r.errors import I2RError
from i2r.kernels.standardisation import standardise_well, sum_controls

MAX_FEATURES = 96
"""Heads see at most so many principal components of the controls: more gave no power on simulated
screens."""

MAX_TESTED = 384
"""Tests see the features themselves, by name, up to this number; of more (embeddings) so many
principal components of all nuclei, because few controls would decide them otherwise."""

MAX_MISSING = 0.01
"""A feature that is missing in more nuclei than this is left out, otherwise those nuclei are."""


HELD_BYTES = 2**26
"""So much of a plate's control wells is held, the others are read three times: 56 wells of 1,350
nuclei take 26 MB, 192 of 12,000 would take 800."""


class PlateSums(NamedTuple):
    """What heads need of one plate.

    Attributes
    ----------
    names, missing, n_rows
        Of all features; nuclei in which each is missing; nuclei of each well.
    usable : (feature,) bool
        Features that were used; sums are of these.
    pieces, fields, counts
        Of every piece: number of its well, field, nuclei that were used.
    means : (piece, feature) float64
        Mean features, standardised.
    gram, everyone : (fold + 1, feature, feature), (feature, feature) float64
        Outer products of control nuclei, by fold, those in none last; and of all nuclei, where
        there are more features than are tested (else empty).
    n_control, n_everyone
        Their nuclei.
    origin, nuclei, total, square
        See `i2r.kernels.standardisation.ControlSums`; of the plate's control wells in order.
    left_out : (row, 3) str
        What, where, reason.
    """

    names: Words
    missing: Indices
    n_rows: Indices
    usable: npt.NDArray[np.bool_]
    pieces: Indices
    fields: Words
    counts: Indices
    means: Floats
    gram: Floats
    everyone: Floats
    n_control: Floats
    n_everyone: Indices
    origin: Floats
    nuclei: Floats
    total: Floats
    square: Floats
    left_out: Words

    def keep(self, usable: npt.NDArray[np.bool_]) -> "PlateSums":
        """Give the sums of some of all features, where no nucleus lacks any."""
        kept = usable[self.usable]
        return self._replace(
            usable=usable, means=self.means[:, kept], gram=self.gram[:, kept][:, :, kept],
            everyone=self.everyone[kept][:, kept] if self.everyone.size else self.everyone,
            origin=self.origin[kept], total=self.total[:, kept], square=self.square[:, kept],
        )  # fmt: skip


def sum_plate(
    plan: PlatePlan, readers: Sequence[Reader], *, usable: npt.NDArray[np.bool_] | None = None
) -> PlateSums:
    """Add up one plate.

    Parameters
    ----------
    plan, readers
        What is compared, and what reads each of its wells.
    usable
        Features to use; None for those that this plate alone would: nearly always no feature is
        missing anywhere, and then sums of any features are at hand.

    Raises
    ------
    I2RError
        If wells have different features.
    """
    if usable is not None:
        return _sum_plate(plan, readers, usable)
    sums = _sum_plate(plan, readers, None)
    if not sums.missing.any():
        return sums
    usable = sums.missing <= MAX_MISSING * sums.n_rows.sum()
    return _sum_plate(plan, readers, usable if usable.any() else None)


def _sum_plate(
    plan: PlatePlan, readers: Sequence[Reader], usable: npt.NDArray[np.bool_] | None
) -> PlateSums:
    """Add up one plate with these features; None for all."""
    gaps = _Gaps(plan)
    controls = _ControlWells(plan, readers, gaps, usable)
    if not len(controls):
        gaps.choose(0, readers[0](), None)
        gaps.missing[:] = 0
    if usable is None:
        usable = np.ones(len(gaps.names), dtype=bool)
    d = int(usable.sum())
    sums = sum_controls(controls, d)
    has_controls = has_standard(sums.nuclei)
    own = {number: place for place, number in enumerate(controls.numbers)}
    gram = np.zeros((plan.n_folds + 1, d, d))
    n_control = np.zeros(plan.n_folds + 1)
    everyone = np.zeros((d, d) if d > MAX_TESTED else (0, 0))
    found: list[tuple[int, str, int, Floats]] = []
    rows: list[tuple[str, str, str]] = []
    n_everyone = 0
    for number, (key, reader) in enumerate(zip(plan.keys, readers, strict=True)):
        if number in own:
            values, fields = controls.choose(own[number])
        else:
            values, fields = gaps.choose(number, reader(), usable)
        if lacking := int(gaps.n_rows[number]) - len(values):
            rows.append(("nuclei", key, f"{lacking} with missing features"))
        if not len(values):
            rows.append(("well", key, "no nuclei"))
        elif not has_controls:
            # What its nuclei are on the scale of the controls can't be said.
            rows.append(("well", key, UNCONTROLLED))
            values, fields = values[:0], fields[:0]
        standard = standardise_well(values, sums, own=own.get(number))
        if everyone.size:
            everyone += standard.T @ standard
            n_everyone += len(standard)
        for field, chosen in plan.cut(key, fields):
            piece = standard[chosen]
            mean = piece.mean(axis=0, dtype=np.float64) if len(piece) else np.zeros(d)
            found.append((number, field, len(piece), mean))
            if plan.is_control[number] and len(piece):
                fold = plan.folds.get((key, field), plan.n_folds)
                gram[fold] += piece.T @ piece
                n_control[fold] += len(piece)
    return PlateSums(
        np.array(gaps.names, dtype=np.str_), gaps.missing, gaps.n_rows, usable,
        np.array([number for number, *_ in found], dtype=np.intp),
        np.array([field for _, field, *_ in found], dtype=np.str_),
        np.array([n for *_, n, _ in found], dtype=np.intp),
        np.array([mean for *_, mean in found]).reshape(-1, d), gram, everyone, n_control,
        np.array([n_everyone]), *sums, np.array(rows, dtype=np.str_).reshape(-1, 3),
    )  # fmt: skip


class _Gaps:
    """Counts what is missing while wells are read, and compares their features."""

    def __init__(self, plan: PlatePlan) -> None:
        self._plan, self._first = plan, ""
        self.names: tuple[str, ...] = ()
        self.missing = np.zeros(0, dtype=np.intp)
        self.n_rows = np.zeros(len(plan.keys), dtype=np.intp)
        self._counted = set[int]()

    def choose(
        self, number: int, given: WellFeatures, usable: npt.NDArray[np.bool_] | None
    ) -> tuple[Singles, Words]:
        """Give the nuclei of a well that lack none of the features used, and their fields."""
        well, key = WellFeatures(*given), self._plan.keys[number]
        if not self._first:
            self.names, self._first = tuple(well.names), key
            self.missing = np.zeros(len(well.names), dtype=np.intp)
        if tuple(well.names) != self.names:
            raise differ(key, len(well.names), self._first, len(self.names))
        if number not in self._counted:
            self._counted.add(number)
            self.n_rows[number] = len(well.values)
            self.missing += (~np.isfinite(well.values)).sum(axis=0)
        return choose_nuclei(
            well, np.ones(len(self.names), dtype=bool) if usable is None else usable
        )


class _ControlWells(Sequence[Singles]):
    """The nuclei of a plate's control wells, in order, of which `HELD_BYTES` are held."""

    def __init__(
        self, plan: PlatePlan, readers: Sequence[Reader], gaps: _Gaps,
        usable: npt.NDArray[np.bool_] | None,
    ) -> None:  # fmt: skip
        self.numbers: list[int] = np.flatnonzero(plan.is_control).tolist()
        self._readers, self._gaps, self._usable = readers, gaps, usable
        self._held: dict[int, tuple[Singles, Words]] = {}
        self._n_bytes = 0
        if self.numbers:  # names of features are known from here on
            self.choose(0)

    def choose(self, place: int) -> tuple[Singles, Words]:
        """Give the nuclei of a well that are used, and their fields."""
        if place in self._held:
            return self._held[place]
        number = self.numbers[place]
        found = self._gaps.choose(number, self._readers[number](), self._usable)
        self._n_bytes += found[0].nbytes
        if self._n_bytes <= HELD_BYTES:
            self._held[place] = found
        return found

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, place: int) -> Singles: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Singles]: ...
    def __getitem__(self, place: int | slice) -> Singles | Sequence[Singles]:
        if isinstance(place, slice):
            return [self[each] for each in range(len(self))[place]]
        return self.choose(range(len(self))[place])[0]


def has_standard(nuclei: Floats) -> bool:
    """Tell whether two control wells have nuclei that are used, so that wells have a standard."""
    return int((nuclei > 0).sum()) >= 2


def differ(key: str, n_features: int, first: str, n_first: int) -> I2RError:
    """Make the error of wells that have different features."""
    return I2RError(
        f"{key}: {n_features} features, {first} has {n_first}, or others. Compute the features of "
        "all wells with the same options."
    )
