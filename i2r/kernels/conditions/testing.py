"""Which conditions moved the mean profile of their wells.

The null of a condition is made of noise: residuals of replicates and controls, put together as its
wells are (as many, on as many plates, with as many nuclei, at as many positions), less the error of
the controls' mean. So its p-value needs few control wells, is as fine as wanted, and knows wells
with artefacts, few nuclei and heavy tails, because the residuals have them.
"""

from typing import NamedTuple

import numpy as np

from i2r.kernels.conditions.fields import DISPLACED, LARGEST, find_displaced, fit_field
from i2r.kernels.conditions.noise import (
    EFFICIENCY,
    Floats,
    Indices,
    Noise,
    Wells,
    average_replicates,
    centre_on_controls,
    estimate_noise,
    measure_scatter,
    shrink_correlation,
)
from i2r.kernels.conditions.positions import estimate_positions, root_of
from i2r.kernels.conditions.statistics import (
    SUM_OF_ALL,
    Shape,
    agree,
    combine,
    learn_shape,
    measure_tails,
    score_changes,
)

FOLDS = 5
"""Conditions whose features and correlations are learned from the others'."""

RESERVE = 1.04
"""Draws are wider by this: variances and correlations are estimates, and the error of the controls'
mean is common to all conditions of a screen."""

RESERVE_OF_SUM = 1.015
"""The same for the sum over all features, where errors of single variances average out; those of
the correlation of places do not."""

HEAVY = 3.5
"""Kurtosis of the noise (3 for a normal one) beyond which single wells have no p-value."""

LEAST_FREEDOM = 6.0
"""Degrees of freedom of the noise below which there is no p-value."""


class Changes(NamedTuple):
    """What each condition changes, and whether that can be chance.

    Attributes
    ----------
    p_value : (condition,) float64
        NaN where there is none; see `reason`.
    reason : (condition,) str
        Why there is no p-value, else "".
    change, error : (condition, feature) float64
        Mean change from the plate's controls, its place taken out, and its standard error; in the
        units of the features. Infinite errors for features that never vary.
    deviation : (feature,) float64
        Standard deviation of control wells with the usual number of nuclei.
    weights : (well,) float64
        The part of each well in its condition; 0 for controls.
    freedom : float
        Degrees of freedom of the noise.
    displaced : float
        P-value of controls lying at other places than conditions (`find_displaced`).
    field : float
        Strength of the position field that was taken out, in standard deviations of a well.
    common : float
        What all conditions differ from the controls by, in standard errors of a condition, root
        mean square over features.
    """

    p_value: Floats
    reason: list[str]
    change: Floats
    error: Floats
    deviation: Floats
    weights: Floats
    freedom: float
    displaced: float
    field: float
    common: float


class _Drawn(NamedTuple):
    """Conditions whose wells are alike: as many, on plates alike, as many that count."""

    members: list[int]
    rows: Indices


def compare_conditions(
    wells: Wells, *, borrows: bool = True, n_draws: int = 2500,
    seed: int | np.random.SeedSequence = 0,
) -> Changes:  # fmt: skip
    """Test every condition against the controls of its plates.

    Parameters
    ----------
    wells
        Profiles of all wells with nuclei, controls too.
    borrows
        Whether the wells of conditions help to tell what places do; those of conditions that do
        something count less. It costs some power, and is right also where doses run along rows or
        columns, or most conditions do something: there up to 87 % of null p-values are below 0.05
        without it, 4 % with it (``tests.benchmarks.situations``, "doses").
    n_draws
        Of the null, for each kind of condition.
    seed
        Of the draws.

    Returns
    -------
    Changes
        Where controls lie at other places than conditions and `borrows` holds, the p-value is the
        larger of two: against the controls, and against the middle of all conditions.
    """
    varies = wells.means.std(axis=0) > 1e-9
    n, d = wells.n_conditions, wells.means.shape[1]
    own = wells._replace(means=wells.means[:, varies], variances=wells.variances[:, varies])
    random = np.random.default_rng(seed)
    found = Changes(
        np.full(n, np.nan), [""] * n, np.zeros((n, d)), np.full((n, d), np.inf), np.zeros(d),
        np.zeros(len(wells.counts)), 0.0, 1.0, 0.0, 0.0,
    )  # fmt: skip
    if not varies.any() or not n:
        return found._replace(reason=["no feature varies"] * n)
    flat = np.minimum(wells.counts, 50.0)
    centred, _ = centre_on_controls(own.means, own, flat)
    noise = estimate_noise(centred, own)
    displaced = find_displaced(own)
    field = fit_field(centred, own, noise, borrows=borrows)
    if field.strength > 0:
        centred, _ = centre_on_controls(own.means - field.values, own, noise.trusted)
        noise = estimate_noise(centred, own)
    centred, errors = centre_on_controls(own.means - field.values, own, noise.trusted)
    tester = _Tester(own, centred, errors, noise, borrows=borrows, displaced=displaced)
    tester.test(n_draws, random)
    found.change[:, varies], found.error[:, varies] = tester.change, tester.error
    usual = np.median(wells.counts[wells.is_control]) if wells.is_control.any() else 1.0
    of_wells = np.median(noise.variances - noise.nucleus / own.counts[:, None], axis=0)
    found.deviation[varies] = np.sqrt(np.maximum(of_wells, 0) + noise.nucleus / usual)
    return found._replace(
        p_value=tester.p_value, reason=tester.reason, weights=tester.shares,
        freedom=noise.freedom, displaced=displaced, field=field.strength, common=tester.common,
    )  # fmt: skip


class _Tester:
    """Changes of all conditions, and their null."""

    def __init__(
        self, wells: Wells, centred: Floats, errors: Floats, noise: Noise, *,
        borrows: bool, displaced: float,
    ) -> None:  # fmt: skip
        self.wells, self.centred, self.errors, self.noise = wells, centred, errors, noise
        n, d = wells.n_conditions, centred.shape[1]
        self.rows = [np.flatnonzero(wells.which == number) for number in range(n)]
        self.tests_middle = borrows and displaced < DISPLACED and n >= 8
        self.positions = estimate_positions(
            centred, wells, noise, borrows=borrows, uses_controls=not self.tests_middle
        )
        self.change, self.error = np.zeros((n, d)), np.full((n, d), np.inf)
        self.agreement, self.scatter = np.zeros(n), np.ones(n)
        self.deviations = np.sqrt(noise.variances)
        self.tails = measure_tails(noise.residuals[noise.has_residual])
        self.shares = np.zeros(len(centred))
        self.p_value, self.reason = np.full(n, np.nan), [""] * n
        self.able: list[int] = []
        for number, rows in enumerate(self.rows):
            self.reason[number] = self._refuse(rows)
            if rows.size and np.isfinite(errors[wells.plates[rows]]).all():
                self._average(number, rows)
            if not self.reason[number]:
                self.able.append(number)
        z = self.change[self.able] / self.error[self.able]
        middle = np.median(z, axis=0) if len(self.able) >= 8 else np.zeros(d)
        self.common = float(np.sqrt((middle**2).mean())) if d else 0.0

    def _refuse(self, rows: Indices) -> str:
        """Say why a condition has no p-value."""
        if not rows.size:
            return "no well has nuclei"
        if rows.size < 2 and self.tails > HEAVY:
            return (
                "one well, and some control wells lie far from all others: nothing tells the "
                "condition from such a well; 2 or more are needed"
            )
        if not np.isfinite(self.errors[self.wells.plates[rows]]).all():
            return "a plate has no control well with nuclei"
        if self.noise.freedom < LEAST_FREEDOM:
            lacking = int(np.ceil(LEAST_FREEDOM - self.noise.freedom))
            return (
                f"{self.noise.freedom:.0f} degrees of freedom tell the noise of wells, "
                f"{LEAST_FREEDOM:.0f} are needed: {lacking} more control wells"
            )
        return ""

    def _average(self, number: int, rows: Indices) -> None:
        """Average a condition's wells, with the variance of the mean."""
        values, noise = self.centred[rows][None], self.noise
        means, shares = average_replicates(
            values, noise.variances[rows], noise.weights[rows], noise.usual
        )
        scatter = measure_scatter(values, means, shares, noise.variances[rows], noise.usual)
        variance = self.sum_variance(rows, shares) * scatter
        self.change[number], self.error[number] = means[0], np.sqrt(variance[0])
        self.scatter[number] = scatter[0]
        self.agreement[number] = agree(values, self.deviations[rows], noise.usual)[0]
        self.shares[rows] = shares[0]

    def sum_variance(self, rows: Indices, shares: Floats, *, reference: bool = True) -> Floats:
        """Give the variance of means of wells with these parts: (condition, feature)."""
        variance = shares**2 @ self.noise.variances[rows]
        variance = variance + self.positions.sum_variance(rows, shares)
        if reference:
            of_plate = np.zeros((len(shares), len(self.errors)))
            for place, plate in enumerate(self.wells.plates[rows].tolist()):
                of_plate[:, plate] += shares[:, place]
            known = np.where(np.isfinite(self.errors), self.errors, 0)
            variance = variance + (of_plate**2 @ known)[:, None] * self.unit
            variance = variance + self.positions.reference
        return np.asarray(variance)

    @property
    def unit(self) -> Floats:
        """Variance of a well of weight 1."""
        return np.asarray(np.median(self.noise.variances * self.noise.weights[:, None], axis=0))

    def test(self, n_draws: int, random: np.random.Generator) -> None:
        """Draw the null of every kind of condition, and give p-values."""
        if not self.able:
            return
        against = [(self.change / self.error, self.agreement, True)]
        if self.tests_middle:
            against.append((*self._subtract_middle(), False))
        controls = np.flatnonzero(self.wells.is_control & self.noise.has_residual)
        n_groups = controls.size + sum(
            bool(self.noise.has_residual[self.rows[number]].any()) for number in self.able
        )
        n_wells = max(self.rows[number].size for number in self.able)
        folds = int(np.clip(n_groups // (2 * n_wells), 1, FOLDS))
        fold_of = random.permutation(len(self.rows)) % folds
        control_fold = np.zeros(len(self.centred), dtype=np.intp)
        control_fold[controls] = random.permutation(controls.size) % folds
        well_fold = np.where(
            self.wells.is_control, control_fold, fold_of[np.maximum(self.wells.which, 0)]
        )
        worst = np.zeros(len(self.rows))
        for changes, agreement, reference in against:
            p_values = self._compare(
                changes,
                agreement,
                fold_of,
                well_fold,
                folds,
                n_draws,
                random,
                reference=reference,
            )
            worst = np.fmax(worst, p_values)
        self.p_value[self.able] = worst[self.able]

    def _subtract_middle(self) -> tuple[Floats, Floats]:
        """Give standardised changes from the middle of all conditions, and their agreement."""
        largest = LARGEST * np.sqrt(np.median(self.noise.variances, axis=0))
        middle = np.clip(np.median(self.change[self.able], axis=0), -largest, largest)
        changes, agreement = np.zeros_like(self.change), np.zeros(len(self.rows))
        for number in self.able:
            rows = self.rows[number]
            variance = self.sum_variance(rows, self.shares[rows][None], reference=False)
            width = np.sqrt(variance[0] * self.scatter[number])
            changes[number] = (self.change[number] - middle) / width
            agreement[number] = agree(
                self.centred[rows][None] - middle, self.deviations[rows], self.noise.usual
            )[0]
        return changes, agreement

    def _compare(
        self, changes: Floats, agreement: Floats, fold_of: Indices, well_fold: Indices, folds: int,
        n_draws: int, random: np.random.Generator, *, reference: bool,
    ) -> Floats:  # fmt: skip
        """Give p-values of standardised changes."""
        kinds = self._sort_kinds()
        able = np.zeros(len(self.rows), dtype=bool)
        able[self.able] = True
        scores = np.zeros((5, len(self.rows)))
        nulls: dict[int, list[Floats]] = {number: [] for number in range(len(kinds))}
        for fold in range(folds):
            away = well_fold != fold if folds > 1 else np.ones(len(well_fold), dtype=bool)
            training = self.noise.has_residual & away
            others = able & ((fold_of != fold) | (folds == 1))
            residuals = self.noise.residuals[training]
            for repeats in sorted({self._repeats(kind) for kind in kinds}):
                chosen = [n for n, kind in enumerate(kinds) if self._repeats(kind) == repeats]
                correlation = shrink_correlation(residuals)
                if repeats:
                    n_wells = np.median([self.rows[number].size for number in self.able])
                    of_wells = np.median(self.noise.variances, axis=0) / n_wells
                    share = np.median([self.positions.share(kinds[n].rows) for n in chosen])
                    correlation = self.positions.mix(correlation, of_wells, float(share))
                shape = learn_shape(residuals, changes[others], correlation)
                root = root_of(correlation)
                own = [k for n in chosen for k in kinds[n].members if fold_of[k] == fold]
                scores[:, own] = score_changes(changes[own], agreement[own], shape)
                pool = self.noise.has_residual & ((well_fold == fold) | (folds == 1))
                for number in chosen:
                    drawn = self._draw(
                        kinds[number].rows, np.flatnonzero(pool), shape, root,
                        max(n_draws // folds, 50), random, reference=reference,
                    )  # fmt: skip
                    nulls[number].append(drawn)
        p_values = np.full(len(self.rows), np.nan)
        for number, kind in enumerate(kinds):
            null = np.concatenate(nulls[number], axis=1)
            p_values[kind.members] = combine(scores[:, kind.members], null)
        return p_values

    def _repeats(self, kind: _Drawn) -> bool:
        return self.positions.applies(kind.rows)

    def _sort_kinds(self) -> list[_Drawn]:
        """Sort conditions by how their wells lie and count."""
        kinds: dict[tuple[object, ...], _Drawn] = {}
        for number in self.able:
            rows = self.rows[number]
            parts = self.noise.weights[rows] / self.noise.weights[rows].sum()
            effective = round(2 / float((parts**2).sum()))
            on_plates = np.unique(self.wells.plates[rows], return_counts=True)[1]
            key = (
                rows.size,
                effective,
                tuple(np.sort(on_plates)),
                self.positions.applies(rows),
            )
            kinds.setdefault(key, _Drawn([], rows)).members.append(number)
        return list(kinds.values())

    def _draw(
        self, rows: Indices, pool: Indices, shape: Shape, root: Floats, n_draws: int,
        random: np.random.Generator, *, reference: bool,
    ) -> Floats:  # fmt: skip
        """Put residuals together as the wells of a condition; score them: (5, draw)."""
        picked = self._pick(pool, rows.size, n_draws, random)
        values = self.noise.residuals[picked] * np.sqrt(self.noise.variances[rows])
        values = values + self.positions.draw(rows, n_draws, random)
        means, shares = average_replicates(
            values, self.noise.variances[rows], self.noise.weights[rows], self.noise.usual
        )
        variance = self.sum_variance(rows, shares, reference=reference)
        scatter = measure_scatter(
            values, means, shares, self.noise.variances[rows], self.noise.usual
        )
        if reference:
            # Every well of a plate misses the truth by the same error of its controls' mean.
            own = self.sum_variance(rows, shares, reference=False)
            off = np.sqrt((variance - own) * self.positions.widening)
            error = random.standard_normal(means.shape) @ root * off
            means, values = means + error, values + error[:, None]
        agreement = agree(values, self.deviations[rows], self.noise.usual)
        # The noise itself is known with an error: Student's t, feature by feature.
        freedom = self._count_freedom(rows, shares)
        widened = RESERVE * np.sqrt(freedom / random.chisquare(freedom, size=means.shape))
        changes = means / np.sqrt(variance * scatter[:, None]) * widened
        scores = score_changes(changes, agreement, shape)
        if not self.noise.at_places:
            scores[SUM_OF_ALL] *= (RESERVE_OF_SUM / RESERVE) ** 2
        return scores

    def _count_freedom(self, rows: Indices, shares: Floats) -> float:
        """Give the degrees of freedom of a mean's variance (Satterthwaite 1946), 3 or more.

        References
        ----------
        Satterthwaite, Biometrics Bull. 2:110 (1946), doi:10.2307/3002019.
        """
        of_places = self.positions.sum_variance(rows, shares[:1])[0]
        of_wells = shares[0] ** 2 @ self.noise.variances[rows]
        part = float(np.median(of_places / (of_places + of_wells)))
        inverse = (1 - part) ** 2 / max(EFFICIENCY * self.noise.freedom, 3.0)
        if part > 0:
            inverse += part**2 / max(self.positions.freedom, 3.0)
        return max(1 / inverse, 3.0)

    def _pick(
        self, pool: Indices, n_wells: int, n_draws: int, random: np.random.Generator
    ) -> Indices:
        """Pick wells of different conditions for every draw: (draw, well)."""
        which = self.wells.which[pool]
        groups = np.where(which < 0, self.wells.n_conditions + pool, which)
        names, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        order = np.argsort(inverse, kind="stable")
        first = np.cumsum(sizes) - sizes
        if names.size < n_wells:
            chosen = random.integers(names.size, size=(n_draws, n_wells))
        else:
            # The largest Gumbel variates: without replacement, by size.
            keys = np.log(sizes) + random.gumbel(size=(n_draws, names.size))
            chosen = np.argpartition(-keys, n_wells - 1, axis=1)[:, :n_wells]
            chosen = random.permuted(chosen, axis=1)
        offsets = (random.random((n_draws, n_wells)) * sizes[chosen]).astype(np.intp)
        return np.asarray(pool[order[first[chosen] + offsets]])
