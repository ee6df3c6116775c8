"""Standards come from other control wells only."""

import numpy as np
import pytest

from i2r.kernels.standardisation import find_axes, standardise_wells

SIZES = [30, 20, 25, 15, 40, 35]
START = np.concatenate([[0], np.cumsum(SIZES)]).astype(np.intp)
PLATES = np.array([0, 0, 0, 1, 1, 1])
CONTROL = np.array([True, True, False, True, True, False])


def features(seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (1e4 + 50 * random.standard_normal((START[-1], 3))).astype(np.float32)


def rows(well: int) -> slice:
    return slice(START[well], START[well + 1])


def test_every_well_is_compared_with_the_other_controls_of_its_plate() -> None:
    values = features().astype(np.float64)
    found = standardise_wells(values, START, PLATES, CONTROL)
    for well, others in ((0, [1]), (1, [0]), (2, [0, 1]), (5, [3, 4])):
        standard = np.concatenate([values[rows(other)] for other in others])
        expected = (values[rows(well)] - standard.mean(axis=0)) / standard.std(axis=0)
        np.testing.assert_allclose(found[rows(well)], np.clip(expected, -6, 6), atol=1e-3)


def test_a_well_has_no_part_in_its_own_standard_and_treated_ones_in_none() -> None:
    values = features()
    before = standardise_wells(values, START, PLATES, CONTROL)
    values[rows(2)] *= 3
    after = standardise_wells(values, START, PLATES, CONTROL)
    for well in (0, 1, 3, 4, 5):
        np.testing.assert_array_equal(before[rows(well)], after[rows(well)])
    doubled = features()
    doubled[rows(0)] += 7
    shift = standardise_wells(doubled, START, PLATES, CONTROL)[rows(0)] - before[rows(0)]
    standard = features()[rows(1)].std(axis=0)
    np.testing.assert_allclose(shift.mean(axis=0), 7 / standard, rtol=1e-2)


def test_plates_shift_and_scale_do_not_matter() -> None:
    values = features()
    other = values.copy()
    other[START[3] :] = 5 * other[START[3] :] - 300
    for one, two in zip(
        standardise_wells(values, START, PLATES, CONTROL),
        standardise_wells(other, START, PLATES, CONTROL),
        strict=True,
    ):
        np.testing.assert_allclose(one, two, atol=2e-3)


def test_edges_are_zero() -> None:
    values = features()
    values[:, 1] = 3.0
    found = standardise_wells(values, START, PLATES, CONTROL)
    assert not found[:, 1].any()
    assert np.abs(found).max() <= 6
    lonely = standardise_wells(values, START, PLATES, np.array([True, False, False, False, False, False]))  # fmt: skip
    assert not lonely[rows(0)].any(), "no other control"
    assert not lonely[START[3] :].any(), "no control on the plate"
    assert lonely[rows(1)].any()


def test_components_are_white_among_the_chosen_and_keep_distances() -> None:
    random = np.random.default_rng(1)
    values = (random.standard_normal((400, 6)) @ random.standard_normal((6, 6))).astype(np.float32)
    chosen = values[:300].astype(np.float64)
    axes = find_axes(chosen.T @ chosen / 300, n_axes=4)
    assert axes.shape == (6, 4)
    found = values @ axes
    np.testing.assert_allclose(found[:300].T @ found[:300] / 300, np.eye(4), atol=1e-3)
    line = np.outer(chosen[:, 0], np.ones(6))
    flat = line @ find_axes(line.T @ line / 300, n_axes=3)
    assert flat[:, 0].std() == pytest.approx(1, rel=0.1)
    assert np.abs(flat[:, 1:]).max() < 1e-2
