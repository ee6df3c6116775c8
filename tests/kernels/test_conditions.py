"""Conditions: planted changes are found, nothing else is, whatever the layout and the noise."""

import numpy as np
import pytest
from scipy import stats

from i2r.analysis.screen.explanations import STILL_CALLED
from i2r.kernels.conditions import Wells, compare_conditions, explain_by
from i2r.kernels.conditions.fields import LARGEST, find_displaced, fit_field
from i2r.kernels.conditions.noise import (
    average_replicates,
    centre_on_controls,
    estimate_noise,
    measure_scatter,
)
from i2r.kernels.conditions.positions import estimate_positions
from i2r.kernels.conditions.statistics import extend_tail
from i2r.kernels.statistics import adjust_pvalues
from tests.benchmarks.situations import BASE, Screen, Situation, draw_screen

SMALL = BASE._replace(conditions=40, features=20, nuclei=50)


def wells_of(screen: Screen) -> Wells:
    return Wells(
        screen.means, screen.variances, screen.counts.astype(float), screen.plates, screen.rows,
        screen.columns, screen.which,
    )  # fmt: skip


def test_screens(situation: Situation, n_screens: int) -> tuple[np.ndarray, list[float], float]:
    """Give the null p-values of screens, their false discovery proportions and the power."""
    nulls, false, power = [], [], []
    for seed in range(n_screens):
        screen = draw_screen(situation, seed)
        p_value = compare_conditions(wells_of(screen), n_draws=1000, seed=seed).p_value
        called = adjust_pvalues(p_value) < 0.05
        nulls.append(p_value[~screen.is_active])
        false.append((called & ~screen.is_active).sum() / max(called.sum(), 1))
        power.append(called[screen.is_active].mean() if screen.is_active.any() else np.nan)
    return np.concatenate(nulls), false, float(np.mean(power))


test_screens.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("situation", "least_power"),
    [
        (SMALL, 0.7),
        (SMALL._replace(controls=4, plates=4), 0.7),
        (SMALL._replace(plates=1, replicates=4), 0.6),
        (SMALL._replace(layout="sister", plates=4), 0.4),
        (SMALL._replace(toxic=0.4), 0.6),
        (SMALL._replace(bad_well=0.4), 0.6),
        (SMALL._replace(artefacts=0.1), 0.3),
        (SMALL._replace(dead="noise", plates=4), 0.6),
        (SMALL._replace(placed="columns", gradient=0.2), 0.6),
        (SMALL._replace(placed="outer", edge=0.3, layout="sister", plates=4), 0.2),
        (SMALL._replace(features=150, controls=8, effect=1.2), 0.3),
    ],
    ids=str,
)
def test_calls_hold_and_see(situation: Situation, least_power: float) -> None:
    nulls, false, power = test_screens(situation, 4)
    # Conditions of a screen share the error of its controls: 4 screens are not 120 tests.
    assert (nulls < 0.05).mean() < 0.11
    assert np.mean(false) < 0.15
    assert power > least_power


def test_null_p_values_are_uniform_or_a_little_large() -> None:
    nulls, _, _ = test_screens(SMALL._replace(active=0), 8)
    assert stats.kstest(nulls, "uniform", alternative="greater").statistic < 0.05
    assert stats.kstest(nulls, "uniform").statistic < 0.15


def test_places_as_strong_as_wells_make_no_calls() -> None:
    """One layout for all plates: each condition keeps its place, few conditions help to tell it."""
    strong = SMALL._replace(layout="sister", position_sd=0.2, plates=4, active=0, conditions=20)
    nulls, false, _ = test_screens(strong, 8)
    assert (nulls < 0.05).mean() < 0.08
    assert np.mean(false) <= 1 / 8


def test_noise_and_places_are_told_apart_where_two_of_three_plates_are_alike() -> None:
    screen = draw_screen(SMALL._replace(layout="pair", position_sd=0.3, active=0, gradient=0.0), 0)
    wells = wells_of(screen)
    centred, _ = centre_on_controls(wells.means, wells, np.ones(len(wells.counts)))
    noise = estimate_noise(centred, wells)
    places = estimate_positions(centred, wells, noise, borrows=True)
    nucleus = screen.variances.mean()
    assert noise.variances.mean() == pytest.approx((0.15**2 + 1 / 50) * nucleus, rel=0.15)
    assert places.variance.mean() == pytest.approx(0.3**2 * nucleus, rel=0.15)


def test_a_large_change_has_a_small_p_value_with_few_controls() -> None:
    """No number of control sets bounds it from below."""
    screen = draw_screen(SMALL._replace(controls=4, effect=6.0), 0)
    found = compare_conditions(wells_of(screen))
    assert found.p_value[0] < 1e-4


def test_scales_and_the_order_of_wells_do_not_matter() -> None:
    wells = wells_of(draw_screen(SMALL, 0))
    scales = np.linspace(0.5, 40, 20)
    scaled = wells._replace(means=wells.means * scales, variances=wells.variances * scales**2)
    plain, again = compare_conditions(wells, seed=1), compare_conditions(scaled, seed=1)
    np.testing.assert_allclose(plain.p_value, again.p_value, rtol=1e-6)
    np.testing.assert_allclose(plain.change * scales, again.change, rtol=1e-8, atol=1e-12)


def test_what_has_no_p_value_says_why() -> None:
    screen = draw_screen(SMALL, 0)
    wells = wells_of(screen)
    single = np.flatnonzero(screen.which == 3)
    kept = np.ones(len(screen.which), dtype=bool)
    kept[single[1:]] = False
    bad = wells._replace(means=wells.means.copy())
    bad.means[np.flatnonzero(wells.which < 0)[:2]] += 5.0
    found = compare_conditions(Wells(*(values[kept] for values in bad)))
    assert np.isnan(found.p_value[3])
    assert "one well, and some control wells lie far" in found.reason[3]
    assert (np.isnan(found.p_value) == (np.arange(40) == 3)).all()
    few = np.isin(screen.which, [0]) | ((screen.which < 0) & (np.cumsum(screen.which < 0) <= 3))
    found = compare_conditions(Wells(*(values[few] for values in wells)))
    assert np.isnan(found.p_value[0])
    assert "control well" in found.reason[0]


def test_single_wells_are_tested_by_what_control_wells_scatter() -> None:
    single = SMALL._replace(plates=1, controls=24, effect=2.0)
    nulls, false, power = test_screens(single, 4)
    assert (nulls < 0.05).mean() < 0.08
    assert np.mean(false) < 0.1
    assert power > 0.5


def test_one_profile_per_well_is_enough() -> None:
    """Without nuclei all wells weigh alike."""
    screen = draw_screen(SMALL, 0)
    wells = wells_of(screen)._replace(
        variances=np.zeros_like(screen.means), counts=np.ones(len(screen.which))
    )
    called = adjust_pvalues(compare_conditions(wells).p_value) < 0.05
    assert called[screen.is_active].mean() > 0.6
    assert called[~screen.is_active].sum() <= 2


def test_controls_elsewhere_are_found_and_scattered_ones_are_not() -> None:
    for placed in ("columns", "outer", "block"):
        assert find_displaced(wells_of(draw_screen(SMALL._replace(placed=placed), 0))) < 0.01
    scattered = [find_displaced(wells_of(draw_screen(SMALL, seed))) for seed in range(20)]
    assert np.mean(np.array(scattered) < 0.01) <= 0.05


@pytest.mark.parametrize("controls_show_it", [True, False])
def test_a_strong_field_is_taken_out_whole_only_where_controls_show_it(
    controls_show_it: bool,
) -> None:
    random, (plate, row, column) = np.random.default_rng(0), np.indices((3, 8, 12)).reshape(3, -1)
    is_control = (random.permutation(96) < 16)[row * 12 + column]
    which = np.where(is_control, -1, row * 12 + column)
    which[~is_control] = np.unique(which[~is_control], return_inverse=True)[1]
    planted = 10 * ((column - 5.5) / 5.5) ** 2  # standard deviations of a well
    shown = np.where(is_control & (not controls_show_it), 0, planted)
    means = 0.1 * (random.standard_normal((288, 4)) + shown[:, None])
    wells = Wells(
        means, np.ones((288, 4)), np.full(288, 400.0), plate, row, column, which
    )  # fmt: skip
    centred, _ = centre_on_controls(means, wells, np.ones(288))
    noise = estimate_noise(centred, wells)
    field = fit_field(centred, wells, noise, borrows=True).values
    most = field.max(axis=0) / np.sqrt(np.median(noise.variances, axis=0))
    assert ((most > LARGEST + 0.01) == controls_show_it).all()


def test_changes_of_the_count_alone_are_explained_by_it() -> None:
    screen = draw_screen(BASE._replace(crowding=0.25, toxic=0.3), 1)
    wells = wells_of(screen)
    explained = explain_by(wells, np.log(wells.counts))
    called = adjust_pvalues(compare_conditions(wells).p_value) < 0.05
    left = compare_conditions(wells._replace(means=wells.means - explained)).p_value
    still = adjust_pvalues(left) < STILL_CALLED
    of_count, own = called & ~screen.is_active, called & screen.is_active
    assert of_count.sum() >= 5
    assert still[of_count].mean() <= 0.1
    assert still[own].mean() >= 0.9


def test_an_artefact_counts_less_and_three_alike_count_all() -> None:
    values = np.array([[[1.0, 1.0], [1.1, 0.9], [30.0, -30.0]]])
    means, shares = average_replicates(values, np.ones((3, 2)), np.ones(3), 1.5)
    assert shares[0, 2] < 0.02
    np.testing.assert_allclose(means[0], [1.1, 1.0], atol=0.5)
    _, equal = average_replicates(values[:, :1].repeat(3, 1), np.ones((3, 2)), np.ones(3), 1.5)
    np.testing.assert_allclose(equal, 1 / 3)


def test_a_condition_of_mostly_artefacts_scatters_and_one_without_does_not() -> None:
    random = np.random.default_rng(0)
    values = random.standard_normal((200, 3, 40))
    values[100:, :2] += 8 * random.standard_normal((100, 2, 40))
    ones = np.ones((3, 40))
    means, shares = average_replicates(values, ones, ones[:, 0], 1.5)
    scatter = measure_scatter(values, means, shares, ones, 1.5)
    assert scatter[:100].mean() < 1.05
    error = np.sqrt((shares**2).sum(axis=1) * scatter)
    # What is left of artefacts looks no larger than noise does.
    assert ((means / error[:, None]) ** 2).mean(axis=1)[100:].mean() < 1.2
    alone = measure_scatter(values[:, :1], values[:, 0], np.ones((200, 1)), ones[:1], 1.5)
    np.testing.assert_array_equal(alone, 1)


def test_a_dead_plate_does_not_change_what_the_others_scatter_by() -> None:
    situation = SMALL._replace(conditions=80, active=0, position_sd=0, gradient=0)
    found = {"": 0.0, "few": 0.0}
    for dead in found:
        for seed in range(3):
            wells = wells_of(draw_screen(situation._replace(dead=dead), seed))
            centred, _ = centre_on_controls(wells.means, wells, np.minimum(wells.counts, 50))
            found[dead] += estimate_noise(centred, wells).variances[wells.plates == 0].mean()
    assert found["few"] == pytest.approx(found[""], rel=0.05)


def test_the_tail_goes_on_where_draws_end() -> None:
    null = np.random.default_rng(0).exponential(size=4000)
    values = np.array([0.5, 2.0, 6.0, 20.0])
    np.testing.assert_allclose(np.log(extend_tail(values, null)), -values, rtol=0.15)


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_test_is_no_error(n: int) -> None:
    wells = wells_of(draw_screen(SMALL, 0))
    kept = wells.which < n
    found = compare_conditions(Wells(*(values[kept] for values in wells)))
    assert len(found.p_value) == n


def test_a_measure_that_never_varies_has_no_noise() -> None:
    values = np.random.default_rng(0).standard_normal((12, 2)) * [1, 0]
    flat = np.zeros(12, dtype=np.intp)
    wells = Wells(
        values, np.zeros_like(values), np.full(12, 5.0), flat, flat - 1, flat - 1,
        np.repeat([-1, 0, 1], 4),
    )  # fmt: skip
    with np.errstate(all="raise"):
        noise = estimate_noise(values, wells)
    assert np.isfinite(noise.variances).all()
    assert (noise.variances[:, 1] < 1e-6).all()
