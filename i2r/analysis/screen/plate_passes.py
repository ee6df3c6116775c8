"""The fast screen, plate by plate: sums first, calls when the heads are known.

Nothing here holds more than the control wells of one plate and one well besides, so memory does not
grow with the number of plates. A plate is read twice: its controls and treated wells for sums, and
again for calls.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from i2r.analysis.screen.contrasts import HALVES, UNCONTROLLED
from i2r.errors import I2RError
from i2r.kernels.heads import rank_margins
from i2r.kernels.standardisation import ControlSums, standardise_well, sum_controls

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]
Words = npt.NDArray[np.str_]

MAX_FEATURES = 96
"""Heads see at most so many principal components of the controls: more gave no power on simulated
screens."""

MAX_TESTED = 384
"""Tests see the features themselves, by name, up to this number; of more (embeddings) so many
principal components of all nuclei, because few controls would decide them otherwise."""

MAX_MISSING = 0.01
"""A feature that is missing in more nuclei than this is left out, otherwise those nuclei are."""

MAX_MARGINS = 2**23
"""Control nuclei times comparisons that are called at once: 32 MB."""


class WellFeatures(NamedTuple):
    """Features of the nuclei of one well: names, values (nucleus, feature), and their fields."""

    names: tuple[str, ...]
    values: Singles
    fields: Words


Reader = Callable[[], WellFeatures]


class PlatePlan(NamedTuple):
    """What is compared on one plate.

    Attributes
    ----------
    keys, is_control
        Of every well that takes part, in the screen's order.
    by_field
        Whether fields are held out in place of whole wells.
    folds, comparisons
        By well and field ("" for the whole well, `HALVES` for a condition's only one): the fold in
        which it is held out, and the numbers of the comparisons that count it as treated.
    n_folds
        Of the screen.
    """

    keys: tuple[str, ...]
    is_control: tuple[bool, ...]
    by_field: bool
    folds: Mapping[tuple[str, str], int]
    comparisons: Mapping[tuple[str, str], tuple[int, ...]]
    n_folds: int


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


class PlateHeads(NamedTuple):
    """The heads of one plate's comparisons, and what they see.

    Attributes
    ----------
    numbers : (comparison,) intp
        Which comparisons, sorted.
    directions, middle
        See `i2r.kernels.heads.Heads`.
    plates, plates_of : (set,) str, (comparison,) intp
        Sets of plates, names separated by ``/``; which of them each comparison has treated pieces
        on.
    usable : (feature,) bool
        Features that are used.
    axes, tested : (feature, axis) float32
        What heads see, and what is tested; empty for the features as they are.
    origin, nuclei, total, square
        What the plate is standardised with; see `i2r.kernels.standardisation.ControlSums`.
    """

    numbers: Indices
    directions: Singles
    middle: Singles
    plates: Words
    plates_of: Indices
    usable: npt.NDArray[np.bool_]
    axes: Singles
    tested: Singles
    origin: Floats
    nuclei: Floats
    total: Floats
    square: Floats

    @property
    def controls(self) -> ControlSums:
        """What the plate is standardised with."""
        return ControlSums(self.origin, self.nuclei, self.total, self.square)


class PlateCalls(NamedTuple):
    """Calls and profiles of some wells of one plate.

    Attributes
    ----------
    comparison, fold, well, n_nuclei, n_called : (row,) intp
        Of every held-out piece and comparison: numbers of these; nuclei, and those called treated.
    profiled, counts : (well,) intp
        Numbers of the wells with profiles, and their nuclei.
    means, variances : (well, feature) float64
        Of each well's nuclei, from all controls of the plate.
    above_of, above_fold : (piece,) intp
        Comparison and fold of treated pieces whose margins follow.
    above_ends : (piece,) intp
        Where in `above` each ends.
    above : (nucleus,) float32
        Their margins, sorted.
    ranked, ranked_fold, n_below : (row,) int64
        By comparison and fold: twice the pairs that `i2r.kernels.heads.rank_margins` counts.
    """

    comparison: Indices
    fold: Indices
    well: Indices
    n_nuclei: Indices
    n_called: Indices
    profiled: Indices
    counts: Indices
    means: Floats
    variances: Floats
    above_of: Indices
    above_fold: Indices
    above_ends: Indices
    above: Singles
    ranked: Indices
    ranked_fold: Indices
    n_below: npt.NDArray[np.int64]


# --------------------------------------------------------------------------- sums


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
    controls: dict[int, tuple[Singles, Words]] = {}
    for number in np.flatnonzero(plan.is_control).tolist():
        controls[number] = gaps.choose(number, readers[number](), usable)
    if not controls:
        gaps.choose(0, readers[0](), None)
        gaps.missing[:] = 0
    if usable is None:
        usable = np.ones(len(gaps.names), dtype=bool)
    d = int(usable.sum())
    sums = sum_controls([values for values, _ in controls.values()], d)
    has_controls = has_standard(sums.nuclei)
    own = {number: place for place, number in enumerate(controls)}
    gram = np.zeros((plan.n_folds + 1, d, d))
    n_control = np.zeros(plan.n_folds + 1)
    everyone = np.zeros((d, d) if d > MAX_TESTED else (0, 0))
    found: list[tuple[int, str, int, Floats]] = []
    rows: list[tuple[str, str, str]] = []
    n_everyone = 0
    for number, (key, reader) in enumerate(zip(plan.keys, readers, strict=True)):
        kept = controls.pop(number) if number in controls else None
        values, fields = kept or gaps.choose(number, reader(), usable)
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
        for field, chosen in _cut(plan, key, fields):
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
        self.n_rows[number] = len(well.values)
        self.missing += (~np.isfinite(well.values)).sum(axis=0)
        return _choose(well, np.ones(len(self.names), dtype=bool) if usable is None else usable)


def has_standard(nuclei: Floats) -> bool:
    """Tell whether two control wells have nuclei that are used, so that wells have a standard."""
    return int((nuclei > 0).sum()) >= 2


def differ(key: str, n_features: int, first: str, n_first: int) -> I2RError:
    """Make the error of wells that have different features."""
    return I2RError(
        f"{key}: {n_features} features, {first} has {n_first}, or others. Compute the features of "
        "all wells with the same options."
    )


def _choose(given: WellFeatures, usable: npt.NDArray[np.bool_]) -> tuple[Singles, Words]:
    """Give the nuclei that lack none of the features used, field by field, and their fields."""
    well = WellFeatures(*given)
    values = well.values[:, usable]
    whole = np.isfinite(values).all(axis=1)
    fields = well.fields[whole]
    order = np.argsort(fields, kind="stable")
    return values[whole][order], fields[order]


def _cut(plan: PlatePlan, key: str, fields: Words) -> list[tuple[str, slice]]:
    """Cut a well's nuclei into pieces that are held out."""
    if (key, HALVES[0]) in plan.folds:
        return [(half, slice(first, None, 2)) for first, half in enumerate(HALVES)]
    if not plan.by_field:
        return [("", slice(None))]
    names, counts = np.unique(fields, return_counts=True)
    ends = np.cumsum(counts).tolist()
    return [
        (str(name), slice(end - count, end))
        for name, count, end in zip(names, counts.tolist(), ends, strict=True)
    ]


# --------------------------------------------------------------------------- calls


class _Seen(NamedTuple):
    """A well's standardised nuclei as heads and as tests see them."""

    heads: Singles
    tests: Singles
    fields: Words


def _see(well: WellFeatures, heads: PlateHeads, *, own: int | None) -> _Seen:
    """Standardise a well and lay it along the axes."""
    values, fields = _choose(well, heads.usable)
    if not has_standard(heads.nuclei):
        values, fields = values[:0], fields[:0]
    standard = standardise_well(values, heads.controls, own=own)
    return _Seen(
        standard @ heads.axes if heads.axes.size else standard,
        standard @ heads.tested if heads.tested.size else standard,
        fields,
    )


class _Profiles:
    """Means and variances of wells."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, Floats, Floats]] = []

    def add(self, number: int, values: Singles, shrink: float = 1.0) -> None:
        """Add a well."""
        d = values.shape[1]
        mean, variance = np.zeros(d), np.zeros(d)
        if len(values):
            mean = values.mean(axis=0, dtype=np.float64) * shrink
            variance = values.var(axis=0, dtype=np.float64)
        self.rows.append((number, len(values), mean, variance))

    def stack(self) -> tuple[Indices, Indices, Floats, Floats]:
        """Give numbers, counts, means and variances."""
        numbers, counts, means, variances = zip(*self.rows, strict=True) if self.rows else [()] * 4
        return (
            np.array(numbers, dtype=np.intp), np.array(counts, dtype=np.intp),
            np.array(means, dtype=np.float64), np.array(variances, dtype=np.float64),
        )  # fmt: skip


def call_treated(plan: PlatePlan, readers: Sequence[Reader], heads: PlateHeads) -> PlateCalls:
    """Call the treated pieces of one plate, each with the head that did not see its fold."""
    place = {number: row for row, number in enumerate(heads.numbers.tolist())}
    own = _number_controls(plan)
    profiles = _Profiles()
    calls: list[tuple[int, int, int, int, int]] = []
    margins: list[tuple[int, int, Singles]] = []
    wells_of = {key for key, _ in plan.comparisons}
    for number, (key, reader) in enumerate(zip(plan.keys, readers, strict=True)):
        if plan.is_control[number] and key not in wells_of:
            continue
        seen = _see(reader(), heads, own=own.get(number))
        if not plan.is_control[number]:
            profiles.add(number, seen.tests)
        for field, chosen in _cut(plan, key, seen.fields):
            rows = seen.heads[chosen]
            fold = plan.folds.get((key, field), -1)
            for comparison in plan.comparisons.get((key, field), ()) if len(rows) else ():
                row = place[comparison]
                if not np.isfinite(heads.middle[row, fold]):
                    continue
                margin = rows @ heads.directions[row, fold] - heads.middle[row, fold]
                margins.append((comparison, fold, np.sort(margin)))
                calls.append((comparison, fold, number, len(rows), int((margin > 0).sum())))
    return _gather(calls, profiles, margins, [])


def call_controls(
    plan: PlatePlan,
    readers: Sequence[Reader],
    heads: PlateHeads,
    treated: Callable[[str], PlateCalls],
) -> PlateCalls:
    """Call the control pieces of one plate, and count the treated nuclei above them.

    Parameters
    ----------
    plan, readers, heads
        Of the plate.
    treated
        Gives the treated pieces of a plate by name.
    """
    own = _number_controls(plan)
    profiles = _Profiles()
    held: list[list[tuple[int, Singles, frozenset[int]]]] = [[] for _ in range(plan.n_folds)]
    whole = max(float(heads.nuclei.sum()), 1.0)
    for number, place in own.items():
        seen = _see(readers[number](), heads, own=place)
        # Back to the distance from all controls of the plate: its own standard leaves it out, and
        # is further away by all nuclei over the others.
        profiles.add(number, seen.tests, shrink=1 - float(heads.nuclei[place]) / whole)
        for field, chosen in _cut(plan, plan.keys[number], seen.fields):
            piece = (plan.keys[number], field)
            if piece in plan.folds and len(seen.heads[chosen]):
                copied = frozenset(plan.comparisons.get(piece, ()))
                held[plan.folds[piece]].append((number, seen.heads[chosen], copied))
    calls: list[tuple[int, int, int, int, int]] = []
    ranks: list[tuple[int, int, int]] = []
    for fold, pieces in enumerate(held):
        _call_fold(fold, pieces, heads, treated, calls, ranks)
    return _gather(calls, profiles, [], ranks)


def _call_fold(
    fold: int,
    pieces: Sequence[tuple[int, Singles, frozenset[int]]],
    heads: PlateHeads,
    treated: Callable[[str], PlateCalls],
    calls: list[tuple[int, int, int, int, int]],
    ranks: list[tuple[int, int, int]],
) -> None:
    """Call the control pieces that are held out in one fold."""
    able = np.flatnonzero(np.isfinite(heads.middle[:, fold]))
    if not pieces or not able.size:
        return
    nuclei = np.concatenate([rows for _, rows, _ in pieces])
    ends = np.cumsum([len(rows) for _, rows, _ in pieces]).tolist()
    at_once = max(1, MAX_MARGINS // len(nuclei))
    for first in range(0, able.size, at_once):
        chosen = able[first : first + at_once]
        margins = nuclei @ heads.directions[chosen, fold].T - heads.middle[chosen, fold]
        below: dict[int, Singles] = {}
        for column, row in enumerate(chosen.tolist()):
            comparison = int(heads.numbers[row])
            others = []
            for (number, rows, copied), end in zip(pieces, ends, strict=True):
                if comparison in copied:
                    continue
                margin = margins[end - len(rows) : end, column]
                others.append(margin)
                calls.append((comparison, fold, number, len(rows), int((margin > 0).sum())))
            if others:
                below[row] = np.sort(np.concatenate(others))
        del margins
        ranks += _rank(fold, below, heads, treated)


def _rank(
    fold: int, below: Mapping[int, Singles], heads: PlateHeads, treated: Callable[[str], PlateCalls]
) -> Iterable[tuple[int, int, int]]:
    """Compare control nuclei with the treated ones of each comparison, plate by plate."""
    on: dict[str, list[int]] = {}
    for row in below:
        for plate in heads.plates[heads.plates_of[row]].split("/"):
            on.setdefault(plate, []).append(row)
    found = dict.fromkeys(below, 0)
    for plate, rows in on.items():
        other = treated(plate)
        starts = [0, *other.above_ends.tolist()]
        of_comparison: dict[int, list[int]] = {}
        for piece in np.flatnonzero(other.above_fold == fold).tolist():
            of_comparison.setdefault(int(other.above_of[piece]), []).append(piece)
        for row in rows:
            own = of_comparison.get(int(heads.numbers[row]), [])
            above = (other.above[starts[piece] : starts[piece + 1]] for piece in own)
            found[row] += rank_margins(above, below[row])
    return [(int(heads.numbers[row]), fold, n) for row, n in found.items()]


def _number_controls(plan: PlatePlan) -> dict[int, int]:
    """Give for every control well its place among them."""
    return {number: place for place, number in enumerate(np.flatnonzero(plan.is_control).tolist())}


def _gather(
    calls: Sequence[tuple[int, ...]], profiles: _Profiles,
    margins: Sequence[tuple[int, int, Singles]], ranks: Sequence[tuple[int, ...]],
) -> PlateCalls:  # fmt: skip
    """Put lists together as arrays."""
    comparison, fold, well, n_nuclei, n_called = np.array(calls, dtype=np.intp).reshape(-1, 5).T
    ranked, ranked_fold, n_below = np.array(ranks, dtype=np.int64).reshape(-1, 3).T
    profiled, counts, means, variances = profiles.stack()
    above = [margin for *_, margin in margins]
    return PlateCalls(
        comparison=comparison, fold=fold, well=well, n_nuclei=n_nuclei, n_called=n_called,
        profiled=profiled, counts=counts, means=means, variances=variances,
        above_of=np.array([n for n, *_ in margins], dtype=np.intp),
        above_fold=np.array([own for _, own, _ in margins], dtype=np.intp),
        above_ends=np.cumsum([len(margin) for margin in above], dtype=np.intp),
        above=np.concatenate([*above, np.zeros(0, np.float32)]),
        ranked=ranked, ranked_fold=ranked_fold, n_below=n_below,
    )  # fmt: skip
