"""The whole audit of one table: every question, and a row per condition."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from i2r.audit.checks import (
    check_controls,
    check_counts,
    check_focus,
    check_places,
    check_plates,
    check_stray_wells,
    measure_counts,
)
from i2r.audit.explanations import explain_calls
from i2r.audit.fakes import check_calibration, judge_otherwise, measure_power
from i2r.audit.findings import LEVEL, Finding
from i2r.audit.screen import judge_conditions, prepare_screen
from i2r.audit.wells import Wells
from i2r.kernels.statistics import adjust_pvalues


class Audit(NamedTuple):
    """What an audit found.

    Attributes
    ----------
    findings : tuple of Finding
        One per question.
    conditions : DataFrame
        condition, n_wells, p_value, fdr, word (``own``, ``count``, ``focus``, ``dna``,
        ``place`` for calls), log2_count, count_p, map_p, energy_wells_p, energy_nuclei_p.
    methods, power : DataFrame
        Fakes by method; shares found by size.
    summary : dict
        Rows, wells, plates, features, and notes.
    """

    findings: tuple[Finding, ...]
    conditions: pd.DataFrame
    methods: pd.DataFrame
    power: pd.DataFrame
    summary: Mapping[str, Any]

    @property
    def leaks(self) -> list[str]:
        """Names of the questions whose answer is a leak."""
        return [finding.name for finding in self.findings if finding.verdict == "leak"]

    def dump(self) -> dict[str, Any]:
        """Give everything as plain values, for JSON."""
        found: dict[str, Any] = _plain(
            {
                "summary": self.summary,
                "leaks": self.leaks,
                "findings": [finding._asdict() for finding in self.findings],
                "conditions": self.conditions.to_dict("records"),
                "methods": self.methods.to_dict("records"),
                "power": self.power.to_dict("records"),
            }
        )
        return found


def audit_wells(wells: Wells, *, say: Callable[[str], None] = lambda line: None) -> Audit:
    """Ask all questions of a table that was read."""
    screen = prepare_screen(wells)
    say(f"{len(screen.conditions)} conditions in {len(wells.table)} wells: testing")
    p_values = judge_conditions(screen)
    called = np.nan_to_num(adjust_pvalues(p_values), nan=1.0) < LEVEL
    counts = measure_counts(screen)
    words = explain_calls(screen, p_values)
    say("fake compounds made of control wells")
    calibration, methods = check_calibration(screen, wells)
    say("effects planted in control wells")
    power, shares = measure_power(screen)
    others = judge_otherwise(screen, wells, screen.which)
    table = pd.DataFrame(
        {
            "condition": screen.conditions,
            "n_wells": np.bincount(screen.which[~screen.is_control]),
            "p_value": p_values,
            "fdr": adjust_pvalues(p_values),
            "word": [words.get(k, "") for k in range(len(screen.conditions))],
            **counts.to_dict("series"),
            **{f"{name}_p": values for name, values in others.items()},
        }
    )
    findings = (
        calibration,
        check_places(screen, called),
        check_controls(screen),
        check_counts(screen, counts, p_values, words),
        check_focus(screen, words),
        check_plates(screen, wells),
        check_stray_wells(screen, wells),
        power,
    )
    summary = {
        "rows": wells.n_rows, "rows_are": "wells" if wells.is_per_well else "nuclei",
        "wells": len(wells.table), "plates": int(wells.table["plate"].nunique()),
        "controls": int(screen.is_control.sum()), "conditions": len(screen.conditions),
        "features": len(screen.names), "called": int(called.sum()), "notes": list(wells.notes),
    }  # fmt: skip
    ranked = table.sort_values("p_value", na_position="last", ignore_index=True)
    return Audit(findings, ranked, methods, shares, summary)


def _plain(value: Any) -> Any:
    """Give plain values: JSON knows neither numpy's numbers nor NaN, which becomes None."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
