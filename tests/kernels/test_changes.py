"""Profiles: planted changes are found, nothing else is, and positions are no finding."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from i2r.kernels.changes import compare_profiles
from i2r.kernels.statistics import adjust_pvalues

N_GENES, N_CONTROLS, N_PLATES, D = 40, 24, 4, 12


def make_screen(
    seed: int, *, sister: bool, effect: float = 0.0, position_effect: float = 0.0
) -> dict[str, Any]:
    """Profiles of a screen; the first eight genes move feature 3."""
    random = np.random.default_rng(seed)
    n = N_GENES + N_CONTROLS
    names = np.concatenate([np.arange(N_GENES), np.full(N_CONTROLS, -1)])
    mixing = random.standard_normal((D, D)) / 4 + np.eye(D)
    at = position_effect * random.standard_normal((n, D))
    order = random.permutation(n)
    parts: dict[str, list[Any]] = {
        "profiles": [],
        "plates": [],
        "positions": [],
        "perturbations": [],
    }
    for plate in range(N_PLATES):
        order = order if sister else random.permutation(n)
        which = names[order]
        values = random.standard_normal((n, D)) @ mixing + at + 5 * random.standard_normal(D)
        values[:, 3] += effect * ((which >= 0) & (which < 8))
        parts["profiles"].append(values)
        parts["plates"].append(np.full(n, plate))
        parts["positions"].append(np.arange(n))
        parts["perturbations"].append(which)
    return {name: np.concatenate(values) for name, values in parts.items()}


@pytest.mark.parametrize("sister", [False, True])
def test_p_values_without_effects_are_uniform_with_position_effects(sister: bool) -> None:
    found = [
        compare_profiles(**make_screen(s, sister=sister, position_effect=1.0), n_draws=100, seed=s)
        for s in range(8)
    ]
    p = np.concatenate([test.p_value for test in found])
    # Genes of a screen share its control sets: the deviation of 8 screens is not that of 320 tests.
    assert stats.kstest(p, "uniform").statistic < 0.1
    assert (p < 0.05).mean() < 0.08


def test_a_null_of_scattered_wells_would_be_too_narrow() -> None:
    screen = make_screen(3, sister=True, position_effect=1.0)
    honest = compare_profiles(**screen).p_value
    scattered = compare_profiles(
        **{**screen, "positions": np.arange(len(screen["plates"]))}
    ).p_value
    assert (honest < 0.05).mean() < 0.15
    assert (scattered < 0.05).mean() > 0.2


@pytest.mark.parametrize("sister", [False, True])
def test_planted_changes_are_called_with_their_feature(sister: bool) -> None:
    screen = make_screen(1, sister=sister, effect=3.5, position_effect=0.3)
    found = compare_profiles(**screen)
    called = np.flatnonzero(adjust_pvalues(found.p_value) < 0.05)
    assert set(range(8)) <= set(called.tolist())
    assert len(called) <= 10
    assert (found.feature[:8] == 3).all()
    assert (found.change[:8] > 2).all()


def test_scales_order_and_constant_features_play_no_part() -> None:
    screen = make_screen(2, sister=False, effect=2.0)
    plain = compare_profiles(**screen)
    scaled = {**screen, "profiles": np.column_stack([1e3 * screen["profiles"], np.ones(len(screen["plates"]))])}  # fmt: skip
    np.testing.assert_allclose(plain.p_value, compare_profiles(**scaled).p_value, rtol=1e-6)


def test_what_cannot_be_copied_has_no_p_value_and_the_rest_has() -> None:
    screen = make_screen(4, sister=False)
    plates = screen["plates"].copy()
    plates[screen["perturbations"] == 5] = 99
    found = compare_profiles(**{**screen, "plates": plates})
    assert np.flatnonzero(np.isnan(found.p_value)).tolist() == [5]
    assert found.feature[5] == -1
    assert found.n_draws[0] == 400
    assert found.n_independent[0] == N_CONTROLS


def test_wrong_input_is_refused() -> None:
    screen = make_screen(0, sister=False)
    screen["profiles"][7, 2] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        compare_profiles(**screen)
    with pytest.raises(ValueError, match="one of each per well"):
        compare_profiles(**{**make_screen(0, sister=False), "plates": [1, 2]})


def test_draws_that_leave_no_spread_behind_are_none() -> None:
    """Of three control wells two are drawn: one is left, and one well has no variance."""
    profiles = np.random.default_rng(0).standard_normal((5, 4))
    found = compare_profiles(profiles, ["P1"] * 5, range(5), [0, 0, -1, -1, -1])
    assert np.isnan(found.p_value).all()
    assert found.n_draws.tolist() == [0]
    assert np.isfinite(found.statistic).all(), "what moved most can be said"
