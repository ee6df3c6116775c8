"""What remains of calls once the number of nuclei, or the place, is taken out."""

import numpy as np
import numpy.typing as npt

from i2r.audit.findings import CERTAIN, LEVEL
from i2r.audit.screen import AuditScreen, judge_conditions
from i2r.audit.wells import Wells
from i2r.kernels.leaks import winsorise
from i2r.kernels.statistics import adjust_pvalues

Floats = npt.NDArray[np.float64]


def explain_calls(
    screen: AuditScreen, wells: Wells, p_values: Floats, count_p: Floats
) -> dict[int, str]:
    """Name what remains of every call: ``own``, or ``count`` or ``place`` where those explain it.

    Profiles are tested again with what goes with the number of nuclei, or with the place, taken
    out, and are lost where their p-value is above 0.01 and three times the largest that is called.
    What goes with the number is learned for each condition from all other wells, what goes with
    the place from controls and from conditions that are not called.

    Parameters
    ----------
    screen, wells
        The profiles.
    p_values, count_p
        Shape (condition,): of the profiles, and of the number of nuclei (NaN where not counted).
    """
    called = np.nan_to_num(adjust_pvalues(p_values), nan=1.0) < LEVEL
    if not called.any():
        return {}
    lost_above = max(3 * float(p_values[called].max()), LEVEL / 5)
    words = dict.fromkeys(np.flatnonzero(called).tolist(), "own")
    moved = [k for k in words if count_p[k] < CERTAIN]
    if moved:
        left = judge_conditions(screen, values=_take_out_counts(screen, wells, moved))
        words |= {k: "count" for k in moved if not left[k] <= lost_above}
    quiet = screen.is_control | ~np.append(called, False)[screen.which]
    place = describe_places(screen)
    if quiet.sum() > 4 * (place.shape[1] + len(screen.scales)):
        left = judge_conditions(screen, values=_take_out_places(screen, place, quiet))
        lost = [k for k, word in words.items() if word == "own" and not left[k] <= lost_above]
        words |= dict.fromkeys(lost, "place")
    return words


def _take_out_counts(screen: AuditScreen, wells: Wells, moved: list[int]) -> Floats:
    """Subtract from some conditions what their number of nuclei does to others' wells.

    Means of fewer nuclei scatter more by counting alone, and slopes are uncertain: both bring a
    well's distance from the controls down to what it is worth beside theirs.
    """
    values = screen.values.copy()
    logs = np.log2(np.maximum(screen.counts, 0.5))
    control, plates = screen.is_control, screen.plates
    x = (
        logs
        - np.array([logs[control & (plates == p)].mean() for p in range(len(screen.scales))])[
            plates
        ]
    )
    y = winsorise(screen.values)
    of_wells = np.maximum((screen.values[control] ** 2).mean(axis=0), 1e-12)
    for k in moved:
        own, others = screen.which == k, screen.which != k
        design = np.column_stack([x[others], np.eye(len(screen.scales))[plates[others]]])
        weights, *_ = np.linalg.lstsq(design, y[others], rcond=None)
        inverse = np.linalg.pinv(design.T @ design)
        residual = ((y[others] - design @ weights) ** 2).sum(axis=0) / max(
            int(others.sum()) - design.shape[1], 1
        )
        # All wells of the condition share the slope's error.
        more = inverse[0, 0] * residual * x[own, None] ** 2 * own.sum()
        if not wells.is_per_well:
            # On this scale the variance of a control nucleus is 1.
            few = 1 / np.maximum(screen.counts[own], 1)
            few -= np.mean(1 / np.maximum(screen.counts[control], 1))
            more = more + np.maximum(few, 0)[:, None]
        values[own] = (values[own] - x[own, None] * weights[0]) / np.sqrt(1 + more / of_wells)
    return values


def _take_out_places(screen: AuditScreen, terms: Floats, quiet: npt.NDArray[np.bool_]) -> Floats:
    """Subtract what a surface over the plate explains, learned from quiet wells."""
    design = np.column_stack([terms, np.eye(len(screen.scales))[screen.plates]])
    weights, *_ = np.linalg.lstsq(design[quiet], winsorise(screen.values)[quiet], rcond=None)
    return np.asarray(screen.values - terms @ weights[: terms.shape[1]])


def describe_places(screen: AuditScreen) -> Floats:
    """Give the terms of a surface over the plate and its outermost wells, shape (well, 6)."""
    y = (screen.rows - screen.rows.mean()) / max(np.ptp(screen.rows), 1)
    x = (screen.columns - screen.columns.mean()) / max(np.ptp(screen.columns), 1)
    outermost = np.isin(screen.rows, (screen.rows.min(), screen.rows.max()))
    outermost |= np.isin(screen.columns, (screen.columns.min(), screen.columns.max()))
    return np.column_stack([y, x, y * x, y**2, x**2, outermost]).astype(np.float64)
