"""Calls of one plate, with the heads that all plates' sums gave.

A plate's wells are read again, one at a time; controls that one fold holds out are held together.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from i2r.analysis.screen.plate_plans import (
    Floats,
    Indices,
    PlatePlan,
    Reader,
    Singles,
    WellFeatures,
    choose_nuclei,
)
from i2r.analysis.screen.plate_sums import has_standard
from i2r.kernels.heads import rank_margins
from i2r.kernels.standardisation import ControlSums, standardise_well

MAX_MARGINS = 2**23
"""Control nuclei times comparisons that are called at once: 32 MB."""


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
    plates: npt.NDArray[np.str_]
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


class _Seen(NamedTuple):
    """A well's standardised nuclei as heads and as tests see them."""

    heads: Singles
    tests: Singles
    fields: npt.NDArray[np.str_]


def _see(well: WellFeatures, heads: PlateHeads, *, own: int | None) -> _Seen:
    """Standardise a well and lay it along the axes."""
    values, fields = choose_nuclei(well, heads.usable)
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
        rows = sorted(self.rows, key=lambda row: row[0])
        numbers, counts, means, variances = zip(*rows, strict=True) if rows else [()] * 4
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
        for field, chosen in plan.cut(key, seen.fields):
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
    folds_of: dict[int, set[int]] = {number: set() for number in own}
    numbers = {key: number for number, key in enumerate(plan.keys)}
    for (key, _), fold in plan.folds.items():
        if numbers[key] in own:
            folds_of[numbers[key]].add(fold)
    whole = max(float(heads.nuclei.sum()), 1.0)
    calls: list[tuple[int, int, int, int, int]] = []
    ranks: list[tuple[int, int, int]] = []
    for fold in range(plan.n_folds):
        pieces: list[tuple[int, Singles, frozenset[int]]] = []
        for number, place in own.items():
            # A well in no fold is read for its profile alone.
            is_first = fold == min(folds_of[number], default=0)
            if not is_first and fold not in folds_of[number]:
                continue
            seen = _see(readers[number](), heads, own=place)
            if is_first:
                # Back to the distance from all controls of the plate: its own standard leaves it
                # out, and is further away by all nuclei over the others.
                profiles.add(number, seen.tests, shrink=1 - float(heads.nuclei[place]) / whole)
            for field, chosen in plan.cut(plan.keys[number], seen.fields):
                piece = (plan.keys[number], field)
                if plan.folds.get(piece) == fold and len(seen.heads[chosen]):
                    copied = frozenset(plan.comparisons.get(piece, ()))
                    pieces.append((number, seen.heads[chosen], copied))
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
