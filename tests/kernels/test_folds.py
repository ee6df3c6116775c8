"""Folds of many classes: groups stay whole, classes are spread, and counts are counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

from i2r.kernels.folds import (
    TEST,
    TRAIN,
    VALIDATION,
    count_confusions,
    deal_groups,
    permute_groups,
    split_parts,
    split_rest,
    validate_fields,
)  # fmt: skip


def lay_out(n_wells: dict[str, int], n_plates: int = 2) -> tuple[np.ndarray, ...]:
    """Give wells, their classes and plates, by turns."""
    classes = np.concatenate([[name] * n for name, n in n_wells.items()])
    plates = np.array([f"P{n % n_plates}" for n in range(classes.size)])
    wells = np.array([f"{p}/{n}" for n, p in enumerate(plates)])
    return wells, classes, plates


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.integers(2, 5), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_every_class_is_spread_over_the_folds(sizes: list[int], n_folds: int, seed: int) -> None:
    wells, classes, plates = lay_out({f"c{n}": size for n, size in enumerate(sizes)})
    n_folds = min(n_folds, wells.size)
    folds = deal_groups(wells, classes, n_folds=n_folds, seed=seed, blocks=plates)
    for name in np.unique(classes):
        counts = np.bincount(folds[classes == name], minlength=n_folds)
        assert counts.max() - counts.min() <= 1


def test_members_of_a_group_share_a_fold_and_order_does_not_matter() -> None:
    wells, classes, plates = lay_out({"a": 6, "b": 5, "control": 12}, 3)
    fields = np.repeat(np.arange(wells.size), 4)
    order = np.random.default_rng(0).permutation(fields.size)
    rows = fields[order]
    folds = deal_groups(wells[rows], classes[rows], n_folds=4, seed=1, blocks=plates[rows])
    whole = deal_groups(wells, classes, n_folds=4, seed=1, blocks=plates)
    np.testing.assert_array_equal(folds, whole[rows])


def test_plates_as_groups_hold_out_plates() -> None:
    _, classes, plates = lay_out({"a": 12, "b": 12}, 4)
    folds = deal_groups(plates, classes, n_folds=4, seed=0)
    assert {len(set(folds[plates == plate])) for plate in np.unique(plates)} == {1}
    assert len(set(folds)) == 4


@given(st.lists(st.integers(1, 8), min_size=2, max_size=5), st.integers(0, 20), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_no_group_is_in_two_parts_and_every_class_is_trained_on(
    sizes: list[int], seed: int, fold: int
) -> None:
    wells, classes, plates = lay_out({f"c{n}": size for n, size in enumerate(sizes)})
    rows = np.repeat(np.arange(wells.size), 3)
    parts = split_parts(
        wells[rows], classes[rows], n_folds=4, fold=fold, seed=seed, blocks=plates[rows]
    )
    for well in wells:
        assert len(set(parts[wells[rows] == well])) == 1
    for name, size in zip(np.unique(classes), sizes, strict=True):
        own = parts[classes[rows] == name]
        assert TRAIN in own
        assert size > 1 or set(own) == {TRAIN}


def test_every_well_tests_once_over_the_folds() -> None:
    wells, classes, plates = lay_out({"a": 8, "b": 9, "control": 20})
    parts = np.stack([
        split_parts(wells, classes, n_folds=4, fold=fold, seed=3, blocks=plates)
        for fold in range(4)
    ])  # fmt: skip
    assert ((parts == TEST).sum(axis=0) == 1).all()
    assert ((parts == VALIDATION).sum(axis=1) > 0).all()
    shares = [(parts == name).mean() for name in (TRAIN, VALIDATION, TEST)]
    np.testing.assert_allclose(shares, [0.6, 0.15, 0.25], atol=0.06)


@pytest.mark.parametrize("n_folds", [1, 4])
def test_too_few_groups_are_an_error(n_folds: int) -> None:
    with pytest.raises(ValueError, match="expected 2 to the 3 groups"):
        deal_groups(["a", "b", "c"], ["x", "y", "x"], n_folds=n_folds, seed=0)
    with pytest.raises(ValueError, match="expected as many"):
        deal_groups(["a", "b"], ["x"], n_folds=2, seed=0)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
@settings(deadline=None)
def test_confusions_are_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = (np.array(values) for values in zip(*pairs, strict=True))
    found = count_confusions(truth, predicted, n_classes=4)
    np.testing.assert_array_equal(found.counts, confusion_matrix(truth, predicted, labels=range(4)))
    # scikit-learn warns of classes that are predicted alone, and of one class.
    if np.isin(predicted, truth).all() and np.unique(truth).size > 1:
        assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(truth, predicted))
    rows = np.nansum(found.shares, axis=1)
    np.testing.assert_allclose(rows[np.bincount(truth, minlength=4) > 0], 1)


def test_no_predictions_have_no_accuracy() -> None:
    found = count_confusions([], [], n_classes=3)
    assert np.isnan(found.balanced_accuracy)
    assert found.counts.sum() == 0
    assert np.isnan(found.recalls).all()


def test_permuted_wells_give_chance_and_more_spread_than_permuted_nuclei() -> None:
    """Wells whose nuclei agree with each other: 12 wells of 100 nuclei, no class effect."""
    random = np.random.default_rng(0)
    classes = np.repeat([0, 1], 6)
    liked = random.integers(0, 2, 12)
    counts = np.zeros((12, 2), dtype=int)
    counts[np.arange(12), liked] = 90
    counts[np.arange(12), 1 - liked] = 10
    null = permute_groups(counts, classes, n_draws=500, seed=1)
    assert abs(null.mean() - 0.5) < 0.02
    assert null.std() > 0.08, "nuclei as units would give 0.5 / sqrt(1200) = 0.014"
    np.testing.assert_array_equal(null, permute_groups(counts, classes, n_draws=500, seed=1))
    assert np.isnan(permute_groups(np.zeros((3, 2)), [0, 1, 1], n_draws=2, seed=0)).all()


def draw_nuclei(treated_wells: int, fields: int, n: int = 5) -> tuple[np.ndarray, ...]:
    """Give wells, fields and class of nuclei: eight control wells and some treated ones."""
    wells = [f"P1/A{w:02d}" for w in range(8)] + [f"P1/B{w:02d}" for w in range(treated_wells)]
    names = np.repeat([f"{w}/{f}" for w in wells for f in range(fields)], n)
    groups = np.array([name.rpartition("/")[0] for name in names])
    return groups, names, np.char.startswith(groups, "P1/B")


@pytest.mark.parametrize(("wells", "whole"), [(4, True), (3, True), (2, False)])
def test_fields_validate_for_a_class_that_can_spare_no_well(wells: int, whole: bool) -> None:
    groups, fields, treated = draw_nuclei(wells, fields=4)
    is_test = np.isin(groups, ["P1/A00", "P1/A01", "P1/B00"])
    by_well = split_rest(groups, treated, is_test, seed=3)
    parts = validate_fields(by_well, treated, fields, seed=3)
    assert ((parts == TEST) == is_test).all()
    assert (parts[~treated] == by_well[~treated]).all(), "the controls can"
    for part in (TRAIN, VALIDATION):
        assert set(treated[parts == part]) == {True, False}
    for names in (groups[~treated | whole], fields):
        chosen = parts[~treated | whole] if names is not fields else parts
        assert not set(names[chosen == TRAIN]) & set(names[chosen == VALIDATION])


def test_validation_of_one_class_alone_is_none() -> None:
    groups, fields, treated = draw_nuclei(2, fields=1)
    is_test = np.isin(groups, ["P1/A00", "P1/B00"])
    by_well = split_rest(groups, treated, is_test, seed=3)
    assert set(treated[by_well == VALIDATION]) == {False}
    assert set(validate_fields(by_well, treated, fields, seed=3)) == {TRAIN, TEST}
