"""The published grid against a plain loop that builds every feature vector."""

import numpy as np
import pytest

from i2r.kernels import published_mapping as published
from i2r.kernels.kernel_regression import ntk_kernel
from i2r.kernels.links import link_genes
from i2r.kernels.mapping import Configuration, invert_kernels, rank_left_out
from i2r.kernels.ranking import score_log_ranks


def draw_problem(n: int, d: int, c: int, *, spaces: bool = False, seed: int = 0):
    random = np.random.default_rng(seed)
    candidates = random.standard_normal((n, c, 6) if spaces else (c, 6))
    candidates /= np.linalg.norm(candidates, axis=-1, keepdims=True)
    return random.standard_normal((n, d)), candidates, random.permutation(c)[:n]


def rank_by_loop(configuration, x, y, candidates, truth, query, seed=3):
    """Fit on the rows (x, y) and rank the candidate ``truth`` of the query, all in the open."""

    def find_nearest(row):
        order = np.argsort(((x - row) ** 2).sum(axis=1), kind="stable")
        return order[: configuration.neighbours]

    def add_features(row):
        features = [row]
        if configuration.append_mean:
            features.append(y.mean(axis=0))
        if configuration.neighbours:
            nearest = find_nearest(row)
            weights = row @ np.linalg.pinv(x[nearest])
            if configuration.encoding == "positional":
                powers = np.arange(configuration.frequencies) / configuration.frequencies
                angles = np.concatenate(
                    [2 * np.pi * w * configuration.sigma**powers for w in weights]
                )
            else:
                shape = (configuration.frequencies, len(nearest))
                drawn = np.random.default_rng(seed).standard_normal(shape)
                angles = 2 * np.pi * configuration.sigma * drawn @ weights
            features += [np.cos(angles), np.sin(angles)]
        return np.concatenate(features)

    def describe(row):
        features = add_features(row)
        if configuration.neighbours and configuration.append != "none":
            # Inputs are appended with the features that they carry already.
            inputs = np.stack([add_features(other) for other in x])
            given = inputs if configuration.append == "images" else y
            features = np.concatenate([features, given[find_nearest(row)].ravel()])
        return features

    rows = np.stack([describe(row) for row in x])
    kernel = ntk_kernel(rows, rows) + configuration.penalty * np.eye(len(rows))
    predicted = ntk_kernel(describe(query)[None], rows) @ np.linalg.solve(kernel, y)
    distance = ((candidates - predicted) ** 2).sum(axis=1)
    return 1 + (distance < distance[truth] - 1e-9).sum()


# A line of every kind: all encodings, appendices and both numbers of neighbours.
SOME = [c for c in published.list_published_grid((0, 4)) if c.penalty in (1.0, 50.0)][::7]


@pytest.mark.parametrize("spaces", [False, True])
@pytest.mark.parametrize("d", [20, 3], ids=["independent", "dependent"])
def test_ranks_are_those_of_a_loop_over_feature_vectors(spaces: bool, d: int) -> None:
    x, candidates, truth = draw_problem(7, d, 25, spaces=spaces)
    assert {c.encoding for c in SOME} == {"positional", "gauss"}
    assert {c.append for c in SOME if c.neighbours} == {"none", "images", "genes"}
    ranks = published.rank_published(SOME, x, link_genes(candidates, truth), seed=3)
    for i in range(7):
        space = candidates[i] if spaces else candidates
        rest = np.delete(np.arange(7), i)
        for place, configuration in enumerate(SOME):
            expected = rank_by_loop(
                configuration, x[rest], space[truth[rest]], space, truth[i], x[i]
            )
            assert ranks[place, i] == expected, configuration.title


@pytest.mark.parametrize("own", [False, True], ids=["one input", "inputs without the gene"])
def test_nested_choice_is_that_of_a_loop(own: bool) -> None:
    x, candidates, truth = draw_problem(6, 9, 20, seed=1)
    given = np.random.default_rng(2).standard_normal((6, *x.shape)) if own else x
    some = SOME[::4]
    selection = published.select_published(some, given, link_genes(candidates, truth), seed=3)
    for i in range(6):
        rest, x = np.delete(np.arange(6), i), given[i] if own else given
        for place, configuration in enumerate(some):
            ranks = []
            for j in rest:
                both = rest[rest != j]
                y = candidates[truth[both]]
                ranks.append(rank_by_loop(configuration, x[both], y, candidates, truth[j], x[j]))
            assert selection.inner_scores[place, i] == pytest.approx(score_log_ranks(ranks, 20))
    assert (selection.chosen == selection.inner_scores.argmax(axis=0)).all()


def test_grid_is_the_published_one() -> None:
    grid = published.list_published_grid()
    assert len(grid) == 1440
    assert len(set(grid)) == 1440
    assert len(published.list_published_grid((0, 10, 38))) == 1440 + 720
    assert published.list_published_grid()[0].title == "ntk, penalty 1"
    assert "E=20 sigma=10, append genes" in grid[-1].title


def test_plain_points_of_the_grid_are_the_closed_form() -> None:
    x, candidates, truth = draw_problem(12, 30, 40)
    link = link_genes(candidates, truth)
    plain = [c for c in published.list_published_grid((0,)) if not c.append_mean][:5]
    ranks = published.rank_published(plain, x, link, seed=0)
    for place, configuration in enumerate(plain):
        ours = Configuration("ntk", "raw", configuration.penalty)
        closed = rank_left_out(invert_kernels([ours], x)[0], link)
        np.testing.assert_array_equal(ranks[place], closed)


def test_published_choice_takes_the_best_of_what_it_reports() -> None:
    ranks = np.array([[30.0, 60.0], [2.0, 5.0], [60.0, 60.0]])
    assert published.choose_as_published(ranks) == 1


def test_inputs_made_without_a_gene_are_used_for_it() -> None:
    x, candidates, truth = draw_problem(6, 9, 20)
    spaces = x + 0.2 * np.random.default_rng(0).standard_normal((6, *x.shape))
    link = link_genes(candidates, truth)
    found = published.rank_published(SOME[::5], spaces, link, seed=3)
    for i in range(6):
        own = published.rank_published(SOME[::5], spaces[i], link, seed=3)
        np.testing.assert_array_equal(found[:, i], own[:, i])
