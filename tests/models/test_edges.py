"""Splits and non-edges are what they say; messages pass by the formula."""

import numpy as np
import pytest

from i2r.models.edges import draw_non_edges, normalise_adjacency, split_edges


def draw_edges(n: int, m: int, seed: int = 0) -> np.ndarray:
    pairs = np.array([(i, j) for i in range(n) for j in range(i)])
    return pairs[np.random.default_rng(seed).choice(len(pairs), m, replace=False)]


def codes(pairs: np.ndarray) -> set[tuple[int, int]]:
    return {(int(min(p)), int(max(p))) for p in pairs}


def test_edges_are_split_as_published_and_nothing_is_in_two_parts() -> None:
    edges = draw_edges(249, 526)
    split = split_edges(edges, 249, validation=0.1, test=0.2, seed=1)
    assert [len(p) for p in split] == [369, 52, 105, 52, 105]
    parts = [codes(p) for p in split[:3]]
    assert set.union(*parts) == codes(edges)
    assert sum(map(len, parts)) == 526
    assert not (codes(split.validation_non_edges) | codes(split.test_non_edges)) & codes(edges)
    again = split_edges(edges, 249, validation=0.1, test=0.2, seed=1)
    assert all((a == b).all() for a, b in zip(split, again, strict=True))
    other = split_edges(edges, 249, validation=0.1, test=0.2, seed=2)
    assert codes(other.test) != codes(split.test)


def test_non_edges_are_uniform_over_all_pairs_that_are_none() -> None:
    edges = draw_edges(8, 20)
    drawn = draw_non_edges(edges, 8, 40_000, np.random.default_rng(0))
    _, counts = np.unique(np.sort(drawn, axis=1), axis=0, return_counts=True)
    assert len(counts) == 28 - 20
    assert not codes(drawn) & codes(edges)
    assert abs(counts - 5000).max() < 350


def test_messages_pass_by_the_formula() -> None:
    edges, others = draw_edges(6, 7), draw_edges(6, 4, seed=1)
    blocks = normalise_adjacency([edges, others], 6).to_dense().numpy()
    for start, pairs in ((0, edges), (6, others)):
        adjacency = np.eye(6)
        adjacency[pairs[:, 0], pairs[:, 1]] = adjacency[pairs[:, 1], pairs[:, 0]] = 1
        root = np.diag(adjacency.sum(axis=1) ** -0.5)
        at = slice(start, start + 6)
        np.testing.assert_allclose(blocks[at, at], root @ adjacency @ root, rtol=1e-6)
    assert not blocks[:6, 6:].any()


def test_networks_that_cannot_be_split_are_refused() -> None:
    with pytest.raises(ValueError, match="larger network"):
        split_edges(draw_edges(5, 4), 5, validation=0.1, test=0.2, seed=0)
    with pytest.raises(ValueError, match="no non-edges"):
        draw_non_edges(draw_edges(4, 6), 4, 1, np.random.default_rng(0))
