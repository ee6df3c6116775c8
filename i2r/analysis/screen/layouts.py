"""What the layout of a screen can and can't answer, said before it runs and beside its results."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.kernels.conditions import Changes, Wells, find_displaced
from i2r.kernels.conditions.fields import DISPLACED
from i2r.kernels.conditions.noise import estimate_noise
from i2r.kernels.conditions.testing import LEAST_FREEDOM
from i2r.types import parse_well

FEW_CONTROLS = 32
"""With fewer control wells one cannot see whether some wells lie far from all others."""

MANY_WELLS = 100
"""With more wells their noise is known well enough for p-values."""

FEW_CONDITIONS = 10
"""With fewer conditions they do not help to tell what places do."""

ALONG = 0.8
"""Doses run along rows or columns when their rank correlation is more than this."""

FEW_DOSES = 3
"""With fewer doses a compound does not tell whether they run along anything."""


def locate_positions(
    positions: "Sequence[str] | pd.Series[str]",
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Give rows and columns of wells from 0, -1 for names that are not wells'."""
    # A screen of a thousand plates has a few hundred names.
    codes, names = pd.factorize(pd.Series(positions, dtype=object), use_na_sentinel=False)
    places = []
    for name in names:
        try:
            well = parse_well(str(name))
            places.append((well.row - 1, well.column - 1))
        except ValueError:
            places.append((-1, -1))
    rows, columns = np.array(places, dtype=np.intp).reshape(-1, 2)[codes].T
    return rows, columns


def find_doses_along(
    doses: Sequence[float], compounds: Sequence[str], is_treated: npt.NDArray[np.bool_],
    rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp],
) -> str:  # fmt: skip
    """Say along what doses run, "rows" or "columns", for most compounds with doses; else "".

    Doses that rise along a row or column rise with whatever the plate does along it.
    """
    dose = np.asarray(doses, dtype=np.float64)
    used = is_treated & ~np.isnan(dose) & (rows >= 0)
    compound = pd.factorize(np.array(compounds, dtype=object)[used], use_na_sentinel=False)[0]
    dose, places = dose[used], {"rows": rows[used], "columns": columns[used]}
    n_compounds = int((_count_doses(compound, dose) >= FEW_DOSES).sum())
    if not n_compounds:
        return ""
    # The highest dose may be a positive control, at a place of its own.
    below = dose < pd.Series(dose).groupby(compound).transform("max").to_numpy()
    found = {
        axis: np.count_nonzero(
            _rises(compound, dose, place) | _rises(compound, np.where(below, dose, np.nan), place)
        )
        for axis, place in places.items()
    }
    axis = max(found, key=lambda name: found[name])
    return axis if found[axis] >= n_compounds / 2 else ""


def _count_doses(compound: npt.NDArray[np.intp], dose: npt.NDArray[np.float64]) -> "pd.Series[int]":
    """Count the doses of each compound, NaN for none."""
    return pd.Series(dose).groupby(compound).nunique()


def _rises(
    compound: npt.NDArray[np.intp], dose: npt.NDArray[np.float64], place: npt.NDArray[np.intp]
) -> npt.NDArray[np.bool_]:
    """Tell for each compound whether a row or column goes with the dose, up or down.

    Spearman's correlation is more than `ALONG`, over `FEW_DOSES` or more. Wells whose dose is NaN
    don't count.
    """
    enough = (_count_doses(compound, dose) >= FEW_DOSES).to_numpy()
    n = len(enough)
    counted = ~np.isnan(dose)
    compound = compound[counted]
    ranks = pd.DataFrame({"dose": dose[counted], "place": place[counted]}).groupby(compound).rank()
    # Twice the ranks, from their middle: whole numbers, so that no rounding decides.
    x, y = (2 * ranks.to_numpy() - np.bincount(compound, minlength=n)[compound, None] - 1).T
    both, of_x, of_y = (
        np.bincount(compound, weights=w, minlength=n) for w in (x * y, x * x, y * y)
    )
    size = np.sqrt(of_x * of_y)
    return enough & (np.abs(np.divide(both, size, out=np.zeros(n), where=size > 0)) > ALONG)


def describe_layout(
    found: Changes, *, along: str, borrows: bool, n_draws: int, others: Sequence[str] = ()
) -> pd.DataFrame:
    """Say in one row what the layout can answer; `others` are further warnings.

    Returns
    -------
    DataFrame
        n_draws, freedom (degrees of freedom of the noise of wells), displaced (p-value of controls
        lying at other places than conditions), field (standard deviation of the position field
        that was taken out, in standard deviations of a well), common (what all conditions differ
        from the controls by, in standard errors), doses_along ("rows", "columns" or ""), borrows
        (whether there are enough conditions to tell what places do), warning (what a reader has to
        know).
    """
    said = warn_of_layout(found.displaced, along, borrows=borrows)
    return pd.DataFrame(
        [
            {
                "n_draws": n_draws, "freedom": found.freedom, "displaced": found.displaced,
                "field": found.field, "common": found.common, "doses_along": along,
                "borrows": borrows,
                "warning": " ".join([*said, *others]),
            }
        ]
    )  # fmt: skip


def is_displaced(layout: pd.DataFrame) -> bool:
    """Tell from a row of `describe_layout` whether scores have to hold against conditions too."""
    return bool(layout["displaced"].iloc[0] < DISPLACED) and bool(layout["borrows"].iloc[0])


def warn_of_layout(displaced: float, along: str, *, borrows: bool) -> list[str]:
    """Say what a layout can't answer, in sentences; nothing for layouts that can."""
    said = []
    if displaced < DISPLACED:
        how = (
            "Each p-value is the larger of two, against the controls and against the middle of all "
            "conditions, so that what the places of controls do makes no calls; a small change "
            "that most conditions share can't be seen."
            if borrows
            else "What their places do to nuclei can't be told from what conditions do: calls may "
            "be owed to places."
        )
        said.append(f"The controls lie at other places of the plates than the conditions. {how}")
    if along:
        said.append(
            f"Doses run along {along}: a rise with the dose can't be told from what the plate does "
            f"along its {along}, so trends have no p-value."
        )
    return said


def warn_of_places(layout: pd.DataFrame) -> list[str]:
    """Say before a screen runs what its layout can't answer, in sentences.

    Parameters
    ----------
    layout
        With plate, well, role, condition, perturbation and dose.
    """
    used = layout[layout["role"].isin(["treated", "positive_control", "negative_control"])]
    if not len(used):
        return []
    rows, columns = locate_positions(used["well"])
    is_control = (used["role"] == "negative_control").to_numpy()
    n = len(used)
    nothing = np.zeros((n, 1))
    plates = pd.factorize(used["plate"])[0]
    wells = Wells(nothing, nothing, np.ones(n), plates, rows, columns, np.where(is_control, -1, 0))
    displaced = find_displaced(wells)
    along = find_doses_along(
        pd.to_numeric(used["dose"], errors="coerce").tolist(),
        used["perturbation"].tolist(), ~is_control, rows, columns,
    )  # fmt: skip
    n_conditions = used.loc[~is_control, "condition"].nunique()
    borrows = n_conditions >= FEW_CONDITIONS
    said = warn_of_layout(displaced, along, borrows=borrows)
    if displaced < DISPLACED and is_control.any():
        found = sorted({int(column) + 1 for column in columns[is_control]})
        if len(found) <= 6:
            said[0] = f"Controls sit in columns {', '.join(map(str, found))} only. {said[0]}"
    held = used["condition"].astype(str).mask(is_control, "")
    return said + warn_of_single_wells(held.tolist())


def warn_of_single_wells(conditions: Sequence[str]) -> list[str]:
    """Say what can't be known where every condition has one well; nothing elsewhere.

    Parameters
    ----------
    conditions
        Of every well; "" for negative controls.
    """
    held = Counter(conditions)
    n_controls = held.pop("", 0)
    if not held or max(held.values()) > 1:
        return []
    said = (
        "Every condition has one well: scores of 'fast' count what the well itself differs by, "
        "and p-values rest on control wells alone, on their scattering as other wells do. Two "
        "or more wells of each tell a condition from its well."
    )
    if n_controls < FEW_CONTROLS:
        said += (
            f" {n_controls} control wells are too few to see whether some wells lie far from all "
            f"others, {FEW_CONTROLS} would do: a call may be owed to such a well."
        )
    return [said]


def warn_of_noise(layout: pd.DataFrame) -> list[str]:
    """Say before a fast screen runs that no p-value is possible, and what it takes.

    Parameters
    ----------
    layout
        With plate, well, role and condition.
    """
    used = layout[layout["role"].isin(["treated", "positive_control", "negative_control"])]
    if not 0 < len(used) <= MANY_WELLS:
        return []
    is_control = (used["role"] == "negative_control").to_numpy()
    rows, columns = locate_positions(used["well"].tolist())
    plates = np.unique(used["plate"].astype(str), return_inverse=True)[1].astype(np.intp)
    which = np.unique(used["condition"].astype(str), return_inverse=True)[1].astype(np.intp)
    values = np.random.default_rng(0).standard_normal((len(used), 8))
    wells = Wells(
        values, np.ones_like(values), np.full(len(used), 100.0), plates, rows, columns,
        np.where(is_control, -1, which),
    )  # fmt: skip
    freedom = estimate_noise(values, wells).freedom
    if freedom >= LEAST_FREEDOM:
        return []
    lacking = int(np.ceil(LEAST_FREEDOM - freedom))
    return [
        f"No p-value is possible: {is_control.sum()} control wells and the replicates leave "
        f"{freedom:.0f} degrees of freedom for what wells differ by, {LEAST_FREEDOM:.0f} are "
        f"needed. {lacking} more control well{'s' * (lacking > 1)} would do."
    ]
