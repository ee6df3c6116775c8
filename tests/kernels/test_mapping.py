"""Closed forms against leaving genes out one after another, and planted links against shuffled."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from i2r.kernels import mapping
from i2r.kernels.kernel_regression import invert_ridge, ridge_weights
from i2r.kernels.ranking import permutation_pvalue, rank_truth, score_log_ranks


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
    link = mapping.link_genes(candidates, truth)
    (inverse,) = mapping.invert_kernels([configuration], x)
    one = mapping.rank_left_out(inverse, link, centre=configuration.centre)
    two = mapping.rank_left_two_out(inverse, link, centre=configuration.centre)
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


def test_nested_selection_never_looks_at_the_gene_that_is_ranked() -> None:
    x, candidates, truth = draw_problem(n=12, c=30)
    configurations = mapping.GRID[:12]

    def choose(x, candidates):
        inverses = mapping.invert_kernels(configurations, x)
        return mapping.select_nested(
            configurations, inverses, mapping.link_genes(candidates, truth)
        )

    before = choose(x, candidates)
    changed = x.copy()
    changed[3] = 50.0
    after = choose(changed, candidates)
    assert after.chosen[3] == before.chosen[3]
    np.testing.assert_allclose(after.inner_scores[:, 3], before.inner_scores[:, 3])
    # Others' choices do see it.
    assert not np.allclose(after.inner_scores, before.inner_scores)


def test_nested_selection_chooses_what_a_loop_over_refits_chooses() -> None:
    x, candidates, truth = draw_problem(n=7, c=15, seed=4)
    configurations = mapping.GRID[::5]
    link = mapping.link_genes(candidates, truth)
    selection = mapping.select_nested(
        configurations, mapping.invert_kernels(configurations, x), link
    )
    for i in range(len(x)):
        rest = np.delete(np.arange(len(x)), i)
        scores = []
        for configuration in configurations:
            ranks = []
            for j in rest:
                both = rest[rest != j]
                y = candidates[truth[both]]
                predicted = predict_plainly(configuration, x[both], y, x[[j]])
                ranks.append(rank_plainly(predicted, candidates, truth[j]))
            scores.append(score_log_ranks(ranks, 15))
        np.testing.assert_allclose(selection.inner_scores[:, i], scores, atol=1e-12)
        assert selection.chosen[i] == int(np.argmax(scores))
        assert selection.nested[i] == selection.ranks[selection.chosen[i], i]


def test_a_planted_link_is_found_and_a_shuffled_one_is_not() -> None:
    random = np.random.default_rng(1)
    candidates = random.standard_normal((80, 6))
    truth = np.arange(30)
    planted = candidates[:30] @ random.standard_normal((6, 40)) + random.standard_normal((30, 40))
    configurations = mapping.GRID[:4]
    link = mapping.link_genes(candidates, truth)
    found = {}
    for name, x in {"planted": planted, "shuffled": random.permutation(planted)}.items():
        inverses = mapping.invert_kernels(configurations, x)
        ranks = mapping.select_nested(configurations, inverses, link).nested
        null = mapping.shuffle_links(
            configurations, inverses, link, seed=np.random.SeedSequence(0), draws=99
        )
        assert null.shape == (99, 30)
        found[name] = permutation_pvalue(
            float(score_log_ranks(ranks, 80)), score_log_ranks(null, 80)
        )
    assert found["planted"] == 0.01
    assert found["shuffled"] > 0.05


def test_shuffling_moves_inputs_and_spaces_stay_with_their_genes() -> None:
    x, candidates, truth = draw_problem(n=9, spaces=True)
    link = mapping.link_genes(candidates, truth)
    inverses = mapping.invert_kernels([mapping.PUBLISHED], x)
    seed = np.random.SeedSequence(5)
    order = np.random.default_rng(seed).permutation(9)
    expected = mapping.rank_left_out(mapping.invert_kernels([mapping.PUBLISHED], x[order])[0], link)
    found = mapping.shuffle_links([mapping.PUBLISHED], inverses, link, seed=seed, draws=1)
    np.testing.assert_array_equal(found[0], expected)


def test_scores_order_candidates_by_distance() -> None:
    _, candidates, truth = draw_problem()
    weights = np.random.default_rng(0).standard_normal((8, 8))
    scores = mapping.score_candidates(weights, mapping.link_genes(candidates, truth))
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
        mapping.link_genes([[np.nan]], [0])
    with pytest.raises(ValueError, match="expected as many"):
        mapping.link_genes(np.ones((3, 4, 2)), [0, 1])


def test_selected_scores_rank_as_the_selection_and_hubs_are_corrected_without_the_gene() -> None:
    x, candidates, truth = draw_problem(n=7, c=18, seed=2)
    link = mapping.link_genes(candidates, truth)
    configurations = mapping.GRID[::9]
    inverses = mapping.invert_kernels(configurations, x)
    selection = mapping.select_nested(configurations, inverses, link)
    arguments = configurations, inverses, link, selection.chosen
    plain = mapping.score_selected(*arguments)
    np.testing.assert_array_equal(rank_truth(plain, truth), selection.nested)
    corrected = mapping.score_selected(*arguments, correct=True)
    for i in range(7):
        configuration = configurations[selection.chosen[i]]
        rest = np.delete(np.arange(7), i)

        def cosine(out, query, configuration=configuration):
            rows = np.delete(np.arange(7), out)
            made = predict_plainly(configuration, x[rows], candidates[truth[rows]], x[[query]])[0]
            scale = np.linalg.norm(made) * np.linalg.norm(candidates, axis=1)
            return candidates @ made / scale

        others = np.stack([cosine([i, j], j) for j in rest])
        np.testing.assert_allclose(corrected[i], 2 * cosine([i], i) - others.mean(axis=0))
    seed = np.random.SeedSequence(1)
    shuffled = mapping.shuffle_links(
        configurations, inverses, link, seed=seed, draws=2, correct=True
    )
    assert shuffled.shape == (2, 7)
