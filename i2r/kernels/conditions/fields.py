"""What places on a plate do to wells: smooth fields and edges, and where they can't be told.

Evaporation, temperature and seeding change over a plate. Controls scattered over it share in that;
controls in columns of their own do not, and whatever their columns do looks like an effect of every
condition.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse, stats

from i2r.kernels.conditions.noise import (
    Flags,
    Floats,
    Indices,
    Noise,
    Wells,
    average_replicates,
    number_places,
)

DISPLACED = 0.01
"""Below this p-value controls lie elsewhere than conditions, over all wells of the screen."""

LARGEST = 4.0
"""Standard deviations of a well beyond which a difference is put down to places only where controls
show it too: where doses lie side by side a strong drug would pass for a field."""

CONFIRMED = 0.5
"""Share of a fitted field that controls have to show, beyond two standard errors."""

ROUNDS = 4
"""Rounds of fitting the field and the effects of conditions in turn."""

FEW_WELLS = 30
"""A plate with fewer wells has no field of its own."""


class Field(NamedTuple):
    """A smooth field over the plates.

    Attributes
    ----------
    values : (well, feature) float64
        What each well's place adds.
    strength : float
        Its standard deviation over wells, in standard deviations of a well, mean over features.
    """

    values: Floats
    strength: float


def find_displaced(wells: Wells) -> float:
    """Test whether controls lie at other places than conditions.

    Parameters
    ----------
    wells
        All wells.

    Returns
    -------
    float
        The smallest p-value of Kolmogorov-Smirnov tests of rows, columns and distances from the
        middle, each times their number; 1 where places are not known. A place that several plates
        share counts once.
    """
    known = (wells.rows >= 0) & (wells.columns >= 0)
    if not (known & wells.is_control).any() or not (known & ~wells.is_control).any():
        return 1.0
    # As one number each: sorting rows of numbers takes seconds for a screen of a thousand plates.
    width = int(wells.columns.max()) + 1
    places = np.unique((2 * (wells.rows * width + wells.columns) + wells.is_control)[known])
    own = places % 2 == 1
    if own.sum() < 3 or (~own).sum() < 3:
        return 1.0
    found = []
    for axis in divmod(places // 2, width):
        values = axis.astype(np.float64)
        middle = (values.min() + values.max()) / 2
        for scores in (values, np.abs(values - middle)):
            found.append(float(stats.ks_2samp(scores[own], scores[~own], method="asymp").pvalue))
    return min(1.0, len(found) * min(found))


def fit_field(centred: Floats, wells: Wells, noise: Noise, *, borrows: bool) -> Field:
    """Fit a smooth field to all wells, conditions' own effects taken out.

    Rows and columns enter to the third order, and the edge. The field of all plates comes first,
    then what each plate differs by. Each term is shrunk by what it explains beyond noise over all
    features, so that a field that is not there adds nothing. Noise is what whole conditions and
    places of controls scatter by: what a place does on every plate again is no field. Values above
    `LARGEST` standard deviations of a well are cut in features whose controls do not show them.

    Parameters
    ----------
    centred : (well, feature)
        Profiles less their plate's controls.
    wells, noise
        Where they belong, and what they scatter by.
    borrows
        Whether most conditions may be taken to do nothing, so that their wells tell the field.
        Otherwise only what differs between replicates does, and controls.

    Returns
    -------
    Field
        0 where places are not known.
    """
    none = Field(np.zeros_like(centred), 0.0)
    basis = _make_basis(wells)
    if basis is None:
        return none
    field = np.zeros_like(centred)
    plates: list[Flags] = [np.ones(len(centred), dtype=bool)]
    if wells.n_plates > 1:
        plates += [wells.plates == plate for plate in range(wells.n_plates)]
    for here in plates:
        if here.sum() < FEW_WELLS:
            continue
        before, trust = field, np.ones(len(centred))
        effects = np.zeros_like(centred)
        if not borrows:
            effects = _shrink_effects(centred - before, wells, noise, borrows=False)
        for _ in range(ROUNDS):
            fitted = _regress(centred - before - effects, basis, wells, noise, here, trust)
            field = before + fitted
            effects = _shrink_effects(centred - field, wells, noise, borrows=borrows)
            rest = centred - field - effects
            distance = (rest**2 / noise.variances).mean(axis=1)
            trust = np.minimum(1, noise.usual / np.maximum(distance, 1e-9))
    deviation = np.sqrt(np.median(noise.variances, axis=0))
    most = np.where(_confirm(field, centred, wells, deviation), np.inf, LARGEST * deviation)
    field = np.clip(field, -most, most)
    return Field(field, float((field.std(axis=0) / deviation).mean()))


def _confirm(field: Floats, centred: Floats, wells: Wells, deviation: Floats) -> Flags:
    """Tell in which features controls follow the field, (feature,): never without controls.

    Doses along columns look like a field, but leave controls where they are. Values of controls are
    regressed on the field plate by plate; `deviation` is that of a well, in units of the features.
    """
    at = np.flatnonzero(wells.is_control)
    plates = np.eye(wells.n_plates)[wells.plates[at]]
    average = plates @ (plates / np.maximum(plates.sum(axis=0), 1)).T
    fitted, found = (values[at] - average @ values[at] for values in (field, centred))
    squares = np.maximum((fitted**2).sum(axis=0), 1e-12)
    slope = (fitted * found).sum(axis=0) / squares
    return np.asarray(slope - 2 * deviation / np.sqrt(squares) > CONFIRMED)


def _make_basis(wells: Wells) -> Floats | None:
    """Give rows and columns to the third order, and the edge where it has wells; or nothing."""
    if (wells.rows < 0).any() or (wells.columns < 0).any() or len(wells.rows) < FEW_WELLS:
        return None
    axes = []
    for values in (wells.columns, wells.rows):
        low, high = int(values.min()), int(values.max())
        if high - low < 3:
            return None
        axes.append((values - (low + high) / 2) / ((high - low) / 2))
    x, y = axes
    edge = (np.abs(x) == 1) | (np.abs(y) == 1)
    terms = [x, y, x**2, y**2, x * y, x**3, y**3, x**2 * y, x * y**2]
    if 8 <= edge.sum() <= len(edge) - 8:
        terms.append(edge.astype(np.float64))
    return np.column_stack(terms)


def _shrink_effects(values: Floats, wells: Wells, noise: Noise, *, borrows: bool) -> Floats:
    """Estimate what each condition does, shrunk to nothing where its wells show nothing.

    That is what controls at one place of several plates show: there the place itself does it.
    """
    effects = np.zeros_like(values)
    usual = 1.0
    if borrows:
        controls = np.flatnonzero(wells.is_control)
        at = number_places(wells)[controls]
        names, counts = np.unique(at, return_counts=True)
        sizes = [_measure(values, controls[at == name], noise)[1] for name in names[counts > 1]]
        usual = max(1.0, float(np.median(sizes))) if sizes else 1.0
    for number in range(wells.n_conditions):
        rows = np.flatnonzero(wells.which == number)
        if not rows.size:
            continue
        mean, size = _measure(values, rows, noise)
        # Positive-part shrinkage of the whole profile (James and Stein 1961), with some reserve:
        # a field is in all wells and must not pass for effects.
        kept = max(0.0, 1 - 2.0 * usual / max(size, 1e-9)) if borrows else 1.0
        effects[rows] = kept * mean
    return effects


def _measure(values: Floats, rows: Indices, noise: Noise) -> tuple[Floats, float]:
    """Average wells; give the mean, and its mean square in variances of the noise of wells."""
    means, shares = average_replicates(
        values[rows][None], noise.variances[rows], noise.weights[rows], noise.usual
    )
    variance = (shares[0][:, None] ** 2 * noise.variances[rows]).sum(axis=0)
    return means[0], float((means[0] ** 2 / variance).mean())


def _regress(
    values: Floats, basis: Floats, wells: Wells, noise: Noise, here: Flags, trust: Floats
) -> Floats:
    """Regress on the basis, each plate with its own level; shrink every term."""
    weights = np.where(here, noise.weights * trust, 0.0)
    level = np.zeros((len(values), wells.n_plates))
    level[np.arange(len(values)), wells.plates] = 1
    root = np.sqrt(weights)[:, None]
    # Terms are made orthogonal to the levels and to one another, so that each is shrunk alone.
    used = (root[:, 0] > 0) & here
    onto = level[:, np.unique(wells.plates[used])]
    projected = np.linalg.lstsq(root * onto, root * basis, rcond=None)[0]
    free = basis - onto @ projected
    q, r = np.linalg.qr(root * free)
    able = np.abs(np.diag(r)) > 1e-6 * np.abs(np.diag(r)).max(initial=1e-12)
    coefficients = q.T @ (root * values)
    unit = noise.variances * noise.weights[:, None]  # variance of a well of weight 1
    scatter = np.median(unit[here], axis=0)
    size = (coefficients**2 / scatter).mean(axis=1)
    size /= _inflate(root * (values - free @ (np.linalg.pinv(r) @ coefficients)), q, wells, scatter)
    kept = np.where(able, np.maximum(0, 1 - 1 / np.maximum(size, 1e-9)), 0)
    slopes = np.linalg.pinv(r) @ (coefficients * kept[:, None])
    fitted = free @ slopes
    return np.where(here[:, None], fitted, 0.0)


def _inflate(rest: Floats, q: Floats, wells: Wells, scatter: Floats) -> Floats:
    """Say how many times the noise of wells the terms scatter by, 1 or more.

    Wells of one condition, and controls at one place, scatter together.

    References
    ----------
    Liang and Zeger, Biometrika 73:13 (1986), doi:10.1093/biomet/73.1.13.
    """
    own = np.where(wells.is_control, wells.n_conditions + number_places(wells), wells.which)
    used = (q != 0).any(axis=1)
    names, cluster = np.unique(own[used], return_inverse=True)
    lost = names.size / max(names.size - q.shape[1], 1)
    sums = sparse.csr_array(
        (np.ones(cluster.size), (cluster, np.arange(cluster.size))),
        shape=(names.size, cluster.size),
    )
    found = [
        lost * ((sums @ (term[:, None] * rest[used])) ** 2).sum(axis=0) / scatter
        for term in q[used].T
    ]
    return np.maximum(1.0, np.array(found).mean(axis=1))
