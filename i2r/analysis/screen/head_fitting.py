"""The fast screen's heads, fitted from the sums of plates."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from i2r.analysis.screen.plate_calls import PlateHeads
from i2r.analysis.screen.plate_plans import Flags, PlatePlan
from i2r.analysis.screen.plate_sums import (
    MAX_FEATURES,
    MAX_MISSING,
    MAX_TESTED,
    PlateSums,
    differ,
    has_standard,
)
from i2r.errors import I2RError
from i2r.kernels.heads import HeadSums, fit_heads
from i2r.kernels.standardisation import find_axes


class Fitted(NamedTuple):
    """What a screen's heads say beside their directions.

    Attributes
    ----------
    tested : (feature,) str
        Names of what is tested.
    left_out : (row, 3) str
        What, where, reason.
    has_nuclei : (1,) bool
        Whether any well has several nuclei: heads need them.
    """

    tested: npt.NDArray[np.str_]
    left_out: npt.NDArray[np.str_]
    has_nuclei: Flags


def fit_screen(
    plans: Mapping[str, PlatePlan],
    load: Callable[[str], PlateSums],
    again: Callable[[str, Flags], PlateSums],
    *,
    n_comparisons: int,
) -> tuple[Fitted, Iterator[tuple[str, PlateHeads]]]:
    """Fit all heads from the sums of plates.

    Parameters
    ----------
    plans
        By plate.
    load
        Gives the sums of a plate by name.
    again
        Adds a plate up anew with the features that the screen uses; asked only for plates where
        nuclei lack features, and others than in the whole screen.
    n_comparisons
        Of the screen.

    Returns
    -------
    fitted : Fitted
    heads : iterator of (str, PlateHeads)
        Plate by plate.

    Raises
    ------
    I2RError
        If plates have different features, or the controls no nuclei.
    """
    usable, left_out, has_nuclei = _choose_features(plans, load)
    d = int(usable.sum())
    n_folds = next(iter(plans.values())).n_folds
    total = _Total(n_comparisons, len(plans), n_folds, d)
    standards: dict[str, PlateSums] = {}
    for number, (name, plan) in enumerate(plans.items()):
        sums = load(name)
        if not np.array_equal(sums.usable, usable):
            sums = again(name, usable) if sums.missing.any() else sums.keep(usable)
        total.add(number, plan, sums)
        bare = np.zeros((0, 0))
        standards[name] = sums._replace(means=bare, gram=bare, everyone=bare)
    axes, tested = np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32)
    names = next(iter(standards.values())).names[usable]
    if d > MAX_FEATURES:
        n_controls = max(float(total.n_control.sum()), 1.0)
        axes = find_axes(total.gram.sum(axis=0) / n_controls, n_axes=MAX_FEATURES)
    if d > MAX_TESTED:
        tested = find_axes(total.everyone / max(total.n_everyone, 1), n_axes=MAX_TESTED)
        names = np.array([f"component {number}" for number in range(1, MAX_TESTED + 1)])
    sums_of_heads = total.sum_heads()
    heads = fit_heads(sums_of_heads.project(axes) if axes.size else sums_of_heads)
    plates = np.array(list(plans), dtype=np.str_)
    on_plate = sums_of_heads.on_plate

    def cut() -> Iterator[tuple[str, PlateHeads]]:
        by_plate = on_plate.tocsc()
        for number, name in enumerate(plans):
            own = np.sort(by_plate.indices[by_plate.indptr[number] : by_plate.indptr[number + 1]])
            standard = standards[name]
            sets: dict[tuple[int, ...], int] = {}
            lies = [
                sets.setdefault(tuple(on_plate.indices[first:last].tolist()), len(sets))
                for first, last in zip(on_plate.indptr[own], on_plate.indptr[own + 1], strict=True)
            ]
            yield (
                name,
                PlateHeads(
                    own.astype(np.intp), heads.directions[own], heads.middle[own],
                    np.array(["/".join(plates[list(lie)].tolist()) for lie in sets], dtype=np.str_),
                    np.array(lies, dtype=np.intp), usable, axes, tested,
                    standard.origin, standard.nuclei, standard.total, standard.square,
                ),
            )  # fmt: skip

    rows = [left_out, *(own.left_out for own in standards.values())]
    return Fitted(names, np.concatenate(rows), np.array([has_nuclei])), cut()


def _choose_features(
    plans: Mapping[str, PlatePlan], load: Callable[[str], PlateSums]
) -> tuple[Flags, npt.NDArray[np.str_], bool]:
    """Choose the features that hardly any nucleus lacks; say which are left out."""
    first, names = "", np.zeros(0, dtype=np.str_)
    missing, n_nuclei = np.zeros(0, dtype=np.intp), 0
    has_nuclei = has_controls = is_controlled = False
    for name, plan in plans.items():
        sums = load(name)
        if not first:
            first, names, missing = name, sums.names, np.zeros(len(sums.names), dtype=np.intp)
        if not np.array_equal(sums.names, names):
            raise differ(plan.keys[0], len(sums.names), plans[first].keys[0], len(names))
        missing = missing + sums.missing
        n_nuclei += int(sums.n_rows.sum())
        has_nuclei |= bool((sums.n_rows > 1).any())
        has_controls |= bool(sums.n_rows[np.array(plan.is_control, dtype=bool)].any())
        is_controlled |= has_standard(sums.nuclei)
    if not has_controls:
        raise I2RError(
            "all control wells are without nuclei: nothing to compare with. Look at their images "
            "and at the table 'crop'."
        )
    share = missing / max(n_nuclei, 1)
    usable = share <= MAX_MISSING
    if not usable.any():
        raise I2RError(
            f"every feature is missing (NaN) in more than {MAX_MISSING:.0%} of the nuclei, "
            "expected numbers. Look at the stage that made them."
        )
    if not is_controlled:
        raise I2RError(
            "no plate has two control wells with nuclei: nothing to compare with. Look at their "
            "images and at the table 'crop'."
        )
    rows = [
        ("feature", str(name), f"missing in {value:.1%} of the nuclei")
        for name, value, good in zip(names, share, usable, strict=True)
        if not good
    ]
    return usable, np.array(rows, dtype=np.str_).reshape(-1, 3), has_nuclei


class _Total:
    """Adds up plates."""

    def __init__(self, n_comparisons: int, n_plates: int, n_folds: int, d: int) -> None:
        shape = (n_comparisons, n_folds)
        self.treated, self.n_treated = np.zeros((*shape, d)), np.zeros(shape)
        self.copied: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.controls = np.zeros((n_plates, n_folds, d))
        self.n_controls = np.zeros((n_plates, n_folds))
        self.gram, self.n_control = np.zeros((n_folds + 1, d, d)), np.zeros(n_folds + 1)
        self.everyone, self.n_everyone = np.zeros((d, d) if d > MAX_TESTED else (0, 0)), 0
        self.on_plate: set[tuple[int, int]] = set()

    def add(self, number: int, plan: PlatePlan, sums: PlateSums) -> None:
        """Add a plate."""
        self.gram += sums.gram
        self.n_control += sums.n_control
        if self.everyone.size and sums.everyone.size:
            self.everyone += sums.everyone
            self.n_everyone += int(sums.n_everyone[0])
        pieces = zip(sums.pieces.tolist(), sums.fields.tolist(), sums.counts.tolist(), strict=True)
        for row, (well, field, count) in enumerate(pieces):
            piece = (plan.keys[well], field)
            if piece not in plan.folds:
                continue
            fold, comparisons = plan.folds[piece], plan.comparisons.get(piece, ())
            self.on_plate |= {(comparison, number) for comparison in comparisons}
            if not count:
                continue
            for comparison in comparisons:
                self.treated[comparison, fold] += sums.means[row]
                self.n_treated[comparison, fold] += 1
            if plan.is_control[well]:
                self.controls[number, fold] += sums.means[row]
                self.n_controls[number, fold] += 1
                for comparison in comparisons:
                    self._copy(comparison, fold, sums.means[row])

    def _copy(self, comparison: int, fold: int, mean: npt.NDArray[np.float64]) -> None:
        """Note a control that counts as treated."""
        n_folds, d = self.treated.shape[1:]
        total, count = self.copied.setdefault(
            comparison, (np.zeros((n_folds, d)), np.zeros(n_folds))
        )
        total[fold] += mean
        count[fold] += 1

    def sum_heads(self) -> HeadSums:
        """Give what heads need."""
        copied, n_copied = np.zeros_like(self.treated), np.zeros_like(self.n_treated)
        for comparison, (total, count) in self.copied.items():
            copied[comparison], n_copied[comparison] = total, count
        rows, columns = np.array(sorted(self.on_plate), dtype=np.intp).reshape(-1, 2).T
        on_plate = sparse.csr_array(
            (np.ones(len(rows)), (rows, columns)),
            shape=(len(self.treated), len(self.controls)),
        )
        return HeadSums(
            self.treated, self.n_treated, copied, n_copied, self.controls, self.n_controls,
            on_plate, self.gram[:-1], self.n_control[:-1],
        )  # fmt: skip
