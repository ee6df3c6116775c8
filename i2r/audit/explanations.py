"""What remains of calls once the number of nuclei, focus, DNA content or the place is taken out."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.analysis.screen.explanations import (
    Measure,
    describe_explanations,
    explain_changes,
    explain_conditions,
    find_dna_content,
    find_focus,
)
from i2r.audit import screen as screens
from i2r.audit.findings import LEVEL
from i2r.audit.screen import AuditScreen, judge_conditions, place_wells
from i2r.kernels.leaks import winsorise
from i2r.kernels.statistics import adjust_pvalues

Floats = npt.NDArray[np.float64]


def list_measures(screen: AuditScreen) -> dict[str, Measure]:
    """Give what the table says of wells that may explain their calls; by word."""
    none = np.zeros(len(screen.values))
    found = {}
    if np.isfinite(screen.counts).all() and np.ptp(screen.counts) > 0:
        logs = np.log(np.maximum(screen.counts, 0.5))
        found["count"] = Measure(logs, none if screen.is_per_well else none + 1)
    focus, dna = find_focus(screen.names), find_dna_content(screen.names)
    if focus >= 0:
        found["focus"] = Measure(screen.values[:, focus], none)
    if dna >= 0:
        # On this scale the variance of a control nucleus is 1.
        found["dna"] = Measure(screen.values[:, dna], none if screen.is_per_well else none + 1)
    return found


def explain_calls(screen: AuditScreen, p_values: Floats) -> dict[int, str]:
    """Name what remains of every call, as the fast screen does, and ``place``.

    What goes with a measure is learned for each condition from all other wells, what goes with the
    place from controls and from conditions that are not called: a call is owed to the place where
    its p-value then is above 0.01 and three times the largest that is called.

    Parameters
    ----------
    screen
        The profiles.
    p_values
        Shape (condition,), of the profiles.
    """
    called = np.nan_to_num(adjust_pvalues(p_values), nan=1.0) < LEVEL
    if not called.any():
        return {}
    lost_above = max(3 * float(p_values[called].max()), LEVEL / 5)
    told = explain_changes(
        place_wells(screen), list_measures(screen), borrows=True, n_draws=screens.DRAWS, seed=0
    )
    n = len(screen.conditions)
    tests = pd.DataFrame({"p_value": p_values, "p_place": np.nan, **describe_explanations(told, n)})
    words = {k: word for k, word in enumerate(explain_conditions(tests)) if word}
    quiet = screen.is_control | ~np.append(called, False)[screen.which]
    place = describe_places(screen)
    if quiet.sum() > 4 * (place.shape[1] + len(screen.scales)):
        left = judge_conditions(screen, values=_take_out_places(screen, place, quiet))
        lost = [k for k, word in words.items() if word == "own" and not left[k] <= lost_above]
        words |= dict.fromkeys(lost, "place")
    return words


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
