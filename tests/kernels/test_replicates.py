"""Replicates and plates: planted agreement is found, noise is not."""

import numpy as np
import pytest

from i2r.kernels.profile_clusters import order_rows
from i2r.kernels.replicates import correlate_plates, correlate_replicates


def make_wells(n_conditions: int, strength: float, seed: int = 0) -> tuple[np.ndarray, list[str], list[str]]:  # fmt: skip
    random = np.random.default_rng(seed)
    effects = strength * random.standard_normal((n_conditions, 30))
    names = [f"C{n:02d}" for n in range(n_conditions)] * 3
    plates = np.repeat(["P1", "P2", "P3"], n_conditions).tolist()
    return np.tile(effects, (3, 1)) + random.standard_normal((3 * n_conditions, 30)), names, plates


def test_replicates_that_agree_are_above_the_null_and_noise_is_not() -> None:
    strong = correlate_replicates(*make_wells(40, 2.0), seed=0)
    assert strong.share == 1.0
    assert strong.correlation.min() > 0.5
    noise = correlate_replicates(*make_wells(40, 0.0), seed=0)
    assert noise.share < 0.2
    assert len(noise.null) == 40 * 20
    assert abs(np.median(noise.null)) < 0.05


def test_the_null_is_of_different_conditions_of_the_same_plates() -> None:
    # Plate P2 holds one condition only: no group of different conditions exists there.
    profiles, names, plates = np.eye(4), ["a", "b", "a", "a"], ["P1", "P1", "P1", "P2"]
    found = correlate_replicates(profiles, names, plates, seed=0)
    assert found.names.tolist() == ["a"]
    assert len(found.null) == 0
    assert np.isnan(found.share)


def test_constant_profiles_correlate_with_nothing() -> None:
    found = correlate_replicates(np.ones((2, 5)), ["a", "a"], ["P1", "P2"], seed=0)
    assert found.correlation.tolist() == [0.0]


def test_plates_agree_in_what_conditions_do() -> None:
    profiles, names, plates = make_wells(30, 2.0)
    profiles[60:] = np.random.default_rng(1).standard_normal((30, 30))  # P3 says something else
    found, same, other = correlate_plates(profiles, names, plates)
    assert found == ["P1", "P2", "P3"]
    assert same[0, 1] > 0.6
    assert abs(same[0, 2]) < 0.15
    assert abs(other[0, 1]) < 0.1
    assert np.isnan(np.diag(same)).all()


def test_plates_with_fewer_than_three_shared_conditions_have_no_correlation() -> None:
    _, same, _ = correlate_plates(np.eye(4), ["a", "b", "a", "b"], ["P1", "P1", "P2", "P2"])
    assert np.isnan(same).all()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_rows_keep_their_order(n: int) -> None:
    assert order_rows(np.ones((n, 3))).tolist() == list(range(n))


def test_alike_rows_lie_side_by_side() -> None:
    order = order_rows(np.array([[0.0], [9.0], [0.1], [9.1]])).tolist()
    assert abs(order.index(0) - order.index(2)) == 1
    assert abs(order.index(1) - order.index(3)) == 1
