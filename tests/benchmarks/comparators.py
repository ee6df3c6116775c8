"""What else labs use, for the battery: max-T of moderated t, average precision, energy distance."""

import numpy as np
from numpy.typing import NDArray

from i2r.kernels.rivals import score_average_precision
from tests.benchmarks.situations import Screen

PERMUTATIONS = 500


def test_max_t(screen: Screen, seed: int) -> NDArray[np.float64]:
    """Test each condition by its largest moderated t; labels are permuted within plates.

    Variances are moderated by a tenth of the wells' degrees of freedom around their median, as
    limma does with a fixed prior. P-values count permutations, the observed one included.
    """
    random = np.random.default_rng(seed)
    return _test_all(screen, random, _largest_t)


def _largest_t(values: NDArray, picks: NDArray, plates: NDArray) -> NDArray:
    """Give the largest moderated t of each pick; values (well, feature), picks (draw, well)."""
    total, found = np.zeros((len(picks), values.shape[1])), []
    squares = (values**2).sum(axis=0)
    explained = np.zeros_like(total)
    scale, freedom = 0.0, len(values)
    for plate in np.unique(plates):
        here = plates == plate
        own, n_here = picks[:, here].astype(float), here.sum()
        m = int(own[0].sum())
        sums, whole = own @ values[here], values[here].sum(axis=0)
        rest = whole - sums
        total += sums - m * rest / (n_here - m)
        scale += m + m**2 / (n_here - m)
        explained += sums**2 / m + rest**2 / (n_here - m)
        freedom -= 2
    variance = np.maximum(squares - explained, 1e-12)
    # Within plates and classes; with one well of a class it has no spread of its own.
    freedom = max(freedom, 1)
    prior = np.median(variance / freedom, axis=1, keepdims=True)
    moderated = (variance + 4 * prior) / (freedom + 4)
    found = np.abs(total) / np.sqrt(scale * np.maximum(moderated, 1e-12))
    return found.max(axis=1)


def _test_all(screen: Screen, random: np.random.Generator, statistic) -> NDArray[np.float64]:
    p_values = np.full(int(screen.which.max()) + 1, np.nan)
    values = screen.means[:, screen.means.std(axis=0) > 1e-9]
    for condition in range(p_values.size):
        own = screen.which == condition
        chosen = own | ((screen.which < 0) & np.isin(screen.plates, screen.plates[own]))
        plates = screen.plates[chosen]
        picks = np.zeros((PERMUTATIONS + 1, chosen.sum()), bool)
        picks[0] = own[chosen]
        for plate in np.unique(plates):
            here = np.flatnonzero(plates == plate)
            m = int(picks[0, here].sum())
            order = random.random((PERMUTATIONS, here.size)).argsort(axis=1)[:, :m]
            picks[1 + np.arange(PERMUTATIONS)[:, None], here[order]] = True
        rows = values[chosen]
        for plate in np.unique(plates):
            rows[plates == plate] -= rows[plates == plate].mean(axis=0)
        found = statistic(rows, picks, plates)
        p_values[condition] = (found >= found[0] - 1e-9).sum() / (PERMUTATIONS + 1)
    return p_values


def test_energy(screen: Screen, seed: int) -> NDArray[np.float64]:
    """Test each condition by the energy distance between its wells and the controls'."""
    return _test_all(screen, np.random.default_rng(seed), _energy_distance)


def _energy_distance(values: NDArray, picks: NDArray, plates: NDArray) -> NDArray:
    """Give the energy distance of each pick from the rest (Szekely and Rizzo 2013)."""
    distance = np.sqrt(np.maximum(((values[:, None] - values) ** 2).sum(axis=2), 0))
    own = picks.astype(float)
    rest = 1 - own
    m, n = own.sum(axis=1), rest.sum(axis=1)
    between = ((own @ distance) * rest).sum(axis=1) / (m * n)
    within = ((own @ distance) * own).sum(axis=1) / m**2
    return 2 * between - within - ((rest @ distance) * rest).sum(axis=1) / n**2


def test_map(screen: Screen, seed: int) -> NDArray[np.float64]:
    """Test each condition by the mean average precision of its wells among controls."""
    values = screen.means.copy()
    for plate in np.unique(screen.plates):
        here = screen.plates == plate
        values[here] -= values[here & (screen.which < 0)].mean(axis=0)
    return score_average_precision(values, screen.which, screen.plates, seed=seed)
