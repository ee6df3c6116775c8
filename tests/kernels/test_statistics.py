"""p-values are uniform, bounds hold, knees are where they were drawn."""

from collections.abc import Sequence
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2r.kernels.statistics import (
    adjust_pvalues,
    combine_pvalues,
    find_knee,
    interval_accuracies,
    measure_trend,
)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_adjusted_p_values_call_what_the_step_up_rule_calls(values: list[float]) -> None:
    p = np.array(values)
    adjusted = adjust_pvalues(p)
    for level in (0.01, 0.05, 0.2):
        ordered = np.sort(p)
        passing = np.flatnonzero(ordered <= level * np.arange(1, p.size + 1) / p.size)
        cut = ordered[passing[-1]] if passing.size else -1.0
        near = np.abs(adjusted - level) < 1e-12
        assert ((adjusted <= level) == (p <= cut))[~near].all()


def test_missing_p_values_count_as_no_test() -> None:
    adjusted = adjust_pvalues([0.01, np.nan, 0.04])
    np.testing.assert_allclose(adjusted, [0.02, np.nan, 0.04])
    assert np.isnan(adjust_pvalues([np.nan])).all()
    with pytest.raises(ValueError, match="outside"):
        adjust_pvalues([1.2])


def test_combined_p_values_are_uniform_under_the_null_and_small_for_one_strong() -> None:
    random = np.random.default_rng(0)
    found = np.array([combine_pvalues(random.random(3)) for _ in range(3000)])
    assert (found < 0.05).mean() == pytest.approx(0.05, abs=0.012)
    assert combine_pvalues([1e-40, 0.9, 1.0]) == pytest.approx(3e-40, rel=1e-6)
    assert combine_pvalues([0.2, np.nan]) == pytest.approx(0.2)
    assert np.isnan(combine_pvalues([np.nan]))


@pytest.mark.parametrize("wells", [2, 3, 4, 6])
def test_intervals_cover_what_they_say_with_few_wells(wells: int) -> None:
    """Wells of a share of their own around the condition's; 40 conditions share 16 controls."""
    random = np.random.default_rng(wells)
    covered = []
    for _ in range(12):
        true = random.uniform(0.5, 0.95, 40)
        called, nuclei, treated, which = [], [], [], []
        angle = np.arcsin(np.sqrt(0.4)) + 0.1 * random.standard_normal(16)
        controls = random.binomial(60, np.sin(angle) ** 2)
        for condition in range(40):
            angle = np.arcsin(np.sqrt(true[condition])) + 0.12 * random.standard_normal(wells)
            called += [*random.binomial(50, np.sin(angle) ** 2), *controls]
            nuclei += [50] * wells + [60] * 16
            treated += [True] * wells + [False] * 16
            which += [condition] * (wells + 16)
        low, high = interval_accuracies(called, nuclei, treated, which)
        truth = (true + 0.6) / 2
        covered.append(((low <= truth) & (truth <= high)).mean())
    assert 0.91 < np.mean(covered) <= 0.99


def test_intervals_at_the_edges() -> None:
    none = interval_accuracies([1, 2], [5, 5], [True, True], [0, 0])
    assert np.isnan(none).all()
    low, high = interval_accuracies(
        [5, 5, 0, 0, 5, 5, 0, 0], [5] * 8, [True, True, False, False] * 2, [0] * 4 + [1] * 4
    )
    assert (high == 1.0).all()
    assert (low < 1.0).all()


@pytest.mark.parametrize("knee", [4, 15])
def test_the_knee_is_where_the_curve_was_bent(knee: int) -> None:
    steep, flat = np.linspace(0.95, 0.6, knee), np.linspace(0.56, 0.5, 60)
    found = find_knee(np.random.default_rng(0).permutation([*steep, *flat]))
    assert abs(found - knee) <= 1


def test_curves_without_a_knee() -> None:
    assert find_knee([]) == 0
    assert find_knee([0.5, 0.5, 0.5]) == 0
    assert find_knee(np.linspace(0.9, 0.5, 40)) == 0
    assert find_knee([0.9, np.nan]) == 0


def test_a_trend_is_counted_over_all_orders() -> None:
    doses, scores = [1.0, 2.0, 4.0, 8.0, 16.0], [0.5, 0.52, 0.51, 0.8, 0.9]

    def count(order: Sequence[float]) -> int:
        return sum(np.sign(b - a) for a, b in combinations(order, 2))

    every = np.array([count(order) for order in permutations(scores)])
    tau, p_value = measure_trend(doses, scores)
    assert tau == pytest.approx(count(scores) / 10) == pytest.approx(0.8)
    assert p_value == pytest.approx((every >= count(scores)).mean())
    assert measure_trend(doses, scores[::-1])[0] == pytest.approx(-0.8)
    assert measure_trend([*doses, 32.0], [*scores, np.nan]) == (tau, p_value)
    for flat in ([1.0, 2.0], [0.1, 0.2]), ([1.0] * 4, [1, 2, 3, 4]), ([1, 2, 3], [0.5] * 3):
        assert np.isnan(measure_trend(*flat)).all()
