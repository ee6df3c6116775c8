"""What the fast screen says of conditions: p-values, what moved, and what that may be owed to."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from i2r.analysis.screen.explanations import (
    Measure,
    describe_explanations,
    explain_changes,
    explain_conditions,
    find_dna_content,
    find_focus,
)
from i2r.analysis.screen.layouts import (
    FEW_CONDITIONS,
    describe_layout,
    find_doses_along,
    locate_positions,
    warn_of_single_wells,
)
from i2r.kernels.conditions import Changes, Wells, compare_conditions

Floats = npt.NDArray[np.float64]

N_NAMED = 10
"""Features that are listed of each condition."""


class TestedWells(NamedTuple):
    """Wells as the tests see them.

    Attributes
    ----------
    keys, plates, positions, conditions
        Of every well; conditions "" for negative controls.
    doses, compounds
        Of every well, NaN and "" where there are none.
    n_fields : (well,) int
        Fields that were used.
    names
        Of the features.
    means, variances : (well, feature) float64
        Mean and variance of each well's nuclei, standardised to the plate's controls.
    counts : (well,) intp
        Nuclei; wells without take no part.
    focus : (well,) float64 or None
        Logarithm of the focus of their fields, NaN where it is not known; None for nowhere.
    """

    keys: Sequence[str]
    plates: Sequence[str]
    positions: Sequence[str]
    conditions: Sequence[str]
    doses: Sequence[float]
    compounds: Sequence[str]
    n_fields: Sequence[int]
    names: Sequence[str]
    means: Floats
    variances: Floats
    counts: npt.NDArray[np.intp]
    focus: Floats | None = None


class ConditionTests(NamedTuple):
    """Tables of tests.

    Attributes
    ----------
    tests
        One row per condition: condition, p_value, feature, change, explained, p_place, test_note,
        and what `describe_explanations` gives of each measure.
    features
        The features that moved most: condition, place, feature, change, low, high, direction.
    wells
        One row per well: plate, well, condition, n_nuclei, share (its part in the condition's
        mean).
    layout
        One row: what the layout can answer; see `describe_layout`.
    """

    tests: pd.DataFrame
    features: pd.DataFrame
    wells: pd.DataFrame
    layout: pd.DataFrame


def run_condition_tests(
    given: TestedWells, *, n_draws: int, seed: np.random.SeedSequence,
    in_full: Collection[str] = (),
) -> ConditionTests:  # fmt: skip
    """Test the mean profiles of all conditions, and say what moved and why that may be.

    Parameters
    ----------
    given
        All wells.
    n_draws
        Of the null, for each kind of condition.
    seed
        Of the draws.
    in_full
        Conditions of which all features are listed, not only those that moved most.
    """
    names, wells, measures = _place_wells(given)
    filled = np.asarray(given.counts) > 0
    along = _find_along(given)
    borrows = len(names) >= FEW_CONDITIONS
    found = compare_conditions(wells, borrows=borrows, n_draws=n_draws, seed=seed)
    explained = explain_changes(wells, measures, borrows=borrows, n_draws=n_draws, seed=seed)
    unplaced = wells._replace(rows=np.full(filled.sum(), -1), columns=np.full(filled.sum(), -1))
    anywhere = compare_conditions(unplaced, borrows=False, n_draws=n_draws, seed=seed)
    features = _list_moved(found, names, given.names, in_full)
    first = features[features["place"] == 1].set_index("condition")
    tests = pd.DataFrame(
        {
            "condition": names,
            "p_value": found.p_value,
            "feature": first["feature"].reindex(names).fillna("").to_numpy(),
            "change": first["change"].reindex(names).to_numpy(dtype=np.float64),
            "explained": "",
            "p_place": np.where(np.isnan(found.p_value), np.nan, anywhere.p_value),
            **describe_explanations(explained, len(names)),
            "test_note": found.reason,
        }
    )
    tests["explained"] = explain_conditions(tests)
    shares = np.zeros(filled.size)
    shares[filled] = found.weights
    weights = pd.DataFrame(
        {
            "plate": list(given.plates),
            "well": [key.rpartition("/")[2] for key in given.keys],
            "condition": list(given.conditions),
            "n_nuclei": np.asarray(given.counts),
            "share": shares,
        }
    )
    held = [name for name, n in zip(given.conditions, given.counts, strict=True) if n]
    layout = describe_layout(
        found, along=along, borrows=borrows, n_draws=n_draws, others=warn_of_single_wells(held)
    )
    return ConditionTests(tests, features, weights, layout)


def run_measure_tests(
    given: TestedWells, *, n_draws: int, seed: np.random.SeedSequence
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Test the numbers of nuclei and the focus alone, and say what the layout can answer.

    For screens by networks, which see no profiles.

    Parameters
    ----------
    given
        All wells; means and variances are not looked at.
    n_draws, seed
        See `run_condition_tests`.

    Returns
    -------
    tests : DataFrame
        One row per condition: condition, and what `describe_explanations` gives; all ``p_<word>``
        are NaN.
    layout : DataFrame
        One row, see `describe_layout`.
    """
    names, wells, measures = _place_wells(given)
    borrows = len(names) >= FEW_CONDITIONS
    explained = explain_changes(
        wells, measures, tests_left=False, borrows=borrows, n_draws=n_draws, seed=seed
    )
    tests = pd.DataFrame({"condition": names, **describe_explanations(explained, len(names))})
    along, found = _find_along(given), explained["count"].alone
    return tests, describe_layout(found, along=along, borrows=borrows, n_draws=n_draws)


def _place_wells(given: TestedWells) -> tuple[list[str], Wells, dict[str, Measure]]:
    """Give conditions, their wells with nuclei, and what may explain what these change by."""
    filled = np.asarray(given.counts) > 0
    # Conditions without any nucleus are not there to be tested.
    names = list(dict.fromkeys(c for c, f in zip(given.conditions, filled, strict=True) if c and f))
    number_of = {name: number for number, name in enumerate(names)} | {"": -1}
    which = np.array([number_of.get(c, -2) for c in given.conditions], dtype=np.intp)
    rows, columns = locate_positions(given.positions)
    plates = np.unique(given.plates, return_inverse=True)[1].astype(np.intp)
    counts = np.asarray(given.counts, dtype=np.float64)
    wells = Wells(
        given.means[filled], given.variances[filled], counts[filled], plates[filled],
        rows[filled], columns[filled], which[filled],
    )  # fmt: skip
    fields = np.maximum(np.asarray(given.n_fields, dtype=np.float64), 1)
    density = np.log(counts[filled] / fields[filled])
    # The logarithm of a count scatters by 1 / count.
    measures = {"count": Measure(density, np.ones(len(density)))}
    if given.focus is not None:
        measures["focus"] = Measure(given.focus[filled], np.zeros(len(density)))
    among = {"focus": find_focus(given.names), "dna": find_dna_content(given.names)}
    for word, feature in among.items():
        if feature >= 0 and word not in measures:
            measures[word] = Measure(wells.means[:, feature], wells.variances[:, feature])
    return names, wells, measures


def _find_along(given: TestedWells) -> str:
    """Say along what doses run, see `find_doses_along`."""
    rows, columns = locate_positions(given.positions)
    is_treated = np.array([condition != "" for condition in given.conditions])
    return find_doses_along(given.doses, given.compounds, is_treated, rows, columns)


def _list_moved(
    found: Changes, conditions: Sequence[str], names: Sequence[str], in_full: Collection[str]
) -> pd.DataFrame:
    """List the features that moved most, in standard deviations of control wells."""
    rows = []
    quantile = stats.t.ppf(0.975, max(found.freedom, 1.0))
    for number, condition in enumerate(conditions):
        error = found.error[number]
        known = np.isfinite(error) & (found.deviation > 0)
        if not known.any():
            continue
        z = np.where(known, found.change[number] / np.where(known, error, 1), 0)
        order = np.argsort(-np.abs(z), kind="stable")
        order = order if condition in in_full else order[:N_NAMED]
        for place, feature in enumerate(order.tolist(), start=1):
            if not known[feature]:
                continue
            unit = found.deviation[feature]
            change, half = found.change[number, feature], quantile * error[feature]
            rows.append(
                {
                    "condition": condition, "place": place, "feature": str(names[feature]),
                    "change": change / unit, "low": (change - half) / unit,
                    "high": (change + half) / unit, "direction": "up" if change > 0 else "down",
                }
            )  # fmt: skip
    columns = ["condition", "place", "feature", "change", "low", "high", "direction"]
    return pd.DataFrame(rows, columns=columns)
