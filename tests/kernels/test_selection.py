"""Choices made without the gene that is ranked, against loops over refits; shuffled links."""

import numpy as np

from i2r.kernels import mapping
from i2r.kernels import selection as selecting
from i2r.kernels.links import choose_others, link_genes
from i2r.kernels.ranking import (
    permutation_pvalue,
    rank_truth,
    score_log_ranks,
    sequential_pvalue,
)
from tests.kernels.test_mapping import draw_problem, predict_plainly, rank_plainly


def test_nested_selection_never_looks_at_the_gene_that_is_ranked() -> None:
    x, candidates, truth = draw_problem(n=12, c=30)
    configurations = mapping.GRID[:12]

    def choose(x, candidates):
        inverses = mapping.invert_kernels(configurations, x)
        return selecting.select_nested(configurations, inverses, link_genes(candidates, truth))

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
    link = link_genes(candidates, truth)
    selection = selecting.select_nested(
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
    link = link_genes(candidates, truth)
    found = {}
    for name, x in {"planted": planted, "shuffled": random.permutation(planted)}.items():
        inverses = mapping.invert_kernels(configurations, x)
        ranks = selecting.select_nested(configurations, inverses, link).nested
        null = selecting.shuffle_links(
            configurations, inverses, link, seed=np.random.SeedSequence(0), draws=99
        )[0]
        assert null.shape == (99, 30)
        found[name] = permutation_pvalue(
            float(score_log_ranks(ranks, 80)), score_log_ranks(null, 80)
        )
    assert found["planted"] == 0.01
    assert found["shuffled"] > 0.05


def test_shuffling_moves_inputs_and_spaces_stay_with_their_genes() -> None:
    x, candidates, truth = draw_problem(n=9, spaces=True)
    link = link_genes(candidates, truth)
    inverses = mapping.invert_kernels([mapping.PUBLISHED], x)
    seed = np.random.SeedSequence(5)
    order = np.random.default_rng(seed).permutation(9)
    expected = mapping.rank_left_out(mapping.invert_kernels([mapping.PUBLISHED], x[order])[0], link)
    found = selecting.shuffle_links([mapping.PUBLISHED], inverses, link, seed=seed, draws=1)
    np.testing.assert_array_equal(found[0][0], expected)


def test_selected_scores_rank_as_the_selection_and_hubs_are_corrected_without_the_gene() -> None:
    x, candidates, truth = draw_problem(n=7, c=18, seed=2)
    link = link_genes(candidates, truth)
    configurations = mapping.GRID[::9]
    inverses = mapping.invert_kernels(configurations, x)
    selection = selecting.select_nested(configurations, inverses, link)
    arguments = configurations, inverses, link, selection.chosen
    plain = selecting.score_selected(*arguments)
    np.testing.assert_array_equal(rank_truth(plain, truth), selection.nested)
    corrected = selecting.score_selected(*arguments, correct=True)
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
    shuffled = selecting.shuffle_links(
        configurations, inverses, link, seed=seed, draws=2, correct=True
    )
    assert shuffled[0].shape == (2, 7)


def test_products_made_gene_by_gene_are_those_that_are_kept() -> None:
    x, candidates, truth = draw_problem(n=9, c=20, spaces=True, seed=6)
    configurations = mapping.GRID[:12]
    inverses = mapping.invert_kernels(configurations, x)
    found = []
    for kept_bytes in (2**28, 0):
        link = link_genes(candidates, truth, kept_bytes=kept_bytes)
        selection = selecting.select_nested(configurations, inverses, link)
        (null,) = selecting.shuffle_links(
            configurations, inverses, link, seed=np.random.SeedSequence(0), draws=3
        )
        found.append((selection.ranks, selection.chosen, null))
    for kept, made in zip(*found, strict=True):
        np.testing.assert_array_equal(kept, made)


def test_of_many_genes_some_others_choose_the_options() -> None:
    few, many = choose_others(20, 3), choose_others(500, 3)
    assert few.tolist() == [i for i in range(20) if i != 3]
    assert (len(many), 3 in many) == (48, False)
    x, candidates, truth = draw_problem(n=60, c=90, seed=1)
    link = link_genes(candidates, truth)
    (inverse,) = mapping.invert_kernels([mapping.PUBLISHED], x)
    ((ranks,),) = mapping.rank_all_ways([inverse], link, [(False,)])
    assert (~np.isnan(ranks)).sum(axis=1).tolist() == [48] * 60
    rest = np.delete(np.arange(60), [5, other := int(choose_others(60, 5)[7])])
    made = predict_plainly(mapping.PUBLISHED, x[rest], candidates[truth[rest]], x[[other]])
    assert ranks[5, other] == rank_plainly(made, candidates, truth[other])


def test_draws_end_when_enough_reach_the_observed() -> None:
    x, candidates, truth = draw_problem(n=12, c=30)
    link, configurations = link_genes(candidates, truth), mapping.GRID[:2]
    arguments = configurations, mapping.invert_kernels(configurations, x), link
    seed = np.random.SeedSequence(2)
    (whole,) = selecting.shuffle_links(*arguments, seed=seed, draws=40)
    (some,) = selecting.shuffle_links(
        *arguments, seed=seed, draws=40, is_enough=lambda drawn: len(drawn) == 7
    )
    np.testing.assert_array_equal(some, whole[:7])
    null = np.array([3, 1, 3, 0] * 10)
    assert sequential_pvalue(2.0, null) == 10 / 19
    assert sequential_pvalue(2.0, null[:18]) == 10 / 19
    assert sequential_pvalue(4.0, null) == 1 / 41
