"""Position effects: planted ones are found, shuffled ones are not."""

import numpy as np
import pytest

from i2r.report.sections.positions import measure_positions
from i2r.types import parse_well

WELLS = [f"{row}{column:02d}" for row in "ABCDEFGH" for column in range(1, 13)]
PLACES = np.array([parse_well(well) for well in WELLS])
NOISE = np.random.default_rng(0).normal(size=96)


@pytest.mark.parametrize(
    ("effect", "largest"),
    [
        (2.0 * PLACES[:, 0], "rows"),
        (5.0 * (PLACES[:, 1] == 6), "columns"),
        (5.0 * (np.isin(PLACES[:, 0], (1, 8)) | np.isin(PLACES[:, 1], (1, 12))), "edge"),
    ],
)
def test_a_planted_effect_is_found_where_it_is(effect: np.ndarray, largest: str) -> None:
    found = measure_positions(WELLS, effect + NOISE)
    assert found["p"] <= 0.02
    assert max(("rows", "columns", "edge"), key=lambda name: found[name]) == largest


def test_shares_are_exact_for_whole_rows() -> None:
    found = measure_positions(WELLS, PLACES[:, 0].astype(float))
    assert found["rows"] == pytest.approx(1.0)
    assert found["columns"] == pytest.approx(0.0)


def test_places_that_mean_nothing_have_honest_p_values() -> None:
    random = np.random.default_rng(1)
    values = [measure_positions(WELLS, random.normal(size=96), seed=n)["p"] for n in range(40)]
    assert np.mean(np.array(values) <= 0.05) < 0.2
    assert 0.3 < np.mean(values) < 0.7
