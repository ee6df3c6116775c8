"""Closed forms against leaving genes out one after another, and planted links against shuffled."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from i2r.kernels import mapping
from i2r.kernels import selection as selecting
from i2r.kernels.kernel_regression import invert_ridge, ridge_weights
from i2r.kernels.links import link_genes
from i2r.kernels.ranking import rank_truth


def draw_problem(
    n: int = 8, c: int = 20, *, spaces: bool = False, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    shape = (n, c, 5) if spaces else (c, 5)
    return (
        random.standard_normal((n, 6)),
        random.standard_normal(shape),
        random.permutation(c)[:n],
    )


def predict_plainly(configuration, x, y, query):
    """Fit on the given rows and predict the query."""
    kernel = mapping.compute_kernel(configuration, x, x)
    against = mapping.compute_kernel(configuration, query, x)
    inverse = invert_ridge(kernel, configuration.penalty)
    return ridge_weights(against, inverse, centre=configuration.centre) @ y


def rank_plainly(prediction, candidates, truth):
    distance = ((candidates - prediction) ** 2).sum(axis=1)
    own = distance[truth]
    return 1 + (distance < own - 1e-9).sum() + ((abs(distance - own) <= 1e-9).sum() - 1) / 2


@settings(max_examples=24, deadline=None)
@given(st.sampled_from(mapping.GRID), st.booleans(), st.integers(0, 99))
def test_left_out_ranks_are_those_of_refitting(
    configuration: mapping.Configuration, spaces: bool, seed: int
) -> None:
    x, candidates, truth = draw_problem(spaces=spaces, seed=seed)
    link = link_genes(candidates, truth)
    (inverse,) = mapping.invert_kernels([configuration], x)
    one = mapping.rank_left_out(inverse, link, centre=configuration.centre)
    ((two,),) = mapping.rank_all_ways([inverse], link, [(configuration.centre,)])
    for i in range(len(x)):
        space = candidates[i] if spaces else candidates
        rest = np.delete(np.arange(len(x)), i)
        predicted = predict_plainly(configuration, x[rest], space[truth[rest]], x[[i]])
        assert one[i] == rank_plainly(predicted, space, truth[i])
        assert np.isnan(two[i, i])
        for j in rest:
            both = np.delete(np.arange(len(x)), [i, j])
            predicted = predict_plainly(configuration, x[both], space[truth[both]], x[[j]])
            assert two[i, j] == rank_plainly(predicted, space, truth[j])


def test_scores_order_candidates_by_distance() -> None:
    _, candidates, truth = draw_problem()
    weights = np.random.default_rng(0).standard_normal((8, 8))
    scores = mapping.score_candidates(weights, link_genes(candidates, truth))
    predictions = weights @ candidates[truth]
    distance = ((predictions[:, None] - candidates) ** 2).sum(axis=2)
    np.testing.assert_array_equal(np.argsort(-scores, axis=1), np.argsort(distance, axis=1))
    np.testing.assert_array_equal(
        rank_truth(scores, truth),
        [rank_plainly(p, candidates, t) for p, t in zip(predictions, truth, strict=True)],
    )


def test_rows_are_scaled_to_unit_length_and_zero_rows_stay() -> None:
    x = np.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(mapping.scale_rows(x, "unit"), [[0.6, 0.8], [0, 0]])
    assert mapping.PUBLISHED.title == "ntk, raw, penalty 1"


def test_links_that_fit_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        link_genes([[np.nan]], [0])
    with pytest.raises(ValueError, match="expected as many"):
        link_genes(np.ones((3, 4, 2)), [0, 1])


def test_inputs_made_without_each_gene_are_used_for_that_gene() -> None:
    x, candidates, truth = draw_problem(n=7, c=18, seed=3)
    spaces = x + 0.3 * np.random.default_rng(0).standard_normal((7, *x.shape))
    link = link_genes(candidates, truth)
    for configuration in mapping.GRID[::7]:
        (inverse,) = mapping.invert_kernels([configuration], spaces)
        one = mapping.rank_left_out(inverse, link, centre=configuration.centre)
        ((two,),) = mapping.rank_all_ways([inverse], link, [(configuration.centre,)])
        order = np.random.default_rng(1).permutation(7)
        moved = mapping.rank_left_out(
            selecting.move_inputs(inverse, order), link, centre=configuration.centre
        )
        for i in range(7):
            (alone,) = mapping.invert_kernels([configuration], spaces[i])
            own = mapping.rank_left_out(alone, link, centre=configuration.centre)
            assert one[i] == own[i]
            ((both,),) = mapping.rank_all_ways([alone], link, [(configuration.centre,)])
            np.testing.assert_array_equal(two[i], both[i])
            (again,) = mapping.invert_kernels([configuration], spaces[order[i]][order])
            assert moved[i] == mapping.rank_left_out(again, link, centre=configuration.centre)[i]
