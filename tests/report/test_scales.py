"""Colours and axes."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from i2r.report.scales import ColourScale, choose_bar, find_ticks, place_on, score_limits


def test_colours_get_lighter_with_the_value() -> None:
    scale = ColourScale(np.arange(101.0), from_zero=True)
    colours = [np.dot(to_rgb(scale.colour(v)), (0.2126, 0.7152, 0.0722)) for v in range(0, 101, 5)]
    assert (np.diff(colours) >= 0).all()
    assert scale.low == 0
    assert scale.colour(-50) == scale.colour(0)


@pytest.mark.parametrize("values", [[], [np.nan], [3.0], [0.0, 0.0], [-2.0]])
def test_scales_of_nothing_or_one_value_have_a_range(values: list[float]) -> None:
    scale = ColourScale(values)
    assert scale.high > scale.low
    assert scale.rgba(np.array([[np.nan, 3.0]]))[0, 0, 3] == 0


def test_one_odd_well_does_not_hide_the_others() -> None:
    assert ColourScale([*np.linspace(0, 1, 300), 1e6]).high < 2


@pytest.mark.parametrize(
    ("width_um", "length_um"), [(156, 20), (200, 50), (624, 100), (40, 10), (39.9, 5), (3.9, 0.5)]
)
def test_scale_bars_are_round_and_up_to_a_quarter(width_um: float, length_um: float) -> None:
    assert choose_bar(width_um) == pytest.approx((length_um, 100 * length_um / width_um))


def test_places_are_linear() -> None:
    place = place_on((0.4, 1.0), (100, 700))
    assert [place(v) for v in (0.4, 0.5, 1.0)] == [100, 200, 700]


def test_ticks_are_round_and_inside() -> None:
    assert find_ticks(0.4, 1.0, count=8) == [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


@pytest.mark.parametrize(
    ("scores", "low"),
    [([], 0.4), ([0.9], 0.4), ([0.3], 0.25), ([0.0], 0.0), ([float("nan")], 0.4)],
)
def test_limits_hold_all_scores(scores: list[float], low: float) -> None:
    assert score_limits(scores) == (pytest.approx(low), 1.0)
