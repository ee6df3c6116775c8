"""What a pilot says of the noise: how wells that hold the same differ."""

from contextlib import suppress
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import polygamma

from i2r.audit.screen import AuditScreen, reduce_profiles
from i2r.errors import InputError
from i2r.kernels.conditions.fields import fit_field
from i2r.kernels.conditions.noise import EFFICIENCY, Wells, centre_on_controls, estimate_noise

Floats = npt.NDArray[np.float64]

LEAST_WELLS = 6
"""Residual wells without which a pilot says too little of how wells scatter."""


class Pilot(NamedTuple):
    """The noise of wells, as a pilot shows it.

    Attributes
    ----------
    of_wells : (feature,) float64
        Variance of wells beyond what counting nuclei explains.
    nucleus : (feature,) float64
        Variance of the nuclei of a well; 0 for a table with one row per well.
    correlation : (feature, feature) float64
        Of the deviations of wells.
    lengths : (row,) float64
        How far single wells lie from the others, 1 on average of squares: a few large ones are
        heavy tails or artefacts.
    nuclei : float
        Median number of a control well; 1 for a table with one row per well.
    n_wells : int
        Wells that all this was learned from.
    """

    of_wells: Floats
    nucleus: Floats
    correlation: Floats
    lengths: Floats
    nuclei: float
    n_wells: int

    def deviation(self, nuclei: float) -> Floats:
        """Give the standard deviation of a control well with so many nuclei, by feature."""
        return np.asarray(np.sqrt(self.of_wells + self.nucleus / nuclei))


def learn_pilot(screen: AuditScreen) -> Pilot:
    """Learn the noise from control wells, and from replicates where there are conditions.

    Raises
    ------
    InputError
        If fewer than six wells can be compared with others that hold the same.
    """
    profiles = reduce_profiles(screen.values, screen)
    counted = not screen.is_per_well and bool(np.isfinite(screen.counts).all())
    counts = np.maximum(screen.counts, 1.0) if counted else np.ones(len(screen.which))
    variances = np.ones_like(profiles) if counted else np.zeros_like(profiles)
    wells = Wells(
        profiles, variances, counts, screen.plates, screen.rows, screen.columns, screen.which
    )
    centred, _ = centre_on_controls(profiles, wells, np.minimum(counts, 50.0))
    noise = estimate_noise(centred, wells)
    # The test takes out what lies smoothly over the plate, so it is not part of the noise here.
    borrows = bool((screen.which >= 0).any())
    field = fit_field(centred, wells, noise, borrows=borrows)
    if field.strength > 0:
        centred, _ = centre_on_controls(profiles - field.values, wells, noise.trusted)
        noise = estimate_noise(centred, wells)
    n_wells = int(noise.has_residual.sum())
    if n_wells < LEAST_WELLS:
        raise InputError(
            f"pilot: {n_wells} wells can be compared with others that hold the same, expected "
            f"{LEAST_WELLS} or more. Take a pilot with more negative-control wells on a plate."
        )
    rows = noise.residuals[noise.has_residual]
    correlation = _estimate_correlation(rows, noise.freedom)
    nuclei = float(np.median(counts[screen.is_control]))
    of_wells = np.median(noise.variances - noise.nucleus / counts[:, None], axis=0)
    total = _shrink_variances(of_wells + noise.nucleus / nuclei, noise.freedom)
    nucleus = noise.nucleus if counted else np.zeros(profiles.shape[1])
    of_wells = np.maximum(total - noise.nucleus / nuclei, 0.02 * total)
    return Pilot(
        of_wells, nucleus, correlation, _measure_lengths(rows, correlation), nuclei, n_wells
    )  # fmt: skip


def learn_plates(screen: AuditScreen) -> list[Pilot]:
    """Learn the noise from each plate of a pilot alone; plates that say too little are left out."""
    found = []
    for plate in np.unique(screen.plates):
        here = screen.plates == plate
        rows = ("values", "which", "rows", "columns", "places", "counts")
        own = {name: getattr(screen, name)[here] for name in rows}
        alone = screen._replace(**own, plates=np.zeros(int(here.sum()), dtype=np.intp))
        with suppress(InputError):
            found.append(learn_pilot(alone))
    return found


def _estimate_correlation(rows: Floats, freedom: float) -> Floats:
    """Estimate a correlation matrix whose correlations are as large as those of new wells.

    Shrinking for the smallest error multiplies all correlations by the share of their mean square
    that is not chance, and so leaves them smaller than they are. Features then seem to say more
    independent things than they do, the test has more noise to find a change in, and the promised
    power is too low. The root of that share keeps their mean square.

    Residuals have fewer degrees of freedom than rows, and correlations scatter by those: counted by
    rows, chance passes for correlation, and the promised power is too high.

    References
    ----------
    Ezekiel, Methods of Correlation Analysis (1930): the adjusted square of a correlation.
    """
    z = rows / np.maximum(np.sqrt((rows**2).mean(axis=0)), 1e-12)
    found = z.T @ z / len(rows)
    by_chance = (1 - found**2) / max(freedom - 1, 1.0)
    np.fill_diagonal(found, 0.0)
    np.fill_diagonal(by_chance, 0.0)
    kept = 1 - float(by_chance.sum()) / max(float((found**2).sum()), 1e-12)
    correlation = np.sqrt(max(kept, 0.0)) * found
    np.fill_diagonal(correlation, 1.0)
    return np.asarray(correlation)


def _measure_lengths(rows: Floats, correlation: Floats) -> Floats:
    """Say how far wells lie from the others beyond what correlated normal deviations would."""
    squares = (rows**2).mean(axis=1)
    squares = squares / np.minimum(squares, np.quantile(squares, 0.95)).mean()
    by_chance = 2 * (correlation**2).mean()
    beyond = 1 - by_chance / max(float(squares.var()), 1e-12)
    return np.asarray(np.sqrt(np.maximum(1 + (squares - 1) * np.sqrt(max(beyond, 0)), 0.1)))


def _shrink_variances(variances: Floats, freedom: float) -> Floats:
    """Shrink features' variances towards their median by what they differ by chance.

    A few control wells say little of a single feature, and a plan of made-up differences between
    features has less power than one of real ones. The logarithm of an estimate is on average less
    than that of the variance, so the level is set anew: estimates over variances are 1 on average.

    References
    ----------
    Smyth, Stat. Appl. Genet. Mol. Biol. 3:3 (2004), doi:10.2202/1544-6115.1027.
    """
    logs = np.log(np.maximum(variances, 1e-12))
    by_chance = float(polygamma(1, EFFICIENCY * max(freedom, 1.0) / 2))
    kept = max(0.0, 1 - by_chance / max(float(logs.var()), 1e-12))
    middle = np.median(logs)
    shrunk = np.exp(middle + kept * (logs - middle))
    return np.asarray(shrunk * (variances / shrunk).mean())
