"""The fast screen as it was while it held all nuclei at once: an oracle for passes over plates."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.analysis.screen.condition_tests import ConditionTests, TestedWells, run_condition_tests
from i2r.analysis.screen.contrasts import UNCONTROLLED
from i2r.analysis.screen.plate_plans import FastPlan, WellFeatures
from i2r.analysis.screen.plate_sums import MAX_FEATURES, MAX_MISSING, MAX_TESTED
from i2r.analysis.screen.ranking import sum_calls
from i2r.analysis.screen.screening import FastScores, list_profiles
from i2r.errors import I2RError
from i2r.kernels.standardisation import standardise_wells
from tests.kernels.whole_heads import Blocks, HeldOutCalls, score_heads

Singles = npt.NDArray[np.float32]


class _Nuclei(NamedTuple):
    """All nuclei, standardised, well by well; `reduced` is what heads see."""

    names: list[str]
    values: npt.NDArray[np.float32]
    reduced: npt.NDArray[np.float32]
    start: npt.NDArray[np.intp]
    fields: npt.NDArray[np.str_]


def score_whole_screen(
    wells: list[WellFeatures], plan: FastPlan, n_draws: int, seed: np.random.SeedSequence
) -> FastScores:
    """Score and test every perturbation on the features of all nuclei."""
    wells = [WellFeatures(*well) for well in wells]
    is_control = np.array([condition == "" for condition in plan.conditions])
    nuclei, left_out = _gather(wells, plan, is_control)
    has_nuclei = any(len(well.values) > 1 for well in wells)
    if has_nuclei:
        scores, calls = _score_heads(nuclei, plan, is_control)
    else:
        scores, calls = list_profiles(plan, np.diff(nuclei.start))
    found = _test_wells(nuclei, plan, is_control, n_draws=n_draws, seed=seed)
    return FastScores(
        scores, calls, found.tests, left_out, found.features, found.wells, found.layout
    )


def _gather(
    wells: list[WellFeatures], plan: FastPlan, is_control: npt.NDArray[np.bool_]
) -> tuple[_Nuclei, pd.DataFrame]:
    """Put the wells together, leave out what is missing, standardise."""
    names = wells[0].names
    for key, well in zip(plan.keys, wells, strict=True):
        if well.names != names:
            raise I2RError(
                f"{key}: {len(well.names)} features, {plan.keys[0]} has {len(names)}, or others. "
                "Compute the features of all wells with the same options."
            )
    missing = [~np.isfinite(well.values) for well in wells]
    n_nuclei = sum(map(len, missing))
    if not any(len(well.values) for well, c in zip(wells, is_control, strict=True) if c):
        raise I2RError(
            "all control wells are without nuclei: nothing to compare with. Look at their images "
            "and at the table 'crop'."
        )
    share = sum((m.sum(axis=0) for m in missing), np.zeros(len(names))) / max(n_nuclei, 1)
    usable = share <= MAX_MISSING
    if not usable.any():
        raise I2RError(
            f"every feature is missing (NaN) in more than {MAX_MISSING:.0%} of the nuclei, "
            "expected numbers. Look at the stage that made them."
        )
    rows = [
        ("feature", name, f"missing in {value:.1%} of the nuclei")
        for name, value, good in zip(names, share, usable, strict=True)
        if not good
    ]
    of_well = [(~gaps[:, usable]).all(axis=1) for gaps in missing]
    filled = np.array([whole.any() for whole in of_well])
    per_plate = pd.Series(filled & is_control).groupby(np.array(plan.plates)).transform("sum")
    if per_plate.max() < 2:
        raise I2RError(
            "no plate has two control wells with nuclei: nothing to compare with. Look at their "
            "images and at the table 'crop'."
        )
    values, fields = [], []
    for key, well, whole, n_controls in zip(plan.keys, wells, of_well, per_plate, strict=True):
        if not whole.all():
            rows.append(("nuclei", key, f"{int((~whole).sum())} with missing features"))
        if not whole.any():
            rows.append(("well", key, "no nuclei"))
        elif n_controls < 2:
            # What its nuclei are on the scale of the controls can't be said.
            rows.append(("well", key, UNCONTROLLED))
            whole.fill(False)
        order = np.argsort(well.fields[whole], kind="stable")
        values.append(well.values[whole][:, usable][order])
        fields.append(well.fields[whole][order])
    start = np.cumsum([0, *map(len, values)]).astype(np.intp)
    plates = np.unique(plan.plates, return_inverse=True)[1]
    standard = standardise_wells(np.concatenate(values), start, plates, is_control)
    of_control = np.repeat(is_control, np.diff(start))
    kept = [name for name, good in zip(names, usable, strict=True) if good]
    reduced = reduce_features(standard, of_control, n_features=MAX_FEATURES)
    if len(kept) > MAX_TESTED:
        everyone = np.ones(len(standard), dtype=bool)
        standard = reduce_features(standard, everyone, n_features=MAX_TESTED)
        kept = [f"component {number}" for number in range(1, MAX_TESTED + 1)]
    table = pd.DataFrame(rows, columns=["what", "where", "reason"])
    return _Nuclei(kept, standard, reduced, start, np.concatenate(fields)), table


def _score_heads(
    nuclei: _Nuclei, plan: FastPlan, is_control: npt.NDArray[np.bool_]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score all comparisons with linear heads."""
    of_well = {key: number for number, key in enumerate(plan.keys)}
    pieces, start = _cut_pieces(nuclei, plan)
    well_of = np.array([of_well[key] for key, _ in pieces], dtype=np.intp)
    number_of = {piece: number for number, piece in enumerate(pieces)}
    fold = np.full(len(pieces), -1, dtype=np.intp)
    treated = []
    for contrast in plan.contrasts:
        own = []
        for piece, is_treated, number in zip(
            zip(contrast.keys, contrast.fields, strict=True), contrast.is_treated, contrast.folds,
            strict=True,
        ):  # fmt: skip
            if piece in number_of:
                fold[number_of[piece]] = number
                if is_treated:
                    own.append(number_of[piece])
        treated.append(np.array(own, dtype=np.intp))
    plates = np.unique(plan.plates, return_inverse=True)[1]
    blocks = Blocks(start, plates[well_of], fold, is_control[well_of])
    found = score_heads(nuclei.reduced, blocks, treated)
    counts = np.diff(start)
    return (
        _list_scores(found, plan, blocks, treated, counts),
        _list_calls(found, plan, well_of, treated, counts),
    )


def _cut_pieces(
    nuclei: _Nuclei, plan: FastPlan
) -> tuple[list[tuple[str, str]], npt.NDArray[np.intp]]:
    """List the pieces that are held out, and where their nuclei start."""
    if not plan.by_field:
        return [(key, "") for key in plan.keys], nuclei.start
    pieces, ends = [], [0]
    for number, key in enumerate(plan.keys):
        first, last = nuclei.start[number], nuclei.start[number + 1]
        names, counts = np.unique(nuclei.fields[first:last], return_counts=True)
        pieces += [(key, str(name)) for name in names]
        ends += (first + np.cumsum(counts)).tolist()
    return pieces, np.array(ends, dtype=np.intp)


def _list_scores(
    found: HeldOutCalls,
    plan: FastPlan,
    blocks: Blocks,
    treated: list[npt.NDArray[np.intp]],
    counts: npt.NDArray[np.intp],
) -> pd.DataFrame:
    rows = []
    for number, contrast in enumerate(plan.contrasts):
        called = np.isfinite(found.n_called[number])
        is_treated = np.zeros(len(counts), dtype=bool)
        is_treated[treated[number]] = True
        own = zip(contrast.folds, contrast.is_treated, strict=True)
        for fold in sorted({number for number, treats in own if treats}):
            here = called & (blocks.fold == fold)
            accuracy = float(found.balanced_accuracy[number, fold])
            rows.append(
                {
                    "condition": contrast.condition, "kind": contrast.kind, "fold": fold,
                    "balanced_accuracy": accuracy,
                    "auc": float(found.area_under_curve[number, fold]),
                    "n_test_treated": int(counts[here & is_treated].sum()),
                    "n_test_control": int(counts[here & ~is_treated].sum()),
                    "note": "a fold has no nuclei of one kind" if np.isnan(accuracy) else "",
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def _list_calls(
    found: HeldOutCalls,
    plan: FastPlan,
    well_of: npt.NDArray[np.intp],
    treated: list[npt.NDArray[np.intp]],
    counts: npt.NDArray[np.intp],
) -> pd.DataFrame:
    names = [key.rpartition("/")[2] for key in plan.keys]
    tables = []
    for number, contrast in enumerate(plan.contrasts):
        chosen = np.flatnonzero(np.isfinite(found.n_called[number]))
        own = well_of[chosen]
        tables.append(
            pd.DataFrame(
                {
                    "condition": contrast.condition,
                    "plate": np.array(plan.plates)[own],
                    "well": np.array(names)[own],
                    "is_treated": np.isin(chosen, treated[number]),
                    "n_nuclei": counts[chosen],
                    "n_called": found.n_called[number, chosen].astype(np.int64),
                }
            )
        )
    return sum_calls(pd.concat(tables, ignore_index=True))


def _test_wells(
    nuclei: _Nuclei,
    plan: FastPlan,
    is_control: npt.NDArray[np.bool_],
    *,
    n_draws: int,
    seed: np.random.SeedSequence,
) -> ConditionTests:
    """Test the wells' mean profiles."""
    counts = np.diff(nuclei.start)
    means, variances = _summarise_wells(nuclei, plan, is_control)
    n = len(plan.keys)
    return run_condition_tests(
        TestedWells(
            plan.keys, plan.plates, plan.positions, plan.conditions, plan.doses or (np.nan,) * n,
            plan.compounds or ("",) * n, plan.n_fields, nuclei.names, means, variances, counts,
        ),
        n_draws=n_draws, seed=seed,
    )  # fmt: skip


def _summarise_wells(
    nuclei: _Nuclei, plan: FastPlan, is_control: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Give the mean and the variance of each well's nuclei, (well, feature)."""
    d = nuclei.values.shape[1]
    means, variances = np.zeros((len(plan.keys), d)), np.zeros((len(plan.keys), d))
    counts = np.where(is_control, np.diff(nuclei.start), 0)
    of_plate = pd.Series(counts).groupby(np.array(plan.plates)).transform("sum").to_numpy()
    for well, (first, last) in enumerate(zip(nuclei.start[:-1], nuclei.start[1:], strict=True)):
        rows = nuclei.values[first:last]
        if len(rows):
            means[well] = rows.mean(axis=0, dtype=np.float64)
            variances[well] = rows.var(axis=0, dtype=np.float64)
        if is_control[well]:
            # Back to the distance from all controls of the plate: its own standard leaves it out,
            # and is further away by all nuclei over the others.
            means[well] *= 1 - counts[well] / max(of_plate[well], 1)
    return means, variances


def reduce_features(
    features: Singles, chosen: npt.NDArray[np.bool_], *, n_features: int
) -> Singles:
    """Project features on their principal components among chosen nuclei.

    Parameters
    ----------
    features
        Shape (nucleus, feature).
    chosen
        Shape (nucleus,): nuclei that decide, the controls, so that no effect does.
    n_features
        Components kept, at most as many as there are features.

    Returns
    -------
    ndarray of float32
        Shape (nucleus, n_features), as it is where there are no more features than that. Every
        component has variance 1 among the chosen nuclei, or 0 where there is none.
    """
    if features.shape[1] <= n_features:
        return features
    nuclei = features[chosen]
    covariance = nuclei.T @ nuclei / max(len(nuclei), 1)
    values, vectors = np.linalg.eigh(covariance.astype(np.float64))
    largest = slice(-1, -n_features - 1, -1)
    variance, axes = values[largest], vectors[:, largest]
    scale = np.zeros(n_features)
    np.divide(1, np.sqrt(np.maximum(variance, 0)), out=scale, where=variance > 1e-9)
    # The sign of a component is arbitrary: its largest loading is positive.
    sign = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(n_features)])
    reduced: Singles = features @ (axes * scale * sign).astype(np.float32)
    return reduced
