"""Which perturbations moved the mean profile of their wells, tested against sets of control wells.

A profile has tens to hundreds of features, and a perturbation moves a few of them. Sums of squares
over all features drown such a change, and a test of every feature pays for their number. Other
perturbations of the screen show which features move at all, so each perturbation is judged by its
strongest feature, weighted by what the *others* say about that feature.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from i2r.kernels.nulls import Structure, draw_control_sets, find_structure, layout_repeats
from i2r.kernels.statistics import predict_tail

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

FLAT_WEIGHT = 0.1
"""Share of the weights that all features get alike, so that no feature is ruled out."""

STRONGEST = 4.0
"""Standard deviations above which a perturbation counts no more for the weights of others."""


class ProfileTest(NamedTuple):
    """What the profiles say about each perturbation.

    Attributes
    ----------
    p_value : (perturbation,) float64
        NaN where no control wells copy its structure.
    statistic : (perturbation,) float64
        Minus the logarithm of its weighted p-value, before it is compared with draws.
    feature : (perturbation,) intp
        The feature that decides, -1 where there is no statistic.
    change : (perturbation,) float64
        That feature's change, in standard deviations of the null, with the others' changes
        taken out; NaN where there is none.
    n_draws, n_independent : (perturbation,) intp
        Control sets drawn for its structure, and how many could be without a well in common.
    """

    p_value: Floats
    statistic: Floats
    feature: Indices
    change: Floats
    n_draws: Indices
    n_independent: Indices


def compare_profiles(
    profiles: npt.ArrayLike,
    plates: npt.ArrayLike,
    positions: npt.ArrayLike,
    perturbations: npt.ArrayLike,
    *,
    n_draws: int = 400,
    seed: int | np.random.SeedSequence = 0,
) -> ProfileTest:
    """Test the mean profile of every perturbation against those of control wells.

    The mean over a perturbation's wells, each minus the mean of its plate's controls, is whitened
    with the covariance of control sets of the same structure, so that features keep their names
    (ZCA-cor). The statistic is the smallest of the features' p-values over their weights. Weights
    follow the excess of squared changes over all other perturbations. Control sets of the same
    structure go the same way, with themselves left out of the controls' mean and covariance; the
    p-value is the tail of one more such set, see `predict_tail` (``exponential``).

    Parameters
    ----------
    profiles
        Shape (well, feature): mean of each well's nuclei, on comparable scales over plates.
    plates, positions
        Shape (well,): a position is the same place on every plate.
    perturbations
        Shape (well,): 0, 1, ... for perturbations, -1 for negative controls.
    n_draws
        Control sets for every structure; each is one way to permute the labels of control wells.
    seed
        Of the draws.

    Returns
    -------
    ProfileTest
        Features that never vary among controls play no part.

    Raises
    ------
    ValueError
        If shapes differ, or a profile is not finite.

    References
    ----------
    ZCA-cor whitening: Kessy, Lewin and Strimmer, Am. Stat. 72:309 (2018),
    doi:10.1080/00031305.2016.1277159. Shrinkage of correlations: Schafer and Strimmer, Stat. Appl.
    Genet. Mol. Biol. 4:32 (2005), doi:10.2202/1544-6115.1175. Weighted p-values: Genovese, Roeder
    and Wasserman, Biometrika 93:509 (2006), doi:10.1093/biomet/93.3.509.
    """
    values = np.asarray(profiles, dtype=np.float64)
    plate, position, which = np.asarray(plates), np.asarray(positions), np.asarray(perturbations)
    if values.ndim != 2 or not len(values) == len(plate) == len(position) == len(which):
        raise ValueError(
            f"profiles are {values.shape} with {len(plate)} plates, {len(position)} positions and "
            f"{len(which)} perturbations, expected one of each per well."
        )
    if not np.isfinite(values).all():
        raise ValueError("profiles: some values are not finite. Leave those wells out.")
    if not layout_repeats(plate, position, which):
        # Wells that share a position by chance are not copied.
        position = np.arange(len(plate))
    screen = _Screen(values, plate, position, which)
    n = int(which.max(initial=-1)) + 1
    found = ProfileTest(
        np.full(n, np.nan), np.full(n, np.nan), np.full(n, -1, dtype=np.intp), np.full(n, np.nan),
        np.zeros(n, dtype=np.intp), np.zeros(n, dtype=np.intp),
    )  # fmt: skip
    classes: dict[Structure, list[int]] = {}
    for number in range(n):
        rows = which == number
        if rows.any():
            structure = find_structure(plate[rows].tolist(), position[rows].tolist())
            classes.setdefault(structure, []).append(number)
    for structure, members in classes.items():
        _test_class(screen, structure, np.array(members), found, n_draws=n_draws, seed=seed)
    return found


class _Screen:
    """Profiles centred on their plates' controls, and what follows from them."""

    def __init__(
        self,
        values: Floats,
        plates: npt.NDArray[np.generic],
        positions: npt.NDArray[np.generic],
        which: npt.NDArray[np.integer],
    ) -> None:
        self.plates, self.positions, self.which = plates, positions, which
        self.controls = np.flatnonzero(which < 0)
        names, self.plate_of = np.unique(plates, return_inverse=True)
        self.n_controls = np.bincount(self.plate_of[self.controls], minlength=len(names))
        sums = np.zeros((len(names), values.shape[1]))
        np.add.at(sums, self.plate_of[self.controls], values[self.controls])
        self.centred = values - (sums / np.maximum(self.n_controls, 1)[:, None])[self.plate_of]
        varies = self.centred[self.controls].std(axis=0) > 1e-9
        self.features = np.flatnonzero(varies)
        self.centred = self.centred[:, varies]
        n = int(which.max(initial=-1)) + 1
        self.means = np.zeros((n, self.centred.shape[1]))
        for number in range(n):
            rows = which == number
            if rows.any():
                self.means[number] = self.centred[rows].mean(axis=0)

    def list_units(self, size: int, structure: Structure) -> list[Indices]:
        """List control positions as they come in a structure's groups of so many plates."""
        units: dict[tuple[int, ...], None] = {}
        for group in {g for g in structure if len(g) == size}:
            drawn = draw_control_sets(
                self.plates[self.controls], self.positions[self.controls], (group,),
                n_draws=len(self.controls), seed=0,
            )  # fmt: skip
            units |= dict.fromkeys(tuple(self.controls[wells].tolist()) for wells in drawn.wells)
        return [np.array(unit, dtype=np.intp) for unit in units]


def _test_class(
    screen: _Screen, structure: Structure, members: Indices, found: ProfileTest, *,
    n_draws: int, seed: int | np.random.SeedSequence,
) -> None:  # fmt: skip
    """Test the perturbations of one structure; results go into `found`."""
    drawn = draw_control_sets(
        screen.plates[screen.controls], screen.positions[screen.controls], structure,
        n_draws=n_draws, seed=seed,
    )  # fmt: skip
    covariance = _NullCovariance(screen, structure)
    if len(drawn.wells) < 2 or screen.features.size == 0 or not covariance.is_known:
        return
    whitening = covariance.whiten(())
    changes = screen.means @ whitening
    # Other structures differ in the number of wells: their changes are brought to unit variance.
    wells_of = np.bincount(screen.which[screen.which >= 0], minlength=len(screen.means))
    scale = np.sqrt(np.maximum(wells_of, 1) / sum(map(len, structure)))[:, None]
    freedom = covariance.n_units - 1
    squares = np.minimum(changes * scale, STRONGEST) ** 2
    total = np.minimum(squares, STRONGEST**2).sum(axis=0)
    n_others = max(len(changes) - 1, 1)
    for number in members.tolist():
        own = np.minimum(squares[number], STRONGEST**2)
        score, feature = _score_change(changes[number], (total - own) / n_others, freedom)
        found.statistic[number], found.feature[number] = score, screen.features[feature]
        found.change[number] = changes[number, feature]
    null = []
    for wells in screen.controls[drawn.wells]:
        if covariance.count_left(tuple(wells.tolist())) < 2:
            continue  # what is left has no spread to measure this one in
        whitening = covariance.whiten(tuple(wells.tolist()))
        shift = _shift_without(screen, wells)
        means = screen.means - shift[screen.plate_of[wells]].mean(axis=0)
        others = np.minimum(((means @ whitening) * scale) ** 2, STRONGEST**2).mean(axis=0)
        own = (screen.centred[wells] - shift[screen.plate_of[wells]]).mean(axis=0) @ whitening
        null.append(_score_change(own, others, freedom - 1)[0])
    found.p_value[members] = predict_tail(
        found.statistic[members], null, tail="exponential", n_independent=drawn.n_independent
    )
    found.n_draws[members], found.n_independent[members] = len(null), drawn.n_independent


def _shift_without(screen: _Screen, wells: Indices) -> Floats:
    """How the mean of each plate's controls moves when some of them are left out."""
    left_out = np.bincount(screen.plate_of[wells], minlength=len(screen.n_controls))
    sums = np.zeros((len(screen.n_controls), screen.centred.shape[1]))
    np.add.at(sums, screen.plate_of[wells], screen.centred[wells])
    return -sums / np.maximum(screen.n_controls - left_out, 1)[:, None]


def _score_change(change: Floats, others: Floats, freedom: int) -> tuple[float, int]:
    """Weigh the features by the others' mean squares; give the statistic and the feature."""
    excess = np.maximum(others - 1, 0)
    flat = np.full(change.size, 1 / change.size)
    total = excess.sum()
    weights = (1 - FLAT_WEIGHT) * excess / total + FLAT_WEIGHT * flat if total > 0 else flat
    log_p = np.log(2) + stats.t.logsf(np.abs(change), max(freedom, 1))
    weighted = log_p - np.log(weights)
    feature = int(weighted.argmin())
    smallest = float(weighted[feature])
    # The chance that any of independent features has so small a weighted p-value; log p for small.
    score = -smallest if smallest < -30 else -float(np.log(-np.expm1(-np.exp(smallest))))
    return score, feature


class _NullCovariance:
    """Covariance of the mean profile of control sets, with any of their wells left out."""

    def __init__(self, screen: _Screen, structure: Structure) -> None:
        sizes = [len(group) for group in structure]
        n_wells = sum(sizes)
        self.parts = []
        for size in sorted(set(sizes)):
            units = screen.list_units(size, structure)
            rows = [screen.centred[unit].mean(axis=0) for unit in units]
            share = sizes.count(size) * (size / n_wells) ** 2
            self.parts.append((share, np.array(rows), [frozenset(unit.tolist()) for unit in units]))
        self.n_units = min((len(units) for _, _, units in self.parts), default=0)
        self.is_known = self.n_units >= 3
        # Correlations come from single wells: there are more of them than of sets, and a wrong
        # correlation costs power but no error, since draws go the same way.
        self.controls, self.wells = screen.controls, screen.centred[screen.controls]
        if self.is_known:
            self.intensity = _shrink_intensity(self.wells)

    def count_left(self, left_out: tuple[int, ...]) -> int:
        """Count the sets that hold none of some wells, of the size that has fewest."""
        gone = set(left_out)
        return min(sum(not unit & gone for unit in units) for _, _, units in self.parts)

    def whiten(self, left_out: tuple[int, ...]) -> Floats:
        """Give the matrix that makes a set's mean profile white; shape (feature, feature)."""
        gone = set(left_out)
        variance = sum(
            share * rows[[not (unit & gone) for unit in units]].var(axis=0, ddof=1)
            for share, rows, units in self.parts
        )
        wells = self.wells[~np.isin(self.controls, left_out)]
        wells = wells / np.maximum(wells.std(axis=0), 1e-9)
        correlation = (1 - self.intensity) * (wells.T @ wells) / len(wells)
        np.fill_diagonal(correlation, 1.0)
        values, vectors = np.linalg.eigh(correlation)
        root = (vectors / np.sqrt(np.maximum(values, 1e-6))) @ vectors.T
        return np.asarray(root / np.sqrt(np.maximum(variance, 1e-12))[:, None])


def _shrink_intensity(rows: Floats) -> float:
    """Choose how far correlations are shrunk towards none, from the rows' own scatter."""
    n, d = rows.shape
    if d < 2:
        return 0.0
    z = (rows - rows.mean(axis=0)) / np.maximum(rows.std(axis=0), 1e-9)
    correlation = z.T @ z / n
    variance = ((z**2).T @ (z**2) / n - correlation**2) / (n - 1)
    off = ~np.eye(d, dtype=bool)
    return float(np.clip(variance[off].sum() / max((correlation[off] ** 2).sum(), 1e-12), 0, 1))
