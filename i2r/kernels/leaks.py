"""What profiles of wells say besides treatments: places, controls' places, counts, stray wells."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

# Values further out than this many robust standard deviations are cut before least squares.
WINSOR = 4.0
# Deviations that a location keeps, in robust standard deviations: those of the bulk.
BULK = 2.5
# Permutations of a null.
N_DRAWS = 199
# A stray well: how far the logarithm of its distance to the nearest lies above the median of all
# wells of its kind, in robust standard deviations.
STRAY = 6.0


class Leak(NamedTuple):
    """How much of the spread between wells something explains.

    Attributes
    ----------
    share : float
        From 0 to 1: the mean over features, less what chance explains.
    p_value : float
        Share of permutations that explain as much, the observed one counted among them.
    shares : (feature,) float64
        Of each feature, chance not taken off.
    """

    share: float
    p_value: float
    shares: Floats


class Offset(NamedTuple):
    """How far the bulk of the treated wells lies from the controls.

    Attributes
    ----------
    offset : (feature,) float64
        In standard deviations of control wells.
    p_value : float
        Of the furthest feature, corrected for choosing it.
    """

    offset: Floats
    p_value: float


def centre_groups(values: npt.ArrayLike, groups: npt.ArrayLike) -> Floats:
    """Subtract the mean of each group, shape (well, feature), groups (well,)."""
    rows, group = np.asarray(values, dtype=np.float64), np.asarray(groups)
    _, codes = np.unique(group, return_inverse=True)
    sums = np.zeros((codes.max(initial=-1) + 1, rows.shape[1]))
    np.add.at(sums, codes, rows)
    counts: Floats = np.bincount(codes).astype(np.float64)
    return np.asarray(rows - (sums / counts[:, None])[codes])


def winsorise(values: Floats) -> Floats:
    """Cut each column at `WINSOR` robust standard deviations from its median."""
    middle = np.median(values, axis=0)
    spread = 1.4826 * np.median(np.abs(values - middle), axis=0)
    spread = np.where(spread > 0, spread, values.std(axis=0))
    return np.clip(values, middle - WINSOR * spread, middle + WINSOR * spread)


def measure_place(
    values: npt.ArrayLike,
    rows: npt.ArrayLike,
    columns: npt.ArrayLike,
    plates: npt.ArrayLike,
) -> Leak:
    """Measure how much of the spread goes with the place on the plate.

    A smooth surface (rows, columns, their squares and product) and the outermost wells are fitted
    on each plate apart, so fields common to plates and those of one plate count alike. Under the
    null the places of the plate are given out anew, the same on all plates, so that wells at one
    place of several plates stay together.

    Parameters
    ----------
    values
        Shape (well, feature), centred on what else wells differ by.
    rows, columns, plates
        Shape (well,).

    Returns
    -------
    Leak
        NaN where no plate has twice as many wells as the surface has terms.
    """
    y = winsorise(np.asarray(values, dtype=np.float64))
    row, column = (np.asarray(x, dtype=np.intp) for x in (rows, columns))
    _, plate = np.unique(np.asarray(plates), return_inverse=True)
    terms = _describe_places(row, column)
    large = [p for p in range(plate.max(initial=-1) + 1) if (plate == p).sum() >= 14]
    total = sum(((y[plate == p] - y[plate == p].mean(axis=0)) ** 2).sum(axis=0) for p in large)
    if not large or not np.any(total > 0):
        return Leak(float("nan"), float("nan"), np.full(y.shape[1], np.nan))
    places, place = np.unique(np.column_stack([row, column]), axis=0, return_inverse=True)
    of_place = _describe_places(places[:, 0], places[:, 1], like=(row, column))
    random = np.random.default_rng(0)

    def explain(design: Floats) -> Floats:
        found = np.zeros(y.shape[1])
        for p in large:
            here = plate == p
            own = y[here] - y[here].mean(axis=0)
            basis = _orthogonalise(design[here])
            found += ((basis.T @ own) ** 2).sum(axis=0)
        return np.divide(found, total, out=np.zeros_like(found), where=total > 0)

    observed = explain(terms)
    null = np.array(
        [explain(of_place[random.permutation(len(places))][place]).mean() for _ in range(N_DRAWS)]
    )
    return _compare(observed, null)


def _describe_places(
    row: Indices, column: Indices, *, like: tuple[Indices, Indices] | None = None
) -> Floats:
    """Give the terms of a surface, shape (well, 6): smooth ones and the outermost wells."""
    rows, columns = like if like is not None else (row, column)
    y = (row - rows.mean()) / max(np.ptp(rows), 1)
    x = (column - columns.mean()) / max(np.ptp(columns), 1)
    outermost = np.isin(row, (rows.min(), rows.max()))
    outermost |= np.isin(column, (columns.min(), columns.max()))
    return np.column_stack([y, x, y * x, y**2, x**2, outermost]).astype(np.float64)


def _orthogonalise(design: Floats) -> Floats:
    """Give an orthonormal basis of what columns say beyond a constant."""
    centred = design - design.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    return np.asarray(u[:, s > 1e-8 * max(s.max(initial=0), 1e-12)])


def measure_covariate(
    values: npt.ArrayLike,
    covariate: npt.ArrayLike,
    plates: npt.ArrayLike,
) -> Leak:
    """Measure how much of the spread within plates goes with a number of each well.

    Parameters
    ----------
    values
        Shape (well, feature).
    covariate
        Shape (well,), such as the logarithm of the number of nuclei.
    plates
        Shape (well,): the number is permuted within plates.
    """
    groups = np.unique(np.asarray(plates), return_inverse=True)[1]
    y = winsorise(centre_groups(values, groups))
    y = centre_groups(y, groups)
    x = winsorise(np.asarray(covariate, dtype=np.float64)[:, None])[:, 0]
    total = (y**2).sum(axis=0)
    random = np.random.default_rng(0)

    def explain(number: Floats) -> Floats:
        own = centre_groups(number[:, None], groups)[:, 0]
        if not own.any():
            return np.zeros(y.shape[1])
        found = (own @ y) ** 2 / (own @ own)
        return np.divide(found, total, out=np.zeros_like(found), where=total > 0)

    null = []
    for _ in range(N_DRAWS):
        # A random order within each plate.
        order = np.lexsort((random.random(len(x)), groups))
        mixed = np.empty_like(x)
        mixed[np.argsort(groups, kind="stable")] = x[order]
        null.append(explain(mixed).mean())
    return _compare(explain(x), np.array(null))


def _compare(observed: Floats, null: Floats) -> Leak:
    mean, chance = float(observed.mean()), float(null.mean())
    p_value = (1 + int((null >= mean - 1e-12).sum())) / (1 + len(null))
    share = (mean - chance) / (1 - chance) if chance < 1 else 0.0
    return Leak(max(0.0, share), p_value, observed)


def locate_bulk(values: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Locate the bulk of each column's values: of most conditions, where most do nothing.

    Returns
    -------
    location, spread, number : (column,) float64
        Mean and standard deviation of the values within `BULK` of them, found by iteration from
        median and median absolute deviation, and how many there are. The spread allows for what
        was cut off.
    """
    rows = np.asarray(values, dtype=np.float64)
    middle = np.median(rows, axis=0)
    spread = 1.4826 * np.median(np.abs(rows - middle), axis=0)
    # Standard deviation of a normal distribution cut at both ends, over that of the whole.
    cut = np.sqrt(1 - 2 * BULK * stats.norm.pdf(BULK) / (2 * stats.norm.cdf(BULK) - 1))
    number = np.full(rows.shape[1], float(len(rows)))
    for _ in range(20):
        inside = np.abs(rows - middle) <= BULK * np.maximum(spread, 1e-300)
        number = np.maximum(inside.sum(axis=0), 1).astype(np.float64)
        middle = np.where(inside, rows, 0).sum(axis=0) / number
        squares = np.where(inside, (rows - middle) ** 2, 0).sum(axis=0) / number
        found = np.sqrt(squares) / cut
        if np.allclose(found, spread, rtol=1e-3):
            break
        spread = found
    return middle, spread, number


def measure_offset(
    values: npt.ArrayLike,
    conditions: npt.ArrayLike,
    plates: npt.ArrayLike,
    places: npt.ArrayLike,
) -> Offset:
    """Ask whether most conditions differ from the controls in the same way.

    Where most conditions do nothing, the bulk of them lies where controls do, unless controls sit
    at places, or are treated in a way, of their own.

    Parameters
    ----------
    values
        Shape (well, feature).
    conditions
        Shape (well,): 0, 1, ... and -1 for controls.
    plates, places
        Shape (well,): wells of one place on several plates count once for the error of the mean.

    Returns
    -------
    Offset
        NaN for fewer than three places of controls, or five conditions.
    """
    y, which = np.asarray(values, dtype=np.float64), np.asarray(conditions)
    plate, place = np.asarray(plates), np.asarray(places)
    nothing = Offset(np.full(y.shape[1], np.nan), float("nan"))
    control = which < 0
    groups = [plate == name for name in np.unique(plate) if (control & (plate == name)).any()]
    usable = np.any(groups, axis=0) if groups else np.zeros(len(y), bool)
    for here in groups:
        y = np.where(here[:, None], y - y[here & control].mean(axis=0), y)
    units = _average(
        y[control & usable], np.unique(place[control & usable], return_inverse=True)[1]
    )
    treated = (which >= 0) & usable
    means = _average(y[treated], np.unique(which[treated], return_inverse=True)[1])
    n_places = len(units)
    freedom = n_places - (1 if n_places < control.sum() else len(groups))
    if n_places < 3 or freedom < 2 or len(means) < 5:
        return nothing
    of_mean = (units**2).sum(axis=0) / freedom / n_places
    middle, spread, number = locate_bulk(means)
    error = np.sqrt(of_mean + spread**2 / number)
    varies = error > 1e-9
    if not varies.any():
        return nothing
    z = np.divide(middle, error, out=np.zeros_like(middle), where=varies)
    p_value = min(1.0, float(2 * stats.t.sf(np.abs(z).max(), freedom)) * int(varies.sum()))
    single = np.sqrt((y[control & usable] ** 2).mean(axis=0))
    return Offset(np.divide(middle, single, out=np.zeros_like(middle), where=varies), p_value)


def _average(values: Floats, codes: npt.NDArray[np.integer]) -> Floats:
    sums = np.zeros((codes.max(initial=-1) + 1, values.shape[1]))
    np.add.at(sums, codes, values)
    return np.asarray(sums / np.bincount(codes)[:, None])


def find_stray_wells(
    values: npt.ArrayLike, conditions: npt.ArrayLike, plates: npt.ArrayLike
) -> Flags:
    """Find wells that are far from every well that should be like them.

    Parameters
    ----------
    values
        Shape (well, feature): on the scale of control wells, centred on each plate's controls.
    conditions, plates
        Shape (well,). A treated well should be like the other wells of its condition, a control
        (-1) like the other controls of its plate.

    Returns
    -------
    ndarray of bool, shape (well,)
        False for wells that have no other to be like.
    """
    y, which = np.asarray(values, dtype=np.float64), np.asarray(conditions)
    kind = np.where(which < 0, -1 - np.unique(plates, return_inverse=True)[1], which)
    distance = np.full(len(y), np.nan)
    for name in np.unique(kind):
        rows = np.flatnonzero(kind == name)
        if rows.size < 2:
            continue
        apart = np.sqrt(((y[rows, None] - y[None, rows]) ** 2).mean(axis=2))
        np.fill_diagonal(apart, np.inf)
        distance[rows] = apart.min(axis=1)
    stray = np.zeros(len(y), dtype=bool)
    for own in (which < 0, which >= 0):
        known = own & np.isfinite(distance) & (distance > 0)
        if known.sum() < 8:
            continue
        logs = np.log(distance[known])
        middle = np.median(logs)
        spread = max(1.4826 * float(np.median(np.abs(logs - middle))), 0.05)
        stray[known] = logs - middle > STRAY * spread
    return stray
